"""Shuffled orders that depend only on a key, and can be read from any position."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG: Final = 2**22
"""The length from which an order is computed in parts.

At this length the whole takes a quarter of a second, and longer ones seconds.
"""
_AT_ONCE: Final = 4096
"""How many numbers are computed, and converted to Python's integers, at once."""
_ROUNDS: Final = 6


def shuffled(length: int, key: int, begin: int) -> Iterator[int]:
    """Yield the integers below `length` in an order that depends only on `key`, without the first `begin` of them.

    A long order is computed while it is read, so it takes no memory and starts at once.
    """
    order = None if length >= LONG else torch.randperm(length, generator=torch.Generator().manual_seed(key % 2**63))
    for start in range(begin, length, _AT_ONCE):
        end = min(start + _AT_ONCE, length)
        yield from (scattered(np.arange(start, end), length, key) if order is None else order[start:end]).tolist()


def scattered(numbers: Any, length: int, key: int) -> Any:
    """Return the images of `numbers` under a permutation of the integers below `length` that depends only on `key`.

    A Feistel network permutes the integers of an even number of bits. A result of `length` or more is permuted again, until it is
    below. Source: J. Black, P. Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA 2002.
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
    """Return 64 bits for each value, each of which depends on all bits of the value. Source: the finalizer of MurmurHash3."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        values = (values ^ (values >> np.uint64(33))) * np.uint64(factor)
    return values ^ (values >> np.uint64(33))
