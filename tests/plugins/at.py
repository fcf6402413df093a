"""A plugin that does something at the end of an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hookcore import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable


class At:
    """Call `then` at the end of the epoch `epoch`."""

    name = "at"

    def __init__(self, epoch: int, then: Callable[[], object]) -> None:
        self.epoch, self.then = epoch, then

    @hookimpl
    def on_epoch_end(self, epoch: int) -> None:
        """Call `then`, if this is the epoch."""
        if epoch == self.epoch:
            self.then()
