"""A Keras model as plugins see it: learning rate, snapshots, saving, metric directions, and the views inside."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

import attrs
import keras
import numpy as np

from hookcore import CheckpointError, HookcoreError
from hookcore.observing import DIRECTIONS
from hookcore.store import files
from hookcore_adapters.keras.mistakes import refuse_other_keras
from hookcore_adapters.keras.model_file import read_arrays, read_model, write_arrays, write_model
from hookcore_adapters.keras.views import KerasViews
from hookcore_adapters.random_state import RandomState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from hookcore.trainee import Capability, Mode, Node

MODEL_FILE: Final = "model.keras"
"""The file in a checkpoint that `keras.models.load_model` opens."""

_ARRAYS_FILE: Final = "arrays.h5"
_RANDOM_FILE: Final = "random.json"
_MAX_RANDOM_FILE_SIZE: Final = 1_000_000
"""In bytes: the state of two generators takes a hundredth of it."""


@attrs.frozen(eq=False)
class KerasSnapshot:
    """Values of a model's variables, in its own order: of its weights alone, or of all that training continues with."""

    values: list[Any] = attrs.field(repr=False)
    random: RandomState | None = attrs.field(default=None, repr=False)
    """The state of the random numbers; None in a snapshot of the weights alone."""
    nbytes: int = 0
    """The disk space that writing it takes."""

    @property
    def weights_only(self) -> bool:
        """Whether it holds the weights alone."""
        return self.random is None


