"""Registration: what a plugin implements, and every mistake that can be found before it runs."""

from __future__ import annotations

import contextlib
import copy
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
from hookcore.specs import HOOKS
from hookcore.text import did_you_mean
from hookcore.trainee import Capability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hookcore.registry.discovery import Found
    from hookcore.store import SavedCheckpoint


class _Marked:
    """Holds marked functions: a plugin's methods, or the specs of the hooks.

    Compared by identity, as pluggy refuses a second plugin that is equal to one it has.
    """

    def __init__(self, functions: Mapping[str, Callable[..., object]]) -> None:
        vars(self).update(functions)

    def __dir__(self) -> Iterable[str]:
        """Those alone: pluggy looks at everything that is listed, in every run that begins."""
        return vars(self)


_SPECS: Final[Any] = _Marked({hook: getattr(specs, hook) for hook in HOOKS})


@attrs.frozen(eq=False)
class Registered:
    """A plugin in an engine, with what the engine found out about it."""

    name: str
    plugin: Any
    origin: str
    hooks: _Marked
    """The marked methods alone: what pluggy sees, so that it never touches the plugin's other attributes."""
    initial_state: Any
    """What `state_dict` returned before the first run: what each run starts from. None where the plugin keeps no state."""

    @property
    def is_observer(self) -> bool:
        """Whether an error in this plugin leaves the run going."""
        return bool(getattr(self.plugin, "role", "actor") == "observer")

    @property
    def holds_snapshots(self) -> bool:
        """Whether the plugin has snapshots of the trainee that a checkpoint holds too."""
        return hasattr(self.plugin, "snapshots") and hasattr(self.plugin, "load_snapshots")

    def saved_state(self) -> Any:
        """The plugin's state now; None where it keeps none. `RegistrationError` for state that no checkpoint could hold."""
        if self.initial_state is None:
            return None
        saved = self.plugin.state_dict()
        check_state(self.name, saved)
        return saved

    @property
    def needs(self) -> tuple[Capability, ...]:
        """What the trainee must be able to do."""
        return tuple(getattr(self.plugin, "needs", ()))

    @property
    def shows_progress(self) -> bool:
        """Whether the plugin shows progress."""
        return bool(getattr(self.plugin, "shows_progress", False))

    @property
    def resumable(self) -> Callable[[], SavedCheckpoint | None] | None:
        """What returns the newest checkpoint to resume from, or None for a plugin that saves none."""
        found: Any = getattr(self.plugin, "resumable", None)
        return found if callable(found) else None

    @property
    def type_name(self) -> str:
        """The name under which checkpoints know the plugin's class, or its module's name."""
        if isinstance(self.plugin, types.ModuleType):
            return self.plugin.__name__
        kind = type(self.plugin)
        # The class's own: one that inherits is another class.
        return str(vars(kind).get("type_name", f"{kind.__module__}.{kind.__qualname__}"))

    @property
    def parameters(self) -> dict[str, Any]:
        """What an attrs plugin was made with, as JSON-able values; what is none appears as the name of its type."""
        fields: Any = attrs.fields(type(self.plugin)) if attrs.has(type(self.plugin)) else ()
        return {field.alias: _plain(getattr(self.plugin, field.name)) for field in fields if field.init}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else type(value).__name__


def examine(found: Found) -> Registered:
    """The plugin with what can be found out about it; `RegistrationError` for any mistake in it."""
    hooks = _marked_methods(found.name, found.plugin)
    _check_declarations(found.name, found.plugin)
    try:
        implementations([Registered(found.name, found.plugin, found.origin, hooks, None)])
    except pluggy.PluginValidationError as error:
        raise RegistrationError(f"Plugin {found.name!r}: {error}") from error
    return Registered(found.name, found.plugin, found.origin, hooks, _initial_state(found))


def implementations(plugins: Iterable[Registered]) -> dict[str, list[pluggy.HookImpl]]:
    """The implementations of each hook in pluggy's order: the last is called first."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(_SPECS)
    # pluggy calls the last registered first; we call in the order listed.
    for registered in reversed(list(plugins)):
        manager.register(registered.hooks, registered.name)
    return {hook: getattr(manager.hook, hook).get_hookimpls() for hook in HOOKS}


_INITIAL_STATES: Final[dict[int, tuple[weakref.ref[Any], Any]]] = {}
"""By the plugin's identity, as a plugin need not be hashable; an entry goes with its plugin."""


def _initial_state(found: Found) -> Any:
    """The state of a plugin before its first run, which an object that served another engine has behind it; None for no state."""
    plugin: Any = found.plugin
    saves, loads = hasattr(plugin, "state_dict"), hasattr(plugin, "load_state_dict")
    if saves != loads:
        raise RegistrationError(f"Plugin {found.name!r} must have both state_dict and load_state_dict, or neither.")
    if not saves:
        return None
    if id(plugin) in _INITIAL_STATES:
        return _INITIAL_STATES[id(plugin)][1]
    initial = copy.deepcopy(plugin.state_dict())
    check_state(found.name, initial)
    key = id(plugin)
    with contextlib.suppress(TypeError):  # without weak references its state is what it is now
        _INITIAL_STATES[key] = (weakref.ref(plugin, lambda _: _INITIAL_STATES.pop(key, None)), initial)
    return initial


def check_state(name: str, given: Any) -> None:
    """Refuse state that no checkpoint could hold."""
    from hookcore import state

    try:
        state.dumps(given)
    except TypeError as error:
        raise RegistrationError(f"Plugin {name!r}: state_dict returned what cannot be saved. {error}") from error


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
    """The methods of `plugin` that are marked with `@hookimpl`.

    Raises `RegistrationError` for what pluggy would pass over or say less well.
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
            f"Plugin {plugin!r}: {method} is a generator or a coroutine, which nobody would run. Is wrapper=True missing?"
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
