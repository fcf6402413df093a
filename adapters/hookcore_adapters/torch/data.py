"""How data in PyTorch begin in the middle of an epoch, and which cannot."""

from __future__ import annotations

from typing import Any, Final

from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from hookcore.trainee import DataBegin
from hookcore_adapters.torch.sampler import ResumableSampler

_SHUFFLING: Final = RandomSampler | SubsetRandomSampler | WeightedRandomSampler
_DEEPEST: Final = 5
"""How many samplers of batches are looked into, each within another."""
_LOST: Final = (
    "the DataLoader shuffles by {sampler}, whose order in an epoch that was cut is lost: a run that is resumed there trains on "
    "some samples twice and on others never. Give it a sampler whose order comes back: DataLoader(data, "
    "sampler=ResumableSampler(data), ...), from hookcore_adapters.torch"
)

_HIDDEN: Final = (
    "Loop.batches was given data of type {kind}, and TorchTrainee cannot tell whether they come in the same order again: if "
    "they shuffle, a run that is resumed in an epoch that was cut trains on some samples twice and on others never. Give it a "
    "DataLoader with a ResumableSampler itself: enumerate(loop.batches(loader)), not loop.batches(enumerate(loader))"
)


def begin(data: Any, epoch: int, batch: int) -> DataBegin:
    """Have `data` begin at `batch` of `epoch` when they are iterated over next, if they are a DataLoader that can."""
    loader = loader_in(data)
    if loader is None:
        shown = getattr(data, "iterable", data)
        is_sequence = hasattr(shown, "__len__") and hasattr(shown, "__getitem__")
        return DataBegin(0, None if is_sequence else _HIDDEN.format(kind=type(shown).__name__))
    if hasattr(loader, "set_epoch"):
        loader.set_epoch(epoch)  # one of Accelerate's counts epochs itself, and would tell the sampler of its own count
    sampler = sampler_of(loader)
    if isinstance(sampler, ResumableSampler):
        sampler.set_epoch(epoch)
        batches = loader.batch_sampler
        if batches is not None and type(batches) is not BatchSampler:
            return DataBegin()  # the order comes back, and only it knows how many samples are in a batch
        passed = min(batch, len(loader))
        if passed and type(data).__iter__ is not DataLoader.__iter__:
            # What wraps a loader makes its iterator, and so draws the seed of its workers, when the first batch is wanted. That
            # must not be the first that is trained: random numbers are put back before.
            passed -= 1
        sampler.begin_at(min(passed * (1 if batches is None else batches.batch_size), len(sampler)))
        return DataBegin(passed)
    if isinstance(sampler, _SHUFFLING) and not hasattr(sampler, "set_epoch"):  # one that has it shuffles by the epoch
        return DataBegin(0, _LOST.format(sampler=type(sampler).__name__))
    return DataBegin()


def loader_in(data: Any) -> Any:
    """Return the DataLoader that `data` is, or that a progress bar such as tqdm's shows; None for anything else."""
    inner = data if isinstance(data, DataLoader) else getattr(data, "iterable", None)
    return inner if isinstance(inner, DataLoader) else None


def sampler_of(loader: Any) -> Any:
    """Return the sampler that orders the samples of `loader`: also that of a sampler of batches, or of shards of batches."""
    sampler = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    for _ in range(_DEEPEST):
        inner = getattr(sampler, "batch_sampler", getattr(sampler, "sampler", None))
        if inner is None or isinstance(sampler, ResumableSampler | _SHUFFLING):
            break
        sampler = inner
    return sampler
