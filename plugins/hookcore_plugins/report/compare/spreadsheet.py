"""Write a comparison as CSV, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final

from hookcore.authoring import printable, state

if TYPE_CHECKING:
    from hookcore_plugins.report.compare.ranking import Ranking

_LONGEST: Final = 1000
_FORMULA: Final = ("=", "+", "-", "@")
"""The characters with which a spreadsheet's formula begins."""


def csv_of(comparison: Ranking) -> str:
    """Return a header and a line for each run. A text that a spreadsheet would take for a formula gets a `'` before it."""
    rows = [row.as_dict() for row in comparison]
    own = [name for name in rows[0] if name != "differs"] if rows else []
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*own, *map(_cell, comparison.differs)])
    for row in rows:
        writer.writerow([*(_cell(row[name]) for name in own), *(_cell(row["differs"][name]) for name in comparison.differs)])
    return stream.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return str(value)
    text = printable(value if isinstance(value, str) else state.dumps(value), _LONGEST)
    return f"'{text}" if text.startswith(_FORMULA) else text
