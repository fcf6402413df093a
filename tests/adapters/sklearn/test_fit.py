"""`fit`: what it trains, that each estimator resumes exactly, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import IncrementalPCA, LatentDirichletAllocation, MiniBatchDictionaryLearning
from sklearn.linear_model import LogisticRegression, Perceptron, SGDClassifier, SGDOneClassSVM, SGDRegressor
from sklearn.metrics import get_scorer, make_scorer, mean_squared_error
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neural_network import BernoulliRBM, MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from hookcore import CheckpointError, Engine, HookcoreError, Outcome, ParameterError, store
from hookcore.testing import RecordingPlugin, check_events
from hookcore_adapters.sklearn import fit
from hookcore_plugins import Checkpoint, CSVLog, EarlyStopping
from tests.adapters.sklearn.states import state_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

rng = np.random.default_rng(0)
X = np.abs(rng.normal(size=(16, 3)))
Y = rng.integers(0, 3, 16)
Y[:3] = 0, 1, 2

ESTIMATORS: dict[str, tuple[Callable[[], Any], Any]] = {
    "mlp-adam": (lambda: MLPClassifier((3,)), Y),
    "mlp-sgd": (lambda: MLPRegressor(hidden_layer_sizes=(3,), solver="sgd", random_state=np.random.RandomState(3)), Y * 1.0),
    "mlp-invscaling": (lambda: MLPClassifier((3,), solver="sgd", learning_rate="invscaling", random_state=3), Y > 0),
    "mlp-float32": (lambda: MLPRegressor(hidden_layer_sizes=(3,), random_state=3), Y.astype("float32")),
    "mlp-multilabel": (lambda: MLPClassifier((3,)), np.stack([Y > 0, Y > 1], 1).astype(int)),
    "sgd-optimal": (lambda: SGDClassifier(loss="log_loss"), Y),
    "sgd-averaged": (lambda: SGDClassifier(average=6, learning_rate="constant", eta0=0.1), Y),
    "sgd-binary-averaged": (lambda: SGDClassifier(average=6, random_state=1), Y > 0),
    "sgd-regressor": (lambda: SGDRegressor(average=True, penalty="elasticnet"), Y * 1.0),
    "sgd-one-class": (lambda: SGDOneClassSVM(average=6), None),
    "perceptron": (Perceptron, Y),
    "gaussian-nb": (GaussianNB, Y),
    "multinomial-nb": (MultinomialNB, Y),
    "k-means": (lambda: MiniBatchKMeans(2), None),
    "pca": (lambda: IncrementalPCA(2), None),
    "rbm": (lambda: BernoulliRBM(2), None),
    "lda": (lambda: LatentDirichletAllocation(2), None),
    "dictionary": (lambda: MiniBatchDictionaryLearning(2), None),
    "one-vs-rest": (lambda: OneVsRestClassifier(SGDClassifier()), Y),
    "multi-output": (lambda: MultiOutputClassifier(MLPClassifier((2,), random_state=1)), np.stack([Y > 0, Y > 1], 1)),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_run_resumes_to_the_last_bit(name: str, tmp_path: Path) -> None:
    """Resumed after any batch, the estimator and NumPy's generator end as in an uninterrupted run."""
    make, y = ESTIMATORS[name]
    x = X.astype("float32") if name == "mlp-float32" else X

    def train(directory: Path, **more: Any) -> tuple[Any, Any, Any]:
        np.random.seed(5)  # noqa: NPY002 - what estimators draw from by default
        estimator = make()
        saves = Checkpoint(directory, every_n_epochs=None, every_n_steps=1, keep_last=None)
        given: dict[str, Any] = {"score_training": hasattr(estimator, "score") and name != "lda"}
        run = fit(estimator, x, y, epochs=3, batch_size=6, plugins=[saves], **given, **more)
        return state_of(estimator), run.history.state_dict(), state_of(check_random_state(None))

    whole = train(tmp_path / "whole")
    saved = store.available(tmp_path / "whole")
    assert len(saved) == 9
    for one in saved[1:-1:2]:  # in an epoch, and at ends
        assert train(tmp_path / str(one.step), resume=one.path) == whole


def test_events_are_of_epochs_and_batches() -> None:
    """A batch is a call of partial_fit, and an epoch has the scores of training and validation."""
    recording = RecordingPlugin()
    run = fit(
        MLPClassifier((3,), random_state=1),
        X,
        Y,
        epochs=2,
        batch_size=6,
        validation_data=(X[:4], Y[:4]),
        metrics={"balanced": "balanced_accuracy"},
        plugins=[recording],
    )
    check_events(recording.events)
    assert run.outcome is Outcome.COMPLETED
    assert run.progress.step == 6
    assert set(run.history) == {"loss", "score", "balanced", "val_score", "val_balanced"}
    batches = [event[2] for event in recording.events if event[0] == "on_batch_end"]
    assert [set(metrics) for metrics in batches] == [{"loss"}] * 6
    assert run.history["loss"][0] == pytest.approx(np.mean([metrics["loss"] for metrics in batches[:3]]))


