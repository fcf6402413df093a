"""Registration: find what a plugin implements, and every mistake that can be found before it runs."""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
import os
import types
import typing
import weakref
from typing import TYPE_CHECKING, Any, Final

import attrs
import pluggy

from hookcore import specs
from hookcore.errors import RegistrationError
from hookcore.markers import PROJECT
from hookcore.numeric import unwrapped
from hookcore.specs import HOOKS
from hookcore.text import did_you_mean
from hookcore.trainee import Capability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hookcore.registry.discovery import Found
    from hookcore.store import SavedCheckpoint


class _Marked:
    """Holds marked functions as attributes: a plugin's methods, or the specs of the hooks.

    Compared by identity, because pluggy refuses a second plugin that equals one that it has.
    """

    def __init__(self, functions: Mapping[str, Callable[..., object]]) -> None:
        vars(self).update(functions)

    def __dir__(self) -> Iterable[str]:
        """Return the functions' names only: pluggy inspects every listed attribute each time a run begins."""
        return vars(self)


_SPECS: Final[Any] = _Marked({hook: getattr(specs, hook) for hook in HOOKS})


@attrs.frozen(eq=False)
class Registered:
    """A plugin in an engine, with what the engine found when it was registered."""

    name: str
    plugin: Any
    origin: str
    hooks: _Marked
    """The marked methods only. pluggy gets this object, so that it never touches the plugin's other attributes."""
    initial_state: Any
    """The result of `state_dict` before the first run, from which each run starts; None if the plugin keeps no state."""

    def __reduce__(self) -> tuple[Callable[..., Registered], tuple[Any, ...]]:
        # The hooks are found again: pickle refers to a method by its function's name, under which the class may have another.
        if isinstance(self.plugin, types.ModuleType):
            return _import_again, (self.name, self.plugin.__name__, self.origin, self.initial_state)
        return _find_again, (self.name, self.plugin, self.origin, self.initial_state)

    @property
    def is_observer(self) -> bool:
        """Whether the run continues after an error in this plugin, unless `on_error` overrides it."""
        return bool(getattr(self.plugin, "role", "actor") == "observer")

    @property
    def holds_snapshots(self) -> bool:
        """Whether the plugin may hold snapshots of the trainee, which a checkpoint stores too."""
        return hasattr(self.plugin, "snapshots") and hasattr(self.plugin, "load_snapshots")

    def saved_state(self) -> Any:
        """Return the plugin's state, or None if it keeps no state. Raises `RegistrationError` if the state is not JSON-able."""
        if self.initial_state is None:
            return None
        saved = self.plugin.state_dict()
        check_state(self.name, saved)
        return saved

    @property
    def needs(self) -> tuple[Capability, ...]:
        """The capabilities that the trainee must have."""
        return tuple(getattr(self.plugin, "needs", ()))

    @property
    def shows_progress(self) -> bool:
        """Whether the plugin shows progress."""
        return bool(getattr(self.plugin, "shows_progress", False))

    @property
    def resumable(self) -> Callable[[], SavedCheckpoint | None] | None:
        """The plugin's method that returns the newest checkpoint to resume from, or None if it has no such method."""
        found: Any = getattr(self.plugin, "resumable", None)
        return found if callable(found) else None

    @property
    def type_name(self) -> str:
        """The name under which checkpoints know the plugin's class, or its module's name."""
        if isinstance(self.plugin, types.ModuleType):
            return self.plugin.__name__
        kind = type(self.plugin)
        # Not inherited: a subclass is another class. A property or method of that name is something else.
        declared = vars(kind).get("type_name")
        return declared if isinstance(declared, str) else f"{kind.__module__}.{kind.__qualname__}"

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of an attrs plugin as JSON-able values, other values as the name of their type; else empty."""
        fields: Any = attrs.fields(type(self.plugin)) if attrs.has(type(self.plugin)) else ()
        return {field.alias: _jsonable(getattr(self.plugin, field.name)) for field in fields if field.init}


def _find_again(name: str, plugin: Any, origin: str, initial_state: Any) -> Registered:
    return Registered(name, plugin, origin, _marked_methods(name, plugin), initial_state)


def _import_again(name: str, module: str, origin: str, initial_state: Any) -> Registered:
    return _find_again(name, importlib.import_module(module), origin, initial_state)


def _jsonable(value: Any) -> Any:
    value = unwrapped(value)
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else type(value).__name__


def examine(found: Found) -> Registered:
    """Check a plugin and return it with what was found. Raises `RegistrationError` for any mistake in it."""
    hooks = _marked_methods(found.name, found.plugin)
    _check_declarations(found.name, found.plugin)
    try:
        implementations([Registered(found.name, found.plugin, found.origin, hooks, None)])
    except pluggy.PluginValidationError as error:
        raise RegistrationError(f"Plugin {found.name!r}: {error}") from error
    return Registered(found.name, found.plugin, found.origin, hooks, _initial_state(found))


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


_INITIAL_STATES: Final[dict[int, tuple[weakref.ref[Any], Any]]] = {}
"""Each plugin's state before its first run, by the plugin's id, as a plugin need not be hashable. Removed with the plugin."""


def _initial_state(found: Found) -> Any:
    """Return a plugin's state before its first run, even if it was used in another engine; None if it keeps no state."""
    plugin: Any = found.plugin
    saves, loads = hasattr(plugin, "state_dict"), hasattr(plugin, "load_state_dict")
    if saves != loads:
        raise RegistrationError(f"Plugin {found.name!r} must have both state_dict and load_state_dict, or neither.")
    if not saves:
        return None
    if id(plugin) in _INITIAL_STATES:
        return _INITIAL_STATES[id(plugin)][1]
    initial = copy.deepcopy(_as_made(plugin).state_dict())
    check_state(found.name, initial)
    key = id(plugin)
    with contextlib.suppress(TypeError):  # without weak references, another engine would start from the state at that time
        _INITIAL_STATES[key] = (weakref.ref(plugin, lambda _: _INITIAL_STATES.pop(key, None)), initial)
    return initial


