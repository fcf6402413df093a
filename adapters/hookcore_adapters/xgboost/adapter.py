"""hookcore as one XGBoost callback, for any script that calls `xgboost.train`, or an estimator's `fit`, itself."""

from __future__ import annotations

import logging
from typing import Any

import attrs
from xgboost.callback import TrainingCallback

from hookcore import Plugins, Resume, Run
from hookcore.driver import Driver
from hookcore.host import NoHost
from hookcore.stacks import runs
from hookcore_adapters.xgboost.call import TRAIN, TrainCall
from hookcore_adapters.xgboost.trainee import XGBoostTrainee

logger = logging.getLogger("hookcore")


@attrs.define(eq=False)
class _Training:
    """What the adapter knows of the training that is going on."""

    call: TrainCall
    trainee: XGBoostTrainee
    run: Run
    rounds: int = 0
    """As many as the model had when the open iteration began."""
    is_open: bool = False
    """Whether an iteration has begun and not ended."""
    evals_log: Any = attrs.field(factory=dict, repr=False)
    """XGBoost's, which it adds to after each iteration, before it calls its callbacks."""


class XGBoostAdapter(TrainingCallback):  # type: ignore[misc]  # it is Any to a checker, with or without XGBoost
    """Runs plugins in XGBoost: `xgboost.train(..., callbacks=[XGBoostAdapter(plugins)])`, `XGBClassifier(callbacks=[...])`.

    * `plugins`: what `Engine` takes, an `Engine`, or a configuration, such as `"hookcore.toml"`.
    * `resume`: `"auto"` resumes from the newest whole checkpoint of a plugin such as `Checkpoint`, if there is one yet; a path
      resumes from that checkpoint, or from the newest in that directory. Call `xgboost.train` as for a run from the beginning:
      `num_boost_round` counts the rounds of the checkpoint too. The parameters are those that you give now, besides the learning
      rate.

    An iteration is an epoch. Its number is that of its round in the model: if training continues from an `xgb_model` of 10
    rounds, the first is 10, as in `best_iteration`. An error in XGBoost or in code of yours ends the run when the next
    begins, or `run` is read.
    """

    def __init__(self, plugins: Plugins = (), *, resume: Resume = False) -> None:
        super().__init__()
        self._driver = Driver(plugins, resume=resume, host=NoHost("xgboost"))
        self._training: _Training | None = None

    @property
    def run(self) -> Run | None:
        """The latest run."""
        self._end_left()
        return self._driver.run

    def __getstate__(self) -> dict[str, Any]:
        self._end_left()
        return vars(self) | {"_training": None}  # which refers to data, and is over

    def _end_left(self) -> None:
        """End a run that XGBoost has left without telling, by an error of others."""
        if self._driver.is_running and not runs(TRAIN):
            self._driver.end_abandoned()
            self._training = None

    def before_training(self, model: Any) -> Any:
        call = TrainCall.being_executed()
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
        self._driver.begin(run, initial_epoch=first, loop=TRAIN)
        self._training = _Training(call, trainee, run)
        if found is not None and trainee.drawing:
            logger.warning(
                "resumed after round %d: with %s a round depends on a state that XGBoost does not save, such as that of its "
                "random numbers. The next rounds are others than those of a run that was never cut",
                model.num_boosted_rounds(),
                ", ".join(trainee.drawing),
            )
        return model

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        del epoch  # counts from 0 in each call of `xgboost.train`
        training = self._now
        if self._driver.stopping or self._is_done(training):
            return True
        training.rounds, training.is_open, training.evals_log = model.num_boosted_rounds(), True, evals_log
        self._driver.epoch_begin()
        return False

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        del model, epoch, evals_log
        self._end_iteration(self._now)
        return False  # True would hide this iteration from callbacks that are called later; `before_iteration` tells of a vote

    def after_training(self, model: Any) -> Any:
        training, driver = self._now, self._driver
        trainee, self._training = training.trainee, None
        if training.is_open:  # a callback that was called earlier has stopped training, so that this one was not called
            if trainee.booster.num_boosted_rounds() == training.rounds:
                driver.leave()
            else:
                self._end_iteration(training)
        trainee.move_to(model)
        own = model.attributes()  # of XGBoost's own early stopping: cutting the model drops them
        others = ", ".join(type(callback).__name__ for callback in training.call.others(self))
        driver.end(by=None if self._is_done(training) else f"a callback of xgboost.train: {others}")
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

    def _is_done(self, training: _Training) -> bool:
        return self._driver.position.epoch >= (training.run.epochs or 0)

    def _end_iteration(self, training: _Training) -> None:
        """Tell of the evaluations of an iteration, and of its end."""
        training.is_open, of_training = False, {}
        for data, scores in training.evals_log.items():
            latest = {metric: values[-1] for metric, values in scores.items()}
            named = {f"{data}-{metric}": value for metric, value in latest.items()}
            if data in training.call.training:
                of_training.update(named)
            else:
                self._driver.evaluate_end(latest, named=named)
        self._driver.epoch_end(of_training)
