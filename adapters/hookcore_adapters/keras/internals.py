"""The private parts of Keras that this package uses. Those of data are in `internal_data`, and no other file uses any.

There is no public replacement, and each release of Keras may change them. Each is declared once, as a `PrivatePart`, which the
functions below use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hookcore_adapters.keras.private_part import PrivatePart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from io import BytesIO
    from pathlib import Path

# Saving.

_SAVEABLE = PrivatePart("keras.src.saving.keras_saveable.KerasSaveable", "which objects Keras saves")
_KIND_OF_SAVEABLE = PrivatePart("keras.src.saving.keras_saveable.KerasSaveable._obj_type", "what kind of object Keras saves")
_WALK = PrivatePart("keras.src.saving.saving_lib._walk_saveable", "the objects in an object that Keras saves")
_SKIPPED = PrivatePart("keras.src.saving.saving_lib.get_attr_skipset", "which attributes Keras does not save")
_AS_JSON = PrivatePart("keras.src.saving.saving_lib._serialize_model_as_json", "a model's configuration without its weights")
_STORE = PrivatePart("keras.src.saving.saving_lib.H5IOStore", "how Keras lays out a file of weights")
_SNAKE_CASE = PrivatePart("keras.src.utils.naming.to_snake_case", "the names of objects in lists in a file of weights")
_SOURCE = PrivatePart("keras.src", "which methods are Keras's own")
_PREPROCESSING = PrivatePart("keras.src.layers.preprocessing", "which layers of Keras's own do more than assign when they load")
_GLOBAL = PrivatePart("keras.src.backend.common.global_state.get_global_attribute", "what Keras keeps for the whole process")
_SET_GLOBAL = PrivatePart(
    "keras.src.backend.common.global_state.set_global_attribute", "where Keras keeps which attributes it does not save"
)


def saveable() -> Any:
    """Return the class of all objects that Keras saves: layers, optimizers, metrics, losses."""
    return _SAVEABLE.value


def walk_saveable(value: Any) -> Iterable[tuple[str, Any]]:
    """Return the name and the value of each attribute of `value` in which Keras looks for objects to save."""
    # Keras makes an object of each kind to find its attributes. It makes one for each call, because it stores the result under
    # another key than it reads. Each thread has its own keys.
    kind = _KIND_OF_SAVEABLE.of(value)()
    key = f"saving_attr_skiplist_{kind}"
    if _GLOBAL.value(key) is None:
        _SET_GLOBAL.value(key, _SKIPPED.value(kind))
    return _WALK.value(value)  # type: ignore[no-any-return]


def name_in_list(value: Any) -> str:
    """Return the name of an object in a list in a file of weights, without its number."""
    return str(_SNAKE_CASE.value(type(value).__name__))


def is_of_keras(owner: Any, method: str) -> bool:
    """Return whether the class of `owner` has `method` from Keras, and does not override it."""
    return _module_of(owner, method).startswith(f"{_SOURCE.path}.")


def is_of_preprocessing(owner: Any, method: str) -> bool:
    """Return whether the class of `owner` has `method` from one of Keras's preprocessing layers."""
    return _module_of(owner, method).startswith(f"{_PREPROCESSING.path}.")


def _module_of(owner: Any, method: str) -> str:
    return str(getattr(getattr(type(owner), method, None), "__module__", ""))


def model_as_json(model: Any) -> Iterable[str]:
    """Return the configuration and the metadata of a `.keras` file."""
    return _AS_JSON.value(model)  # type: ignore[no-any-return]


def weights_store(file: Path | BytesIO, mode: str) -> Any:
    """Open a file of weights, with groups in Keras's layout."""
    return _STORE.value(file, mode=mode)


# Random numbers.

_MAKE_GLOBAL_SEED = PrivatePart("keras.src.random.seed_generator.global_seed_generator", "the generator without a seed")
_SEED_DTYPE = PrivatePart("keras.src.backend.random_seed_dtype", "the type of a generator's state")
_RANDOM_SEED = PrivatePart("keras.src.utils.rng_utils.get_random_seed", "whether keras.utils.set_random_seed was called")
_GLOBAL_SEED: Final = "global_seed_generator"
"""Keras's name of the generator, which has been a constant in Keras only since 3.13."""


def global_seed() -> Any | None:
    """Return the state variable of the generator from which `keras.random` draws without a seed, or None before its first use."""
    generator = _GLOBAL.value(_GLOBAL_SEED)
    return None if generator is None else generator.state


