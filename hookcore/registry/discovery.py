"""Which plugins there are: from objects, from names and spec strings, from entry points; and what is blocked or broken."""

from __future__ import annotations

import inspect
import logging
import os
import types
import warnings
from typing import TYPE_CHECKING, Final

import attrs

from hookcore.errors import HookcoreWarning, LoadError, ParameterError, SpecError
from hookcore.text import describe, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from importlib import metadata

logger = logging.getLogger("hookcore")

CATALOGUE: Final = "hookcore.plugins"
"""Entry-point group: name to factory, used when a plugin is asked for by name."""
AUTOLOAD: Final = "hookcore.autoload"
"""Entry-point group: active in every run."""
DISABLE: Final = "HOOKCORE_DISABLE_PLUGINS"
"""Environment variable: names, separated by commas, that are not imported and not run."""
NO_AUTOLOAD: Final = "HOOKCORE_NO_AUTOLOAD"
"""Environment variable: 1 loads nothing of the autoload group."""


@attrs.frozen
class Found:
    """A plugin, under which name, and where it came from."""

    name: str
    plugin: object
    origin: str
    autoloaded: bool = False


def blocked_names(environ: Mapping[str, str] = os.environ) -> frozenset[str]:
    """The plugin names that the environment blocks."""
    return frozenset(name.strip() for name in environ.get(DISABLE, "").split(",") if name.strip())


def autoload_allowed(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment lets the autoload group load."""
    return environ.get(NO_AUTOLOAD, "").lower() in {"", "0", "false", "no"}


def entry_points(group: str) -> list[metadata.EntryPoint]:
    """The entry points of `group`, by name and then by distribution. Nothing is imported."""
    from importlib import metadata  # as dear as the rest of the package together, and needed only where an engine is made

    return sorted(metadata.entry_points(group=group), key=lambda entry: (entry.name, distribution(entry)))


def distribution(entry: metadata.EntryPoint) -> str:
    """The distribution and version that an entry point comes from, as in `hookcore 0.1.0`."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown distribution"


def find(asked: Iterable[object], *, autoload: bool = True, environ: Mapping[str, str] = os.environ) -> Iterator[Found]:
    """The plugins asked for, in their order, then those of the autoload group, less what the environment blocks.

    An item is a plugin, a spec string (see `from_spec`), or a pair `(name, either)` that names it. A plugin given
    explicitly wins over an autoloaded one of the same name.
    """
    blocked = blocked_names(environ)
    names = set()
    for item in asked:
        name, given = item if isinstance(item, tuple) and len(item) == 2 else (None, item)  # noqa: PLR2004 - a pair
        spec_name = given.partition(":")[0].strip() if isinstance(given, str) else None
        if {name, spec_name} & blocked:
            logger.warning("plugin %r was asked for and is blocked by %s", name or spec_name, DISABLE)
            continue
        found = from_spec(given) if isinstance(given, str) else Found(name_of(given), given, _origin(given))
        found = attrs.evolve(found, name=name or found.name)
        if found.name in blocked:
            logger.warning("plugin %r was asked for and is blocked by %s", found.name, DISABLE)
        else:
            names.add(found.name)
            yield found
    if autoload and autoload_allowed(environ):
        for entry in entry_points(AUTOLOAD):
            if entry.name not in blocked | names:
                names.add(entry.name)
                yield from _autoloaded(entry)


def _autoloaded(entry: metadata.EntryPoint) -> Iterator[Found]:
    try:
        target = entry.load()
        yield Found(entry.name, target() if callable(target) else target, distribution(entry), autoloaded=True)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a third party's import may do anything, and must not stop the run
        warn_without(entry.name, distribution(entry), error)


def warn_without(name: str, origin: str, error: BaseException) -> None:
    """Say that an autoloaded plugin could not be loaded: a broken package must not break every run."""
    warnings.warn(
        f"Plugin {name!r} of {origin} could not be loaded, and the run goes on without it: {describe(error)}. "
        f"To silence this, set {DISABLE}={name}.",
        HookcoreWarning,
        stacklevel=2,
    )


def name_of(plugin: object) -> str:
    """A plugin's own `name` where it has one, else its class's or module's name in snake case."""
    own = getattr(plugin, "name", None)
    if isinstance(own, str) and own:
        return own
    if isinstance(plugin, types.ModuleType):
        return plugin.__name__.rpartition(".")[2]
    name = (plugin if inspect.isclass(plugin) else type(plugin)).__name__
    words = "".join(
        "_" + letter if letter.isupper() and i and (name[i - 1].islower() or name[i + 1 : i + 2].islower()) else letter
        for i, letter in enumerate(name)
    )
    return words.lower()


def _origin(plugin: object) -> str:
    return plugin.__name__ if isinstance(plugin, types.ModuleType) else type(plugin).__module__


def from_spec(spec: str) -> Found:
    """The plugin that a string asks for: `"early_stopping"` or `"early_stopping:patience=3,monitor=val_loss"`.

    Values are converted to the type of the factory's parameter. A value with a comma in it goes into double quotes. Raises
    `SpecError` for an unknown plugin or parameter and for a value that does not fit, `LoadError` where the import fails.
    """
    from hookcore.registry.spec_string import parse_arguments

    name, _, text = (part.strip() for part in spec.partition(":"))
    found = [entry for entry in entry_points(CATALOGUE) if entry.name == name]
    if not found:
        names = [entry.name for entry in entry_points(CATALOGUE)]
        raise SpecError(f"No plugin is called {name!r}; there are: {', '.join(names) or 'none'}.{did_you_mean(name, names)}")
    if len({entry.value for entry in found}) > 1:
        offers = " and by ".join(map(distribution, found))
        raise SpecError(f"Plugin {name!r} is offered by {offers}. Uninstall one, or pass the object instead of its name.")
    entry = found[0]
    try:
        factory = entry.load()
    except Exception as error:
        raise LoadError(
            f"Plugin {name!r} of {distribution(entry)} could not be imported from {entry.value!r}: {describe(error)}"
        ) from error
    arguments = parse_arguments(spec, text, factory)
    try:
        return Found(name, factory(**arguments) if callable(factory) else factory, distribution(entry))
    except (TypeError, ParameterError) as error:
        raise SpecError(f"Plugin spec {spec!r}: {error}") from error
    except Exception as error:
        raise LoadError(f"Plugin {name!r} of {distribution(entry)} could not be made: {type(error).__name__}: {error}") from error
