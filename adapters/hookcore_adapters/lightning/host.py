"""The driver's host in Lightning, which stops the trainer and keeps what a resumed run needs of its data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from hookcore.host import NoHost

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore import Position


@attrs.define(eq=False)
class LightningHost(NoHost):
    """Stops a trainer, and keeps whether the iterator of its data has drawn the random numbers of the next epoch."""

    name: str = "lightning"
    trainer: Any = None
    has_drawn: bool = False
    """Whether the iterator of the next batch exists. A trainer makes that of its first epoch before the epoch begins."""
    had_drawn: bool = False
    """The same at the checkpoint from which this run is resumed."""

    def stop(self) -> None:
        """Ask Lightning to stop after this batch."""
        self.trainer.should_stop = True

    def state_dict(self) -> Mapping[str, Any]:
        """Return whether the iterator exists."""
        return {"has_drawn": self.has_drawn}

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        """Restore whether the iterator existed."""
        del position
        self.had_drawn = bool(state.get("has_drawn"))
