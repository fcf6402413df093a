"""One run at a time saves into a directory, also within one process; what was abandoned gives way."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest

from hookcore import CheckpointError, Outcome, Run, store
from hookcore.driver import Driver
from hookcore.host import NoHost
from hookcore.testing import RecordingPlugin, ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint
from tests.patience import PATIENCE
from tests.plugins.at import At
from tests.plugins.checkpoint.checkpointing import SlowTrainee, on_a_slow_disk, steps, train

if TYPE_CHECKING:
    from pathlib import Path

IN_USE = r"is in use: there is a lock .*, held by process \d+ on \S+, which is this one\. Stop that run, or save into another"


def begun(plugin: Checkpoint, trainee: ScriptedTrainee | None = None) -> Driver:
    """Begin a run of a framework that does not report exceptions, and train an epoch."""
    driver = Driver([plugin], host=NoHost("tiny"))
    driver.begin(Run.of(trainee or ScriptedTrainee(), epochs=9))
    driver.epoch_begin()
    driver.batch_end({"val_loss": 1.0})
    driver.epoch_end({"val_loss": 1.0})
    return driver


def test_two_plugins_of_one_run_do_not_share_a_directory(tmp_path: Path) -> None:
    """Each would remove what the other saves. The second is refused before the first batch, and nothing was saved."""
    recording = RecordingPlugin()
    plugins = [recording, ("each_epoch", Checkpoint(tmp_path)), ("each_step", Checkpoint(tmp_path / ".", every_n_steps=1))]
    with pytest.raises(CheckpointError, match=IN_USE):
        train(plugins, [3, 2, 1])
    assert "on_epoch_begin" not in recording.hooks
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shared", [False, True], ids=["plugins of their own", "one plugin"])
@pytest.mark.parametrize("resume", [False, "auto"])
def test_a_run_beside_another_is_refused_and_harms_nothing(tmp_path: Path, resume: Any, *, shared: bool) -> None:
    """A run beside another is refused on any thread, and the first run ends as if it had been alone."""
    first = Checkpoint(tmp_path)
    ended: list[str] = []

    def other() -> None:
        try:
            train([first if shared else Checkpoint(tmp_path)], [9, 9], resume=resume)
        except CheckpointError as error:
            ended.append(str(error))

    def on_a_thread() -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(PATIENCE)

    run = train([first, At(1, other), ("on_a_thread", At(2, on_a_thread))], [3, 2, 1, 0])
    assert run.outcome is Outcome.COMPLETED
    assert len(ended) == 2
    assert all("is in use" in text and "which is this one" in text for text in ended)
    assert steps(tmp_path) == [2, 3, 4]
    assert not (tmp_path / ".lock").exists()
    train([Checkpoint(tmp_path)], [1], resume=resume)


def test_of_many_threads_one_trains(tmp_path: Path) -> None:
    """Of many threads one trains: the others get the same error, and every checkpoint is whole and of one run."""
    barrier, done = threading.Barrier(6), threading.Event()
    ended: list[str] = []

    def work(number: int) -> None:
        barrier.wait(PATIENCE)
        try:
            train([Checkpoint(tmp_path), At(0, lambda: done.wait(PATIENCE))], [number] * 4)
        except CheckpointError as error:
            ended.append(str(error))
            if len(ended) == 5:
                done.set()
        else:
            ended.append("trained")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert ended[-1] == "trained"
    assert all("which is this one" in text for text in ended[:5])
    assert steps(tmp_path) == [1, 2, 3, 4]
    assert len({saved.value for saved in store.available(tmp_path)}) == 1


def test_a_loop_that_was_dropped_gives_way(tmp_path: Path) -> None:
    """A dropped loop gives up its lock, as in a notebook, where the loop of an interrupted cell is overwritten."""
    abandoned = Loop([Checkpoint(tmp_path)], epochs=9, trainee=ScriptedTrainee()).__enter__()
    for _ in abandoned.epochs():
        break
    with pytest.raises(CheckpointError, match=IN_USE):
        train([Checkpoint(tmp_path)], [1])
    del abandoned
    train([Checkpoint(tmp_path)], [2, 1])
    assert steps(tmp_path) == [1, 2]


@pytest.mark.parametrize("next_run", ["new plugin", "same plugin", "same engine"])
def test_a_run_of_a_framework_that_does_not_tell_of_exceptions_gives_way(tmp_path: Path, next_run: str) -> None:
    """A run of a framework that does not report exceptions gives up its lock if none of its code runs when the next begins."""
    plugin = Checkpoint(tmp_path)
    driver = begun(plugin)
    plugins: Any = {"new plugin": [Checkpoint(tmp_path)], "same plugin": [plugin], "same engine": driver.engine}[next_run]
    assert train(plugins, [2, 1]).outcome is Outcome.COMPLETED
    assert steps(tmp_path) == [1, 2]
    assert steps(tmp_path / "earlier-001") == [1]


def test_a_run_waits_for_the_first_checkpoint_of_an_abandoned_run_and_resumes_from_it(tmp_path: Path) -> None:
    """A retry resumes from the first checkpoint of the run before, even if that is still being written when the retry begins."""
    trainee = SlowTrainee()
    driver = begun(on_a_slow_disk(Checkpoint(tmp_path), trainee), trainee)
    assert trainee.begun.acquire(timeout=PATIENCE)
    assert steps(tmp_path) == []
    run = train([Checkpoint(tmp_path)], [2, 1, 0], resume="auto")
    assert driver.run is not run
    assert run.resumed_from is not None
    assert run.resumed_from.step == 1
    assert steps(tmp_path) == [1, 2, 3]
    assert not (tmp_path / "earlier-001").exists()


def test_such_a_run_that_continues_gets_an_error(tmp_path: Path) -> None:
    """Such a run that continues on the same thread gets an error, and leaves the other run's checkpoints untouched."""
    driver = begun(Checkpoint(tmp_path))
    train([Checkpoint(tmp_path)], [2, 1])
    driver.epoch_begin()
    driver.batch_end({"val_loss": 0.5})
    with pytest.raises(CheckpointError, match="is no longer this run's"):
        driver.epoch_end({"val_loss": 0.5})
    assert [saved.value for saved in store.available(tmp_path)] == [2, 1]


