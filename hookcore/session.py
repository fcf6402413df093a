"""A session: one run being driven. What an adapter calls, and nobody else."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any, Literal

import attrs

from hookcore.dispatch import compile_hooks
from hookcore.errors import CapabilityError, PluginError
from hookcore.registration import check_state, implementations
from hookcore.run import Outcome, PluginFailure
from hookcore.specs import HOOKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hookcore.registration import Registered
    from hookcore.run import Run, Shared
    from hookcore.store import SavedCheckpoint

    OnError = Literal["raise", "disable"]

logger = logging.getLogger("hookcore")


class Session:
    """One run being driven: what an adapter calls, and nobody else.

    An adapter moves the run on with the methods here, and calls `hooks` itself for what needs no bookkeeping.
    """

    __slots__ = ("_active", "_ended", "_handles", "_on_error", "_plugins", "hooks", "run")

    def __init__(self, run: Run, plugins: Sequence[Registered], on_error: Mapping[str, OnError]) -> None:
        self.run = run
        self._plugins = plugins
        self._on_error = on_error
        self._active = list(self._plugins)
        self._handles = {registered.name: attrs.evolve(run, plugin=registered.name) for registered in self._plugins}
        self._ended = False
        self.hooks = compile_hooks(implementations(self._active), self._handles, self._report)
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
        check_state(registered.name, saved)
        return saved

    def _announce(self, checkpoint: SavedCheckpoint) -> None:
        self.hooks.on_checkpoint(checkpoint)

    def _report(self, plugin: str, hook: str, error: Exception) -> Exception | None:
        """The error policy: an observer is disabled for the rest of the run, an actor's error is raised."""
        if any(failure.error is error for failure in self.shared.failures):
            return error  # on its way out of an event within an event: somebody else's, and reported there
        registered = next(one for one in self._plugins if one.name == plugin)
        policy = self._on_error.get(plugin) or ("disable" if registered.is_observer else "raise")
        text = "".join(traceback.format_exception(error))
        self.shared.failures.append(PluginFailure(plugin, hook, error, text, disabled=policy == "disable"))
        if policy == "disable":
            logger.error("plugin %r raised in %s and is disabled for the rest of the run:\n%s", plugin, hook, text)
            self._active = [one for one in self._active if one is not registered]
            compiled = compile_hooks(implementations(self._active), self._handles, self._report)
            for name in HOOKS:
                setattr(self.hooks, name, getattr(compiled, name))
            return None
        error.add_note(f"Raised by plugin {plugin!r} ({registered.origin}) in {hook}.")
        if isinstance(error, StopIteration):
            wrapped = PluginError(f"Plugin {plugin!r} raised StopIteration in {hook}.")
            wrapped.__cause__ = error
            return wrapped
        return error
