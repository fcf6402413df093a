"""The engine: holds the registered plugins, and drives one run after another over them."""

from __future__ import annotations

import contextlib
import copy
import inspect
import logging
import traceback
import types
import typing
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import pluggy

from hookcore import registry, specs, state
from hookcore.dispatch import compile_hook
from hookcore.errors import CapabilityError, ParameterError, PluginError, RegistrationError, did_you_mean
from hookcore.markers import PROJECT
from hookcore.run import Outcome, PluginFailure, Run, Shared
from hookcore.trainee import Capability

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hookcore.store import SavedCheckpoint

    OnError = Literal["raise", "disable"]

logger = logging.getLogger("hookcore")

HOOKS: Final[Mapping[str, tuple[str, ...]]] = {
    name: tuple(inspect.signature(function).parameters) for name, function in vars(specs).items() if name.startswith("on_")
}
"""Every hook's name with its arguments, in the order in which a run calls them."""


class _Marked:
    """Holds a plugin's marked methods. Compared by identity, as pluggy refuses a second plugin that is equal to one it has."""

    def __init__(self, methods: Mapping[str, Callable[..., object]]) -> None:
        vars(self).update(methods)


@attrs.frozen(eq=False)
class Registered:
    """A plugin in an engine, with what the engine found out about it."""

    name: str
    plugin: Any
    origin: str
    hooks: _Marked
    """The marked methods alone: what pluggy sees, so that it never touches the plugin's other attributes."""
    initial_state: Any
    """What `state_dict` returned at registration: what each run starts from. None where the plugin keeps no state."""

    @property
    def is_observer(self) -> bool:
        """Whether an error in this plugin leaves the run going."""
        return bool(getattr(self.plugin, "role", "actor") == "observer")


class Engine:
    """Registered plugins, in order, and the runs that they steer.

    `plugins` are plugin objects, names, spec strings such as `"early_stopping:patience=3"`, or pairs `(name, any of these)`.
    `autoload` adds what is installed in the entry-point group `hookcore.autoload`. `on_error` overrides, by plugin name,
    what an error in a plugin does: `"raise"` stops the run, `"disable"` reports it once and goes on without the plugin.
    By default a plugin whose `role` is `"observer"` is disabled and any other raises.

    One engine serves many runs, one after the other, each from fresh plugin state. Engines share nothing.
    Raises `RegistrationError`, `SpecError`, `LoadError` or `ParameterError`.
    """

    def __init__(
        self, plugins: Iterable[object] = (), *, on_error: Mapping[str, OnError] | None = None, autoload: bool = True
    ) -> None:
        if isinstance(plugins, str):
            plugins = [plugins]
        given: Any = plugins
        if not isinstance(given, Iterable):
            msg = f"plugins must be a list of plugins, got {given!r}. Put it into one: [...]."
            raise RegistrationError(msg)
        self._registered: list[Registered] = []
        self.run: Run | None = None
        """The latest run."""
        for found in registry.find(plugins, autoload=autoload):
            try:
                self._registered.append(self._examine(found))
            except RegistrationError as error:
                if not found.autoloaded:
                    raise
                registry.warn_without(found.name, found.origin, error)
        self.on_error = dict(on_error or {})
        for name, policy in self.on_error.items():
            if name not in {*self.names, *registry.blocked_names()}:
                msg = f"on_error: no plugin is called {name!r}; there are: {self._listed()}.{did_you_mean(name, self.names)}"
                raise ParameterError(msg)
            if policy not in {"raise", "disable"}:
                msg = f"on_error: the policy for {name!r} must be 'raise' or 'disable', got {policy!r}."
                raise ParameterError(msg)

    @property
    def names(self) -> list[str]:
        """The names of the plugins, in order."""
        return [registered.name for registered in self._registered]

    @property
    def plugins(self) -> Sequence[Registered]:
        """The plugins, in order."""
        return tuple(self._registered)

    def __getitem__(self, name: str) -> Any:
        """The plugin called `name`."""
        for registered in self._registered:
            if registered.name == name:
                return registered.plugin
        msg = f"No plugin is called {name!r}; there are: {self._listed()}.{did_you_mean(name, self.names)}"
        raise RegistrationError(msg)

    def register(self, plugin: object, name: str | None = None) -> str:
        """Add a plugin after the others, from the next run on; returns its name."""
        given = plugin if name is None else (name, plugin)
        for found in registry.find([given], autoload=False):
            self._registered.append(self._examine(found))
            return found.name
        msg = f"Plugin {name or plugin!r} is blocked by {registry.DISABLE}."
        raise RegistrationError(msg)

    def unregister(self, name: str) -> None:
        """Take a plugin out, from the next run on."""
        self[name]
        self._registered = [registered for registered in self._registered if registered.name != name]
        self.on_error.pop(name, None)

    def order(self, hook: str) -> list[str]:
        """The names of the plugins that implement `hook`, in the order in which they are called; wrappers first."""
        return [impl.plugin_name for impl in reversed(self._impls(self._registered)[hook])]

    def start(self, run: Run, *, training: bool = True) -> Session:
        """A session that drives `run` over the plugins: how an adapter begins. Nothing is called yet.

        Plugins get fresh state, except where it is not about `training`: an evaluation or a prediction by itself leaves
        the state and the latest run as they are.
        """
        if training:
            self.run = run
            for registered in self._registered:
                if registered.initial_state is not None:
                    registered.plugin.load_state_dict(copy.deepcopy(registered.initial_state))
        return Session(self, run)

    def _listed(self) -> str:
        return ", ".join(self.names) or "none"

    def _examine(self, found: registry.Found) -> Registered:
        if found.name in self.names:
            msg = f"Two plugins are called {found.name!r}. Name one: ({found.name + '_2'!r}, {type(found.plugin).__name__}(...))."
            raise RegistrationError(msg)
        hooks = _marked_methods(found.name, found.plugin)
        _check_declarations(found.name, found.plugin)
        try:
            self._impls([Registered(found.name, found.plugin, found.origin, hooks, None)])
        except pluggy.PluginValidationError as error:
            msg = f"Plugin {found.name!r}: {error}"
            raise RegistrationError(msg) from error
        return Registered(found.name, found.plugin, found.origin, hooks, _initial_state(found))

    def _impls(self, registered: Iterable[Registered]) -> dict[str, list[pluggy.HookImpl]]:
        """The implementations of each hook in pluggy's order: the last is called first."""
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(specs)
        # pluggy calls the last registered first; we call in the order listed.
        for one in reversed(list(registered)):
            manager.register(one.hooks, one.name)
        return {hook: getattr(manager.hook, hook).get_hookimpls() for hook in HOOKS}

    def compile(
        self, plugins: Iterable[Registered], handles: Mapping[str, Run], report: Callable[..., Exception | None]
    ) -> Hooks:
        """The hooks of `plugins`, compiled for one run."""
        hooks = Hooks()
        for hook, impls in self._impls(plugins).items():
            setattr(hooks, hook, compile_hook(hook, HOOKS[hook][1:], impls, handles, report))
        return hooks


