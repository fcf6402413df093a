"""What a snapshot of an estimator holds, in memory and in files."""

from __future__ import annotations

import copy
import zipfile
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
import skops.io
from sklearn.utils import check_random_state
from skops.io.exceptions import UntrustedTypesFoundException

from hookcore import CheckpointError, state
from hookcore.store import files
from hookcore_adapters.random_state import RandomState
from hookcore_adapters.sklearn.networks import CURVE, TRUSTED, of_training

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path
    from typing import Self

ESTIMATOR_FILE: Final = "estimator.skops"
_TRAINING_FILE: Final = "training.skops"
_STATE_FILE: Final = "state.json"
_MAX_STATE_SIZE: Final = 10_000_000
"""In bytes: the states of some generators take 20 kB."""


@attrs.frozen(eq=False)
class EstimatorSnapshot:
    """A copy of an estimator, apart what only its training needs, and the random numbers."""

    estimator: Any
    training: Mapping[str, Any]
    """What only training needs, by attribute, the curve as an array. Empty if the snapshot is of the weights alone."""
    shared: Collection[str]
    """The attributes that are NumPy's global generator: a copy has its numbers, but would be another generator."""
    random: RandomState | None = attrs.field(repr=False)
    """The state of the global generators; None if it is of the weights alone."""
    order: Mapping[str, Any] | None = None
    """What the order of the data followed from, if that is known."""

    @classmethod
    def of(cls, estimator: Any, *, training: bool, order: Mapping[str, Any] | None) -> Self:
        """Copy `estimator`, and if `training`, what training continues with."""
        kept = of_training(estimator) if training else {}
        if CURVE in kept:
            kept[CURVE] = np.array(kept[CURVE])
        generator = check_random_state(None)
        shared = [name for name, value in vars(estimator).items() if value is generator]
        random = RandomState.now() if training else None
        # Together, so that what the two have in common is one object in the copy too.
        copied, kept = copy.deepcopy((without_training(estimator), kept))
        return cls(copied, kept, shared, random, order)

    def put_back(self, estimator: Any, parameters: Collection[str]) -> None:
        """Make `estimator` what was copied. If that is of the weights alone, what trains them and its `parameters` stay."""
        copied, kept = copy.deepcopy((self.estimator, dict(self.training)))
        restored = vars(copied)
        for name in self.shared:
            restored[name] = check_random_state(None)
        if CURVE in kept:
            kept[CURVE] = list(kept[CURVE])
        own = vars(estimator)
        if self.random is None:
            kept = of_training(estimator) | {name: own[name] for name in parameters if name in own}
        own.clear()
        own.update(restored | kept)
        if self.random is not None:
            self.random.restore()

    def write(self, directory: Path, trusted: Collection[str]) -> None:
        """Write it into `directory`, from any thread. Raises `CheckpointError` for a type that would not be loaded again."""
        for name, value in ((ESTIMATOR_FILE, self.estimator), (_TRAINING_FILE, self.training)):
            if value is self.estimator or value:
                skops.io.dump(value, directory / name)
                check_trusted(skops.io.get_untrusted_types(file=directory / name), (*TRUSTED, *trusted))
        random = None if self.random is None else self.random.state_dict()
        saved = {"random": random, "training": sorted(self.training), "shared": list(self.shared), "order": self.order}
        (directory / _STATE_FILE).write_text(state.dumps(saved))

    @classmethod
    def read(cls, directory: Path, trusted: Collection[str]) -> Self:
        """Return what `write` wrote. Raises `CheckpointError` if something is damaged, missing or of a type not trusted."""
        path = directory / _STATE_FILE
        try:
            saved = state.loads(files.read(path, _MAX_STATE_SIZE).decode())
            random = None if saved["random"] is None else RandomState.from_state_dict(saved["random"])
            shared, order = [str(name) for name in saved["shared"]], saved["order"]
            has_training = bool(saved["training"])
            path = directory / ESTIMATOR_FILE
            estimator = skops.io.load(path, trusted=[*TRUSTED, *trusted])
            path = directory / _TRAINING_FILE
            training = skops.io.load(path, trusted=[*TRUSTED, *trusted]) if has_training else {}
            return cls(estimator, training, shared, random, order)
        except UntrustedTypesFoundException as error:
            raise CheckpointError(f"{path} holds types that are not trusted: {error} Name them: trusted=[...].") from error
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ImportError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error


def without_training(estimator: Any) -> Any:
    """Return `estimator`, or if it has what only training needs, an object with all else that it has, not copied."""
    left_out = of_training(estimator)
    if not left_out:
        return estimator
    rest = copy.copy(estimator)
    for name in left_out:
        delattr(rest, name)
    if CURVE in left_out:
        setattr(rest, CURVE, left_out[CURVE][-1:])  # so that what is loaded can be trained too
    return rest


def check_trusted(found: Collection[str], trusted: Collection[str]) -> None:
    """Raise `CheckpointError` if a file has types that neither skops nor the user trusts."""
    unknown = [name for name in found if name not in trusted]
    if unknown:
        raise CheckpointError(
            f"the estimator holds {', '.join(unknown)}, which skops does not load unless it is told to trust it. If you do, pass "
            f"trusted={unknown!r}"
        )
