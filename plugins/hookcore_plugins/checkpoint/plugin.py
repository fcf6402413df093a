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

    A checkpoint is written aside, synced and renamed: under its name it is whole or absent (`hookcore.store`). Training waits
    for the snapshot only; another thread writes the checkpoints one by one, in order, with at most one more waiting. Once a
    checkpoint is durable, `on_checkpoint` is called at the next of these events: the end of a batch, the beginning or end of an
    epoch, or the end of training. No checkpoint is removed before that. An error in writing ends the run at the same events, and
    the end of training waits for everything that is being written.

    The speed of the disk does not decide which steps are saved or what a checkpoint holds, except with `when_busy="skip"`. A
    resumed run saves and keeps the same checkpoints as one that was never interrupted. Checkpoints of an earlier run are never
    overwritten: those newer than the one that the run resumes from, or all if it resumes from none in this directory, are moved
    into `earlier-001` and so on. While a run trains, no other can train into the same directory.

    * `monitor`, `mode`: the metric that ranks checkpoints, and its direction, as in `EarlyStopping`.
    * `save_best_only`: save only at observations at which the metric improved.
    * `every_n_epochs`: save after every N epochs and, in a loop that evaluates by steps, at each evaluation, whatever N is; None
      for no such saves.
    * `every_n_steps`: save after every N steps too; None for no such saves. `save_best_only`, which looks at observations, does
      not affect them.
    * `keep_last`, `keep_best`: how many of the newest and of the best to keep, at least 1; None keeps all. `keep_every`: keep
      the last one of every Nth epoch, also in a loop by steps; None for no such rule. A checkpoint stays if any of the three
      keeps it.
    * `missing`: what to do if the metric is missing. By default that is an error if you gave a `monitor` or `save_best_only`;
      otherwise there is no best checkpoint.
    * `asynchronous`: write on another thread. Without it training waits until each checkpoint is durable and announced.
    * `when_busy`: what to do if a save is due while one checkpoint is being written and one more waits: `"wait"` until one is
      done, or `"skip"` this one, even if it is the best, with a warning.
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
    """The best value so far, and how many observations ago it was."""
    _last_step: int = attrs.field(init=False, default=0)
    """The step of the latest save, or of the latest that was skipped."""
    _ranking: tuple[int, float] | None = attrs.field(init=False, default=None)
    """The latest value of the metric and its step: it ranks whatever is saved at this step, as the weights are the same."""
    _writes: Background[None] = attrs.field(init=False, factory=Background, repr=False)
    """The writes under way, of this run or of an abandoned one."""
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
        self._writes.jobs.clear()  # of an abandoned run: they are written, and not announced
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
        """Save if an epoch's save is due and no observation follows: the last step of the epoch may have been observed before.

        In a loop without batches, the steps of an epoch are known only now.
        """
        if self._writes.jobs:
            self._saver.announce(run)
        self._save_by_steps(run)
        if not run.history.has_end_of(epoch) and not self.save_best_only and self._is_due(epoch):
            self._save(run, None, f"end of epoch {epoch + 1}")

    @hookimpl(trylast=True)
    def on_metrics(self, run: Run, metrics: Mapping[str, float]) -> None:
        """Save if the metric improved, or if a save is due. The metric's value ranks the checkpoint."""
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
        """Save once more if the run was interrupted. After any other error the state may be bad."""
        if not self._saver.serves(run):
            return  # it was refused, or cut before it began
        if isinstance(exception, Preempted):
            self._writes.wait()
        elif not isinstance(exception, KeyboardInterrupt):
            return
        # A checkpoint of the same step holds the same, and may have a value that ranks it.
        if self._saver.latest != place_of(run) and self._in_time(run, exception):
            self._save(run, None, "interrupted" if isinstance(exception, KeyboardInterrupt) else "preempted", urgent=True)

    def _in_time(self, run: Run, exception: BaseException) -> bool:
        """Return whether there is time for another save before the process is killed; True if that is unknown."""
        left = exception.remaining() if isinstance(exception, Preempted) else None
        needed, newest = self._saver.seconds_to_save, self._saver.newest
        if left is None or needed is None or left >= needed:
            return True
        msg = "%s: not saved again: %.3g s are left, and the latest save took %.3g s; %s"
        there = "there is no checkpoint" if newest is None else f"the newest checkpoint is {newest.path}"
        logger.warning(msg, run.plugin, left, needed, there)
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

        Repairs what a crash left half done in the directory. Raises `CheckpointError` if all checkpoints are damaged, or if a
        run trains into the directory.
        """
        self._writes.wait()
        if not store.named(self.directory) and not self.directory.is_dir():
            return None
        # Even without a checkpoint: an abandoned run of this process may still be writing its first, and the lock waits.
        lock_and_repair(self.directory).release()
        return store.newest(self.directory) if store.named(self.directory) else None

    def best(self) -> SavedCheckpoint:
        """Return the best checkpoint of the latest run that verifies. Raises `CheckpointError` if no checkpoint does."""
        return store.best(self.directory)

    def newest(self) -> SavedCheckpoint:
        """Return the newest checkpoint of the latest run that verifies. Raises `CheckpointError` if no checkpoint does."""
        return store.newest(self.directory)

    def state_dict(self) -> dict[str, Any]:
        """Return the observations so far, the step of the latest save, and the value that ranks a save at that step."""
        return {**self.observed.state_dict(), "last_step": self._last_step, "ranking": self._ranking}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the observations of `state`."""
        own, observed = _STATE(state), self.observed.load_state_dict(state)
        self._last_step, self.observed = own["last_step"], observed
        self._ranking = None if own["ranking"] is None else tuple(own["ranking"])
