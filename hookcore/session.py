"""A session: one run being driven. Only adapters call it."""

from __future__ import annotations

import logging
import time
import traceback
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs

from hookcore.dispatch import Hooks, compile_hooks
from hookcore.errors import CapabilityError, PluginError, Preempted
from hookcore.metrics import Metrics
from hookcore.registry.inspection import implementations
from hookcore.run import Outcome, PluginFailure, Position
from hookcore.timing import BATCH_HOOKS, FIRST_WINDOW, Timing
from hookcore.trainee import reason_lacking

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hookcore.capture import Capture
    from hookcore.registry.inspection import Registered
    from hookcore.run import Run, Shared
    from hookcore.store import SavedCheckpoint

OnError: TypeAlias = Literal["raise", "disable"]
"""What an error in a plugin does: stop the run, or disable the plugin for the rest of it."""

logger = logging.getLogger("hookcore")

_NO_METRICS: Final = Metrics()

_OUTCOMES: Final = {KeyboardInterrupt: Outcome.INTERRUPTED, Preempted: Outcome.PREEMPTED}


class Session:
    """Drives one run over its plugins: counts, keeps the history, calls the hooks and applies the error policy.

    Only adapters call it. An adapter moves the run with the methods here, and calls `hooks` for the events that need no
    bookkeeping. `clock` returns seconds, and times the plugins.
    """

    __slots__ = (
        "_active",
        "_base_position",
        "_base_step",
        "_batches_timed",
        "_continues_epoch",
        "_ended",
        "_handles",
        "_implemented_batch_hooks",
        "_on_batch_begin",
        "_on_batch_end",
        "_on_error",
        "_plain_batch_hooks",
        "_plugins",
        "_progress",
        "_timed_batch_hooks",
        "_timing",
        "_wants_metrics",
        "_window_left",
        "drops_latest",
        "ends_of_data",
        "hooks",
        "latest",
        "loop_state",
        "resumed_loop_state",
        "run",
        "shared",
    )

    def __init__(
        self,
        run: Run,
        plugins: Sequence[Registered],
        on_error: Mapping[str, OnError],
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.run = run
        self._progress = run.progress
        self.shared: Shared = run.shared
        """The state that the run's handles share."""
        self.position = Position()
        self.loop_state: Callable[[], Mapping[str, Any]] = dict
        """Returns the adapter's own state, JSON-able, which a checkpoint stores too."""
        self.resumed_loop_state: Mapping[str, Any] = {}
        """The result of `loop_state` in the checkpoint that this run continues."""
        self.latest: Mapping[str, Any] | None = None
        """The metrics of this epoch's latest trained batch, as the framework has them."""
        self.drops_latest = False
        """Whether `batch_begin` drops `latest`; only for loops in which every begun batch ends. The last holder of a framework's
        values takes the time to free them, and that should not be the session."""
        self.ends_of_data: tuple[str, ...] = ()
        """The names of the errors, besides `StopIteration`, that the loop takes for the end of its data. An actor's error of that
        name is raised as a `PluginError`."""
        self._continues_epoch = False
        self._plugins = plugins
        self._on_error = on_error
        self._active = list(self._plugins)
        self._handles = {registered.name: run.as_plugin(registered.name) for registered in self._plugins}
        self._ended = False
        run.shared.plugin_seconds = dict.fromkeys(self._handles, 0.0)
        self._timing, self._batches_timed, self._window_left = Timing(run.shared.plugin_seconds, clock), False, 0
        self.hooks = Hooks()
        self._compile()
        run.shared.parameters = {registered.name: registered.parameters for registered in plugins}
        run.shared.shows_progress = any(registered.shows_progress for registered in plugins)
        run.shared.capture = self.capture
        run.shared.on_checkpoint = self._announce_checkpoint

    def _compile(self) -> None:
        """Compile the active plugins' implementations into `hooks`; those of batches in a timed and a plain variant."""
        plain = implementations(self._active)
        timed = self._timing.timed(plain)
        batches = {hook: timed.pop(hook) for hook in BATCH_HOOKS}
        self._timed_batch_hooks = compile_hooks(batches, self._handles, self._apply_error_policy)
        batches = {hook: plain[hook] for hook in BATCH_HOOKS}
        self._plain_batch_hooks = compile_hooks(batches, self._handles, self._apply_error_policy)
        self._implemented_batch_hooks = {hook for hook in BATCH_HOOKS if plain[hook]}
        self._wants_metrics = any("metrics" in {*impl.argnames, *impl.kwargnames} for impl in plain["on_batch_end"])
        others = compile_hooks(timed, self._handles, self._apply_error_policy)
        for hook in timed:
            setattr(self.hooks, hook, getattr(others, hook))
        self._use_batch_hooks(timed=self._batches_timed)

    def _use_batch_hooks(self, *, timed: bool) -> None:
        self._batches_timed, chosen = timed, self._timed_batch_hooks if timed else self._plain_batch_hooks
        for hook in BATCH_HOOKS:
            setattr(self.hooks, hook, getattr(chosen, hook))
        # None if no plugin implements it: in training, with cold processor caches, even an empty call costs as much as a plugin.
        # The end of a batch counts the timing window for its beginning too.
        self._on_batch_begin = chosen.on_batch_begin if "on_batch_begin" in self._implemented_batch_hooks else None
        self._on_batch_end = chosen.on_batch_end if self._implemented_batch_hooks & {"on_batch_begin", "on_batch_end"} else None

    def _begin_timing_window(self) -> None:
        """Switch to timed or plain hooks for the next batches."""
        timed, self._window_left = self._timing.next_window(timed=self._batches_timed)
        if timed != self._batches_timed:
            self._use_batch_hooks(timed=timed)

    @property
    def position(self) -> Position:
        """The position from which training would continue if it were cut now."""
        # Derived from the steps since it was set, so that a batch adds to `progress.step` only.
        return attrs.evolve(self._base_position, batch=self._base_position.batch + self._progress.step - self._base_step)

    @position.setter
    def position(self, value: Position) -> None:
        self._base_position, self._base_step = value, self._progress.step

    @property
    def stopping(self) -> bool:
        """Whether some plugin has voted to stop."""
        return bool(self.shared.stop_reasons)

    def train_begin(self) -> None:
        """Refuse plugins whose needs the trainee cannot meet, then call `on_train_begin`. Raises `CapabilityError`."""
        for registered in self._plugins:
            for need in registered.needs:
                reason = reason_lacking(self.run.trainee, need)
                if reason is not None:
                    self._fail_before_start()
                    raise CapabilityError(
                        f"Plugin {registered.name!r} needs the trainee's {need.replace('_', ' ')}, but {reason}."
                    )
        self.hooks.on_train_begin()
        self._window_left = FIRST_WINDOW
        self._use_batch_hooks(timed=True)

    def epoch_begin(self, epoch: int) -> None:
        """Call `on_epoch_begin`, unless the run was resumed in the middle of this epoch."""
        continues, self._continues_epoch = self._continues_epoch and epoch == self.position.epoch, False
        if not continues:
            self.position, self.latest = Position(epoch), None
            self.run.progress.epoch, self.run.progress.batch = epoch, 0
            self.hooks.on_epoch_begin(epoch)
            self.position = attrs.evolve(self.position, begun=True)
        self.poll()

    def batch_begin(self, batch: int) -> None:
        """Call `on_batch_begin`."""
        self._progress.batch = batch
        if self._on_batch_begin is not None:
            self._on_batch_begin(batch)
        if self.drops_latest:
            self.latest = None

    def batch_end(self, batch: int, metrics: Mapping[str, Any] | None, steps: int = 1) -> None:
        """Count `steps` optimizer updates, then call `on_batch_end`. `metrics` are as the framework has them; see `Metrics`."""
        self.latest = metrics
        progress = self._progress
        progress.batch = batch
        progress.step += steps
        if self._on_batch_end is not None:
            self._on_batch_end(batch, Metrics(metrics) if self._wants_metrics else _NO_METRICS)
            self._window_left -= 1
            if not self._window_left:
                self._begin_timing_window()
        if self.shared.interruption is not None:
            self.poll()

    def epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add the epoch to the history, then call `on_epoch_end`."""
        self.run.history.append(epoch, metrics)
        self.position, self._continues_epoch = Position(epoch + 1), False
        self.hooks.on_epoch_end(epoch, metrics)
        self.poll()

    def evaluate_batch_begin(self, batch: int) -> None:
        """Call `on_evaluate_batch_begin`."""
        self.hooks.on_evaluate_batch_begin(batch)

    def evaluate_batch_end(self, batch: int, metrics: Mapping[str, Any] | None) -> None:
        """Call `on_evaluate_batch_end`. `metrics` are as the framework has them; see `Metrics`."""
        self.hooks.on_evaluate_batch_end(batch, Metrics(metrics))
        self._window_left -= 1
        if not self._window_left:
            self._begin_timing_window()
        if self.shared.interruption is not None:
            self.poll()

    def poll(self) -> None:
        """Raise the exception that `Run.interrupt` was given, if any."""
        if self.shared.interruption is not None:
            interruption, self.shared.interruption = self.shared.interruption, None
            raise interruption

    def end(self, exception: BaseException | None = None) -> None:
        """Set the outcome, call `on_exception` if there is an exception, then `on_train_end`. A second call does nothing.

        An error that a plugin raises here propagates to the caller; if there is an `exception`, it becomes a note on that.
        """
        if self._ended:
            return
        self._ended = True
        if exception is None:
            self.shared.outcome = Outcome.STOPPED if self.stopping else Outcome.COMPLETED
        else:
            self.shared.outcome = next((_OUTCOMES[kind] for kind in _OUTCOMES if isinstance(exception, kind)), Outcome.FAILED)
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

    def capture(self) -> Capture:
        """Return what a checkpoint holds; see `Run.capture`."""
        from hookcore import record
        from hookcore.capture import Capture

        run = self.run
        held = {
            (registered.name, key): snapshot
            for registered in self._plugins
            if registered.holds_snapshots
            for key, snapshot in registered.plugin.snapshots().items()
        }
        text = record.record_of(run, self.position, self._plugins, list(held), self.loop_state())
        return Capture(run.trainee, run.progress.epoch, run.progress.step, text, [run.trainee.snapshot(), *held.values()])

    def resume(self) -> None:
        """Restore `run.resumed_from`, if it is set. The trainee must be ready to be restored. Raises `CheckpointError`."""
        try:
            if self.run.resumed_from is not None:
                from hookcore.capture import Capture

                self.restore(Capture.read(self.run.resumed_from, self.run.trainee))
        except BaseException:
            self._fail_before_start()
            raise

    def restore(self, capture: Capture) -> None:
        """Put the run, its plugins and the trainee into the state of `capture`. Call it before `train_begin`."""
        from hookcore import record

        self.position, self.resumed_loop_state = record.restore(capture, self.run, self._plugins)
        self._continues_epoch = self.position.begun

    def _fail_before_start(self) -> None:
        self._ended = True  # no plugin had on_train_begin, so none may get on_train_end
        self.shared.outcome = Outcome.FAILED

    def _announce_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        # Looked up at each call: disabling a plugin replaces the hook.
        self.hooks.on_checkpoint(checkpoint)

    def _apply_error_policy(self, plugin: str, hook: str, error: Exception) -> Exception | None:
        """Record `error`. Disable an observer and return None; return the error of an actor, for the caller to raise."""
        if any(failure.error is error for failure in self.shared.failures):
            return error  # it propagates from an event within this event, where it was recorded under the plugin that raised it
        registered = next(registered for registered in self._plugins if registered.name == plugin)
        policy = self._on_error.get(plugin) or ("disable" if registered.is_observer else "raise")
        text = "".join(traceback.format_exception(error))
        self.shared.failures.append(PluginFailure(plugin, hook, error, text, disabled=policy == "disable"))
        if policy == "disable":
            logger.error("plugin %r raised in %s and is disabled for the rest of the run:\n%s", plugin, hook, text)
            self._active = [other for other in self._active if other is not registered]
            self._compile()
            return None
        error.add_note(f"Raised by plugin {plugin!r} ({registered.origin}) in {hook}.")
        kind = type(error).__name__
        if isinstance(error, StopIteration) or kind in self.ends_of_data:
            wrapped = PluginError(
                f"Plugin {plugin!r} raised {kind} in {hook}, which the loop would take for the end of its data. "
                "Raise another error, or call run.stop to end the run."
            )
            wrapped.__cause__ = error
            return wrapped
        return error
