"""The snapshot of an estimator, in memory and in files."""

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
from hookcore.raised import describe
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
    """Hold a copy of an estimator, and separately, what only its training needs, and the random states."""

    estimator: Any
    training: Mapping[str, Any]
    """What only training needs, by attribute, with the loss curve as an array. Empty in a snapshot of the weights alone."""
    shared: Collection[str]
    """The attributes that are NumPy's global generator: a copy of the generator would no longer be the global one."""
    random: RandomState | None = attrs.field(repr=False)
    """The states of the global generators; None in a snapshot of the weights alone."""
    order: Mapping[str, Any] | None = None
    """The arguments that determined the order of the data, if known."""

    @classmethod
    def of(cls, estimator: Any, *, training: bool, order: Mapping[str, Any] | None) -> Self:
        """Return a copy of `estimator`; if `training`, with what it needs to continue training."""
        kept = of_training(estimator) if training else {}
        if CURVE in kept:
            kept[CURVE] = np.array(kept[CURVE])
        generator = check_random_state(None)
        shared = [name for name, value in vars(estimator).items() if value is generator]
        random = RandomState.now() if training else None
        # In one call, so that objects that both refer to remain shared.
        copied, kept = copy.deepcopy((without_training(estimator), kept))
        return cls(copied, kept, shared, random, order)

    def put_back(self, estimator: Any, parameters: Collection[str]) -> None:
        """Restore `estimator`. From the weights alone, it keeps its `parameters` and what only training needs."""
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
        """Write it into `directory`, from any thread. Raises `CheckpointError` for a type that skops would not load again."""
        for name, value in ((ESTIMATOR_FILE, self.estimator), (_TRAINING_FILE, self.training)):
            if value is self.estimator or value:
                skops.io.dump(value, directory / name)
                check_trusted(skops.io.get_untrusted_types(file=directory / name), (*TRUSTED, *trusted))
        random = None if self.random is None else self.random.state_dict()
        saved = {"random": random, "training": sorted(self.training), "shared": list(self.shared), "order": self.order}
        (directory / _STATE_FILE).write_text(state.dumps(saved))

    @classmethod
    def read(cls, directory: Path, trusted: Collection[str]) -> Self:
        """Return the snapshot that `write` wrote. Raises `CheckpointError` for a damaged or missing file or an untrusted type."""
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
            raise CheckpointError(
                f"SklearnTrainee: {path} has types that are not trusted: {error} If you trust them, pass their names as "
                "trusted=[...]."
            ) from error
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ImportError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"SklearnTrainee: {path} is not a whole file of a checkpoint: {describe(error)}.") from error


def without_training(estimator: Any) -> Any:
    """Return `estimator`, or if it has something that only training needs, a shallow copy without that."""
    left_out = of_training(estimator)
    if not left_out:
        return estimator
    rest = copy.copy(estimator)
    for name in left_out:
        delattr(rest, name)
    if CURVE in left_out:
        setattr(rest, CURVE, left_out[CURVE][-1:])  # so that the estimator can be trained after loading
    return rest


def check_trusted(found: Collection[str], trusted: Collection[str]) -> None:
    """Raise `CheckpointError` if `found`, the types that skops does not trust, has some that the user does not trust either."""
    unknown = [name for name in found if name not in trusted]
    if unknown:
        raise CheckpointError(
            f"the estimator holds {', '.join(unknown)}, and skops loads only types that it trusts. If you trust them, pass "
            f"trusted={unknown!r}"
        )
