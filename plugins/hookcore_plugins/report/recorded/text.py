"""Read the text of a log, a plain file of limited size, line by line."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from hookcore import store
from hookcore_plugins.report.recorded.rows import fail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_BYTES: Final = 2**28
"""The most bytes of a log that are read: 256 MiB, which is a million rows of twenty columns. A longer one is an error."""


def content(path: Path) -> bytes:
    """Return the content of the file. Raises `RecordedError` if it cannot be read or is too long."""
    try:
        return store.read_file(path, MAX_BYTES)
    except OSError as error:
        fail(path, f"it cannot be read: {error.strerror or error}.")


def lines(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield the number of each line, its text, and whether it has its end, which an incomplete last line lacks."""
    # Line by line: the decoded lines of a large file take several times its size.
    for number, line in enumerate(io.BytesIO(content(path).removeprefix(b"\xef\xbb\xbf")), 1):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            if not line.endswith(b"\n"):  # cut within a letter
                return
            fail(f"{path}, line {number}", "it is not text in UTF-8.")
        yield number, text, text.endswith("\n")
