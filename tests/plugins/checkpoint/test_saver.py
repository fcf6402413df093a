"""Checkpoint writes beside training and in order, on disks that are slow, full or bad."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import shutil
import threading
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import pytest

from hookcore import (
    CheckpointError,
    DiskFullError,
    Engine,
    MetricError,
    Outcome,
    Preempted,
    Run,
    SavedCheckpoint,
    Session,
    hookimpl,
    store,
)
from hookcore.store import files
from hookcore.testing import RecordingPlugin, ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, EarlyStopping
from tests.patience import PATIENCE
from tests.plugins.checkpoint.checkpointing import (
    BadTrainee,
    SlowTrainee,
    in_a_process,
    on_a_slow_disk,
    settles,
    steps,
    train,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

DISK_ERROR = "could not be written: Input/output error"


def bad_disk(*at: float) -> BadTrainee:
    """Return a trainee whose checkpoint of each step in `at` cannot be written."""
    return BadTrainee(errors={step: [OSError(errno.EIO, "Input/output error")] for step in at})


def announced(recording: RecordingPlugin) -> list[int]:
    return [event[1].step for event in recording.events if event[0] == "on_checkpoint"]


# Beside training.


def test_training_continues_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    """Training continues while a checkpoint is written, which has the trainee as it was at its step."""
    trainee, recording = SlowTrainee(), RecordingPlugin()
    plugin = on_a_slow_disk(Checkpoint(tmp_path, every_n_epochs=2), trainee)
    with Loop([plugin, recording], epochs=5, trainee=trainee) as loop:
        for epoch in loop.epochs():
            for _ in loop.batches(range(2)):
                trainee.weights = [loop.run.progress.step + 1.0]
            if epoch == 4:
                assert trainee.begun.acquire(timeout=PATIENCE)
                assert (trainee.weights, trainee.written, steps(tmp_path), announced(recording)) == ([10.0], [], [], [])
    assert steps(tmp_path) == announced(recording) == trainee.written == [4, 8]
    assert [trainee.read(saved.path)["weights"] for saved in store.available(tmp_path)] == [[4.0], [8.0]]


def test_a_third_save_waits_for_a_place(tmp_path: Path) -> None:
    """While one checkpoint is written and one more waits, a third save waits, and takes its snapshot when the first is done."""
    trainee, waits = SlowTrainee(), list[tuple[int, int, int, list[float]]]()
    plugin = Checkpoint(tmp_path, keep_last=None)

    def seen(unfinished: int) -> None:
        waits.append((unfinished, len(loop.run.decisions), plugin._writes.unfinished(), list(trainee.written)))

    loop = Loop([on_a_slow_disk(plugin, trainee, seen)], epochs=3, trainee=trainee)
    with loop:
        for _ in loop.epochs():
            for _ in loop.batches(range(1)):
                trainee.weights = [loop.run.progress.step + 1.0]
    assert waits == [(0, 0, 0, []), (1, 2, 2, []), (0, 3, 2, [1.0])]
    assert steps(tmp_path) == trainee.written == [1, 2, 3]


def test_a_third_save_is_left_out_if_that_is_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With when_busy='skip' a third save is skipped with a warning and without a decision; the next one that is due is saved."""
    trainee = SlowTrainee()
    plugin = on_a_slow_disk(Checkpoint(tmp_path, every_n_steps=2, every_n_epochs=None, when_busy="skip"), trainee)
    loop = Loop([plugin], epochs=1, trainee=trainee)
    with loop:
        for _ in loop.epochs():
            for batch in loop.batches(range(9)):
                if batch == 7:
                    plugin._writes.wait()
    assert steps(tmp_path) == [decision.step for decision in loop.run.decisions] == [2, 4, 8]
    left_out = "checkpoint: step 6 is not saved (every 2 steps): one checkpoint is being written and one more waits"
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [left_out]


