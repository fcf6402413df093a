"""How a run ends: by the loop, by an error, by a stop, or because the next run begins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from hookcore import HOOKS, HookcoreError, Outcome, Run, SavedCheckpoint, state, store
from hookcore.driver import Driver
from hookcore.testing import RecordingPlugin, check_events
from hookcore_plugins import Checkpoint
from tests.hookcore.driver.driving import BoomError, Tiny, a_run, begun, driver_of, plugin, run_of, train

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore import Capture


@pytest.mark.parametrize("hook", [hook for hook in HOOKS if hook != "on_exception"])
def test_a_plugin_that_raises_ends_the_run_in_order(hook: str) -> None:
    """If a plugin raises in any hook, the run fails, the others get its end, the caller gets the error, and another run works."""
    errors = [BoomError(hook)]

    def raises() -> None:
        if errors:
            raise errors.pop()

    def announce(run: Run) -> None:
        run.checkpoint_saved(SavedCheckpoint(path=Path("step-1"), epoch=0, step=1))

    before, after = RecordingPlugin("before"), RecordingPlugin("after")
    driver = driver_of(before, plugin("raising", **{hook: raises}), plugin("saving", on_epoch_end=announce), after)
    run = a_run()
    with pytest.raises(BoomError, match=hook) as raised:
        train(driver, run)
    assert run.outcome is Outcome.FAILED
    assert "Raised by plugin 'raising'" in raised.value.__notes__[0]
    for recording in (before, after):
        assert recording.hooks[0] == "on_train_begin"
        assert recording.hooks[-1] == "on_train_end"
        assert hook in recording.hooks
        assert ("on_exception" in recording.hooks) == (hook != "on_train_end")
    with pytest.raises(HookcoreError, match="outside of a run"):
        driver.epoch_end()
    assert train(driver).outcome is Outcome.COMPLETED
    check_events(before.events)
    check_events(after.events)


def test_an_error_in_on_exception_is_a_note_on_the_first() -> None:
    """The caller gets the error that the framework raised; an error of a plugin in `on_exception` is a note on it."""

    def raises() -> None:
        raise ValueError("second")

    recording = RecordingPlugin()
    driver = begun(plugin("raising", on_exception=raises), recording)
    driver.epoch_begin()
    error = BoomError("first")
    driver.end(error)
    assert recording.events[-2:] == [("on_exception", error), ("on_train_end", Outcome.FAILED)]
    assert "ValueError: second" in error.__notes__[0]
    assert train(driver_of(recording)).outcome is Outcome.COMPLETED


def test_the_second_end_does_nothing() -> None:
    """An error or a reason to stop that comes after the end does not change the run."""
    recording = RecordingPlugin()
    driver = begun(recording)
    driver.end()
    for again in ({}, {"error": BoomError()}, {"by": "too late"}):
        driver.end(**again)
    run = run_of(driver)
    assert (run.outcome, run.stop_reasons, recording.hooks) == (Outcome.COMPLETED, [], ["on_train_begin", "on_train_end"])


def test_the_end_of_a_run_ends_what_is_open() -> None:
    """The end of the run ends an open evaluation and epoch, in order; a batch that never ended gets no end."""
    recording = RecordingPlugin()
    driver = begun(recording)
    driver.batch_begin()
    driver.batch_held({"loss": 1.0})
    driver.evaluate_batch_begin()
    driver.end()
    assert recording.hooks == [
        "on_train_begin",
        "on_epoch_begin",
        "on_batch_begin",
        "on_batch_end",
        "on_evaluate_begin",
        "on_evaluate_batch_begin",
        "on_evaluate_end",
        "on_epoch_end",
        "on_metrics",
        "on_train_end",
    ]


def test_an_abandoned_run_ends_when_the_next_begins(tmp_path: Path) -> None:
    """A run whose end was never reported ends as failed when the next begins: every plugin gets the end, and locks are free."""
    recording = RecordingPlugin()
    driver = begun(recording, Checkpoint(tmp_path))
    driver.epoch_begin()
    driver.batch_end()
    first = run_of(driver)
    assert (tmp_path / ".lock").exists()
    driver.engine.unregister("checkpoint")
    driver.begin(a_run())
    assert first.outcome is Outcome.FAILED
    assert not (tmp_path / ".lock").exists()
    _, (_, error), _, _ = recording.events[-4:]
    assert "An earlier run of tiny ended with an exception that was not reported" in str(error)
    assert recording.hooks[-3:] == ["on_exception", "on_train_end", "on_train_begin"]
    driver.end()
    assert run_of(driver).outcome is Outcome.COMPLETED
    check_events(recording.events)


def test_a_run_begins_in_the_directory_of_the_abandoned_one(tmp_path: Path) -> None:
    """After a run without an end, the same driver and the same Checkpoint can begin another."""
    driver = begun(Checkpoint(tmp_path))
    driver.epoch_begin()
    driver.epoch_end()
    assert train(driver).outcome is Outcome.COMPLETED
    assert [saved.step for saved in store.available(tmp_path)] == [1]


def test_a_stop_by_something_other_than_a_plugin_is_named() -> None:
    """`end(by=...)` records the reason under the loop's name, and does not tell the loop to stop."""
    host = Tiny()
    driver = begun(RecordingPlugin(), host=host, min_epochs=9)
    driver.epoch_begin()
    driver.end(by="max_time is over")
    run = run_of(driver)
    assert [(vote.plugin, vote.message) for vote in run.stop_reasons] == [("tiny", "max_time is over")]
    assert (run.outcome, host.stops) == (Outcome.STOPPED, 0)


@pytest.mark.parametrize("hook", ["on_batch_end", "on_epoch_end"])
def test_a_plugin_that_voted_stopped_the_run(hook: str) -> None:
    """If a plugin has voted, even at the end of the last epoch, its vote is the reason, and `by` is ignored."""
    driver = begun(plugin("voting", **{hook: lambda run: run.stop("enough")}))
    driver.batch_end()
    driver.end(by="max_time is over")
    assert [vote.plugin for vote in run_of(driver).stop_reasons] == ["voting"]


@attrs.define(eq=False)
class Asking(Tiny):
    """A loop whose state is what the driver knows of the run."""

    driver: Driver | None = None

    def state_dict(self) -> Mapping[str, Any]:
        assert self.driver is not None
        return {"batch": self.driver.position.batch, "latest": self.driver.latest, "runs": self.driver.is_running}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), None])
def test_a_host_may_ask_of_the_run_until_every_plugin_has_had_its_end(error: KeyboardInterrupt | None) -> None:
    """The host can read the position for a capture that is asked for in `on_exception` or `on_train_end`."""
    captures: list[Capture] = []
    hook = "on_train_end" if error is None else "on_exception"
    host = Asking()
    host.driver = driver_of(plugin("saving", **{hook: lambda run: run.when_settled(captures.append)}), host=host)
    host.driver.begin(a_run())
    host.driver.batch_end({"loss": 1.0})
    host.driver.end(error)
    (capture,) = captures
    expected = (
        {"batch": 1, "latest": {"loss": 1.0}, "runs": True} if error else {"batch": 0, "latest": {"loss": 1.0}, "runs": True}
    )
    assert state.loads(capture.record)["loop"] == expected
    assert not host.driver.is_running
    assert not getattr(error, "__notes__", [])
