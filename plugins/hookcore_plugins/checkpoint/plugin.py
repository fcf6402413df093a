"""Save whole, durable checkpoints, and keep the right ones."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs

# What the first checkpoint needs is imported now: by then the package may have been upgraded, or be out of reach.
import hookcore.capture
import hookcore.resume  # noqa: F401
from hookcore import CheckpointError, DiskFullError, Monitor, Preempted, Run, SavedCheckpoint, hookimpl, store
from hookcore.authoring import Capability, Missing, direction_of, due, observe, validators
from hookcore.store import Retention, name_of
from hookcore_plugins.checkpoint.background import Background

if TYPE_CHECKING:
    from hookcore import Capture

logger = logging.getLogger("hookcore")

_MONITOR = "val_loss"


@attrs.define(eq=False)
class Checkpoint:
    """Save the trainee, the progress and every plugin's state into `directory`, one subdirectory a checkpoint.

    A checkpoint is written aside, synced and renamed: under its name it is whole or not there (`hookcore.store`). Training
    stands still for the snapshot only; another thread writes it, one checkpoint after the other in order, with at most one
    more waiting. Other plugins hear of a checkpoint (`on_checkpoint`) at the first end of a batch, beginning or end of an epoch,
    or end of training at which it is durable, in order; it is there until all of them have heard. What cannot be written ends the
    run with an error at the first such event, and the end of training waits for all that is being written: nothing is lost in
    silence.

    Which steps are saved and what each checkpoint holds does not depend on how fast the disk is (but for `when_busy="skip"`), and
    a run that is resumed saves and keeps what one that was never cut does. A resumed run goes on with the directory: checkpoints
    newer than the one it goes on from are moved into `earlier-001` and so on, as are all those of an earlier run in the same
    directory where it goes on from none of them. They are never overwritten. While a run trains, no other process can train into
    the same directory.

    * `monitor`, `mode`: the metric that ranks checkpoints, and its direction, as in `EarlyStopping`.
    * `save_best_only`: save only where the metric improved.
    * `every_n_epochs`: save after every so many epochs; None for no saves at epoch ends.
    * `every_n_steps`: save after every so many steps too; None for none. Has no effect on `save_best_only`, which looks at
      epochs.
    * `keep_last`, `keep_best`: how many of the newest and of the best to keep, at least 1; None keeps all. `keep_every`: keep the
      last one of every so many-th epoch; None for none. What any of them keeps stays.
    * `missing`: what to do where the metric is not there; by default an error where something depends on it
      (`save_best_only`, or a `monitor` that you gave), else nothing, and there is no best.
    * `asynchronous`: write on another thread. Without it training waits until each checkpoint is durable and announced.
    * `when_busy`: where a save is due while one is being written and one more waits: `"wait"` for a place, or `"skip"` this one,
      even if it is the best, and say so in the log.
    * `when_full`: where the disk is full: `"error"`, or `"prune"`: remove all but the newest and the best, say so in the log, and
      try once more.
    * `clock`: seconds, to measure how long a save takes.

    On Ctrl-C, and where the process is preempted (`Preempted`), it saves once more, unless this step was saved already. Where
    less time is left than the latest save took, from the snapshot until it was durable, no other is begun, and the log says so.

    Raises `ParameterError` for a value outside its range or a directory that is a file, and `CheckpointError` before the first
    batch where the directory cannot be written to or another process trains into it, and where a save fails (`DiskFullError`
    for a full disk): then the earlier checkpoints are untouched.
    """

    needs: ClassVar[tuple[Capability, ...]] = ("checkpoint",)

    directory: Path = attrs.field(converter=validators.as_path, validator=validators.directory())
    monitor: str = attrs.field(default=_MONITOR, validator=validators.text())
    mode: Literal["auto", "min", "max"] = attrs.field(default="auto", validator=validators.one_of("auto", "min", "max"))
    save_best_only: bool = attrs.field(default=False, validator=validators.boolean(), kw_only=True)
    every_n_epochs: int | None = attrs.field(default=1, validator=validators.integer(at_least=1, optional=True), kw_only=True)
    every_n_steps: int | None = attrs.field(default=None, validator=validators.integer(at_least=1, optional=True), kw_only=True)
    keep_last: int | None = attrs.field(default=3, validator=validators.integer(at_least=1, optional=True), kw_only=True)
    keep_best: int | None = attrs.field(default=1, validator=validators.integer(at_least=1, optional=True), kw_only=True)
    keep_every: int | None = attrs.field(default=None, validator=validators.integer(at_least=1, optional=True), kw_only=True)
    missing: Missing | None = attrs.field(default=None, kw_only=True)
    asynchronous: bool = attrs.field(default=True, validator=validators.boolean(), kw_only=True)
    when_busy: Literal["wait", "skip"] = attrs.field(default="wait", validator=validators.one_of("wait", "skip"), kw_only=True)
    when_full: Literal["error", "prune"] = attrs.field(
        default="error", validator=validators.one_of("error", "prune"), kw_only=True
    )
    clock: Callable[[], float] = attrs.field(default=time.monotonic, validator=validators.function(), kw_only=True)
    watch: Monitor = attrs.field(init=False, factory=lambda: Monitor("min"))
    """What was best so far, and how long ago."""
    _last_step: int = attrs.field(init=False, default=0)
    """The step of the latest save, or of the latest that was left out."""
    _ready: bool = attrs.field(init=False, default=False)
    """Whether what an earlier run left is out of the way, and this one saves."""
    _taken: int | None = attrs.field(init=False, default=None)
    """The step of the latest snapshot that is, or is about to be, a checkpoint."""
    _newest: SavedCheckpoint | None = attrs.field(init=False, default=None)
    """The newest checkpoint of this run, or the one that it goes on from in this directory."""
    _seconds: float | None = attrs.field(init=False, default=None)
    """How long the latest save took until it was durable, less what it waited for others."""
    _unannounced: list[SavedCheckpoint] = attrs.field(init=False, factory=list)
    _writes: Background[None] = attrs.field(init=False, factory=Background, repr=False)
    _lock: store.Lock | None = attrs.field(init=False, default=None, repr=False)

    @missing.validator
    def _known(self, attribute: Any, value: Missing | None) -> None:
        if value is not None:
            validators.one_of("error", "warn", "skip")(self, attribute, value)

    @property
    def _retention(self) -> Retention:
        return Retention(self.keep_last, self.keep_best, self.keep_every)

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        """Settle the direction and make the directory ready, before anything is trained."""
        self._forget()
        self.watch = attrs.evolve(self.watch, mode=direction_of(run, self.monitor, self.mode))
        self._lock = self._open()
        if run.resumed_from is not None and run.resumed_from.path.parent.resolve() == self.directory.resolve():
            self._newest, self._taken = run.resumed_from, run.resumed_from.step

    def _forget(self) -> None:
        """Begin clean, also where the run before was left without its end."""
        self._writes.wait()
        self._writes.jobs.clear()
        self._unannounced.clear()
        self._ready, self._taken, self._newest, self._seconds = False, None, None, None

    def _open(self) -> store.Lock:
        lock = store.lock(self.directory)
        try:
            store.open_directory(self.directory)
        except BaseException:
            lock.release()
            raise
        return lock

    @hookimpl(trylast=True)
    def on_epoch_begin(self, run: Run) -> None:
        """Tell of what has become durable."""
        if self._writes.jobs:
            self._announce(run)

    @hookimpl(trylast=True)
    def on_batch_end(self, run: Run) -> None:
        """Save where a multiple of `every_n_steps` was reached."""
        if self._writes.jobs:
            self._announce(run)
        n = self.every_n_steps
        if n is not None and due(n, run.progress.step, self._last_step):
            self._save(run, None, f"every {n} steps")

    @hookimpl(trylast=True)
    def on_evaluate_batch_end(self, run: Run) -> None:
        """Tell of what has become durable."""
        if self._writes.jobs:
            self._announce(run)

    @hookimpl(trylast=True)
    def on_epoch_end(self, run: Run, epoch: int, metrics: Mapping[str, float]) -> None:
        """Save where the metric improved, or where an epoch's save is due."""
        if self._writes.jobs:
            self._announce(run)
        asked = self.save_best_only or self.monitor != _MONITOR
        value = observe(run, metrics, self.monitor, self.missing or ("error" if asked else "skip"))
        if value is not None:
            self.watch = self.watch.observe(value, epoch)
        if self.save_best_only:
            if value is not None and self.watch.waited == 0:
                self._save(run, value, f"{self.monitor} improved to {value:.6g}")
        elif self.every_n_epochs is not None and (epoch + 1) % self.every_n_epochs == 0:
            self._save(run, value, f"end of epoch {epoch + 1}")

    @hookimpl(trylast=True)
    def on_exception(self, run: Run, exception: BaseException) -> None:
        """Save what there is when the run is interrupted; after any other error the state may be bad."""
        if isinstance(exception, Preempted):
            self._writes.wait()
        elif not isinstance(exception, KeyboardInterrupt):
            return
        # A checkpoint of this very step is as good, and may have a value that ranks it.
        if self._taken != run.progress.step and self._in_time(run, exception):
            self._save(run, None, "interrupted" if isinstance(exception, KeyboardInterrupt) else "preempted", urgent=True)

    def _in_time(self, run: Run, exception: BaseException) -> bool:
        """Whether another save can be done before the process is killed, as far as that is known."""
        left = exception.remaining() if isinstance(exception, Preempted) else None
        if left is None or self._seconds is None or left >= self._seconds:
            return True
        msg = "%s: not saved again: %.3g s are left, and the latest save took %.3g s; the newest checkpoint is %s"
        logger.warning(msg, run.plugin, left, self._seconds, "none" if self._newest is None else self._newest.path)
        return False

    @hookimpl(tryfirst=True)
    def on_train_end(self, run: Run) -> None:
        """Wait until all is written, and tell of it before the others close."""
        errors: list[Exception] = []
        try:
            self._writes.wait()
            while self._writes.jobs or self._unannounced:
                try:
                    self._announce(run)
                except Exception as error:  # noqa: BLE001 - raised below, when all is told
                    errors.append(error)
            if self._ready:
                try:
                    store.prune(self.directory, self._retention)  # what stayed until it was told of
                except CheckpointError as error:
                    errors.append(error)
        finally:
            # Where Ctrl-C ended the waiting, what is being written needs the lock still; it ends with the process.
            if self._lock is not None and not self._writes.unfinished():
                self._lock.release()
        for other in errors[1:]:
            errors[0].add_note(f"Then, at the end of training: {other!r}")
        if errors:
            raise errors[0]

    def _save(self, run: Run, value: float | None, reason: str, *, urgent: bool = False) -> None:
        self._last_step = step = run.progress.step
        if self._writes.unfinished() > 1:
            if self.when_busy == "skip" and not urgent:
                msg = "%s: step %d is not saved (%s): one checkpoint is being written and one more waits"
                logger.warning(msg, run.plugin, step, reason)
                return
            self._writes.wait(unfinished=1)
        if not self._ready:  # not before: a run that fails at its start leaves the earlier one's where they are
            aside = store.set_aside(self.directory, after=-1 if self._newest is None else self._newest.step)
            if aside is not None:
                logger.info("%s: the checkpoints of an earlier run are now in %s", run.plugin, aside)
            self._ready = True
        began, name = self.clock(), name_of(step)
        run.decide("checkpoint", f"saving {name}: {reason}", value)
        capture = run.capture()
        self._taken = step
        write = functools.partial(self._write, run.plugin, capture, value, self.clock() - began)
        if self.asynchronous:
            self._writes.submit(f"{run.plugin}: writing {name}", write)
        else:
            write()
            self._announce(run)

    def _write(self, plugin: str, capture: Capture, value: float | None, seconds: float) -> None:
        """Make a checkpoint of `capture`, which took so many seconds, and remove what need not be kept. On any thread."""
        began = self.clock()
        try:
            saved = self._stored(plugin, capture, value)
        except BaseException:
            if self._taken == capture.step:
                self._taken = None
            raise
        self._newest, self._seconds = saved, seconds + self.clock() - began
        self._unannounced.append(saved)
        store.prune(self.directory, self._retention, also=list(self._unannounced))

    def _stored(self, plugin: str, capture: Capture, value: float | None) -> SavedCheckpoint:
        write = functools.partial(
            store.write,
            self.directory,
            epoch=capture.epoch,
            step=capture.step,
            metric=self.monitor,
            value=value,
            mode=self.watch.mode,
            record=capture.record,
            files=capture.write,
            retention=self._retention,
            space=capture.nbytes,
        )
        try:
            return write()
        except DiskFullError as error:
            if self.when_full == "error":
                raise
            removed = ", ".join(one.path.name for one in self._make_room()) or "nothing"
            logger.warning("%s: %s Removed: %s. Trying once more.", plugin, error, removed)
            return write()

    def _make_room(self) -> list[SavedCheckpoint]:
        """Remove all checkpoints but the newest and the best, also those that verify where others are damaged."""
        stay = list(self._unannounced)
        for find in (store.newest, store.best):
            with contextlib.suppress(CheckpointError):
                stay.append(find(self.directory))
        return store.prune(self.directory, Retention(last=1, best=1), also=stay)

    def _announce(self, run: Run) -> None:
        """Tell of what has become durable; raises what went wrong in writing."""
        try:
            for _ in self._writes.collect():
                pass
        finally:
            while self._unannounced:
                try:
                    run.checkpoint_saved(self._unannounced[0])
                finally:
                    del self._unannounced[0]  # not before: until then it is not removed

    def resumable(self) -> SavedCheckpoint | None:
        """What `resume="auto"` goes on from: the newest checkpoint in the directory that verifies, or None where there is none.

        What a crash left half done in the directory is put right. Raises `CheckpointError` where all are damaged, and where
        another process trains into the directory.
        """
        if not self.directory.is_dir():
            return None
        self._writes.wait()
        self._open().release()
        return store.newest(self.directory) if store.named(self.directory) else None

    def best(self) -> SavedCheckpoint:
        """The best checkpoint of the latest run that verifies; `CheckpointError` where there is none."""
        return store.best(self.directory)

    def newest(self) -> SavedCheckpoint:
        """The newest checkpoint of the latest run that verifies; `CheckpointError` where there is none."""
        return store.newest(self.directory)

    def state_dict(self) -> dict[str, Any]:
        """The observations so far, and the step of the latest save."""
        return {**self.watch.state_dict(), "last_step": self._last_step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the observations of `state`."""
        observed = dict(state)
        self._last_step = observed.pop("last_step")
        self.watch = self.watch.load_state_dict(observed)