def test_a_save_on_an_interrupt_is_never_left_out(tmp_path: Path) -> None:
    """A save at an interrupt waits even with when_busy='skip'."""
    trainee = SlowTrainee()
    plugin = on_a_slow_disk(Checkpoint(tmp_path, every_n_steps=1, every_n_epochs=None, when_busy="skip"), trainee)
    with pytest.raises(KeyboardInterrupt):
        train([plugin], [1], batches=9, trainee=trainee, fail=(0, 4, KeyboardInterrupt()))
    assert steps(tmp_path) == [1, 2, 4]


class Snapshot(dict[str, Any]):
    """A snapshot that can be looked for."""

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


@attrs.define(eq=False)
class CountingTrainee(BadTrainee):
    """Count the snapshots that are in memory."""

    known: weakref.WeakSet[Snapshot] = attrs.field(factory=weakref.WeakSet)
    counts: list[int] = attrs.field(factory=list)
    """How many there were when another was taken."""

    def snapshot(self, *, optimizer: bool = True) -> dict[str, Any]:
        gc.collect()
        self.counts.append(len(self.known))
        taken = Snapshot(super().snapshot(optimizer=optimizer))
        self.known.add(taken)
        return taken


def test_what_is_written_is_no_longer_in_memory(tmp_path: Path) -> None:
    """At most two snapshots are in memory, and none once all is written, even if a write failed and its error is kept."""
    trainee = CountingTrainee(errors=bad_disk(9).errors)
    loop = Loop([plugin := Checkpoint(tmp_path, every_n_steps=1)], epochs=1, trainee=trainee)
    with pytest.raises(CheckpointError, match=DISK_ERROR), loop:  # noqa: PT012 - the error comes out of the loop
        for _ in loop.epochs():
            for _ in loop.batches(range(9)):
                trainee.weights = [loop.run.progress.step + 1.0]
    gc.collect()
    assert len(trainee.counts) >= 9
    assert max(trainee.counts) <= 1
    assert (len(trainee.known), len(loop.run.failures), len(plugin._writes.jobs)) == (0, 1, 0)


# What is announced.


def test_checkpoints_are_announced_in_order_and_are_there(tmp_path: Path) -> None:
    """Checkpoints are announced in order, each once, at the first event after they are durable, and not removed before that."""
    verified = list[tuple[int, int]]()

    class Uploader:
        @hookimpl
        def on_checkpoint(self, run: Run, checkpoint: SavedCheckpoint) -> None:
            assert threading.current_thread() is threading.main_thread()
            verified.append((run.progress.step, store.verify(checkpoint.path).step))

    trainee = SlowTrainee()
    plugin = on_a_slow_disk(Checkpoint(tmp_path, every_n_steps=1, every_n_epochs=None, keep_last=1), trainee)
    with Loop([Uploader(), plugin], epochs=1, trainee=trainee) as loop:
        for _ in loop.epochs():
            for batch in loop.batches(range(5)):
                if batch == 2:
                    plugin._writes.wait()  # both are durable before the next event
                    assert verified == []
    assert verified[:2] == [(3, 1), (3, 2)]
    assert [step for _, step in verified] == [1, 2, 3, 4, 5]
    assert steps(tmp_path) == [5]


def test_the_end_of_training_is_told_after_the_last_checkpoint(tmp_path: Path) -> None:
    """Every checkpoint is announced before another plugin's `on_train_end`, wherever that plugin is listed."""
    trainee = SlowTrainee()
    recordings = [RecordingPlugin("before"), RecordingPlugin("after")]
    plugin = on_a_slow_disk(Checkpoint(tmp_path), trainee)
    train([recordings[0], plugin, recordings[1]], [1, 2], trainee=trainee)
    for recording in recordings:
        assert recording.hooks[-3:] == ["on_checkpoint", "on_checkpoint", "on_train_end"]


EVENTS = ["on_epoch_begin", "on_batch_end", "on_evaluate_batch_end", "on_epoch_end"]


