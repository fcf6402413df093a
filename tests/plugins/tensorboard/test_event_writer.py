"""The thread that writes TensorBoard's event files: its errors, its queue, its writes and its end."""

from __future__ import annotations

import gc
import math
import os
import threading
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Any

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from hookcore.testing import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, TensorBoard
from hookcore_plugins.tensorboard import event_files, event_writer, records
from tests.patience import PATIENCE
from tests.plugins.tensorboard.event_files import scalars, train

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_an_error_of_the_writer_disables_the_plugin(tmp_path: Path) -> None:
    """The error is raised at the next event, the run continues, and events that are encoded are written."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "validation").write_text("no directory")
    run = train([TensorBoard(tmp_path / "logs", update_freq="batch"), Checkpoint(tmp_path / "saved")], [1.0] * 5)
    assert [(failure.plugin, type(failure.error)) for failure in run.failures] == [("tensorboard", FileExistsError)]
    assert run.failures[0].hook != "on_train_end"
    assert len(run.history) == 5
    assert scalars(tmp_path / "logs" / "train")["batch_loss"][:2] == [(1, 2.0), (2, 1.5)]


def test_no_more_than_the_limit_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that hands over too fast waits for the disk: memory stays bounded, and no event is lost."""
    monkeypatch.setattr(event_writer, "LIMIT", 20)
    monkeypatch.setattr(event_writer, "_WRITE_AT", 10)
    waiting = []

    def clock() -> float:
        waiting.append(len(writer._queue))
        return 1.0

    writer = event_writer.EventWriter(tmp_path, Counter(), clock)
    for step in range(2000):
        writer.add("train", step, "batch_", {"loss": float(step)})
    writer.close()
    assert max(waiting) < 20
    assert len(scalars(tmp_path / "train")["batch_loss"]) == 2000


def test_waiting_events_are_written_without_a_flush(tmp_path: Path) -> None:
    """Events are written while the run lasts, so that a viewer sees them; other work comes after the events before it."""
    writer = event_writer.EventWriter(tmp_path, Counter(), lambda: 1.0, interval=0.0)
    writer.add("train", 1, "batch_", {"loss": 0.5})
    found, done = [], threading.Event()
    writer.submit(lambda: found.append(scalars(tmp_path / "train")))
    writer.submit(done.set)
    assert done.wait(PATIENCE)
    assert found == [{"batch_loss": [(1, 0.5)]}]
    writer.close()


def test_each_write_ends_with_a_whole_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between two writes leaves no torn record."""
    ends: list[int] = []
    write = os.write

    def watched(descriptor: int, content: Any) -> int:
        written = write(descriptor, content)
        path = next(tmp_path.rglob("*tfevents*"))
        ends.append(len(list(records.ends(path.read_bytes()))))
        assert list(records.ends(path.read_bytes()))[-1] == path.stat().st_size
        return written

    monkeypatch.setattr("os.write", watched)
    monkeypatch.setattr(event_writer, "_CHUNK", 3)
    writer = event_writer.EventWriter(tmp_path, Counter(), lambda: 1.0)
    for step in range(10):
        writer.add("train", step, "batch_", {"loss": 0.5})
    writer.close()
    assert ends[-1] == 11
    assert len(ends) >= 4


def test_a_forked_process_leaves_the_writing_to_its_parent(tmp_path: Path) -> None:
    """A forked process has the queue but no thread: it neither waits nor writes."""
    writer = event_writer.EventWriter(tmp_path, Counter(), lambda: 1.0, interval=10.0 * PATIENCE)
    writer._process -= 1  # as a child sees it
    writer.add("train", 1, "batch_", {"loss": 0.5})
    writer.flush()
    writer.close()
    assert len(writer._queue) == 1
    writer._process += 1
    writer.close()
    assert scalars(tmp_path / "train") == {"batch_loss": [(1, 0.5)]}


def test_a_file_begins_as_tensorboard_expects(tmp_path: Path) -> None:
    """The first record has the version of the format and the name of the writer."""
    train([TensorBoard(tmp_path)], [math.pi])
    (path,) = (tmp_path / "train").glob("*tfevents*")
    first = next(iter(LegacyEventFileLoader(str(path)).Load()))
    assert first.file_version == "brain.Event:2"
    assert first.source_metadata.writer == "hookcore_plugins.tensorboard"


def test_a_run_that_was_dropped_leaves_no_thread(tmp_path: Path) -> None:
    """Notebooks drop runs without their end. What was handed over is in the files."""
    loop = Loop([TensorBoard(tmp_path)], epochs=9, trainee=ScriptedTrainee()).__enter__()
    for _ in loop.epochs():
        loop.log(loss=1.0)
        if loop.run.progress.step == 2:
            break
    board = loop._driver.engine["tensorboard"]._board
    thread, reference = board._writer._thread, weakref.ref(board._writer)
    del board, loop
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    del thread
    gc.collect()
    assert reference() is None
    assert sum(len(list(records.ends(path.read_bytes()))) for path in event_files.named(tmp_path / "train")) > 2
