"""Checkpoints of LightGBM's forests, and runs that resume from them."""

from __future__ import annotations

import inspect
import logging
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import pytest

from hookcore import CapabilityError, CheckpointError, Engine, HookcoreError, Outcome, Run, hookimpl, store
from hookcore_adapters.lightgbm import train
from hookcore_plugins import Checkpoint, EarlyStopping, LearningRateSchedule
from tests.adapters.lightgbm.harness import samples
from tests.adapters.lightgbm.trainings import PARAMS, both, by_callback, by_train, data, trees

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def checkpointed(directory: Path, rounds: int, params: Mapping[str, Any], **given: Any) -> Any:
    engine = Engine([Checkpoint(directory, monitor="valid_0-l2", keep_last=None)])
    booster = train({**PARAMS, **params}, num_boost_round=rounds, plugins=engine, **data(**given))
    return booster, engine.run


def test_a_rate_of_many_digits_is_resumed_under_any_name(tmp_path: Path) -> None:
    """A resumed run has every digit of the rate, although the text of a model has only six."""

    def scheduled(rounds: int, directory: Path, *, resume: Any = False) -> Any:
        plugins = [LearningRateSchedule(lambda _, rate: rate / 1.7), Checkpoint(directory, monitor="valid_0-l2")]
        engine = Engine(plugins)
        booster = train({**PARAMS, "eta": 0.3}, num_boost_round=rounds, plugins=engine, resume=resume, **data())
        assert engine.run is not None
        return trees(booster), engine.run.history.state_dict()["learning_rates"]

    whole = scheduled(6, tmp_path / "whole")
    scheduled(3, tmp_path / "cut")
    assert scheduled(6, tmp_path / "cut", resume="auto") == whole


@both
@pytest.mark.parametrize(
    ("hook", "iteration", "votes"),
    [("on_train_begin", 0, False), ("on_epoch_begin", 0, False), ("on_epoch_begin", 2, False), ("on_epoch_begin", 1, True)],
)
def test_a_run_cut_at_a_beginning_resumes_with_what_follows(
    trains: Callable[..., Any], hook: str, iteration: int, *, votes: bool, tmp_path: Path
) -> None:
    """A resumed run trains the iteration that had begun, also the last one, and one with a vote at its beginning."""
    cuts = True

    def act(run: Run) -> None:
        if run.progress.epoch == iteration:
            if votes:
                run.stop("asked to")
            if cuts:
                run.interrupt(KeyboardInterrupt())

    def plugins() -> tuple[object, object]:
        acting = SimpleNamespace(name="acting", **{hook: hookimpl(act)})
        return acting, Checkpoint(tmp_path, monitor="valid_0-l2", every_n_epochs=9)

    with pytest.raises(KeyboardInterrupt):
        trains({}, 3, *plugins())
    (saved,) = store.available(tmp_path)
    assert lightgbm.Booster(model_file=saved.path / "model.txt").current_iteration() == saved.step == iteration
    cuts = False
    resumed = by_train({}, 3, *plugins(), resume=tmp_path)
    assert trees(resumed) == trees(by_train({}, 2 if votes else 3))


@both
def test_a_run_cut_at_its_beginning_keeps_the_forest_that_it_began_with(trains: Callable[..., Any], tmp_path: Path) -> None:
    """A checkpoint of the beginning has the trees of the `init_model` and no others."""
    before = lightgbm.train(PARAMS, num_boost_round=2, **data())
    cutting = SimpleNamespace(name="cutting", on_train_begin=hookimpl(lambda run: run.interrupt(KeyboardInterrupt())))
    with pytest.raises(KeyboardInterrupt):
        trains({}, 3, cutting, Checkpoint(tmp_path, monitor="valid_0-l2"), init_model=before)
    (saved,) = store.available(tmp_path)
    assert trees(lightgbm.Booster(model_file=saved.path / "model.txt")) == trees(before)


def test_the_best_that_a_checkpoint_holds_is_put_back(tmp_path: Path) -> None:
    """A resumed run restores a best from before its checkpoint, as an uninterrupted run does."""
    params = {"learning_rate": 0.9}

    def stopping(rounds: int, *, resume: Any = False) -> Any:
        plugins = [
            EarlyStopping("valid_0-l2", patience=4, restore_best_weights=True),
            Checkpoint(tmp_path, monitor="valid_0-l2", every_n_epochs=best + 2),
        ]
        return by_train(params, rounds, *plugins, resume=resume)

    best = by_train(params, 40, EarlyStopping("valid_0-l2", patience=4, restore_best_weights=True)).best_iteration
    whole = stopping(best + 2)
    (held,) = (tmp_path / f"step-{best + 2:08}" / "held").rglob("model.txt")
    assert lightgbm.Booster(model_file=held).current_iteration() == whole.best_iteration == best
    resumed = stopping(40, resume="auto")
    assert resumed.best_iteration == resumed.num_trees() == best
    assert trees(resumed) == trees(whole)


