"""`SklearnTrainee`: rates, snapshots and checkpoints of estimators."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import skops.io
from sklearn.base import clone
from sklearn.cluster import Birch, MiniBatchKMeans
from sklearn.linear_model import Perceptron, SGDClassifier, SGDRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import BernoulliRBM, MLPClassifier
from sklearn.utils import check_random_state

from hookcore import CapabilityError, CheckpointError
from hookcore.trainee import learning_rate_in
from hookcore_adapters.loop import Loop
from hookcore_adapters.sklearn import Batches, SklearnTrainee, fit
from hookcore_plugins import Checkpoint, LearningRateSchedule, ReduceLROnPlateau
from tests.adapters.sklearn.states import state_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

rng = np.random.default_rng(0)
X = rng.normal(size=(12, 3))
Y = np.arange(12) % 3


def network(**more: Any) -> Any:
    return MLPClassifier(**{"hidden_layer_sizes": (3,), "random_state": 1, **more})


def trained(estimator: Any, calls: int = 2) -> SklearnTrainee:
    for _ in range(calls):
        estimator.partial_fit(X, Y, **({"classes": [0, 1, 2]} if hasattr(estimator, "predict_proba") else {}))
    return SklearnTrainee(estimator)


# The learning rate


@pytest.mark.parametrize("solver", [{"solver": "adam"}, {"solver": "sgd", "momentum": 0.0}], ids=["adam", "sgd"])
def test_a_rate_that_is_set_trains_a_network_from_the_next_batch(solver: dict[str, Any]) -> None:
    """Of two equal networks in training, the one whose rate is doubled moves twice as far."""
    moved = []
    for factor in (1, 2):
        trainee = trained(network(learning_rate_init=0.125, **solver))
        trainee.learning_rate *= factor
        assert trainee.learning_rate == trainee.estimator.learning_rate_init == 0.125 * factor
        before = trainee.estimator.coefs_[0].copy()
        trainee.estimator.partial_fit(X, Y)
        moved.append(trainee.estimator.coefs_[0] - before)
    np.testing.assert_allclose(moved[1], 2 * moved[0])
    assert np.abs(moved[0]).max() > 0


@pytest.mark.parametrize(
    ("make", "rate"),
    [
        (lambda: SGDRegressor(learning_rate="constant", eta0=0.5, random_state=1), 0.5),
        (lambda: Perceptron(eta0=0.25), 0.25),
        (lambda: BernoulliRBM(2, learning_rate=0.125, random_state=1), 0.125),
    ],
)
def test_a_rate_that_is_set_is_the_one_that_trains(make: Callable[[], Any], rate: float) -> None:
    """An estimator whose rate is halved trains like one that was made with half the rate."""
    trainee, other = SklearnTrainee(make()), make()
    assert trainee.lacks("learning_rate") is None
    assert trainee.learning_rate == rate
    trainee.learning_rate = rate / 2
    other.set_params(**{"learning_rate" if isinstance(other, BernoulliRBM) else "eta0": rate / 2})
    for estimator in (trainee.estimator, other):
        estimator.partial_fit(X, Y, **({"classes": [0, 1, 2]} if isinstance(estimator, Perceptron) else {}))
    assert state_of(trainee.estimator) == state_of(other)


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (SGDClassifier(), r"SGDClassifier\(learning_rate='optimal'\) computes the learning rate itself.*'constant', eta0="),
        (SGDRegressor(), r"SGDRegressor\(learning_rate='invscaling'\) computes"),
        (network(solver="sgd", learning_rate="adaptive"), r"'adaptive'\) computes.*'constant', learning_rate_init="),
        (MiniBatchKMeans(2), "MiniBatchKMeans has no learning rate"),
        (GaussianNB(), "GaussianNB has no learning rate"),
    ],
)
def test_who_sets_a_rate_that_no_plugin_can_set_is_refused(estimator: Any, reason: str) -> None:
    """A plugin that sets it is refused before the first batch, and logs have no such column."""
    with pytest.raises(CapabilityError, match=f"(?s)reduce_lr_on_plateau.*{reason}"):
        fit(estimator, X, Y, epochs=1, plugins=[ReduceLROnPlateau("score")])
    assert learning_rate_in(SklearnTrainee(estimator)) is None


def test_adam_has_a_rate_whatever_the_schedule_is_called() -> None:
    """scikit-learn uses the parameter `learning_rate` only with solver='sgd', so the rate of Adam can be set."""
    fit(network(learning_rate="adaptive"), X, Y, epochs=1, plugins=[LearningRateSchedule(lambda _, rate: rate / 2)])


# Snapshots and checkpoints


def test_a_snapshot_of_the_weights_leaves_the_rest() -> None:
    """Restoring the weights leaves the rate and the optimizer's moments unchanged."""
    trainee = trained(network())
    weights = trainee.snapshot(optimizer=False)
    kept = trainee.estimator.coefs_[0].copy()
    trainee.estimator.partial_fit(X, Y)
    trainee.learning_rate = 0.5
    optimizer = state_of(trainee.estimator._optimizer)
    trainee.restore(weights)
    assert np.array_equal(trainee.estimator.coefs_[0], kept)
    assert trainee.learning_rate == trainee.estimator.learning_rate_init == 0.5
    assert state_of(trainee.estimator._optimizer) == optimizer


