"""What the engine asks of a loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore.run import Position


class Host(Protocol):
    """What the engine asks of a loop. `NoHost` has the defaults."""

    @property
    def name(self) -> str:
        """The loop's name, as in `"keras"`, for errors and for a stop that no plugin asked for."""
        ...

    @property
    def ends_of_data(self) -> tuple[str, ...]:
        """The errors, by class name, that the loop takes for the end of its data, besides `StopIteration`."""
        ...

    def stop(self) -> None:
        """End after this batch, or as soon as the loop can: a plugin has voted to stop."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the loop's own state as JSON-able values, for a checkpoint."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        """Take over `state`, empty unless a run is resumed, before `on_train_begin`. Training continues at `position`."""


@attrs.define(eq=False)
class NoHost:
    """A loop that is asked for nothing: it looks at `Driver.stopping` itself."""

    name: str = "loop"
    ends_of_data: tuple[str, ...] = ()

    def stop(self) -> None:
        """Do nothing."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        """Take nothing over."""
