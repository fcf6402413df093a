"""Plugins that observe as a callback of scikit-learn's own: what trains in one call, and cannot be steered."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping  # noqa: TC003 - tools such as jsonargparse read the types of the arguments
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import attrs

from hookcore import HookcoreError, Plugins, RegistrationError, Run
from hookcore.driver import Driver
from hookcore.trainee import Trainee
from hookcore_adapters.sklearn.scoring import Scoring

if TYPE_CHECKING:
    from hookcore import Position
    from hookcore.trainee import Mode
    from hookcore_adapters.sklearn.scoring import Scorer

logger = logging.getLogger("hookcore")


class SklearnAdapter:
    """A callback that lets plugins observe a `fit` of scikit-learn's, in 1.9 that of `LogisticRegression` with `lbfgs`.

        LogisticRegression().set_callbacks(SklearnAdapter([CSVLog("log.csv")])).fit(x, y)

    * `plugins`: what `Engine` takes, an `Engine`, or a configuration: observers alone. scikit-learn does not look at what a
      callback returns, so a plugin that stops, saves or sets anything is refused by name, with `RegistrationError`:
      `hookcore_adapters.sklearn.fit` is for those.
    * `metrics`: scorers by name, as `SklearnTrainee` takes them, besides the estimator's own `score`. They score the data that
      `fit` was given.

    Each iteration is an epoch. Its `on_epoch_begin` comes when it is over, because scikit-learn tells of one iteration more than
    it makes. Each `fit` is a run; within a search that has `n_jobs`, pickling the adapter is an error.
    """

    name: ClassVar[str] = "sklearn"
    ends_of_data: ClassVar[tuple[str, ...]] = ()

    def __init__(self, plugins: Plugins = (), *, metrics: Mapping[str, Scorer] | None = None) -> None:
        self._driver = Driver(plugins, host=self)
        self._metrics = metrics or {}
        self._scoring: Scoring | None = None
        self._task: Any = None
        """The context of the `fit` that is observed."""
        self._error_before: BaseException | None = None
        """What was being handled when that began."""
        self._has_warned = False
        actors = [plugin.name for plugin in self._driver.engine.plugins if not plugin.is_observer]
        if actors:
            raise RegistrationError(
                f"SklearnAdapter takes observers, and {', '.join(map(repr, actors))} may stop, save or set something, which a "
                "callback of scikit-learn's cannot. Train by hookcore_adapters.sklearn.fit, if the estimator has partial_fit. If "
                "a plugin of yours only observes, write role = 'observer' in its class."
            )

    @property
    def run(self) -> Run | None:
        """The latest run."""
        return self._driver.run

    def __reduce__(self) -> NoReturn:
        raise HookcoreError(
            "SklearnAdapter cannot be pickled, as another process would not tell this one's plugins of anything. If a search "
            "trains in other processes, leave out n_jobs, or the adapter."
        )

    def __deepcopy__(self, memo: object) -> SklearnAdapter:
        return self  # of an estimator that is cloned, as each `fit` is a run

    # What the driver asks

    def stop(self) -> None:
        """Warn: an observer has voted."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning("scikit-learn does not stop for a callback: an observer's vote is in the run, and changes nothing")

    def state_dict(self) -> Mapping[str, Any]:
        """Return nothing: nothing can be resumed."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        """Take nothing over."""

    # What scikit-learn calls

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin a run."""
        kind = type(estimator).__name__
        if self._task is not None:
            raise HookcoreError(f"SklearnAdapter observes a fit already, and was given that of {kind} too: give each its own.")
        if hasattr(estimator, "steps") or hasattr(estimator, "estimator") or context.max_subtasks == 0:
            raise HookcoreError(
                f"SklearnAdapter was set on {kind}, which tells of no iterations. Set it on the estimator within that iterates: "
                "LogisticRegression().set_callbacks(...)."
            )
        self._scoring, self._error_before, self._has_warned = Scoring(estimator, self._metrics), sys.exception(), False
        self._driver.begin(Run.of(_Observed(self._scoring), model=estimator))
        self._task = context

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing: it may be the iteration that is not made."""

    def on_fit_task_end(
        self,
        estimator: Any,
        context: Any,
        *,
        X: Any = None,  # noqa: N803 - as scikit-learn has it
        y: Any = None,
        fitted_estimator: Any = None,
    ) -> None:
        """Tell of an iteration, with what it has made of the estimator."""
        del estimator
        if self._scoring is not None and context.parent is self._task and fitted_estimator is not None:
            self._driver.epoch_begin()
            self._driver.epoch_end(self._scoring.scores(fitted_estimator, X, y))

    def teardown(self, estimator: Any, context: Any) -> None:
        """End the run, by the exception that ends `fit`, if one does."""
        del estimator
        if context is not self._task:
            return
        self._task, error = None, sys.exception()
        self._driver.end(None if error is self._error_before else error)
        self._error_before = None


@attrs.frozen(eq=False)
class _Observed(Trainee):
    """The trainee of a `fit` that is observed: it can do nothing."""

    framework: ClassVar[str] = "sklearn"

    scoring: Scoring

    def direction(self, metric: str) -> Mode | None:
        return self.scoring.direction(metric)
