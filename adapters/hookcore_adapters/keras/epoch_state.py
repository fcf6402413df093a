"""What Keras itself holds in the middle of an epoch, so that an epoch that was cut continues as it would have."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import keras
import numpy as np

from hookcore import CheckpointError, Metrics
from hookcore_adapters.keras import jax_state
from hookcore_adapters.keras.keras_random import KerasRandom

if TYPE_CHECKING:
    from typing import Self

logger = logging.getLogger("hookcore")


@attrs.define(eq=False)
class EpochState:
    """The metrics so far, and the random numbers with which the epoch's data began."""

    logs: Mapping[str, Any] | None = None
    """The logs of the latest batch before the run was cut, as read from its checkpoint."""
    random: KerasRandom = attrs.field(factory=KerasRandom.now)
    metrics: list[Any] | None = None
    """The values of the metrics' variables, or None if these hold them. A validation uses the same variables."""

    def hold_metrics(self, model: Any, *, has_logs: bool) -> None:
        """Keep the values of the metrics' variables, before a validation overwrites them; as logs too if there are no others."""
        self.metrics = _values(model)
        if not has_logs and self.logs is None:
            self.logs = dict(Metrics(model.get_metrics_result()))

    def state_dict(self, model: Any, logs: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the state, with the logs of the latest batch, as JSON-able values."""
        metrics = _values(model) if self.metrics is None else self.metrics
        return {
            # float64 holds every number of a smaller type, and becomes JSON.
            "metrics": [value.astype("float64").tolist() for value in metrics],
            "logs": dict(Metrics(logs)),
            "random": self.random.state_dict(),
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Return the state that `state_dict` returned. Raises `CheckpointError` for anything else."""
        try:
            logs = {str(name): float(value) for name, value in state["logs"].items()}
            metrics = [np.asarray(value, dtype="float64") for value in state["metrics"]]
            return cls(logs, KerasRandom.from_state_dict(state["random"]), metrics)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise CheckpointError(
                f"The checkpoint cannot be resumed by Keras within an epoch: {error!r}. Resume from one of an epoch's end."
            ) from error

    def restore_metrics(self, model: Any) -> None:
        """Put the values that were kept back into the metrics' variables."""
        values, self.metrics = self.metrics or [], None
        variables = _metrics_variables(model)
        if [tuple(variable.shape) for variable in variables] != [value.shape for value in values]:
            logger.warning("resumed: the metrics have changed, and are those of the rest of the epoch, not of all of it")
            return
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value.astype(getattr(variable.dtype, "as_numpy_dtype", variable.dtype)))


def _values(model: Any) -> list[Any]:
    jax_state.sync(model)
    return [np.array(variable.numpy()) for variable in _metrics_variables(model)]


def _metrics_variables(model: Any) -> list[Any]:
    """Return the variables of the metrics; on TensorFlow its own, those of each replica of a distribution strategy too."""
    if keras.backend.backend() != "tensorflow":
        return list(model.metrics_variables)
    values = [variable.value for variable in model.metrics_variables]
    return [own for value in values for own in getattr(value, "values", (value,))]
