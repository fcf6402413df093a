"""What the driver accepts in a fact: metrics, counts, and the shortest way for batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from hookcore import MetricError, Outcome, ParameterError, Run, state
from hookcore.driver import Driver
from hookcore.testing import RecordingPlugin
from tests.hookcore.driver.driving import Tiny, asking, begun, run_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from hookcore import Capture


@pytest.mark.parametrize(
    "fact",
    [
        lambda driver, metrics: driver.log(metrics),
        lambda driver, metrics: driver.batch_end(metrics),
        lambda driver, metrics: driver.batch_held(metrics),
        lambda driver, metrics: driver.evaluate_batch_end(metrics),
        lambda driver, metrics: driver.evaluate_end(metrics),
        lambda driver, metrics: driver.evaluate_end(named=metrics),
        lambda driver, metrics: driver.epoch_end(metrics),
    ],
    ids=["log", "batch_end", "batch_held", "evaluate_batch_end", "evaluate_end", "evaluate_end, named", "epoch_end"],
)
@pytest.mark.parametrize("value", ["high", None, object()])
def test_a_metric_that_is_no_number_is_one_clear_error(fact: Callable[[Driver, Any], None], value: object) -> None:
    """If a metric is not a number, the error names it and its value, whichever fact has it, and the run ends."""
    driver = begun(RecordingPlugin())
    driver.epoch_begin()
    with pytest.raises(MetricError, match="Metric 'accuracy' must be a number, got"):  # noqa: PT012 - some wait for the end
        fact(driver, {"loss": 1.0, "accuracy": value})
        driver.epoch_end()
    assert run_of(driver).outcome is Outcome.FAILED


@pytest.mark.parametrize("fact", ["log", "batch_end", "batch_held", "evaluate_batch_end", "evaluate_end", "epoch_end"])
def test_metrics_without_names_are_one_clear_error(fact: str) -> None:
    """If metrics are not a mapping, the error names the loop, the fact and the value."""
    driver = begun(RecordingPlugin())
    with pytest.raises(MetricError, match=rf"(?m)^tiny told of {fact} with metrics that do not map names to numbers: 0\.5\.$"):
        getattr(driver, fact)(0.5)
    assert run_of(driver).outcome is Outcome.FAILED


@pytest.mark.parametrize("fact", ["batch_end", "batch_held"])
@pytest.mark.parametrize("counts", [{"batches": 0}, {"updates": -1}])
def test_a_batchs_end_stands_for_a_batch_at_least(fact: str, counts: dict[str, int]) -> None:
    """Zero batches, or a negative number of updates, are an error that names the loop and the fact, and ends the run."""
    driver = begun(RecordingPlugin())
    with pytest.raises(ParameterError, match=f"^tiny told of {fact} with updates="):
        getattr(driver, fact)(**counts)
    assert run_of(driver).outcome is Outcome.FAILED


def test_metrics_that_come_after_an_epochs_end_are_in_no_epoch() -> None:
    """Metrics that a framework logs between two epochs do not become metrics of the next."""
    driver = begun()
    driver.log({"early": 1.0})
    driver.epoch_begin()
    driver.log({"loss": 2.0})
    driver.epoch_end({"lr": 0.1})
    driver.log({"late": 1.0})
    driver.epoch_begin()
    driver.epoch_end()
    driver.end()
    history = run_of(driver).history
    assert sorted(history) == ["loss", "lr"]
    assert history.epochs == [0, 1]


def test_the_shortest_way_is_heard_like_the_long_one() -> None:
    """The two functions of `batches` call, count and settle the same as `batch_begin` and `batch_end`."""
    heard = []
    for short in (False, True):
        captures: list[Capture] = []
        recording = RecordingPlugin()
        driver = begun(recording, asking("asks", "on_batch_end", captures))
        for _ in range(2):
            driver.epoch_begin()
            begin, end = driver.batches()
            for batch in range(2):
                if short:
                    begin(batch)
                    end(batch, {"loss": 1.0})
                else:
                    driver.batch_begin()
                    driver.batch_end({"loss": 1.0})
            driver.epoch_end()
        driver.end()
        heard.append(
            (recording.events, run_of(driver).progress, [state.loads(capture.record)["position"] for capture in captures])
        )
    assert heard[0] == heard[1]


@pytest.mark.parametrize(
    "fact",
    [
        lambda driver: driver.update(-1),
        lambda driver: driver.batch_end(updates=0.5),
        lambda driver: driver.batch_end(updates="1"),
        lambda driver: driver.evaluate_batch_end(batches=0),
        lambda driver: driver.predict_batch_end(batches=-3),
    ],
)
def test_numbers_that_make_no_sense_are_one_clear_error(fact: Callable[[Driver], object]) -> None:
    """Counts that are not whole numbers are an error that names the loop, the fact and the values, and ends the run."""
    driver = begun()
    with pytest.raises(ParameterError, match=r"^tiny told of \w+ with updates=.* and batches=.*; these are whole numbers"):
        fact(driver)
    assert run_of(driver).outcome is Outcome.FAILED


def test_numbers_of_numpy_are_counted_as_pythons() -> None:
    """Whatever type of integer an adapter counts with, the progress and the position are Python's ints."""
    given: Any = np.int64(2)
    driver = Driver([], host=Tiny())
    driver.begin(Run(), initial_epoch=given)
    driver.epoch_begin(given)
    driver.batch_end(updates=given, batches=given)
    driver.update(given)
    run = run_of(driver)
    assert repr(attrs.astuple(run.progress)) == "(2, 1, 4, 0)"
    assert repr(attrs.astuple(driver.position)) == "(2, 2, True)"
    driver.end()