class Hooks:
    """The compiled hooks of one run, called with the hook's arguments after `run`, by position."""

    __slots__ = tuple(HOOKS)

    on_train_begin: Callable[[], None]
    on_epoch_begin: Callable[[int], None]
    on_batch_begin: Callable[[int], None]
    on_batch_end: Callable[[int, Mapping[str, float]], None]
    on_evaluate_begin: Callable[[], None]
    on_evaluate_batch_begin: Callable[[int], None]
    on_evaluate_batch_end: Callable[[int, Mapping[str, float]], None]
    on_evaluate_end: Callable[[Mapping[str, float]], None]
    on_epoch_end: Callable[[int, Mapping[str, float]], None]
    on_predict_begin: Callable[[], None]
    on_predict_batch_begin: Callable[[int], None]
    on_predict_batch_end: Callable[[int], None]
    on_predict_end: Callable[[], None]
    on_checkpoint: Callable[[SavedCheckpoint], None]
    on_exception: Callable[[BaseException], None]
    on_train_end: Callable[[], None]


_INITIAL_STATES: Final[dict[int, tuple[weakref.ref[Any], Any]]] = {}
"""By the plugin's identity, as a plugin need not be hashable; an entry goes with its plugin."""


def _initial_state(found: registry.Found) -> Any:
    """The state of a plugin before its first run, which an object that served another engine has behind it; None for no state."""
    plugin: Any = found.plugin
    saves, loads = hasattr(plugin, "state_dict"), hasattr(plugin, "load_state_dict")
    if saves != loads:
        msg = f"Plugin {found.name!r} must have both state_dict and load_state_dict, or neither."
        raise RegistrationError(msg)
    if not saves:
        return None
    if id(plugin) in _INITIAL_STATES:
        return _INITIAL_STATES[id(plugin)][1]
    initial = copy.deepcopy(plugin.state_dict())
    _check_state(found.name, initial)
    key = id(plugin)
    with contextlib.suppress(TypeError):  # without weak references its state is what it is now
        _INITIAL_STATES[key] = (weakref.ref(plugin, lambda _: _INITIAL_STATES.pop(key, None)), initial)
    return initial


def _check_state(name: str, given: Any) -> None:
    """Refuse state that no checkpoint could hold."""
    try:
        state.dumps(given)
    except TypeError as error:
        msg = f"Plugin {name!r}: state_dict returned what cannot be saved. {error}"
        raise RegistrationError(msg) from error


