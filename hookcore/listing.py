"""What `hookcore plugins` prints: the installed plugins, where they come from, and which of them would not run."""

from __future__ import annotations

import inspect
import os
import types
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import click
import pluggy
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hookcore import registry, spec_string
from hookcore.engine import Engine
from hookcore.errors import describe, did_you_mean
from hookcore.markers import PROJECT
from hookcore.specs import HOOKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from importlib import metadata

Kind = Literal["autoload", "catalogue"]
Status = Literal["ok", "blocked", "off", "shadowed", "ambiguous", "broken"]

_STYLES: Final[Mapping[Status, str]] = {"ok": "green", "broken": "bold red", "ambiguous": "red"}
_TITLES: Final[Mapping[Kind, str]] = {"autoload": "in every run, in this order", "catalogue": "in a run that asks for it by name"}
_WIDE: Final = 150
"""From this many columns on, each thing that is said of a plugin has a column of its own."""


@attrs.frozen(eq=False)
class Listed:
    """One entry point, and what became of it."""

    name: str
    kind: Kind
    origin: str
    target: str
    status: Status = "ok"
    reason: str = ""
    plugin: Any = None
    """The plugin where it is autoloaded, the factory where it is in the catalogue; None where it is broken or not imported."""
    methods: Any = None
    """What has the marked methods: the plugin's own as the engine registered them, or the factory."""

    @property
    def role(self) -> str:
        """What the plugin declares, or the default."""
        if self.plugin is None:
            return ""
        role = getattr(self.plugin, "role", "actor")
        return role if isinstance(role, str) else "depends"

    @property
    def doc(self) -> str:
        """The plugin's docstring, cleaned; empty where it has none."""
        is_instance = not isinstance(self.plugin, type | types.ModuleType | types.FunctionType)
        return (inspect.getdoc(type(self.plugin) if is_instance else self.plugin) or "") if self.plugin is not None else ""

    @property
    def description(self) -> str:
        """The first line of the docstring."""
        return self.doc.partition("\n")[0]

    @property
    def verdict(self) -> str:
        """The status with its reason."""
        return f"{self.status}: {self.reason}" if self.reason else self.status

    def hooks(self) -> dict[str, tuple[str, str]]:
        """The hooks it implements, in the order of `HOOKS`, with the order mark and the first docstring line of each."""
        reader = pluggy.PluginManager(PROJECT)
        found = {}
        for attribute in dir(self.methods):
            options = reader.parse_hookimpl_opts(self.methods, attribute)
            if options is not None:
                mark = " ".join(name for name in ("wrapper", "tryfirst", "trylast") if options[name])
                doc = inspect.getdoc(getattr(self.methods, attribute)) or ""
                found[options["specname"] or attribute] = (mark, doc.partition("\n")[0])
        return {hook: found[hook] for hook in HOOKS if hook in found}

    @property
    def hook_list(self) -> str:
        """The hooks with their marks, in one line."""
        return ", ".join(f"{hook} ({mark})" if mark else hook for hook, (mark, _) in self.hooks().items())


def installed(environ: Mapping[str, str] = os.environ) -> list[Listed]:
    """Every plugin that an entry point offers: the autoload group in the order in which it is called, then the catalogue."""
    return [*_autoloaded(environ), *_catalogue(environ)]


def _autoloaded(environ: Mapping[str, str]) -> Iterable[Listed]:
    first: dict[str, Listed] = {}
    for entry in registry.entry_points(registry.AUTOLOAD):
        one = _listed(entry, "autoload")
        if entry.name in registry.blocked_names(environ):
            one = attrs.evolve(one, status="blocked", reason=f"by {registry.DISABLE}")
        elif not registry.autoload_allowed(environ):
            one = attrs.evolve(one, status="off", reason=f"by {registry.NO_AUTOLOAD}")
        elif entry.name in first:
            one = attrs.evolve(one, status="shadowed", reason=f"by the one of {first[entry.name].origin}")
        else:
            one = first[entry.name] = _loaded(one, entry)
        yield one


def _catalogue(environ: Mapping[str, str]) -> Iterable[Listed]:
    entries = registry.entry_points(registry.CATALOGUE)
    for entry in entries:
        one = _listed(entry, "catalogue")
        same = [other for other in entries if other.name == entry.name]
        rivals = [registry.distribution(other) for other in same if other.value != entry.value]
        if entry.name in registry.blocked_names(environ):
            yield attrs.evolve(one, status="blocked", reason=f"by {registry.DISABLE}")
        elif rivals:
            yield attrs.evolve(one, status="ambiguous", reason=f"offered by {', '.join(rivals)} too, so the name is refused")
        elif entry is not same[0]:
            yield attrs.evolve(one, status="shadowed", reason=f"the same target is offered by {registry.distribution(same[0])}")
        else:
            yield _loaded(one, entry)


def _listed(entry: metadata.EntryPoint, kind: Kind) -> Listed:
    return Listed(entry.name, kind, registry.distribution(entry), entry.value)


