"""Orders of samples that can start at any position."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore_adapters.torch.orders import LONG, scattered, shuffled


@given(length=st.integers(1, 600), key=st.integers(0, 2**70))
def test_numbers_are_permuted_one_by_one(length: int, key: int) -> None:
    """A permutation has each number once, however its computation is divided."""
    whole = scattered(np.arange(length), length, key).tolist()
    assert sorted(whole) == list(range(length))
    at = length // 3
    assert [*scattered(np.arange(at), length, key), *scattered(np.arange(at, length), length, key)] == whole


def test_permutations_are_even_enough() -> None:
    """Each of the 24 permutations of four numbers is about equally frequent, by a chi-squared test."""
    often = Counter(tuple(scattered(np.arange(4), 4, key)) for key in range(2400))
    assert sum((often[order] - 100) ** 2 / 100 for order in itertools.permutations(range(4))) < 50


@pytest.mark.parametrize("length", [100, LONG + 3])
def test_an_order_begins_anywhere(length: int) -> None:
    """An order, also a long one, can start at any position, without computing the numbers before."""
    last = list(shuffled(length, 7, length - 50))
    assert len(set(last)) == 50
    assert list(shuffled(length, 7, length - 20)) == last[30:]
    assert set(last) != set(shuffled(length, 8, length - 50))


def test_a_long_order_is_no_run_of_neighbours() -> None:
    """Neighbours in a long order are on average a third of the length apart, as in a random one."""
    some = np.array(list(itertools.islice(shuffled(2**30, 1, 0), 4096)))
    assert abs(np.abs(np.diff(some)).mean() / 2**30 - 1 / 3) < 0.02
