"""hookcore as one callback of LightGBM's, for any script that calls `lightgbm.train` or an estimator's `fit` itself."""

from __future__ import annotations

from typing import Any, Final

import lightgbm

from hookcore import CapabilityError, Outcome, ParameterError, Plugins, Resume, Run
from hookcore.driver import Driver
from hookcore.host import NoHost
from hookcore.stacks import runs
from hookcore_adapters.lightgbm.trainee import ADAPTER, TRAINING, USE_TRAIN, LightGBMTrainee, metric_names

_LOOP: Final = lightgbm.engine.train.__code__  # others may have wrapped lightgbm.train
LEFT: Final = "a callback of LightGBM's, such as early_stopping, ended training"


class LightGBMAdapter:
    """Runs plugins in LightGBM: `lightgbm.train(..., callbacks=[LightGBMAdapter(plugins)])`, or in `fit` of an estimator.

    * `plugins`: what `Engine` takes, an `Engine`, or a configuration, such as `"hookcore.toml"`.

    LightGBM calls it after each iteration. What needs more is refused, and `hookcore_adapters.lightgbm.train` has it: resuming,
    and a learning rate that is set as an iteration begins. Nor does LightGBM tell of an error, or that its own early stopping
    ends training: the run ends when the adapter is used or dropped next.
    """

    def __init__(self, plugins: Plugins = (), *, resume: Resume = False) -> None:
        self._driver: Driver | None = None
        if resume is not False and resume is not None:
            raise ParameterError(
                f"LightGBMAdapter: resume={resume!r} needs the beginning of training, and LightGBM calls a callback only after "
                f"an iteration. {USE_TRAIN}, and give it resume."
            )
        driver = Driver(plugins, host=NoHost(ADAPTER))
        for registered in driver.engine.plugins:
            if "learning_rate" in registered.needs and hasattr(registered.hooks, "on_epoch_begin"):
                raise CapabilityError(
                    f"LightGBMAdapter: plugin {registered.name!r} needs the learning rate as an epoch begins, and LightGBM "
                    f"calls a callback only after an iteration. {USE_TRAIN}."
                )
        self._driver = driver
        self._trainee = LightGBMTrainee()
        self.order = 29
        """After LightGBM's callbacks that log, 10 and 20, and before its early stopping, 30: whatever stops hides an iteration
        from those after it."""

    @property
    def run(self) -> Run | None:
        """The latest run."""
        if not runs(_LOOP):
            self._end_left()
        return None if self._driver is None else self._driver.run

    def __getstate__(self) -> dict[str, Any]:
        self._end_left()
        return {name: value for name, value in vars(self).items() if name != "_trainee"}  # it holds a booster only in a run

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _trainee=LightGBMTrainee())

    def __call__(self, env: Any) -> None:
        """Tell of the iteration that was trained. Raises LightGBM's `EarlyStopException` to stop it."""
        assert self._driver is not None  # noqa: S101 - the constructor has not raised
        driver = self._driver
        try:
            if env.iteration == env.begin_iteration:
                self._begin(driver, env)
            trainee = self._trainee
            trainee.is_late = True
            driver.epoch_begin()
            trainee.is_late = False
            driver.epoch_end(trainee.heard(env.evaluation_result_list))
            if not driver.stopping and env.iteration + 1 < env.end_iteration:
                trainee.began_with = trainee.iterations
                return
            trainee.is_over = True
            driver.end()
        except BaseException as error:
            driver.end(error)
            raise
        self._trainee = LightGBMTrainee()  # what has ended holds no model
        if trainee.cut is not None or (driver.run is not None and driver.run.outcome is Outcome.STOPPED):
            raise lightgbm.EarlyStopException(trainee.iterations - 1, trainee.results)

    def _begin(self, driver: Driver, env: Any) -> None:
        self._end_left()
        self._trainee = trainee = LightGBMTrainee(is_late=True)
        trainee.attach(env)
        trainee.heard(env.evaluation_result_list)
        run = Run.of(
            trainee,
            epochs=env.end_iteration - env.begin_iteration,
            model=env.model,
            metric_names=metric_names(result[0] for result in trainee.results if result[0] != TRAINING),
        )
        driver.begin(run, loop=_LOOP)

    def _end_left(self) -> None:
        """End a run that LightGBM has left without telling, by its own early stopping or an error."""
        if self._driver is None or not self._driver.is_running:
            return
        self._trainee.is_over = True
        if self._trainee.booster.best_iteration > 0:
            self._driver.end(by=LEFT)
        else:
            self._driver.end_abandoned()
        self._trainee = LightGBMTrainee()

    def __del__(self) -> None:
        self._end_left()
