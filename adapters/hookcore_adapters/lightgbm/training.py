"""`train`: `lightgbm.train` with plugins, which get the beginning of each iteration, and errors at once."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs
import lightgbm

from hookcore import CapabilityError, ParameterError, Plugins, Resume, Run
from hookcore.authoring import direction_of
from hookcore.driver import Driver
from hookcore.host import NoHost
from hookcore_adapters.lightgbm import metrics
from hookcore_adapters.lightgbm.adapter import LightGBMAdapter
from hookcore_adapters.lightgbm.stopping import stops_by
from hookcore_adapters.lightgbm.trainee import ADAPTER, LightGBMTrainee

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

    * `plugins`: what `Engine` takes; an `Engine`, which has the run afterwards as `engine.run`; or a configuration, such as
      `"hookcore.toml"`.
    * `resume`: `"auto"` resumes from the newest whole checkpoint of a plugin such as `Checkpoint`, if there is one; a path
      resumes from that checkpoint, or from the newest in that directory. `num_boost_round` includes the rounds of the checkpoint,
      whose forest replaces `init_model`.

    The forest is whole, unless a plugin such as `EarlyStopping` restores the best: then it is cut to that. `best_iteration` is
    the number of its iterations if a plugin has stopped training or cut it.

    Raises what LightGBM and the plugins raise, `CheckpointError` for a checkpoint that cannot be resumed, and `CapabilityError`
    for training that plugins cannot steer.
    """
    beside = list(callbacks or ())
    if any(isinstance(callback, LightGBMAdapter) for callback in beside):
        raise ParameterError(
            "hookcore_adapters.lightgbm.train: callbacks has a LightGBMAdapter, and train is the adapter here. Pass its plugins "
            "as plugins=[...]."
        )
    names, trains_on = _names(train_set, valid_sets, valid_names)
    scheduled = [name for callback in beside for name in getattr(callback, "kwargs", ())]
    trainee = LightGBMTrainee(scheduled=scheduled, evaluates_training=trains_on is not None)
    run = Run.of(trainee, validation_data=valid_sets, metric_names=metrics.names(names, trains_on or metrics.TRAINING))
    driver = Driver(plugins, resume=resume, host=NoHost(ADAPTER), always_ends=True)
    stops = stops_by(beside, params)
    driver.begin(run, stops_by=stops, start=False)
    training = _Training(driver, trainee, run, stops, bool(beside))
    try:
        if beside and run.resumed_from is not None:
            logger.warning("lightgbm: callbacks start over in a resumed run, as no checkpoint has their state")
        training.iterate(
            beside, init_model, params, train_set, num_boost_round, valid_sets=valid_sets, valid_names=valid_names, feval=feval
        )
        training.finish()
    except BaseException as error:
        driver.end(error)
        raise
    booster = trainee.booster
    if not keep_training_booster:  # as in lightgbm.train: this cuts the forest to its best iteration
        booster.model_from_string(booster.model_to_string()).free_dataset()
    return booster


@attrs.define(eq=False, slots=False)  # LightGBM sets a default in its __dict__
class _Callback:
    call: Callable[[Any], None]
    order: float
    before_iteration: bool = attrs.field(kw_only=True)

    def __call__(self, env: Any) -> None:
        self.call(env)


