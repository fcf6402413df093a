"""What `XGBoostAdapter` does in addition to the contract of all adapters."""

from __future__ import annotations

import copy
import pickle
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xgboost
from sklearn.base import clone
from xgboost.callback import EarlyStopping as XGBoostEarlyStopping
from xgboost.callback import LearningRateScheduler, TrainingCallback

from hookcore import CapabilityError, HookcoreError, MetricError, Outcome, ParameterError
from hookcore.testing import RecordingPlugin, check_events
from hookcore_adapters.loop import Loop
from hookcore_adapters.xgboost import XGBoostAdapter, XGBoostTrainee
from hookcore_adapters.xgboost.metrics import _DIRECTIONS
from hookcore_plugins import Checkpoint, EarlyStopping, LearningRateSchedule
from tests.adapters.xgboost.models import Acts, At, arrays, data, deteriorating, model_of, parameters, run_of, train

if TYPE_CHECKING:
    from pathlib import Path


def restoring() -> EarlyStopping:
    return EarlyStopping("valid-distance", mode="min", patience=2, restore_best_weights=True)


def test_the_best_is_xgboosts_best_iteration() -> None:
    """After the best is restored, best_iteration, best_score and the trees are those of the best epoch."""
    adapter = XGBoostAdapter([restoring()])
    booster = train(adapter, given={"custom_metric": deteriorating(2)})
    assert run_of(adapter).outcome is Outcome.STOPPED
    assert (booster.num_boosted_rounds(), booster.best_iteration, booster.best_score) == (3, 2, 0.0)
    assert booster.get_dump() == train(rounds=3).get_dump()


def test_the_best_of_a_whole_run_has_no_score() -> None:
    """If no plugin has voted, the score of the best iteration is unknown."""
    booster = train(XGBoostAdapter([restoring()]), rounds=2, given={"custom_metric": deteriorating(0)})
    assert (booster.num_boosted_rounds(), booster.best_iteration) == (1, 0)
    with pytest.raises(AttributeError):
        _ = booster.best_score


def test_nothing_is_called_best_if_nothing_is_put_back() -> None:
    """Without restore_best_weights, the model keeps all rounds, and predictions use them."""
    adapter = XGBoostAdapter([EarlyStopping("valid-distance", mode="min", patience=2)])
    booster = train(adapter, given={"custom_metric": deteriorating(2)})
    assert booster.num_boosted_rounds() == 5
    assert booster.attr("best_iteration") is None


def test_an_estimator_takes_the_adapter() -> None:
    """XGBClassifier trains with plugins, predicts with the best iteration, and can be cloned with its adapter."""
    x, y = arrays()
    adapter = XGBoostAdapter([EarlyStopping("validation_0-logloss", patience=2, restore_best_weights=True)])
    estimator = xgboost.XGBClassifier(n_estimators=50, max_depth=5, learning_rate=0.9, n_jobs=1, callbacks=[adapter])
    copied = clone(estimator)
    estimator.fit(x, y, eval_set=[arrays(2)], verbose=False)
    run = run_of(adapter)
    losses = run.history["validation_0-logloss"]
    assert run.outcome is Outcome.STOPPED
    assert run.epochs == 50
    assert estimator.best_iteration == losses.index(min(losses)) == estimator.get_booster().num_boosted_rounds() - 1
    copied.fit(x, y, eval_set=[arrays(2)], verbose=False)
    assert run_of(adapter) is run
    assert np.array_equal(copied.predict_proba(x), estimator.predict_proba(x))
    assert pickle.loads(pickle.dumps(estimator)).best_iteration == estimator.best_iteration


def test_an_adapter_is_copied_with_its_plugins() -> None:
    """A copy of an adapter, made before or after a run, trains like the original."""
    adapter = XGBoostAdapter([restoring()])
    trained = [model_of(train(one, given={"custom_metric": deteriorating(2)})) for one in (copy.deepcopy(adapter), adapter)]
    again = pickle.loads(pickle.dumps(adapter))
    trained.append(model_of(train(again, given={"custom_metric": deteriorating(2)})))
    assert trained[0] == trained[1] == trained[2]


@pytest.mark.parametrize("place", ["before", "after"])
def test_early_stopping_of_xgboosts_own_hides_nothing(place: str) -> None:
    """Before or after the adapter in the list, it stops the run, the reason names it, and plugins get the last iteration."""
    recording = RecordingPlugin()
    adapter = XGBoostAdapter([recording])
    own = XGBoostEarlyStopping(rounds=2)
    callbacks = [own, adapter] if place == "before" else [adapter, own]
    booster = train(*callbacks, given={"custom_metric": deteriorating(1)})
    check_events(recording.events)
    run = run_of(adapter)
    assert run.outcome is Outcome.STOPPED
    assert [(vote.plugin, vote.message) for vote in run.stop_reasons] == [
        ("xgboost", "a callback of xgboost.train: EarlyStopping(rounds=2)")
    ]
    assert run.history["valid-distance"] == [1.0, 0.0, 1.0, 2.0]
    assert (booster.best_iteration, booster.num_boosted_rounds()) == (1, 4)


