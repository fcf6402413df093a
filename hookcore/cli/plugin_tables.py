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

from hookcore.cli.adapters import InstalledAdapter, installed_adapters
from hookcore.cli.console import open_console
from hookcore.cli.docstring import reflowed
from hookcore.cli.installed import InstalledPlugin, Kind, installed, notes
from hookcore.registry import spec_string
from hookcore.secrecy import HIDDEN, is_secret
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console

_STYLES: Final[Mapping[str, str]] = {"ok": "green", "installed": "green", "broken": "bold red", "ambiguous": "red"}
_TITLES: Final[Mapping[Kind, str]] = {
    "autoload": "in every run, in this order",
    "catalogue": "in a run that asks for it by name",
    "package": "in no run: its entry points cannot be read",
}
_WIDE: Final = 150
"""From this width in characters, every fact about a plugin has a column of its own."""


def show(
    name: str | None = None,
    console: Console | None = None,
    environ: Mapping[str, str] = os.environ,
    *,
    verbose: bool = False,
) -> int:
    """Print the list, or describe the plugins and adapters called `name`; return 1 if one is autoloaded and broken, else 0.

    With `verbose` the list has all that is known; by default, what each plugin does, or why it would not run. Raises
    `click.ClickException` if nothing is called `name`.
    """
    console = console or open_console()
    listed, adapters = installed(environ), installed_adapters()
    if name is not None:
        names = {plugin.name for plugin in listed} | {adapter.name for adapter in adapters}
        listed = [plugin for plugin in listed if plugin.name == name]
        adapters = [adapter for adapter in adapters if adapter.name == name]
        if not listed and not adapters:
            there = ", ".join(sorted(names)) or "none"
            hint = did_you_mean(name, names)
            raise click.ClickException(f"No installed plugin or adapter is called {name!r}; there are: {there}.{hint}")
        for plugin in listed:
            _describe(console, plugin)
        for adapter in adapters:
            _describe_adapter(console, adapter)
    elif not verbose:
        _brief(console, listed, adapters)
    else:
        narrow = console.is_terminal and console.width < _WIDE
        between = "\n" if console.is_terminal else ", "
        console.print(_entries(listed) if narrow else _columns(listed, between))
        if adapters:
            console.print()
            console.print(_adapter_entries(adapters) if narrow else _adapter_columns(adapters, between))
    if name is None:
        for note in notes(listed, environ):
            console.print(Text(note))
    return int(any(plugin.kind == "autoload" and plugin.status == "broken" for plugin in listed))


def _brief(console: Console, listed: Sequence[InstalledPlugin], adapters: Sequence[InstalledAdapter]) -> None:
    """Print what each plugin does, and what each adapter is for."""
    table = _two_columns()
    groups = {kind: [plugin for plugin in listed if plugin.kind == kind] for kind in _TITLES}
    for kind, group in groups.items():
        if group:
            table.add_row(Text("plugin", "underline"), Text(_TITLES[kind], "underline"))
        for plugin in group:
            why = () if plugin.status == "ok" else ((plugin.verdict, _STYLES.get(plugin.status, "yellow")),)
            doing = (plugin.description,) if plugin.description else ()
            table.add_row(Text(plugin.name, "bold"), Text(" ").join(Text.assemble(part) for part in (*doing, *why)))
    if adapters:
        table.add_row("", "")
        table.add_row(Text("adapter", "underline"), Text("for", "underline"))
    for adapter in adapters:
        framework = Text.assemble(adapter.framework or adapter.use)
        if adapter.status != "installed":
            framework.append(", " if framework else "").append_text(_status(adapter))
        table.add_row(Text(adapter.name, "bold"), framework)
    console.print(table)
    console.print(Text("`hookcore plugins NAME` describes one of them, and `hookcore plugins --verbose` lists more.", "dim"))


def _titled(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="underline")
    for title in titles:
        # If the table is too wide, break the cells that have spaces.
        table.add_column(title, overflow="fold", no_wrap=title not in {"status", "hooks", "what it does", "use"})
    return table


def _columns(listed: Iterable[InstalledPlugin], between: str) -> Table:
    table = _titled("plugin", "status", "kind", "role", "hooks", "what it does", "from")
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


def _adapter_columns(adapters: Iterable[InstalledAdapter], between: str) -> Table:
    table = _titled("adapter", "status", "for", "use", "from")
    for adapter in adapters:
        origin = f"{adapter.origin}{between}{adapter.target}"
        table.add_row(Text(adapter.name, "bold"), _status(adapter), Text(adapter.framework), Text(adapter.use), Text(origin))
    return table


def _two_columns() -> Table:
    """Return an empty table for a narrow terminal, whose first column is never broken."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _adapter_entries(adapters: Iterable[InstalledAdapter]) -> Table:
    table = _two_columns()
    table.add_row(Text("adapter", "underline"), Text("in the framework's own loop", "underline"))
    for adapter in adapters:
        left = Text.assemble((adapter.name, "bold"), "\n  ", _status(adapter, adapter.status))
        right = (adapter.framework, adapter.reason, adapter.use, f"{adapter.origin}, {adapter.target}")
        table.add_row(left, Text("\n".join(filter(None, right))))
    return table


def _entries(listed: Sequence[InstalledPlugin]) -> Table:
    """Return the table for a narrow terminal: two columns, and a few lines for each plugin."""
    table = _two_columns()
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


def _status(listed: InstalledPlugin | InstalledAdapter, text: str | None = None) -> Text:
    return Text(text or listed.verdict, _STYLES.get(listed.status, "yellow"))


def _describe_adapter(console: Console, adapter: InstalledAdapter) -> None:
    console.print(Text.assemble((adapter.name, "bold"), "  adapter  ", _status(adapter)))
    console.print(Text(f"{adapter.origin}, {adapter.target}"))
    for label, value in {"For": adapter.framework, "Use": adapter.use}.items():
        if value:
            console.print(Text(f"{label}: {value}"))
    console.print()


def _describe(console: Console, plugin: InstalledPlugin) -> None:
    facts = ", ".join(filter(None, (plugin.kind, plugin.role)))
    console.print(Text.assemble((plugin.name, "bold"), f"  {facts}  ", _status(plugin)))
    console.print(Text(f"{plugin.origin}, {plugin.target}"))
    if plugin.doc:
        console.print()
        console.print(Text(reflowed(plugin.doc, console.width) if console.is_terminal else plugin.doc))
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
    """Return a table whose first column is never cut or broken, because people copy from it; the others wrap."""
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
