"""When something is due that is to happen every so many steps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hookcore.observing import due


@given(st.integers(1, 10), st.lists(st.integers(1, 7), max_size=30))
def test_due_once_for_each_jump_over_a_multiple(every: int, jumps: list[int]) -> None:
    """However the steps come, it is due exactly where a multiple lies after the last step and up to this one."""
    step = 0
    for jump in jumps:
        last, step = step, step + jump
        assert due(every, step, last) is any(number % every == 0 for number in range(last + 1, step + 1))