@pytest.mark.parametrize("place", ["before", "after"])
def test_early_stopping_of_xgboosts_own_keeps_its_score(place: str) -> None:
    """If a plugin restores the best iteration of XGBoost's own early stopping, the score is kept."""
    adapter = XGBoostAdapter([EarlyStopping("valid-distance", mode="min", patience=9, restore_best_weights=True)])
    own = XGBoostEarlyStopping(rounds=2)
    booster = train(*([own, adapter] if place == "before" else [adapter, own]), given={"custom_metric": deteriorating(1)})
    assert (booster.num_boosted_rounds(), booster.best_iteration, booster.best_score) == (2, 1, 0.0)


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_vote_hides_nothing_from_other_callbacks(place: str) -> None:
    """The iteration after which a plugin votes to stop is the last, and all other callbacks get it."""
    other = At(lambda *_: None)
    adapter = XGBoostAdapter([Acts(lambda run, epoch: run.stop("enough") if epoch == 1 else None)])
    callbacks = [other, adapter] if place == "before" else [adapter, other]
    assert train(*callbacks).num_boosted_rounds() == 2
    assert other.heard == [0, 1]


def test_a_callback_that_stops_before_an_iteration(capfd: pytest.CaptureFixture[str]) -> None:
    """An iteration that another callback prevents is not a step of the run."""
    del capfd

    class Stops(TrainingCallback):  # type: ignore[misc]
        def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            return epoch == 2

    adapter = XGBoostAdapter()
    assert train(adapter, Stops()).num_boosted_rounds() == 2
    run = run_of(adapter)
    assert (run.outcome, run.progress.step, run.history.epochs) == (Outcome.STOPPED, 2, [0, 1])


def test_a_model_that_another_callback_returns_is_the_one_that_is_restored() -> None:
    """If an earlier callback replaces the model after training, the best is restored to the new one."""

    class Replaces(TrainingCallback):  # type: ignore[misc]
        def after_training(self, model: Any) -> Any:
            return model.copy()

    booster = train(Replaces(), XGBoostAdapter([restoring()]), given={"custom_metric": deteriorating(1)})
    assert (booster.num_boosted_rounds(), booster.best_iteration) == (2, 1)
    assert booster.get_dump() == train(rounds=2).get_dump()


def test_training_that_continues_counts_as_xgboost_does() -> None:
    """With xgb_model, the number of the first epoch is the number of its rounds, as in best_iteration."""
    first = train(rounds=3)
    adapter = XGBoostAdapter([restoring()])
    booster = train(adapter, given={"xgb_model": first, "custom_metric": deteriorating(1)})
    run = run_of(adapter)
    assert run.history.epochs == [3, 4, 5, 6]
    assert run.epochs == 3 + 6
    assert (booster.best_iteration, booster.num_boosted_rounds()) == (4, 5)


def test_what_is_evaluated_is_known_as_training_or_validation_data() -> None:
    """Metrics of the training data are training metrics, whatever their name; other data are the run's validation data."""
    seen: list[Any] = []
    adapter = XGBoostAdapter([Acts(lambda run, _: seen.append(run.validation_data))])
    training, other = data(1), data(2)
    xgboost.train(parameters(), training, 1, evals=[(other, "a"), (training, "b")], callbacks=[adapter], verbose_eval=False)
    names = run_of(adapter).metric_names
    assert (names.is_validation("a-logloss"), names.is_validation("b-logloss")) == (True, False)
    assert (names.plain("a-logloss"), names.plain("b-logloss")) == ("logloss", "logloss")
    assert seen == [[(other, "a")]]


@pytest.mark.parametrize("metric", _DIRECTIONS)
def test_directions_are_those_of_xgboosts_early_stopping(metric: str) -> None:
    """A metric of XGBoost, also with a suffix after @, has the direction that XGBoost's EarlyStopping takes."""
    training = data()
    booster = xgboost.Booster(parameters(), [training])
    for name in (metric, *([f"{metric}@3", f"{metric}@3-"] if metric in {"ndcg", "map", "error", "tweedie-nloglik"} else [])):
        own = XGBoostEarlyStopping(rounds=1)
        own.after_iteration(booster, 0, {"valid": {name: [1.0]}})
        assert XGBoostTrainee(booster).direction(f"valid-{name}") == ("max" if own.maximize else "min")


