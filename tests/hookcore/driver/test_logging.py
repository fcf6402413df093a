"""Which observation has the metrics that plugins log."""

from __future__ import annotations

import math
import re
import threading
from typing import TYPE_CHECKING, Any

import pytest

from hookcore import HookcoreError, MetricError, Outcome, Run
from hookcore.testing import RecordingPlugin, ScriptedTrainee, check_events
from tests.hookcore.driver.driving import BoomError, a_run, begun, driver_of, hold_and_evaluate, plugin, run_of

if TYPE_CHECKING:
    from types import SimpleNamespace


def logging_in(hook: str, name: str = "logs", **metrics: Any) -> SimpleNamespace:
    """Return a plugin that logs `metrics` in `hook`."""
    return plugin(name, **{hook: lambda run: run.log(metrics)})


@pytest.mark.parametrize(
    ("hook", "rows"),
    [
        ("on_metrics", [1.0, 1.0, 1.0]),
        ("on_epoch_end", [math.nan, 1.0, 1.0]),
        ("on_batch_end", [1.0, math.nan, 1.0]),
        ("on_epoch_begin", [1.0, math.nan, 1.0]),
        ("on_train_begin", [1.0, math.nan, math.nan]),
    ],
)
def test_what_a_plugin_logs_is_in_the_open_observation_or_in_the_next_one(hook: str, rows: list[float]) -> None:
    """Metrics logged in `on_epoch_end` or `on_metrics` belong to that observation, others to the next; later plugins see them."""
    recording = RecordingPlugin()
    driver = begun(logging_in(hook, f1=1.0), recording)
    hold_and_evaluate(driver, 4.0)
    driver.settled()
    driver.epoch_end({"loss": 2.0})
    driver.epoch_begin()
    driver.batch_end()
    driver.epoch_end({"loss": 2.0})
    driver.end()
    assert repr(run_of(driver).history["f1"]) == repr(rows)
    seen = [event[1].get("f1", math.nan) for event in recording.events if event[0] == "on_metrics"]
    assert repr(seen) == repr(rows)


def test_a_metric_that_is_logged_at_the_end_of_an_epoch_is_in_its_metrics_too() -> None:
    """In `on_epoch_end` and `on_metrics`, plugins that are called after the one that logs see the metric."""
    for hook in ("on_epoch_end", "on_metrics"):
        before, after = RecordingPlugin("before"), RecordingPlugin("after")
        driver = begun(before, logging_in(hook, f1=1.0), after)
        driver.epoch_begin()
        driver.epoch_end({"loss": 2.0})
        driver.end()
        metrics = [dict(zip(recording.hooks, recording.events, strict=True)) for recording in (before, after)]
        assert [("f1" in seen["on_epoch_end"][-1], "f1" in seen["on_metrics"][-1]) for seen in metrics] == (
            [(False, True), (True, True)] if hook == "on_epoch_end" else [(False, False), (False, True)]
        )


def test_what_is_logged_makes_the_end_of_an_epoch_an_observation() -> None:
    """If an epoch that was observed by steps ends with nothing fresh, logging a metric makes its end an observation."""
    recording = RecordingPlugin()
    driver = begun(logging_in("on_epoch_end", f1=1.0), recording)
    hold_and_evaluate(driver, 4.0)
    driver.settled()
    driver.epoch_end({"loss": 2.0}, fresh={})
    assert recording.events[-2:] == [
        ("on_epoch_end", 0, {"val_loss": 4.0, "loss": 2.0, "f1": 1.0}),
        ("on_metrics", {"f1": 1.0}),
    ]
    history = run_of(driver).history
    assert (history.by_steps, history["f1"][1:], math.isnan(history["val_loss"][1])) == ([True, False], [1.0], True)


def test_a_name_may_be_logged_again_until_it_is_observed() -> None:
    """If a plugin logs a name several times before the next observation, the latest value counts."""
    driver = begun(plugin("counts", on_batch_end=lambda run: run.log(step=run.progress.step)))
    driver.batch_end()
    driver.batch_end()
    driver.epoch_end()
    assert run_of(driver).history["step"] == [2.0]


TAKEN = r"^logs: run\.log was given 'loss', but the observation has a metric of that name"


@pytest.mark.parametrize("hook", ["on_epoch_end", "on_metrics", "on_batch_end"])
@pytest.mark.parametrize("role", ["actor", "observer"])
def test_a_name_that_the_observation_has_is_refused_as_the_plugins_error(hook: str, role: str) -> None:
    """A name that the observation has is refused: an actor's error ends the run, an observer's costs only that value."""
    recording = RecordingPlugin()
    logs = logging_in(hook, loss=1.0)
    logs.role = role
    driver = begun(logs, recording)
    driver.batch_end()
    if role == "actor":
        with pytest.raises(MetricError, match=TAKEN):
            driver.epoch_end({"loss": 2.0})
    else:
        driver.epoch_end({"loss": 2.0})
        driver.end()
    run = run_of(driver)
    assert run.history["loss"] == [2.0]
    (failure,) = run.failures
    assert (failure.plugin, failure.hook, failure.disabled) == (
        "logs",
        "log" if hook == "on_batch_end" else hook,
        role == "observer",
    )
    assert run.outcome is (Outcome.FAILED if role == "actor" else Outcome.COMPLETED)
    check_events(recording.events)


