"""Resumed runs of XGBoost, and snapshots that rely on the trees of the model."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xgboost
from xgboost.callback import EarlyStopping as XGBoostEarlyStopping

from hookcore import CheckpointError, Outcome, ParameterError, Run, store
from hookcore_adapters.xgboost import XGBoostAdapter, XGBoostTrainee
from hookcore_plugins import Checkpoint, EarlyStopping, LearningRateSchedule
from tests.adapters.xgboost.models import ROUNDS, Acts, At, arrays, data, deteriorating, model_of, parameters, run_of, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def saving(directory: Path, **given: Any) -> Checkpoint:
    return Checkpoint(directory, keep_last=None, asynchronous=False, **given)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tree_method": "exact"},
        {"tree_method": "approx", "max_delta_step": 0.7},
        {"objective": "reg:absoluteerror"},
        {"num_parallel_tree": 2},
        {"objective": "multi:softprob", "num_class": 3, "multi_strategy": "multi_output_tree", "tree_method": "hist"},
    ],
    ids=lambda changes: next(map(str, changes.values()), "default"),
)
def test_a_run_resumed_from_any_round_is_the_same(changes: dict[str, Any], tmp_path: Path) -> None:
    """The model, the evaluations and the rates are those of an uninterrupted run, to the last bit."""
    schedule = LearningRateSchedule(lambda _, rate: rate * 0.9)
    whole = XGBoostAdapter([schedule, saving(tmp_path)])
    expected = model_of(train(whole, **changes))
    saved = store.available(tmp_path)
    assert len(saved) == ROUNDS
    for checkpoint in saved:
        resumed = XGBoostAdapter([schedule], resume=checkpoint.path)
        assert model_of(train(resumed, **changes)) == expected
        assert run_of(resumed).history.state_dict() == run_of(whole).history.state_dict()


def test_an_objective_that_draws_continues_its_draws(tmp_path: Path) -> None:
    """In a resumed run, an objective draws the same numbers from NumPy's global generator as in an uninterrupted one."""

    def noisy(predicted: Any, given: Any) -> tuple[Any, Any]:
        noise = np.random.normal(size=predicted.shape)  # noqa: NPY002 - the global one
        return predicted - given.get_label() + noise, np.ones_like(predicted)

    np.random.seed(3)  # noqa: NPY002
    expected = model_of(train(XGBoostAdapter([saving(tmp_path)]), given={"obj": noisy}))
    for checkpoint in store.available(tmp_path)[:2]:
        np.random.seed(4)  # noqa: NPY002
        assert model_of(train(XGBoostAdapter([], resume=checkpoint.path), given={"obj": noisy})) == expected


def test_rounds_are_those_of_the_whole_run(tmp_path: Path) -> None:
    """num_boost_round, also of an estimator, includes the rounds of the checkpoint; with as many, nothing is trained."""
    x, y = arrays()

    def fit(rounds: int) -> Any:
        adapter = XGBoostAdapter([Checkpoint(tmp_path)], resume="auto")
        estimator = xgboost.XGBClassifier(n_estimators=rounds, n_jobs=1, callbacks=[adapter])
        return estimator.fit(x, y, eval_set=[arrays(2)], verbose=False).get_booster()

    assert [fit(rounds).num_boosted_rounds() for rounds in (2, 4, 4, 3)] == [2, 4, 4, 4]


def test_rounds_of_a_run_that_continues_a_model(tmp_path: Path) -> None:
    """With xgb_model, num_boost_round counts the rounds after it, also in a resumed run."""
    given: dict[str, Any] = {"xgb_model": train(rounds=2)}
    expected = model_of(train(rounds=3, given=given))
    train(XGBoostAdapter([saving(tmp_path)]), rounds=2, given=given)
    resumed = XGBoostAdapter([], resume=tmp_path)
    assert model_of(train(resumed, rounds=3, given=given)) == expected
    assert run_of(resumed).history.epochs == [2, 3, 4]


