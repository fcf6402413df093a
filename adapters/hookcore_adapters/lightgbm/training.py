"""`train`: `lightgbm.train` with plugins, which hear of the beginning of each iteration, and of errors at once."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import lightgbm

from hookcore import CapabilityError, ParameterError, Plugins, Resume, Run
from hookcore.driver import Driver
from hookcore.host import NoHost
from hookcore_adapters.lightgbm.adapter import LEFT, LightGBMAdapter
from hookcore_adapters.lightgbm.trainee import ADAPTER, TRAINING, LightGBMTrainee, metric_names

logger = logging.getLogger("hookcore")


def train(  # noqa: PLR0917 - the signature is LightGBM's
    params: Mapping[str, Any],
    train_set: Any,
    num_boost_round: int = 100,
    valid_sets: Any = None,
    valid_names: Any = None,
    feval: Any = None,
    init_model: Any = None,
    keep_training_booster: bool = False,  # noqa: FBT001, FBT002 - so is this
    callbacks: Sequence[Callable[[Any], None]] | None = None,
    *,
    plugins: Plugins = (),
    resume: Resume = False,
) -> Any:
    """Train a forest under plugins, and return the `Booster`.

    The parameters up to `callbacks` are those of `lightgbm.train`.

    * `plugins`: what `Engine` takes, an `Engine`, which has the run afterwards: `engine.run`; or a
      configuration, such as `"hookcore.toml"`.
    * `resume`: `"auto"` resumes from the newest whole checkpoint of a plugin such as `Checkpoint`, if there is one yet; a path
      resumes from that checkpoint, or from the newest in that directory. The rounds are those of the whole run, and the
      checkpoint's forest takes the place of `init_model`. Raises what `Driver.begin` does.

    The forest that is returned is the one that plugins leave: the whole, or cut to the best if `EarlyStopping` restores that;
    `best_iteration` is its number of iterations if a plugin has stopped training or cut it.
    """
    beside = list(callbacks or ())
    if any(isinstance(callback, LightGBMAdapter) for callback in beside):
        raise ParameterError("hookcore_adapters.lightgbm.train: give the plugins of the LightGBMAdapter in callbacks as plugins.")
    names, trains_on = _names(train_set, valid_sets, valid_names)
    scheduled = [name for callback in beside for name in getattr(callback, "kwargs", ())]
    trainee = LightGBMTrainee(scheduled=scheduled, evaluates_training=trains_on is not None)
    run = Run.of(trainee, validation_data=valid_sets, metric_names=metric_names(names, trains_on or TRAINING))
    driver = Driver(plugins, resume=resume, host=NoHost(ADAPTER), always_ends=True)
    driver.begin(run, start=False)
    training = _Training(driver, trainee, run)
    try:
        if beside and run.resumed_from is not None:
            logger.warning("lightgbm: callbacks beside the plugins begin again in a resumed run: no checkpoint has their state")
        training.iterate(
            beside, init_model, params, train_set, num_boost_round, valid_sets=valid_sets, valid_names=valid_names, feval=feval
        )
        training.finish()
    except BaseException as error:
        driver.end(error)
        raise
    booster = trainee.booster
    if not keep_training_booster:  # as lightgbm.train does it: this cuts the forest to its best iteration
        booster.model_from_string(booster.model_to_string()).free_dataset()
    return booster


@attrs.define(eq=False, slots=False)  # LightGBM looks into its __dict__
class _Callback:
    call: Callable[[Any], None]
    order: float
    before_iteration: bool = attrs.field(kw_only=True)

    def __call__(self, env: Any) -> None:
        self.call(env)


@attrs.define(eq=False)
class _Training:
    """Tells the driver of each iteration: last of all when it begins, first of all when it ends, so that none is missed."""

    driver: Driver
    trainee: LightGBMTrainee
    run: Run
    is_done: bool = False
    """Whether training ended before LightGBM's last iteration, by a vote or because a resumed run has no more."""

    def iterate(self, beside: Sequence[Callable[[Any], None]], init_model: Any, *given: Any, **named: Any) -> None:
        """Train, from the forest of the checkpoint if a run is resumed."""
        resumed = self.trainee.resumed
        if resumed is not None and resumed.iterations:
            init_model = lightgbm.Booster(model_str=resumed.text)
        own = [_Callback(self.before, math.inf, before_iteration=True), _Callback(self.after, -math.inf, before_iteration=False)]
        try:  # the booster must live until plugins have had the end
            lightgbm.train(*given, **named, init_model=init_model, keep_training_booster=True, callbacks=[*beside, *own])
        except lightgbm.EarlyStopException:
            if not self.is_done:
                raise

    def before(self, env: Any) -> None:
        """Begin an iteration, or raise what ends training if no iteration is left."""
        if self.trainee.booster is None:
            self._start(env)
        position = self.driver.position  # in an epoch that has begun if a resumed run was cut there: it is trained first
        if (self.driver.stopping and not position.begun) or position.epoch >= env.end_iteration - env.begin_iteration:
            self.is_done = True
            raise lightgbm.EarlyStopException(0, [])
        self.driver.epoch_begin()

    def after(self, env: Any) -> None:
        """End it."""
        self.driver.epoch_end(self.trainee.heard(env.evaluation_result_list))

    def _start(self, env: Any) -> None:
        trainee, run = self.trainee, self.run
        trainee.attach(env)
        run.shared.model, run.shared.epochs = env.model, env.end_iteration - env.begin_iteration
        reason = trainee.lacks("checkpoint")
        if run.resumed_from is not None and reason is not None:
            raise CapabilityError(f"lightgbm: the checkpoint {run.resumed_from.path} cannot be resumed: {reason}.")
        saves = any(registered.is_resumable for registered in self.driver.engine.plugins)
        unlike = trainee.unlike()
        if unlike is not None and (saves or run.resumed_from is not None):
            logger.warning(
                "lightgbm: a run that is resumed grows other trees than one that was never cut, because no checkpoint can hold "
                "what LightGBM draws or computes with %s",
                unlike,
            )
        self.driver.start()

    def finish(self) -> None:
        """End the run, and have the booster say what its plugins leave."""
        driver, trainee, booster = self.driver, self.trainee, self.trainee.booster
        trainee.is_over = True
        is_whole = self.is_done or driver.epoch + 1 == self.run.epochs
        if driver.stopping and booster.best_iteration <= 0:
            booster.best_iteration = trainee.iterations
        driver.end(by=None if is_whole else LEFT)
        if self.is_done or trainee.cut is not None:
            booster.best_score = defaultdict(OrderedDict)
            for result in trainee.results:
                booster.best_score[result[0]][result[1]] = result[2]


def _names(train_set: Any, valid_sets: Any, valid_names: Any) -> tuple[list[str], str | None]:
    """Return what LightGBM calls the validation sets, and the training data if these are evaluated."""
    sets = [valid_sets] if isinstance(valid_sets, lightgbm.Dataset) else list(valid_sets or ())
    given = [valid_names] if isinstance(valid_names, str) else list(valid_names or ())
    named = [given[number] if number < len(given) else None for number in range(len(sets))]
    validation = [name or f"valid_{number}" for number, name in enumerate(named) if sets[number] is not train_set]
    training = [name or TRAINING for name, own in zip(named, sets, strict=True) if own is train_set]
    return validation, training[-1] if training else None