def test_a_name_that_another_plugin_has_logged_is_refused_at_once() -> None:
    """If two plugins log one name for the same observation, the second gets the error."""
    driver = begun(logging_in("on_batch_end", "first", f1=1.0), logging_in("on_batch_end", f1=2.0))
    with pytest.raises(MetricError, match=r"^logs: run\.log was given 'f1', "):
        driver.batch_end()


@pytest.mark.parametrize("value", ["high", None])
def test_a_value_that_is_logged_must_be_a_number(value: Any) -> None:
    """Logging a value that is not a number is an error at once, which names the metric."""
    driver = begun(logging_in("on_batch_end", f1=value))
    with pytest.raises(MetricError, match="Metric 'f1' must be a number, got"):
        driver.batch_end()


def test_logging_on_another_thread_is_refused() -> None:
    """Logging on another thread is an error that names the plugin and the metrics, and nothing is recorded."""
    raised: list[BaseException] = []

    def log(run: Run) -> None:
        def call() -> None:
            try:
                run.log(f1=1.0)
            except HookcoreError as error:
                raised.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    driver = begun(plugin("logs", on_batch_end=log))
    driver.batch_end()
    driver.epoch_end()
    assert re.match(r"logs: run\.log was called with \{'f1': 1\.0\} on a thread that does not train", str(raised[0]))
    assert "f1" not in run_of(driver).history


@pytest.mark.parametrize("hook", ["on_exception", "on_train_end"])
def test_logging_at_the_end_of_a_run_is_a_warning_and_after_it_an_error(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    """Logging a metric in the run's last events leads to a warning; logging one outside of a run is an error."""
    driver = begun(logging_in(hook, f1=1.0))
    run = run_of(driver)
    driver.end(BoomError() if hook == "on_exception" else None)
    assert "logs: f1=1 was logged after the last observation, so it is not in the history" in caplog.messages
    assert [failure.error for failure in run.failures] == []
    with pytest.raises(HookcoreError, match=r"run\.log was called after the run has ended"):
        run.as_plugin("logs").log(f1=1.0)
    with pytest.raises(HookcoreError, match=r"run\.log was called before the run begins"):
        a_run().as_plugin("logs").log(f1=1.0)


def test_what_no_observation_took_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """If a run ends before the next observation, the warning names plugin, metric and value."""
    driver = begun(logging_in("on_batch_end", f1=0.5))
    driver.batch_end()
    driver.epoch_end()
    driver.batch_end()
    driver.leave()
    driver.end()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["logs: f1=0.5 was logged after the last observation, so it is not in the history"]


def test_what_is_logged_in_an_evaluation_by_itself_is_not_recorded() -> None:
    """Metrics that are logged in a separate evaluation are not recorded, and the latest run's history does not change."""
    driver = driver_of(logging_in("on_evaluate_end", f1=1.0))
    driver.outside(ScriptedTrainee())
    driver.evaluate_end({"loss": 1.0})
    driver.end()
    assert driver.run is None


def test_what_was_logged_for_the_next_observation_is_resumed() -> None:
    """Metrics that wait for the next observation are in the record, and a resumed run has them in that observation."""
    driver = begun(logging_in("on_epoch_begin", f1=0.5))
    driver.batch_end()
    saved = driver.record()
    driver.end(KeyboardInterrupt())
    resumed = driver_of(RecordingPlugin("logs"))
    resumed.begin(a_run(), record=saved)
    resumed.epoch_begin()
    resumed.batch_end()
    resumed.epoch_end()
    assert run_of(resumed).history["f1"] == [0.5]


def test_a_run_that_is_cut_between_two_observations_has_the_second_as_if_it_had_not_been_cut() -> None:
    """The record holds the fresh metrics, and whether the epoch had an observation."""
    heard = []
    for cut in (False, True):
        recording = RecordingPlugin()
        driver = begun(recording)
        hold_and_evaluate(driver, 4.0)
        driver.settled()
        driver.log({"loss": 3.0})
        driver.batch_end()
        if cut:
            saved = driver.record()
            resumed = driver_of(recording)
            driver.end(KeyboardInterrupt())
            resumed.begin(a_run(), record=saved)
            resumed.epoch_begin()
            driver = resumed
        recording.events.clear()
        hold_and_evaluate(driver, 2.0)
        driver.settled()
        driver.epoch_end(fresh={})
        driver.end()
        heard.append((recording.events, repr(run_of(driver).history)))
    assert heard[0] == heard[1]
    assert [event[0] for event in heard[0][0]].count("on_metrics") == 1


def test_an_epoch_that_was_observed_before_the_run_was_cut_needs_no_other_observation() -> None:
    """If nothing is fresh at its end, an epoch that was observed before the run was cut is not observed again."""
    driver = begun()
    hold_and_evaluate(driver, 4.0)
    driver.settled()
    saved = driver.record()
    driver.end(KeyboardInterrupt())
    recording = RecordingPlugin()
    resumed = driver_of(recording)
    resumed.begin(a_run(), record=saved)
    resumed.epoch_begin()
    resumed.epoch_end()
    resumed.end()
    assert recording.hooks == ["on_train_begin", "on_epoch_end", "on_train_end"]
