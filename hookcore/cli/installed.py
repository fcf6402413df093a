"""The installed plugins: where they come from, and which of them would not run."""

from __future__ import annotations

import inspect
import os
import types
from typing import TYPE_CHECKING, Any, Literal

import attrs
import pluggy

from hookcore.engine import Engine
from hookcore.markers import PROJECT
from hookcore.registry import discovery
from hookcore.specs import HOOKS
from hookcore.text import describe, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from importlib import metadata

Kind = Literal["autoload", "catalogue"]
Status = Literal["ok", "blocked", "off", "shadowed", "ambiguous", "broken"]


@attrs.frozen(eq=False)
class InstalledPlugin:
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


def installed(environ: Mapping[str, str] = os.environ) -> list[InstalledPlugin]:
    """Every plugin that an entry point offers: the autoload group in the order in which it is called, then the catalogue."""
    return [*_autoloaded(environ), *_catalogue(environ)]


def _autoloaded(environ: Mapping[str, str]) -> Iterable[InstalledPlugin]:
    first: dict[str, InstalledPlugin] = {}
    for entry in discovery.entry_points(discovery.AUTOLOAD):
        plugin = _listed(entry, "autoload")
        if entry.name in discovery.blocked_names(environ):
            plugin = attrs.evolve(plugin, status="blocked", reason=f"by {discovery.DISABLE}")
        elif not discovery.autoload_allowed(environ):
            plugin = attrs.evolve(plugin, status="off", reason=f"by {discovery.NO_AUTOLOAD}")
        elif entry.name in first:
            plugin = attrs.evolve(plugin, status="shadowed", reason=f"by the one of {first[entry.name].origin}")
        else:
            plugin = first[entry.name] = _loaded(plugin, entry)
        yield plugin


def _catalogue(environ: Mapping[str, str]) -> Iterable[InstalledPlugin]:
    entries = discovery.entry_points(discovery.CATALOGUE)
    for entry in entries:
        plugin = _listed(entry, "catalogue")
        same = [other for other in entries if other.name == entry.name]
        rivals = [discovery.distribution(other) for other in same if other.value != entry.value]
        if entry.name in discovery.blocked_names(environ):
            yield attrs.evolve(plugin, status="blocked", reason=f"by {discovery.DISABLE}")
        elif rivals:
            yield attrs.evolve(plugin, status="ambiguous", reason=f"offered by {', '.join(rivals)} too, so the name is refused")
        elif entry is not same[0]:
            yield attrs.evolve(
                plugin, status="shadowed", reason=f"the same target is offered by {discovery.distribution(same[0])}"
            )
        else:
            yield _loaded(plugin, entry)


def _listed(entry: metadata.EntryPoint, kind: Kind) -> InstalledPlugin:
    return InstalledPlugin(entry.name, kind, discovery.distribution(entry), entry.value)


def _loaded(plugin: InstalledPlugin, entry: metadata.EntryPoint) -> InstalledPlugin:
    """`one` with what its import gave; an autoloaded plugin is made and registered too, since every run does that."""
    try:
        target = entry.load()
        if plugin.kind == "autoload":
            (registered,) = Engine([(plugin.name, target() if callable(target) else target)], autoload=False).plugins
            return attrs.evolve(plugin, plugin=registered.plugin, methods=registered.hooks)
    except Exception as error:  # noqa: BLE001 - whatever a third party raises is what there is to report
        return attrs.evolve(plugin, status="broken", reason=describe(error))
    return attrs.evolve(plugin, plugin=target, methods=target)


def notes(listed: Sequence[InstalledPlugin], environ: Mapping[str, str] = os.environ) -> list[str]:
    """What is to be said beside the list: the environment's part, and hooks that are called in another order than the list's."""
    names = {plugin.name for plugin in listed}
    said = [
        f"{discovery.DISABLE} names {name!r}, and no installed plugin is called that.{did_you_mean(name, names)}"
        for name in sorted(discovery.blocked_names(environ) - names)
    ]
    if not discovery.autoload_allowed(environ):
        said.append(f"{discovery.NO_AUTOLOAD} is set: nothing is autoloaded.")
    engine = Engine(
        [(plugin.name, plugin.plugin) for plugin in listed if plugin.kind == "autoload" and plugin.status == "ok"], autoload=False
    )
    for hook in HOOKS:
        order = engine.order(hook)
        if order != [name for name in engine.names if name in order]:
            said.append(f"{hook} is called in the order {', '.join(order)}.")
    return said
