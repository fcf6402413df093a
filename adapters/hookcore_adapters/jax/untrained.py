"""Whether a loop puts back the state that it trains: else a checkpoint would hold untrained weights."""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING, Any

import attrs
import jax

from hookcore import CheckpointError
from hookcore_adapters.jax.leaves import PUT_BACK

if TYPE_CHECKING:
    from typing import Self

logger = logging.getLogger("hookcore")


@attrs.define(eq=False)
class Untrained:
    """Remember the arrays of a state that has yet to be trained."""

    _arrays: list[weakref.ref[Any]]
    """Empty once training has replaced one of them."""
    has_begun: bool = False
    """Whether the loop has begun to train batches."""
    _is_put_back: bool = False
    """Whether it has put back a state since then."""
    _has_warned: bool = False

    @classmethod
    def of(cls, state: Any) -> Self:
        """Return what remembers the arrays of `state`."""
        return cls(_arrays_of(state))

    def put_back(self) -> None:
        """Note that the loop has put back a state."""
        self._is_put_back = self.has_begun

    def replace(self, state: Any) -> None:
        """Remember the arrays of `state`, with which something else than training has replaced the untrained one."""
        self._arrays = _arrays_of(state)

    def is_still(self, state: Any) -> bool:
        """Return whether `state` has all of the untrained arrays; False if there were no arrays of JAX's."""
        if self._arrays:
            now = {id(leaf) for leaf in jax.tree.leaves(state)}
            if not all(id(array()) in now for array in self._arrays):
                self._arrays = []
        return bool(self._arrays)

    def check(self, state: Any) -> None:
        """Raise `CheckpointError` if the loop trains batches, never puts back a state, and `state` is still untrained.

        If it cannot be known that the loop trains, the log has a warning instead, once.
        """
        if not self.is_still(state):
            return
        if self.has_begun and not self._is_put_back:
            raise CheckpointError(
                "JaxTrainee: the loop trains batches and has not put back a state, so untrained weights would be saved. "
                f"{PUT_BACK}."
            )
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "JaxTrainee: the state is saved as it was before training. If it should be trained by now: %s", PUT_BACK
            )


def _arrays_of(state: Any) -> list[weakref.ref[Any]]:
    return [weakref.ref(leaf) for leaf in jax.tree.leaves(state) if isinstance(leaf, jax.Array)]