def test_parameters_are_those_that_are_given_now(tmp_path: Path) -> None:
    """A resumed run has the trees and the rate of the checkpoint, and otherwise the parameters of its own call."""
    train(XGBoostAdapter([saving(tmp_path)]), rounds=2, learning_rate=0.5)
    booster = train(XGBoostAdapter([], resume=tmp_path), rounds=3, learning_rate=0.1, max_depth=1)
    trees = [len(tree.splitlines()) for tree in booster.get_dump()]
    assert trees[2] == 3 < trees[0]
    rate = train(At(lambda model, epoch: model.set_param("max_depth", 1) if epoch == 1 else None), rounds=3, learning_rate=0.5)
    assert booster.get_dump() == rate.get_dump()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": "reg:squarederror"}, "objective is binary:logistic in the checkpoint and reg:squarederror now"),
        ({"num_parallel_tree": 2}, "num_parallel_tree is 1 in the checkpoint and 2 now"),
        ({"base_score": 0.9}, r"base_score is \[4.+\] in the checkpoint and \[9E-1\] now"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_parameters_that_xgboost_would_take_from_the_checkpoint_are_refused(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """XGBoost would silently use those of the model instead of the ones that are passed now."""
    train(XGBoostAdapter([saving(tmp_path)]), rounds=2)
    with pytest.raises(CheckpointError, match=f"the checkpoint is of another model: {said}"):
        train(XGBoostAdapter([], resume=tmp_path), rounds=3, **changes)


def test_sampling_is_named_as_inexact(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If rows or columns are drawn at random, the log of a resumed run warns that later rounds differ."""
    changes: dict[str, Any] = {"subsample": 0.5, "colsample_bynode": 0.75}
    train(XGBoostAdapter([saving(tmp_path)]), rounds=1, **changes)
    with caplog.at_level(logging.WARNING, "hookcore"):
        train(XGBoostAdapter([], resume=tmp_path), rounds=2, **changes)
    assert "resumed after round 1: with colsample_bynode=0.75, subsample=0.5 a round depends on a state" in caplog.text


def test_ranking_by_pairs_is_named_as_inexact() -> None:
    """Random pairs and the bias of positions are not part of a saved model; the top pairs follow from the ranking."""
    x, y = arrays()
    queries = xgboost.DMatrix(x, y, qid=np.repeat(np.arange(8), 10))

    def drawing(**changes: Any) -> list[str]:
        return XGBoostTrainee(xgboost.Booster(parameters(objective="rank:ndcg", **changes), [queries])).drawing

    assert drawing(lambdarank_pair_method="topk") == []
    changes: dict[str, Any] = {"lambdarank_pair_method": "mean", "lambdarank_unbiased": True}
    assert drawing(**changes) == ["lambdarank_pair_method=mean", "lambdarank_unbiased=1"]


def test_a_resumed_run_wants_the_adapter_first(tmp_path: Path) -> None:
    """An earlier callback would read the rounds of a model that is not restored yet, so it is refused by name."""
    train(XGBoostAdapter([saving(tmp_path)]), rounds=1)
    own = XGBoostEarlyStopping(rounds=2)
    with pytest.raises(ParameterError, match=r"the XGBoostAdapter must be the first of callbacks, and .*EarlyStopping"):
        train(own, XGBoostAdapter([], resume=tmp_path), rounds=2)
    booster = train(XGBoostAdapter([], resume=tmp_path), own, rounds=3)
    assert booster.best_iteration in {1, 2}


# What XGBoost itself stops


@pytest.mark.parametrize(
    "stopping",
    [lambda: {"early_stopping_rounds": 2}, lambda: {"callbacks": [XGBoostEarlyStopping(rounds=2, data_name="valid")]}],
    ids=["early_stopping_rounds", "EarlyStopping"],
)
def test_a_run_that_xgboost_has_stopped_stays_stopped(stopping: Callable[[], dict[str, Any]], tmp_path: Path) -> None:
    """The same call, made again with resume="auto", trains nothing, and returns the same model with its best iteration."""
    found = []
    for _ in range(2):
        adapter = XGBoostAdapter([saving(tmp_path)], resume="auto")
        given = {"custom_metric": deteriorating(2), **stopping()}
        given["callbacks"] = [adapter, *given.get("callbacks", [])]
        booster = train(rounds=20, given=given)
        run = run_of(adapter)
        found.append((model_of(booster), booster.attributes(), run.outcome, run.stop_reasons, run.history.state_dict()))
    assert found[0] == found[1]
    assert found[0][1] == {"best_iteration": "2", "best_score": "0.0"}
    assert found[0][2] is Outcome.STOPPED
    assert [vote.plugin for vote in found[0][3]] == ["xgboost"]


def test_a_run_that_xgboost_has_stopped_continues_with_another_early_stopping(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """XGBoost's vote is dropped, as that of a plugin with other parameters would be, and the log has both reasons."""
    trained = []
    for patience in (2, 4):
        adapter = XGBoostAdapter([saving(tmp_path)], resume="auto")
        given = {"custom_metric": deteriorating(2), "early_stopping_rounds": patience}
        trained.append(train(adapter, rounds=8, given=given).num_boosted_rounds())
    assert trained == [5, 8]
    before, now = (f"'a callback of xgboost.train: EarlyStopping(rounds={patience})'" for patience in (2, 4))
    assert f"stopped by xgboost and continues: the reason was {before}, and is now {now}" in caplog.text


@pytest.mark.parametrize("best", [2, ROUNDS - 1])
def test_a_whole_run_that_is_resumed_has_xgboosts_best(best: int, tmp_path: Path) -> None:
    """If nothing is left to train, best_iteration and best_score are those of the first call."""
    found = []
    for _ in range(2):
        adapter = XGBoostAdapter([saving(tmp_path)], resume="auto")
        given = {"custom_metric": deteriorating(best), "early_stopping_rounds": 9}
        found.append(train(adapter, given=given).attributes())
    assert found == [{"best_iteration": str(best), "best_score": "0.0"}] * 2


def test_the_best_that_a_plugin_restores_keeps_its_score_in_a_run_that_is_resumed(tmp_path: Path) -> None:
    """If a plugin restores the best iteration of XGBoost's own early stopping, both calls have the same score."""
    found = []
    for _ in range(2):
        best = EarlyStopping("valid-distance", mode="min", patience=9, restore_best_weights=True)
        adapter = XGBoostAdapter([saving(tmp_path), best], resume="auto")
        booster = train(adapter, rounds=20, given={"custom_metric": deteriorating(2), "early_stopping_rounds": 2})
        found.append((booster.num_boosted_rounds(), booster.attributes()))
    assert found == [(3, {"best_iteration": "2", "best_score": "0.0"})] * 2


def test_a_checkpoint_has_what_callbacks_did_after_its_iteration(tmp_path: Path) -> None:
    """A rate that another callback sets after an iteration is that of the next one, also in a resumed run."""

    def others() -> At:
        return At(lambda model, _: model.set_param("learning_rate", 0.5 / (1 + model.num_boosted_rounds())))

    expected = train(others())
    train(XGBoostAdapter([saving(tmp_path)]), others(), rounds=3)
    resumed = train(XGBoostAdapter([saving(tmp_path)], resume="auto"), others())
    assert resumed.get_dump() == expected.get_dump()


# Snapshots


def grown(rounds: int, trainee: XGBoostTrainee, training: Any) -> None:
    for _ in range(rounds):
        trainee.booster.update(training, trainee.booster.num_boosted_rounds())


def test_a_snapshot_of_rounds_survives_what_happens_to_the_forest() -> None:
    """A snapshot without the optimizer's state does not change when the model is cut to fewer rounds and grows again."""
    training = data()
    trainee = XGBoostTrainee(xgboost.Booster(parameters(), [training]))
    taken = []
    for _ in range(4):
        taken.append((trainee.snapshot(optimizer=False), trainee.booster.get_dump()))
        grown(1, trainee, training)
    assert sum(one.nbytes > 0 for one, _ in taken) == 1  # that of no rounds, which XGBoost cannot slice
    whole, whole_trees = trainee.snapshot(), trainee.booster.get_dump()
    for snapshot, trees in (taken[2], taken[3], taken[1]):
        trainee.restore(snapshot)
        assert trainee.booster.get_dump() == trees
    trainee.learning_rate = 0.01
    grown(3, trainee, training)
    other = trainee.snapshot(optimizer=False), trainee.booster.get_dump()
    for snapshot, trees in (taken[3], other, taken[0]):
        trainee.restore(snapshot)
        assert trainee.booster.get_dump() == trees
    grown(2, trainee, training)
    shorter = trainee.snapshot(optimizer=False), trainee.booster.get_dump()
    for snapshot, trees in ((whole, whole_trees), shorter):  # the whole has more rounds, and other trees
        trainee.restore(snapshot)
        assert trainee.booster.get_dump() == trees


def test_training_continues_with_its_parameters_after_a_restore() -> None:
    """After a plugin restores earlier trees within a run, the next ones are grown with the parameters of the run."""
    taken: list[Any] = []

    def act(run: Run, epoch: int) -> None:
        if epoch == 1:
            taken.append(run.trainee.snapshot(optimizer=False))
        if epoch == 3:
            run.trainee.restore(taken[0])

    booster = train(XGBoostAdapter([Acts(act, needs=("snapshot",))]), rounds=6, max_depth=1)
    assert booster.get_dump() == train(rounds=4, max_depth=1).get_dump()


def test_rounds_alone_are_not_written(tmp_path: Path) -> None:
    """`write` refuses a snapshot without trees, unless a checkpoint holds it together with the model."""
    training = data()
    trainee = XGBoostTrainee(xgboost.Booster(parameters(), [training]))
    grown(1, trainee, training)
    with pytest.raises(CheckpointError, match=r"XGBoostTrainee: Forest\(rounds=1.* holds no trees"):
        trainee.write(trainee.snapshot(optimizer=False), tmp_path)