@attrs.define(eq=False)
class KerasTrainee:
    """`hookcore.Trainee` and its `Views` for a compiled Keras model, on any backend."""

    model: Any = attrs.field(validator=lambda _, __, model: refuse_other_keras(model))
    framework: str = "keras"
    _views: KerasViews = attrs.field(init=False, repr=False)

    @_views.default
    def _make_views(self) -> KerasViews:
        return KerasViews(self.model)

    def lacks(self, capability: Capability) -> str | None:
        """Return why the model lacks a settable learning rate, or a view; None if it has it."""
        if capability != "learning_rate":
            return self._views.lacks(capability)
        if self.model.optimizer is None:
            return "the model was compiled without an optimizer"
        optimizer = innermost(self.model.optimizer)
        try:
            if isinstance(optimizer.learning_rate, keras.Variable):
                return None
        except AttributeError as error:  # a MultiOptimizer has several
            return f"{type(optimizer).__name__} has no learning rate to set: {error}".removesuffix(".")
        schedule = getattr(optimizer, "_learning_rate", None)
        name = getattr(schedule, "__name__", type(schedule).__name__)
        return (
            f"the optimizer's learning rate comes from a schedule, {name}, and cannot be set. "
            "Give the optimizer a number instead, or leave this plugin out"
        )

    @property
    def learning_rate(self) -> float:
        """The optimizer's rate, or a schedule's rate at this step."""
        # Not by float alone, which refuses a variable that a distribution strategy mirrors.
        return float(keras.ops.convert_to_numpy(self._synced().optimizer.learning_rate))

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._synced().optimizer.learning_rate = value

    @property
    def counts(self) -> tuple[int, int]:
        """The updates that the optimizer has done and the calls that it has had, which are more if it accumulates gradients."""
        optimizer = innermost(self._synced().optimizer)
        updates = int(keras.ops.convert_to_numpy(optimizer.iterations))
        return updates, int(keras.ops.convert_to_numpy(getattr(optimizer, "_iterations", updates)))

    def snapshot(self, *, optimizer: bool = True) -> KerasSnapshot:
        """Return the model's weights and, if `optimizer`, the state of its optimizer and of the random numbers."""
        if not optimizer and _has_own_weights(self.model):
            return KerasSnapshot(copy.deepcopy(self._synced().get_weights()))
        variables = self._variables(weights_only=not optimizer)
        nbytes = sum(math.prod(variable.shape) * _itemsize(variable) for variable in variables)
        random = RandomState.now() if optimizer else None
        # A whole model takes its space twice until its parts are in one file.
        return KerasSnapshot([value_of(variable) for variable in variables], random, 2 * nbytes if optimizer else nbytes)

    def restore(self, snapshot: KerasSnapshot) -> None:
        """Put the values back. Raises `HookcoreError` if they are of another model, or of this one before it was built."""
        if snapshot.weights_only and _has_own_weights(self.model):
            self._synced().set_weights(snapshot.values)
            return
        variables = self._variables(weights_only=snapshot.weights_only)
        fits = len(variables) == len(snapshot.values) and all(
            tuple(variable.shape) == tuple(value.shape) for variable, value in zip(variables, snapshot.values, strict=True)
        )
        if not fits:
            raise HookcoreError(
                f"The snapshot holds {len(snapshot.values)} values and the model has {len(variables)}, or their shapes differ: "
                "it was taken of another model, or before this one was built."
            )
        for variable, value in zip(variables, snapshot.values, strict=True):
            variable.assign(value)
        if snapshot.random is not None:
            snapshot.random.restore()

    def write(self, snapshot: KerasSnapshot, directory: Path) -> None:
        """Write `snapshot`: the weights alone, or a `.keras` model with its optimizer's state, and what that file cannot hold."""
        if snapshot.random is None:
            write_arrays(snapshot.values, directory / _ARRAYS_FILE)
            return
        variables = _all_variables(self.model)  # not by `_variables`, which looks into the training: this may be another thread
        write_model(self.model, zip(variables, snapshot.values, strict=True), directory / MODEL_FILE)
        values = {id(variable): value for variable, value in zip(variables, snapshot.values, strict=True)}
        write_arrays([values[id(variable)] for variable in _not_in_model_file(self.model)], directory / _ARRAYS_FILE)
        (directory / _RANDOM_FILE).write_text(json.dumps(snapshot.random.state_dict()))

    def read(self, directory: Path) -> KerasSnapshot:
        """Return the snapshot that `write` wrote. The model stays as it is, and its configuration in the file is not read.

        Raises `CheckpointError`, which names the differences, for a checkpoint of another model, and for one that holds anything
        that `write` does not write.
        """
        if not self.model.built:
            raise CheckpointError(
                f"{self.model.name} cannot be resumed before it is built. Build it first: give it an Input, or call it on "
                "a batch of data."
            )
        weights_only = not (directory / MODEL_FILE).exists()
        variables = self._variables(weights_only=weights_only)
        if weights_only:
            weights = self._synced().get_weights() if _has_own_weights(self.model) else variables
            return KerasSnapshot(read_arrays(weights, directory / _ARRAYS_FILE))
        beside = _not_in_model_file(self.model)
        arrays = read_arrays(beside, directory / _ARRAYS_FILE)
        values = {id(variable): value for variable, value in zip(beside, arrays, strict=True)}
        others = [variable for variable in variables if id(variable) not in values]
        in_model = read_model(self.model, others, directory / MODEL_FILE)
        values |= {id(variable): value for variable, value in zip(others, in_model, strict=True)}
        try:
            random = RandomState.from_state_dict(json.loads(files.read(directory / _RANDOM_FILE, _MAX_RANDOM_FILE_SIZE)))
        except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
            raise CheckpointError(f"{directory / _RANDOM_FILE} cannot be read: {error!r}") from error
        return KerasSnapshot([values[id(variable)] for variable in variables], random)

    def direction(self, metric: str) -> Mode | None:
        """Return `min` for losses, for a compiled metric what Keras declares of it, and None for any other name."""
        wanted = metric.removeprefix("val_")
        prefixes = ["", *(f"{output}_" for output in outputs(self.model))]
        if wanted in {f"{prefix}loss" for prefix in prefixes}:
            return "min"
        for name, direction in directions(self.model.metrics):
            if wanted in {f"{prefix}{name}" for prefix in prefixes}:
                return direction
        return None

    def weights(self) -> dict[str, Any]:
        """See `KerasViews.weights`."""
        self._synced()
        return self._views.weights()

    def activations(self, data: Any, samples: int = 1) -> dict[str, Any]:
        """See `KerasViews.activations`."""
        self._synced()
        return self._views.activations(data, samples)

    def gradients(self, data: Any, samples: int = 32) -> dict[str, Any]:
        """See `KerasViews.gradients`."""
        self._synced()
        return self._views.gradients(data, samples)

    def graph(self) -> list[Node]:
        """See `KerasViews.graph`."""
        return self._views.graph()

    def embeddings(self) -> dict[str, Any]:
        """See `KerasViews.embeddings`."""
        self._synced()
        return self._views.embeddings()

    def picture(self) -> bytes:
        """See `KerasViews.picture`."""
        return self._views.picture()

    def _variables(self, *, weights_only: bool) -> list[Any]:
        """Return the variables whose values a snapshot holds, in order."""
        return list(self._synced().weights) if weights_only else _all_variables(self._with_built_optimizer())

    def _with_built_optimizer(self) -> Any:
        # An optimizer makes most variables at the first update. Without them Keras loads none of its state, and only warns.
        model = self._synced()
        if model.built and model.optimizer is not None and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        return model

    def _synced(self) -> Any:
        # On JAX the trainer keeps the values to itself within an epoch, and takes them back from the model after this.
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        return self.model


