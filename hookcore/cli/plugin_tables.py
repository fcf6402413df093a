"""The tables that `hookcore plugins` prints."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Final

import attrs
import click
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hookcore.cli.console import open_console
from hookcore.cli.installed import InstalledPlugin, Kind, Status, installed, notes
from hookcore.registry import spec_string
from hookcore.secrecy import HIDDEN, is_secret
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console

_STYLES: Final[Mapping[Status, str]] = {"ok": "green", "broken": "bold red", "ambiguous": "red"}
_TITLES: Final[Mapping[Kind, str]] = {
    "autoload": "in every run, in this order",
    "catalogue": "in a run that asks for it by name",
    "package": "in no run: its entry points cannot be read",
}
_WIDE: Final = 150
"""From this width in characters, every fact about a plugin has a column of its own."""


def show(name: str | None = None, console: Console | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Print the list, or the plugins called `name`; return 1 if one of them is autoloaded and broken, else 0.

    Raises `click.ClickException` if no plugin is called `name`.
    """
    console = console or open_console()
    listed = installed(environ)
    if name is not None:
        names = {plugin.name for plugin in listed}
        listed = [plugin for plugin in listed if plugin.name == name]
        if not listed:
            there = ", ".join(sorted(names)) or "none"
            raise click.ClickException(f"No installed plugin is called {name!r}; there are: {there}.{did_you_mean(name, names)}")
        for plugin in listed:
            _describe(console, plugin)
    else:
        narrow = console.is_terminal and console.width < _WIDE
        console.print(_entries(listed) if narrow else _columns(listed, "\n" if console.is_terminal else ", "))
        for note in notes(listed, environ):
            console.print(Text(note))
    return int(any(plugin.kind == "autoload" and plugin.status == "broken" for plugin in listed))


def _columns(listed: Iterable[InstalledPlugin], between: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="underline")
    for title in ("plugin", "status", "kind", "role", "hooks", "what it does", "from"):
        # If the table is too wide, break the cells that have spaces.
        table.add_column(title, overflow="fold", no_wrap=title not in {"status", "hooks", "what it does"})
    for plugin in listed:
        table.add_row(
            Text(plugin.name, "bold"),
            _status(plugin),
            plugin.kind,
            plugin.role,
            plugin.hook_list,
            Text(plugin.description),
            f"{plugin.origin}{between}{plugin.target}",
        )
    return table


def _entries(listed: Sequence[InstalledPlugin]) -> Table:
    """Return the table for a narrow terminal: two columns, and a few lines for each plugin."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for kind, title in _TITLES.items():
        group = [plugin for plugin in listed if plugin.kind == kind]
        if group:
            table.add_row(Text(kind, "underline"), Text(title, "underline"))
        for plugin in group:
            left = Text.assemble(
                (plugin.name, "bold"), "\n  ", _status(plugin, plugin.status), f", {plugin.role}" if plugin.role else ""
            )
            right = (plugin.reason, plugin.description, plugin.hook_list, f"{plugin.origin}, {plugin.target}")
            table.add_row(left, "\n".join(filter(None, right)))
    return table


def _status(plugin: InstalledPlugin, text: str | None = None) -> Text:
    return Text(text or plugin.verdict, _STYLES.get(plugin.status, "yellow"))


def _describe(console: Console, plugin: InstalledPlugin) -> None:
    facts = ", ".join(filter(None, (plugin.kind, plugin.role)))
    console.print(Text.assemble((plugin.name, "bold"), f"  {facts}  ", _status(plugin)))
    console.print(Text(f"{plugin.origin}, {plugin.target}"))
    if plugin.doc:
        console.print()
        console.print(Text(plugin.doc))
    parameters = _parameters(plugin)
    if parameters.row_count:
        console.print(Text("\nParameters", "bold"))
        console.print(Padding(parameters, (0, 0, 0, 2), expand=False))
    hooks = _whole_names()
    for hook, (mark, doc) in plugin.hooks().items():
        hooks.add_row(f"{hook} ({mark})" if mark else hook, Text(doc))
    if hooks.row_count:
        console.print(Text("\nHooks", "bold"))
        console.print(Padding(hooks, (0, 0, 0, 2), expand=False))
    console.print()


def _parameters(plugin: InstalledPlugin) -> Table:
    table = _whole_names()
    if plugin.kind == "catalogue" and callable(plugin.plugin):
        defaults = inspect.signature(plugin.plugin).parameters
        for name, hint in spec_string.parameters_of(plugin.plugin).items():
            table.add_row(name, Text(inspect.formatannotation(hint)), Text(_default(name, defaults[name].default, plugin.plugin)))
    return table


def _whole_names() -> Table:
    """Return a table whose first column is never cut or broken, as people copy what it has; the others wrap."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, overflow="ignore", min_width=0)
    return table


def _default(name: str, value: object, factory: object) -> str:
    if value is inspect.Parameter.empty:
        return "required"
    if value is attrs.NOTHING:
        return "made for each plugin"
    if is_secret(name, factory):
        return HIDDEN if value else repr(value)
    return repr(value) if not inspect.isroutine(value) else value.__qualname__
