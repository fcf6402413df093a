"""What is being executed: the frames of a stack, and whether a method of an object is on one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from types import CodeType, FrameType


def callers(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield `frame` and the frames that called it, the innermost first; nothing for None."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def is_executing(owner: object, *, besides: Collection[str]) -> bool:
    """Return whether a method of `owner` is on the stack of any thread, except those whose names are in `besides`."""
    innermost = sys._current_frames().values()  # noqa: SLF001 - documented, for debuggers
    return any(_is_of(frame, owner, besides) for one in innermost for frame in callers(one))


def runs(code: CodeType) -> bool:
    """Return whether `code` is being executed on any thread."""
    innermost = sys._current_frames().values()  # noqa: SLF001 - documented, for debuggers
    return any(frame.f_code is code for one in innermost for frame in callers(one))


def _is_of(frame: FrameType, owner: object, besides: Collection[str]) -> bool:
    code = frame.f_code
    return code.co_varnames[:1] == ("self",) and code.co_name not in besides and frame.f_locals.get("self") is owner
