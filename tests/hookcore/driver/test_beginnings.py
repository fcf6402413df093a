"""How a run begins, from the beginning or from a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hookcore import CheckpointError, HookcoreError, Outcome, SavedCheckpoint, store
from hookcore.testing import RecordingPlugin, ScriptedTrainee
from hookcore_plugins import Checkpoint
from tests.hookcore.driver.driving import BoomError, Tiny, a_run, begun, driver_of, plugin, run_of, train

if TYPE_CHECKING:
    from pathlib import Path


def saved_by(directory: Path, *plugins: object) -> SavedCheckpoint:
    """Return the checkpoint of a run that was cut after two batches of its second epoch."""
    driver = driver_of(Checkpoint(directory), *plugins)
    driver.begin(a_run())
    driver.epoch_begin()
    driver.epoch_end()
    driver.epoch_begin()
    driver.batch_end()
    driver.batch_end()
    driver.end(KeyboardInterrupt())
    return store.newest(directory)


def test_a_resumed_run_tells_the_loop_where_it_is(tmp_path: Path) -> None:
    """The loop gets its own state and the position before `on_train_begin`, and the epoch that was cut does not begin twice."""
    saved = saved_by(tmp_path)
    recording, host = RecordingPlugin(), Tiny()
    driver = driver_of(recording, host=host, resume=saved.path)
    assert driver.find(ScriptedTrainee()) == saved
    driver.begin(a_run(), initial_epoch=7)
    ((loaded, position),) = host.loaded
    assert (loaded, position.epoch, position.batch, position.begun) == ({"shuffled": 3}, 1, 2, True)
    assert driver.epoch == 1
    driver.epoch_begin()
    driver.batch_end({"loss": 1.0})
    driver.epoch_end()
    driver.epoch_begin()
    driver.end()
    assert recording.events == [
        ("on_train_begin",),
        ("on_batch_begin", 2),
        ("on_batch_end", 2, {"loss": 1.0}),
        ("on_epoch_end", 1, {}),
        ("on_metrics", {}),
        ("on_epoch_begin", 2),
        ("on_epoch_end", 2, {}),
        ("on_metrics", {}),
        ("on_train_end", Outcome.COMPLETED),
    ]
    assert run_of(driver).resumed_from == saved


@pytest.mark.parametrize("starts", [True, False])
def test_a_run_may_be_restored_before_it_starts(tmp_path: Path, starts: bool) -> None:  # noqa: FBT001 - a parameter
    """After `begin(start=False)` the loop has its position, and plugins are called only from `start` on, or not at all."""
    recording, host = RecordingPlugin(), Tiny()
    driver = driver_of(recording, host=host, resume=saved_by(tmp_path).path)
    driver.begin(a_run(), start=False)
    assert [position.batch for _, position in host.loaded] == [2]
    assert driver.is_running
    assert recording.events == []
    if starts:
        driver.start()
        assert recording.events == [("on_train_begin",)]
    driver.leave()
    driver.end()
    assert recording.events == ([("on_train_begin",), ("on_train_end", Outcome.COMPLETED)] if starts else [])


def test_a_resumed_run_that_was_stopped_stops(tmp_path: Path) -> None:
    """A vote in the checkpoint reaches the loop only at the end of the epoch that was cut, which is finished first."""
    votes, host = plugin("votes", on_batch_end=lambda run: run.stop("enough")), Tiny()
    saved = saved_by(tmp_path, votes)
    driver = driver_of(votes, host=host, resume=saved.path)
    driver.begin(a_run())
    assert (host.stops, driver.stopping) == (0, True)
    driver.epoch_begin()
    assert host.stops == 1


def test_a_run_begins_at_its_initial_epoch() -> None:
    """Epochs count from `initial_epoch`, and the loop gets an empty state."""
    recording, host = RecordingPlugin(), Tiny()
    driver = begun(recording, host=host, initial_epoch=4)
    assert driver.epoch == 3
    driver.epoch_begin()
    assert recording.events[-1] == ("on_epoch_begin", 4)
    assert host.loaded[0][0] == {}


@pytest.mark.parametrize("what", ["loop", "no checkpoint", "record"])
def test_a_run_that_cannot_begin_is_no_run_for_the_plugins(tmp_path: Path, what: str) -> None:
    """If the loop's state, the checkpoint or its record cannot be restored, no plugin is called, and another run can begin."""
    recording, host = RecordingPlugin(), Tiny()
    resume: Any = False
    if what == "loop":
        host.refuses = True
    else:
        resume = tmp_path
    if what == "record":
        store.write(tmp_path, epoch=0, step=1, metric=None, value=None, record="{}", files=lambda to: (to / "weights").touch())
    driver = driver_of(recording, host=host, resume=resume)
    run = a_run()
    with pytest.raises(BoomError if what == "loop" else CheckpointError):
        driver.begin(run)
    assert recording.events == []
    assert run.outcome is not Outcome.COMPLETED
    with pytest.raises(HookcoreError, match="outside of a run"):
        driver.epoch_begin()
    driver.end()
    host.refuses = False
    if not resume:
        assert run.outcome is Outcome.FAILED
        assert train(driver).outcome is Outcome.COMPLETED
