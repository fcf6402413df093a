"""The trainee for Keras models: learning rate, snapshots, checkpoints, metric directions and views."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any, Final

import attrs
import keras

from hookcore import CheckpointError, HookcoreError
from hookcore.trainee import Views
from hookcore.validators import reject
from hookcore_adapters.keras import internals, jax_state
from hookcore_adapters.keras.directions import direction_in
from hookcore_adapters.keras.mistakes import refuse_other_models
from hookcore_adapters.keras.model_file import read_arrays, write_arrays
from hookcore_adapters.keras.model_state import ARRAYS_FILE, RANDOM_FILE, ModelState, check_fits
from hookcore_adapters.keras.part import Part
from hookcore_adapters.keras.snapshot import KerasSnapshot, nbytes_of, value_of
from hookcore_adapters.keras.views import KerasViews
from hookcore_adapters.part_names import EXPECTED, are_part_names

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from hookcore.store import Hashed
    from hookcore.trainee import Capability, Mode, Node

logger = logging.getLogger("hookcore")

MODEL_FILE: Final = "model.keras"
"""The file in a checkpoint that `keras.models.load_model` opens."""


@attrs.define(eq=False)
class KerasTrainee:
    """`hookcore.Trainee` and its `Views` for Keras models, on any backend.

    * `model`: a model, or a mapping of names to models that are trained together.
    * `optimizer`: an optimizer that your own loop applies, or a mapping of names to several. Not needed if the model was compiled
      with it, or has it as an attribute.

    With several models there are no views, and with several optimizers no learning rate that a plugin could set.
    """

    model: Any
    optimizer: Any = attrs.field(default=None, kw_only=True)
    framework: str = attrs.field(default="keras", kw_only=True)
    _state: ModelState = attrs.field(init=False, repr=False)
    _views: KerasViews | None = attrs.field(init=False, repr=False)
    _is_checked: bool = attrs.field(init=False, default=False, repr=False)

    @_state.default
    def _make_state(self) -> ModelState:
        for model in _named(self.model, "model").values():
            refuse_other_models(model)
        # Sorted, because the script that resumes may list them in another order.
        parts = [Part(model, name, is_model=True) for name, model in sorted(_named(self.model, "model").items())]
        # Names have no dots, so a model's file cannot have the name of an optimizer's.
        optimizers = sorted(self._given_optimizers().items())
        parts += [Part(optimizer, f"{name}.optimizer", is_model=False) for name, optimizer in optimizers]
        return ModelState(parts)

    @_views.default
    def _make_views(self) -> KerasViews | None:
        models = self._state.models
        return KerasViews(models[0]) if len(models) == 1 else None

    def __attrs_post_init__(self) -> None:
        if isinstance(self.model, dict) and not _fits(self.model, keras.Model):
            reject(self, "model", self.model, f"a model, or a dict of models by {EXPECTED}")
        if self.optimizer is not None and not _fits(_named(self.optimizer, "model"), keras.optimizers.Optimizer):
            reject(self, "optimizer", self.optimizer, f"an optimizer of Keras's, or a dict of them by {EXPECTED}")

    def _given_optimizers(self) -> dict[str, Any]:
        return {} if self.optimizer is None else _named(self.optimizer, "model")

    def lacks(self, capability: Capability) -> str | None:
        """Return why the learning rate, saving or a view is not available, or None if it is."""
        if capability == "checkpoint":
            return self._reason_not_saved()
        if capability != "learning_rate":
            several = f"there are {len(self._state.models)} models, and a view is of one"
            return self._views.lacks(capability) if self._views is not None else several if hasattr(Views, capability) else None
        given = self._all_optimizers()
        if len(given) != 1:
            none = "the model was compiled without an optimizer, and KerasTrainee was given none"
            return f"there are {len(given)} optimizers, and a plugin sets the rate of one" if given else none
        optimizer = innermost(given[0])
        try:
            if isinstance(optimizer.learning_rate, keras.Variable):
                return None
        except AttributeError as error:  # a MultiOptimizer has several rates
            return f"{type(optimizer).__name__} has no learning rate to set: {error}".removesuffix(".")
        schedule = internals.rate_or_schedule(optimizer)
        name = getattr(schedule, "__name__", type(schedule).__name__)
        return (
            f"the optimizer's learning rate comes from a schedule, {name}, and cannot be set. "
            "Give the optimizer a number instead, or leave this plugin out"
        )

    def _reason_not_saved(self) -> str | None:
        """Return why the state cannot be saved, or None as far as is known. Warn once about what checkpoints would lack."""
        first, self._is_checked = not self._is_checked, True
        if first:
            for part in self._state.parts:
                if (reason := part.reason_without_model_file()) is not None:
                    logger.warning(
                        "checkpoints hold no %s.keras, as Keras cannot save how %s is made: %s. They hold all weights and state, "
                        "in %s.weights.h5 and beside it, from which a run is resumed. Define get_config to have both.",
                        part.stem,
                        part.root.name,
                        reason,
                        part.stem,
                    )
        self._state.find()
        if first and not self._state.has_optimizer:
            logger.warning(
                "checkpoints hold no optimizer: neither the model nor KerasTrainee has one. If the loop applies one, give it: "
                "KerasTrainee(model, optimizer=optimizer). Otherwise its state is lost when the run is resumed"
            )
        try:
            for part in self._state.parts:
                if getattr(part.root, "built", False):
                    part.record(())
        except CheckpointError as error:
            return str(error).removesuffix(".")
        return None

    @property
    def learning_rate(self) -> float:
        """The optimizer's rate, or the rate of its schedule at this step."""
        optimizer = self._one_optimizer()
        with self._reading(optimizer):
            return _number(optimizer.learning_rate)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.sync()
        self._one_optimizer().learning_rate = value

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of updates and of calls of the optimizer. There are more calls than updates if it accumulates gradients."""
        optimizer = innermost(self._one_optimizer())
        with self._reading(optimizer):
            updates = optimizer.iterations
            calls = internals.calls_of(optimizer, updates)
            done = int(_number(calls))  # waits for the device
            return done if updates is calls else int(_number(updates)), done

    def _reading(self, optimizer: Any) -> AbstractContextManager[None]:
        """Return a context in which the counters and the rate of `optimizer` have their newest values."""
        inner = innermost(optimizer)
        own = [internals.calls_of(inner, None), internals.rate_or_schedule(inner)]
        return jax_state.reading(self._state.models, *own)

    def _all_optimizers(self) -> list[Any]:
        """Return the given optimizers, or by default those with which the models were compiled."""
        compiled = (getattr(model, "optimizer", None) for model in self._state.models)
        return list(self._given_optimizers().values()) or [optimizer for optimizer in compiled if optimizer is not None]

    def _one_optimizer(self) -> Any:
        optimizers = self._all_optimizers()
        if len(optimizers) != 1:
            raise AttributeError(f"The learning rate is not known: {self.lacks('learning_rate')}.")
        return optimizers[0]

    def sync(self) -> None:
        """Copy into the models' variables the values that Keras's trainer on JAX holds during an epoch."""
        for model in self._state.models:
            jax_state.sync(model)

    def snapshot(self, *, optimizer: bool = True) -> KerasSnapshot:
        """Return the models' weights and, if `optimizer`, also the state of optimizers, layers and random generators.

        Raises `CheckpointError` if a layer's own code fails to save.
        """
        self.sync()
        if optimizer:
            return self._state.take()
        if _has_own_weights(self.model):
            return KerasSnapshot(copy.deepcopy(self.model.get_weights()))
        weights = self._weights()
        return KerasSnapshot([value_of(variable) for variable in weights], nbytes=nbytes_of(weights))

    def restore(self, snapshot: KerasSnapshot) -> None:
        """Restore `snapshot`. Raises `HookcoreError` if it is of another model, or of this one before it was built."""
        self.sync()
        if not snapshot.weights_only:
            self._state.put_back(snapshot)
        elif _has_own_weights(self.model):
            self.model.set_weights(snapshot.values)
        else:
            check_fits(self._weights(), snapshot)
            for variable, value in zip(self._weights(), snapshot.values, strict=True):
                variable.assign(value)

    def write(self, snapshot: KerasSnapshot, directory: Path) -> dict[str, Hashed]:
        """Write `snapshot`: only weights, or a `.keras` file of each model and the rest beside.

        Return the hashes of some files, by name.
        """
        if not snapshot.weights_only:
            return self._state.write(snapshot, directory)
        write_arrays({"arrays": snapshot.values}, directory / ARRAYS_FILE)
        return {}

    def read(self, directory: Path) -> KerasSnapshot:
        """Return the snapshot that `write` wrote. The models are not changed, and no configuration in a file is read.

        Raises `CheckpointError` that names the differences for a checkpoint of another model, or one that `write` could not have
        written.
        """
        for model in self._state.models:
            if not model.built:
                raise CheckpointError(
                    f"{model.name} cannot be resumed before it is built. Build it first: give it an Input, or call it on "
                    "a batch of data."
                )
        self.sync()
        if (directory / RANDOM_FILE).exists():
            return self._state.read(directory)
        weights = self.model.get_weights() if _has_own_weights(self.model) else self._weights()
        return KerasSnapshot(read_arrays({"arrays": weights}, directory / ARRAYS_FILE)["arrays"])

    def direction(self, metric: str) -> Mode | None:
        """Return `min` for a loss, the direction that Keras declares for a compiled metric, and None for any other name."""
        found = (direction_in(model, metric) for model in self._state.models)
        return next((direction for direction in found if direction is not None), None)

    def weights(self) -> dict[str, Any]:
        """See `KerasViews.weights`."""
        self.sync()
        return self._view().weights()

    def activations(self, data: Any, samples: int = 1) -> dict[str, Any]:
        """See `KerasViews.activations`."""
        self.sync()
        return self._view().activations(data, samples)

    def gradients(self, data: Any, samples: int = 32) -> dict[str, Any]:
        """See `KerasViews.gradients`."""
        self.sync()
        return self._view().gradients(data, samples)

    def graph(self) -> list[Node]:
        """See `KerasViews.graph`."""
        return self._view().graph()

    def embeddings(self) -> dict[str, Any]:
        """See `KerasViews.embeddings`."""
        self.sync()
        return self._view().embeddings()

    def picture(self) -> bytes:
        """See `KerasViews.picture`."""
        return self._view().picture()

    def _view(self) -> KerasViews:
        if self._views is None:
            raise HookcoreError(f"KerasTrainee has no views: there are {len(self._state.models)} models, and a view is of one.")
        return self._views

    def _weights(self) -> list[Any]:
        return [variable for model in self._state.models for variable in model.weights]


def _named(given: Any, name: str) -> dict[str, Any]:
    return given if isinstance(given, dict) else {name: given}


def _fits(named: dict[str, Any], kind: type) -> bool:
    return bool(named) and are_part_names(named) and all(isinstance(value, kind) for value in named.values())


def _has_own_weights(model: Any) -> bool:
    """Return whether the model overrides `get_weights`, which Keras's own callbacks call to keep weights."""
    return not isinstance(model, dict) and getattr(type(model), "get_weights", None) is not keras.Model.get_weights


def _number(value: Any) -> float:
    """Return the value of a variable or a tensor without dimensions."""
    try:
        return float(value)  # several times faster than the conversion below
    except (TypeError, ValueError):  # a variable that a distribution strategy mirrors
        return float(keras.ops.convert_to_numpy(value))


def innermost(optimizer: Any) -> Any:
    """Return the optimizer that makes the updates, which a `LossScaleOptimizer` may wrap."""
    return getattr(optimizer, "inner_optimizer", optimizer)