def test_a_snapshot_of_no_tree_stays_one(tmp_path: Path) -> None:
    """A snapshot from before the first iteration has no tree in a later checkpoint either."""

    class Holding:
        held: Any = None

        @hookimpl
        def on_train_begin(self, run: Run) -> None:
            self.held = run.trainee.snapshot(optimizer=False)

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            pass

        def snapshots(self) -> dict[str, Any]:
            return {"begin": self.held}

        def load_snapshots(self, snapshots: Mapping[str, Any]) -> None:
            pass

    by_train({}, 2, Holding(), Checkpoint(tmp_path, monitor="valid_0-l2"))
    (held,) = (tmp_path / "step-00000002" / "held").rglob("model.txt")
    assert "Tree=0" not in held.read_text()


def test_a_longer_run_resumes_to_the_same_forest(tmp_path: Path) -> None:
    """A resumed run grows the forest of an uninterrupted one, with an `init_model`, and also if nothing is left to train."""
    before = lightgbm.train(PARAMS, num_boost_round=2, **data())
    whole, _ = checkpointed(tmp_path / "whole", 6, {}, init_model=before)
    checkpointed(tmp_path / "cut", 3, {}, init_model=before)
    resumed, run = checkpointed(tmp_path / "cut", 6, {}, init_model=before, resume="auto")
    assert (run.resumed_from.step, run.outcome, len(run.history)) == (3, Outcome.COMPLETED, 6)
    assert trees(resumed) == trees(whole)
    assert resumed.current_iteration() == 8
    again, run = checkpointed(tmp_path / "cut", 6, {}, init_model=before, resume="auto")
    assert trees(again) == trees(whole)
    assert again.best_score == whole.best_score
    loaded = lightgbm.Booster(model_file=tmp_path / "whole" / "step-00000006" / "model.txt")
    assert np.array_equal(loaded.predict(samples(3)[0]), whole.predict(samples(3)[0]))


def test_what_the_callback_saves_train_resumes(tmp_path: Path) -> None:
    """If Ctrl-C cuts an iteration, the checkpoint of the callback has forest and record of before it, and `train` resumes."""

    def objective(predicted: Any, data: Any) -> tuple[Any, Any]:
        calls.append(len(calls))
        if len(calls) == interrupted:
            signal.raise_signal(signal.SIGINT)
        return predicted - data.get_label(), np.ones_like(predicted)

    calls: list[int] = []
    interrupted = 3
    engine = Engine([Checkpoint(tmp_path, monitor="valid_0-l2", every_n_epochs=10)])
    with pytest.raises(KeyboardInterrupt):
        by_callback({"objective": objective, "metric": "l2"}, 6, engine)
    assert engine.run is not None
    assert (engine.run.outcome, engine.run.progress.step) == (Outcome.INTERRUPTED, 2)
    assert lightgbm.Booster(model_file=tmp_path / "step-00000002" / "model.txt").current_iteration() == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    interrupted = 0
    resumed = by_train({"objective": objective, "metric": "l2"}, 6, engine, resume="auto")
    assert trees(resumed) == trees(by_train({"objective": objective, "metric": "l2"}, 6))