def _as_made(plugin: Any) -> Any:
    """Return a plugin like `plugin` that no run has used: it may be a copy of one that was used. Itself, unless attrs made it."""
    if attrs.has(type(plugin)):
        with contextlib.suppress(Exception):  # it has an __init__ of its own, which takes something else
            return attrs.evolve(plugin)
    return plugin


def check_state(name: str, given: Any) -> None:
    """Raise `RegistrationError` for state that is not JSON-able, since no checkpoint could store it."""
    from hookcore import state

    try:
        state.dumps(given)
    except TypeError as error:
        raise RegistrationError(f"Plugin {name!r}: state_dict returned a value that cannot be saved. {error}") from error


def _check_declarations(name: str, plugin: Any) -> None:
    role, needs = getattr(plugin, "role", "actor"), getattr(plugin, "needs", ())
    if role not in {"observer", "actor"}:
        hint = did_you_mean(str(role), ["observer", "actor"])
        raise RegistrationError(f"Plugin {name!r}: role must be 'observer' or 'actor', got {role!r}.{hint}")
    capabilities = typing.get_args(Capability)
    for need in [needs] if isinstance(needs, str) else needs:
        if isinstance(needs, str) or need not in capabilities:
            hint = did_you_mean(str(need), capabilities)
            raise RegistrationError(
                f"Plugin {name!r}: needs must be a tuple of names out of {', '.join(capabilities)}, got {needs!r}.{hint}"
            )


def _marked_methods(name: str, plugin: object) -> _Marked:
    """Return the methods of `plugin` that are marked with `@hookimpl`.

    Raises `RegistrationError` for mistakes that pluggy would ignore, or report less clearly.
    """
    if inspect.isclass(plugin):
        raise RegistrationError(f"Plugin {name!r} is a class; pass an instance: {plugin.__name__}(...).")
    own = [plugin] if isinstance(plugin, types.ModuleType | types.SimpleNamespace) else []
    owners = [*reversed(type(plugin).__mro__), *own]
    statics = {attribute: value for owner in owners for attribute, value in vars(owner).items()}
    reader = pluggy.PluginManager(PROJECT)
    methods = {}
    for attribute in sorted({*statics, *HOOKS}):
        static = statics.get(attribute)
        if isinstance(static, property) or not (attribute.startswith("on_") or inspect.isfunction(static)):
            continue
        method = getattr(plugin, attribute, None)
        if method is None or not callable(method):
            continue
        options = reader.parse_hookimpl_opts(types.SimpleNamespace(**{attribute: method}), attribute)
        if options is None:
            if attribute.startswith("on_"):
                raise RegistrationError(
                    f"Plugin {name!r}: method {attribute} is not marked with @hookimpl, so it would never be called."
                    f"{'' if attribute in HOOKS else did_you_mean(attribute, HOOKS)}"
                )
            continue
        _check_signature(name, attribute, method, options)
        methods[attribute] = method
    if not methods:
        raise RegistrationError(f"Plugin {name!r} ({plugin!r}) has no method marked with @hookimpl.")
    return _Marked(methods)


def _check_signature(plugin: str, method: str, function: Callable[..., object], options: Mapping[str, Any]) -> None:
    hook = options.get("specname") or method
    if hook not in HOOKS:
        hint = did_you_mean(hook, HOOKS) or f" There are: {', '.join(HOOKS)}."
        raise RegistrationError(f"Plugin {plugin!r}: there is no hook {hook!r}.{hint}")
    if options.get("hookwrapper"):
        raise RegistrationError(f"Plugin {plugin!r}: {method} is marked hookwrapper=True, pluggy's old style; use wrapper=True.")
    if not options.get("wrapper") and (inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function)):
        raise RegistrationError(
            f"Plugin {plugin!r}: {method} is a generator or a coroutine, which the engine would never run. "
            "Make it a plain function; mark a wrapper with @hookimpl(wrapper=True)."
        )
    for name, parameter in inspect.signature(function).parameters.items():
        positional = parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
        required = positional and parameter.default is parameter.empty
        if parameter.kind is parameter.KEYWORD_ONLY:
            raise RegistrationError(
                f"Plugin {plugin!r}: {method} has a keyword-only argument {name!r}, which pluggy never gives; drop the '*'."
            )
        if required and name not in HOOKS[hook]:
            raise RegistrationError(
                f"Plugin {plugin!r}: {method} has an argument {name!r}, which {hook}({', '.join(HOOKS[hook])}) does not give."
                f"{did_you_mean(name, HOOKS[hook])}"
            )