@pytest.mark.parametrize("event", EVENTS)
def test_what_is_durable_is_announced_at_the_next_event(tmp_path: Path, event: str) -> None:
    """A durable checkpoint is announced at the next event of a batch, an epoch or an evaluation."""
    recording, trainee = RecordingPlugin(), SlowTrainee()
    plugin = on_a_slow_disk(Checkpoint(tmp_path), trainee)
    evaluate([settles(plugin, event), plugin, recording], trainee)
    assert recording.hooks[recording.hooks.index("on_checkpoint") - 1] == event
    assert announced(recording) == [1, 2, 3]


def evaluate(plugins: list[object], trainee: ScriptedTrainee) -> Run:
    """Train three epochs of a batch and an evaluation each, or until a checkpoint cannot be written."""
    loop = Loop(plugins, epochs=3, trainee=trainee)
    with contextlib.suppress(CheckpointError), loop:
        for _ in loop.epochs():
            for _ in loop.batches(range(1)):
                trainee.weights = [loop.run.progress.step + 1.0]
            with loop.evaluation():
                for _ in loop.batches(range(1)):
                    pass
    return loop.run


def test_without_another_thread_a_checkpoint_is_durable_and_announced_at_once(tmp_path: Path) -> None:
    """With asynchronous=False a checkpoint is written in the thread that trains, and announced before the next event."""
    threads, recording = list[threading.Thread](), RecordingPlugin()

    class Trainee(ScriptedTrainee):
        def write(self, snapshot: Mapping[str, Any], directory: Path) -> None:
            threads.append(threading.current_thread())
            super().write(snapshot, directory)

    with Loop([recording, Checkpoint(tmp_path, asynchronous=False)], epochs=3, trainee=Trainee()) as loop:
        for epoch in loop.epochs():
            assert announced(recording) == steps(tmp_path) == list(range(1, epoch + 1))
    assert threads == [threading.main_thread()] * 3


# What goes wrong.


@pytest.mark.parametrize("event", EVENTS)
def test_an_error_in_writing_ends_the_run_at_the_next_event(tmp_path: Path, event: str) -> None:
    """An error in writing ends the run at the next event, names the plugin, and leaves earlier checkpoints untouched."""
    trainee, recording = SlowTrainee(errors=bad_disk(2).errors), RecordingPlugin()
    plugin = on_a_slow_disk(Checkpoint(tmp_path), trainee)
    run = evaluate([recording, settles(plugin, event), plugin], trainee)
    (failure,) = run.failures
    assert (run.outcome, run.progress.epoch) == (Outcome.FAILED, 2)
    assert (failure.plugin, failure.hook) == ("checkpoint", event)
    assert DISK_ERROR in str(failure.error)
    assert steps(tmp_path) == announced(recording) == [1]


def test_without_another_thread_an_error_is_raised_at_once(tmp_path: Path) -> None:
    """With asynchronous=False an error is raised at the end of the moment in which the save was due."""
    run = evaluate([Checkpoint(tmp_path, asynchronous=False)], bad_disk(2))
    assert (run.progress.epoch, [failure.hook for failure in run.failures]) == (1, ["when_settled"])
    assert steps(tmp_path) == [1]


def test_an_error_at_the_very_end_is_raised(tmp_path: Path) -> None:
    """An error of the last write fails the run, after every plugin had its `on_train_end`."""
    trainee, recording = bad_disk(3), RecordingPlugin()
    with pytest.raises(CheckpointError, match=DISK_ERROR):
        train([Checkpoint(tmp_path), recording], [1, 2, 3], trainee=trainee)
    assert steps(tmp_path) == announced(recording) == [1, 2]
    assert recording.hooks[-1] == "on_train_end"


@pytest.mark.parametrize("bad", [(1.0,), (1.0, 2.0)])
def test_what_was_written_after_an_error_is_announced_too(tmp_path: Path, bad: tuple[float, ...]) -> None:
    """Checkpoints written after an error are announced; of several errors the first is raised, with the others as notes."""
    trainee, recording = SlowTrainee(errors=bad_disk(*bad).errors), RecordingPlugin()
    with pytest.raises(CheckpointError, match="step-00000001 could not be written") as caught:
        train([on_a_slow_disk(Checkpoint(tmp_path), trainee), recording], [1, 2], trainee=trainee)
    assert steps(tmp_path) == announced(recording) == [2][len(bad) - 1 :]
    assert ("step-00000002 could not be written" in "".join(caught.value.__notes__)) == (len(bad) > 1)


