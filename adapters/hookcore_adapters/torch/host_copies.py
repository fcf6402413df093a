"""Copies of tensors in host memory, the only part of a snapshot for which training waits."""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

_ALIGNMENT: Final = 64
"""In bytes: each copy starts at a cache line."""
_KEPT: Final = 2
"""How many free pieces of memory are kept: one for snapshots with the optimizer, and one for those without."""


@attrs.define(eq=False)
class HostMemory:
    """Host memory for the copies in snapshots. The memory of a snapshot that was deleted is used for the next.

    The system clears new memory at its first use, which takes as long as the copy. So at most one piece of each of two sizes is
    kept. Tensors on CUDA are copied into pinned memory, which PyTorch reuses by itself.
    """

    _free: dict[int, Any] = attrs.field(init=False, factory=dict, repr=False)
    """The free pieces, by their size in bytes."""

    def copies(self, tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
        """Return a contiguous copy of each tensor, in order. Tied tensors, which share memory, share a copy.

        Copies from an accelerator are all started first, and then awaited together.
        """
        tensors = [tensor.detach() for tensor in tensors]
        places = [_place(tensor) for tensor in tensors]
        first = dict(reversed(list(zip(places, tensors, strict=True))))
        buffers = self._buffers(first)
        for place, tensor in first.items():
            buffers[place].copy_(tensor, non_blocking=True)
        for device in {tensor.device for tensor in first.values() if tensor.device.type != "cpu"}:
            torch.accelerator.synchronize(device)
        return [buffers[place] for place in places]

    def _buffers(self, tensors: dict[Any, torch.Tensor]) -> dict[Any, torch.Tensor]:
        """Return memory for a copy of each tensor."""
        starts, end = {}, 0
        for place, tensor in tensors.items():
            if tensor.device.type == "cpu":
                starts[place] = end
                end += math.ceil(_size(tensor) / _ALIGNMENT) * _ALIGNMENT
        memory = torch.from_numpy(self._borrow(end))
        return {
            place: memory[starts[place] : starts[place] + _size(tensor)].view(tensor.dtype).view(tensor.shape)
            if place in starts
            else torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=tensor.device.type == "cuda")
            for place, tensor in tensors.items()
        }

    def _borrow(self, size: int) -> Any:
        """Return `size` bytes of memory, which become free when nothing refers to the array or to a tensor made of it."""
        piece = self._free.pop(size, None)
        if piece is None:
            piece = np.empty(size, "uint8")  # NumPy asks for huge pages
        lent = piece[:]
        weakref.finalize(lent, _give_back, weakref.ref(self), piece).atexit = False
        return lent

    def _take_back(self, piece: Any) -> None:
        self._free[piece.nbytes] = piece
        for size in list(self._free)[:-_KEPT]:
            self._free.pop(size, None)


def nbytes_of(tensors: Iterable[torch.Tensor]) -> int:
    """Return the number of bytes of the values of `tensors`. Tied tensors count each."""
    return sum(_size(tensor) for tensor in tensors)


def _give_back(memory: weakref.ref[HostMemory], piece: Any) -> None:
    """Return `piece` to `memory`, if that still exists. Runs on any thread."""
    living = memory()
    if living is not None:
        living._take_back(piece)  # noqa: SLF001 - a function, because a finalizer must not refer to its object


def _place(tensor: torch.Tensor) -> Any:
    """Return a key that is equal for two tensors if they are tied."""
    if tensor.numel() == 0 or tensor.data_ptr() == 0:  # the latter wraps other tensors
        return id(tensor)
    # A view that is conjugated or negated has the same memory and other values.
    view = tensor.is_conj(), tensor.is_neg()
    return tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), view


def _size(tensor: torch.Tensor) -> int:
    return int(tensor.numel() * tensor.element_size())
