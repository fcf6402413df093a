"""In a replay, plugins decide on a log as in training."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookcore import CapabilityError, Engine, MetricError, ParameterError, Run, hookimpl
from hookcore.testing import RecordingPlugin, ScriptedTrainee, check_events
from hookcore_adapters.loop import Loop
from hookcore_adapters.replay import replay
from hookcore_adapters.replay.adapter import Recording
from hookcore_plugins import (
    Activations,
    Checkpoint,
    CSVLog,
    EarlyStopping,
    JSONLog,
    LearningRateSchedule,
    NaNGuard,
    ReduceLROnPlateau,
    Report,
    TimeLimit,
)
from hookcore_plugins.report.recorded import run_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROWS = st.lists(
    st.fixed_dictionaries(
        {"loss": st.floats(-4, 4) | st.sampled_from([math.nan, math.inf])},
        optional={"val_loss": st.floats(-4, 4) | st.sampled_from([math.nan, 0.5])},
    ),
    min_size=1,
    max_size=12,
)
SETTINGS = st.fixed_dictionaries(
    {
        "monitor": st.sampled_from(["loss", "val_loss"]),
        "patience": st.integers(0, 4),
        "min_delta": st.sampled_from([0.0, 0.25]),
        "mode": st.sampled_from(["min", "max"]),
        "missing": st.just("skip"),
    }
)


def deciding(setting: Mapping[str, Any], plateau: Mapping[str, Any]) -> list[object]:
    reducing = {**plateau, "patience": max(plateau["patience"], 1)}
    return [
        ReduceLROnPlateau(**reducing, factor=0.5, cooldown=1, min_lr=0.001),
        EarlyStopping(**setting, baseline=1.0, restore_best_weights=True),
        NaNGuard(missing="skip"),
    ]


def train(rows: list[dict[str, float]], plugins: list[object], rate: float = 0.125) -> Run:
    """Train a loop that reports `rows`, with three batches per epoch."""
    with Loop(plugins, epochs=len(rows), trainee=ScriptedTrainee(learning_rate=rate)) as loop:
        for epoch in loop.epochs():
            for _ in loop.batches(range(3)):
                pass
            validation = {"loss": rows[epoch]["val_loss"]} if "val_loss" in rows[epoch] else None
            if validation is not None:
                with loop.evaluation():
                    loop.log(validation)
            loop.log(loss=rows[epoch]["loss"])
    return loop.run


@settings(max_examples=30)
@given(ROWS, SETTINGS, SETTINGS)
def test_a_replay_decides_as_the_run_did(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, float]], setting: dict[str, Any], plateau: dict[str, Any]
) -> None:
    """From every kind of log, the same plugins make the same votes, decisions and rates as in training."""
    directory = tmp_path_factory.mktemp("run")
    train(rows, [CSVLog(directory / "a.csv"), JSONLog(directory / "a.jsonl"), Report(directory, summary=False)])
    real = train(rows, deciding(setting, plateau))
    for log in sorted(directory.iterdir()):
        again = replay(log, deciding(setting, plateau))
        assert repr(again.stop_reasons) == repr(real.stop_reasons), log
        assert repr(again.decisions) == repr(real.decisions), log
        assert (again.outcome, again.learning_rate, again.progress.step) == (real.outcome, real.learning_rate, real.progress.step)
        assert again.history.learning_rates == real.history.learning_rates
        assert [sorted(map(repr, row.items())) for row in again.history.rows()] == [
            sorted(map(repr, row.items())) for row in real.history.rows()
        ]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.booleans()), min_size=1, max_size=10), st.none() | st.integers(0, 9)
)
def test_the_events_are_legal_whatever_the_log_tells(steps: list[tuple[int, bool, bool]], stops: int | None) -> None:
    """The events of a replay are legal for every log, also with missing epochs, and votes in any of them."""
    from hookcore import History

    history = History()
    epoch = step = 0
    for i, (gap, by_steps, validated) in enumerate(steps):
        step += 2
        history.append(epoch, {"loss": float(i), **({"val_loss": 1.0} if validated else {})}, step, by_steps=by_steps)
        epoch += 0 if by_steps else 1 + gap

    class Votes:
        n = 0

        @hookimpl
        def on_epoch_begin(self, run: Run) -> None:
            if stops is not None and run.progress.epoch == stops:
                run.stop("enough")

        @hookimpl
        def on_metrics(self) -> None:
            self.n += 1

    recording, votes = RecordingPlugin(), Votes()
    run = replay(history, [recording, votes])
    check_events(recording.events)
    assert run.outcome == ("stopped" if stops is not None and stops <= history.epochs[-1] else "completed")
    if stops is None:
        assert [step for step, row in zip(run.history.steps, run.history.rows(), strict=True) if row] == history.steps
        # Without a plugin with batch hooks, batches are left out, and the other events are the same.
        plain = replay(history, [Votes()])
        assert repr(plain.history.state_dict()["metrics"]) == repr(run.history.state_dict()["metrics"])
        assert plain.progress.step == run.progress.step


def test_the_rate_is_the_recorded_one_until_a_plugin_sets_it() -> None:
    """The rate is the recorded one until a plugin sets it, and then the plugin's."""
    columns = {"loss": [1.0, 2.0, 3.0, 4.0], "learning_rate": [0.5, 0.25, 0.125, 0.125]}
    assert replay(columns).history.learning_rates == [0.5, 0.25, 0.125, 0.125]
    run = replay(columns, [ReduceLROnPlateau("loss", patience=1, factor=0.5)])
    assert run.history.learning_rates == [0.5, 0.25, 0.125, 0.0625]
    assert [decision.value for decision in run.decisions] == [0.125, 0.0625, 0.03125]


