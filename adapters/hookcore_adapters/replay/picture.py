"""Draw what settings would have done: the curves with each stop, and the settings that save most and lose least."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from hookcore import store
from hookcore.authoring import local_path, printable
from hookcore_adapters.replay.sweep import best_of, frontier, overall
from hookcore_plugins.report import ReportError
from hookcore_plugins.report.picture import COLOURS, new_figure, saved

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from hookcore_adapters.replay.sweep import Overall, Swept

_STOPS_APART, _LABEL_WIDTH, _LABEL_HEIGHT = 0.03, 0.5, 0.06
"""How far from each other stops and settings must be to be named, as shares of a chart; their lines and points are all drawn."""
_NEARLY_EQUAL, _MARGIN = 1e-3, 0.05
"""The range, as a share of the largest value, below which a curve counts as constant, and the margin that it then gets."""
_LARGEST: Final = 1e300
"""Matplotlib overflows when it scales an axis for larger values."""


def save(path: Path, swept: Sequence[Swept], at_most: float, kind: str) -> None:
    """Write the picture to `path`, as `"svg"` or `"png"`. Raises `ReportError` if Matplotlib is missing or writing fails."""
    content = draw(swept, at_most, kind)
    try:
        store.write_bytes(local_path(path), content)
    except OSError as error:
        raise ReportError(f"{path} cannot be written: {error.strerror or error}.") from error


def draw(swept: Sequence[Swept], at_most: float, kind: str) -> bytes:
    """Return the picture. Raises `ReportError` if Matplotlib is not installed."""
    settings = overall(swept)
    best, first = best_of(settings, at_most), swept[0]
    with new_figure(width=10, height=4.5, text_as_paths=True) as figure:
        curves, tradeoff = figure.subplots(1, 2, width_ratios=(3, 2))
        if len(swept) == 1:
            _draw_stops(curves, first, best)
        else:
            _draw_runs(curves, swept, best)
        _draw_frontier(tradeoff, settings, best, first)
        name = first.recorded.name if len(swept) == 1 else f"{len(swept)} runs"
        title = printable(f"{name}: what each setting would have done by {first.metric}", 100)
        figure.suptitle(title, fontsize=11, x=0.01, ha="left")
        return saved(figure, kind, title)


def _draw_stops(ax: Axes, swept: Swept, best: Overall | None) -> None:
    """Draw the curve, with a line for each place at which settings stop, named by these settings."""
    x, y = _curve(swept)
    ax.plot(x, y, color=COLOURS["validation"], linewidth=1.5, marker="o" if len(x) <= 40 else "", markersize=3)  # noqa: PLR2004
    stops: dict[int, list[str]] = {}
    for result in swept.results:
        if result.place is not None:
            stops.setdefault(result.place, []).append(str(result.setting))
    chosen = next((result for result in swept.results if best is not None and result.setting == best.setting), None)
    first = [] if chosen is None or chosen.place is None else [(chosen.place, 0.0)]
    named = sorted(
        int(x) for x, _ in _apart([*first, *((place, 0.0) for place in sorted(stops))], _STOPS_APART * (max(x) - min(x)), 1.0)
    )
    for place in stops:
        is_best = chosen is not None and chosen.place == place
        ax.axvline(place, color=COLOURS["best" if is_best else "stop"], linestyle="-" if is_best else ":", linewidth=1, zorder=1)
    # As ticks of an axis at the top, the names cover neither the curve nor the title.
    top = ax.secondary_xaxis("top")
    names = [str(best.setting) if [(place, 0.0)] == first and best is not None else stops[place][0] for place in named]
    more = [len(stops[place]) - 1 for place in named]
    labels = [printable(f"{name} and {count} more" if count else name, 40) for name, count in zip(names, more, strict=True)]
    top.set_xticks(named, labels, rotation=90, fontsize=7)
    for place, label in zip(named, top.get_xticklabels(), strict=True):
        label.set_color(COLOURS["best" if [(place, 0.0)] == first else "stop"])
    top.spines["top"].set_visible(False)
    if chosen is not None and chosen.kept is not None and abs(chosen.kept.value) < _LARGEST:
        at = chosen.kept.epoch + 1 if swept.unit == "epoch" else chosen.kept.step
        ax.plot([at or 0], [chosen.kept.value], "o", color=COLOURS["best"], markersize=7, fillstyle="none")
    _widen(ax, y)
    title = "the stop of each setting" + (", of the best in green" if first else "") if stops else "no setting stops the run"
    _frame(ax, swept.unit, swept.metric, title)


def _draw_runs(ax: Axes, swept: Sequence[Swept], best: Overall | None) -> None:
    """Draw the curve of each run, with the stop of the best setting."""
    values: list[float] = []
    for row, one in enumerate(swept):
        x, y = _curve(one)
        values += y
        ax.plot(x, y, color=COLOURS["validation"], linewidth=1, alpha=0.45)
        result = None if best is None else best.results[row]
        at = [(place, value) for place, value in zip(x, y, strict=True) if result is not None and place <= result.trained]
        if result is not None and result.votes and at:
            ax.plot(*at[-1], "|", color=COLOURS["stop"], markersize=11, markeredgewidth=2)
    _widen(ax, values)
    title = "no setting stops a run" if best is None else f"the stop of {best.setting}"
    _frame(ax, swept[0].unit, swept[0].metric, printable(title, 60))


def _widen(ax: Axes, values: Sequence[float]) -> None:
    """Widen the y axis of a curve that is nearly constant, which would otherwise look as if its values were different."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    if high - low < _NEARLY_EQUAL * max(abs(low), abs(high)):
        margin = _MARGIN * max(abs(low), abs(high))
        ax.set_ylim(low - margin, high + margin)


