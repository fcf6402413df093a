"""Read which plugins are installed, from entry points and their distributions, and which ones the environment blocks."""

from __future__ import annotations

import inspect
import logging
import os
import types
import warnings
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from hookcore.errors import HookcoreWarning, RegistrationError
from hookcore.raised import describe, interrupts
from hookcore.registry.place import Place
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from importlib import metadata

T = TypeVar("T")

logger = logging.getLogger("hookcore")

CATALOGUE: Final = "hookcore.plugins"
"""The entry-point group of factories by name, for plugins that are requested by name."""
AUTOLOAD: Final = "hookcore.autoload"
"""The entry-point group of the plugins that take part in every run."""
DISABLE: Final = "HOOKCORE_DISABLE_PLUGINS"
"""The environment variable with the names, separated by commas, of plugins that are neither imported nor run.

A dash in a name counts as an underscore. A name that no plugin has is logged, with the most similar name.
"""
NO_AUTOLOAD: Final = "HOOKCORE_NO_AUTOLOAD"
"""The environment variable that, set to 1, disables the autoload group."""


@attrs.frozen
class Found:
    """A plugin with its name and its `origin`, the distribution or module that it comes from."""

    name: str
    plugin: object
    origin: str
    autoloaded: bool = False
    replaces: tuple[str, ...] = ()
    """The autoloaded plugins that it replaces, besides one that has its name."""
    source: str = "code"
    """Who asked for it: `code`, `configuration`, `environment` or `autoload`."""
    place: Place = attrs.field(factory=Place)
    """Where it was asked for."""
    target: str = ""
    """The name in the catalogue that was asked for; empty for an object and for an autoloaded plugin."""


@attrs.frozen
class Unreadable:
    """A distribution whose entry points cannot be read, and why."""

    origin: str
    reason: str


def blocked_names(environ: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Return the plugin names that the environment blocks, with underscores for dashes: see `is_blocked`."""
    return frozenset(_underscored(name.strip()) for name in environ.get(DISABLE, "").split(",") if name.strip())


def is_blocked(name: str | None, blocked: Collection[str]) -> bool:
    """Return whether `name` is one of the names that `blocked_names` returned. A dash counts as an underscore."""
    return name is not None and _underscored(name) in blocked


def unknown_names(blocked: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    """Yield a sentence about each blocked name that is not in `known`, with the most similar known name."""
    underscored = {_underscored(name): name for name in known}
    for name in sorted(set(blocked) - underscored.keys()):
        yield f"{DISABLE} names {name!r}, and no installed plugin is called that.{did_you_mean(name, underscored)}"


def _underscored(name: str) -> str:
    return name.replace("-", "_")


def autoload_allowed(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the environment allows the autoload group."""
    return environ.get(NO_AUTOLOAD, "").lower() in {"", "0", "false", "no"}


def entry_points(group: str) -> list[metadata.EntryPoint]:
    """Return the entry points of `group`, sorted by name and then by distribution. None of them is imported."""
    return read_entry_points(group)[0]


def read_entry_points(group: str) -> tuple[list[metadata.EntryPoint], list[Unreadable]]:
    """Return what `entry_points` returns, and the distributions whose entry points cannot be read."""
    from importlib import metadata  # as slow to import as the rest of the package, and only an engine needs it

    found: list[metadata.EntryPoint] = []
    unreadable: list[Unreadable] = []
    try:
        found += metadata.entry_points(group=group)
    except Exception:  # noqa: BLE001 - a distribution's file is malformed, which may raise anything: read one by one
        seen = set()
        for installed in metadata.distributions():
            origin = _origin_of(installed)
            try:
                own = [entry for entry in installed.entry_points if entry.group == group]
            except Exception as error:  # noqa: BLE001
                unreadable.append(Unreadable(origin, describe(error)))
            else:
                found += () if origin in seen else own  # the first one on the path counts, as in an import
            seen.add(origin)
    return sorted(found, key=lambda entry: (entry.name, distribution(entry))), unreadable


def distribution(entry: metadata.EntryPoint) -> str:
    """Return the distribution and version that an entry point comes from, such as `hookcore 0.1.0`."""
    return _origin_of(entry.dist) if entry.dist else "unknown distribution"


def _origin_of(installed: metadata.Distribution) -> str:
    try:
        name, version = installed.name, installed.version
    except Exception:  # noqa: BLE001 - its METADATA is malformed or missing, which may raise anything
        name = ""  # as in METADATA without a name
    return f"{name} {version}" if name else f"a distribution in {installed.locate_file('')}"


def load(entry: metadata.EntryPoint) -> Any:
    """Import the object of an entry point, and return it. Raises `RegistrationError` if the entry point has no name."""
    if not entry.name:
        raise RegistrationError(f"the entry point {entry.value!r} has no name; write name = {entry.value}")
    return entry.load()


def warn_left_out(name: str, origin: str, error: BaseException) -> None:
    """Warn that an autoloaded plugin could not be loaded: a broken package must not break every run."""
    warnings.warn(
        f"Plugin {name!r} of {origin} could not be loaded, and runs continue without it: {describe(error)}. "
        f"To silence this, {f'set {DISABLE}={name}' if name else 'uninstall it'}.",
        HookcoreWarning,
        stacklevel=2,
    )


def asked(name: str, what: str, question: Callable[[], T]) -> T:
    """Return `question()`, which asks a plugin at its registration. Turns any error into a `RegistrationError`."""
    try:
        return question()
    except BaseException as error:
        if interrupts(error) or isinstance(error, RegistrationError):
            raise
        raise RegistrationError(f"Plugin {name!r} cannot be registered: its {what} raised {describe(error)}.") from error


def name_of(plugin: object) -> str:
    """Return a plugin's own `name` if it has one, otherwise the name of its class in snake case, or of its module."""
    by_default = _default_name(plugin)
    own = asked(by_default, "name", lambda: getattr(plugin, "name", None))
    return own if isinstance(own, str) and own else by_default


def _default_name(plugin: object) -> str:
    if isinstance(plugin, types.ModuleType):
        return plugin.__name__.rpartition(".")[2]
    name = (plugin if inspect.isclass(plugin) else type(plugin)).__name__
    words = "".join(
        "_" + letter if letter.isupper() and i and (name[i - 1].islower() or name[i + 1 : i + 2].islower()) else letter
        for i, letter in enumerate(name)
    )
    return words.lower()