def test_a_log_without_a_learning_rate_needs_one_for_plugins_that_set_it() -> None:
    """Without a rate in the log, plugins that set it are refused by name with advice, unless an initial rate is given."""
    columns = {"loss": [1.0, 2.0, 3.0]}
    with pytest.raises(CapabilityError, match=r"'reduce_lr_on_plateau' needs .* it is not in the log: give learning_rate="):
        replay(columns, [ReduceLROnPlateau("loss", patience=1)])
    run = replay(columns, [ReduceLROnPlateau("loss", patience=1)], learning_rate=0.5)
    assert [decision.value for decision in run.decisions] == [0.05, pytest.approx(0.005)]
    assert replay(columns, [LearningRateSchedule(lambda epoch: 1 / (1 + epoch))], learning_rate=1).learning_rate == 1 / 3
    for wrong in (-1, math.nan, "0.1"):
        with pytest.raises(ParameterError, match="learning_rate must be a finite number of at least 0"):
            replay(columns, learning_rate=wrong)  # type: ignore[arg-type]


def test_a_plugin_that_needs_a_model_or_the_time_is_refused_by_name(tmp_path: Path) -> None:
    """Plugins that need a model or the time are refused by name before the first epoch, unless they have their own clock."""
    columns = {"loss": [1.0, 2.0, 3.0], "val_loss": [1.0, 2.0, 3.0]}
    recording = RecordingPlugin()
    for plugin, message in [
        (Checkpoint(tmp_path), "'checkpoint' needs the trainee's checkpoint, but a recorded run has metrics, and no model"),
        (Activations(tmp_path), "'activations' needs the trainee's activations, but a recorded run has metrics, and no model"),
        (TimeLimit(1), "'time_limit' decides by the time, and a replay has no duration"),
        (TimeLimit(1, clock=time.time), "'time_limit' decides by the time"),
    ]:
        with pytest.raises(CapabilityError, match=message):
            replay(columns, [recording, plugin])
    assert recording.hooks == []
    assert list(tmp_path.iterdir()) == []
    ticks = iter(range(100))
    assert replay(columns, [TimeLimit(2, clock=lambda: next(ticks))]).outcome == "stopped"


def test_what_takes_part_in_every_run_takes_no_part_in_a_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plugins that are installed for every run, such as trackers, are left out of a replay, unless an engine is given."""
    from hookcore.registry import discovery

    monkeypatch.setattr(discovery, "read_entry_points", lambda _: pytest.fail("the autoload group was read"))
    assert replay({"loss": [1.0]}, [EarlyStopping("loss")]).outcome == "completed"
    engine = Engine([EarlyStopping("loss", patience=1)], autoload=False)
    assert replay({"loss": [1.0, 2.0, 3.0]}, engine).outcome == replay({"loss": [1.0, 2.0]}, engine).outcome == "stopped"


def test_a_metric_that_is_missing_is_an_error_as_in_training() -> None:
    """A missing metric is an error as in training, but validation is due only in epochs that have it."""
    columns = {"loss": [1.0, 2.0, 3.0], "val_loss": [None, 2.0, None]}
    assert len(replay(columns, [EarlyStopping()]).history) == 3
    with pytest.raises(MetricError, match=r"no metric 'val_los' .* Did you mean 'val_loss'"):
        replay(columns, [EarlyStopping("val_los", mode="min")])
    with pytest.raises(MetricError, match="has no known direction"):
        replay(columns, [EarlyStopping("what")])


def test_an_error_of_a_plugin_ends_the_replay() -> None:
    """An error of a plugin reaches the caller, after `on_exception` and `on_train_end` of every plugin."""
    recording = RecordingPlugin()
    with pytest.raises(MetricError, match="loss is nan"):
        replay({"loss": [1.0, math.nan]}, [recording, NaNGuard(action="raise")])
    assert recording.hooks[-2:] == ["on_exception", "on_train_end"]


def test_what_a_plugin_logs_is_of_its_own_replay() -> None:
    """What a plugin logs is in the history of its replay, and does not change the recording."""

    class Logs:
        @hookimpl
        def on_metrics(self, run: Run, metrics: Mapping[str, float]) -> None:
            run.log(twice=2 * metrics["loss"])

    recording = Recording(run_of({"loss": [1.0, 2.0]}))
    for _ in range(2):
        run, told = recording.replay(Engine([Logs(), EarlyStopping("twice", mode="min", patience=1)], autoload=False))
        assert (run.history["twice"], run.outcome, told) == ([2.0, 4.0], "stopped", 2)
    assert list(recording.replay(Engine(autoload=False))[0].history) == ["loss"]
