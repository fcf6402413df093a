"""Find whether the batches of `fit` come in the same order in a resumed run, as far as that can be known."""

from __future__ import annotations

import logging
import types
from typing import TYPE_CHECKING, Any, Final

import keras

from hookcore_adapters.keras import internal_data, internals
from hookcore_adapters.keras.data import sample_count
from hookcore_adapters.keras.skip_batches import epoch_data

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hookcore import Position

logger = logging.getLogger("hookcore")

_REPEATABLE: Final = "a keras.utils.PyDataset, or a tf.data pipeline whose order repeats"
_SAMPLERS: Final = {"RandomSampler", "SequentialSampler", "SubsetRandomSampler", "WeightedRandomSampler"}
"""PyTorch's samplers, which draw from the global generator or one of their own: a checkpoint has the states of both."""


def order_warnings(arguments: Mapping[str, Any] | None, position: Position) -> Iterator[str]:
    """Yield each known reason why a run that is resumed at `position` may get other batches than an uninterrupted run."""
    if arguments is None:
        return
    if continues(arguments, position) and not _begins_again(arguments["steps_per_epoch"], position):
        yield "with steps_per_epoch the data may continue from epoch to epoch, but now they start again with their first batch"
    doubt = _doubt(arguments["x"], first=position.epoch == arguments["initial_epoch"]) if position.batch else None
    if doubt is not None:
        yield (
            f"{doubt[0]}, so that some samples of this epoch may be trained twice and others not at all; {doubt[1]}, or save at "
            "the ends of epochs only"
        )
    if getattr(arguments["x"], "persistent_workers", False):
        yield (
            "the workers of the DataLoader persist, so random numbers that they draw for samples differ from those of an "
            "uninterrupted run; without persistent_workers they are the same"
        )
    if keras.backend.backend() != "tensorflow" and _reads_ahead(arguments["x"]):
        yield (
            "workers read the PyDataset ahead, and on this backend Keras begins an epoch with what they read in the epoch "
            "before, so an uninterrupted run would have had other batches; without workers they are the same"
        )
    if position.batch and _is_shuffled_without_seed(arguments):
        yield (
            "the data are shuffled without a seed, so that some samples of this epoch are trained twice and others not at all; "
            "keras.utils.set_random_seed before fit makes the order the same"
        )


def warn_of_missing_seed(arguments: Mapping[str, Any] | None) -> None:
    """Warn when a run begins that saves checkpoints, if it will not be able to resume exactly for lack of a seed."""
    if arguments is not None and _is_shuffled_without_seed(arguments):
        logger.warning(
            "the data are shuffled without a seed: if this run is interrupted within an epoch and resumed, some samples of that "
            "epoch are trained twice and others not at all. For the same order, call keras.utils.set_random_seed before fit"
        )


def _is_shuffled_without_seed(arguments: Mapping[str, Any]) -> bool:
    """Return whether the data are arrays whose order a resumed run cannot repeat, because there is no seed."""
    # Other backends draw the order from generators whose states are in the checkpoint.
    if keras.backend.backend() != "tensorflow" or internals.random_seed() is not None:
        return False
    return bool(arguments["shuffle"]) and sample_count(arguments["x"]) is not None


def continues(arguments: Mapping[str, Any] | None, position: Position) -> bool:
    """Return whether the epoch at `position` may continue an iteration over the data that an earlier epoch began."""
    return arguments is not None and bool(arguments["steps_per_epoch"]) and position.epoch > arguments["initial_epoch"]


def _begins_again(steps: int, position: Position) -> bool:
    """Return whether an epoch of `steps` batches uses all data, so that each epoch starts with the first batch."""
    data = epoch_data()
    length = None if data is None else data.data_adapter.num_batches
    # On PyTorch the data draw random numbers before the epoch begins, which changes the order of the batches to skip.
    return length is not None and steps >= length and not (position.batch and keras.backend.backend() == "torch")


