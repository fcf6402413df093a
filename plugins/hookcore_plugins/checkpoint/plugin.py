"""Save whole, durable checkpoints, and keep the right ones."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import attrs

from hookcore import Monitor, Preempted, Run, SavedCheckpoint, hookimpl, store
from hookcore.authoring import Capability, Missing, direction_of, due, observe, observed, schema, validators
from hookcore_plugins.checkpoint.background import Background
from hookcore_plugins.checkpoint.saver import Saver, lock_and_repair, place_of

logger = logging.getLogger("hookcore")

_DEFAULT_MONITOR = "val_loss"
_STATE: Final = schema.fields(
    {"last_step": schema.integer},
    {"ranking": (schema.optional(schema.pair_of(schema.integer, schema.number)), None)},  # earlier states lack it
)


@attrs.define(eq=False, on_setattr=validators.convert_and_validate)
class Checkpoint:
    """Save the trainee, the progress and every plugin's state into `directory`, with one subdirectory for each checkpoint.

    A checkpoint is written aside, synced and renamed: under its name it is whole or absent (`hookcore.store`). Training
    stands still for the snapshot only; another thread writes it, one checkpoint after the other in order, with at most one
    more waiting. Other plugins hear of a checkpoint (`on_checkpoint`) at the first end of a batch, beginning or end of an epoch,
    or end of training at which it is durable, in order, and it stays until all of them have heard. What cannot be written ends
    the run with an error at the first such event, and the end of training waits for all that is being written.

    Which steps are saved and what each checkpoint holds does not depend on how fast the disk is (except with
    `when_busy="skip"`), and a run that is resumed saves and keeps what one that was never cut does. A run moves the checkpoints
    of an earlier run into `earlier-001` and so on: those newer than the one that it resumes from, or all if it resumes from none
    in this directory. They are never overwritten. While a run trains, no other can train into the same directory.

    * `monitor`, `mode`: the metric that ranks checkpoints, and its direction, as in `EarlyStopping`.
    * `save_best_only`: save only at observations at which the metric improved.
    * `every_n_epochs`: save after every N epochs and, in a loop that evaluates by steps, at each evaluation, whatever N is; None
      for no such saves.
    * `every_n_steps`: save after every N steps too; None for no such saves. `save_best_only`, which looks at observations, does
      not affect them.
    * `keep_last`, `keep_best`: how many of the newest and of the best to keep, at least 1; None keeps all. `keep_every`: keep the
      last one of every Nth epoch, also in a loop by steps; None for no such rule. What any of them keeps stays.
    * `missing`: what to do if the metric is missing; by default an error if something depends on it
      (`save_best_only`, or a `monitor` that you gave), else nothing, and there is no best.
    * `asynchronous`: write on another thread. Without it training waits until each checkpoint is durable and announced.
    * `when_busy`: what to do if a save is due while one is being written and one more waits: `"wait"` for a place, or `"skip"`
      this one, even if it is the best, with a warning.
    * `when_full`: what to do if the disk is full: `"error"`, or `"prune"`: remove all but the newest and the best, warn, and
      try once more.
    * `clock`: seconds, to measure how long a save takes.

    On Ctrl-C, and if the process is preempted (`Preempted`), it saves once more, unless this step was saved already. If less
    time is left than the latest save took, from the snapshot until it was durable, it warns instead.

    Raises `ParameterError` for a value outside its range or a directory that is a file, and `CheckpointError` before the first
    batch if the directory cannot be written to or another run trains into it, and if a save fails (`DiskFullError`
    for a full disk): then the earlier checkpoints are untouched.
    """

    type_name: ClassVar[str] = "hookcore_plugins.checkpoint.Checkpoint"
    needs: ClassVar[tuple[Capability, ...]] = ("checkpoint",)

    directory: Path = attrs.field(converter=validators.as_path, validator=validators.directory())
    monitor: str = attrs.field(default=_DEFAULT_MONITOR, validator=validators.text())
    mode: Literal["auto", "min", "max"] = attrs.field(default="auto", validator=validators.one_of("auto", "min", "max"))
    save_best_only: bool = attrs.field(default=False, validator=validators.boolean(), kw_only=True)
    every_n_epochs: int | None = attrs.field(default=1, validator=validators.integer(at_least=1, optional=True), kw_only=True)
    every_n_steps: int | None = attrs.field(default=None, validator=validators.integer(at_least=1, optional=True), kw_only=True)
    keep_last: int | None = attrs.field(default=3, validator=validators.integer(at_least=1, optional=True), kw_only=True)
    keep_best: int | None = attrs.field(default=1, validator=validators.integer(at_least=1, optional=True), kw_only=True)
    keep_every: int | None = attrs.field(default=None, validator=validators.integer(at_least=1, optional=True), kw_only=True)
    missing: Missing | None = attrs.field(
        default=None, validator=attrs.validators.optional(validators.one_of("error", "warn", "skip")), kw_only=True
    )
    asynchronous: bool = attrs.field(default=True, validator=validators.boolean(), kw_only=True)
    when_busy: Literal["wait", "skip"] = attrs.field(default="wait", validator=validators.one_of("wait", "skip"), kw_only=True)
    when_full: Literal["error", "prune"] = attrs.field(
        default="error", validator=validators.one_of("error", "prune"), kw_only=True
    )
    clock: Callable[[], float] = attrs.field(default=time.monotonic, validator=validators.function(), kw_only=True)
    observed: Monitor = attrs.field(init=False, factory=lambda: Monitor("min"))
    """What was best so far, and how long ago."""
    _last_step: int = attrs.field(init=False, default=0)
    """The step of the latest save, or of the latest that was left out."""
    _ranking: tuple[int, float] | None = attrs.field(init=False, default=None)
    """The latest value of the metric and its step: it ranks whatever is saved at this step, as the weights are the same."""
    _writes: Background[None] = attrs.field(init=False, factory=Background, repr=False)
    """What is being written, for this run or still for one that was abandoned."""
    _saver: Saver = attrs.field(init=False, repr=False)
    """Saves the checkpoints of this run, or of the latest one."""

    def __attrs_post_init__(self) -> None:
        self._saver = self._new_saver()

    def _new_saver(self) -> Saver:
        return Saver(
            self.directory,
            retention=store.Retention(self.keep_last, self.keep_best, self.keep_every),
            in_background=self.asynchronous,
            makes_room=self.when_full == "prune",
            clock=self.clock,
            writes=self._writes,
        )

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        """Settle the direction and make the directory ready, before anything is trained."""
        mode = direction_of(run, self.monitor, self.mode)
        self._writes.wait()
        saver = self._new_saver()
        saver.open(run, metric=self.monitor, mode=mode)
        self._saver = saver
        self._writes.jobs.clear()  # of a run that was abandoned: they are done, and never announced
        self.observed = attrs.evolve(self.observed, mode=mode)

    @hookimpl(trylast=True)
    def on_epoch_begin(self, run: Run) -> None:
        """Announce what has become durable."""
        if self._writes.jobs:
            self._saver.announce(run)

    @hookimpl(trylast=True)
    def on_batch_end(self, run: Run) -> None:
        """Save if a multiple of `every_n_steps` was reached."""
        if self._writes.jobs:
            self._saver.announce(run)
        self._save_by_steps(run)

    def _save_by_steps(self, run: Run) -> None:
        n = self.every_n_steps
        if n is not None and due(n, run.progress.step, self._last_step):
            self._save(run, None, f"every {n} steps")

    @hookimpl(trylast=True)
    def on_evaluate_batch_end(self, run: Run) -> None:
        """Announce what has become durable."""
        if self._writes.jobs:
            self._saver.announce(run)

    @hookimpl(trylast=True)
    def on_epoch_end(self, run: Run, epoch: int) -> None:
        """Save if an epoch's save is due and no observation follows, as the last step of the epoch was observed before.

        In a loop that tells of no batches, the steps of the epoch are heard only now.
        """
        if self._writes.jobs:
            self._saver.announce(run)
        self._save_by_steps(run)
        if not run.history.has_end_of(epoch) and not self.save_best_only and self._is_due(epoch):
            self._save(run, None, f"end of epoch {epoch + 1}")

    @hookimpl(trylast=True)
    def on_metrics(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Save if the metric improved, or if a save is due; have the value rank what is saved at this moment."""
        if self._writes.jobs:
            self._saver.announce(run)
        asked = self.save_best_only or self.monitor != _DEFAULT_MONITOR
        value = observe(run, metrics, self.monitor, self.missing or ("error" if asked else "skip"))
        if value is not None:
            self.observed = observed(run, self.observed, value)
            self._ranking = run.progress.step, value
            self._saver.rank(run, value)
        epoch, by_steps = run.progress.epoch, run.history.by_steps[-1]
        if self.save_best_only:
            if value is not None and self.observed.waited == 0:
                self._save(run, value, f"{self.monitor} improved to {value:.6g}")
        elif self._saver.is_asked:
            return
        elif by_steps and self.every_n_epochs is not None:
            self._save(run, value, f"evaluation at step {run.progress.step}")
        elif not by_steps and self._is_due(epoch):
            self._save(run, value, f"end of epoch {epoch + 1}")

    def _is_due(self, epoch: int) -> bool:
        return self.every_n_epochs is not None and (epoch + 1) % self.every_n_epochs == 0

    @hookimpl(trylast=True)
    def on_exception(self, run: Run, exception: BaseException) -> None:
        """Save what there is when the run is interrupted; after any other error the state may be bad."""
        if not self._saver.serves(run):
            return  # it was refused, or cut before it began
        if isinstance(exception, Preempted):
            self._writes.wait()
        elif not isinstance(exception, KeyboardInterrupt):
            return
        # A checkpoint of this very step is as good, and may have a value that ranks it.
        if self._saver.latest != place_of(run) and self._in_time(run, exception):
            self._save(run, None, "interrupted" if isinstance(exception, KeyboardInterrupt) else "preempted", urgent=True)

    def _in_time(self, run: Run, exception: BaseException) -> bool:
        """Return whether another save can be done before the process is killed, as far as that is known."""
        left = exception.remaining() if isinstance(exception, Preempted) else None
        needed, newest = self._saver.seconds_to_save, self._saver.newest
        if left is None or needed is None or left >= needed:
            return True
        msg = "%s: not saved again: %.3g s are left, and the latest save took %.3g s; the newest checkpoint is %s"
        logger.warning(msg, run.plugin, left, needed, "none" if newest is None else newest.path)
        return False

    @hookimpl(tryfirst=True)
    def on_train_end(self, run: Run) -> None:
        """Wait until all is written, and announce it before other plugins close."""
        if self._saver.serves(run):
            self._saver.finish(run)

    def _save(self, run: Run, value: float | None, reason: str, *, urgent: bool = False) -> None:
        self._last_step = run.progress.step
        if value is None and self._ranking is not None and self._ranking[0] == run.progress.step:
            value = self._ranking[1]
        if self.when_busy == "skip" and not urgent and self._saver.is_busy():
            msg = "%s: step %d is not saved (%s): one checkpoint is being written and one more waits"
            logger.warning(msg, run.plugin, run.progress.step, reason)
        else:
            self._saver.save(run, value, reason)

    def resumable(self) -> SavedCheckpoint | None:
        """Return the newest checkpoint that verifies, for `resume="auto"`, or None if the directory has no checkpoint.

        What a crash left half done in the directory is put right. Raises `CheckpointError` if all are damaged, or if a run trains
        into the directory.
        """
        self._writes.wait()
        if not store.named(self.directory):
            return None
        lock_and_repair(self.directory).release()
        return store.newest(self.directory)

    def best(self) -> SavedCheckpoint:
        """Return the best checkpoint of the latest run that verifies. Raises `CheckpointError` if no checkpoint does."""
        return store.best(self.directory)

    def newest(self) -> SavedCheckpoint:
        """Return the newest checkpoint of the latest run that verifies. Raises `CheckpointError` if no checkpoint does."""
        return store.newest(self.directory)

    def state_dict(self) -> dict[str, Any]:
        """Return the observations so far, the step of the latest save, and what ranks another one at its step."""
        return {**self.observed.state_dict(), "last_step": self._last_step, "ranking": self._ranking}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the observations of `state`."""
        own, observed = _STATE(state), self.observed.load_state_dict(state)
        self._last_step, self.observed = own["last_step"], observed
        self._ranking = None if own["ranking"] is None else tuple(own["ranking"])
