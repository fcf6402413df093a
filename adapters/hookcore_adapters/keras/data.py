"""The data of `fit`: their shapes and sizes, the part to validate on, and the generators that they draw from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras

from hookcore_adapters.keras import internal_data, internals
from hookcore_adapters.keras.skip_batches import epoch_data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def validation_data(arguments: Mapping[str, Any]) -> Any:
    """Return the validation data given, or the part that `validation_split` takes off the end of the training data."""
    data, fraction = arguments["validation_data"], arguments["validation_split"]
    samples = sample_count(arguments["x"])
    if data is not None or not fraction or samples is None:
        return data
    start = _split_index(samples, fraction)

    def tail(part: Any) -> Any:
        return None if part is None else getattr(part, "iloc", part)[start:]  # iloc: pandas takes numbers for labels

    try:
        return keras.tree.map_structure(tail, _training_data(arguments))
    except TypeError:  # Keras can split sparse tensors, which have no slices of their own
        return None


def build_model(model: Any, arguments: Mapping[str, Any]) -> None:
    """Make the variables of an unbuilt model, as Keras does at the first batch, if the data tell their shapes."""
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
    """Make the metrics that TensorFlow's trainer makes at the first batch: of `batch`, or if it is None of what `data` tells.

    `data` is an epoch iterator of Keras's.
    """
    if keras.backend.backend() == "tensorflow":
        build_from_batch(model, internal_data.READ.of(data).element_spec if batch is None else batch)


def build_from_batch(model: Any, batch: Any) -> None:
    """Make what the model and its metrics lack of what Keras makes at the first batch."""

    def symbolic(part: Any) -> Any:
        if part is None:
            return None
        part = one_replica(part)
        return keras.KerasTensor((None, *part.shape[1:]), keras.backend.standardize_dtype(part.dtype))

    # The other backends' trainers call this, and TensorFlow's only for a distribution strategy.
    internals.symbolic_build(model, keras.tree.map_structure(symbolic, batch))


def one_replica(part: Any) -> Any:
    """Return the first replica's share of a tensor of a batch that a distribution strategy has split, or else the tensor."""
    return part if hasattr(part, "shape") else getattr(part, "values", (part,))[0]


def sizes(arguments: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of training samples and of samples in a batch, if the data are arrays."""
    samples = sample_count(arguments["x"])
    if samples is None:
        return {}
    if arguments["validation_data"] is None:
        samples = _split_index(samples, arguments["validation_split"])
    return {"batch_size": int(arguments["batch_size"] or 32), "samples": samples}


def generators_of_fit(validation_data: Any = None) -> list[Any]:
    """Return PyTorch's generators that belong to the data of the `fit` that is being executed, or to those for validation."""
    data = epoch_data()
    loader = None if data is None else internal_data.LOADER.of(data.data_adapter, None)
    return generators_of(loader, validation_data)


def generators_of(*loaders: Any) -> list[Any]:
    """Return the generators of PyTorch's that belong to those of `loaders` that are a DataLoader."""
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
    """Return the number of samples in arrays, or None if `data` has no arrays."""
    leaves: Sequence[Any] = keras.tree.flatten(data) if data is not None else []
    shape = getattr(leaves[0], "shape", None) if leaves else None
    return int(shape[0]) if shape is not None and len(shape) else None


def _split_index(samples: int, fraction: float) -> int:
    return math.floor(samples * (1.0 - fraction)) if fraction else samples
