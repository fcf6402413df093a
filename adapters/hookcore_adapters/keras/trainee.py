"""A Keras model as plugins see it: learning rate, snapshots, saving, metric directions."""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING, Any, Final

import attrs
import keras

from hookcore import HookcoreError
from hookcore.metrics import DIRECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
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
        optimizer = _innermost(self.model.optimizer)
        try:
            if isinstance(optimizer.learning_rate, keras.Variable):
                return None
        except AttributeError as error:  # a MultiOptimizer has several
            return f"{type(optimizer).__name__} has none to set: {error}".removesuffix(".")
        schedule = getattr(optimizer, "_learning_rate", None)
        name = getattr(schedule, "__name__", type(schedule).__name__)
        return (
            f"the optimizer's learning rate comes from a schedule, {name}, and cannot be set. "
            "Give the optimizer a number instead, or leave this plugin out"
        )

    @property
    def learning_rate(self) -> float:
        """The optimizer's rate, or a schedule's rate at this step."""
        return float(self._synced().optimizer.learning_rate)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._synced().optimizer.learning_rate = value

    @property
    def iterations(self) -> int | None:
        """The updates that the optimizer has done, or None where the model was compiled without one."""
        optimizer = self._synced().optimizer
        return None if optimizer is None else int(optimizer.iterations)

    def snapshot(self, *, optimizer: bool = True) -> KerasSnapshot:
        """Copies of the model's weights and, unless told otherwise, of its optimizer's variables."""
        # Copied, since on some backends an array shares its memory with the variable.
        weights = copy.deepcopy(self._synced().get_weights())
        held = self._complete().optimizer if optimizer else None
        return KerasSnapshot(weights, None if held is None else copy.deepcopy([variable.numpy() for variable in held.variables]))

    def restore(self, snapshot: KerasSnapshot) -> None:
        """Put the copies back. Raises `HookcoreError` where the model had no weights yet when they were taken."""
        self._check(snapshot)
        self._synced().set_weights(snapshot.weights)
        if snapshot.optimizer is not None:
            for variable, value in zip(self._complete().optimizer.variables, snapshot.optimizer, strict=True):
                variable.assign(value)

    def _check(self, snapshot: KerasSnapshot) -> None:
        held, there = len(keras.tree.flatten(snapshot.weights)), len(keras.tree.flatten(self.model.get_weights()))
        if held != there:
            msg = (
                f"The snapshot holds {held} values and the model has {there}: it was taken of another model, "
                "or before this one was built."
            )
            raise HookcoreError(msg)

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
        self._complete().load_weights(directory / MODEL_FILE)

    def direction(self, metric: str) -> Mode | None:
        """`min` for losses; for a compiled metric what Keras declares of it. Names of several outputs are matched whole."""
        wanted = metric.removeprefix("val_")
        prefixes = ["", *(f"{output}_" for output in _outputs(self.model))]
        if wanted in {f"{prefix}loss" for prefix in prefixes}:
            return "min"
        for name, direction in _directions(self.model.metrics):
            if wanted in {f"{prefix}{name}" for prefix in prefixes}:
                return direction
        return None

    def _complete(self) -> Any:
        # An optimizer makes most of its variables at the first update. Without them Keras loads none of its state, and only
        # warns.
        model = self._synced()
        if model.built and model.optimizer is not None and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        return model

    def _synced(self) -> Any:
        # On JAX the trainer keeps the values to itself within an epoch, and takes them back from the model after this.
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        return self.model


def _innermost(optimizer: Any) -> Any:
    # LossScaleOptimizer wraps the one that has the rate.
    return getattr(optimizer, "inner_optimizer", optimizer)


def _outputs(model: Any) -> set[str]:
    """The outputs' names, as far as they are known before the first batch."""
    names = set(getattr(model, "output_names", None) or [])
    for compiled, given in (("_compile_loss", "_user_loss"), ("_compile_metrics", "_user_metrics")):
        by_output = getattr(getattr(model, compiled, None), given, None)
        names |= set(by_output) if isinstance(by_output, dict) else set()
    return names


def _directions(metrics: Iterable[Any]) -> Iterator[tuple[str, Mode | None]]:
    """The name of each compiled metric and the direction that Keras declares for it."""
    for one in metrics:
        # Compiled metrics are made at the first batch; until then there is what was given to `compile`.
        given = [getattr(one, "_user_metrics", None), getattr(one, "_user_weighted_metrics", None)]
        inner = getattr(one, "metrics", None) or [leaf for leaf in keras.tree.flatten(given) if leaf is not None]
        if inner:
            yield from _directions(inner)
        elif isinstance(one, str):
            yield one, DIRECTIONS.get(one.lower()) or _declared(_by_name(one))
        else:
            yield getattr(one, "name", ""), _declared(one)


def _by_name(metric: str) -> Any:
    with contextlib.suppress(TypeError, ValueError):  # what Keras does not know, it refuses itself
        return keras.metrics.get(metric)
    return None


def _declared(metric: Any) -> Mode | None:
    directions: dict[Any, Mode] = {"up": "max", "down": "min"}
    return directions.get(getattr(metric, "_direction", None))
