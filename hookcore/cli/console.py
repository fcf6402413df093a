"""The console that the commands print to."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console


class _Piped(Console):
    """Prints lines without the blanks that fill a table's cells."""

    def print(self, *objects: Any, **options: Any) -> None:
        with self.capture() as captured:
            super().print(*objects, **options)
        self.file.write(re.sub(" +$", "", captured.get(), flags=re.MULTILINE))


def open_console() -> Console:
    """Return a console for standard output; without colours, line breaks and trailing blanks if that is not a terminal."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        # Wide enough for any row: other tools search and cut what is piped.
        console = _Piped(highlight=False, markup=False, emoji=False, width=100_000, no_color=True)
    return console
