"""Inspect a plugin at its registration: find what it implements, and every mistake that shows before it runs."""

from __future__ import annotations

import contextlib
import importlib
import os
import types
import typing
import weakref
from typing import TYPE_CHECKING, Any, Final

import attrs
import pluggy

from hookcore import specs
from hookcore.errors import PluginError, RegistrationError
from hookcore.markers import PROJECT
from hookcore.numeric import unwrapped
from hookcore.raised import describe
from hookcore.registry.discovery import asked
from hookcore.registry.marked_methods import Marked, marked_methods
from hookcore.secrecy import HIDDEN, is_secret
from hookcore.specs import HOOKS
from hookcore.text import did_you_mean
from hookcore.trainee import Capability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hookcore.registry.discovery import Found
    from hookcore.store import SavedCheckpoint
    from hookcore.trainee import Snapshot

_SPECS: Final[Any] = Marked({hook: getattr(specs, hook) for hook in HOOKS})


@attrs.frozen(eq=False)
class Registered:
    """A plugin in an engine, with what the engine found when it was registered."""

    name: str
    plugin: Any
    origin: str
    hooks: object
    """Only the marked methods. pluggy gets this object, so that it never touches the plugin's other attributes."""
    autoloaded: bool = False
    """Whether it takes part because of an entry point, and was not asked for."""
    is_observer: bool = False
    """Whether the run continues after an error in this plugin, unless `on_error` overrides it."""
    needs: tuple[Capability, ...] = ()
    """The capabilities that the trainee must have."""
    shows_progress: bool = False
    """Whether the plugin shows progress."""
    holds_snapshots: bool = False
    """Whether the plugin may hold snapshots of the trainee, which a checkpoint stores too."""
    is_resumable: bool = False
    """Whether the plugin has a method `resumable`."""
    initial_state: str | None = None
    """The state before the first run, as JSON text, so that each run gets a copy; None if the plugin keeps no state."""

    def __reduce__(self) -> tuple[Callable[..., Registered], tuple[Any, ...]]:
        # The hooks are found again, because pickle finds a method by its function's name, which may be another method's name.
        is_module = isinstance(self.plugin, types.ModuleType)
        given = {name: getattr(self, name) for name in _PLAIN}
        return _find_again, (self.plugin.__name__ if is_module else self.plugin, is_module, given)

    def reset(self) -> None:
        """Put the plugin into its state before the first run."""
        from hookcore import state

        if self.initial_state is not None:
            self.plugin.load_state_dict(state.loads(self.initial_state))

    def saved_state(self) -> Any:
        """Return a copy of the plugin's state, or None if it keeps no state.

        Raises `RegistrationError` if the state is not JSON-able, and what `state_dict` raises.
        """
        return None if self.initial_state is None else _as_json(self.name, "state_dict", self.plugin.state_dict())

    def held_snapshots(self) -> dict[str, Snapshot]:
        """Return the snapshots that the plugin holds. Raises `RegistrationError` if their keys are not strings."""
        held = dict(self.plugin.snapshots()) if self.holds_snapshots else {}
        if not all(isinstance(key, str) for key in held):
            raise RegistrationError(f"Plugin {self.name!r}: snapshots must return strings as keys, got {list(held)!r}.")
        return held

    def newest_checkpoint(self) -> SavedCheckpoint | None:
        """Return the plugin's newest checkpoint to resume from, or None before its first one. Raises what `resumable` raises."""
        from hookcore.store import SavedCheckpoint

        found = self.plugin.resumable() if self.is_resumable else None
        if not isinstance(found, SavedCheckpoint | None):
            raise PluginError(f"Plugin {self.name!r}: resumable must return a SavedCheckpoint or None, got {found!r}.")
        return found

    @property
    def type_name(self) -> str:
        """The name under which checkpoints know the plugin's class, or its module's name."""
        if isinstance(self.plugin, types.ModuleType):
            return self.plugin.__name__
        kind = type(self.plugin)
        # Not inherited, because a subclass is another class. A property or method of that name does not count.
        declared = vars(kind).get("type_name")
        return declared if isinstance(declared, str) else f"{kind.__module__}.{kind.__qualname__}"

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of an attrs plugin as JSON-able values; an empty dict for another plugin.

        A value that is not JSON-able is replaced by the name of its type. All that is recorded or shown of parameters comes from
        here, so secrets are hidden here.
        """
        kind = type(self.plugin)
        fields: Any = attrs.fields(kind) if attrs.has(kind) else ()
        found = {
            field.alias: HIDDEN if is_secret(field.alias, kind) else _jsonable(getattr(self.plugin, field.name))
            for field in fields
            if field.init
        }
        return dict(_as_json(self.name, "a parameter", found)) if found else {}

    def chosen_parameters(self) -> list[str]:
        """Return the names of the parameters that differ from their defaults, or that have no default."""
        fields: Any = attrs.fields(type(self.plugin)) if attrs.has(type(self.plugin)) else ()
        return [field.alias for field in fields if field.init and not _is_default(self.plugin, field)]


_EMPTY: Final = (list, dict, set, tuple, frozenset)
_PLAIN: Final = tuple(field.name for field in attrs.fields(Registered) if field.name not in {"plugin", "hooks"})


def _find_again(plugin: Any, is_module: bool, given: Mapping[str, Any]) -> Registered:  # noqa: FBT001 - pickle gives it
    found = importlib.import_module(plugin) if is_module else plugin
    return Registered(plugin=found, hooks=marked_methods(given["name"], found), **given)


def _jsonable(value: Any) -> Any:
    value = unwrapped(value)
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, dict):
        return {str(key): HIDDEN if is_secret(str(key)) else _jsonable(item) for key, item in value.items()}
    return os.fspath(value) if isinstance(value, os.PathLike) else type(value).__name__


def _is_default(plugin: Any, field: attrs.Attribute[Any]) -> bool:
    default = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # a class, whatever its stub says
        made: Any = default.factory  # type: ignore[union-attr]
        if made not in _EMPTY:  # another function may have effects
            return False
        default = made()
    value = getattr(plugin, field.name)
    return value is default or bool(_jsonable(value) == _jsonable(default))


def examine(found: Found) -> Registered:
    """Check a plugin and return it with the results. Raises `RegistrationError` for any mistake in it."""
    return asked(found.name, "inspection", lambda: _examine(found))


def _examine(found: Found) -> Registered:
    name, plugin = found.name, found.plugin
    registered = Registered(
        name,
        plugin,
        found.origin,
        marked_methods(name, plugin),
        found.autoloaded,
        is_observer=_role(name, plugin) == "observer",
        needs=_needs(name, plugin),
        shows_progress=asked(name, "shows_progress", lambda: bool(getattr(plugin, "shows_progress", False))),
        holds_snapshots=asked(name, "snapshots", lambda: hasattr(plugin, "snapshots") and hasattr(plugin, "load_snapshots")),
        is_resumable=asked(name, "resumable", lambda: callable(getattr(plugin, "resumable", None))),
        initial_state=_initial_state(found),
    )
    try:
        implementations([registered])
    except pluggy.PluginValidationError as error:
        raise RegistrationError(f"Plugin {name!r}: {error}") from error
    return registered


def show_progress(plugins: Iterable[Registered]) -> bool:
    """Return whether one of `plugins` shows progress, so that a loop's own progress bar would be a second one."""
    return any(registered.shows_progress for registered in plugins)