def test_a_score_is_that_of_the_estimator() -> None:
    """An epoch's score is that of all samples after the epoch."""
    estimator = GaussianNB()
    run = fit(estimator, X, Y, epochs=1, validation_data=(X[:5], Y[:5]), metrics={"f1": "f1_macro"})
    assert run.history["score"] == [estimator.score(X, Y)]
    assert run.history["val_f1"] == [get_scorer("f1_macro")(estimator, X[:5], Y[:5])]


def test_training_is_not_scored_on_request() -> None:
    """Without training scores, an epoch's metrics are the loss and those of validation."""
    run = fit(MLPClassifier((3,)), X, Y, epochs=1, validation_data=(X, Y), score_training=False)
    assert set(run.history) == {"loss", "val_score"}


def test_training_is_that_by_hand() -> None:
    """Without shuffling, `fit` trains the same estimator as calls of partial_fit in the order of the data."""
    ours, by_hand = (SGDClassifier(random_state=1) for _ in range(2))
    weights = np.linspace(0.5, 2.0, len(X))
    fit(ours, X, Y, epochs=2, batch_size=6, shuffle=False, sample_weight=weights)
    for _ in range(2):
        for start in (0, 6, 12):
            rows = slice(start, start + 6)
            by_hand.partial_fit(X[rows], Y[rows], classes=[0, 1, 2], sample_weight=weights[rows])
    assert state_of(ours) == state_of(by_hand)


def test_each_epoch_has_an_order_of_its_own_that_follows_from_the_seed() -> None:
    """Each epoch has every sample once, in an order that depends on the seed and the epoch."""
    seen: list[int] = []

    class Seeing(SGDRegressor):  # type: ignore[misc]
        def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:  # noqa: N803
            seen.extend(y)
            return super().partial_fit(X, y, sample_weight)

    def orders(seed: int) -> list[list[int]]:
        seen.clear()
        fit(Seeing(), X, np.arange(16.0), epochs=2, batch_size=5, seed=seed)
        return [seen[:16], seen[16:]]

    first = orders(0)
    assert first == orders(0)
    assert first[0] != first[1]
    assert first != orders(1)
    assert all(sorted(order) == list(range(16)) for order in first)


def test_data_may_be_sparse_frames_or_lists() -> None:
    """`fit` takes the same kinds of data as scikit-learn."""
    pandas, sparse = pytest.importorskip("pandas"), pytest.importorskip("scipy.sparse")
    expected = MLPClassifier((3,), random_state=1)
    fit(expected, X, Y, epochs=1, batch_size=6)
    frame = pandas.DataFrame(X, columns=list("abc"))
    for x, y in ((sparse.coo_matrix(X), Y), (frame, pandas.Series(Y)), (X.tolist(), Y.tolist())):
        estimator = MLPClassifier((3,), random_state=1)
        fit(estimator, x, y, epochs=1, batch_size=6)
        np.testing.assert_allclose(estimator.coefs_[0], expected.coefs_[0])


def test_it_goes_on_with_what_is_fitted() -> None:
    """Without `resume`, a fitted estimator is trained further."""
    estimator = GaussianNB()
    fit(estimator, X, Y, epochs=1)
    run = fit(estimator, X, Y, epochs=1)
    assert estimator.class_count_.sum() == 2 * len(X)
    assert run.progress.step == 1


def test_plugins_stop_and_put_back_the_best() -> None:
    """Without `mode`, a larger value of a scorer is better, and the best is restored."""
    values = iter([0.5, 0.75, 0.25, 0.25, 0.25])
    seen: list[Any] = []

    def reported(*_: Any) -> float:
        seen.append(estimator.coefs_[0].copy())
        return next(values)

    estimator = MLPRegressor(hidden_layer_sizes=(3,), learning_rate_init=0.1)
    stopping = EarlyStopping("val_made", patience=2, restore_best_weights=True)
    given: dict[str, Any] = {"validation_data": (X, Y), "metrics": {"made": make_scorer(reported)}}
    run = fit(estimator, X, Y * 1.0, epochs=9, score_training=False, plugins=[stopping], **given)
    assert run.outcome is Outcome.STOPPED
    assert len(run.history) == 4
    assert np.array_equal(estimator.coefs_[0], seen[1])
    assert not np.array_equal(seen[1], seen[-1])


def test_another_order_within_an_epoch_is_refused(tmp_path: Path) -> None:
    """An epoch that was cut continues with the same batches; the next epoch may have others."""

    def train(directory: str = "again", **more: Any) -> Any:
        saves = Checkpoint(tmp_path / directory, every_n_steps=1, keep_last=None)
        return fit(SGDClassifier(random_state=1), X, Y, plugins=[saves], **{"epochs": 2, "batch_size": 6, **more})

    train("first")
    within, end = (tmp_path / "first" / f"step-{step:08}" for step in (5, 3))
    for other in ({"batch_size": 5}, {"seed": 1}, {"shuffle": False}):
        with pytest.raises(CheckpointError, match=r"was cut .*samples=16, batch_size=6, shuffle=True, seed=0.* continue with"):
            train(resume=within, **other)
        assert train(resume=end, **other).outcome is Outcome.COMPLETED


