"""Orders of samples that follow from a key, and can begin anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG: Final = 2**22
"""The length from which an order is computed in parts: as a whole it would take a quarter of a second, and then seconds."""
_AT_ONCE: Final = 4096
"""How many numbers are computed, and become Python's, at once."""
_ROUNDS: Final = 6


def shuffled(length: int, key: int, begin: int) -> Iterator[int]:
    """Yield the numbers up to `length` in an order that follows from `key`, without the first `begin` of them.

    A long order has no beginning to wait for, and takes no memory.
    """
    order = None if length >= LONG else torch.randperm(length, generator=torch.Generator().manual_seed(key % 2**63))
    for start in range(begin, length, _AT_ONCE):
        end = min(start + _AT_ONCE, length)
        yield from (scattered(np.arange(start, end), length, key) if order is None else order[start:end]).tolist()


def scattered(numbers: Any, length: int, key: int) -> Any:
    """Return what a permutation of the numbers up to `length`, which follows from `key`, makes of each of `numbers`.

    A Feistel network permutes the numbers of an even count of bits; what it takes beyond `length` it takes on, until it is back.
    Source: J. Black, P. Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002.
    """
    half = np.uint64((max(length - 1, 1).bit_length() + 1) // 2)
    mask = (np.uint64(1) << half) - np.uint64(1)
    keys = np.random.SeedSequence(key).generate_state(_ROUNDS, "uint64")
    places = np.array(numbers, "uint64")
    beyond = np.ones(len(places), "bool")
    while beyond.any():
        left, right = places[beyond] >> half, places[beyond] & mask
        for round_key in keys:
            left, right = right, left ^ (_mixed(right ^ round_key) & mask)
        places[beyond] = left << half | right
        beyond = places >= length
    return places


def _mixed(values: Any) -> Any:
    """Return 64 bits that each depend on all bits of a value. Source: the finalizer of MurmurHash3."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        values = (values ^ (values >> np.uint64(33))) * np.uint64(factor)
    return values ^ (values >> np.uint64(33))
