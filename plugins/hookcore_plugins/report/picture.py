"""Draw the curves of a recorded run with Matplotlib."""

from __future__ import annotations

import io
import math
import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from hookcore import Outcome
from hookcore.authoring import format_count, format_value, printable
from hookcore_plugins.report import readings
from hookcore_plugins.report.record import ReportError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hookcore_plugins.report.items import Chart
    from hookcore_plugins.report.record import RunRecord

COLOURS: Final = {
    "ink": "#1c2024",
    "soft": "#60646c",
    "grid": "#dfe1e6",
    "training": "#0b6bcb",
    "validation": "#c2560c",
    "best": "#2b7a3e",
    "stop": "#b3242e",
    "rate": "#8d8f97",
}
"""The colours, by the names of the page's variables, which differ in light and dark mode."""
MARKED_CHANGES: Final = 12
"""The most changes of the learning rate that charts mark. The marks of a schedule with more would hide the curves."""
_MOST_DOTS: Final = 40
"""The most observations that are drawn as dots too. A curve of few is hard to see without, and one alone has no line."""
_MOST_CHARTS: Final = 6
"""The most charts in a picture; the page has all."""
_FLAT: Final = 0.25
"""The first values of a curve are outside its axis if the range of the others is less than this part of the whole range."""
_FEWEST: Final = 4
"""The fewest other values for which that is done."""
_MARGIN: Final = 0.08
_LINEAR_RATIO: Final = 20
"""The axis of learning rates is logarithmic if the largest is more than this many times the smallest."""
_LONG_STEP: Final = 10_000
"""From this step on an axis shows `20k`: numbers of six digits would overlap."""


