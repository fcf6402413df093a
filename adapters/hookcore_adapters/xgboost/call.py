"""What `xgboost.train` was given: it does not tell a callback."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, Final

import attrs
import xgboost
from xgboost.callback import EarlyStopping, EvaluationMonitor, LearningRateScheduler, TrainingCheckPoint

from hookcore import CapabilityError, MetricNames, ParameterError
from hookcore.stacks import callers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import CodeType

TRAIN: Final[CodeType] = inspect.unwrap(xgboost.train).__code__
"""The code of the function that runs the loop."""
_SET_NO_RATE: Final = (EarlyStopping, EvaluationMonitor, TrainingCheckPoint)


@attrs.frozen(eq=False)
class TrainCall:
    """The arguments of the call of `xgboost.train` that is being executed."""

    parameters: Mapping[str, Any]
    rounds: int
    """How many it trains at most."""
    evals: Sequence[tuple[Any, str]]
    """What is evaluated, each with its name."""
    training: Sequence[str]
    """The names of those that are the training data."""
    callbacks: Sequence[Any]
    """Those that were given, and those that XGBoost adds."""

    @classmethod
    def being_executed(cls) -> TrainCall:
        """Return the innermost call. Raises `CapabilityError` outside of one, as in `xgboost.cv`."""
        for frame in callers(sys._getframe()):  # noqa: SLF001 - the only way to find the caller
            if frame.f_code is TRAIN:
                given = frame.f_locals
                training = [name for data, name in given["evals"] if data is given["dtrain"]]
                return cls(dict(given["params"]), given["num_boost_round"], given["evals"], training, given["callbacks"])
        raise CapabilityError(
            "XGBoostAdapter works in xgboost.train and what calls it, such as XGBClassifier. xgboost.cv trains several models at "
            "once: call xgboost.train for each fold. A loop of your own takes Loop(plugins, trainee=XGBoostTrainee(booster))."
        )

    @property
    def names(self) -> MetricNames:
        """How the names of metrics begin."""
        validation = tuple(f"{name}-" for _, name in self.evals if name not in self.training)
        return MetricNames(validation, tuple(f"{name}-" for name in self.training))

    @property
    def validation(self) -> list[tuple[Any, str]] | None:
        """What is evaluated besides the training data, if anything."""
        return [(data, name) for data, name in self.evals if name not in self.training] or None

    def others(self, adapter: object) -> list[Any]:
        """Return the callbacks besides `adapter`."""
        return [callback for callback in self.callbacks if callback is not adapter]

    def check(self, adapter: object, *, resumes: bool) -> None:
        """Raise `ParameterError` for parameters and callbacks that would spoil the run without an error of XGBoost's."""
        if self.parameters.get("process_type") == "update":
            raise ParameterError(
                "params: process_type='update' changes the trees of xgb_model, and plugins take each round for new ones. Leave "
                "out the XGBoostAdapter."
            )
        if sum(isinstance(callback, type(adapter)) for callback in self.callbacks) > 1:
            raise ParameterError(
                "callbacks: there is more than one XGBoostAdapter, and each would cut and save the model beside the others. Give "
                "all plugins to one."
            )
        names = [name for _, name in self.evals]
        if len(set(names)) < len(names):
            raise ParameterError(
                f"evals: of the data {names!r} two have one name, and XGBoost mixes their metrics. Give each a name of its own."
            )
        if any(isinstance(callback, EarlyStopping) and callback.save_best for callback in self.callbacks):
            raise ParameterError(
                "callbacks: EarlyStopping(save_best=True) of xgboost.callback would cut the model beside plugins that do. Leave "
                "out save_best, and use EarlyStopping(restore_best_weights=True) of hookcore_plugins."
            )
        if resumes and self.callbacks[0] is not adapter:
            raise ParameterError(
                f"callbacks: in a run that is resumed the XGBoostAdapter must be the first, and {self.callbacks[0]!r} is. Others "
                "note the number of rounds when training begins, and the model has those of the checkpoint only then."
            )


def sets_rate(callback: Any) -> bool:
    """Return whether `callback` may set the learning rate."""
    return not isinstance(callback, _SET_NO_RATE)


def is_schedule(callback: Any) -> bool:
    """Return whether `callback` sets the learning rate in each round."""
    return isinstance(callback, LearningRateScheduler)
