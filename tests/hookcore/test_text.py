"""How numbers of bytes and other people's text are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore.text import format_size, printable


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
