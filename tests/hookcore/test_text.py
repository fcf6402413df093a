"""How numbers of bytes, other people's text, long lists and repeated names are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore.text import format_size, join_some, printable, unique_name


@pytest.mark.parametrize(
    ("nbytes", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1550, "1.6 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (12_345_678, "12.3 MB"),
        (5 * 10**9, "5.0 GB"),
        (10**15, "1000.0 TB"),
    ],
)
def test_bytes_are_readable(nbytes: int, expected: str) -> None:
    """Sizes have one decimal and the unit that makes them short."""
    assert format_size(nbytes) == expected


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl"])), st.integers(1, 50))
def test_any_text_is_one_printable_line(text: str, at_most: int) -> None:
    """Any text becomes printable and no longer than asked for, and printable text does not change."""
    shown = printable(text, at_most)
    assert shown.isprintable()
    assert len(shown) == min(len(text), at_most)
    if text.isprintable() and len(text) <= at_most:
        assert shown == text


@given(st.lists(st.integers(0, 9).map(str)), st.integers(1, 6))
def test_a_long_list_is_cut_and_the_rest_is_counted(parts: list[str], at_most: int) -> None:
    """At most the given number of parts is shown, in order, and those that are not shown are counted."""
    *shown, last = [*join_some(parts, at_most).split("; ")]
    more = len(parts) - at_most
    if more > 0:
        assert (shown, last) == (parts[:at_most], f"and {more} more")
    else:
        assert [*shown, last] == (parts or [""])


@given(st.lists(st.sampled_from(["a", "a_2", "a_3", "b"])))
def test_a_name_that_is_taken_gets_a_number(names: list[str]) -> None:
    """Every name is given once; the first of equal names stays as it is, unless a numbered one has taken it."""
    taken: list[str] = []
    for name in names:
        unique = unique_name(name, taken)
        assert unique == name or (name in taken and unique.startswith(f"{name}_"))
        taken.append(unique)
    assert len(set(taken)) == len(names)
