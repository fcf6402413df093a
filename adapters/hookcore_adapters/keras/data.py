"""What the arguments of `fit` tell of its data: the validation data, and whether the order of its batches repeats."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
from keras.src.utils.rng_utils import get_random_seed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hookcore.run import Position


def validation_data(arguments: Mapping[str, Any]) -> Any:
    """Return the validation data given, or the part that `validation_split` takes off the end of the training data."""
    data, fraction = arguments["validation_data"], arguments["validation_split"]
    samples = _sample_count(arguments["x"])
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
    if _sample_count(data) is not None:
        arrays = _training_data(arguments)
        batch: Any = keras.tree.map_structure(lambda part: part.to_numpy() if hasattr(part, "iloc") else part, arrays)
    elif isinstance(data, keras.utils.PyDataset):
        batch = data[0]
    elif hasattr(data, "element_spec"):  # tf.data
        batch = data.element_spec
    else:
        return
    build_from_batch(model, batch)


def build_from_batch(model: Any, batch: Any) -> None:
    """Make what the model and its metrics lack of what Keras makes at the first batch."""

    def symbolic(part: Any) -> Any:
        if part is None:
            return None
        part = one_replica(part)
        return keras.KerasTensor((None, *part.shape[1:]), keras.backend.standardize_dtype(part.dtype))

    # The other backends' trainers call this, and TensorFlow's only for a distribution strategy.
    model._symbolic_build(data_batch=keras.tree.map_structure(symbolic, batch))  # noqa: SLF001


def one_replica(part: Any) -> Any:
    """Return the first replica's share of a tensor of a batch that a distribution strategy has split, or else the tensor."""
    return part if hasattr(part, "shape") else getattr(part, "values", (part,))[0]


def order_warnings(arguments: Mapping[str, Any] | None, position: Position) -> Iterator[str]:
    """Yield each known reason why a run that is resumed at `position` may get other batches than the run that was cut."""
    if arguments is None:
        return
    if arguments["steps_per_epoch"] and position.epoch > arguments["initial_epoch"]:
        yield "with steps_per_epoch the data may continue from epoch to epoch, and now they begin again with their first batch"
    if position.batch and _reorders(arguments["x"], first=position.epoch == arguments["initial_epoch"]):
        yield (
            "the dataset shuffles, and its order cannot be made again, so that some samples of this epoch are trained twice and "
            "others not at all; shuffle(..., seed=..., reshuffle_each_iteration=False) makes the order the same, or save at the "
            "ends of epochs only"
        )
    shuffled = arguments["shuffle"] and _sample_count(arguments["x"]) is not None
    if shuffled and position.batch and get_random_seed() is None:
        yield (
            "the data are shuffled without a seed, so that some samples of this epoch are trained twice and others not at all; "
            "keras.utils.set_random_seed before fit makes the order the same"
        )


def sizes(arguments: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of training samples and of samples in a batch, if the data are arrays."""
    samples = _sample_count(arguments["x"])
    if samples is None:
        return {}
    if arguments["validation_data"] is None:
        samples = _split_index(samples, arguments["validation_split"])
    return {"batch_size": int(arguments["batch_size"] or 32), "samples": samples}


def _reorders(data: Any, *, first: bool) -> bool:
    """Return whether another process cannot repeat the order of a `tf.data` pipeline in its `first` epoch, or in a later one."""
    data = getattr(data, "_original_dataset", data)  # of a distributed one
    inputs = getattr(data, "_inputs", None)
    if inputs is None:
        return False
    if type(data).__name__ == "_ShuffleDataset":
        is_seeded = any(int(seed) for seed in (data._seed, data._seed2))  # noqa: SLF001 - TensorFlow tells in no other way
        if not is_seeded or (data._reshuffle_each_iteration is not False and not first):  # noqa: SLF001
            return True
    return any(_reorders(source, first=first) for source in inputs())


def _training_data(arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    parts = [arguments["x"], arguments["y"], arguments["sample_weight"]]
    while parts[-1] is None:
        parts.pop()
    return tuple(parts)


def _sample_count(data: Any) -> int | None:
    """Return the number of samples in arrays, or None if `data` has no arrays."""
    leaves: Sequence[Any] = keras.tree.flatten(data) if data is not None else []
    shape = getattr(leaves[0], "shape", None) if leaves else None
    return int(shape[0]) if shape is not None and len(shape) else None


def _split_index(samples: int, fraction: float) -> int:
    return math.floor(samples * (1.0 - fraction)) if fraction else samples
