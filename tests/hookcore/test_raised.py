"""Exceptions that others raised are described even if their classes do not cooperate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore.raised import chain, describe, drop_frames, note, shortened, traceback_of


def caught(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except type(error) as raised:
        return raised


@given(st.text(), st.integers(8, 60))
def test_a_long_text_loses_its_middle(text: str, at_most: int) -> None:
    """A shortened text has the beginning and the end of the text, and as many characters as asked for, besides the note."""
    short = shortened(text, at_most)
    if len(text) <= at_most:
        assert short == text
    else:
        assert f"[{len(text) - at_most} characters left out]" in short
        assert short.startswith(text[: at_most // 2])
        assert short.endswith(text[-(at_most // 4) :])
        assert len(short) < at_most + 40


def test_a_message_of_megabytes_is_told_in_a_few_lines() -> None:
    """Neither the description nor the traceback of an error grows with its message."""
    error = caught(ValueError("A" * 10_000_000))
    assert len(describe(error)) < 2_100
    assert len(traceback_of(error)) < 20_100
    assert "9,998,000 characters left out" in describe(error)
    assert __file__ in traceback_of(error)


@pytest.mark.parametrize(("error", "text"), [(ValueError(), "ValueError"), (ValueError("a\nb\x1b"), "ValueError: a b")])
def test_a_description_is_one_line(error: BaseException, text: str) -> None:
    """A description has the type, and the message if there is one, in printable characters."""
    assert describe(error) == text


def test_every_chain_ends() -> None:
    """An error that is its own cause, two errors that cause each other, and a group are each followed once."""
    own = ValueError()
    own = caught(own, own)  # type: ignore[assignment]  # the same
    assert list(chain(own)) == [own]
    first, second = KeyError(), ValueError()
    first.__cause__, second.__context__ = second, first
    assert list(chain(first)) == [first, second]
    group = ExceptionGroup("both", [first, second])
    assert set(chain(group)) == {group, first, second}
    both = KeyError()
    both.__cause__, both.__context__ = first, own
    assert set(chain(both)) == {both, first, second, own}


def test_frames_are_dropped_from_a_whole_chain() -> None:
    """Afterwards no error of the chain has a frame, and the text of its traceback is a note."""
    cause = caught(OSError("full"))
    error = caught(ValueError("no"), cause)
    drop_frames(error)
    assert (error.__traceback__, cause.__traceback__) == (None, None)
    assert "OSError: full" in error.__notes__[0]


def test_notes_are_added_to_notes() -> None:
    """A new note is added after the earlier ones."""
    error = ValueError()
    error.add_note("first")
    note(error, "second")
    assert error.__notes__ == ["first", "second"]
