"""When something is due that is to happen every so many steps."""

from __future__ import annotations


def due(every: int, step: int, last: int) -> bool:
    """Whether a multiple of `every` was reached after step `last`, up to and including `step`.

    Steps may come several at a time; what was missed in between is due once.
    """
    return step // every > last // every
