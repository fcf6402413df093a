"""Plugins as one LightGBM callback, for scripts that call `lightgbm.train` or the `fit` of an estimator."""

from __future__ import annotations

import itertools
import sys
from typing import Any, Final, cast

import lightgbm

from hookcore import CapabilityError, Outcome, ParameterError, Plugins, Resume, Run
from hookcore.driver import Driver
from hookcore.host import NoHost
from hookcore.stacks import callers
from hookcore_adapters.lightgbm import metrics
from hookcore_adapters.lightgbm.trainee import ADAPTER, USE_TRAIN, LightGBMTrainee

_LOOP: Final = lightgbm.engine.train.__code__  # others may have wrapped lightgbm.train


class LightGBMAdapter:
    """Run plugins in LightGBM: `lightgbm.train(..., callbacks=[LightGBMAdapter(plugins)])`, or in `fit` of an estimator.

    * `plugins`: what `Engine` takes, an `Engine`, or a configuration, such as `"hookcore.toml"`.
    * `resume`: only False: LightGBM calls the adapter after an iteration, too late to resume a run.

    A plugin that sets the learning rate when an epoch begins is refused for the same reason. `hookcore_adapters.lightgbm.train`
    can do both. LightGBM does not tell callbacks that its own early stopping or an error has ended training: then the run ends
    when you read `run`, train again or drop the adapter.

    Raises `ParameterError` for another `resume`, and `CapabilityError` for such a plugin.
    """

    def __init__(self, plugins: Plugins = (), *, resume: Resume = False) -> None:
        self._driver: Driver | None = None
        if resume is not False and resume is not None:
            raise ParameterError(
                "LightGBMAdapter: resume must be False, as LightGBM calls a callback only after an iteration, too late to resume "
                f"a run; got {resume!r}. {USE_TRAIN}, which takes resume."
            )
        driver = Driver(plugins, host=NoHost(ADAPTER))
        for registered in driver.engine.plugins:
            if "learning_rate" in registered.needs and hasattr(registered.hooks, "on_epoch_begin"):
                raise CapabilityError(
                    f"LightGBMAdapter: plugin {registered.name!r} sets the learning rate when an epoch begins, and LightGBM "
                    f"calls a callback only after an iteration. {USE_TRAIN}."
                )
        self._driver = driver
        self.order = 29
        """After LightGBM's callbacks that log, 10 and 20, and before its early stopping, 30: a callback that stops training hides
        the iteration from those after it."""

    @property
    def run(self) -> Run | None:
        """The latest run."""
        if self._driver is None:
            return None
        self._driver.end_left()
        return self._driver.run

    def __getstate__(self) -> dict[str, Any]:
        if self._driver is not None:
            self._driver.end_left()
        return vars(self)

    def __call__(self, env: Any) -> None:
        """Report the iteration that was trained. Raises LightGBM's `EarlyStopException` to stop training."""
        assert self._driver is not None  # noqa: S101 - the constructor has not raised
        driver = self._driver
        try:
            if env.iteration == env.begin_iteration:
                self._begin(driver, env)
            run = driver.run
            assert run is not None  # noqa: S101 - it has begun
            trainee = cast("LightGBMTrainee", run.trainee)
            trainee.is_late = True
            driver.epoch_begin()
            trainee.is_late = False
            driver.epoch_end(trainee.evaluated(env.evaluation_result_list))
            if not driver.stopping and env.iteration + 1 < env.end_iteration:
                trainee.began_with = trainee.iterations
                return
            stopped = self._stopped_by_later(env) if driver.stopping else None
            trainee.is_over = True
            driver.end()
        except BaseException as error:
            driver.end(error)
            raise
        if stopped is not None and trainee.cut is None:
            raise stopped  # it has LightGBM's best iteration
        if trainee.cut is not None or run.outcome is Outcome.STOPPED:
            raise lightgbm.EarlyStopException(trainee.iterations - 1, trainee.results)

    def _stopped_by_later(self, env: Any) -> lightgbm.EarlyStopException | None:
        """Call the callbacks after this one, which a vote would hide the iteration from; return what one stops training with."""
        loop = next((frame for frame in callers(sys._getframe()) if frame.f_code is _LOOP), None)  # noqa: SLF001 - the only way
        every = [] if loop is None else loop.f_locals.get("callbacks_after_iter", [])
        try:
            for callback in itertools.islice(itertools.dropwhile(lambda one: one is not self, every), 1, None):
                callback(env)
        except lightgbm.EarlyStopException as stopped:
            return stopped
        return None

    @staticmethod
    def _begin(driver: Driver, env: Any) -> None:
        driver.end_abandoned()
        trainee = LightGBMTrainee(is_late=True)
        trainee.attach(env)
        trainee.evaluated(env.evaluation_result_list)
        run = Run.of(
            trainee,
            epochs=env.end_iteration - env.begin_iteration,
            model=env.model,
            metric_names=metrics.names(result[0] for result in trainee.results if result[0] != metrics.TRAINING),
        )
        driver.begin(run, loop=_LOOP, left=trainee.left)

    def __del__(self) -> None:
        if self._driver is not None:
            self._driver.end_abandoned()