def test_a_ctrl_c_within_a_network_ends_the_run() -> None:
    """scikit-learn swallows a second Ctrl-C in the middle of an update, so `fit` raises it again."""

    class Pressed(MLPClassifier):  # type: ignore[misc]
        def _backprop(self, *_: Any) -> Any:
            raise KeyboardInterrupt

    engine = Engine([])
    with pytest.warns(UserWarning, match="interrupted by user"), pytest.raises(KeyboardInterrupt):
        fit(Pressed((3,)), X, Y, epochs=1, plugins=engine)
    assert engine.run is not None
    assert engine.run.outcome is Outcome.INTERRUPTED
    assert engine.run.progress.step == 0


def _fits(estimator: Any, y: Any = Y, **more: Any) -> Callable[[], Any]:
    return lambda: fit(estimator, X, y, **{"epochs": 1, **more})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (_fits(make_pipeline(StandardScaler(), SGDClassifier())), r"A Pipeline cannot .*pipeline\[-1\]"),
        (_fits(LogisticRegression()), "must be an estimator with a method `partial_fit`, got Logis.*SGDClassifier"),
        (_fits(MLPClassifier(solver="lbfgs")), "solver='adam' or 'sgd'"),
        (_fits(SGDClassifier), r"must be an estimator of scikit-learn, such as SGDClassifier\(\)"),
        (_fits(object()), "must be an estimator of scikit-learn"),
        (
            _fits(MLPClassifier(early_stopping=True)),
            r"estimator must not have early_stopping=True.*MLPClassifier\.fit.*plugin EarlyStopping",
        ),
        (_fits(SGDClassifier(), None), "y must be targets, as SGDClassifier needs them, got None"),
        (_fits(SGDRegressor(), classes=[0, 1]), "classes must be None, as SGDRegressor.partial_fit does not take it"),
        (
            _fits(IncrementalPCA(), sample_weight=X[:, 0]),
            "sample_weight must be None, as IncrementalPCA.partial_fit does not take it",
        ),
        (_fits(GaussianNB(), validation_data=X), r"validation_data must be \(x, y\) or \(x,\), got an object of type ndarray"),
        (_fits(GaussianNB(), trusted="package.Class"), r"trusted must be a list of the names of types, as in \['package"),
        (_fits(GaussianNB(), validation_freq=0), "validation_freq must be an integer of at least 1, got 0"),
        (_fits(GaussianNB(), batch_size=0), "batch_size must be an integer of at least 1, got 0"),
        (_fits(GaussianNB(), seed=-1), "seed must be an integer of at least 0"),
        (_fits(GaussianNB(), epochs=-1), "epochs must be an integer"),
        (_fits(GaussianNB(), metrics={"val_f1": "f1"}), "does not begin with 'val_', got 'val_f1'"),
        (_fits(GaussianNB(), metrics={"score": "f1"}), "not 'score', the estimator's own"),
        (
            _fits(GaussianNB(), metrics={"f1": "f1_makro"}),
            r"must be the name of a scorer of scikit-learn, got 'f1_makro'\..*f1_macro",
        ),
        (_fits(GaussianNB(), metrics={"f1": 1}), r"metrics\['f1'\] must be a scorer.*got 1"),
        (
            _fits(GaussianNB(), metrics={"loss": "neg_log_loss"}),
            "got 'neg_log_loss', a scorer of scikit-learn, for which larger is better",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(call: Callable[[], Any], message: str) -> None:
    """The error comes before the first batch, and names the argument and what to do."""
    with pytest.raises(ParameterError, match=f"(?s){message}"):
        call()


def test_a_loss_of_your_own_takes_the_place_of_the_estimators() -> None:
    """A function named loss is the loss of training and validation."""

    def loss(estimator: Any, x: Any, y: Any) -> float:
        return float(mean_squared_error(y, estimator.predict(x)))

    estimator = MLPRegressor(hidden_layer_sizes=(3,))
    stopping = EarlyStopping("val_loss", patience=2)
    run = fit(estimator, X, Y * 1.0, epochs=1, metrics={"loss": loss}, validation_data=(X[:3], Y[:3]), plugins=[stopping])
    assert run.history["loss"] == [loss(estimator, X, Y)]
    assert run.history["val_loss"] == [loss(estimator, X[:3], Y[:3])]


def test_a_metric_of_your_own_asks_for_its_direction() -> None:
    """scikit-learn declares no direction for a function, so the plugin asks for `mode`."""
    with pytest.raises(HookcoreError, match=r"Set mode|set mode"):
        fit(GaussianNB(), X, Y, epochs=1, metrics={"own": lambda *_: 1.0}, plugins=[EarlyStopping("own")])


def test_an_estimator_without_a_rate_is_logged_without(tmp_path: Path) -> None:
    """An estimator without a rate and scores is logged without these columns."""
    fit(IncrementalPCA(2), X, epochs=2, plugins=[CSVLog(tmp_path / "log.csv")])
    assert (tmp_path / "log.csv").read_text().splitlines()[0].split(",") == ["epoch", "step"]
