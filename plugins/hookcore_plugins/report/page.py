"""The report as one HTML page."""

from __future__ import annotations

import base64
import functools
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from hookcore.authoring import format_count, format_duration, format_value, printable, state
from hookcore_plugins.report.picture import COLOURS, MARKED_CHANGES, curves
from hookcore_plugins.report.run_report import ReportError
from hookcore_plugins.report.summary import LARGE_SHARE

if TYPE_CHECKING:
    from hookcore_plugins.report.run_report import Chart, RunReport

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_LARGEST_PICTURE: Final = 5_000_000  # bytes


def page(report: RunReport) -> str:
    """The whole page, with everything in it: no script, and nothing that is loaded from elsewhere."""
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
    # Matplotlib escapes the texts that it draws, and there is none of the run's in a chart.
    charts = [(chart, _description(report, chart), markupsafe.Markup(_themed(svg))) for chart, svg in curves(report)]  # noqa: S704
    rendered: str = environment.get_template("report.html.jinja").render(
        report=report,
        best=report.best(report.monitor),
        charts=charts,
        colours=COLOURS,
        metrics=[_row(report, name) for name in report.history],
        model=_model(report),
        large_share=LARGE_SHARE,
        marked_changes=0 < len(report.rate_changes()) <= MARKED_CHANGES,
    )
    return rendered


def _themed(svg: str) -> str:
    """`svg` with the page's colours, which are others in the dark."""
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg


def _description(report: RunReport, chart: Chart | None) -> str:
    """What a chart shows, for who cannot see it."""
    if chart is None:
        rates = [rate for rate in report.learning_rates if rate is not None]
        changes = format_count(len(report.rate_changes()), "change")
        return f"learning rate by epoch, from {rates[0]:.4g} to {rates[-1]:.4g}, with {changes}"
    parts = []
    for name, label in ((chart.training, "training"), (chart.validation, "validation")):
        values = [one for one in report.history[name] if math.isfinite(one)] if name is not None else []
        if values:
            parts.append(f"{label} from {format_value(values[0])} to {format_value(values[-1])}")
    return f"{printable(chart.metric)} by epoch: {'; '.join(parts) or 'no finite value'}"


def _row(report: RunReport, name: str) -> dict[str, Any]:
    """What the table of metrics says of one."""
    values = report.history[name]
    return {
        "name": name,
        "last": report.last(name),
        "best": report.best(name),
        "missing": sum(math.isnan(one) for one in values),
        "infinite": sum(math.isinf(one) for one in values),
    }


def _model(report: RunReport) -> str | None:
    """The model's picture as a data URI."""
    path = None if report.graph is None else report.path.parent / report.graph
    if path is None or not path.is_file() or path.stat().st_size > _LARGEST_PICTURE:
        return None
    content = path.read_bytes()
    return f"data:image/png;base64,{base64.b64encode(content).decode()}" if content.startswith(_PNG) else None
