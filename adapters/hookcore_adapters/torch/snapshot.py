"""A snapshot of PyTorch models, in memory and in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from hookcore import CheckpointError, state, store
from hookcore.store import files
from hookcore_adapters.random_state import RandomState
from hookcore_adapters.torch.host_copies import nbytes_of
from hookcore_adapters.torch.nested import Nested
from hookcore_adapters.torch.weights import file_of, read_tensors

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path
    from typing import Self

    import torch

    from hookcore.store import Hashed

STATE_FILE: Final = "state.json"
STATE_TENSORS: Final = "state.safetensors"
_MAX_STATE_SIZE: Final = 1_000_000_000
"""In bytes, ten times the size for an optimizer of a million parameter tensors."""


@attrs.frozen(eq=False)
class TorchSnapshot:
    """Copies, in host memory, of the weights of each model and of all other state that training needs to continue."""

    weights: Mapping[str, Mapping[str, torch.Tensor]] = attrs.field(repr=False)
    """By the model's name and the weight's name."""
    rest: Nested = attrs.field(repr=False)
    """The extra state of layers and, unless it holds only weights, the state of optimizers, schedulers and scalers."""
    random: RandomState | None = attrs.field(default=None, repr=False)
    """The state of the random generators; None if the snapshot holds only weights."""

    @property
    def weights_only(self) -> bool:
        """Whether it holds only weights, without what training needs to continue."""
        return self.random is None

    @property
    def nbytes(self) -> int:
        """The disk space that it takes in bytes, except about 30 kB."""
        weights = sum(nbytes_of(tensors.values()) for tensors in self.weights.values())
        return weights + nbytes_of(self.rest.tensors)

    def write(self, directory: Path) -> dict[str, Hashed]:
        """Write it into `directory`: the weights of each model, and the rest as JSON and tensors. May run on any thread.

        Return the hashes of the files with tensors, by their names.
        """
        files = {weights_file(name): tensors for name, tensors in self.weights.items()}
        if self.rest.tensors:
            files[STATE_TENSORS] = {str(number): tensor for number, tensor in enumerate(self.rest.tensors)}
        hashed = store.write_hashed(directory, {name: file_of(tensors) for name, tensors in files.items()})
        random = None if self.random is None else self.random.state_dict()
        (directory / STATE_FILE).write_text(state.dumps({"state": self.rest.skeleton, "random": random}))
        return hashed

    @classmethod
    def read(cls, directory: Path, models: Collection[str]) -> Self:
        """Return the snapshot of `models` that `write` wrote. Raises `CheckpointError` if a file is damaged or missing."""
        weights = {name: read_tensors(directory / weights_file(name)) for name in models}
        path = directory / STATE_FILE
        try:
            saved = state.loads(files.read(path, _MAX_STATE_SIZE).decode())
            random = None if saved["random"] is None else RandomState.from_state_dict(saved["random"])
            there = read_tensors(directory / STATE_TENSORS) if (directory / STATE_TENSORS).exists() else {}
            rest = Nested(saved["state"], [there[str(number)] for number in range(len(there))])
            rest.joined()
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        return cls(weights, rest, random)


def weights_file(model: str) -> str:
    """Return the name of the file of a model's weights."""
    return f"{model}.safetensors"
