"""The state of Keras in the middle of an epoch, so that an interrupted epoch continues exactly."""

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
    """The metrics so far, and the random state at the beginning of the epoch's data."""

    logs: Mapping[str, Any] | None = None
    """The logs of the latest batch in the checkpoint."""
    random: KerasRandom = attrs.field(factory=KerasRandom.now)
    metrics: list[Any] | None = None
    """The values of the metrics' variables while a validation uses the variables, and None otherwise."""

    def hold_metrics(self, model: Any, *, has_logs: bool) -> None:
        """Keep the values of the metrics' variables before a validation overwrites them, and the logs unless there are some."""
        self.metrics = _values(model)
        if not has_logs and self.logs is None:
            self.logs = dict(Metrics(model.get_metrics_result()))

    def state_dict(self, model: Any, logs: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the state, with the logs of the latest batch, as values for JSON."""
        metrics = _values(model) if self.metrics is None else self.metrics
        return {
            # float64 holds every number of a smaller type, and JSON holds float64.
            "metrics": [value.astype("float64").tolist() for value in metrics],
            "logs": dict(Metrics(logs)),
            "random": self.random.state_dict(),
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Return the state in a result of `state_dict`. Raises `CheckpointError` for anything else."""
        try:
            logs = {str(name): float(value) for name, value in state["logs"].items()}
            metrics = [np.asarray(value, dtype="float64") for value in state["metrics"]]
            return cls(logs, KerasRandom.from_state_dict(state["random"]), metrics)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise CheckpointError(
                f"The checkpoint has no state of Keras to resume within an epoch: {error!r}. Resume from one at the end of an "
                "epoch."
            ) from error

    def restore_metrics(self, model: Any) -> None:
        """Restore the kept values in the metrics' variables."""
        values, self.metrics = self.metrics or [], None
        variables = _metrics_variables(model)
        if [tuple(variable.shape) for variable in variables] != [value.shape for value in values]:
            logger.warning("resumed: the metrics have changed, so this epoch's metrics are those of the rest of the epoch")
            return
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value.astype(getattr(variable.dtype, "as_numpy_dtype", variable.dtype)))


def _values(model: Any) -> list[Any]:
    jax_state.sync(model)
    return [np.array(variable.numpy()) for variable in _metrics_variables(model)]


def _metrics_variables(model: Any) -> list[Any]:
    """Return the variables of the metrics; on TensorFlow, the native variables of each replica of a distribution strategy."""
    if keras.backend.backend() != "tensorflow":
        return list(model.metrics_variables)
    values = [variable.value for variable in model.metrics_variables]
    return [own for value in values for own in getattr(value, "values", (value,))]