def implementations(plugins: Iterable[Registered]) -> dict[str, list[pluggy.HookImpl]]:
    """Return the implementations of each hook in pluggy's order: the last is called first."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(_SPECS)
    # Reversed, because pluggy calls the last registered first, and plugins are called in the order listed.
    for registered in reversed(list(plugins)):
        manager.register(registered.hooks, registered.name)
    return {hook: getattr(manager.hook, hook).get_hookimpls() for hook in HOOKS}


_INITIAL_STATES: Final[dict[int, tuple[weakref.ref[Any], str]]] = {}
"""Each plugin's state before its first run, by the plugin's id, because it may not be hashable. Removed with the plugin."""


def _initial_state(found: Found) -> str | None:
    """Return a plugin's state before its first run, even if another engine has used it; None if it keeps no state."""
    plugin: Any = found.plugin
    saves = asked(found.name, "state_dict", lambda: hasattr(plugin, "state_dict"))
    loads = asked(found.name, "load_state_dict", lambda: hasattr(plugin, "load_state_dict"))
    if saves != loads:
        raise RegistrationError(f"Plugin {found.name!r} must have both state_dict and load_state_dict, or neither.")
    if not saves:
        return None
    if id(plugin) in _INITIAL_STATES:
        return _INITIAL_STATES[id(plugin)][1]
    initial = asked(found.name, "state_dict", lambda: state_text(found.name, "state_dict", _as_made(plugin).state_dict()))
    key = id(plugin)
    with contextlib.suppress(TypeError):  # a plugin without weak references starts from its current state in another engine
        _INITIAL_STATES[key] = (weakref.ref(plugin, lambda _: _INITIAL_STATES.pop(key, None)), initial)
    return initial


def _as_made(plugin: Any) -> Any:
    """Return a new plugin with the parameters of `plugin`, which may be a copy of a used one; itself if it is not of attrs."""
    if attrs.has(type(plugin)):
        with contextlib.suppress(Exception):  # its own __init__ may take other arguments
            return attrs.evolve(plugin)
    return plugin


def state_text(name: str, what: str, given: Any) -> str:
    """Return `given`, which `what` of a plugin returned, as JSON text. Raises `RegistrationError` if it is not JSON-able."""
    from hookcore import state

    try:
        return state.dumps(given)
    except (TypeError, ValueError, RecursionError) as error:
        raise RegistrationError(f"Plugin {name!r}: {what} returned a value that cannot be saved. {describe(error)}") from error


def _as_json(name: str, what: str, given: Any) -> Any:
    """Return a copy of `given` as a checkpoint would restore it. Raises as `state_text` does."""
    from hookcore import state

    return state.loads(state_text(name, what, given))


def _role(name: str, plugin: Any) -> str:
    role = asked(name, "role", lambda: getattr(plugin, "role", "actor"))
    if not (isinstance(role, str) and role in {"observer", "actor"}):
        hint = did_you_mean(role, ["observer", "actor"]) if isinstance(role, str) else ""
        raise RegistrationError(f"Plugin {name!r}: role must be 'observer' or 'actor', got {role!r}.{hint}")
    return role


def _needs(name: str, plugin: Any) -> tuple[Capability, ...]:
    needs = asked(name, "needs", lambda: getattr(plugin, "needs", ()))
    capabilities = typing.get_args(Capability)
    given = list(needs) if isinstance(needs, list | tuple | set | frozenset) else [needs]
    unknown = [need for need in given if not (isinstance(need, str) and need in capabilities)]
    if unknown or isinstance(needs, str):
        hint = did_you_mean(str(given[0] if isinstance(needs, str) else unknown[0]), capabilities)
        raise RegistrationError(
            f"Plugin {name!r}: needs must be a tuple of names out of {', '.join(capabilities)}, got {needs!r}.{hint}"
        )
    return tuple(given)
