"""A recorded run that can be shown: as a page, as a picture, and in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from hookcore import store
from hookcore.authoring import did_you_mean, local_path
from hookcore_plugins.report.record import ReportError, RunRecord

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from hookcore.authoring import Mode
    from hookcore_plugins.report.compare import Comparison


@attrs.frozen(eq=False, kw_only=True)
class RunReport(RunRecord):
    """A run as `Report` recorded it in a `run.json`.

    In a notebook it shows as the picture of its curves.
    """

    @staticmethod
    def read_all(folder: str | os.PathLike[str], metric: str | None = None, mode: Mode | None = None) -> Comparison:
        """Read every run that is recorded in `folder`, by this plugin or another log, and compare them: see `Comparison.read`."""
        from hookcore_plugins.report.compare import Comparison

        return Comparison.read([folder], metric, mode)

    def page(self, refresh: int | None = None) -> str:
        """Return one HTML page that needs no other file; with `refresh` it loads itself again after that number of seconds.

        Raises `ReportError` if Jinja or Matplotlib is not installed.
        """
        from hookcore_plugins.report.page import page

        return page(self, refresh)

    def picture(self, kind: str = "svg") -> bytes:
        """Draw the curves as one picture, `"svg"` or `"png"`. Raises `ReportError` if Matplotlib is not installed."""
        if kind not in {"svg", "png"}:
            hint = did_you_mean(kind, ["html", "svg", "png"])
            raise ReportError(f"A report is shown as 'html', 'svg' or 'png', not {kind!r}.{hint}")
        from hookcore_plugins.report.picture import picture

        return picture(self, kind)

    def save(self, path: str | os.PathLike[str], kind: str | None = None, *, refresh: int | None = None) -> Path:
        """Write the page or a picture: `"html"`, `"svg"` or `"png"`; by default the kind that the file's suffix names.

        With `refresh` the page loads itself again after that number of seconds. Raises `ReportError`.
        """
        target = local_path(path)
        kind = target.suffix.removeprefix(".").lower() if kind is None else kind
        content = self.page(refresh).encode() if kind == "html" else self.picture(kind)
        try:
            store.write_bytes(target, content)
        except OSError as error:
            raise ReportError(f"{target} cannot be written: {error.strerror or error}.") from error
        return target

    def _repr_png_(self) -> bytes:
        return self.picture("png")