@pytest.mark.parametrize("stop", [RuntimeError("bad"), KeyboardInterrupt(), Preempted("SIGTERM", 143)])
def test_an_error_in_writing_while_an_exception_is_on_its_way_is_in_its_notes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, stop: BaseException
) -> None:
    """If another exception ends the run, an error in writing is a note on it, and in the log: an exit's notes are not shown."""
    trainee = SlowTrainee(errors=bad_disk(1).errors)
    with pytest.raises(type(stop)) as caught:
        train([on_a_slow_disk(Checkpoint(tmp_path), trainee)], [1, 2], trainee=trainee, fail=(1, 0, stop))
    assert caught.value is stop
    assert any(DISK_ERROR in note for note in stop.__notes__)
    assert "checkpoint: writing step-00000001 failed" in caplog.text


def test_an_interrupt_saves_again_what_could_not_be_written(tmp_path: Path) -> None:
    """An interrupt saves the step again if the write of its checkpoint has failed."""
    trainee = SlowTrainee(errors=bad_disk(1).errors)
    with pytest.raises(Preempted):
        train([on_a_slow_disk(Checkpoint(tmp_path), trainee)], [1, 2], trainee=trainee, fail=(1, 0, Preempted("SIGTERM", 143)))
    assert steps(tmp_path) == [1]


def test_ctrl_c_while_a_checkpoint_is_written_loses_neither(tmp_path: Path) -> None:
    """After Ctrl-C the write under way is finished, the step is saved, and both are announced before the end of training."""
    trainee, recording = SlowTrainee(), RecordingPlugin()
    with pytest.raises(KeyboardInterrupt):
        train(
            [on_a_slow_disk(Checkpoint(tmp_path), trainee), recording],
            [1, 2],
            batches=2,
            trainee=trainee,
            fail=(1, 1, KeyboardInterrupt()),
        )
    assert steps(tmp_path) == announced(recording) == [2, 3]
    assert recording.hooks[-4:] == ["on_exception", "on_checkpoint", "on_checkpoint", "on_train_end"]


def test_a_second_ctrl_c_goes_through_and_what_is_written_is_finished(tmp_path: Path) -> None:
    """A second Ctrl-C ends the waiting at the end of training; the write under way is finished, and keeps the lock."""
    trainee, waits = SlowTrainee(), list[int]()

    def seen(unfinished: int) -> None:
        waits.append(unfinished)
        if len(waits) > 1:
            raise KeyboardInterrupt

    plugin = on_a_slow_disk(Checkpoint(tmp_path), trainee, seen)
    with pytest.raises(KeyboardInterrupt):
        train([plugin], [1], trainee=trainee)
    assert (tmp_path / ".lock").exists()
    trainee.gate.release()
    plugin._writes.jobs[-1].done.wait(PATIENCE)
    assert steps(tmp_path) == [1]


def test_after_an_error_of_another_plugin_in_on_checkpoint_the_next_is_announced_too(tmp_path: Path) -> None:
    """After another plugin's error in `on_checkpoint` the other checkpoints are announced, and the lock is released."""

    class Uploader:
        @hookimpl
        def on_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
            if checkpoint.step == 1:
                raise ConnectionError("no network")

    trainee, recording = SlowTrainee(), RecordingPlugin()
    with pytest.raises(ConnectionError):
        train([Uploader(), on_a_slow_disk(Checkpoint(tmp_path), trainee), recording], [1, 2], trainee=trainee)
    assert announced(recording) == [1, 2]
    assert not (tmp_path / ".lock").exists()