def _check_declarations(name: str, plugin: Any) -> None:
    role, needs = getattr(plugin, "role", "actor"), getattr(plugin, "needs", ())
    if role not in {"observer", "actor"}:
        hint = did_you_mean(str(role), ["observer", "actor"])
        msg = f"Plugin {name!r}: role must be 'observer' or 'actor', got {role!r}.{hint}"
        raise RegistrationError(msg)
    capabilities = typing.get_args(Capability)
    for need in [needs] if isinstance(needs, str) else needs:
        if isinstance(needs, str) or need not in capabilities:
            hint = did_you_mean(str(need), capabilities)
            msg = f"Plugin {name!r}: needs must be a tuple of names out of {', '.join(capabilities)}, got {needs!r}.{hint}"
            raise RegistrationError(msg)


def _marked_methods(name: str, plugin: object) -> _Marked:
    """The methods of `plugin` that are marked with `@hookimpl`.

    Raises `RegistrationError` for what pluggy would pass over or say less well.
    """
    if inspect.isclass(plugin):
        msg = f"Plugin {name!r} is a class; pass an instance: {plugin.__name__}(...)."
        raise RegistrationError(msg)
    where = plugin if isinstance(plugin, types.ModuleType | types.SimpleNamespace) else type(plugin)
    reader = pluggy.PluginManager(PROJECT)
    methods = {}
    for attribute in sorted({*dir(where), *HOOKS}):
        static = inspect.getattr_static(where, attribute, None)
        if isinstance(static, property) or not (attribute.startswith("on_") or inspect.isfunction(static)):
            continue
        method = getattr(plugin, attribute, None)
        if method is None or not callable(method):
            continue
        options = reader.parse_hookimpl_opts(types.SimpleNamespace(**{attribute: method}), attribute)
        if options is None:
            if attribute.startswith("on_"):
                msg = (
                    f"Plugin {name!r}: method {attribute} is not marked with @hookimpl, so it would never be called."
                    f"{'' if attribute in HOOKS else did_you_mean(attribute, HOOKS)}"
                )
                raise RegistrationError(msg)
            continue
        _check_signature(name, attribute, method, options)
        methods[attribute] = method
    if not methods:
        msg = f"Plugin {name!r} ({plugin!r}) has no method marked with @hookimpl."
        raise RegistrationError(msg)
    return _Marked(methods)


def _check_signature(plugin: str, method: str, function: Callable[..., object], options: Mapping[str, Any]) -> None:
    hook = options.get("specname") or method
    if hook not in HOOKS:
        hint = did_you_mean(hook, HOOKS) or f" There are: {', '.join(HOOKS)}."
        msg = f"Plugin {plugin!r}: there is no hook {hook!r}.{hint}"
        raise RegistrationError(msg)
    if options.get("hookwrapper"):
        msg = f"Plugin {plugin!r}: {method} is marked hookwrapper=True, pluggy's old style; use wrapper=True."
        raise RegistrationError(msg)
    if not options.get("wrapper") and (inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function)):
        msg = f"Plugin {plugin!r}: {method} is a generator or a coroutine, which nobody would run. Is wrapper=True missing?"
        raise RegistrationError(msg)
    for name, parameter in inspect.signature(function).parameters.items():
        positional = parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
        required = positional and parameter.default is parameter.empty
        if parameter.kind is parameter.KEYWORD_ONLY:
            msg = f"Plugin {plugin!r}: {method} has a keyword-only argument {name!r}, which pluggy never gives; drop the '*'."
            raise RegistrationError(msg)
        if required and name not in HOOKS[hook]:
            msg = (
                f"Plugin {plugin!r}: {method} has an argument {name!r}, which {hook}({', '.join(HOOKS[hook])}) does not give."
                f"{did_you_mean(name, HOOKS[hook])}"
            )
            raise RegistrationError(msg)


