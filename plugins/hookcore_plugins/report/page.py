"""Show a recorded run as one HTML page."""

from __future__ import annotations

import base64
import functools
import math
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from hookcore import store
from hookcore.authoring import format_count, format_duration, format_value, printable, state
from hookcore_plugins.report.picture import COLOURS, MARKED_CHANGES, curves
from hookcore_plugins.report.record import ReportError

if TYPE_CHECKING:
    from hookcore_plugins.report.items import Chart
    from hookcore_plugins.report.record import RunRecord

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_LARGEST_PICTURE: Final = 5_000_000  # bytes
_LARGE_SHARE: Final = 0.1
"""The least share of the time with which a plugin is named above the table."""


def page(report: RunRecord, refresh: int | None = None) -> str:
    """Return the page. It has no script, and loads nothing; with `refresh` it loads itself again after that number of seconds.

    Raises `ReportError` if Jinja or Matplotlib is not installed.
    """
    try:
        import jinja2
        import markupsafe
    except ImportError as error:
        raise ReportError("The page is made with Jinja, which is not installed: pip install 'hookcore[report]'") from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hookcore_plugins.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clean": lambda text: "".join(letter if letter.isprintable() or letter in "\n\t" else " " for letter in str(text)),
        "count": format_count,
        "duration": format_duration,
        "json": state.dumps,
        "short": functools.partial(format_duration, milliseconds=True),
        "time": lambda seconds: datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z"),
        "value": lambda number: "none" if number is None else format_value(number),
    }
    # Safe: Matplotlib escapes the texts that it draws, and no chart has a text from the run.
    charts = [(chart, _description(report, chart), markupsafe.Markup(_themed(svg))) for chart, svg in curves(report)]  # noqa: S704
    rendered: str = environment.get_template("report.html.jinja").render(
        report=report,
        refresh=refresh,
        config=state.flattened(dict(report.config)),
        surroundings=_surroundings(report),
        best=report.best(report.monitor),
        charts=charts,
        colours=COLOURS,
        metrics=[_row(report, name) for name in report.history],
        model=_model_picture(report),
        large_share=_LARGE_SHARE,
        marked_changes=0 < len(report.rate_changes()) <= MARKED_CHANGES,
    )
    return rendered


def _surroundings(report: RunRecord) -> dict[str, str]:
    """Return the command, the commit, the data and the versions of the run, by name."""
    rows = {"command": shlex.join(report.command)} if report.command else {}
    if report.commit is not None:
        rows["commit"] = report.commit + ", with changes to tracked files" * bool(report.is_dirty)
    rows |= {name.replace("_", " "): str(size) for name, size in report.data.items()}
    return {**rows, **report.environment}


def _themed(svg: str) -> str:
    """Return `svg` with the page's own colours, which differ in dark mode."""
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg


def _description(report: RunRecord, chart: Chart | None) -> str:
    """Describe a chart for a reader who cannot see it."""
    if chart is None:
        rates = [rate for rate in report.learning_rates if rate is not None]
        changes = format_count(len(report.rate_changes()), "change")
        return f"learning rate by {report.unit}, from {rates[0]:.4g} to {rates[-1]:.4g}, with {changes}"
    parts = []
    for name, label in ((chart.training, "training"), (chart.validation, "validation")):
        values = [value for value in report.history[name] if math.isfinite(value)] if name is not None else []
        if values:
            parts.append(f"{label} from {format_value(values[0])} to {format_value(values[-1])}")
    return f"{printable(chart.metric)} by {report.unit}: {'; '.join(parts) or 'no finite value'}"


def _row(report: RunRecord, name: str) -> dict[str, Any]:
    """Return a metric's row in the table of metrics."""
    values = report.history[name]
    return {
        "name": name,
        "last": report.last(name),
        "best": report.best(name),
        "missing": sum(math.isnan(value) for value in values),
        "unplaced": sum(math.isfinite(value) and place is None for value, place in zip(values, report.places(), strict=True)),
        "infinite": sum(math.isinf(value) for value in values),
    }


def _model_picture(report: RunRecord) -> str | None:
    """Return the model's picture as a data URI, or None if there is no such file or it is not a PNG of a sensible size."""
    path = None if report.graph is None else report.path.parent / report.graph
    try:
        content = b"" if path is None else store.read_file(path, _LARGEST_PICTURE)
    except OSError:
        return None
    return f"data:image/png;base64,{base64.b64encode(content).decode()}" if content.startswith(_PNG) else None
