"""When an interruption or Ctrl-C is raised, and what is saved before."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from hookcore import Outcome, Run, store
from hookcore.testing import RecordingPlugin, ScriptedTrainee
from hookcore_plugins import Checkpoint
from tests.hookcore.driver.driving import BoomError, begun, driver_of, plugin, run_of, train

if TYPE_CHECKING:
    from pathlib import Path


def test_an_interruption_waits_until_the_moment_is_settled() -> None:
    """`Run.interrupt` raises once every plugin has had every event of the batch, including its evaluation."""
    recording = RecordingPlugin()
    stop = KeyboardInterrupt()
    driver = begun(plugin("interrupting", on_batch_begin=lambda run: run.interrupt(stop)), recording)
    driver.batch_begin()
    driver.batch_held()
    driver.evaluate_batch_end()
    driver.evaluate_end()
    assert recording.hooks[-1] == "on_evaluate_end"
    with pytest.raises(KeyboardInterrupt) as raised:
        driver.settled()
    assert raised.value is stop
    assert recording.events[-2:] == [("on_exception", stop), ("on_train_end", Outcome.INTERRUPTED)]


def test_an_interruption_waits_for_the_update() -> None:
    """Within an accumulation an interruption waits for the update, so that no gradient is lost."""
    driver = begun(plugin("interrupting", on_batch_begin=lambda run: run.interrupt(KeyboardInterrupt())))
    driver.batch_end(updates=0)
    driver.batch_end(updates=0)
    with pytest.raises(KeyboardInterrupt):
        driver.batch_end()
    assert run_of(driver).progress.step == 1


def test_ctrl_c_within_a_batch_takes_effect_at_its_end(tmp_path: Path) -> None:
    """Ctrl-C waits until the batch is settled, and Checkpoint saves; afterwards the handler is Python's again."""
    trainee = ScriptedTrainee(weights=[0.0])
    driver = begun(Checkpoint(tmp_path, every_n_epochs=None), trainee=trainee)
    driver.batch_begin()
    signal.raise_signal(signal.SIGINT)
    trainee.weights = [1.0]
    with pytest.raises(KeyboardInterrupt):
        driver.batch_end()
    assert run_of(driver).outcome is Outcome.INTERRUPTED
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    saved = store.newest(tmp_path)
    assert (saved.step, trainee.read(saved.path)["weights"]) == (1, [1.0])


@pytest.mark.parametrize("hook", ["on_epoch_begin", "on_epoch_end"])
def test_a_second_ctrl_c_among_the_plugins_stores_nothing_that_only_some_have_seen(tmp_path: Path, hook: str) -> None:
    """A second Ctrl-C is raised at once, later plugins miss the event, and the newest checkpoint is the one before it."""

    def press(run: Run) -> None:
        if run.progress.epoch == 1:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    first, second = RecordingPlugin("first"), RecordingPlugin("second")
    with pytest.raises(KeyboardInterrupt):
        train(driver_of(first, plugin("pressing", **{hook: press}), second, Checkpoint(tmp_path, asynchronous=False)), epochs=2)
    assert (first.hooks.count(hook), second.hooks.count(hook)) == (2, 1)
    assert first.hooks[-2:] == second.hooks[-2:] == ["on_exception", "on_train_end"]
    assert [saved.step for saved in store.available(tmp_path)] == [1]


def test_an_interruption_among_the_plugins_stores_nothing_that_only_some_have_seen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If a program's own signal handler raises within an epoch's end, no capture is taken, and the log names the cut epoch."""

    def stop(epoch: int) -> None:
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(driver_of(plugin("stopping", on_epoch_end=stop), RecordingPlugin(), Checkpoint(tmp_path)), epochs=2)
    assert [saved.step for saved in store.available(tmp_path)] == [1]
    assert "checkpoint: no capture: epoch 2 was cut, so weights and record differ" in caplog.messages


def test_a_second_ctrl_c_between_two_batches_saves_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A second Ctrl-C ends the run without a checkpoint, even between two batches."""
    driver = begun(Checkpoint(tmp_path))
    driver.batch_end()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as pressed:
        signal.raise_signal(signal.SIGINT)
    driver.end(pressed.value)
    assert not list(tmp_path.glob("step-*"))
    assert "checkpoint: no capture: the run had to end at once" in caplog.messages


def test_ctrl_c_after_an_interruption_reaches_every_plugin_s_end() -> None:
    """If Ctrl-C comes in `on_train_end`, after a plugin has interrupted the run, every plugin still gets `on_train_end`."""

    def press() -> None:
        signal.raise_signal(signal.SIGINT)

    interrupting = plugin("interrupting", on_epoch_end=lambda run: run.interrupt(KeyboardInterrupt()), on_train_end=press)
    first, second = RecordingPlugin("first"), RecordingPlugin("second")
    with pytest.raises(KeyboardInterrupt):
        train(driver_of(first, interrupting, second))
    assert first.hooks == second.hooks
    assert first.hooks[-4:] == ["on_epoch_end", "on_metrics", "on_exception", "on_train_end"]


@pytest.mark.parametrize("fails", [True, False])
def test_the_first_ctrl_c_at_the_end_of_a_run_waits_for_every_plugin(fails: bool) -> None:  # noqa: FBT001 - a parameter
    """Ctrl-C in `on_train_end` or `on_exception` is raised after all plugins had the hook, and does not change the outcome."""
    heard: list[str] = []

    def press() -> None:
        signal.raise_signal(signal.SIGINT)
        heard.append("delayed")

    recording = RecordingPlugin()
    pressing = plugin("pressing", **{"on_exception" if fails else "on_train_end": press})
    driver = begun(pressing, recording)
    with pytest.raises(KeyboardInterrupt):
        driver.end(BoomError() if fails else None)
    assert heard == ["delayed"]
    assert recording.hooks[-1] == "on_train_end"
    assert run_of(driver).outcome is (Outcome.FAILED if fails else Outcome.COMPLETED)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_evaluation_in_an_epoch_without_batches_is_not_interrupted(tmp_path: Path) -> None:
    """Before an epoch's first batch, Ctrl-C waits for a batch or the epoch's end: the loop may train without events."""
    recording = RecordingPlugin()
    driver = begun(recording, Checkpoint(tmp_path))
    driver.epoch_begin()
    signal.raise_signal(signal.SIGINT)
    driver.evaluate_batch_end()
    driver.evaluate_end()
    with pytest.raises(KeyboardInterrupt):
        driver.epoch_end()
    assert recording.hooks[-5:-2] == ["on_epoch_end", "on_metrics", "on_exception"]
    assert [saved.step for saved in store.available(tmp_path)] == [1]


def test_an_epoch_that_is_known_to_have_batches_is_whole_before_the_first(tmp_path: Path) -> None:
    """After `batches`, an interruption before the first batch is raised at once, and Checkpoint saves."""
    driver = begun(Checkpoint(tmp_path))
    driver.batch_end()
    driver.epoch_begin()
    driver.batches()
    run_of(driver).interrupt(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        driver.evaluate_batch_end()
    assert [saved.step for saved in store.available(tmp_path)] == [1]
