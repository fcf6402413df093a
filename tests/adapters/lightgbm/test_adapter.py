"""What LightGBM trains with plugins, who stops it, and what plugins see, in addition to the contract of all adapters."""

from __future__ import annotations

import logging
import pickle
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import pytest

from hookcore import CapabilityError, Engine, MetricError, Outcome, hookimpl
from hookcore.testing import RecordingPlugin
from hookcore_adapters.lightgbm import LightGBMAdapter
from hookcore_plugins import Checkpoint, EarlyStopping
from tests.adapters.lightgbm.harness import samples
from tests.adapters.lightgbm.trainings import PARAMS, both, by_callback, by_train, data, trees

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@both
def test_plugins_that_only_look_change_no_tree(trains: Callable[..., Any]) -> None:
    """The forest, its best iteration and its scores are those of `lightgbm.train` without plugins."""
    plain = lightgbm.train(PARAMS, num_boost_round=6, **data())
    booster = trains({}, 6, RecordingPlugin(), EarlyStopping("valid_0-l2", patience=6))
    assert trees(booster) == trees(plain)
    assert (booster.best_iteration, booster.best_score) == (plain.best_iteration, plain.best_score)
    assert not hasattr(booster, "train_set")  # freed, as by lightgbm.train


def test_a_booster_that_was_to_be_kept_for_training_goes_on() -> None:
    """With `keep_training_booster`, the booster can be trained further."""
    booster = by_train({}, 3, RecordingPlugin(), keep_training_booster=True)
    booster.update()
    assert booster.current_iteration() == 4


@both
def test_a_vote_stops_and_the_best_iteration_is_the_last(trains: Callable[..., Any]) -> None:
    """After a vote, the forest is whole, and LightGBM's best iteration and score are those of its last iteration."""
    recording = RecordingPlugin()
    stopping = EarlyStopping("valid_0-l2", patience=2)
    booster = trains({"learning_rate": 0.9}, 40, stopping, recording)
    rows = [event[1]["valid_0-l2"] for event in recording.events if event[0] == "on_metrics"]
    assert 2 < booster.num_trees() == booster.best_iteration == len(rows) < 40
    assert booster.best_score["valid_0"]["l2"] == rows[-1] > min(rows)


@both
def test_the_best_forest_is_cut_and_scored(trains: Callable[..., Any]) -> None:
    """`restore_best_weights` cuts the forest to the best iteration and sets its `best_score`, after a vote and at the end."""
    rounds = by_train({"learning_rate": 0.9}, 40, EarlyStopping("valid_0-l2", patience=2)).num_trees()
    for epochs in (40, rounds, rounds - 1):  # a vote, one at the end, and none
        recording = RecordingPlugin()
        stopping = EarlyStopping("valid_0-l2", patience=2, restore_best_weights=True)
        booster = trains({"learning_rate": 0.9}, epochs, stopping, recording)
        rows = [event[1]["valid_0-l2"] for event in recording.events if event[0] == "on_metrics"]
        best = int(np.argmin(rows)) + 1
        assert booster.num_trees() == booster.best_iteration == best == rounds - 2
        assert booster.best_score["valid_0"]["l2"] == min(rows)
        x, y = samples(2)
        assert np.mean((booster.predict(x) - y) ** 2) == pytest.approx(min(rows), rel=1e-6)


def test_an_estimator_of_scikit_learn_has_the_best_too() -> None:
    """The `fit` of an estimator cuts the forest too, and its history includes the last iteration."""
    pytest.importorskip("sklearn")
    adapter = LightGBMAdapter([EarlyStopping("valid_0-l2", patience=2, restore_best_weights=True)])
    estimator = lightgbm.LGBMRegressor(
        n_estimators=40, num_leaves=4, min_child_samples=4, learning_rate=0.9, n_jobs=1, verbosity=-1
    )
    for _ in range(2):  # with the same adapter
        held_out = {"eval_X": samples(2)[0], "eval_y": samples(2)[1]}
        estimator.fit(*samples(1), **held_out, eval_metric="l2", callbacks=[adapter])
        run = adapter.run
        assert run is not None
        assert run.outcome is Outcome.STOPPED
        history = estimator.evals_result_["valid_0"]["l2"]
        assert list(run.history["valid_0-l2"]) == history
        assert estimator.best_iteration_ == estimator.booster_.num_trees() == np.argmin(history) + 1 < len(history)


