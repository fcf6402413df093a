"""Start data of PyTorch in the middle of an epoch, or explain why they cannot."""

from __future__ import annotations

from typing import Any, Final

from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from hookcore.trainee import DataBegin
from hookcore_adapters.torch.sampler import ResumableSampler

_SHUFFLING: Final = RandomSampler | SubsetRandomSampler | WeightedRandomSampler
_DEEPEST: Final = 5
"""How many nested batch samplers are searched for the sampler."""
_LOST: Final = (
    "the DataLoader shuffles by {sampler}, whose order cannot be repeated: a run that is resumed within an epoch trains on some "
    "samples twice and on others never. Give it a sampler whose order can: DataLoader(data, "
    "sampler=ResumableSampler(data), ...), from hookcore_adapters.torch"
)

_HIDDEN: Final = (
    "Loop.batches was given data of type {kind}, and TorchTrainee cannot find out whether they come in the same order again. If "
    "they shuffle, a run that is resumed within an epoch trains on some samples twice and on others never. Give it a "
    "DataLoader with a ResumableSampler itself: enumerate(loop.batches(loader)), not loop.batches(enumerate(loader))"
)


def begin(data: Any, epoch: int, batch: int) -> DataBegin:
    """Make the next iteration over `data` start at `batch` of `epoch`, if they are a DataLoader that can."""
    loader = loader_in(data)
    if loader is None:
        shown = getattr(data, "iterable", data)
        is_sequence = hasattr(shown, "__len__") and hasattr(shown, "__getitem__")
        return DataBegin(0, None if is_sequence else _HIDDEN.format(kind=type(shown).__name__))
    if hasattr(loader, "set_epoch"):
        loader.set_epoch(epoch)  # Accelerate's loader counts epochs itself, and would pass its own count to the sampler
    sampler = sampler_of(loader)
    if isinstance(sampler, ResumableSampler):
        sampler.set_epoch(epoch)
        batches = loader.batch_sampler
        if batches is not None and type(batches) is not BatchSampler:
            return DataBegin()  # the order is repeated, but only this batch sampler knows how many samples are in a batch
        passed = min(batch, len(loader))
        if passed and type(data).__iter__ is not DataLoader.__iter__:
            # A wrapper of a loader makes the loader's iterator at its first batch, which draws the seed of the workers. Random
            # numbers are restored before the first batch that is trained, so that must not be the first batch that is read.
            passed -= 1
        sampler.begin_at(min(passed * (1 if batches is None else batches.batch_size), len(sampler)))
        return DataBegin(passed)
    if isinstance(sampler, _SHUFFLING) and not hasattr(sampler, "set_epoch"):  # a sampler with set_epoch shuffles by the epoch
        return DataBegin(0, _LOST.format(sampler=type(sampler).__name__))
    return DataBegin()


def loader_in(data: Any) -> Any:
    """Return `data` if it is a DataLoader, or the DataLoader in a progress bar such as tqdm's; None for anything else."""
    inner = data if isinstance(data, DataLoader) else getattr(data, "iterable", None)
    return inner if isinstance(inner, DataLoader) else None


def sampler_of(loader: Any) -> Any:
    """Return the sampler that orders the samples of `loader`, also if it is inside of samplers of batches or of shards."""
    sampler = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    for _ in range(_DEEPEST):
        inner = getattr(sampler, "batch_sampler", getattr(sampler, "sampler", None))
        if inner is None or isinstance(sampler, ResumableSampler | _SHUFFLING):
            break
        sampler = inner
    return sampler