def test_such_a_run_on_another_thread_is_not_taken_for_abandoned(tmp_path: Path) -> None:
    """Such a run on another thread keeps its lock: it may be training there."""
    refused: list[str] = []

    def other() -> None:
        try:
            train([Checkpoint(tmp_path)], [1])
        except CheckpointError as error:
            refused.append(str(error))

    driver = begun(Checkpoint(tmp_path))
    thread = threading.Thread(target=other)
    thread.start()
    thread.join(PATIENCE)
    driver.end()
    assert "which is this one" in refused[0]
    assert steps(tmp_path) == [1]


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("how", ["removed", "moved"])
def test_a_directory_that_is_taken_from_under_a_run_ends_it(tmp_path: Path, how: str, *, asynchronous: bool) -> None:
    """A directory that is removed or moved under a run ends the run with an error; a new run there is alone."""
    root = tmp_path / "runs"

    def take() -> None:
        if how == "removed":
            shutil.rmtree(root)
        else:
            root.rename(tmp_path / "moved")
        train([Checkpoint(root)], [7, 8])

    plugin = Checkpoint(root, asynchronous=asynchronous)
    settle = At(1, plugin._writes.wait)
    settle.name = "settle"
    with pytest.raises(CheckpointError, match=rf"{root} is no longer this run's: .* Train into another directory\."):
        train([settle, At(1, take), plugin], [4, 3, 2, 1, 0])
    assert [(saved.step, saved.value) for saved in store.available(root)] == [(1, 7), (2, 8)]
    assert steps(root) == [1, 2]
    assert store.named(root / "earlier-001") == []
    if how == "moved":
        assert steps(tmp_path / "moved") == [1]


def test_a_directory_that_is_gone_by_the_end_is_an_error(tmp_path: Path) -> None:
    """A directory that is gone at the end is an error, as what the run saved is lost, even if no save was due."""
    plugin = Checkpoint(tmp_path / "runs", asynchronous=False, every_n_epochs=2)
    with pytest.raises(CheckpointError, match="is no longer this run's"):
        train([At(2, lambda: shutil.rmtree(tmp_path / "runs")), plugin], [3, 2, 1])
    assert not (tmp_path / "runs").exists()
