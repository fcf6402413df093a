"""A session: one run being driven. What an adapter calls, and nobody else."""

from __future__ import annotations

import logging
import time
import traceback
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from hookcore.dispatch import Hooks, compile_hooks
from hookcore.errors import CapabilityError, PluginError, Preempted
from hookcore.metrics import Metrics
from hookcore.registry.inspection import implementations
from hookcore.run import Outcome, PluginFailure, Position
from hookcore.timing import BATCH_HOOKS, WHILE, Timing
from hookcore.trainee import reason_lacking

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hookcore.capture import Capture
    from hookcore.registry.inspection import Registered
    from hookcore.run import Run, Shared
    from hookcore.store import SavedCheckpoint

    OnError = Literal["raise", "disable"]

logger = logging.getLogger("hookcore")

_NONE: Final = Metrics()

_OUTCOMES: Final = {KeyboardInterrupt: Outcome.INTERRUPTED, Preempted: Outcome.PREEMPTED}


class Session:
    """One run being driven: what an adapter calls, and nobody else.

    An adapter moves the run on with the methods here, and calls `hooks` itself for what needs no bookkeeping.
    """

    __slots__ = (
        "_active",
        "_ended",
        "_goes_on",
        "_handles",
        "_heard",
        "_on_batch_begin",
        "_on_batch_end",
        "_on_error",
        "_plain_batches",
        "_plugins",
        "_position",
        "_position_step",
        "_progress",
        "_timed_batches",
        "_timing",
        "_timing_batches",
        "_until_turn",
        "_wants_metrics",
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
        """What the handles of the run share."""
        self.position = Position()
        self.loop_state: Callable[[], Mapping[str, Any]] = dict
        """An adapter's own state, JSON-able, which a checkpoint holds too."""
        self.resumed_loop_state: Mapping[str, Any] = {}
        """What `loop_state` returned when the checkpoint was made that this run goes on from."""
        self.latest: Mapping[str, Any] | None = None
        """The metrics of the latest batch that was trained in this epoch, as the framework has them."""
        self.drops_latest = False
        """Whether `batch_begin` drops `latest`, which needs batches that all end. To be the last to hold what a framework made
        costs the time that it takes to free it."""
        self.ends_of_data: tuple[str, ...] = ()
        """Errors, by name, that the loop takes for the end of its data, as it does `StopIteration`: no plugin may raise them."""
        self._goes_on = False
        self._plugins = plugins
        self._on_error = on_error
        self._active = list(self._plugins)
        self._handles = {registered.name: run.as_plugin(registered.name) for registered in self._plugins}
        self._ended = False
        run.shared.plugin_seconds = dict.fromkeys(self._handles, 0.0)
        self._timing, self._timing_batches, self._until_turn = Timing(run.shared.plugin_seconds, clock), False, 0
        self.hooks = Hooks()
        self._compile()
        run.shared.parameters = {one.name: one.parameters for one in plugins}
        run.shared.shows_progress = any(registered.shows_progress for registered in plugins)
        run.shared.capture = self.capture
        run.shared.on_checkpoint = self._announce

    def _compile(self) -> None:
        """Put the active plugins' implementations into `hooks`; those of batches in two variants."""
        plain = implementations(self._active)
        timed = self._timing.timed(plain)
        batches = {hook: timed.pop(hook) for hook in BATCH_HOOKS}
        self._timed_batches = compile_hooks(batches, self._handles, self._report)
        self._plain_batches = compile_hooks({hook: plain[hook] for hook in BATCH_HOOKS}, self._handles, self._report)
        self._heard = {hook for hook in BATCH_HOOKS if plain[hook]}
        self._wants_metrics = any("metrics" in {*impl.argnames, *impl.kwargnames} for impl in plain["on_batch_end"])
        others = compile_hooks(timed, self._handles, self._report)
        for hook in timed:
            setattr(self.hooks, hook, getattr(others, hook))
        self._choose_batches(timed=self._timing_batches)

    def _choose_batches(self, *, timed: bool) -> None:
        self._timing_batches, chosen = timed, self._timed_batches if timed else self._plain_batches
        for hook in BATCH_HOOKS:
            setattr(self.hooks, hook, getattr(chosen, hook))
        # None where nobody listens: in a training, where nothing is in the caches, even an empty call costs as much as a plugin.
        # The end of a batch is where windows are counted, for the beginning too.
        self._on_batch_begin = chosen.on_batch_begin if "on_batch_begin" in self._heard else None
        self._on_batch_end = chosen.on_batch_end if self._heard & {"on_batch_begin", "on_batch_end"} else None

    def _turn(self) -> None:
        """Time the hooks of the next batches, or do not any more."""
        timed, self._until_turn = self._timing.next_window(timed=self._timing_batches)
        if timed != self._timing_batches:
            self._choose_batches(timed=timed)

    @property
    def position(self) -> Position:
        """Where training goes on, if it is cut now."""
        return attrs.evolve(self._position, batch=self._position.batch + self._progress.step - self._position_step)

    @position.setter
    def position(self, value: Position) -> None:
        self._position, self._position_step = value, self._progress.step

    @property
    def stopping(self) -> bool:
        """Whether some plugin has voted to stop."""
        return bool(self.shared.stop_reasons)

    def train_begin(self) -> None:
        """Refuse plugins whose needs the trainee cannot meet, then `on_train_begin`."""
        for registered in self._plugins:
            for need in registered.needs:
                reason = reason_lacking(self.run.trainee, need)
                if reason is not None:
                    self._never_began()
                    raise CapabilityError(
                        f"Plugin {registered.name!r} needs the trainee's {need.replace('_', ' ')}, but {reason}."
                    )
        if any("checkpoint" in registered.needs for registered in self._plugins):
            # By the first capture the package may have been upgraded, or be out of reach.
            from hookcore import capture, record  # noqa: F401
        self.hooks.on_train_begin()
        self._until_turn = WHILE
        self._choose_batches(timed=True)

    def epoch_begin(self, epoch: int) -> None:
        """`on_epoch_begin`, unless this epoch goes on where an earlier run was cut."""
        goes_on, self._goes_on = self._goes_on and epoch == self.position.epoch, False
        if not goes_on:
            self.position, self.latest = Position(epoch), None
            self.run.progress.epoch, self.run.progress.batch = epoch, 0
            self.hooks.on_epoch_begin(epoch)
            self.position = attrs.evolve(self.position, begun=True)
        self.poll()

    def batch_begin(self, batch: int) -> None:
        """`on_batch_begin`."""
        self._progress.batch = batch
        if self._on_batch_begin is not None:
            self._on_batch_begin(batch)
        if self.drops_latest:
            self.latest = None

    def batch_end(self, batch: int, metrics: Mapping[str, Any] | None, steps: int = 1) -> None:
        """Count `steps` optimizer updates, then `on_batch_end`. `metrics` are as the framework has them: see `Metrics`."""
        self.latest = metrics
        progress = self._progress
        progress.batch = batch
        progress.step += steps
        if self._on_batch_end is not None:
            self._on_batch_end(batch, Metrics(metrics) if self._wants_metrics else _NONE)
            self._until_turn -= 1
            if not self._until_turn:
                self._turn()
        if self.shared.interruption is not None:
            self.poll()

    def epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add the epoch to the history, then `on_epoch_end`."""
        self.run.history.append(epoch, metrics)
        self.position, self._goes_on = Position(epoch + 1), False
        self.hooks.on_epoch_end(epoch, metrics)
        self.poll()

    def evaluate_batch_begin(self, batch: int) -> None:
        """`on_evaluate_batch_begin`."""
        self.hooks.on_evaluate_batch_begin(batch)

    def evaluate_batch_end(self, batch: int, metrics: Mapping[str, Any] | None) -> None:
        """`on_evaluate_batch_end`. `metrics` are as the framework has them."""
        self.hooks.on_evaluate_batch_end(batch, Metrics(metrics))
        self._until_turn -= 1
        if not self._until_turn:
            self._turn()
        if self.shared.interruption is not None:
            self.poll()

    def poll(self) -> None:
        """Raise what `Run.interrupt` was given, if anything."""
        if self.shared.interruption is not None:
            interruption, self.shared.interruption = self.shared.interruption, None
            raise interruption

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
        """See `Run.capture`."""
        from hookcore import record
        from hookcore.capture import Capture

        run = self.run
        held = {
            (one.name, key): snapshot
            for one in self._plugins
            if one.holds_snapshots
            for key, snapshot in one.plugin.snapshots().items()
        }
        text = record.record_of(run, self.position, self._plugins, list(held), self.loop_state())
        return Capture(run.trainee, run.progress.epoch, run.progress.step, text, [run.trainee.snapshot(), *held.values()])

    def resume(self) -> None:
        """Go on from `run.resumed_from`, where there is one. The trainee must be ready to be restored."""
        try:
            if self.run.resumed_from is not None:
                from hookcore.capture import Capture

                self.restore(Capture.read(self.run.resumed_from, self.run.trainee))
        except BaseException:
            self._never_began()
            raise

    def restore(self, capture: Capture) -> None:
        """Go on from `capture`: before `train_begin`."""
        from hookcore import record

        self.position, self.resumed_loop_state = record.restore(capture, self.run, self._plugins)
        self._goes_on = self.position.begun

    def _never_began(self) -> None:
        self._ended = True  # nothing has begun, so nothing is to end
        self.shared.outcome = Outcome.FAILED

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
            self._compile()
            return None
        error.add_note(f"Raised by plugin {plugin!r} ({registered.origin}) in {hook}.")
        kind = type(error).__name__
        if isinstance(error, StopIteration) or kind in self.ends_of_data:
            wrapped = PluginError(
                f"Plugin {plugin!r} raised {kind} in {hook}, which the loop would take for the end of its data."
            )
            wrapped.__cause__ = error
            return wrapped
        return error