def set_global_seed(value: Any) -> None:
    """Set the state of the generator from which `keras.random` draws without a seed."""
    _MAKE_GLOBAL_SEED.value().state.assign(value)


def seed_dtype() -> Any:
    """Return the type of the state of Keras's generators on this backend."""
    return _SEED_DTYPE.value()


def random_seed() -> int | None:
    """Return the seed given to `keras.utils.set_random_seed`, or None."""
    return _RANDOM_SEED.value()  # type: ignore[no-any-return]


# Layers and optimizers.

_FLATTEN_LAYERS = PrivatePart("keras.Layer._flatten_layers", "the layers within a layer that is not a model")
_TRAINED_WEIGHTS = PrivatePart("keras.Layer._trainable_variables", "a layer's own weights, without those of layers within")
_OTHER_WEIGHTS = PrivatePart("keras.Layer._non_trainable_variables", "a layer's own weights, without those of layers within")
_SEEDS = PrivatePart("keras.Layer._seed_generators", "a layer's own generators, without those of layers within")
_FUNCTIONAL = PrivatePart("keras.Sequential._functional", "the graph of a Sequential")
_NODES = PrivatePart("keras.Function._nodes_by_depth", "the order in which a model calls its layers")
_LOOKUP_LAYER = PrivatePart("keras.layers.TextVectorization._lookup_layer", "whether a vocabulary has changed")
_OPTIMIZED = PrivatePart("keras.optimizers.Optimizer._trainable_variables", "the variables that an optimizer was built for")
_RATE = PrivatePart("keras.optimizers.Optimizer._learning_rate", "the schedule of an optimizer's learning rate")
_CALLS = PrivatePart("keras.optimizers.Optimizer._iterations", "how often an optimizer that adds up gradients was called")


def flatten_layers(layer: Any, *, include_self: bool = True, recursive: bool = True) -> list[Any]:
    """Return the layers within `layer`, which need not be a model: all of them if `recursive`, or only those directly within."""
    return list(_FLATTEN_LAYERS.of(layer)(include_self=include_self, recursive=recursive))


def own_variables(layer: Any) -> list[Any]:
    """Return the variables of `layer`, including the states of its seed generators, without those of layers within."""
    seeds = [generator.state for generator in _SEEDS.of(layer)]
    return [*_TRAINED_WEIGHTS.of(layer), *_OTHER_WEIGHTS.of(layer), *seeds]


def functional_of_sequential(model: Any) -> Any | None:
    """Return the inner model with the graph of a Sequential, or None if it is not built."""
    return _FUNCTIONAL.of(model)


def nodes_by_depth(functional: Any) -> Mapping[int, list[Any]]:
    """Return the calls of layers and operations in a model's graph, by their distance from the output."""
    return _NODES.of(functional)  # type: ignore[no-any-return]


def lookup_table(layer: Any) -> Any | None:
    """Return the table of a lookup layer, which a new vocabulary replaces; None for another layer."""
    return getattr(_LOOKUP_LAYER.of(layer, layer), "lookup_table", None)


def trainable_variables_of(optimizer: Any) -> list[Any]:
    """Return the variables that `optimizer` was built for."""
    return list(_OPTIMIZED.of(optimizer))


def rate_or_schedule(optimizer: Any) -> Any | None:
    """Return the learning rate of `optimizer`, a variable or a schedule, or None if it has neither."""
    return _RATE.of(optimizer, None)


def calls_of(optimizer: Any, updates: Any) -> Any:
    """Return how often `optimizer` was called, which is more than its `updates` if it adds up gradients."""
    return _CALLS.of(optimizer, updates)


# Arguments of `compile`.

_LOSS = PrivatePart("keras.Model._compile_loss", "the compiled losses")
_METRICS = PrivatePart("keras.Model._compile_metrics", "the compiled metrics")
_LOSS_TRACKER = PrivatePart("keras.Model._loss_tracker", "the metric of the loss, which model.metrics may hide")
_GIVEN_LOSS = PrivatePart("keras.src.trainers.compile_utils.CompileLoss._user_loss", "the names of outputs with losses")
_GIVEN_METRICS = PrivatePart("keras.src.trainers.compile_utils.CompileMetrics._user_metrics", "metrics before the first batch")
_GIVEN_WEIGHTED = PrivatePart(
    "keras.src.trainers.compile_utils.CompileMetrics._user_weighted_metrics", "weighted metrics before the first batch"
)
_DIRECTION = PrivatePart("keras.metrics.MeanMetricWrapper._direction", "whether a metric gets better upwards or downwards")