@both
def test_multiclass_forests_are_cut_by_iterations(trains: Callable[..., Any]) -> None:
    """A snapshot counts iterations, each of which has one tree for each class."""
    x, y = samples(1)
    labels = np.digitize(y, [-1, 1])
    train_set = lightgbm.Dataset(x, labels, free_raw_data=False)
    given = {"train_set": train_set, "valid_sets": [lightgbm.Dataset(x[::-1], labels, reference=train_set)]}
    stopping = EarlyStopping("valid_0-multi_logloss", patience=2, restore_best_weights=True)
    booster = trains({"objective": "multiclass", "num_class": 3}, 40, stopping, **given)
    assert booster.num_trees() == 3 * booster.best_iteration > 0


# Metrics


@both
def test_names_and_directions_are_lightgbms(trains: Callable[..., Any]) -> None:
    """A metric's name has those of its data and its own, and LightGBM knows its direction, so `mode` can be left out."""
    x, y = samples(1)
    train_set = lightgbm.Dataset(x, y > 0)
    given = {"train_set": train_set, "valid_sets": [train_set, lightgbm.Dataset(x, y > 0, reference=train_set)]}
    names = (
        {} if trains is by_callback else {"valid_names": ["fit", "held out"]}
    )  # a callback knows the training data only by its usual name
    validation, training = ("held out", "fit") if names else ("valid_1", "training")
    both_stopping = [EarlyStopping(f"{name}-auc", patience=3) for name in (validation, training)]
    engine = Engine([(f"of_{number}", plugin) for number, plugin in enumerate(both_stopping)])
    params = {"objective": "binary", "metric": ["auc", "binary_logloss"], "learning_rate": 0.01}
    trains(params, 2, engine, **given, **names)
    run = engine.run
    assert run is not None
    assert [plugin.observed.mode for plugin in both_stopping] == ["max", "max"]
    assert set(run.history) == {f"{data}-{name}" for data in (validation, training) for name in ("auc", "binary_logloss")}
    assert [run.metric_names.is_validation(f"{name}-auc") for name in (validation, training)] == [True, False]
    assert run.metric_names.plain(f"{training}-auc") == "auc"