def test_a_snapshot_may_be_restored_again() -> None:
    """Training after a restore does not change the snapshot."""
    trainee = trained(network())
    snapshot, before = trainee.snapshot(), state_of(trainee.estimator)
    for _ in range(2):
        trainee.estimator.partial_fit(X, Y)
        trainee.restore(snapshot)
        assert state_of(trainee.estimator) == before


def test_a_checkpoint_is_opened_by_skops_alone(tmp_path: Path) -> None:
    """Loaded by skops without trusted types, the estimator predicts the same and can be trained."""
    trainee = trained(network())
    trainee.write(trainee.snapshot(), tmp_path)
    assert skops.io.get_untrusted_types(file=tmp_path / "estimator.skops") == []
    loaded = skops.io.load(tmp_path / "estimator.skops")
    assert np.array_equal(loaded.predict_proba(X), trainee.estimator.predict_proba(X))
    loaded.partial_fit(X, Y)


def test_a_long_run_does_not_make_a_checkpoint_large(tmp_path: Path) -> None:
    """The losses of a network's batches are saved as one array, and restored as a list."""
    trainee = trained(network(), 1)
    trainee.estimator.loss_curve_ = list(np.linspace(1.0, 0.0, 10_000))
    before = state_of(trainee.estimator)
    trainee.write(trainee.snapshot(), tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 250_000
    trainee.estimator.partial_fit(X, Y)
    trainee.restore(trainee.read(tmp_path))
    assert state_of(trainee.estimator) == before


def test_the_global_generator_stays_the_global_one(tmp_path: Path) -> None:
    """A restored estimator without a random_state still draws from NumPy's global generator."""
    trainee = SklearnTrainee(BernoulliRBM(2))
    trainee.estimator.partial_fit(X)
    trainee.write(trainee.snapshot(), tmp_path)
    again = SklearnTrainee(BernoulliRBM(2))
    again.restore(again.read(tmp_path))
    assert again.estimator.random_state_ is check_random_state(None)


class Own(GaussianNB):  # type: ignore[misc]
    """A user's own estimator."""


def test_what_skops_does_not_load_is_refused_before_the_first_batch(tmp_path: Path) -> None:
    """The error has the types to trust, if trusting them is enough."""
    with pytest.raises(CapabilityError, match=r"(?s)'checkpoint'.*skops cannot save Birch.*not supported"):
        fit(Birch(), X, epochs=1, plugins=[Checkpoint(tmp_path)], score_training=False)
    name = f"{Own.__module__}.Own"
    with pytest.raises(CapabilityError, match=rf"(?s)'checkpoint'.*holds {name}.*trusted=\['{name}'\]"):
        fit(Own(), X, Y, epochs=1, plugins=[Checkpoint(tmp_path)])
    fit(Own(), X, Y, epochs=1, plugins=[Checkpoint(tmp_path)], trusted=[name])
    with pytest.raises(CheckpointError, match="types that are not trusted"):
        SklearnTrainee(Own()).read(next(tmp_path.glob("step-*")))


def test_a_type_that_shows_only_later_fails_when_it_is_saved(tmp_path: Path) -> None:
    """No checkpoint is written that could not be read."""
    trainee = trained(network())
    trainee.estimator.mine_ = Batches(3)
    with pytest.raises(CheckpointError, match=r"holds hookcore_adapters.sklearn.batches.Batches.*trusted="):
        trainee.write(trainee.snapshot(), tmp_path)


def test_a_checkpoint_of_another_estimator_is_refused(tmp_path: Path) -> None:
    """Another class or other parameters are refused; the rate and `max_iter` may differ."""
    trainee = trained(network())
    trainee.write(trainee.snapshot(), tmp_path)
    with pytest.raises(CheckpointError, match="is of an estimator MLPClassifier, and the estimator is now GaussianNB"):
        SklearnTrainee(GaussianNB()).read(tmp_path)
    other = network(alpha=0.5, hidden_layer_sizes=(4,))
    with pytest.raises(CheckpointError, match=r"alpha was 0\.0001 and is 0\.5; hidden_layer_sizes was \(3,\) and is \(4,\)"):
        SklearnTrainee(other).read(tmp_path)
    SklearnTrainee(network(learning_rate_init=0.5, max_iter=3)).read(tmp_path)


@pytest.mark.parametrize("name", ["estimator.skops", "training.skops", "state.json"])
@pytest.mark.parametrize("content", [b"", b"no such thing", None])
def test_a_damaged_checkpoint_is_refused(name: str, content: bytes | None, tmp_path: Path) -> None:
    """The error names the file, also if the directory is read without the store, which checks it first."""
    trainee = trained(network())
    trainee.write(trainee.snapshot(), tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        trainee.restore(trainee.read(tmp_path))


# Metrics, views, loops of one's own


def test_directions_are_those_that_scikit_learn_declares() -> None:
    """For a scorer, larger is better; for a user's function, no direction is known."""
    trainee = SklearnTrainee(network(), metrics={"nll": "neg_log_loss", "own": lambda *_: 0.0})
    asked = ("score", "val_score", "loss", "val_loss", "nll", "val_nll", "own", "else")
    assert [trainee.direction(name) for name in asked] == ["max", "max", "min", "min", "max", "max", None, None]


def test_weights_are_the_fitted_arrays() -> None:
    """Weights are found by attribute, and those in a list by index too."""
    assert list(trained(network()).weights()) == ["coefs_/0", "coefs_/1", "intercepts_/0", "intercepts_/1"]
    assert set(trained(SGDRegressor()).weights()) >= {"coef_", "intercept_"}
    assert SklearnTrainee(network()).lacks("weights") is None
    assert SklearnTrainee(network()).lacks("graph") == "a sklearn trainee does not provide graph"


def test_batches_begin_where_they_are_told_once() -> None:
    """Only the next iteration begins in the middle of the epoch."""
    batches = Batches(7, 3)
    batches.begin(2)
    whole = [rows.tolist() for rows in batches]
    batches.begin(2, 1)
    assert [rows.tolist() for rows in batches] == whole[1:]
    assert [rows.tolist() for rows in batches] == whole
    assert len(batches) == len(whole) == 3


def test_a_loop_of_your_own_evaluates_by_steps_and_resumes(tmp_path: Path) -> None:
    """With `Batches`, an epoch continues at its next batch."""

    def train(**more: Any) -> Any:
        estimator = SGDClassifier(random_state=1)
        trainee = SklearnTrainee(estimator)
        saves = Checkpoint(tmp_path, every_n_epochs=None, every_n_steps=1, keep_last=None)
        with Loop([saves], epochs=2, trainee=trainee, **more) as loop:
            for _ in loop.epochs():
                for rows in loop.batches(Batches(len(X), 5, seed=3)):
                    estimator.partial_fit(X[rows], Y[rows], classes=[0, 1, 2])
                    if loop.every(2):
                        with loop.evaluation():
                            loop.log(trainee.scores(X, Y))
        return state_of(estimator), loop.run.history.state_dict()

    whole = train()
    saved = sorted(tmp_path.glob("step-*"))[4]
    assert train(resume=saved) == whole


def test_an_estimator_that_the_loop_does_not_train_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If a loop trains a copy, the log warns once, and tells which object to train."""
    estimator = SGDClassifier(random_state=1)
    for trained in (clone(estimator), estimator):
        caplog.clear()
        with (
            caplog.at_level(logging.WARNING, "hookcore"),
            Loop([Checkpoint(tmp_path)], epochs=2, trainee=SklearnTrainee(estimator)) as loop,
        ):
            for _ in loop.epochs():
                for rows in loop.batches(Batches(len(X), 5)):
                    trained.partial_fit(X[rows], Y[rows], classes=[0, 1, 2])
        assert caplog.text.count("Call partial_fit of the object that SklearnTrainee was given") == (trained is not estimator)
