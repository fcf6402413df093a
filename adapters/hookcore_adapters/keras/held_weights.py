"""The weights that callbacks hold, such as those of the best epoch, as part of a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from hookcore_adapters.keras.snapshot import KerasSnapshot
from hookcore_adapters.keras.trainee import KerasTrainee

if TYPE_CHECKING:
    from pathlib import Path

    from hookcore.store import Hashed

HeldWeights: TypeAlias = Mapping[str, Mapping[str, KerasSnapshot]]
"""By the name of the callback, and a key that the callback chose."""

_DIRECTORY: Final = "callbacks"


def held_weights_of(callbacks: Mapping[str, Any]) -> HeldWeights:
    """Return the weights that `callbacks`, by name, hold: those with `snapshots` and `load_snapshots`."""
    holding = {name: one for name, one in callbacks.items() if hasattr(one, "snapshots") and hasattr(one, "load_snapshots")}
    return {name: dict(one.snapshots()) for name, one in holding.items()}


def read_held_weights(trainee: KerasTrainee, directory: Path) -> HeldWeights:
    """Return the weights that callbacks held when the checkpoint in `directory` was saved. Raises `CheckpointError`."""
    found: dict[str, dict[str, KerasSnapshot]] = {}
    for path in sorted((directory / _DIRECTORY).glob("*/*/")):
        found.setdefault(path.parent.name, {})[path.name] = trainee.read(path)
    return found


@attrs.define(eq=False)
class TraineeBesideCallbacks(KerasTrainee):
    """A `KerasTrainee` whose checkpoints also have the weights that callbacks hold."""

    held: Callable[[], HeldWeights] = attrs.field(default=dict, kw_only=True, repr=False)
    """Returns them."""

    def snapshot(self, *, optimizer: bool = True) -> KerasSnapshot:
        """See `KerasTrainee.snapshot`. With `optimizer`, it refers to the weights that callbacks hold now."""
        snapshot = super().snapshot(optimizer=optimizer)
        if not optimizer:
            return snapshot
        held = self.held()
        nbytes = sum(one.nbytes for by_key in held.values() for one in by_key.values())
        return attrs.evolve(snapshot, held=held, nbytes=snapshot.nbytes + nbytes)

    def write(self, snapshot: KerasSnapshot, directory: Path) -> dict[str, Hashed]:
        """See `KerasTrainee.write`."""
        hashes = super().write(snapshot, directory)
        for name, by_key in snapshot.held.items():
            for key, held in by_key.items():
                own = directory / _DIRECTORY / name / key
                own.mkdir(parents=True)
                super().write(held, own)
        return hashes
