"""`SklearnAdapter`: plugins that observe, as a callback of scikit-learn."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hookcore import HookcoreError, Outcome, RegistrationError, Run, hookimpl
from hookcore.testing import check_events
from hookcore_adapters.sklearn import SklearnAdapter
from hookcore_plugins import CSVLog, EarlyStopping

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
pytestmark = pytest.mark.filterwarnings("ignore:lbfgs failed to converge")

X = np.random.default_rng(0).normal(size=(40, 3))
Y = np.where(X.sum(1) > 0, "yes", "no")


@attrs.define(eq=False)
class Watching:
    """Notes all events, and may vote; otherwise it only observes."""

    role: ClassVar[str] = "observer"

    events: list[tuple[Any, ...]] = attrs.field(factory=list)
    votes: bool = False

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        del run
        self.events.append(("on_train_begin",))

    @hookimpl
    def on_epoch_begin(self, epoch: int) -> None:
        self.events.append(("on_epoch_begin", epoch))

    @hookimpl
    def on_epoch_end(self, run: Run, epoch: int, metrics: Any) -> None:
        self.events.append(("on_epoch_end", epoch, dict(metrics)))
        if self.votes:
            run.stop("asked to")

    @hookimpl
    def on_metrics(self, metrics: Any) -> None:
        self.events.append(("on_metrics", dict(metrics)))

    @hookimpl
    def on_train_end(self) -> None:
        self.events.append(("on_train_end",))


def logistic(*plugins: object, **more: Any) -> tuple[Any, SklearnAdapter]:
    adapter = SklearnAdapter(plugins, **more)
    return LogisticRegression(max_iter=3).set_callbacks(adapter), adapter


def test_each_iteration_is_an_epoch(tmp_path: Path) -> None:
    """Its scores are those of the estimator after that iteration, on the training data."""
    watching = Watching()
    estimator, adapter = logistic(watching, CSVLog(tmp_path / "log.csv"), metrics={"log_loss": "neg_log_loss"})
    estimator.fit(X, Y)
    check_events(watching.events)
    assert [event[1] for event in watching.events if event[0] == "on_epoch_end"] == [0, 1, 2]
    assert adapter.run is not None
    assert adapter.run.outcome is Outcome.COMPLETED
    for number, score in enumerate(adapter.run.history["score"], 1):
        assert score == LogisticRegression(max_iter=number).fit(X, Y).score(X, Y)
    assert (tmp_path / "log.csv").read_text().splitlines()[0] == "epoch,step,log_loss,score"


def test_what_acts_is_refused() -> None:
    """A plugin that acts is refused by name, because scikit-learn ignores what a callback returns."""
    with pytest.raises(
        RegistrationError,
        match=r"plugins must be observers.*got 'early_stopping', which may stop.*sklearn\.fit.*role = 'observer'",
    ):
        SklearnAdapter([CSVLog("log.csv"), EarlyStopping()])


def test_a_vote_of_an_observer_changes_nothing_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """scikit-learn does all iterations, and the log warns once."""
    watching = Watching(votes=True)
    estimator, _ = logistic(watching)
    with caplog.at_level(logging.WARNING, "hookcore"):
        estimator.fit(X, Y)
    assert [event[1] for event in watching.events if event[0] == "on_epoch_end"] == [0, 1, 2]
    assert caplog.text.count("scikit-learn does not stop for a callback") == 1


def test_each_fit_of_a_search_is_a_run() -> None:
    """A search in this process runs plugins in each fit; pickling the adapter for other processes is an error."""
    watching = Watching()
    estimator, adapter = logistic(watching)
    GridSearchCV(estimator, {"C": [1.0, 2.0]}, cv=2).fit(X, Y)
    assert [event[0] for event in watching.events].count("on_train_end") == 5
    with pytest.raises(HookcoreError, match=r"cannot be pickled.*n_jobs"):
        adapter.__reduce__()


def test_an_estimator_that_tells_of_no_iterations_is_refused() -> None:
    """The error tells where to set the adapter: on the estimator that iterates, within a pipeline too."""
    for estimator in (StandardScaler(), make_pipeline(StandardScaler(), LogisticRegression())):
        with pytest.raises(HookcoreError, match=rf"was set on {type(estimator).__name__}, which reports no iterations"):
            estimator.set_callbacks(SklearnAdapter()).fit(X, Y)
    estimator, adapter = logistic()
    make_pipeline(StandardScaler(), estimator).fit(X, Y)
    assert adapter.run is not None
    assert len(adapter.run.history) == 3


def test_an_error_of_a_scorer_ends_the_run_and_fit() -> None:
    """The run has failed, and the caller gets the error; the adapter works in the next fit."""
    fails = True

    def scorer(*_: Any) -> float:
        if fails:
            raise ZeroDivisionError
        return 0.0

    watching = Watching()
    estimator, adapter = logistic(watching, metrics={"own": scorer})
    with pytest.raises(ZeroDivisionError):
        estimator.fit(X, Y)
    assert adapter.run is not None
    assert adapter.run.outcome is Outcome.FAILED
    assert watching.events[-1] == ("on_train_end",)
    fails = False
    try:
        int("x")
    except ValueError:  # it is being handled outside of `fit`, so it did not end `fit`
        estimator.fit(X, Y)
    outcome: Outcome | None = adapter.run.outcome
    assert outcome is Outcome.COMPLETED
