"""The engine: holds the registered plugins, and begins one run after another over them."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from hookcore.errors import ParameterError, RegistrationError
from hookcore.registry import discovery
from hookcore.registry.inspection import Registered, examine, implementations
from hookcore.session import Session
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hookcore.run import Run
    from hookcore.session import OnError


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
            raise RegistrationError(f"plugins must be a list of plugins, got {given!r}. Put it into one: [...].")
        self._registered: list[Registered] = []
        self.run: Run | None = None
        """The latest run."""
        for found in discovery.find(plugins, autoload=autoload):
            try:
                self._registered.append(self._examined(found))
            except RegistrationError as error:
                if not found.autoloaded:
                    raise
                discovery.warn_without(found.name, found.origin, error)
        self.on_error = dict(on_error or {})
        for name, policy in self.on_error.items():
            if name not in {*self.names, *discovery.blocked_names()}:
                raise ParameterError(
                    f"on_error: no plugin is called {name!r}; there are: {self._listed()}.{did_you_mean(name, self.names)}"
                )
            if policy not in {"raise", "disable"}:
                raise ParameterError(f"on_error: the policy for {name!r} must be 'raise' or 'disable', got {policy!r}.")

    @classmethod
    def of(cls, plugins: Iterable[object] | Engine) -> Engine:
        """Return `plugins` if it is an engine, else an engine of these plugins."""
        return plugins if isinstance(plugins, Engine) else cls(plugins)

    @property
    def shows_progress(self) -> bool:
        """Whether some plugin shows progress, so that the loop's own progress bar would be a second one."""
        return any(registered.shows_progress for registered in self._registered)

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
        raise RegistrationError(f"No plugin is called {name!r}; there are: {self._listed()}.{did_you_mean(name, self.names)}")

    def register(self, plugin: object, name: str | None = None) -> str:
        """Add a plugin after the others, from the next run on; returns its name."""
        given = plugin if name is None else (name, plugin)
        for found in discovery.find([given], autoload=False):
            self._registered.append(self._examined(found))
            return found.name
        raise RegistrationError(f"Plugin {name or plugin!r} is blocked by {discovery.DISABLE}.")

    def unregister(self, name: str) -> None:
        """Take a plugin out, from the next run on."""
        self[name]
        self._registered = [registered for registered in self._registered if registered.name != name]
        self.on_error.pop(name, None)

    def order(self, hook: str) -> list[str]:
        """The names of the plugins that implement `hook`, in the order in which they are called; wrappers first."""
        return [impl.plugin_name for impl in reversed(implementations(self._registered)[hook])]

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
        # What is registered, unregistered or overridden during the run counts from the next run on.
        return Session(run, self.plugins, dict(self.on_error))

    def _listed(self) -> str:
        return ", ".join(self.names) or "none"

    def _examined(self, found: discovery.Found) -> Registered:
        if found.name in self.names:
            raise RegistrationError(
                f"Two plugins are called {found.name!r}. Name one: ({found.name + '_2'!r}, {type(found.plugin).__name__}(...))."
            )
        return examine(found)
