"""The engine: holds the registered plugins, and starts the runs that they take part in."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from hookcore.error_policy import OnError  # noqa: TC001 - tools such as jsonargparse read the types of the arguments
from hookcore.errors import HookcoreError, ParameterError, RegistrationError
from hookcore.registry import discovery, finding
from hookcore.registry.inspection import Registered, examine, implementations, show_progress
from hookcore.registry.place import Place
from hookcore.registry.request import requested
from hookcore.session import Session
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hookcore.host import Host
    from hookcore.run import Run


logger = logging.getLogger("hookcore")


class Engine:
    """The registered plugins, in order. One engine serves many runs, one after the other; each starts from fresh plugin state.

    * `plugins`: plugin objects, names, spec strings such as `"early_stopping:patience=3"`, mappings such as
      `{"early_stopping": {"patience": 3}}`, or pairs `(name, any of these)`.
    * `on_error`: by plugin name, what an error in that plugin does. `"raise"` stops the run; `"disable"` reports the error once
      and continues without the plugin. By default a plugin whose `role` is `"observer"` is disabled, and any other raises.
    * `autoload`: whether to add what the environment asks for, in `HOOKCORE_PLUGINS`, and the plugins installed in the
      entry-point group `hookcore.autoload`; True by default.

    Engines share nothing. Raises `RegistrationError` for a plugin with a mistake, `SpecError` or `LoadError` for a name or spec
    string that gives no plugin, and `ParameterError` for `on_error`.
    """

    def __init__(
        self, plugins: Iterable[object] = (), *, on_error: Mapping[str, OnError] | None = None, autoload: bool = True
    ) -> None:
        self._registered: list[Registered] = []
        self.run: Run | None = None
        """The latest run."""
        self._session: weakref.ref[Session] | None = None
        """The session of the latest run. Its adapter holds it."""
        for found in finding.find(_as_list(plugins), autoload=autoload):
            try:
                self._registered.append(self._examine(found))
            except RegistrationError as error:
                if not found.autoloaded:
                    raise
                discovery.warn_left_out(found.name, found.origin, error)
        self.on_error: dict[str, OnError] = {}
        self.override(on_error or {})

    @classmethod
    def of(cls, plugins: Plugins) -> Engine:
        """Return `plugins` if it is an engine, otherwise an engine of these plugins or of this configuration.

        A path or a mapping is a configuration, and so is a string without a colon that ends in .toml, .yaml, .yml or .json.
        """
        if isinstance(plugins, Engine):
            return plugins
        if isinstance(plugins, Mapping | os.PathLike) or (
            isinstance(plugins, str) and ":" not in plugins and plugins.endswith((".toml", ".yaml", ".yml", ".json"))
        ):
            return cls.from_config(plugins)
        return cls(plugins)

    @classmethod
    def from_config(
        cls,
        config: str | os.PathLike[str] | Mapping[str, Any],
        plugins: Iterable[object] = (),
        *,
        on_error: Mapping[str, OnError] | None = None,
        autoload: bool | None = None,
    ) -> Engine:
        """Return the engine of a configuration and of the other arguments, which take precedence.

        * `config`: a file, with the table `[tool.hookcore]` if it is called pyproject.toml, `[hookcore]` in any other TOML, the
          key `hookcore` in YAML or JSON; or a mapping, which is that table or has it under the key `hookcore`. The table may
          have `plugins`, `on_error` and `autoload`: see docs/configuration.md.
        * `plugins`, `on_error`, `autoload`: as in `Engine`. A plugin replaces that of the configuration that has its name.

        Raises `SpecError` for a file that cannot be read and for a mistake in it, with the key's path and the nearest name, and
        the line in YAML; `LoadError` without PyYAML for YAML; and what `Engine` raises.
        """
        from hookcore.registry import configuration

        read = configuration.read(config)
        engine = cls([*_as_list(plugins), *read.requests], autoload=read.autoload if autoload is None else autoload)
        engine.override(read.on_error, read.place / "on_error")
        engine.override(on_error or {})
        return engine

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
        request = requested((name, plugin), Place(path=("plugin",)))
        for found in finding.find([request], autoload=False):
            self._registered.append(self._examine(found))
            return found.name
        raise RegistrationError(f"Plugin {request.called!r} is blocked by {discovery.DISABLE}.")

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
        """Return a session that drives `run` over the plugins. No hook is called yet.

        Plugins start from fresh state, and `run` becomes the latest run. With `training=False`, for an evaluation or a prediction
        outside of a run, plugins keep their state, and the latest run stays the latest. For the record, `epoch_metrics` returns
        the metrics of the open epoch so far, and `fresh_metrics` those since the latest observation. `always_ends` is that of
        `Driver`. Raises `HookcoreError` as `check_free` does.
        """
        if training:
            self.check_free("A loop" if host is None else host.name)
            self.run = run
        # Copies, because what is registered, unregistered or overridden during the run counts from the next run on.
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
        """Raise `HookcoreError` if a run over the plugins is in progress, so that `loop` cannot begin another.

        A run is in progress within each of its hooks, and, if its loop is one that always ends its runs, until it has ended. Any
        other run that has not ended was abandoned by a framework that does not report errors: it ends now, as failed, and the log
        names its loop.
        """
        session = self._unended()
        if session is not None and session.always_ends:
            del session
            gc.collect()  # frees a loop that was dropped without its end, because that is in a reference cycle
            session = self._unended()
        if session is not None:
            if session.always_ends or session.is_calling:
                raise HookcoreError(
                    f"{loop} cannot begin a run on an engine in use: {session.loop} is in a run with the same plugins, "
                    f"{self._listed()}, which has not ended. Give each its own Engine, with plugins of its own."
                )
            error = HookcoreError(f"An earlier run of {session.loop} ended with an exception that was not reported.")
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

    def override(self, on_error: Mapping[str, OnError], place: object = "on_error") -> None:
        """Set what an error in a plugin does, by plugin name, from the next run on.

        Raises `ParameterError` for an unknown plugin or policy; the message begins with `place`.
        """
        for name, policy in on_error.items():
            if name not in {*self.names, *discovery.blocked_names()}:
                raise ParameterError(
                    f"{place}: no plugin is called {name!r}; there are: {self._listed()}.{did_you_mean(str(name), self.names)}"
                )
            if policy not in {"raise", "disable"}:
                raise ParameterError(f"{place}: the policy for {name!r} must be 'raise' or 'disable', got {policy!r}.")
            self.on_error[name] = policy

    def _listed(self) -> str:
        return ", ".join(self.names) or "none"

    def _examine(self, found: discovery.Found) -> Registered:
        if found.name in self.names:
            other = next(name for n in itertools.count(2) if (name := f"{found.name}_{n}") not in self.names)
            advice = {
                "code": f"Name one: ({other!r}, {type(found.plugin).__name__}(...)).",
                "configuration": f"Name one: {found.place.written({'name': other, found.target or found.name: {}})}.",
                "environment": "Remove one of them, or name it in code or in a configuration.",
            }
            where = f"{found.place}: " if found.source != "code" else ""
            raise RegistrationError(f"{where}Two plugins are called {found.name!r}. {advice[found.source]}")
        registered = examine(found)
        if "checkpoint" in registered.needs:
            # Now, because the package may be upgraded or unmounted before the first checkpoint.
            from hookcore import capture, record  # noqa: F401
        return registered


def _as_list(plugins: Any) -> list[object]:
    """Return `plugins` as a list. Raises `RegistrationError` for what cannot be one."""
    if isinstance(plugins, Mapping | os.PathLike):
        kind = type(plugins).__name__
        raise RegistrationError(f"plugins must be a list of plugins, got {kind}. Engine.from_config takes a configuration.")
    if not isinstance(plugins, Iterable):
        raise RegistrationError(f"plugins must be a list of plugins, got {type(plugins).__name__}. Put it into a list: [...].")
    return [plugins] if isinstance(plugins, str) else list(plugins)


Plugins: TypeAlias = Iterable[object] | Engine | str | os.PathLike[str] | Mapping[str, Any]
"""What an adapter takes: plugins, an engine, or a configuration: a file, or a mapping."""