@pytest.mark.parametrize(("trains", "resumes"), [(by_callback, False), (by_train, False), (by_train, True)])
def test_a_mode_that_contradicts_the_direction_of_feval_is_warned_of(
    trains: Callable[..., Any], *, resumes: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """LightGBM declares the direction of a metric of `feval` with its first value, and the warning names the plugin."""

    def feval(*_: Any) -> tuple[str, float, bool]:
        return "score", 1.0, True

    def plugins() -> list[object]:
        return [EarlyStopping("valid_0-score", mode="min", patience=9), ("right", EarlyStopping("valid_0-score", mode="max"))]

    more = {}
    if resumes:
        by_train({}, 1, Checkpoint(tmp_path), feval=feval)
        more = {"resume": tmp_path}
    with caplog.at_level(logging.WARNING, "hookcore"):
        trains({}, 3, Engine(plugins()), feval=feval, **more)
    said = [record.getMessage() for record in caplog.records if "contradicts" in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("early_stopping: mode='min' contradicts what is known of monitor='valid_0-score', for which 'max'")


# Who stops


@both
def test_lightgbms_own_early_stopping_beside_ours(trains: Callable[..., Any]) -> None:
    """Plugins get each iteration, the best remains LightGBM's, and the outcome names LightGBM; also with a parameter."""
    plain = lightgbm.train(
        PARAMS | {"learning_rate": 0.9}, num_boost_round=40, callbacks=[lightgbm.early_stopping(2, verbose=False)], **data()
    )
    for params, callbacks in ({}, [lightgbm.early_stopping(2, verbose=False)]), ({"early_stopping_round": 2}, []):
        engine = Engine([RecordingPlugin()])
        booster = trains({"learning_rate": 0.9, **params}, 40, engine, callbacks=callbacks)
        run = engine.run
        assert run is not None
        assert booster.best_iteration == booster.num_trees() == plain.best_iteration
        assert booster.best_score == plain.best_score
        assert len(run.history) == plain.best_iteration + 2
        assert run.outcome is Outcome.STOPPED
        assert [(vote.plugin, "early_stopping" in vote.message) for vote in run.stop_reasons] == [("lightgbm", True)]


@both
def test_if_both_stop_at_one_iteration_lightgbms_best_stays(trains: Callable[..., Any]) -> None:
    """The reason to stop is the plugin's vote, and LightGBM's own early stopping still cuts the forest."""
    engine = Engine([EarlyStopping("valid_0-l2", patience=2)])
    booster = trains({"learning_rate": 0.9}, 40, engine)
    whole = booster.num_trees()
    booster = trains({"learning_rate": 0.9, "early_stopping_round": 2}, 40, engine)
    assert booster.best_iteration == booster.num_trees() == whole - 2
    own = lightgbm.train(PARAMS | {"learning_rate": 0.9, "early_stopping_round": 2}, num_boost_round=40, **data())
    assert booster.best_score == own.best_score
    assert engine.run is not None
    assert [vote.plugin for vote in engine.run.stop_reasons] == ["early_stopping"]


def test_callbacks_after_the_adapter_get_the_iteration_of_a_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback that LightGBM calls after the adapter gets each iteration once, also the last, after which a plugin stops."""
    got: list[int] = []

    def later(env: Any) -> None:
        got.append(env.iteration)

    monkeypatch.setattr(later, "order", 99, raising=False)
    booster = by_callback({"learning_rate": 0.9}, 40, EarlyStopping("valid_0-l2", patience=2), callbacks=[later])
    assert got == list(range(booster.num_trees()))


def of_different_bests() -> tuple[dict[str, Any], EarlyStopping, dict[str, Any]]:
    """Return a training in which LightGBM's own early stopping finds an earlier best than the plugin, on other data."""
    given = data()
    given["valid_sets"] = [*given["valid_sets"], given["train_set"]]
    params = {"learning_rate": 0.9, "early_stopping_round": 3}
    return params, EarlyStopping("training-l2", patience=9, restore_best_weights=True), given


def test_our_best_wins_over_lightgbms_in_train() -> None:
    """If LightGBM's own early stopping ends training, a plugin can still restore a later best."""
    params, stopping, given = of_different_bests()
    booster = by_train(params, 40, stopping, **given)
    assert stopping.best_epoch is not None
    assert booster.best_iteration == booster.num_trees() == stopping.best_epoch + 1
    assert booster.best_iteration == by_train(params, 40, **of_different_bests()[2]).best_iteration + 3


def test_our_best_is_an_error_if_lightgbm_has_cut_it_off() -> None:
    """With the callback, the run ends too late to restore a best that LightGBM's own early stopping has cut off."""
    params, stopping, given = of_different_bests()
    with pytest.raises(CapabilityError, match="own early stopping has cut the forest, leave that out, or the plugin"):
        by_callback(params, 40, stopping, **given)


def test_a_run_that_was_left_ends_when_its_adapter_is_dropped() -> None:
    """The run of an adapter that is dropped ends at once: stopped by LightGBM's early stopping, or failed by an error."""
    recording = RecordingPlugin()
    params = {**PARAMS, "early_stopping_round": 2, "learning_rate": 0.9}
    lightgbm.train(params, num_boost_round=40, callbacks=[LightGBMAdapter([recording])], **data())
    assert recording.hooks[-1] == "on_train_end"

    def break_down(env: Any) -> None:
        raise RuntimeError(env.iteration)

    engine = Engine([RecordingPlugin()])
    adapter = LightGBMAdapter(engine)
    break_down.order = 99  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError):
        lightgbm.train(PARAMS, num_boost_round=3, callbacks=[adapter, break_down], **data())
    assert engine.run is not None
    assert engine.run.outcome is Outcome.RUNNING
    assert adapter.run is not None
    assert adapter.run.outcome is Outcome.FAILED


def test_a_run_is_not_taken_for_left_within_it() -> None:
    """Reading the run of an adapter during training does not end the run."""

    class Reading:
        @hookimpl
        def on_epoch_end(self) -> None:
            assert adapter.run is not None
            outcomes.append(adapter.run.outcome)

    outcomes: list[Outcome] = []
    adapter = LightGBMAdapter([Reading()])
    lightgbm.train(PARAMS, num_boost_round=3, callbacks=[adapter], **data())
    assert outcomes == [Outcome.RUNNING] * 3
    assert adapter.run is not None
    assert adapter.run.outcome is Outcome.COMPLETED


def test_an_error_before_the_first_iteration_reaches_the_caller_and_no_plugin() -> None:
    """If LightGBM refuses a parameter, its error is raised, and no run begins for plugins."""
    recording = RecordingPlugin()
    with pytest.raises(ValueError, match="Number of boosting rounds"):
        by_train({}, 0, recording)
    with pytest.raises(lightgbm.basic.LightGBMError):
        by_train({"num_leaves": -1}, 2, recording)
    assert recording.hooks == []


def test_what_another_callback_raises_before_an_iteration_reaches_the_caller() -> None:
    """LightGBM catches `EarlyStopException` only after an iteration; before one, it is an error."""

    def before(env: Any) -> None:
        if env.iteration == 1:
            raise lightgbm.EarlyStopException(0, [])

    before.before_iteration = True  # type: ignore[attr-defined]
    engine = Engine([RecordingPlugin()])
    with pytest.raises(lightgbm.EarlyStopException):
        by_train({}, 3, engine, callbacks=[before])
    assert engine.run is not None
    assert engine.run.outcome is Outcome.FAILED


@both
def test_plugins_have_the_booster(trains: Callable[..., Any]) -> None:
    """From the beginning, `run.model` is the booster, and `run.epochs` is the number of iterations."""
    seen: list[Any] = []
    looking = SimpleNamespace(name="looking", on_train_begin=hookimpl(lambda run: seen.append((run.model, run.epochs))))
    booster = trains({}, 2, looking)
    assert seen == [(booster, 2)]


@both
def test_a_plugins_default_monitor_is_told_what_there_is(trains: Callable[..., Any]) -> None:
    """EarlyStopping() monitors val_loss, which LightGBM lacks: the error lists its metrics, and does not ask for data."""
    with pytest.raises(MetricError, match=r"no metric 'val_loss' at the end of epoch 1; there are: valid_0-l2\.\n"):
        trains({}, 2, EarlyStopping())


def test_the_callback_can_be_pickled() -> None:
    """An adapter that is pickled before or after a run trains like the original."""

    def trained(adapter: LightGBMAdapter) -> str:
        return trees(lightgbm.train({**PARAMS, "learning_rate": 0.9}, num_boost_round=20, callbacks=[adapter], **data()))

    adapter = LightGBMAdapter([EarlyStopping("valid_0-l2", patience=2, restore_best_weights=True)])
    loaded = pickle.loads(pickle.dumps(adapter))  # noqa: S301 - of this test
    expected = trained(adapter)
    again = pickle.loads(pickle.dumps(adapter))  # noqa: S301
    assert trained(loaded) == trained(again) == expected
