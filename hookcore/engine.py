"""The engine: holds the registered plugins, and starts the runs that they take part in."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from hookcore.errors import HookcoreError, ParameterError, RegistrationError
from hookcore.registry import discovery
from hookcore.registry.inspection import Registered, examine, implementations, show_progress
from hookcore.session import Session
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hookcore.error_policy import OnError
    from hookcore.host import Host
    from hookcore.run import Run


logger = logging.getLogger("hookcore")


class Engine:
    """The registered plugins, in order. One engine serves many runs, one after the other; each starts from fresh plugin state.

    * `plugins`: plugin objects, names, spec strings such as `"early_stopping:patience=3"`, or pairs `(name, any of these)`.
    * `on_error`: by plugin name, what an error in that plugin does. `"raise"` stops the run; `"disable"` reports the error once
      and continues without the plugin. By default a plugin whose `role` is `"observer"` is disabled, and any other raises.
    * `autoload`: whether to add the plugins installed in the entry-point group `hookcore.autoload`; True by default.

    Engines share nothing. Raises `RegistrationError` for a plugin with a mistake, `SpecError` or `LoadError` for a name or spec
    string that gives no plugin, and `ParameterError` for `on_error`.
    """

    def __init__(
        self, plugins: Iterable[object] = (), *, on_error: Mapping[str, OnError] | None = None, autoload: bool = True
    ) -> None:
        if isinstance(plugins, str):
            plugins = [plugins]
        given: Any = plugins
        if not isinstance(given, Iterable):
            raise RegistrationError(f"plugins must be a list of plugins, got {type(given).__name__}. Put it into a list: [...].")
        self._registered: list[Registered] = []
        self.run: Run | None = None
        """The latest run."""
        self._session: weakref.ref[Session] | None = None
        """The session of the latest run. Its adapter holds it."""
        for found in discovery.find(plugins, autoload=autoload):
            try:
                self._registered.append(self._examine(found))
            except RegistrationError as error:
                if not found.autoloaded:
                    raise
                discovery.warn_left_out(found.name, found.origin, error)
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
        return show_progress(self._registered)

    @property
    def names(self) -> list[str]:
        """The names of the plugins, in order."""
        return [registered.name for registered in self._registered]

    @property
    def plugins(self) -> Sequence[Registered]:
        """The plugins, in order."""
        return tuple(self._registered)

    def __getitem__(self, name: str) -> Any:
        """Return the plugin called `name`. Raises `RegistrationError`, which lists the names, for an unknown one."""
        for registered in self._registered:
            if registered.name == name:
                return registered.plugin
        raise RegistrationError(f"No plugin is called {name!r}; there are: {self._listed()}.{did_you_mean(name, self.names)}")

    def register(self, plugin: object, name: str | None = None) -> str:
        """Add a plugin after the others, from the next run on; return its name.

        Raises `RegistrationError` if it cannot be registered or the environment blocks it, and for a string what `Engine` raises.
        """
        given = plugin if name is None else (name, plugin)
        for found in discovery.find([given], autoload=False):
            self._registered.append(self._examine(found))
            return found.name
        blocked = name or (plugin.partition(":")[0] if isinstance(plugin, str) else discovery.name_of(plugin))
        raise RegistrationError(f"Plugin {blocked!r} is blocked by {discovery.DISABLE}.")

    def unregister(self, name: str) -> None:
        """Remove the plugin called `name`, from the next run on. Raises `RegistrationError` for an unknown name."""
        self[name]
        self._registered = [registered for registered in self._registered if registered.name != name]
        self.on_error.pop(name, None)

    def order(self, hook: str) -> list[str]:
        """Return the names of the plugins that implement `hook`, in the order in which they are called; wrappers first."""
        return [impl.plugin_name for impl in reversed(implementations(self._registered)[hook])]

    def start(
        self,
        run: Run,
        *,
        training: bool = True,
        host: Host | None = None,
        on_vote: Callable[[], None] | None = None,
        epoch_metrics: Callable[[], Mapping[str, Any]] = dict,
        fresh_metrics: Callable[[], Mapping[str, Any]] = dict,
        always_ends: bool = False,
    ) -> Session:
        """Return a session that drives `run` over the plugins. Adapters begin with it; no hook is called yet.

        Plugins start from fresh state, and `run` becomes the latest run. With `training=False`, for an evaluation or a prediction
        by itself, plugins keep their state and the latest run stays. `epoch_metrics` returns those of the open epoch so far, for
        the record, and `fresh_metrics` those since the latest observation; `always_ends` is that of `Driver`. Raises
        `HookcoreError` as `check_free` does.
        """
        if training:
            self.check_free("A loop" if host is None else host.name)
            self.run = run
        # Copies: what is registered, unregistered or overridden during the run counts from the next run on.
        session = Session(
            run,
            self.plugins,
            dict(self.on_error),
            host=host,
            on_vote=on_vote,
            epoch_metrics=epoch_metrics,
            fresh_metrics=fresh_metrics,
            always_ends=always_ends,
            is_training=training,
        )
        if training:
            self._session = weakref.ref(session)
            session.reset_plugins()
        return session

    def check_free(self, loop: str) -> None:
        """Raise `HookcoreError` if a run over the plugins has not ended, for `loop`, which wants to begin another.

        That is so within a hook of the run, and if its loop ends every run that it begins. Any other is taken for abandoned by a
        framework that does not tell of errors: it ends now, as failed, and the log has it.
        """
        session = self._unended()
        if session is not None and session.always_ends:
            del session
            gc.collect()  # a loop that was dropped without its end is in a cycle
            session = self._unended()
        if session is not None:
            if session.always_ends or session.is_calling:
                raise HookcoreError(
                    f"{loop} cannot begin a run on an engine in use: {session.loop} is in a run with the same plugins, "
                    f"{self._listed()}, which has not ended. Give each its own Engine, with plugins of its own."
                )
            error = HookcoreError(f"An earlier run of {session.loop} ended by an exception that it did not tell of.")
            logger.warning("%s It ends now, as %s begins a run on the same engine.", error, loop)
            session.end(error)
        elif self.run is not None and not self.run.shared.is_released:
            logger.warning("An earlier run was dropped before its end, at step %d.", self.run.progress.step)
            self.run.shared.fail()

    def _unended(self) -> Session | None:
        session = None if self._session is None else self._session()
        return None if session is None or session.is_over else session

    def __getstate__(self) -> dict[str, Any]:
        if self._unended() is not None:
            raise HookcoreError("An engine can be pickled or copied once its run has ended, and this one has not.")
        return {**vars(self), "_session": None}

    def _listed(self) -> str:
        return ", ".join(self.names) or "none"

    def _examine(self, found: discovery.Found) -> Registered:
        if found.name in self.names:
            raise RegistrationError(
                f"Two plugins are called {found.name!r}. Name one: ({found.name + '_2'!r}, {type(found.plugin).__name__}(...))."
            )
        registered = examine(found)
        if "checkpoint" in registered.needs:
            # By the first checkpoint the package may have been upgraded, or be out of reach.
            from hookcore import capture, record  # noqa: F401
        return registered