@pytest.mark.parametrize("asynchronous", [True, False])
def test_what_is_durable_is_announced_though_an_older_one_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, asynchronous: bool
) -> None:
    """A durable checkpoint is announced even if an older one cannot be removed; then that error is raised."""
    recording, prune = RecordingPlugin(), store.prune

    def refuse(root: Path, *args: Any, **kwargs: Any) -> list[SavedCheckpoint]:
        if len(store.named(root)) > 1:
            raise CheckpointError("cannot be removed")
        return prune(root, *args, **kwargs)

    monkeypatch.setattr(store, "prune", refuse)
    with pytest.raises(CheckpointError, match="cannot be removed"):
        train([Checkpoint(tmp_path, keep_last=1, asynchronous=asynchronous), recording], [2, 1])
    assert announced(recording) == [1, 2]


# A full disk.


class Usage(NamedTuple):
    """What `shutil.disk_usage` returns."""

    total: int
    used: int
    free: int


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], None]:
    """Return a function that makes the disk one on which the given number of checkpoints have room."""

    def limit(checkpoints: int) -> None:
        def usage(path: Path) -> Usage:
            del path
            return Usage(10**9, 0, 10**9 if len(store.named(tmp_path)) < checkpoints else 0)

        monkeypatch.setattr(shutil, "disk_usage", usage)

    return limit


def test_a_full_disk_ends_the_run(tmp_path: Path, room: Callable[[int], None]) -> None:
    """A full disk ends the run before anything is written, with the earlier checkpoints intact."""
    room(3)
    with pytest.raises(DiskFullError, match=r"The disk is full: the checkpoint .*step-00000004 needs about"):
        train([Checkpoint(tmp_path, keep_last=None)], [2, 1, 3, 4])
    assert steps(tmp_path) == [1, 2, 3]


