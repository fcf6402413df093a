"""The installed plugins: where they come from, and why some of them would not run."""

from __future__ import annotations

import inspect
import os
import types
from typing import TYPE_CHECKING, Any, Literal

import attrs
import pluggy

from hookcore.engine import Engine
from hookcore.markers import PROJECT
from hookcore.raised import describe, interrupts
from hookcore.registry import discovery, finding, spec_string
from hookcore.specs import HOOKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from importlib import metadata

Kind = Literal["autoload", "catalogue", "package"]
Status = Literal["ok", "blocked", "off", "shadowed", "ambiguous", "broken"]


@attrs.frozen(eq=False)
class InstalledPlugin:
    """One entry point, with its plugin, or the reason why it has no plugin."""

    name: str
    kind: Kind
    origin: str
    target: str
    status: Status = "ok"
    reason: str = ""
    plugin: Any = None
    """The plugin if it is autoloaded, or the factory if it is in the catalogue; None if it is broken or not imported."""
    methods: Any = None
    """The object with the marked methods: what the engine registered for the plugin, or the factory."""

    @property
    def role(self) -> str:
        """The declared role, or the default; `"depends"` if instances differ, and empty without a plugin."""
        if self.plugin is None:
            return ""
        role = getattr(self.plugin, "role", "actor")
        return role if isinstance(role, str) else "depends"

    @property
    def doc(self) -> str:
        """The plugin's docstring with its indentation removed; empty for a plugin without docstring."""
        is_instance = not isinstance(self.plugin, type | types.ModuleType | types.FunctionType)
        return (inspect.getdoc(type(self.plugin) if is_instance else self.plugin) or "") if self.plugin is not None else ""

    @property
    def description(self) -> str:
        """The first line of the docstring."""
        return self.doc.partition("\n")[0]

    @property
    def verdict(self) -> str:
        """The status, with its reason if there is one."""
        return f"{self.status}: {self.reason}" if self.reason else self.status

    def hooks(self) -> dict[str, tuple[str, str]]:
        """Return the hooks that it implements, in the order of `HOOKS`, each with its marks and the docstring's first line."""
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


def installed(environ: Mapping[str, str] = os.environ) -> list[InstalledPlugin]:
    """Return every plugin that an entry point offers: the autoload group, in the order of its calls, then the catalogue.

    Packages whose entry points cannot be read come last, each as one plugin.
    """
    unreadable = discovery.read_entry_points(discovery.AUTOLOAD)[1]
    packages = [
        InstalledPlugin(broken.origin, "package", broken.origin, "entry_points.txt", "broken", broken.reason)
        for broken in unreadable
    ]
    return [*_autoloaded(environ), *_catalogue(environ), *packages]


def _autoloaded(environ: Mapping[str, str]) -> Iterable[InstalledPlugin]:
    first: dict[str, InstalledPlugin] = {}
    for entry in discovery.entry_points(discovery.AUTOLOAD):
        plugin = _unloaded(entry, "autoload")
        if discovery.is_blocked(entry.name, discovery.blocked_names(environ)):
            plugin = attrs.evolve(plugin, status="blocked", reason=f"by {discovery.DISABLE}")
        elif not discovery.autoload_allowed(environ):
            plugin = attrs.evolve(plugin, status="off", reason=f"by {discovery.NO_AUTOLOAD}")
        elif entry.name in first:
            plugin = attrs.evolve(plugin, status="shadowed", reason=f"by the plugin of {first[entry.name].origin}")
        else:
            plugin = first[entry.name] = _load(plugin, entry)
        yield plugin


def _catalogue(environ: Mapping[str, str]) -> Iterable[InstalledPlugin]:
    entries = discovery.entry_points(discovery.CATALOGUE)
    for entry in entries:
        plugin = _unloaded(entry, "catalogue")
        same = [other for other in entries if other.name == entry.name]
        rivals = [discovery.distribution(other) for other in same if other.value != entry.value]
        if discovery.is_blocked(entry.name, discovery.blocked_names(environ)):
            yield attrs.evolve(plugin, status="blocked", reason=f"by {discovery.DISABLE}")
        elif rivals:
            yield attrs.evolve(plugin, status="ambiguous", reason=f"offered by {', '.join(rivals)} too, so the name is refused")
        elif entry is not same[0]:
            yield attrs.evolve(
                plugin, status="shadowed", reason=f"the same target is offered by {discovery.distribution(same[0])}"
            )
        else:
            yield _load(plugin, entry)


def _unloaded(entry: metadata.EntryPoint, kind: Kind) -> InstalledPlugin:
    return InstalledPlugin(entry.name, kind, discovery.distribution(entry), entry.value)


def _load(plugin: InstalledPlugin, entry: metadata.EntryPoint) -> InstalledPlugin:
    """Import `entry` and return `plugin` with the result. An autoloaded plugin is also made and registered, as every run does."""
    try:
        target = discovery.load(entry)
        if plugin.kind == "autoload":
            (registered,) = Engine([(plugin.name, target() if callable(target) else target)], autoload=False).plugins
            return attrs.evolve(plugin, plugin=registered.plugin, methods=registered.hooks)
        found = attrs.evolve(plugin, plugin=target, methods=target)
        found.role, found.doc, found.hooks(), spec_string.parameters_of(target)
    except BaseException as error:  # a third party may raise anything, and that is what is reported
        if interrupts(error):
            raise
        return attrs.evolve(plugin, status="broken", reason=describe(error))
    return found


def notes(listed: Sequence[InstalledPlugin], environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return notes on the list: what the environment changes, and each hook whose calls are not in the order of the list."""
    names = {plugin.name for plugin in listed}
    found = list(discovery.unknown_names(discovery.blocked_names(environ), names))
    if not discovery.autoload_allowed(environ):
        found.append(f"{discovery.NO_AUTOLOAD} is set: nothing is autoloaded.")
    added = [request.called for request in finding.from_environment(environ)]
    if added:
        found.append(f"{finding.PLUGINS} adds to every run: {', '.join(added)}.")
    engine = Engine(
        [(plugin.name, plugin.plugin) for plugin in listed if plugin.kind == "autoload" and plugin.status == "ok"], autoload=False
    )
    for hook in HOOKS:
        order = engine.order(hook)
        if order != [name for name in engine.names if name in order]:
            found.append(f"{hook} is called in the order {', '.join(order)}.")
    return found
