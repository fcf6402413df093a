"""The data of `fit`: their shapes and sizes, the validation split, and their random generators."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras

from hookcore_adapters.keras import internal_data, internals
from hookcore_adapters.keras.skip_batches import epoch_data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def validation_data(arguments: Mapping[str, Any]) -> Any:
    """Return `validation_data`, or the end of the training data that `validation_split` splits off."""
    data, fraction = arguments["validation_data"], arguments["validation_split"]
    samples = sample_count(arguments["x"])
    if data is not None or not fraction or samples is None:
        return data
    start = _split_index(samples, fraction)

    def tail(part: Any) -> Any:
        return None if part is None else getattr(part, "iloc", part)[start:]  # iloc, because pandas would read numbers as labels

    try:
        return keras.tree.map_structure(tail, _training_data(arguments))
    except TypeError:  # sparse tensors, which Keras can split, but which do not support slices
        return None


def build_model(model: Any, arguments: Mapping[str, Any]) -> None:
    """Build the variables of an unbuilt model, as Keras does at the first batch, if the shapes of the data are known."""
    data = arguments["x"]
    if sample_count(data) is not None:
        arrays = _training_data(arguments)
        batch: Any = keras.tree.map_structure(lambda part: part.to_numpy() if hasattr(part, "iloc") else part, arrays)
    elif isinstance(data, keras.utils.PyDataset):
        batch = data[0]
    elif hasattr(data, "element_spec"):  # tf.data
        batch = data.element_spec
    else:
        return
    build_from_batch(model, batch)


def build_metrics(model: Any, data: Any, batch: Any) -> None:
    """Build the metrics that TensorFlow's trainer makes at the first batch, from `batch` or, if it is None, from `data`.

    `data` is a Keras epoch iterator.
    """
    if keras.backend.backend() == "tensorflow":
        build_from_batch(model, internal_data.READ.of(data).element_spec if batch is None else batch)


def build_from_batch(model: Any, batch: Any) -> None:
    """Build the variables of the model and its metrics that Keras builds at the first batch."""

    def symbolic(part: Any) -> Any:
        if part is None:
            return None
        part = one_replica(part)
        return keras.KerasTensor((None, *part.shape[1:]), keras.backend.standardize_dtype(part.dtype))

    # The trainers of other backends call this, and TensorFlow's does so only for a distribution strategy.
    internals.symbolic_build(model, keras.tree.map_structure(symbolic, batch))


def one_replica(part: Any) -> Any:
    """Return a tensor, or the part of the first replica if a distribution strategy has split it."""
    return part if hasattr(part, "shape") else getattr(part, "values", (part,))[0]


def sizes(arguments: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of training samples and the batch size, or an empty dict if the data are not arrays."""
    samples = sample_count(arguments["x"])
    if samples is None:
        return {}
    if arguments["validation_data"] is None:
        samples = _split_index(samples, arguments["validation_split"])
    return {"batch_size": int(arguments["batch_size"] or 32), "samples": samples}


def generators_of_fit(validation_data: Any = None) -> list[Any]:
    """Return the PyTorch generators of the training data in the `fit` that is being executed, and of the validation data."""
    data = epoch_data()
    loader = None if data is None else internal_data.LOADER.of(data.data_adapter, None)
    return generators_of(loader, validation_data)


def generators_of(*loaders: Any) -> list[Any]:
    """Return the PyTorch generators of each DataLoader in `loaders`. Other objects are ignored."""
    holders = [
        holder
        for loader in loaders
        for holder in (loader, getattr(loader, "sampler", None), getattr(getattr(loader, "batch_sampler", None), "sampler", None))
    ]
    found = (getattr(holder, "generator", None) for holder in holders)
    return list({id(one): one for one in found if hasattr(one, "set_state") and hasattr(one, "initial_seed")}.values())


def _training_data(arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    parts = [arguments["x"], arguments["y"], arguments["sample_weight"]]
    while parts[-1] is None:
        parts.pop()
    return tuple(parts)


def sample_count(data: Any) -> int | None:
    """Return the number of samples in `data`, or None if it does not begin with an array."""
    leaves: Sequence[Any] = keras.tree.flatten(data) if data is not None else []
    shape = getattr(leaves[0], "shape", None) if leaves else None
    return int(shape[0]) if shape is not None and len(shape) else None


def _split_index(samples: int, fraction: float) -> int:
    return math.floor(samples * (1.0 - fraction)) if fraction else samples
