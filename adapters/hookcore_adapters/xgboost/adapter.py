"""Plugins as one XGBoost callback, for scripts that call `xgboost.train` or the `fit` of an estimator."""

from __future__ import annotations

import logging
from typing import Any

import attrs
from xgboost.callback import TrainingCallback

from hookcore import MetricError, Plugins, Resume, Run
from hookcore.driver import Driver
from hookcore.host import NoHost
from hookcore_adapters.xgboost import metrics
from hookcore_adapters.xgboost.call import TRAIN, TrainCall, check_not_nested
from hookcore_adapters.xgboost.trainee import XGBoostTrainee

logger = logging.getLogger("hookcore")


@attrs.define(eq=False)
class _Training:
    """One call of `xgboost.train`."""

    call: TrainCall
    trainee: XGBoostTrainee
    run: Run
    stops_by: str
    """Why XGBoost itself may stop."""
    has_late_rate: bool
    """Whether a later callback may set the rate of an iteration after plugins got its beginning."""
    rounds: int = 0
    """The number of rounds of the model when the open iteration began."""
    iterations: int = 0
    """The number of iterations that began in this call."""
    is_open: bool = False
    """Whether plugins have had the beginning of an iteration and not its end."""
    evals_log: Any = attrs.field(factory=dict, repr=False)
    """XGBoost's own record of its evaluations, to which it adds after each iteration, before it calls its callbacks."""


class XGBoostAdapter(TrainingCallback):  # type: ignore[misc]  # it is Any to a checker, with or without XGBoost
    """Run plugins in XGBoost: `xgboost.train(..., callbacks=[XGBoostAdapter(plugins)])`, `XGBClassifier(callbacks=[...])`.

    * `plugins`: what `Engine` takes, an `Engine`, or a configuration, such as `"hookcore.toml"`.
    * `resume`: `"auto"` resumes from the newest whole checkpoint of a plugin such as `Checkpoint`, if there is one; a path
      resumes from that checkpoint, or from the newest in that directory. Call `xgboost.train` as for a new run:
      `num_boost_round` includes the rounds of the checkpoint. The learning rate is that of the checkpoint, and all other
      parameters are the ones that you give now.

    An iteration is an epoch. Epochs are numbered by the rounds of the model: if training continues from an `xgb_model` of 10
    rounds, the first is 10, as in `best_iteration`. XGBoost does not report errors to callbacks: after an error in XGBoost or in
    your own code, the run ends when you read `run` or train again.
    """

    def __init__(self, plugins: Plugins = (), *, resume: Resume = False) -> None:
        super().__init__()
        self._driver = Driver(plugins, resume=resume, host=NoHost("xgboost"))
        self._training: _Training | None = None

    @property
    def run(self) -> Run | None:
        """The latest run."""
        self._driver.end_left()
        return self._driver.run

    def __getstate__(self) -> dict[str, Any]:
        self._driver.end_left()
        return vars(self) | {"_training": None}  # it is over, and refers to data

    def before_training(self, model: Any) -> Any:
        call = TrainCall.being_executed()
        check_not_nested(self)
        trainee, first = XGBoostTrainee(model, call.others(self)), model.num_boosted_rounds()
        found = self._driver.find(trainee)
        call.check(self, resumes=found is not None)
        run = Run.of(
            trainee,
            epochs=first + call.rounds,
            model=model,
            validation_data=call.validation,
            metric_names=call.names,
            resumed_from=found,
        )
        stops_by = call.stops_by(self)
        self._driver.begin(run, initial_epoch=first, loop=TRAIN, stops_by=stops_by)
        self._training = _Training(call, trainee, run, stops_by, call.sets_rate_before(self))
        if found is not None and trainee.drawing:
            logger.warning(
                "resumed after round %d: with %s a round depends on a state that XGBoost does not save, such as that of its "
                "random generator. The next rounds differ from those of an uninterrupted run",
                model.num_boosted_rounds(),
                ", ".join(trainee.drawing),
            )
        return model

    # A callback cannot see that another one stops training. So plugins get the end of an iteration only when the next one begins
    # or training is over: by then the stop is known, and a checkpoint of that moment records it.

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        training = self._now
        if training.is_open:
            self._end_iteration(training)
        if self._driver.stopping or self._driver.position.epoch >= (training.run.epochs or 0):
            return True
        training.rounds, training.is_open, training.evals_log = model.num_boosted_rounds(), True, evals_log
        training.iterations = epoch + 1  # `epoch` counts from 0 in each call
        self._driver.epoch_begin()
        if not training.has_late_rate:
            self._driver.epoch_ends()  # now, as an earlier callback may set the next rate before `after_iteration`
        return False

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        del model, epoch, evals_log
        if self._now.has_late_rate:
            self._driver.epoch_ends()
        return False

    def after_training(self, model: Any) -> Any:
        training, driver = self._now, self._driver
        trainee, self._training = training.trainee, None
        is_trained = training.is_open and trainee.booster.num_boosted_rounds() > training.rounds
        if driver.position.epoch + is_trained < (training.run.epochs or 0):
            driver.stops(training.stops_by)
        if is_trained:
            self._end_iteration(training)
        elif training.is_open:  # a later callback has stopped training before this iteration
            driver.leave()
        trainee.move_to(model)
        own = model.attributes()  # XGBoost's own early stopping has set them, and cutting the model drops them
        driver.end()
        if trainee.restored is not None:
            best = trainee.restored - 1
            known = own.get("best_score") if own.get("best_iteration") == str(best) else None
            score = next((vote.best for vote in training.run.stop_reasons if vote.best_epoch == best), known)
            model.set_attr(best_iteration=best, best_score=score)
        return model

    @property
    def _now(self) -> _Training:
        assert self._training is not None  # noqa: S101 - only asked for within one
        return self._training

    def _end_iteration(self, training: _Training) -> None:
        """Report the evaluations of the open iteration, and its end."""
        training.is_open, of_training = False, {}
        try:
            latest = {data: metrics.latest(data, scores, training.iterations) for data, scores in training.evals_log.items()}
        except MetricError as error:
            self._driver.end(error)
            raise
        for data, scores in latest.items():
            named = {f"{data}-{metric}": value for metric, value in scores.items()}
            if data in training.call.training:
                of_training.update(named)
            else:
                self._driver.evaluate_end(scores, named=named)
        self._driver.epoch_end(of_training)