def _reads_ahead(data: Any) -> bool:
    """Return whether Keras reads the data with workers."""
    if not isinstance(data, keras.utils.PyDataset):
        return False
    return bool(data.workers > 1 or (data.workers and data.use_multiprocessing))


def _doubt(data: Any, *, first: bool) -> tuple[str, str] | None:
    """Return why a resumed run may get the batches of `data` in another order, in the `first` epoch or a later one, and advice.

    Return None if the order is repeated, as far as is known, and for arrays, which Keras orders. Data of grain are not in doubt,
    because grain requires seeds.
    """
    if isinstance(data, types.GeneratorType):
        return "the data come from a generator, whose order cannot be known", f"give {_REPEATABLE}"
    if isinstance(data, internal_data.ADAPTER.value):
        return f"the data come from a {type(data).__name__}, whose order cannot be known", f"give {_REPEATABLE}"
    if internal_data.IS_DATA_LOADER.value(data):
        repeats = type(data.sampler).__name__ in _SAMPLERS and type(data.batch_sampler).__name__ == "BatchSampler"
        advice = "give it a dataset with indices and one of PyTorch's own samplers"
        return None if repeats else ("the order of the DataLoader cannot be known", advice)
    if isinstance(data, keras.utils.PyDataset):
        names = ("on_epoch_begin", "on_epoch_end")
        own = next((name for name in names if getattr(type(data), name) is not getattr(keras.utils.PyDataset, name)), None)
        if first or own is None:
            return None
        what = f"the {own} of {type(data).__name__} was called for each earlier epoch, and is not called for them again"
        return what, "make each batch depend only on its index"
    return _doubt_of_pipeline(data, first=first) if internal_data.IS_TF_DATASET.value(data) else None


def _doubt_of_pipeline(data: Any, *, first: bool) -> tuple[str, str] | None:
    """Return the same as `_doubt` for a `tf.data` pipeline."""
    data = internal_data.ORIGINAL.of(data, data)  # unwraps a distributed dataset
    if internal_data.INPUTS.of(data, None) is None:
        return "the dataset is made by a function on each replica, so its order cannot be known", f"give {_REPEATABLE}"
    if data.options().deterministic is False:
        return "the dataset is not deterministic", "set its option deterministic"
    return next((doubt for part in _parts(data) if (doubt := _doubt_of_part(part, first=first)) is not None), None)


def _doubt_of_part(part: Any, *, first: bool) -> tuple[str, str] | None:
    """Return the same as `_doubt` for one part of a pipeline."""
    called = _operations(part)
    shuffles = any(operation.startswith("Shuffle") for operation in called)
    if type(part).__name__ in {"_ShuffleDataset", "_RandomDataset"}:
        is_seeded = any(int(seed.of(part)) for seed in (internal_data.SEED, internal_data.SEED_2))
        # By default, a shuffle makes a new order in each epoch; a random dataset does so only on request.
        otherwise = internal_data.RERANDOMIZES.of(part, None) or False
        renewed = internal_data.RESHUFFLES.of(part, otherwise) is not False
        shuffles = not is_seeded or (renewed and not first)
    if shuffles:
        advice = "shuffle(..., seed=..., reshuffle_each_iteration=False) makes the order the same"
        return "the dataset shuffles, and its order cannot be repeated", advice
    if "GeneratorDataset" in called:
        return "the dataset is made from a generator, whose order cannot be known", f"give {_REPEATABLE}"
    if internal_data.ORDERED.of(part, None) == "false":
        return "the dataset is not deterministic", "leave out deterministic=False"
    return None


def _parts(data: Any) -> Iterator[Any]:
    yield data
    for source in internal_data.INPUTS.of(data)():
        yield from _parts(source)


def _operations(part: Any) -> set[str]:
    """Return the names of the operations in the functions of a part of a pipeline, including those in nested datasets."""
    graphs = [function.function.graph.as_graph_def() for function in internal_data.FUNCTIONS.of(part)()]
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for graph in graphs for function in graph.library.function for node in function.node_def]
    return {node.op for node in nodes}
