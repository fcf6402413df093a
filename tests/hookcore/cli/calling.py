"""Calls of the `hookcore` command, and what they print."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from click.testing import CliRunner
from rich.console import Console

from hookcore.cli import plugin_tables
from hookcore.cli.main import main

if TYPE_CHECKING:
    from click.testing import Result

Install: TypeAlias = Callable[..., None]

WATCHER = '''
from hookcore import hookimpl
class Watcher:
    """Watches, and does nothing else."""
    role = "observer"
    @hookimpl{options}
    def on_epoch_end(self, epoch):
        """Look at the epoch."""
'''


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def row(result: Result, name: str) -> str:
    """Return the one line that begins with `name`."""
    (found,) = (line for line in result.output.splitlines() if line.split()[:1] == [name])
    return found


def on_terminal(width: int, *, verbose: bool = True) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None, highlight=False)
    plugin_tables.show(verbose=verbose, console=console)
    return file.getvalue()
