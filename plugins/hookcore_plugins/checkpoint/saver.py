"""Save the checkpoints of one run, beside training and in order."""

from __future__ import annotations

import contextlib
import functools
import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from hookcore import CheckpointError, DiskFullError, Run, SavedCheckpoint, store
from hookcore.authoring import Mode, describe, note
from hookcore.store import Retention
from hookcore_plugins.checkpoint.background import Background

if TYPE_CHECKING:
    from hookcore import Capture

logger = logging.getLogger("hookcore")


@attrs.define(eq=False)
class Saver:
    """Save the checkpoints of one run into `directory`, one by one, and remove those that are no longer kept.

    * `retention`: which checkpoints to keep. No checkpoint is removed before it was announced.
    * `in_background`: write on another thread. At most one checkpoint is being written while one more waits.
    * `makes_room`: on a full disk, remove all but the newest and the best and try once more.
    * `clock`: seconds, to measure how long a save takes.
    * `writes`: what writes them, and keeps an error until `announce` raises it or the run is abandoned.
    """

    _directory: Path
    _retention: Retention = attrs.field(kw_only=True)
    _in_background: bool = attrs.field(kw_only=True)
    _makes_room: bool = attrs.field(kw_only=True)
    _clock: Callable[[], float] = attrs.field(kw_only=True)
    _writes: Background[None] = attrs.field(kw_only=True)
    _metric: str | None = attrs.field(init=False, default=None)
    _mode: Mode | None = attrs.field(init=False, default=None)
    latest: tuple[int, int] | None = attrs.field(init=False, default=None)
    """The place of the latest capture that is a checkpoint or becomes one; None if there is no capture or its write failed."""
    newest: SavedCheckpoint | None = attrs.field(init=False, default=None)
    """The newest checkpoint of this run, or the one in this directory that it was resumed from."""
    seconds_to_save: float | None = attrs.field(init=False, default=None)
    """How long the latest save took: its capture and its write, without the waiting between them."""
    _asked: tuple[int, float | None] | None = attrs.field(init=False, default=None)
    """The step of a capture that is due and not taken yet, and the value that ranks it."""
    _earlier_set_aside: bool = attrs.field(init=False, default=False)
    _unannounced: list[SavedCheckpoint] = attrs.field(init=False, factory=list)
    _known: store.Known = attrs.field(init=False, factory=dict)
    """The checkpoints that are kept, so that a save need not read their manifests again."""
    _lock: store.Lock | None = attrs.field(init=False, default=None)
    _run: int | None = attrs.field(init=False, default=None)
    """The id of the run that it was opened for. Not the run itself, which holds the model until it ends."""

    def open(self, run: Run, *, metric: str, mode: Mode) -> None:
        """Lock the directory and make it ready for `run`, whose checkpoints are ranked by `metric`, in the direction `mode`.

        Raises `CheckpointError` if it cannot be written to, or if another run trains into it.
        """
        self._lock = lock_and_repair(self._directory, functools.partial(_yields, weakref.ref(run), self._writes))
        self._metric, self._mode, self._run = metric, mode, id(run.shared)
        resumed_from = run.resumed_from
        if resumed_from is not None and resumed_from.path.parent.resolve() == self._directory.resolve():
            self.newest, self.latest = resumed_from, resumed_from.place

    def serves(self, run: Run) -> bool:
        """Return whether it was opened for `run`, and not for another run of the same plugin."""
        return self._run == id(run.shared)

    def is_busy(self) -> bool:
        """Return whether the next save would have to wait."""
        return self._writes.unfinished() > 1

    def save(self, run: Run, value: float | None, reason: str) -> None:
        """Save the run once this moment is settled and no other save waits. `value` ranks the checkpoint, unless it is None.

        Two calls within one moment save once. `announce` raises an error of the other thread.
        """
        if self.is_busy():
            self._writes.wait(unfinished=1)
        self._check_lock()
        if not self._earlier_set_aside:  # not in `open`: a run that fails at its start moves nothing
            aside = store.set_aside(self._directory, *([] if self.newest is None else self.newest.place))
            if aside is not None:
                logger.info("%s: the checkpoints of an earlier run are now in %s", run.plugin, aside)
            self._earlier_set_aside = True
        self.latest = place_of(run)
        run.decide("checkpoint", f"saving {store.name_of(*self.latest)}: {reason}", value)
        if self._asked is None:
            run.when_settled(functools.partial(self._write_capture, run))
        self._asked = run.progress.step, value

    @property
    def is_asked(self) -> bool:
        """Whether a save is due once this moment is settled."""
        return self._asked is not None

    def rank(self, run: Run, value: float) -> None:
        """Let `value`, observed now, rank the save that is due at this moment, if there is one."""
        if self._asked is not None:
            self._asked = run.progress.step, value

    def _write_capture(self, run: Run, capture: Capture) -> None:
        step, value = self._asked or (capture.step, None)
        self._asked = None
        if step != capture.step:  # within an accumulation: the weights are no longer those that were observed
            value = None
        self.latest = capture.step, capture.accumulated  # within an accumulation, it comes later than it was asked for
        write = functools.partial(self._make_checkpoint, run.plugin, capture, value)
        if self._in_background:
            self._writes.submit(f"{run.plugin}: writing {store.name_of(capture.step, capture.accumulated)}", write)
        else:
            write()
            self.announce(run)

    def _make_checkpoint(self, plugin: str, capture: Capture, value: float | None) -> None:
        """Write `capture` as a checkpoint, and remove those that are no longer kept. Runs on any thread."""
        began = self._clock()
        try:
            saved = self._write(plugin, capture, value)
        except BaseException:
            if self.latest == (capture.step, capture.accumulated):
                self.latest = None
            raise
        self.newest, self.seconds_to_save = saved, capture.seconds + self._clock() - began
        self._unannounced.append(saved)
        self._check_lock()
        store.prune(self._directory, self._retention, also=list(self._unannounced), known=self._known)

    def _write(self, plugin: str, capture: Capture, value: float | None) -> SavedCheckpoint:
        """Write `capture` to the disk. If the disk is full and `makes_room` is set, make room and try once more."""
        write = functools.partial(
            store.write,
            self._directory,
            epoch=capture.epoch,
            step=capture.step,
            metric=self._metric,
            value=value,
            mode=self._mode,
            record=capture.record,
            files=capture.write,
            retention=self._retention,
            space=capture.nbytes,
            accumulated=capture.accumulated,
            lock=self._lock,
        )
        try:
            return write()
        except DiskFullError as error:
            if not self._makes_room:
                raise
            removed = ", ".join(checkpoint.path.name for checkpoint in self._make_room()) or "nothing"
            logger.warning("%s: %s Removed: %s. Trying once more.", plugin, error, removed)
            return write()

    def _make_room(self) -> list[SavedCheckpoint]:
        """Remove all checkpoints except the newest and the best, and the newest and the best of those that verify."""
        stay = list(self._unannounced)
        for find in (store.newest, store.best):
            with contextlib.suppress(CheckpointError):
                stay.append(find(self._directory))
        return store.prune(self._directory, Retention(last=1, best=1), also=stay)

    def announce(self, run: Run) -> None:
        """Tell all plugins of the checkpoints that have become durable. Raises the errors of writing."""
        try:
            for _ in self._writes.collect():
                pass
        finally:
            while self._unannounced:
                try:
                    run.checkpoint_saved(self._unannounced[0])
                finally:
                    del self._unannounced[0]  # only from now on may it be removed

    def finish(self, run: Run) -> None:
        """Wait until all is written, announce it, remove the checkpoints that are no longer kept, and unlock the directory.

        An error stops none of these steps. Raises the first one at the end, with the others as notes.
        """
        errors: list[Exception] = []
        try:
            self._writes.wait()
            while self._writes.jobs or self._unannounced:
                try:
                    self.announce(run)
                except Exception as error:  # noqa: BLE001 - raised below, when all is told
                    errors.append(error)
            if self._earlier_set_aside:
                try:
                    self._check_lock()
                    store.prune(self._directory, self._retention, known=self._known)
                except CheckpointError as error:
                    errors.append(error)
        finally:
            # If Ctrl-C ended the waiting, the write under way still needs the lock, until another run asks for it.
            if not self._writes.unfinished():
                self._unlock()
        for other in errors[1:]:
            note(errors[0], f"Then, at the end of training: {describe(other)}")
        if errors:
            raise errors[0]

    def _check_lock(self) -> None:
        if self._lock is not None:
            self._lock.check()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()


def _yields(reference: Callable[[], Run | None], writes: Background[None]) -> bool:
    """Return whether a run has ended or was abandoned, so that another may have its directory, once its writes are done."""
    run = reference()
    if run is not None and run.may_go_on:
        return False
    writes.wait()
    return True


def place_of(run: Run) -> tuple[int, int]:
    """Return the place of the run as it is now; see `SavedCheckpoint.place`."""
    return run.progress.step, run.progress.accumulated


def lock_and_repair(directory: Path, yields: Callable[[], bool] | None = None) -> store.Lock:
    """Lock `directory`, which is made if it does not exist, and repair what a crash left half done in it."""
    lock = store.lock(directory, yields)
    try:
        store.open_directory(directory)
    except BaseException:
        lock.release()
        raise
    return lock