def _loaded(one: Listed, entry: metadata.EntryPoint) -> Listed:
    """`one` with what its import gave; an autoloaded plugin is made and registered too, since every run does that."""
    try:
        target = entry.load()
        if one.kind == "autoload":
            (registered,) = Engine([(one.name, target() if callable(target) else target)], autoload=False).plugins
            return attrs.evolve(one, plugin=registered.plugin, methods=registered.hooks)
    except Exception as error:  # noqa: BLE001 - whatever a third party raises is what there is to report
        return attrs.evolve(one, status="broken", reason=describe(error))
    return attrs.evolve(one, plugin=target, methods=target)


def notes(listed: Sequence[Listed], environ: Mapping[str, str] = os.environ) -> list[str]:
    """What is to be said beside the list: the environment's part, and hooks that are called in another order than the list's."""
    names = {one.name for one in listed}
    said = [
        f"{registry.DISABLE} names {name!r}, and no installed plugin is called that.{did_you_mean(name, names)}"
        for name in sorted(registry.blocked_names(environ) - names)
    ]
    if not registry.autoload_allowed(environ):
        said.append(f"{registry.NO_AUTOLOAD} is set: nothing is autoloaded.")
    engine = Engine([(one.name, one.plugin) for one in listed if one.kind == "autoload" and one.status == "ok"], autoload=False)
    for hook in HOOKS:
        order = engine.order(hook)
        if order != [name for name in engine.names if name in order]:
            said.append(f"{hook} is called in the order {', '.join(order)}.")
    return said


def show(name: str | None = None, console: Console | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Print the list, or the plugins called `name`; returns 1 where something autoloaded is broken, else 0.

    Raises `click.ClickException` where no plugin is called `name`.
    """
    console = console or open_console()
    listed = installed(environ)
    if name is not None:
        names = {one.name for one in listed}
        listed = [one for one in listed if one.name == name]
        if not listed:
            there = ", ".join(sorted(names)) or "none"
            msg = f"No installed plugin is called {name!r}; there are: {there}.{did_you_mean(name, names)}"
            raise click.ClickException(msg)
        for one in listed:
            _describe(console, one)
    else:
        narrow = console.is_terminal and console.width < _WIDE
        console.print(_entries(listed) if narrow else _columns(listed, "\n" if console.is_terminal else ", "))
        for note in notes(listed, environ):
            console.print(Text(note))
    return int(any(one.kind == "autoload" and one.status == "broken" for one in listed))


def open_console() -> Console:
    """A console for standard output, plain and of any width where that is no terminal."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        # Wide enough for any row: what is piped is searched and cut by other tools.
        console = Console(highlight=False, markup=False, emoji=False, width=100_000, no_color=True)
    return console


def _columns(listed: Iterable[Listed], between: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="underline")
    for title in ("plugin", "status", "kind", "role", "hooks", "what it does", "from"):
        # Where something must be broken over lines, it is what has spaces.
        table.add_column(title, overflow="fold", no_wrap=title not in {"status", "hooks", "what it does"})
    for one in listed:
        table.add_row(
            Text(one.name, "bold"),
            _status(one),
            one.kind,
            one.role,
            one.hook_list,
            Text(one.description),
            f"{one.origin}{between}{one.target}",
        )
    return table


def _entries(listed: Sequence[Listed]) -> Table:
    """For a narrow terminal: two columns, and a few lines for each plugin."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for kind, title in _TITLES.items():
        group = [one for one in listed if one.kind == kind]
        if group:
            table.add_row(Text(kind, "underline"), Text(title, "underline"))
        for one in group:
            left = Text.assemble((one.name, "bold"), "\n  ", _status(one, one.status), f", {one.role}" if one.role else "")
            right = (one.reason, one.description, one.hook_list, f"{one.origin}, {one.target}")
            table.add_row(left, "\n".join(filter(None, right)))
    return table


def _status(one: Listed, text: str | None = None) -> Text:
    return Text(text or one.verdict, _STYLES.get(one.status, "yellow"))


def _describe(console: Console, one: Listed) -> None:
    facts = ", ".join(filter(None, (one.kind, one.role)))
    console.print(Text.assemble((one.name, "bold"), f"  {facts}  ", _status(one)))
    console.print(Text(f"{one.origin}, {one.target}"))
    if one.doc:
        console.print()
        console.print(Text(one.doc))
    parameters = _parameters(one)
    if parameters.row_count:
        console.print(Text("\nParameters", "bold"))
        console.print(Padding(parameters, (0, 0, 0, 2), expand=False))
    hooks = Table.grid(padding=(0, 2, 0, 0))
    for hook, (mark, doc) in one.hooks().items():
        hooks.add_row(f"{hook} ({mark})" if mark else hook, Text(doc))
    if hooks.row_count:
        console.print(Text("\nHooks", "bold"))
        console.print(Padding(hooks, (0, 0, 0, 2), expand=False))
    console.print()


def _parameters(one: Listed) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    if one.kind == "catalogue" and callable(one.plugin):
        defaults = inspect.signature(one.plugin).parameters
        for name, hint in spec_string.parameters_of(one.plugin).items():
            table.add_row(name, Text(inspect.formatannotation(hint)), Text(_default(defaults[name].default)))
    return table


def _default(value: object) -> str:
    if value is inspect.Parameter.empty:
        return "required"
    if value is attrs.NOTHING:
        return "made for each plugin"
    return repr(value) if not inspect.isroutine(value) else value.__qualname__