def test_a_disk_without_room_for_a_snapshot_is_full_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a snapshot has its size, even the first save is refused before it is written to a disk without room."""

    class Sized(dict[str, Any]):
        nbytes = 10**6

    class Trainee(ScriptedTrainee):
        def snapshot(self, *, optimizer: bool = True) -> dict[str, Any]:
            return Sized(super().snapshot(optimizer=optimizer))

        def write(self, snapshot: Mapping[str, Any], directory: Path) -> None:
            del snapshot, directory
            pytest.fail("it was begun")

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, 10**6))
    with pytest.raises(DiskFullError, match=r"step-00000001 needs about 1\.0 MB"):
        train([Checkpoint(tmp_path)], [1], trainee=Trainee())


def test_a_full_disk_is_pruned_if_that_is_asked_for(
    tmp_path: Path, room: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    """With when_full='prune' all but the best and the newest are removed, and the log names what was removed."""
    room(3)
    train([Checkpoint(tmp_path, keep_last=None, asynchronous=False, when_full="prune")], [1, 2, 4, 3])
    assert steps(tmp_path) == [1, 3, 4]
    assert "Removed: step-00000002. Trying once more." in caplog.text


def test_what_says_in_writing_that_the_disk_is_full_is_tried_once_more(tmp_path: Path) -> None:
    """A write that fails for a full disk is tried once more; a second failure is raised; the best and the newest are kept."""
    full: list[BaseException] = [OSError(errno.ENOSPC, "No space left on device") for _ in range(2)]
    trainee = BadTrainee(errors={4.0: full})
    with pytest.raises(DiskFullError):
        train([Checkpoint(tmp_path, when_full="prune", asynchronous=False)], [2, 1, 4, 3], trainee=trainee)
    assert (steps(tmp_path), full) == ([2, 3], [])


def test_a_full_disk_costs_no_checkpoint_that_is_whole_for_one_that_is_damaged(
    tmp_path: Path, room: Callable[[int], None]
) -> None:
    """On a full disk the best and the newest that verify are kept, and not damaged ones in their place."""
    room(5)
    plugin = Checkpoint(tmp_path, keep_last=None, asynchronous=False, when_full="prune")
    with Loop([plugin], epochs=6, trainee=ScriptedTrainee()) as loop:
        for epoch in loop.epochs():
            if epoch == 5:
                for damaged in (2, 5):
                    (tmp_path / f"step-{damaged:08d}" / "trainee.json").write_text("bad")
            loop.log(val_loss=[2, 1, 3, 4, 5, 6][epoch])
    assert [saved.step for saved in store.available(tmp_path)] == [1, 2, 4, 5, 6]


# Preemption.


@attrs.define(eq=False)
class TimedTrainee(ScriptedTrainee):
    """Take a second for a snapshot, and ten to write it."""

    now: float = 0.0

    def clock(self) -> float:
        return self.now

    def snapshot(self, *, optimizer: bool = True) -> dict[str, Any]:
        self.now += 1
        return super().snapshot(optimizer=optimizer)

    def write(self, snapshot: Mapping[str, Any], directory: Path) -> None:
        self.now += 10
        super().write(snapshot, directory)


@pytest.mark.parametrize(("left", "saved"), [(None, True), (11.0, True), (10.5, False), (0.0, False)])
@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_preempted_run_saves_if_there_is_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, left: float | None, *, saved: bool, asynchronous: bool
) -> None:
    """As much as the latest save took, snapshot and writing, or if that is unknown; else the log tells why it does not.

    What other plugins do between the hook that asks and the snapshot is no part of it.
    """
    trainee = TimedTrainee()

    def dawdle() -> None:
        trainee.now += 100

    checkpoint = Checkpoint(tmp_path, clock=trainee.clock, asynchronous=asynchronous)
    slow = SimpleNamespace(name="slow", on_epoch_end=hookimpl(trylast=True)(dawdle))  # listed first, so it is called last
    engine = Engine([slow, checkpoint], autoload=False)
    session = Session(Run.of(trainee), engine.plugins, {}, clock=trainee.clock)
    session.train_begin()
    for epoch in range(2):
        session.epoch_begin(epoch)
        for batch in range(2 - epoch):
            session.batch_begin(batch)
            session.batch_end(batch, {"loss": 1.0})
        if not epoch:
            session.epoch_end(epoch, {"val_loss": 1.0})
    session.end(Preempted("SIGTERM", 143, lambda: left))
    assert steps(tmp_path) == ([2, 3] if saved else [2])
    told = (
        f"checkpoint: not saved again: {left:.3g} s are left, and the latest save took 11 s; "
        f"the newest checkpoint is {tmp_path / 'step-00000002'}"
        if left is not None
        else ""
    )
    assert (told in caplog.text) is not saved or left is None


def test_the_time_left_is_asked_for_when_what_is_being_written_is_done(tmp_path: Path) -> None:
    """The time left is read after the write under way is done, which takes some of it."""
    trainee = SlowTrainee()
    asked = list[list[float]]()

    def remaining() -> float:
        asked.append(list(trainee.written))
        return 1000.0

    plugin = on_a_slow_disk(Checkpoint(tmp_path), trainee)
    with pytest.raises(Preempted):
        train([plugin], [1, 2], batches=2, trainee=trainee, fail=(1, 1, Preempted("SIGTERM", 143, remaining)))
    assert asked == [[2.0]]
    assert steps(tmp_path) == [2, 3]


def test_a_run_that_is_preempted_before_its_first_save_saves(tmp_path: Path) -> None:
    """A run that is preempted before its first save saves, although it is unknown how long that takes."""
    with pytest.raises(Preempted):
        train([Checkpoint(tmp_path)], [1], batches=2, fail=(0, 1, Preempted("SIGTERM", 143, lambda: 0.0)))
    assert steps(tmp_path) == [1]


# One run after another.


def test_what_resume_auto_resumes_from(tmp_path: Path) -> None:
    """resume='auto' takes the newest that verifies, nothing if there is no checkpoint, and raises if all are damaged."""
    plugin = Checkpoint(tmp_path / "runs")
    assert plugin.resumable() is None
    assert not (tmp_path / "runs").exists()
    train([plugin], [])
    assert plugin.resumable() is None
    train([plugin], [1, 2])
    assert plugin.resumable() == plugin.newest()
    assert not (tmp_path / "runs" / ".lock").exists()
    (tmp_path / "runs" / "step-00000002" / "trainee.json").write_text("bad")
    found = plugin.resumable()
    assert found is not None
    assert found.step == 1
    (tmp_path / "runs" / "step-00000001" / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="No checkpoint that verifies"):
        plugin.resumable()


def test_a_run_resumes_from_a_checkpoint_that_was_about_to_be_replaced(tmp_path: Path) -> None:
    """A crash while a checkpoint is replaced leaves it under another name, from which a run resumes."""
    train([plugin := Checkpoint(tmp_path)], [1, 2])
    (tmp_path / "step-00000002").rename(tmp_path / ".writing-replaced-step-00000002")
    found = plugin.resumable()
    assert found is not None
    assert found.step == 2


def test_a_resumed_run_sets_only_newer_checkpoints_aside(tmp_path: Path) -> None:
    """Those before the one that it resumes from stay, and so does that; nothing is moved before the first save."""
    train([Checkpoint(tmp_path, keep_last=None)], [5, 4, 3, 2])
    trainee = ScriptedTrainee()
    with Loop([Checkpoint(tmp_path, keep_last=None)], epochs=3, trainee=trainee, resume=tmp_path / "step-00000002") as loop:
        assert (trainee.weights, steps(tmp_path)) == ([2.0], [1, 2, 3, 4])
        for _ in loop.epochs():
            trainee.weights = [30.0]
    assert (steps(tmp_path), steps(tmp_path / "earlier-001")) == ([1, 2, 3], [3, 4])
    assert trainee.read(tmp_path / "step-00000003")["weights"] == [30.0]


def test_a_run_resumed_from_elsewhere_sets_all_aside(tmp_path: Path) -> None:
    """A run that resumes from another directory moves all checkpoints aside, as a run that is not resumed does."""
    train([Checkpoint(tmp_path / "here")], [1, 2, 3])
    train([Checkpoint(tmp_path / "there")], [1])
    train([Checkpoint(tmp_path / "here")], [1, 2], resume=tmp_path / "there")
    assert (steps(tmp_path / "here"), steps(tmp_path / "here" / "earlier-001")) == ([2], [1, 2, 3])


def test_the_checkpoint_resumed_from_is_replaced_if_its_step_is_saved_again(tmp_path: Path) -> None:
    """A save within the epoch has no value; the epoch's, of the same step, has."""
    loop = Loop([Checkpoint(tmp_path, every_n_steps=2)], epochs=1, trainee=ScriptedTrainee())
    with pytest.raises(ZeroDivisionError), loop:  # noqa: PT012 - within the epoch
        for _ in loop.epochs():
            for _ in loop.batches(range(2)):
                pass
            1 / 0  # noqa: B018 - before it ends
    assert [saved.value for saved in store.available(tmp_path)] == [None]
    train([Checkpoint(tmp_path, every_n_steps=2)], [1.0], batches=2, resume="auto")
    assert [(saved.step, saved.value) for saved in store.available(tmp_path)] == [(2, 1.0)]
    assert not list(tmp_path.glob("earlier-*"))