def picture(report: RunRecord, kind: str) -> bytes:
    """Draw the most important curves in one picture of `kind`, `"svg"` or `"png"`, with a legend."""
    charts, has_rates = report.charts(), bool(_points(report, report.learning_rates)[0])
    shown = charts[: _MOST_CHARTS - has_rates]
    number = max(1, len(shown) + has_rates)
    columns = min(number, 3)
    rows = -(-number // columns)
    with new_figure(width=4 * columns, height=0.8 + (2.6 * rows if report.history.epochs else 0.4), text_as_paths=True) as figure:
        axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
        for chart, ax in zip(shown, axes, strict=False):
            _draw(ax, report, chart)
            ax.set_title(printable(chart.metric, 40), loc="left", fontsize=10)
        if has_rates:
            _draw_rate(axes[len(shown)], report)
            axes[len(shown)].set_title("learning rate", loc="left", fontsize=10)
        for ax in axes[len(shown) + has_rates :]:
            ax.set_axis_off()
        if not report.history.epochs:
            axes[0].text(0, 1, "No epoch was finished.", va="top", transform=axes[0].transAxes)
        more = f"; {len(charts) - len(shown)} metrics more on the page" if len(charts) > len(shown) else ""
        figure.suptitle(printable(_title(report) + more, 100), fontsize=11, x=0.01, ha="left")
        handles = {handle.get_label(): handle for ax in axes for handle in ax.get_lines() if handle.get_label()[:1] != "_"}
        if handles:
            figure.legend(
                handles.values(), handles.keys(), loc="outside lower left", ncols=len(handles), frameon=False, fontsize=9
            )
        title = f"Curves: {printable(_title(report), 200)}"
        return saved(figure, kind, title)


def curves(report: RunRecord) -> list[tuple[Chart | None, str]]:
    """Draw each chart as an SVG element in `COLOURS`, without a title; the last one, with None, shows the learning rate."""
    drawn: list[tuple[Chart | None, str]] = []
    charts: list[Chart | None] = [*report.charts()]
    if _points(report, report.learning_rates)[0]:
        charts.append(None)
    most = readings.most_columns(len(charts))
    for number, chart in enumerate(charts):
        with new_figure(width=3.9, height=2.25, text_as_paths=False, salt=str(number), top=1 - readings.STRIP) as figure:
            ax = figure.subplots()
            if chart is None:
                _draw_rate(ax, report)
            else:
                _draw(ax, report, chart)
            text = saved(figure, "svg", None).decode()
            columns = readings.columns(ax, report, _series(report, chart), most)
        # Every picture has the same ids of groups, and nothing refers to them.
        plain = re.sub(r'<g id="[^"]*">', "<g>", text[text.index("<svg") :])
        drawn.append((chart, plain.replace("</svg>", f"{columns}</svg>")))
    return drawn


def _series(report: RunRecord, chart: Chart | None) -> dict[str, Sequence[float | None]]:
    """Return what a chart draws, by its label."""
    if chart is None:
        return {"learning rate": report.learning_rates}
    named = {"training": chart.training, "validation": chart.validation}
    return {label: report.history[name] for label, name in named.items() if name is not None}


def left_above_or_below(curves: Iterable[Sequence[float]]) -> tuple[float, float] | None:
    """Return the range of curves without their first values, if these would flatten the rest; else None.

    The first values are the first tenth of a curve, at least one value. They flatten the rest if the range of the rest is less
    than a quarter of the whole range.
    """
    whole, rest = list[float](), list[float]()
    for curve in curves:
        whole += curve
        rest += curve[max(1, len(curve) // 10) :]
    if len(rest) < _FEWEST or not max(rest) > min(rest) or max(rest) - min(rest) >= _FLAT * (max(whole) - min(whole)):
        return None
    return min(rest), max(rest)


def _title(report: RunRecord) -> str:
    best = report.best(report.monitor)
    best_text = "" if best is None else f"; best {best.metric} {best.value:.4g} {best.place}"
    done = format_count(report.progress.step if report.by_steps else report.observed_epochs, report.unit)
    return f"{report.path.parent.name or report.path}: {report.status} after {done}{best_text}"


def _draw(ax: Axes, report: RunRecord, chart: Chart) -> None:
    """Draw a metric in training and in validation, with the marks of the run."""
    drawn = []
    for label, values in _series(report, chart).items():
        x, y = _points(report, values)
        few = len(x) <= _MOST_DOTS
        ax.plot(x, y, label=label, color=COLOURS[label], marker="o" if few else "", markersize=3, linewidth=1.5)
        drawn.append(y)
    shown = left_above_or_below(drawn)
    if shown is not None:
        low, high = shown
        ax.set_ylim(low - _MARGIN * (high - low), high + _MARGIN * (high - low))
        first = max((curve[0] for curve in drawn if curve), key=lambda value: max(value - high, low - value))
        level, va, arrow = (0.97, "top", "\N{UPWARDS ARROW}") if first > high else (0.03, "bottom", "\N{DOWNWARDS ARROW}")
        note = f"{arrow} begins at {format_value(first)}"
        ax.text(0.5, level, note, ha="center", va=va, transform=ax.transAxes, color=COLOURS["soft"], fontsize=8)
    if not any(drawn):
        ax.text(0.5, 0.5, "no finite value", transform=ax.transAxes, ha="center", va="center", color=COLOURS["soft"])
        ax.set_yticks([])
    _mark(ax, report)
    _frame(ax, report)


def _draw_rate(ax: Axes, report: RunRecord) -> None:
    x, y = _points(report, report.learning_rates)
    # By steps, a plugin changes the rate at an observation; by epochs, the change is drawn between two of them.
    ax.step(
        x,
        y,
        where="pre" if report.by_steps else "mid",
        color=COLOURS["soft"],
        marker="o" if len(x) == 1 else "",
        markersize=3,
        linewidth=1.5,
    )
    if y and min(y) > 0 and max(y) / min(y) > _LINEAR_RATIO:
        from matplotlib.ticker import FuncFormatter, NullFormatter

        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        ax.set_ylim(bottom=0)
    _frame(ax, report)


def _mark(ax: Axes, report: RunRecord) -> None:
    """Mark the best observation, the stop, and each change of the learning rate."""
    changes = report.rate_changes()
    for changed, _ in changes if len(changes) <= MARKED_CHANGES else ():
        at = changed if report.by_steps else changed + 0.5
        ax.axvline(at, label="learning rate changed", color=COLOURS["rate"], linestyle=":", linewidth=1, zorder=1)
    best = report.best(report.monitor)
    if best is not None and (where := report.place_of(best)) is not None:
        label = f"best {printable(best.metric, 30)}"
        ax.axvline(where, label=label, color=COLOURS["best"], linestyle="--", linewidth=1.2, zorder=1)
    stop = report.stop_reasons[0] if report.outcome == Outcome.STOPPED and report.stop_reasons else None
    if stop is not None and (where := report.place_of(stop)) is not None:
        ax.axvline(where, label="stopped", color=COLOURS["stop"], linestyle="-.", linewidth=1.2, zorder=1)


def _frame(ax: Axes, report: RunRecord) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    places = [place for place in report.places() if place is not None]
    if places:
        low, high = min(places), max(places)
        margin = max(0.5, (high - low) * 0.03)
        ax.set_xlim(low - margin, high + margin)
        if report.by_steps and high >= _LONG_STEP:
            ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    ax.set_xlabel(report.unit, fontsize=9)
    ax.grid(visible=True, axis="y", color=COLOURS["grid"], linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _points(report: RunRecord, values: Sequence[float | None]) -> tuple[list[int], list[float]]:
    """Return the places and values of the rows with a finite value. The line connects them across gaps."""
    # Matplotlib overflows when it scales an axis for larger values.
    points = [
        (place, value)
        for place, value in zip(report.places(), values, strict=True)
        if place is not None and value is not None and math.isfinite(value) and abs(value) < 1e300  # noqa: PLR2004
    ]
    return [x for x, _ in points], [y for _, y in points]


@contextmanager
def new_figure(width: float, height: float, *, text_as_paths: bool, salt: str = "", top: float = 1.0) -> Iterator[Figure]:
    """Make a figure in hookcore's style, independent of the user's, without a window or a change to Matplotlib's state.

    Nothing is drawn above the part `top` of its height.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ReportError(
            "The curves are drawn with Matplotlib, which is not installed: pip install 'hookcore[report]'"
        ) from error
    style: dict[str, Any] = {
        **dict.fromkeys(("text.color", "axes.labelcolor"), COLOURS["ink"]),
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), COLOURS["soft"]),
        **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), 9),
        "font.family": "DejaVu Sans",  # comes with Matplotlib
        "svg.fonttype": "path" if text_as_paths else "none",
        "svg.hashsalt": f"hookcore{salt}",  # the same picture gives the same file
        "text.parse_math": False,
        "text.usetex": False,
    }
    defaults: dict[Any, Any] = {name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith("backend")}
    with warnings.catch_warnings(), mpl.rc_context(defaults | style):
        # The name of a metric may have letters that the font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        figure = Figure(figsize=(width, height), layout="constrained")
        if top < 1:
            figure.get_layout_engine().set(rect=(0, 0, 1, top))  # type: ignore[union-attr,call-arg]
        yield figure


def saved(figure: Figure, kind: str, title: str | None) -> bytes:
    """Return the bytes of `figure` as `kind`, `"svg"` or `"png"`: the same for the same picture."""
    buffer = io.BytesIO()
    if kind == "svg":
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type")) | ({} if title is None else {"Title": title})
        figure.savefig(buffer, format="svg", metadata=metadata, transparent=title is None)
    else:
        figure.savefig(buffer, format="png", dpi=144, metadata={"Software": None, "Title": title or ""})
    return buffer.getvalue()