def test_train_takes_what_lightgbms_takes() -> None:
    """The parameters of `lightgbm.train` come first, in the same order and with the same defaults."""
    theirs, ours = (inspect.signature(function).parameters for function in (lightgbm.train, train))
    defaults = {name: parameter.default for name, parameter in theirs.items()}
    assert list(ours)[: len(theirs)] == list(theirs)
    assert {name: ours[name].default for name in theirs} == defaults


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"subsample": 0.5, "subsample_freq": 1}, "bagging_fraction=0.5"),
        ({"colsample_bytree": 0.5}, "feature_fraction=0.5"),
        ({"boosting": "goss"}, "data_sample_strategy=goss"),
        ({"extra_trees": True}, "extra_trees=1"),
        ({"linear_tree": True}, "linear_tree=1"),
    ],
)
def test_what_no_checkpoint_can_hold_is_warned_of(
    params: Mapping[str, Any], named: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that saves and draws random numbers, or rounds differently, warns that a resumed one grows other trees."""
    with caplog.at_level(logging.WARNING, "hookcore"):
        checkpointed(tmp_path, 1, params)
    assert [record.getMessage().rpartition("with ")[2] for record in caplog.records] == [named]


def test_the_bias_of_positions_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A resumed run estimates the bias of positions again, because a model does not have it: the log warns."""
    x, _ = samples(1)
    ranked = lightgbm.Dataset(x, np.arange(len(x)) % 3, group=[len(x)], position=np.arange(len(x)))
    params = {**PARAMS, "objective": "lambdarank"}
    with caplog.at_level(logging.WARNING, "hookcore"):
        train(params, ranked, 1, plugins=[Checkpoint(tmp_path)])
    assert [record.getMessage().rpartition("with ")[2] for record in caplog.records] == ["position=[...]"]


def test_bagging_without_a_frequency_is_exact(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """LightGBM ignores a bagging fraction whose frequency is 0, so there is no warning."""
    with caplog.at_level(logging.WARNING, "hookcore"):
        checkpointed(tmp_path, 1, {"bagging_fraction": 0.5})
    assert not caplog.records


def test_another_callback_begins_again_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No checkpoint has the state of LightGBM's own callbacks: they start over, and the log warns."""
    checkpointed(tmp_path, 1, {})
    with caplog.at_level(logging.WARNING, "hookcore"):
        checkpointed(tmp_path, 2, {}, resume="auto", callbacks=[lightgbm.record_evaluation({})])
    assert "callbacks start over in a resumed run" in caplog.text


def test_a_checkpoint_is_not_continued_by_what_cannot(tmp_path: Path) -> None:
    """Resuming with DART, which would drop trees of the checkpoint, is refused, even without a plugin that needs it."""
    checkpointed(tmp_path, 1, {})
    with pytest.raises(CapabilityError, match="step-00000001 cannot be resumed: boosting='dart'"):
        by_train({"boosting": "dart"}, 2, resume=tmp_path)


def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    """A damaged file of the checkpoint is an error that names the checkpoint, before anything is trained."""
    checkpointed(tmp_path, 1, {})
    (tmp_path / "step-00000001" / "training.json").write_text("{}")
    with pytest.raises(HookcoreError, match="step-00000001"):
        by_train({}, 2, resume=tmp_path / "step-00000001")


def test_another_objective_is_refused(tmp_path: Path) -> None:
    """LightGBM would mix trees of two objectives: the error names both."""
    by_train({}, 2, Checkpoint(tmp_path, monitor="valid_0-l2"))
    with pytest.raises(CheckpointError, match="forest with objective='regression', and params have 'regression_l1'"):
        by_train({"objective": "l1"}, 3, resume=tmp_path)


def test_a_metric_that_is_new_in_a_resumed_run_has_its_direction(tmp_path: Path) -> None:
    """A metric that the checkpoint lacks has LightGBM's direction in a resumed run."""
    by_train({}, 2, Checkpoint(tmp_path, monitor="valid_0-l2"))
    engine = Engine([EarlyStopping("valid_0-l1", missing="skip")])
    by_train({"metric": ["l1", "l2"]}, 4, engine, resume=tmp_path)
    assert engine.run is not None
    assert engine.run.outcome is Outcome.COMPLETED


# What LightGBM itself stops


STOPPING: list[Callable[[], dict[str, Any]]] = [
    lambda: {"params": {"early_stopping_round": 2}},
    lambda: {"callbacks": [lightgbm.early_stopping(2, verbose=False)]},
]


@pytest.mark.parametrize("stopping", STOPPING, ids=["parameter", "callback"])
@pytest.mark.parametrize("keep_training_booster", [False, True])
def test_a_run_that_lightgbm_has_stopped_stays_stopped(
    stopping: Callable[[], dict[str, Any]], *, keep_training_booster: bool, tmp_path: Path
) -> None:
    """The same call, made again with resume="auto", trains nothing, and returns the same forest with its best iteration."""
    found = []
    for _ in range(2):
        given = stopping()
        params = {"learning_rate": 0.9, **given.pop("params", {})}
        given["keep_training_booster"] = keep_training_booster
        booster, run = checkpointed(tmp_path, 40, params, resume="auto", **given)
        kept = trees(booster), booster.num_trees(), booster.best_iteration, booster.best_score
        found.append((*kept, run.outcome, run.stop_reasons, run.history.state_dict()))
    assert found[0] == found[1]
    assert found[0][4] is Outcome.STOPPED
    assert [vote.plugin for vote in found[0][5]] == ["lightgbm"]
    assert 0 < found[0][2] < len(run.history)


def test_a_run_that_lightgbm_has_stopped_continues_with_another_early_stopping(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """LightGBM's vote is dropped, as that of a plugin with other parameters would be, and the log has both reasons."""
    _, run = checkpointed(tmp_path, 40, {"learning_rate": 0.9, "early_stopping_round": 2}, resume="auto")
    with caplog.at_level(logging.WARNING, "hookcore"):
        _, longer = checkpointed(tmp_path, 40, {"learning_rate": 0.9, "n_iter_no_change": 4}, resume="auto")
    assert len(longer.history) > len(run.history)
    before, now = (f"'a callback of lightgbm.train: early_stopping(stopping_rounds={patience})'" for patience in (2, 4))
    assert f"stopped by lightgbm and continues: the reason was {before}, and is now {now}" in caplog.text


def test_a_whole_run_that_is_resumed_has_lightgbms_best(tmp_path: Path) -> None:
    """If nothing is left to train, the forest is cut to LightGBM's best iteration, as in the first call."""
    params = {"learning_rate": 0.9, "early_stopping_round": 2}
    _, stopped = checkpointed(tmp_path / "stopped", 40, params)
    rounds = len(stopped.history) - 1
    found = []
    for _ in range(2):
        booster, run = checkpointed(tmp_path / "whole", rounds, params, resume="auto")
        found.append((trees(booster), booster.num_trees(), booster.best_iteration, booster.best_score, run.outcome))
    assert found[0] == found[1]
    assert found[0][1:3] == (rounds - 1, rounds - 1)
    assert found[0][4] is Outcome.COMPLETED