def test_a_resumed_run_that_is_interrupted_at_once_saves_nothing(tmp_path: Path) -> None:
    """A resumed run that is interrupted at once saves nothing: the step has a checkpoint."""
    train([Checkpoint(tmp_path)], [1.0])
    with pytest.raises(KeyboardInterrupt):
        train([Checkpoint(tmp_path)], [1.0, 1.0], resume="auto", fail=(1, 0, KeyboardInterrupt()))
    assert [(saved.step, saved.value) for saved in store.available(tmp_path)] == [(1, 1.0)]


def test_one_process_at_a_time_trains_into_a_directory(tmp_path: Path) -> None:
    """Another is refused before its first epoch, and nothing there is touched; when training has ended it is admitted."""

    def another() -> Any:
        return in_a_process(
            """
            import json, sys
            from hookcore import CheckpointError
            from hookcore.testing import ScriptedTrainee
            from hookcore_adapters.loop import Loop
            from hookcore_plugins import Checkpoint

            error = ""
            try:
                with Loop([Checkpoint(sys.argv[1])], epochs=1, trainee=ScriptedTrainee()):
                    pass
            except CheckpointError as raised:
                error = str(raised)
            print(json.dumps(error))
            """,
            tmp_path,
        )

    with Loop([Checkpoint(tmp_path)], epochs=1, trainee=ScriptedTrainee()) as loop:
        for _ in loop.epochs():
            assert "is in use" in another()
    assert another() == ""
    assert steps(tmp_path) == [1]