def _draw_frontier(ax: Axes, settings: Sequence[Overall], best: Overall | None, swept: Swept) -> None:
    """Draw each setting by what it saves and what it loses, with a line through those that no other beats."""
    known = [one for one in settings if one.worst is not None and math.isfinite(one.worst) and one.worst < _LARGEST]
    line = [one for one in frontier(settings) if one in known][::-1]
    ax.plot([100 * one.share for one in known], [one.worst or 0.0 for one in known], "o", color=COLOURS["soft"], markersize=4)
    x, y = [100 * one.share for one in line], [one.worst or 0.0 for one in line]
    ax.step(x, y, where="pre", color=COLOURS["training"], marker="o", markersize=4, linewidth=1)
    first = [best] if best is not None and best in line else []
    most = max((one.worst or 0.0 for one in known), default=0.0) or 1.0
    spans = [(one.share, one.worst or 0.0) for one in [*first, *line]]
    apart = _apart(spans, _LABEL_WIDTH, _LABEL_HEIGHT * most)
    for one in line:
        if (one.share, one.worst or 0.0) not in apart:
            continue
        alike = sum((other.share, other.worst) == (one.share, one.worst) for other in known) - 1
        is_left = one.share < 0.5  # noqa: PLR2004 - the half that has room on its right
        ax.annotate(
            printable(f"{one.setting}" + (f" and {alike} more" if alike else ""), 40),
            (100 * one.share, one.worst or 0.0),
            xytext=(4 if is_left else -4, 5),
            textcoords="offset points",
            fontsize=7,
            ha="left" if is_left else "right",
        )
    if best is not None and best in known:
        ax.plot([100 * best.share], [best.worst or 0.0], "o", color=COLOURS["best"], markersize=8, fillstyle="none")
    # From zero, so that a small difference does not look like a large one.
    ax.set_xlim(-3, 103)
    ax.set_ylim(-0.05 * most, 1.15 * most)
    several = len(settings[0].results) > 1
    _frame(ax, f"{swept.unit}s saved, %" + (" in the mean" if several else ""), "", "what is lost for what is saved")
    ax.set_ylabel(printable(f"{swept.metric} lost" + (" at most" if several else ""), 40), fontsize=9)


def _apart(points: Sequence[tuple[float, float]], width: float, height: float) -> set[tuple[float, float]]:
    """Return points whose labels do not overlap. Earlier points are preferred.

    `width` and `height` are those of a label.
    """
    found: list[tuple[float, float]] = []
    for x, y in points:
        if all(abs(x - other[0]) >= width or abs(y - other[1]) >= height for other in found):
            found.append((x, y))
    return set(found)


def _curve(swept: Swept) -> tuple[list[int], list[float]]:
    history = swept.recorded.history
    places = history.steps if swept.unit == "step" else [epoch + 1 for epoch in history.epochs]
    points = [
        (place, value)
        for place, value in zip(places, history[swept.metric], strict=True)
        if place is not None and math.isfinite(value) and abs(value) < _LARGEST
    ]
    return [x for x, _ in points], [y for _, y in points]


def _frame(ax: Axes, x: str, y: str, title: str) -> None:
    ax.set_title(title, loc="left", fontsize=10)
    ax.set_xlabel(x, fontsize=9)
    ax.set_ylabel(printable(y, 40), fontsize=9)
    ax.grid(visible=True, axis="y", color=COLOURS["grid"], linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
