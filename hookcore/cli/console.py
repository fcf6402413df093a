"""The console that the commands print to."""

from __future__ import annotations

from rich.console import Console


def open_console() -> Console:
    """Return a console for standard output; without colours and line breaks if that is not a terminal."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        # Wide enough for any row: other tools search and cut what is piped.
        console = Console(highlight=False, markup=False, emoji=False, width=100_000, no_color=True)
    return console