@attrs.define(eq=False)
class _Training:
    """Report each iteration to the driver.

    A callback cannot see that another one stops training. So plugins get the end of an iteration only when the next one begins or
    training is over: by then the stop is known, and a checkpoint of that moment records it.
    """

    driver: Driver
    trainee: LightGBMTrainee
    run: Run
    stops_by: str
    """The reason if LightGBM itself stops."""
    is_beside_others: bool
    """Whether there are other callbacks: plugins get an iteration's end before they act on the next one."""
    is_done: bool = False
    """Whether this ended training before an iteration, after a vote, or because nothing was left of a resumed run."""
    _metrics: Mapping[str, Any] | None = None
    """The metrics of an iteration whose end plugins have yet to get."""

    def iterate(self, beside: Sequence[Callable[[Any], None]], init_model: Any, *given: Any, **named: Any) -> None:
        """Train; in a resumed run, from the forest of the checkpoint."""
        resumed = self.trainee.resumed
        if resumed is not None and resumed.iterations:
            init_model = lightgbm.Booster(model_str=resumed.text)
        own = [_Callback(self.before, math.inf, before_iteration=True), _Callback(self.after, -math.inf, before_iteration=False)]
        if self.is_beside_others:
            own.append(_Callback(self.end_iteration, -math.inf, before_iteration=True))
        try:  # plugins need the booster until the run has ended
            lightgbm.train(*given, **named, init_model=init_model, keep_training_booster=True, callbacks=[*beside, *own])
        except lightgbm.EarlyStopException:
            if not self.is_done:
                raise

    def before(self, env: Any) -> None:
        """Begin an iteration. Raises `EarlyStopException` if none is left, to end training."""
        self.end_iteration()
        if self.trainee.booster is None:
            self._start(env)
        position = self.driver.position  # if the run was cut after an epoch began, that is trained first, whatever the votes
        if (self.driver.stopping and not position.begun) or position.epoch >= env.end_iteration - env.begin_iteration:
            self.is_done = True
            raise lightgbm.EarlyStopException(0, [])
        self.driver.epoch_begin()

    def after(self, env: Any) -> None:
        """Take the metrics of an iteration, before another callback can stop training and hide it."""
        self._metrics = self.trainee.evaluated(env.evaluation_result_list)
        if self.is_beside_others:
            self.driver.epoch_ends()  # before others change the learning rate
        if env.iteration == env.begin_iteration:
            self._check_modes()

    def _check_modes(self) -> None:
        """Warn of each plugin whose `mode` contradicts the direction of a metric of `feval`, which LightGBM tells only now."""
        for plugin, given in self.run.parameters.items():
            monitor, mode = given.get("monitor"), given.get("mode")
            if isinstance(monitor, str) and mode in {"min", "max"}:
                direction_of(self.run.as_plugin(plugin), monitor, mode)

    def end_iteration(self, env: Any = None) -> None:
        """End the latest iteration, if plugins have yet to get its end."""
        del env
        found, self._metrics = self._metrics, None
        if found is not None:
            self.driver.epoch_end(found)

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
                "lightgbm: a resumed run grows other trees than an uninterrupted one, because no checkpoint can hold what "
                "LightGBM "
                "draws or computes with %s",
                unlike,
            )
        self.driver.start()

    def finish(self) -> None:
        """End the run, and set the booster's best iteration and score if plugins have decided on the forest."""
        driver, trainee, run, booster = self.driver, self.trainee, self.run, self.trainee.booster
        if not self.is_done and driver.epoch + 1 != run.epochs:
            driver.stops(self.stops_by)
        self.end_iteration()
        trainee.is_over = True
        resumed = trainee.resumed
        if resumed is not None and run.resumed_from is not None and run.progress.step == run.resumed_from.step:
            booster.best_iteration = resumed.best_iteration  # nothing was trained since LightGBM found it
            booster.best_score = _scores(resumed.best_score)
        is_lightgbms = booster.best_iteration > 0
        if driver.stopping and not is_lightgbms:
            booster.best_iteration = trainee.iterations
        driver.end()
        if trainee.cut is not None or (self.is_done and not is_lightgbms):
            booster.best_score = _scores(trainee.results)


def _scores(results: Iterable[Sequence[Any]]) -> Any:
    """Return the values of `results` by data and metric, as in LightGBM's `best_score`."""
    found: Any = defaultdict(OrderedDict)
    for data, metric, value, *_ in results:
        found[data][metric] = value
    return found


def _names(train_set: Any, valid_sets: Any, valid_names: Any) -> tuple[list[str], str | None]:
    """Return LightGBM's names for the validation sets, and for the training data if they are evaluated."""
    sets = [valid_sets] if isinstance(valid_sets, lightgbm.Dataset) else list(valid_sets or ())
    given = [valid_names] if isinstance(valid_names, str) else list(valid_names or ())
    named = [given[number] if number < len(given) else None for number in range(len(sets))]
    validation = [name or f"valid_{number}" for number, name in enumerate(named) if sets[number] is not train_set]
    training = [name or metrics.TRAINING for name, own in zip(named, sets, strict=True) if own is train_set]
    return validation, training[-1] if training else None