def hidden_metrics(model: Any) -> list[Any]:
    """Return the metrics of training that a model's own `metrics` property may leave out."""
    hidden = [_LOSS_TRACKER.of(model, None), _METRICS.of(model, None), *getattr(_LOSS.of(model, None), "metrics", ())]
    return [metric for metric in hidden if metric is not None]


def losses_and_metrics_given(model: Any) -> list[Any]:
    """Return the losses and the metrics that were given to `compile`, in any of the forms that it accepts, or None."""
    return [_GIVEN_LOSS.of(_LOSS.of(model, None), None), _GIVEN_METRICS.of(_METRICS.of(model, None), None)]


def metrics_given(metric: Any) -> list[Any]:
    """Return the metrics and the weighted metrics that were given to `compile`, if `metric` is Keras's container of them."""
    return [_GIVEN_METRICS.of(metric, None), _GIVEN_WEIGHTED.of(metric, None)]


def direction_of(metric: Any) -> str | None:
    """Return `"up"` or `"down"`, the direction in which `metric` improves by Keras's declaration, or None."""
    return _DIRECTION.of(metric, None)  # type: ignore[no-any-return]


# Training.

_TRAINER = PrivatePart(
    "keras.src.trainers.trainer.Trainer", "the signature of Keras's own fit, which a patched Model.fit may hide"
)
_INITIAL_EPOCH = PrivatePart("keras.Model._initial_epoch", "the epoch with which fit begins")
_BUILD = PrivatePart("keras.Model._symbolic_build", "what Keras makes at the first batch")
_COMPUTE_LOSS = PrivatePart("keras.Model._compute_loss", "the loss, even if an overridden compute_loss lacks an argument")
_MODEL = PrivatePart("keras.callbacks.Callback._model", "in which attribute a callback keeps its model")
_EMA_IN_MODEL = PrivatePart("keras.callbacks.SwapEMAWeights._ema_weights_in_model", "which weights are in the model")
_JAX_STATE = PrivatePart("keras.src.backend.jax.trainer.JAXTrainer._jax_state", "the values that JAX's trainer keeps to itself")
_JAX_SYNCED = PrivatePart("keras.src.backend.jax.trainer.JAXTrainer._jax_state_synced", "whether the model has them too")


def jax_state(model: Any) -> Mapping[str, Any] | None:
    """Return the values that Keras's trainer on JAX holds, by the kind of variable, or None if the variables have them."""
    state = _JAX_STATE.of(model, None)  # models on other backends lack it
    return None if not state or _JAX_SYNCED.of(model) else state


class _Epoch(int):
    """An epoch that is true even if it is 0, because Keras uses `_initial_epoch or initial_epoch`."""

    def __bool__(self) -> bool:
        return True


def trainer_fit() -> Callable[..., Any]:
    """Return Keras's own `fit`, whose signature tools that patch `Model.fit` may hide."""
    return _TRAINER.value.fit  # type: ignore[no-any-return]


def set_initial_epoch(model: Any, epoch: int | None) -> None:
    """Make the `fit` of `model` begin with `epoch`, counted from 0, or with its argument again for None."""
    _INITIAL_EPOCH.set(model, None if epoch is None else _Epoch(epoch))


def symbolic_build(model: Any, batch: Any) -> None:
    """Build what Keras builds of `model` and its metrics at the first batch. `batch` consists of Keras's symbolic tensors."""
    _BUILD.of(model)(data_batch=batch)


def compute_loss(model: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any, *, training: bool) -> Any:
    """Return the compiled loss. Calls an overridden `compute_loss` in the same way as Keras."""
    return _COMPUTE_LOSS.of(model)(x, y, y_pred, sample_weight, training=training)


def drop_model(callback: Any) -> None:
    """Remove the model from `callback`, without its `set_model`, which may not accept None."""
    _MODEL.set(callback, None)


def has_ema_weights(callback: Any) -> bool:
    """Return whether a `SwapEMAWeights` has put the averaged weights into the model."""
    return bool(_EMA_IN_MODEL.of(callback))


def set_has_ema_weights(callback: Any, *, value: Any) -> None:
    """Set in a `SwapEMAWeights` whether the averaged weights are in the model."""
    _EMA_IN_MODEL.set(callback, bool(value))