def test_a_metric_of_ones_own_needs_a_mode() -> None:
    """A name that XGBoost does not know is an error that asks for `mode`; it is not minimized silently."""
    with pytest.raises(MetricError, match="monitor='valid-distance' has no known direction"):
        train(XGBoostAdapter([EarlyStopping("valid-distance")]), given={"custom_metric": deteriorating(1)})


def test_a_plugins_default_monitor_is_told_what_there_is() -> None:
    """EarlyStopping() monitors val_loss, which XGBoost lacks: the error lists its metrics."""
    with pytest.raises(MetricError, match="no metric 'val_loss' at the end of epoch 1; there are: train-logloss, valid-logloss"):
        train(XGBoostAdapter([EarlyStopping()]))


@pytest.mark.parametrize("names", [("logloss",), ("distance", "distance")], ids=["XGBoost's", "its own"])
def test_a_metric_of_ones_own_does_not_hide_another(names: tuple[str, ...]) -> None:
    """XGBoost mixes the values of two metrics with the same name: the error has the name, and tells what to do."""
    adapter = XGBoostAdapter([EarlyStopping("valid-logloss")])
    with pytest.raises(
        MetricError, match=rf"two metrics have the name '{names[0]}', as in 'train-{names[0]}', and .*Have custom_metric return"
    ):
        train(adapter, given={"custom_metric": lambda *_: [(name, 0.0) for name in names]})
    assert run_of(adapter).outcome is Outcome.FAILED


# The learning rate


def test_a_rate_is_that_of_the_next_iteration() -> None:
    """LearningRateSchedule grows the trees of XGBoost's own scheduler; the history has the rates, in float32."""
    rates = [0.5, 0.25, 0.1, 0.05]

    def halves(epoch: int, rate: float) -> float:
        del rate
        return rates[epoch]

    adapter = XGBoostAdapter([LearningRateSchedule(halves)])
    booster = train(adapter, rounds=4, learning_rate=0.9)
    own = LearningRateScheduler(lambda epoch: rates[min(epoch + 1, 3)])  # sets it after each iteration
    assert booster.get_dump() == train(own, rounds=4, learning_rate=0.5).get_dump()
    assert run_of(adapter).history.learning_rates == [float(np.float32(rate)) for rate in rates]


def test_a_rate_that_another_callback_sets_is_seen() -> None:
    """If another callback sets the rate, the history has the rate of each iteration."""
    adapter = XGBoostAdapter()
    other = At(lambda model, epoch: model.set_param("learning_rate", 0.25) if epoch == 0 else None)
    train(adapter, other, rounds=2, learning_rate=0.5)
    assert run_of(adapter).history.learning_rates == [0.5, 0.25]


class SetsRate(TrainingCallback):  # type: ignore[misc]
    """Sets the learning rate of each round before it."""

    def __init__(self, rates: list[float]) -> None:
        self.rates = rates

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        del evals_log
        model.set_param("learning_rate", self.rates[epoch])
        return False


class SetsNextRate(TrainingCallback):  # type: ignore[misc]
    """Sets the learning rate of the next round after each round."""

    def __init__(self, rates: list[float]) -> None:
        self.rates = rates

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        del evals_log
        model.set_param("learning_rate", self.rates[epoch + 1])
        return False


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", [SetsRate, SetsNextRate])
def test_the_rate_of_a_round_is_the_one_that_grew_its_trees(kind: Any, *, first: bool) -> None:
    """The history has the rate of each round, whether another callback sets it before or after a round, or before the adapter."""
    rates = [0.5, 0.25, 0.125, 0.0625]
    adapter, other = XGBoostAdapter([]), kind(rates)
    train(*((other, adapter) if first else (adapter, other)), rounds=3, learning_rate=0.5)
    assert run_of(adapter).history.learning_rates == rates[:3]


def test_an_adapter_in_a_training_inside_its_own_is_an_error() -> None:
    """The error tells what to do, and the outer run fails with it."""
    adapter = XGBoostAdapter([RecordingPlugin()])
    nested = At(lambda _, epoch: train(adapter, rounds=2) and None if epoch == 1 else None)
    with pytest.raises(HookcoreError, match=r"another training inside it.* Give the inner training an XGBoostAdapter"):
        train(adapter, nested)
    assert run_of(adapter).outcome is Outcome.FAILED
    inner = At(lambda _, epoch: train(XGBoostAdapter([]), rounds=2) and None if epoch == 1 else None)
    train(adapter, inner)
    assert run_of(adapter).outcome is Outcome.COMPLETED


# What is refused


def test_cv_is_refused() -> None:
    """xgboost.cv trains several models at once: the error tells what to call."""
    with pytest.raises(CapabilityError, match=r"xgboost.cv trains several models at once: call xgboost.train for each fold"):
        xgboost.cv(parameters(), data(), 2, callbacks=[XGBoostAdapter()])


