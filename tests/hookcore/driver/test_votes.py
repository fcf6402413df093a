"""When a vote to stop reaches the loop."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hookcore import Outcome
from tests.hookcore.driver.driving import Tiny, begun, driver_of, plugin, run_of, train

if TYPE_CHECKING:
    import pytest


def test_the_loop_is_told_to_stop_once_for_each_vote() -> None:
    """Each vote that counts tells the loop to stop once, at the moment of the vote."""
    host = Tiny()
    votes = plugin("votes", on_train_begin=lambda run: run.stop("first"), on_batch_end=lambda run: run.stop("again"))
    driver = begun(votes, host=host)
    assert (host.stops, driver.stopping) == (1, True)
    driver.batch_end()
    assert host.stops == 2
    driver.epoch_end()
    assert host.stops == 2
    driver.end()
    assert (host.stops, driver.stopping, run_of(driver).outcome) == (2, False, Outcome.STOPPED)


def test_a_vote_when_training_is_over_is_not_passed_on() -> None:
    """A vote in `on_train_end` does not reach the loop, which has ended, and does not change the outcome."""
    host = Tiny()
    run = train(driver_of(plugin("late", on_train_end=lambda run: run.stop("late")), host=host))
    assert (host.stops, run.outcome) == (0, Outcome.COMPLETED)


def test_votes_before_the_least_number_of_epochs_are_overruled(caplog: pytest.LogCaptureFixture) -> None:
    """A vote before `min_epochs` is dropped and logged; given again at the end of the last of these epochs, it counts."""
    host, voting = Tiny(), {0, 1}
    driver = begun(
        plugin("once", on_epoch_end=lambda run, epoch: run.stop(f"epoch {epoch}") if epoch in voting else None),
        plugin("early", on_train_begin=lambda run: run.stop("at once")),
        host=host,
        min_epochs=3,
    )
    with caplog.at_level(logging.INFO, "hookcore"):
        for _ in range(3):
            assert not driver.stopping
            driver.epoch_begin()
            driver.batch_end()
            driver.epoch_end()
    assert (host.stops, driver.stopping) == (0, False)
    assert [record.getMessage() for record in caplog.records if "overruled" in record.getMessage()] == [
        f"once: overruled: tiny does 3 epochs at least: epoch {epoch}" for epoch in (0, 1)
    ]
    voting.add(3)
    driver.epoch_begin()
    driver.epoch_end()
    assert (host.stops, driver.stopping) == (1, True)
    driver.end()
    assert [vote.message for vote in run_of(driver).stop_reasons] == ["epoch 3"]


def test_votes_before_the_least_number_of_steps_are_overruled(caplog: pytest.LogCaptureFixture) -> None:
    """A vote before `min_steps` updates is dropped and logged, and counts later only if it is given again."""
    host = Tiny()
    votes = plugin("votes", on_batch_end=lambda run: run.stop("again") if run.progress.step in {1, 3} else None)
    driver = begun(votes, host=host, min_steps=3)
    with caplog.at_level(logging.INFO, "hookcore"):
        driver.batch_end()
        driver.batch_end()
    assert (host.stops, driver.stopping) == (0, False)
    assert "votes: overruled: tiny does 3 steps at least: again" in caplog.text
    driver.batch_end()
    assert (host.stops, driver.stopping) == (1, True)


def test_the_end_of_the_last_of_the_least_epochs_may_stop() -> None:
    """With `min_epochs=1` a vote in a batch of the first epoch is overruled, and a vote at its end counts."""
    host = Tiny()
    votes = plugin("votes", on_batch_end=lambda run: run.stop("batch"), on_epoch_end=lambda run: run.stop("epoch"))
    driver = begun(votes, host=host, min_epochs=1)
    driver.batch_end()
    assert host.stops == 0
    driver.epoch_end()
    assert [vote.message for vote in run_of(driver).stop_reasons] == ["epoch"]
    assert host.stops == 1
