"""The snapshot of a pytree, in memory and in files."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
import safetensors
from safetensors.numpy import load_file, save

from hookcore import CheckpointError, state, store
from hookcore.raised import describe
from hookcore.store import files
from hookcore_adapters.jax.leaves import SavedLeaf
from hookcore_adapters.random_state import RandomState
from hookcore_adapters.safetensors_file import Stored, dtype_of, parts_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from hookcore.store import Hashed

WEIGHTS: Final = "model.safetensors"
STATE_TENSORS: Final = "state.safetensors"
STATE_FILE: Final = "state.json"
_MAX_STATE_SIZE: Final = 1_000_000_000
"""In bytes: a million leaves take less than this."""


@attrs.frozen(eq=False)
class JaxSnapshot:
    """Hold the leaves of a pytree by their paths, and what else training continues with."""

    leaves: Mapping[str, SavedLeaf] = attrs.field(repr=False)
    weights: Collection[str] = attrs.field(repr=False)
    """The paths of the leaves that are weights."""
    ratios: Sequence[float] = ()
    """The ratios of several learning rates; see `RateRatios`."""
    random: RandomState | None = attrs.field(default=None, repr=False)
    """The random states of Python and NumPy; None in a snapshot of the weights alone."""

    @property
    def weights_only(self) -> bool:
        """Whether it holds the weights alone."""
        return self.random is None

    @property
    def nbytes(self) -> int:
        """The number of bytes that it takes on disk, within about 30 kB."""
        return sum(getattr(leaf.value, "nbytes", 0) for leaf in self.leaves.values())

    def write(self, directory: Path) -> dict[str, Hashed]:
        """Write it into `directory`, from any thread: the weights, the other arrays, and the rest as JSON.

        Return the hashes of the files of arrays, by their names.
        """
        arrays = {name: _stored(leaf.host(name)) for name, leaf in self.leaves.items() if leaf.kind != "number"}
        weights = {name: array for name, array in arrays.items() if name in self.weights}
        others = {name: array for name, array in arrays.items() if name not in self.weights}
        hashed = store.write_hashed(directory, {WEIGHTS: parts_of(weights), STATE_TENSORS: parts_of(others)})
        special = {
            name: {"kind": leaf.kind, "impl": leaf.impl, "number": leaf.value if leaf.kind == "number" else None}
            for name, leaf in self.leaves.items()
            if leaf.kind != "array"
        }
        random = None if self.random is None else self.random.state_dict()
        text = state.dumps({"leaves": special, "ratios": list(self.ratios), "random": random})
        (directory / STATE_FILE).write_text(text)
        return hashed

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Return the snapshot that `write` wrote. Raises `CheckpointError` for a damaged or missing file."""
        try:
            weights, rest = load_file(directory / WEIGHTS), load_file(directory / STATE_TENSORS)
            saved = state.loads(files.read(directory / STATE_FILE, _MAX_STATE_SIZE).decode())
            leaves = {name: SavedLeaf(array) for name, array in {**weights, **rest}.items()}
            for name, special in saved["leaves"].items():
                value = special["number"] if special["kind"] == "number" else leaves[name].value
                leaves[name] = SavedLeaf(value, special["kind"], special["impl"])
            random = None if saved["random"] is None else RandomState.from_state_dict(saved["random"])
            return cls(leaves, weights.keys(), saved["ratios"], random)
        except (OSError, ValueError, LookupError, TypeError, safetensors.SafetensorError) as error:
            raise CheckpointError(f"JaxTrainee: {directory} cannot be read as a checkpoint of JAX: {describe(error)}.") from error


def _stored(array: Any) -> Stored:
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype.byteorder == ">":
        flat = flat.astype(flat.dtype.newbyteorder("<"))
    return Stored(_stored_type(flat.dtype), array.shape, flat.view(np.uint8).data, flat.itemsize)


@functools.cache
def _stored_type(dtype: Any) -> str:
    """Return what safetensors calls `dtype`. Raises what the library raises for one that it cannot hold."""
    return dtype_of(save({"empty": np.empty(0, dtype)}))
