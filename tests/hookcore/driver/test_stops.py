"""A stop by the loop itself, as the driver records it, and a loop that ends without telling."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from hookcore import Engine, Outcome, Run, hookimpl
from hookcore.driver import Driver
from hookcore.host import NoHost
from hookcore.testing import ScriptedTrainee
from hookcore_plugins import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def driver_of(*plugins: object, resume: Any = False) -> Driver:
    return Driver(Engine(plugins, autoload=False), host=NoHost("tiny"), resume=resume)


def run_of(driver: Driver) -> Run:
    assert driver.run is not None
    return driver.run


def stopped(directory: Path, *plugins: object, reason: str = "no luck") -> Run:
    """Return a run that its loop stops in its first epoch."""
    driver = driver_of(Checkpoint(directory), *plugins)
    driver.begin(Run.of(ScriptedTrainee()), stops_by=reason)
    driver.epoch_begin()
    driver.stops(reason)
    driver.epoch_end({"loss": 1.0})
    driver.end()
    return run_of(driver)


def resumed(directory: Path, reason: str | None) -> list[str]:
    """Return the votes of a run that resumes one of `directory`."""
    driver = driver_of(Checkpoint(directory), resume="auto")
    driver.begin(Run.of(ScriptedTrainee()), stops_by=reason)
    votes = [vote.plugin for vote in run_of(driver).stop_reasons]
    assert driver.stopping == bool(votes)
    driver.end()
    return votes


def test_a_stop_by_the_loop_is_in_the_checkpoint_of_its_epoch(tmp_path: Path) -> None:
    """So a run that is resumed from it is stopped already, by the same vote."""
    run = stopped(tmp_path)
    assert [(vote.plugin, vote.message, vote.epoch) for vote in run.stop_reasons] == [("tiny", "no luck", 0)]
    assert run.outcome is Outcome.STOPPED
    assert resumed(tmp_path, "no luck") == ["tiny"]


@pytest.mark.parametrize(("reason", "said"), [(None, "which no longer applies"), ("bored", "and is now 'bored'")])
def test_a_stop_by_the_loop_counts_only_if_it_has_the_same_reason_now(
    reason: str | None, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As the vote of a plugin with other parameters, it is dropped, and the log names both reasons."""
    stopped(tmp_path)
    with caplog.at_level(logging.WARNING, "hookcore"):
        assert resumed(tmp_path, reason) == []
    assert f"resumed: the run was stopped by tiny and continues: the reason was 'no luck', {said}" in caplog.text


def test_a_vote_of_a_plugin_in_that_epoch_is_the_reason(tmp_path: Path) -> None:
    """The loop's own is left out, as it would have stopped anyway."""
    voting = SimpleNamespace(name="voting", on_epoch_end=hookimpl(lambda run: run.stop("enough")))
    assert [vote.plugin for vote in stopped(tmp_path, voting).stop_reasons] == ["voting"]


@pytest.mark.parametrize(
    ("left", "outcome"), [(lambda: "no luck", Outcome.STOPPED), (lambda: None, Outcome.FAILED), (None, Outcome.FAILED)]
)
def test_a_loop_that_ended_without_telling_ends_its_run(left: Callable[[], str | None] | None, outcome: Outcome) -> None:
    """Once its code is no longer being executed: stopped by what `left` returns, or failed."""
    driver = driver_of()

    def loop() -> None:
        driver.begin(Run.of(ScriptedTrainee()), loop=loop.__code__, left=left)
        driver.epoch_begin()
        driver.end_left()
        assert driver.is_running

    loop()
    driver.end_left()
    run = run_of(driver)
    assert run.outcome is outcome
    assert [vote.message for vote in run.stop_reasons] == (["no luck"] if outcome is Outcome.STOPPED else [])
