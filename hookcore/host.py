"""The host: what the driver asks of a loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore.run_state import Position


class Host(Protocol):
    """What the driver asks of a loop. `NoHost` has the defaults."""

    @property
    def name(self) -> str:
        """The loop's name, such as `"keras"`, for errors and for a stop that no plugin asked for."""
        ...

    @property
    def ends_of_data(self) -> tuple[str, ...]:
        """The class names of the errors, besides `StopIteration`, that the loop takes for the end of its data."""
        ...

    def stop(self) -> None:
        """End training after this batch, or as soon as the loop can: a plugin has voted to stop."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the loop's own state as JSON-able values, for a checkpoint."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        """Take over `state`, empty unless a run is resumed, before `on_train_begin`. Training continues at `position`."""


@attrs.define(eq=False)
class NoHost:
    """The host of a loop that looks at `Driver.stopping` itself, and has no state."""

    name: str = "loop"
    ends_of_data: tuple[str, ...] = ()

    def stop(self) -> None:
        """Do nothing."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return an empty state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        """Do nothing."""
