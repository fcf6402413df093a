"""The first samples of validation data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import IterableDataset, default_collate

from hookcore import HookcoreError
from hookcore_adapters.torch.data import loader_in


def first_samples(data: Any, samples: int) -> tuple[Any, Any]:
    """Return the first samples of validation data: the inputs of the model, and the targets or None.

    `data` is a DataLoader, a data set, a tuple of inputs and targets, a mapping of inputs by the names of the model's arguments,
    only the inputs, a list of batches of any of these, or a list of loaders, the first of which is read. Raises `HookcoreError`
    for None, for an iterator, which reading would use up, and for anything else.
    """
    if data is None:
        raise HookcoreError("There is no validation data to take samples from. Give the loop validation_data=...")
    if isinstance(data, Iterator):
        raise HookcoreError(
            f"The validation data are a {type(data).__name__}, and reading samples would use them up. Give a DataLoader, a data "
            "set, or tensors."
        )
    parts = _plain(_first(data, samples))
    if isinstance(parts, tuple | list):
        return parts[0], parts[1] if len(parts) > 1 else None
    return parts, None


def _plain(batch: Any) -> Any:
    """Return `batch` with each mapping, such as a tokenizer's, as a dict, because PyTorch's pytrees know no other mapping."""
    if isinstance(batch, Mapping):
        return dict(batch)
    return type(batch)(map(_plain, batch)) if type(batch) in (tuple, list) else batch


def _first(data: Any, samples: int) -> Any:
    if isinstance(data, tuple | list) and data and loader_in(data[0]) is not None:
        return _first(data[0], samples)
    loader = loader_in(data)
    if loader is not None and not isinstance(loader.dataset, IterableDataset) and hasattr(loader.dataset, "__getitem__"):
        # Not from the loader, which may shuffle and start processes.
        collate = loader.collate_fn if loader.batch_size is not None or loader.batch_sampler is not None else default_collate
        return collate([loader.dataset[number] for number in range(min(samples, len(loader.dataset)))])
    if loader is not None or isinstance(data, list):
        batches: list[Any] = []
        for batch in data:
            batches.append(_rows(batch, samples - sum(map(_length, batches))))
            if sum(map(_length, batches)) >= samples:
                break
        if not batches:
            raise HookcoreError("The validation data have no batch to take samples from.")
        return tree_map(lambda *same: torch.cat([torch.as_tensor(part) for part in same]), *batches)
    if isinstance(data, tuple | Mapping) or hasattr(data, "shape"):
        return _rows(data, samples)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return default_collate(list(itertools.islice((data[number] for number in range(len(data))), samples)))
    raise HookcoreError(
        f"No samples can be taken from validation data of type {type(data).__name__}. Give a DataLoader, a data set, or tensors."
    )


def _rows(batch: Any, samples: int) -> Any:
    return tree_map(lambda part: torch.as_tensor(part[:samples]), _plain(batch))


def _length(batch: Any) -> int:
    return len(tree_leaves(batch)[0])
