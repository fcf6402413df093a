"""Plugins as a scikit-learn callback: they observe estimators that train in one call and cannot be steered."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping  # noqa: TC003 - tools such as jsonargparse read the types of the arguments
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import attrs

from hookcore import HookcoreError, Plugins, RegistrationError, Run
from hookcore.driver import Driver
from hookcore.trainee import Trainee
from hookcore_adapters.sklearn.scoring import Scorer, Scoring

if TYPE_CHECKING:
    from hookcore import Position
    from hookcore.trainee import Mode

logger = logging.getLogger("hookcore")


class SklearnAdapter:
    """Have plugins observe an estimator's own `fit`; in scikit-learn 1.9, that of `LogisticRegression` with `lbfgs`.

        LogisticRegression().set_callbacks(SklearnAdapter([CSVLog("log.csv")])).fit(x, y)

    * `plugins`: what `Engine` takes, an `Engine`, or a configuration; only observers. scikit-learn ignores what a callback
      returns, so a plugin that may stop, save or set anything is a `RegistrationError`. `hookcore_adapters.sklearn.fit` takes
      such plugins.
    * `metrics`: scorers by name, as in `SklearnTrainee`, in addition to the estimator's own `score`. They score the training
      data.

    Each iteration is an epoch. Its `on_epoch_begin` comes when the iteration is over, because scikit-learn announces one
    iteration more than it does. Each `fit` is a run. The adapter cannot be pickled, so a search needs `n_jobs=None`.
    """

    name: ClassVar[str] = "sklearn"
    ends_of_data: ClassVar[tuple[str, ...]] = ()

    def __init__(self, plugins: Plugins = (), *, metrics: Mapping[str, Scorer] | None = None) -> None:
        self._driver = Driver(plugins, host=self)
        self._metrics = metrics or {}
        self._scoring: Scoring | None = None
        self._task: Any = None
        """scikit-learn's context of the `fit` that is being observed."""
        self._error_before: BaseException | None = None
        """The exception that was being handled when that `fit` began."""
        self._has_warned = False
        actors = [plugin.name for plugin in self._driver.engine.plugins if not plugin.is_observer]
        if actors:
            raise RegistrationError(
                "SklearnAdapter: plugins must be observers, because scikit-learn ignores what a callback returns; got "
                f"{', '.join(map(repr, actors))}, which may stop, save or set something. Train with "
                "hookcore_adapters.sklearn.fit if the estimator has partial_fit. If a plugin of yours only observes, set role = "
                "'observer' in its class."
            )

    @property
    def run(self) -> Run | None:
        """The latest run."""
        return self._driver.run

    def __reduce__(self) -> NoReturn:
        raise HookcoreError(
            "SklearnAdapter cannot be pickled, because in another process it could not reach the plugins of this one. In a "
            "search, leave out n_jobs or the adapter."
        )

    def __deepcopy__(self, memo: object) -> SklearnAdapter:
        return self  # cloned estimators share it, and each `fit` is a run

    # Called by the driver

    def stop(self) -> None:
        """Warn that an observer's vote does not stop scikit-learn."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "SklearnAdapter: a plugin has voted to stop, and scikit-learn does not stop for a callback. The vote is "
                "recorded, and training continues. To stop, train with hookcore_adapters.sklearn.fit"
            )

    def state_dict(self) -> Mapping[str, Any]:
        """Return an empty mapping, as a run cannot be resumed."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        """Do nothing."""

    # Called by scikit-learn

    def setup(self, estimator: Any, context: Any) -> None:
        """Begin a run."""
        kind = type(estimator).__name__
        if self._task is not None:
            raise HookcoreError(
                f"SklearnAdapter: the fit of {kind} has begun within another one that this adapter observes. Give each estimator "
                "its own adapter."
            )
        if hasattr(estimator, "steps") or hasattr(estimator, "estimator") or context.max_subtasks == 0:
            raise HookcoreError(
                f"SklearnAdapter: it was set on {kind}, which reports no iterations. Set it on the estimator that iterates, such "
                "as LogisticRegression().set_callbacks(adapter), also inside a pipeline or a search."
            )
        self._scoring, self._error_before, self._has_warned = Scoring(estimator, self._metrics), sys.exception(), False
        self._driver.begin(Run.of(_Observed(self._scoring), model=estimator))
        self._task = context

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing, as scikit-learn may not do this iteration."""

    def on_fit_task_end(
        self,
        estimator: Any,
        context: Any,
        *,
        X: Any = None,  # noqa: N803 - scikit-learn's name
        y: Any = None,
        fitted_estimator: Any = None,
    ) -> None:
        """Report an iteration, with the scores of the estimator after it."""
        del estimator
        if self._scoring is not None and context.parent is self._task and fitted_estimator is not None:
            self._driver.epoch_begin()
            self._driver.epoch_end(self._scoring.scores(fitted_estimator, X, y))

    def teardown(self, estimator: Any, context: Any) -> None:
        """End the run; as failed if an exception ends `fit`."""
        del estimator
        if context is not self._task:
            return
        self._task, error = None, sys.exception()
        self._driver.end(None if error is self._error_before else error)
        self._error_before = None


@attrs.frozen(eq=False)
class _Observed(Trainee):
    """Present an estimator that can only be observed, without any capability."""

    framework: ClassVar[str] = "sklearn"

    scoring: Scoring

    def direction(self, metric: str) -> Mode | None:
        return self.scoring.direction(metric)
