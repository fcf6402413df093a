"""The arguments of `xgboost.train`, which XGBoost does not pass to callbacks."""

from __future__ import annotations

import inspect
import itertools
import sys
from typing import TYPE_CHECKING, Any, Final

import attrs
import xgboost
from xgboost.callback import EarlyStopping, EvaluationMonitor, LearningRateScheduler, TrainingCallback, TrainingCheckPoint

from hookcore import CapabilityError, HookcoreError, MetricNames, ParameterError
from hookcore.stacks import callers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import CodeType

TRAIN: Final[CodeType] = inspect.unwrap(xgboost.train).__code__
"""The code of the function that runs the training loop."""
_SET_NO_RATE: Final = (EarlyStopping, EvaluationMonitor, TrainingCheckPoint)
_STOP_NOTHING: Final = (EvaluationMonitor, LearningRateScheduler, TrainingCheckPoint)


@attrs.frozen(eq=False)
class TrainCall:
    """The arguments of the call of `xgboost.train` that is being executed."""

    parameters: Mapping[str, Any]
    rounds: int
    """The number of iterations that it trains at most."""
    evals: Sequence[tuple[Any, str]]
    """The data sets that are evaluated, each with its name."""
    training: Sequence[str]
    """The names in `evals` of the training data."""
    callbacks: Sequence[Any]
    """The callbacks that were given, and those that XGBoost adds."""

    @classmethod
    def being_executed(cls) -> TrainCall:
        """Return the innermost call. Raises `CapabilityError` outside of one, as in `xgboost.cv`."""
        for given in _calls():
            training = [name for data, name in given["evals"] if data is given["dtrain"]]
            return cls(dict(given["params"]), given["num_boost_round"], given["evals"], training, given["callbacks"])
        raise CapabilityError(
            "XGBoostAdapter was called outside of xgboost.train. It works in xgboost.train and in what calls that, such as "
            "XGBClassifier. xgboost.cv trains several models at once: call xgboost.train for each fold. In your own loop, use "
            "Loop(plugins, trainee=XGBoostTrainee(booster))."
        )

    @property
    def names(self) -> MetricNames:
        """The prefixes of the names of metrics."""
        validation = tuple(f"{name}-" for _, name in self.evals if name not in self.training)
        return MetricNames(validation, tuple(f"{name}-" for name in self.training))

    @property
    def validation(self) -> list[tuple[Any, str]] | None:
        """The data sets that are evaluated, except the training data, or None."""
        return [(data, name) for data, name in self.evals if name not in self.training] or None

    def others(self, adapter: object) -> list[Any]:
        """Return the callbacks besides `adapter`."""
        return [callback for callback in self.callbacks if callback is not adapter]

    def stops_by(self, adapter: object) -> str:
        """Return the reason if XGBoost itself stops: the callbacks that may stop it, with the parameters of early stopping."""
        able = ", ".join(_described(callback) for callback in self.others(adapter) if type(callback) not in _STOP_NOTHING)
        return f"a callback of xgboost.train: {able}"

    def sets_rate_before(self, adapter: object) -> bool:
        """Return whether a callback after `adapter` may set the learning rate of an iteration that is about to be trained."""
        later = itertools.dropwhile(lambda callback: callback is not adapter, self.callbacks)
        return any(sets_rate(callback) and _acts_before(callback) for callback in later if callback is not adapter)

    def check(self, adapter: object, *, resumes: bool) -> None:
        """Raise `ParameterError` for parameters and callbacks that would spoil the run silently."""
        if self.parameters.get("process_type") == "update":
            raise ParameterError(
                "XGBoostAdapter: params has process_type='update', which changes the trees of xgb_model, and plugins need rounds "
                "that add trees. Train without the XGBoostAdapter."
            )
        if sum(isinstance(callback, type(adapter)) for callback in self.callbacks) > 1:
            raise ParameterError(
                "XGBoostAdapter: callbacks has more than one XGBoostAdapter, and each would cut and save the same model. Pass "
                "all plugins to one."
            )
        names = [name for _, name in self.evals]
        if len(set(names)) < len(names):
            raise ParameterError(
                f"XGBoostAdapter: evals has two data sets with the same name, {names!r}, and XGBoost mixes their metrics. Give "
                "each a different name."
            )
        if any(isinstance(callback, EarlyStopping) and callback.save_best for callback in self.callbacks):
            raise ParameterError(
                "XGBoostAdapter: callbacks has xgboost.callback.EarlyStopping(save_best=True), which would cut the model as "
                "plugins do. Leave out save_best, and use EarlyStopping(restore_best_weights=True) of hookcore_plugins."
            )
        if resumes and self.callbacks[0] is not adapter:
            raise ParameterError(
                f"XGBoostAdapter: in a resumed run the XGBoostAdapter must be the first of callbacks, and {self.callbacks[0]!r} "
                "is. Earlier callbacks would read the number of rounds before the model has those of the checkpoint. Move the "
                "XGBoostAdapter to the front."
            )


def check_not_nested(adapter: object) -> None:
    """Raise `HookcoreError` if `adapter` is in use in a call of `xgboost.train` in which the innermost call is nested."""
    if any(callback is adapter for given in itertools.islice(_calls(), 1, None) for callback in given["callbacks"]):
        raise HookcoreError(
            "XGBoostAdapter: it is in the callbacks of a training and in those of another training inside it, and its plugins "
            "can follow one run at a time. Give the inner training an XGBoostAdapter and plugins of its own."
        )


def _calls() -> Iterator[Mapping[str, Any]]:
    """Yield the variables of each call of `xgboost.train` that is being executed, the innermost first."""
    for frame in callers(sys._getframe()):  # noqa: SLF001 - the only way to find the caller
        if frame.f_code is TRAIN:
            yield frame.f_locals


def _acts_before(callback: Any) -> bool:
    """Return whether `callback` has a `before_iteration`."""
    return getattr(callback.before_iteration, "__func__", None) is not TrainingCallback.before_iteration


def _described(callback: Any) -> str:
    kind = type(callback).__name__
    if not isinstance(callback, EarlyStopping):
        return kind
    given = {"rounds": callback.rounds, "metric_name": callback.metric_name, "data_name": callback.data}
    given["min_delta"] = callback._min_delta or None  # noqa: SLF001 - it has no public name
    return f"{kind}({', '.join(f'{name}={value!r}' for name, value in given.items() if value is not None)})"


def sets_rate(callback: Any) -> bool:
    """Return whether `callback` may set the learning rate."""
    return not isinstance(callback, _SET_NO_RATE)


def is_schedule(callback: Any) -> bool:
    """Return whether `callback` sets the learning rate in each round."""
    return isinstance(callback, LearningRateScheduler)