def _all_variables(model: Any) -> list[Any]:
    """Return all that training continues with: weights, the states of seed generators, and the optimizer's variables."""
    return [*model.variables, *(model.optimizer.variables if model.optimizer is not None else ())]


def _has_own_weights(model: Any) -> bool:
    """Return whether the model overrides `get_weights`, which Keras's own callbacks call to keep its weights."""
    return getattr(type(model), "get_weights", None) is not keras.Model.get_weights


def _not_in_model_file(model: Any) -> list[Any]:
    """Return the variables whose values a `.keras` file does not hold as they are."""
    weights = {id(variable) for variable in model.weights}
    seeds = [variable for variable in model.variables if id(variable) not in weights]
    layers = model._flatten_layers(include_self=False)  # noqa: SLF001 - nothing public lists those within others
    # Keras adds low-rank updates to the weights that it saves.
    with_lora = [layer for layer in layers if getattr(layer, "lora_enabled", False)]
    adapted = {id(variable): variable for layer in with_lora for variable in layer.variables}
    return [*seeds, *(variable for key, variable in adapted.items() if key in weights)]


def value_of(variable: Any) -> Any:
    """Return a variable's value now, which stays as it is when training continues."""
    if keras.backend.backend() != "tensorflow":
        # PyTorch trains in place, and JAX gives away the memory.
        return np.array(keras.ops.convert_to_numpy(variable.value))
    # TensorFlow copies on write, so a value that was read does not change. On an accelerator the copy would take its memory.
    return variable.value.read_value() if "CPU" in variable.value.device else variable.numpy()


def _itemsize(variable: Any) -> int:
    bits = re.search(r"\d+$", str(variable.dtype))
    return 1 if bits is None else math.ceil(int(bits[0]) / 8)


def innermost(optimizer: Any) -> Any:
    """Return the optimizer that has the rate and makes the updates: a `LossScaleOptimizer` wraps it."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def outputs(model: Any) -> set[str]:
    """Return the outputs' names, as far as they are known before the first batch."""
    names = set(getattr(model, "output_names", None) or [])
    for compiled, given in (("_compile_loss", "_user_loss"), ("_compile_metrics", "_user_metrics")):
        by_output = getattr(getattr(model, compiled, None), given, None)
        names |= set(by_output) if isinstance(by_output, dict) else set()
    return names


def directions(metrics: Iterable[Any]) -> Iterator[tuple[str, Mode | None]]:
    """Yield the name of each compiled metric and the direction that Keras declares for it."""
    for metric in metrics:
        # Keras makes compiled metrics at the first batch; until then it has what was given to `compile`.
        given = [getattr(metric, "_user_metrics", None), getattr(metric, "_user_weighted_metrics", None)]
        inner = getattr(metric, "metrics", None) or [leaf for leaf in keras.tree.flatten(given) if leaf is not None]
        if inner:
            yield from directions(inner)
        elif isinstance(metric, str):
            yield metric, DIRECTIONS.get(metric.lower()) or _declared(_metric_called(metric))
        else:
            yield getattr(metric, "name", ""), _declared(metric)


def _metric_called(metric: str) -> Any:
    with contextlib.suppress(TypeError, ValueError):  # `fit` refuses a name that Keras does not know
        return keras.metrics.get(metric)
    return None


def _declared(metric: Any) -> Mode | None:
    directions: dict[Any, Mode] = {"up": "max", "down": "min"}
    return directions.get(getattr(metric, "_direction", None))
