"""A Keras model as plugins see it: learning rate, snapshots, saving, metric directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import keras

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hookcore.trainee import Capability, Mode

MODEL_FILE: Final = "model.keras"
"""The file in a checkpoint that `keras.models.load_model` opens."""


@attrs.frozen(eq=False)
class KerasSnapshot:
    """Copies of a model's values as NumPy arrays, in the model's own order; `optimizer` is None where it was left out."""

    weights: list[Any] = attrs.field(repr=False)
    optimizer: list[Any] | None = attrs.field(repr=False)


@attrs.define(eq=False)
class KerasTrainee:
    """`hookcore.Trainee` for a compiled Keras model, on any backend."""

    model: Any
    framework: str = "keras"

    def lacks(self, capability: Capability) -> str | None:
        """Only a learning rate can be missing: where there is no optimizer, or a `LearningRateSchedule` sets it."""
        if capability != "learning_rate":
            return None
        if self.model.optimizer is None:
            return "the model was compiled without an optimizer"
        # The optimizer's config is the public way to see what the learning rate is made of.
        rate = _innermost(self.model.optimizer).get_config()["learning_rate"]
        if isinstance(rate, float | int):
            return None
        name = rate.get("class_name", "function") if isinstance(rate, dict) else type(rate).__name__
        return (
            f"the optimizer's learning rate comes from a schedule, {name}, and cannot be set. "
            "Give the optimizer a number instead, or leave this plugin out"
        )

    @property
    def learning_rate(self) -> float:
        """The optimizer's rate, or a schedule's rate at this step."""
        return float(keras.ops.convert_to_numpy(self._synced().optimizer.learning_rate))

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._synced().optimizer.learning_rate = value

    def snapshot(self, *, optimizer: bool = True) -> KerasSnapshot:
        """Copies of the model's weights and, unless told otherwise, of its optimizer's variables."""
        model = self._synced()
        return KerasSnapshot(
            _copied(model.weights), _copied(model.optimizer.variables) if optimizer and model.optimizer else None
        )

    def restore(self, snapshot: KerasSnapshot) -> None:
        """Put the copies back."""
        model = self._synced()
        _assign(model.weights, snapshot.weights)
        if snapshot.optimizer is not None:
            _assign(model.optimizer.variables, snapshot.optimizer)

    def write(self, snapshot: KerasSnapshot, directory: Path) -> None:
        """Write `snapshot` as a whole `.keras` model, optimizer state included."""
        now = self.snapshot()
        self.restore(snapshot)
        try:
            self.model.save(directory / MODEL_FILE)
        finally:
            self.restore(now)

    def read(self, directory: Path) -> None:
        """Load what `write` wrote, optimizer state included, into the model."""
        self._synced().load_weights(directory / MODEL_FILE)

    def direction(self, metric: str) -> Mode | None:
        """`min` for losses; for a compiled metric what Keras declares of it. Names of several outputs are matched whole."""
        wanted = metric.removeprefix("val_")
        outputs = list(getattr(self.model, "output_names", None) or [])
        prefixes = ["", *(f"{output}_" for output in outputs)]
        if wanted in {f"{prefix}loss" for prefix in prefixes}:
            return "min"
        for one in _flat_metrics(self.model.metrics):
            if wanted in {f"{prefix}{one.name}" for prefix in prefixes}:
                declared = getattr(one, "_direction", None)
                return {"up": "max", "down": "min"}.get(declared) if declared else None  # type: ignore[return-value]
        return None

    def _synced(self) -> Any:
        # On JAX the trainer keeps the values to itself within an epoch, and takes them back from the model after this.
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        return self.model


def _innermost(optimizer: Any) -> Any:
    # LossScaleOptimizer wraps the one that has the rate.
    return getattr(optimizer, "inner_optimizer", optimizer)


def _copied(variables: Sequence[Any]) -> list[Any]:
    return [keras.ops.convert_to_numpy(variable).copy() for variable in variables]


def _assign(variables: Sequence[Any], values: Sequence[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _flat_metrics(metrics: Sequence[Any]) -> Iterator[Any]:
    for one in metrics:
        inner = getattr(one, "metrics", None)
        if inner:
            yield from _flat_metrics(inner)
        else:
            yield one