def test_the_lock_is_given_back_if_training_fails_to_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is released if another plugin or the directory itself fails the beginning of training."""
    with pytest.raises(MetricError), Loop([Checkpoint(tmp_path), EarlyStopping("odd")], epochs=1, trainee=ScriptedTrainee()):
        pass
    assert not (tmp_path / ".lock").exists()

    def refuse(root: Path) -> None:
        assert (root / ".lock").exists()
        raise CheckpointError("refused")

    (tmp_path / "step-00000001").mkdir()  # without a checkpoint there is nothing to lock
    monkeypatch.setattr(store, "open_directory", refuse)
    with pytest.raises(CheckpointError, match="refused"):
        Checkpoint(tmp_path).resumable()
    assert not (tmp_path / ".lock").exists()


def test_an_object_whose_run_was_left_without_its_end_begins_clean(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was handed over is written first, and what went wrong in it is in the log and is not this run's."""
    trainee = SlowTrainee(errors=bad_disk(2).errors)
    plugin, recording = on_a_slow_disk(Checkpoint(tmp_path), trainee), RecordingPlugin()
    abandoned = Loop([plugin], epochs=9, trainee=trainee).__enter__()
    for epoch in abandoned.epochs():
        for _ in abandoned.batches(range(1)):
            trainee.weights = [epoch + 1.0]
        if epoch == 2:
            break
    assert trainee.written == []
    caplog.set_level(logging.INFO)
    del abandoned  # until it is dropped it may continue, and another run is refused
    loop = Loop([plugin, recording], epochs=1, trainee=ScriptedTrainee())
    with loop:
        assert trainee.written == [1.0]
        for _ in loop.epochs():
            loop.log(val_loss=7.0)
    assert "writing step-00000002 failed" in caplog.text
    assert announced(recording) == steps(tmp_path) == [1]
    assert [saved.value for saved in store.available(tmp_path)] == [7.0]
    assert steps(tmp_path / "earlier-001") == [1]


def test_a_script_that_ends_without_the_end_of_training_has_its_checkpoints(tmp_path: Path) -> None:
    """A script that ends without the end of training has the checkpoints on disk that were being written."""
    told = in_a_process(
        """
        import json, sys, threading
        from hookcore.testing import ScriptedTrainee
        from hookcore_adapters.loop import Loop
        from hookcore_plugins import Checkpoint

        class Trainee(ScriptedTrainee):
            def write(self, snapshot, directory):
                threading.main_thread().join()  # not before the script has ended
                super().write(snapshot, directory)

        loop = Loop([Checkpoint(sys.argv[1])], epochs=3, trainee=Trainee()).__enter__()
        for epoch in loop.epochs():
            if epoch == 2:
                break
        print(json.dumps([decision.step for decision in loop.run.decisions]))
        """,
        tmp_path,
    )
    assert told == steps(tmp_path) == [1, 2]


def test_a_save_does_not_read_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each manifest is read once, however many checkpoints stay; also by a run that is resumed beside them."""
    reads: list[str] = []
    read = files.read

    def counting(path: Path, at_most: int) -> bytes:
        reads.append(f"{path.parent.name}/{path.name}")
        return read(path, at_most)

    monkeypatch.setattr(files, "read", counting)
    for epochs in (10, 20):
        reads.clear()
        train([Checkpoint(tmp_path, keep_last=None)], [1.0] * epochs, resume="auto")
        pruning = [name for name in reads if name.endswith(store.MANIFEST)]
        assert len(store.named(tmp_path)) == epochs
        # Before a run is resumed, all are listed twice to find the newest, which is verified.
        assert len(pruning) == epochs + (0 if epochs == 10 else 2 * 10 + 1)
