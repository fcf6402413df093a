"""Whether a method of an object is being executed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import FrameType


def is_executing(owner: object, *, besides: Collection[str]) -> bool:
    """Return whether some method of `owner`, `besides` those of these names, is on a stack of any thread."""
    return any(_is_on(frame, owner, besides) for frame in sys._current_frames().values())  # noqa: SLF001 - documented, for debuggers


def _is_on(frame: FrameType | None, owner: object, besides: Collection[str]) -> bool:
    while frame is not None:
        names = frame.f_code.co_varnames
        if names[:1] == ("self",) and frame.f_code.co_name not in besides and frame.f_locals.get("self") is owner:
            return True
        frame = frame.f_back
    return False
