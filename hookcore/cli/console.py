"""Where the commands print."""

from __future__ import annotations

from rich.console import Console


def open_console() -> Console:
    """A console for standard output, plain and of any width where that is no terminal."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        # Wide enough for any row: what is piped is searched and cut by other tools.
        console = Console(highlight=False, markup=False, emoji=False, width=100_000, no_color=True)
    return console
