"""What an error in a plugin does: it disables an observer, and it stops the run of an actor."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from hookcore.errors import PluginError
from hookcore.raised import describe, interrupts, note, traceback_of
from hookcore.run_state import PluginFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from hookcore.registry.inspection import Registered

T = TypeVar("T")

OnError: TypeAlias = Literal["raise", "disable"]
"""What an error in a plugin does: stop the run, or disable the plugin for the rest of it."""

logger = logging.getLogger("hookcore")


def disables(registered: Registered, on_error: Mapping[str, OnError]) -> bool:
    """Return whether an error disables the plugin: one in an observer does, unless `on_error` overrides it."""
    return (on_error.get(registered.name) or ("disable" if registered.is_observer else "raise")) == "disable"


class ErrorPolicy:
    """The policy of one run: called with a plugin's error, it decides what happens.

    * `failures`: the list to which errors are added.
    * `on_error`: by plugin, what overrides its role.
    * `ends_of_data`: the class names of the errors that the loop takes for the end of its data.
    * `on_disabled`: called when a plugin has been disabled and `active` is up to date.
    """

    def __init__(
        self,
        failures: list[PluginFailure],
        plugins: Sequence[Registered],
        on_error: Mapping[str, OnError],
        ends_of_data: Collection[str],
        on_disabled: Callable[[], None],
    ) -> None:
        self._failures = failures
        self._plugins = plugins
        self._on_error = on_error
        self._ends_of_data = ends_of_data
        self._on_disabled = on_disabled
        self.active = list(plugins)
        """The plugins that are not disabled."""

    def __call__(self, plugin: str, hook: str, error: BaseException) -> BaseException | None:
        """Record `error`. Disable an observer and return None; return the error of an actor, for the caller to raise."""
        if self.has_raised(error):
            return error  # it was recorded in an event within this event, under the plugin that raised it
        registered = next((registered for registered in self._plugins if registered.name == plugin), None)
        if registered is None:
            return error  # raised by the caller of the loop, who has a handle on the run too
        if registered not in self.active:
            logger.debug("plugin %r is disabled, and raised in %s: %s", plugin, hook, describe(error))
            return None
        disabled, text = self.disables(registered), traceback_of(error)
        self._failures.append(PluginFailure(plugin, hook, error, text, disabled=disabled))
        if disabled:
            logger.error("plugin %r raised in %s and is disabled for the rest of the run:\n%s", plugin, hook, text)
            self.leave_out(registered)
            return None
        note(error, f"Raised by plugin {plugin!r} ({registered.origin}) in {hook}.")
        kind = type(error).__name__
        if isinstance(error, StopIteration) or kind in self._ends_of_data:
            wrapped = PluginError(
                f"Plugin {plugin!r} raised {kind} in {hook}, which the loop would take for the end of its data. "
                "Raise another error, or call run.stop to end the run."
            )
            wrapped.__cause__ = error
            return wrapped
        return error

    def disables(self, registered: Registered) -> bool:
        """Return whether an error disables the plugin."""
        return disables(registered, self._on_error)

    def ask(self, registered: Registered, what: str, question: Callable[[], T], otherwise: T) -> T:
        """Return `question()`, which asks `registered` outside of its hooks; `otherwise` if an error disables the plugin.

        Raises an actor's error. `what` names the question as a hook's name would.
        """
        try:
            return question()
        except BaseException as error:
            if interrupts(error):
                raise
            raised = self(registered.name, what, error)
        if raised is not None:
            raise raised
        return otherwise

    def leave_out(self, registered: Registered) -> None:
        """Call no more hooks of `registered`."""
        self.active = [other for other in self.active if other is not registered]
        self._on_disabled()

    def has_raised(self, error: BaseException) -> bool:
        """Return whether `error` is recorded as an actor's, so that it propagates to the loop."""
        return any(failure.error is error and not failure.disabled for failure in self._failures)

    def is_disabled(self, plugin: str) -> bool:
        """Return whether `plugin` is one of the run's plugins, and disabled."""
        return plugin in {registered.name for registered in self._plugins} - {registered.name for registered in self.active}

    def warn_of_disabled(self) -> None:
        """Log which plugins were disabled, at the end of the run."""
        disabled = [failure for failure in self._failures if failure.disabled]
        if disabled:
            listed = ", ".join(f"{failure.plugin} (in {failure.hook}: {describe(failure.error)})" for failure in disabled)
            logger.warning("disabled during the run: %s", listed)