@pytest.mark.parametrize("name", ["gblinear", "dart"])
def test_a_booster_that_cannot_be_cut(name: str, tmp_path: Path) -> None:
    """A plugin that saves it or restores its best is refused before the first iteration; other plugins work."""
    changes: dict[str, Any] = {"booster": name, "verbosity": 0}
    for plugin, refused in ((restoring(), "early_stopping"), (Checkpoint(tmp_path), "checkpoint")):
        with pytest.raises(CapabilityError, match=f"{refused}.*booster='{name}' cannot be cut"):
            train(XGBoostAdapter([plugin]), rounds=2, **changes)
    adapter = XGBoostAdapter([EarlyStopping("valid-logloss"), LearningRateSchedule(lambda _, rate: rate / 2)])
    train(adapter, rounds=2, learning_rate=0.5, **changes)
    assert run_of(adapter).history.learning_rates == [0.25, 0.125]


def test_an_update_is_refused() -> None:
    """process_type='update' adds no trees, so it is refused."""
    with pytest.raises(
        ParameterError, match=r"params has process_type='update', which changes the trees of xgb_model.*Train without"
    ):
        train(XGBoostAdapter(), given={"xgb_model": train(rounds=2)}, process_type="update", updater="refresh", verbosity=0)


def test_save_best_is_refused() -> None:
    """XGBoost's EarlyStopping(save_best=True) would cut the model too: the error tells what to use."""
    own = XGBoostEarlyStopping(rounds=2, save_best=True)
    with pytest.raises(ParameterError, match=r"Leave out save_best, and use EarlyStopping\(restore_best_weights=True\)"):
        train(XGBoostAdapter(), own)


def test_data_of_one_name_are_refused() -> None:
    """XGBoost mixes the metrics of two data sets with the same name, so they are refused."""
    with pytest.raises(
        ParameterError, match=r"evals has two data sets with the same name, \['valid', 'valid'\], .*different name"
    ):
        train(XGBoostAdapter(), given={"evals": [(data(1), "valid"), (data(2), "valid")]})


def test_a_second_adapter_is_refused() -> None:
    """Two adapters would cut and save the same model: the error tells to pass all plugins to one."""
    with pytest.raises(ParameterError, match="more than one XGBoostAdapter"):
        train(XGBoostAdapter(), XGBoostAdapter())


# Errors


def test_an_adapter_can_be_copied_after_an_error() -> None:
    """After an error of a plugin or of another callback, the adapter and its copies have a failed run."""

    def fail(*_: Any) -> None:
        raise RuntimeError("of another callback")

    lacking = XGBoostAdapter([EarlyStopping("valid-lacking", mode="min")])
    with pytest.raises(MetricError):
        train(lacking)
    adapter = XGBoostAdapter([restoring()])
    with pytest.raises(RuntimeError, match="of another callback"):
        train(adapter, At(fail), given={"custom_metric": deteriorating(2)})
    for one in (lacking, adapter):
        for copied in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
            assert copied.run is None or copied.run.outcome is Outcome.FAILED
        assert run_of(one).outcome is Outcome.FAILED


def test_after_an_error_of_others_ctrl_c_is_pythons() -> None:
    """An error in another callback reaches the caller; Ctrl-C is no longer delayed, and the run has failed."""

    def fail(*_: Any) -> None:
        raise RuntimeError("of another callback")

    adapter = XGBoostAdapter()
    with pytest.raises(RuntimeError, match="of another callback"):
        train(adapter, At(fail))
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    failed = run_of(adapter)
    train(adapter)
    assert (failed.outcome, run_of(adapter).outcome) == (Outcome.FAILED, Outcome.COMPLETED)


# A loop of one's own


def test_a_loop_of_ones_own_takes_the_trainee(tmp_path: Path) -> None:
    """A `Loop` that calls Booster.update saves checkpoints, and notices a rate that its body sets."""
    training = data()
    booster = xgboost.Booster(parameters(learning_rate=0.5), [training])
    with Loop([Checkpoint(tmp_path)], epochs=3, trainee=XGBoostTrainee(booster), model=booster) as loop:
        for epoch in loop.epochs():
            booster.update(training, epoch)
            loop.log(loss=0.0)
            if epoch == 1:
                booster.set_param("learning_rate", 0.25)
    assert loop.run.history.learning_rates == [0.5, 0.25, 0.25]
    saved = xgboost.Booster(model_file=Checkpoint(tmp_path).newest().path / "model.ubj")
    assert saved.get_dump() == booster.get_dump()


def test_a_booster_without_data_is_refused() -> None:
    """A booster that was made without data is an error that tells how to make it."""
    with pytest.raises(
        ParameterError, match=r"cannot be configured.*Make it with Booster\(params, \[data\]\), and keep a reference"
    ):
        XGBoostTrainee(xgboost.Booster(parameters()))
