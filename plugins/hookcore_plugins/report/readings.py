"""Show the values of a chart under the pointer, with CSS alone: an invisible column over the curves shows its row."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape

from hookcore.authoring import format_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from hookcore_plugins.report.record import RunRecord

STRIP: Final = 0.07
"""The part of a chart's height above the curves, for the values."""
_POINTS: Final = 72.0
"""How many units of an SVG are an inch."""
_MOST: Final = 400
"""The most columns of a chart, which is about that many pixels wide."""
_MOST_ON_PAGE: Final = 6000
"""The most columns of a page's charts together; each is about 200 bytes."""


def most_columns(charts: int) -> int:
    """Return how many columns each of N charts on a page may have."""
    return max(60, min(_MOST, _MOST_ON_PAGE // max(1, charts)))


def columns(ax: Axes, report: RunRecord, series: Mapping[str, Sequence[float | None]], most: int) -> str:
    """Return SVG groups of the class `at`, one for each row: an area to point at, a line, and the values of `series` by label.

    `ax` must have been drawn, so that its layout is known. If there are more than `most` rows, every n-th has a group.
    """
    rows = [
        (place, text)
        for row, place in enumerate(report.places())
        if place is not None and (text := _text({label: values[row] for label, values in series.items()}))
    ]
    rows = rows[:: -(-len(rows) // most)] if rows else []
    figure: Any = ax.figure
    width, height = (_POINTS * inches for inches in figure.get_size_inches())
    box, (low, high) = ax.get_position(), ax.get_xlim()
    left, right, top, bottom = box.x0 * width, box.x1 * width, (1 - box.y1) * height, (1 - box.y0) * height
    at = [left + (place - low) / (high - low) * (right - left) for place, _ in rows]
    edges = [left, *((one + other) / 2 for one, other in pairwise(at)), right]
    return "".join(
        f'<g class="at"><rect x="{begin:.1f}" y="{top:.1f}" width="{max(0.0, end - begin):.1f}" height="{bottom - top:.1f}"/>'
        f'<path d="M{here:.1f} {top:.1f}V{bottom:.1f}"/>'
        f'<text x="{left:.1f}" y="{_POINTS * 0.12:.1f}">{escape(f"{report.unit} {place}: {text}")}</text></g>'
        for (begin, end), here, (place, text) in zip(pairwise(edges), at, rows, strict=True)
    )


def _text(values: Mapping[str, float | None]) -> str:
    known = {label: value for label, value in values.items() if value is not None and not math.isnan(value)}
    return ", ".join(f"{label} {format_value(value)}" for label, value in known.items())
