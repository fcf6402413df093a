"""Show compared runs: as a table, as a page, in a notebook, and as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from hookcore import store
from hookcore.authoring import local_path
from hookcore_plugins.report.compare.ranking import Ranking
from hookcore_plugins.report.record import ReportError

if TYPE_CHECKING:
    import os
    from pathlib import Path


@attrs.frozen(eq=False, kw_only=True)
class Comparison(Ranking):
    """Recorded runs, the best first; those without a best value come last.

    Iterating over it yields a `Compared` for each run. A notebook shows it as the page, with the table and the curves.
    """

    def csv(self) -> str:
        """Return the rows as CSV, with a column for each difference. Spreadsheets take no text in it for a formula."""
        from hookcore_plugins.report.compare.spreadsheet import csv_of

        return csv_of(self)

    def page(self) -> str:
        """Return one HTML page with the table and the curves, which needs no other file."""
        from hookcore_plugins.report.compare.page import page

        return page(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, and return its path. Raises `ReportError` if it cannot be written."""
        target = local_path(path)
        try:
            store.write_bytes(target, self.page().encode())
        except OSError as error:
            raise ReportError(f"{target} cannot be written: {error.strerror or error}.") from error
        return target

    def _repr_html_(self) -> str:
        from hookcore_plugins.report.compare.page import frame

        return frame(self)

    def __str__(self) -> str:
        from hookcore_plugins.report.compare.table import text_of

        return text_of(self)
