"""Describe, annotate and follow exceptions that others raise, and whose classes may not cooperate.

Their `__str__` may raise, their attributes may be frozen, their messages may have megabytes, and they may be their own causes.
"""

from __future__ import annotations

import signal
import traceback
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hookcore.errors import Preempted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, TracebackType

T = TypeVar("T")

_LONGEST_MESSAGE: Final = 2_000
_LONGEST_TRACEBACK: Final = 20_000
"""The most characters of an error that are kept: a plugin's error is in the log, the report and every later checkpoint."""


def describe(error: BaseException) -> str:
    """Return the error's type and message, in one line of printable characters; the middle of a long message is left out."""
    message = shortened(_tried(lambda: str(error), "(its message cannot be read)"), _LONGEST_MESSAGE)
    message = " ".join("".join(letter if letter.isprintable() else " " for letter in message).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def traceback_of(error: BaseException) -> str:
    """Return the text of the error's traceback; the middle of a long one is left out."""
    text = _tried(lambda: "".join(traceback.format_exception(error)), "")
    if not text:
        text = f"Traceback (most recent call last):\n{''.join(traceback.format_tb(frames_of(error)))}{describe(error)}\n"
    return shortened(text, _LONGEST_TRACEBACK)


def shortened(text: str, at_most: int) -> str:
    """Return `text`, without its middle if it has more than `at_most` characters; brackets tell how much is left out."""
    if len(text) <= at_most:
        return text
    end = at_most // 4
    begin = at_most - end
    return f"{text[:begin]} [{len(text) - at_most:,} characters left out] {text[-end:]}"


def note(error: BaseException, text: str) -> None:
    """Add `text` to the notes of `error`, even if its class refuses attributes."""
    notes: list[str] = _tried(lambda: [*getattr(error, "__notes__", ())], [])
    _tried(lambda: BaseException.__setattr__(error, "__notes__", [*notes, text]), None)


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield `error`, its causes and contexts, and the members of groups, each once: an error may be its own cause."""
    seen, left = set(), [error]
    while left:
        link = left.pop()
        if id(link) not in seen:
            seen.add(id(link))
            yield link
            if isinstance(link, BaseExceptionGroup):
                left += link.exceptions
            left += [other for name in ("__context__", "__cause__") if (other := _get(link, name)) is not None]


def drop_context(error: BaseException, other: BaseException) -> None:
    """Remove `other` as the context of `error` and its causes: it was raised by another plugin, and is unrelated."""
    for link in chain(error):
        if _get(link, "__context__") is other:
            _set(link, "__context__", None)


def drop_frames(error: BaseException) -> None:
    """Drop the tracebacks of `error` and of its chain, whose frames hold objects. The text of the traceback becomes a note."""
    note(error, f"On the thread where it was raised:\n{traceback_of(error).rstrip()}")
    for link in chain(error):
        _set(link, "__traceback__", None)


def frames_of(error: BaseException) -> TracebackType | None:
    """Return the error's traceback."""
    found: TracebackType | None = _get(error, "__traceback__")
    return found


def interrupts(error: BaseException) -> bool:
    """Return whether `error` ends a run from outside, so that it is not the error of the plugin in which it was raised.

    Such errors are Ctrl-C, a preemption, and what a signal handler raises to end the process, such as `SystemExit`.
    """
    if isinstance(error, KeyboardInterrupt | Preempted):
        return True
    return not isinstance(error, Exception) and _is_of_signal_handler(error)


def _is_of_signal_handler(error: BaseException) -> bool:
    handlers = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    return any(frame.f_code in handlers for frame, _ in traceback.walk_tb(frames_of(error)))


def _code_of(handler: Any) -> CodeType | None:
    function = getattr(handler, "func", handler)  # of a partial
    return getattr(getattr(function, "__func__", function), "__code__", None)


def _tried(question: Callable[[], T], otherwise: T) -> T:
    try:
        return question()
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - the methods of someone else's class may raise anything
        return otherwise


# These use the slots of `BaseException` itself: a class may have properties of these names, and refuse assignment.


def _get(error: BaseException, name: str) -> Any:
    return vars(BaseException)[name].__get__(error)


def _set(error: BaseException, name: str, value: object) -> None:
    vars(BaseException)[name].__set__(error, value)