class Session:
    """One run being driven: what an adapter calls, and nobody else.

    An adapter moves the run on with the methods here, and calls `hooks` itself for what needs no bookkeeping.
    """

    __slots__ = ("_active", "_ended", "_engine", "_handles", "_plugins", "hooks", "run")

    def __init__(self, engine: Engine, run: Run) -> None:
        self._engine = engine
        self.run = run
        # A plugin registered or unregistered during the run counts from the next run on.
        self._plugins = engine.plugins
        self._active = list(self._plugins)
        self._handles = {registered.name: attrs.evolve(run, plugin=registered.name) for registered in self._plugins}
        self._ended = False
        self.hooks = engine.compile(self._active, self._handles, self._report)
        run.shared.state_dict = self.state_dict
        run.shared.on_checkpoint = self._announce

    @property
    def shared(self) -> Shared:
        """What the handles of the run share."""
        return self.run.shared

    @property
    def stopping(self) -> bool:
        """Whether some plugin has voted to stop."""
        return bool(self.run.shared.stop_reasons)

    def train_begin(self) -> None:
        """Refuse plugins whose needs the trainee cannot meet, then `on_train_begin`."""
        for registered in self._plugins:
            for need in getattr(registered.plugin, "needs", ()):
                reason = self.run.trainee.lacks(need)
                if reason is not None:
                    self._ended = True  # nothing has begun, so nothing is to end
                    self.shared.outcome = Outcome.FAILED
                    msg = f"Plugin {registered.name!r} needs the trainee's {need.replace('_', ' ')}, but {reason}."
                    raise CapabilityError(msg)
        self.hooks.on_train_begin()

    def epoch_begin(self, epoch: int) -> None:
        """`on_epoch_begin`."""
        self.run.progress.epoch = epoch
        self.run.progress.batch = 0
        self.hooks.on_epoch_begin(epoch)

    def batch_begin(self, batch: int) -> None:
        """`on_batch_begin`."""
        self.run.progress.batch = batch
        self.hooks.on_batch_begin(batch)

    def batch_end(self, batch: int, metrics: Mapping[str, float], steps: int = 1) -> None:
        """Count `steps` optimizer updates, then `on_batch_end`."""
        progress = self.run.progress
        progress.batch = batch
        progress.step += steps
        self.hooks.on_batch_end(batch, metrics)

    def epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add the epoch to the history, then `on_epoch_end`."""
        self.run.history.append(epoch, metrics)
        self.hooks.on_epoch_end(epoch, metrics)

    def end(self, exception: BaseException | None = None) -> None:
        """The end of training: `on_exception` where there is one, then `on_train_end`. A second call does nothing.

        An error that a plugin raises here goes on to the caller, unless an exception is already on its way there.
        """
        if self._ended:
            return
        self._ended = True
        if exception is None:
            self.shared.outcome = Outcome.STOPPED if self.stopping else Outcome.COMPLETED
        else:
            self.shared.outcome = Outcome.INTERRUPTED if isinstance(exception, KeyboardInterrupt) else Outcome.FAILED
            try:
                self.hooks.on_exception(exception)
            except BaseException as error:  # noqa: BLE001 - the first exception is the one to raise, a second Ctrl-C included
                exception.add_note(f"Then, in on_exception: {error!r}")
        try:
            self.hooks.on_train_end()
        except Exception as error:
            if exception is None:
                self.shared.outcome = Outcome.FAILED
                raise
            exception.add_note(f"Then, in on_train_end: {error!r}")
        disabled = [failure for failure in self.shared.failures if failure.disabled]
        if disabled:
            listed = ", ".join(f"{failure.plugin} (in {failure.hook}: {failure.error!r})" for failure in disabled)
            logger.warning("disabled during the run: %s", listed)

    def state_dict(self) -> dict[str, Any]:
        """See `Run.state_dict`."""
        return {
            "progress": attrs.asdict(self.run.progress),
            "history": self.run.history.state_dict(),
            "plugins": {
                registered.name: self._saved_state(registered)
                for registered in self._plugins
                if registered.initial_state is not None
            },
        }

    @staticmethod
    def _saved_state(registered: Registered) -> Any:
        saved = registered.plugin.state_dict()
        _check_state(registered.name, saved)
        return saved

    def _announce(self, checkpoint: SavedCheckpoint) -> None:
        self.hooks.on_checkpoint(checkpoint)

    def _report(self, plugin: str, hook: str, error: Exception) -> Exception | None:
        """The error policy: an observer is disabled for the rest of the run, an actor's error is raised."""
        if any(failure.error is error for failure in self.shared.failures):
            return error  # on its way out of an event within an event: somebody else's, and reported there
        registered = next(one for one in self._plugins if one.name == plugin)
        policy = self._engine.on_error.get(plugin) or ("disable" if registered.is_observer else "raise")
        text = "".join(traceback.format_exception(error))
        self.shared.failures.append(PluginFailure(plugin, hook, error, text, disabled=policy == "disable"))
        if policy == "disable":
            logger.error("plugin %r raised in %s and is disabled for the rest of the run:\n%s", plugin, hook, text)
            self._active = [one for one in self._active if one is not registered]
            compiled = self._engine.compile(self._active, self._handles, self._report)
            for name in HOOKS:
                setattr(self.hooks, name, getattr(compiled, name))
            return None
        error.add_note(f"Raised by plugin {plugin!r} ({registered.origin}) in {hook}.")
        if isinstance(error, StopIteration):
            wrapped = PluginError(f"Plugin {plugin!r} raised StopIteration in {hook}.")
            wrapped.__cause__ = error
            return wrapped
        return error
