"""scikit-learn's estimators as plugins see them: learning rate, snapshots, saving without pickle."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs
import numpy as np
import skops.io
from skops.io.exceptions import UnsupportedTypeException

from hookcore import CheckpointError
from hookcore.trainee import DataBegin
from hookcore.validators import reject
from hookcore_adapters.sklearn import rates
from hookcore_adapters.sklearn.batches import Batches
from hookcore_adapters.sklearn.scoring import Scorer, Scoring
from hookcore_adapters.sklearn.snapshot import EstimatorSnapshot, check_trusted, without_training

if TYPE_CHECKING:
    from pathlib import Path

    from hookcore.trainee import Capability, Mode

_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
"""What differs between the texts of an object without a `repr` of its own in two processes."""


@attrs.define(eq=False)
class SklearnTrainee:
    """`hookcore.Trainee` for an estimator with `partial_fit`, in a loop of your own; `fit` is such a loop.

    * `estimator`: one of scikit-learn's, or one that keeps its protocol. It may be fitted already.
    * `metrics`: what `scores` returns besides the estimator's own `score`, by name: names of scikit-learn's scorers, what
      `make_scorer` returns, or functions of the estimator, x and y. A scorer is better if larger, and so is `score`; plugins that
      monitor a function of your own ask for `mode`, unless its name says which way is better.
    * `trusted`: the types, as `"module.Class"`, that skops shall load although it does not know them, such as your own estimator.

    The learning rate is `learning_rate_init` of a network, `eta0` of a linear model with `learning_rate="constant"`, or a
    `learning_rate` that is a number. Checkpoints hold `estimator.skops`, which `skops.io.load` opens.
    """

    framework: ClassVar[str] = "sklearn"

    estimator: Any
    metrics: Mapping[str, Scorer] = attrs.field(factory=dict, kw_only=True)
    trusted: Collection[str] = attrs.field(default=(), kw_only=True)
    _scoring: Scoring = attrs.field(init=False, repr=False)
    _order: Mapping[str, Any] | None = attrs.field(init=False, default=None, repr=False)
    """What the order of the data follows from: of those that are trained, or of the checkpoint that was restored."""
    _reason: str | None = attrs.field(init=False, default=None, repr=False)
    """Why it cannot be saved."""
    _is_checked: bool = attrs.field(init=False, default=False, repr=False)

    @_scoring.default
    def _make_scoring(self) -> Scoring:
        given = self.estimator
        if isinstance(given, type) or not hasattr(given, "get_params"):
            reject(self, "estimator", given, "an estimator of scikit-learn, such as SGDClassifier()")
        if not hasattr(given, "partial_fit"):
            reject(self, "estimator", given, "an estimator with a method `partial_fit`", f" {_instead_of(given)}")
        if isinstance(self.trusted, str):
            reject(self, "trusted", self.trusted, "a list of types, as in ['package.module.Class']")
        return Scoring(given, self.metrics)

    def scores(self, x: Any, y: Any = None) -> dict[str, Any]:
        """Return the estimator's `score` and the given metrics of the samples `x`, one a row, and their targets `y`."""
        return self._scoring.scores(self.estimator, x, y)

    def loss(self) -> dict[str, float]:
        """Return `{"loss": ...}` of what the estimator was trained on last; `{}` without `loss_`, or if `metrics` has one."""
        return self._scoring.loss()

    def direction(self, metric: str) -> Mode | None:
        """Return `"max"` for scores, `"min"` for the loss, and None for what scikit-learn does not know."""
        return self._scoring.direction(metric)

    @property
    def learning_rate(self) -> float:
        """The rate in use. Raises `AttributeError` if the estimator lacks one or computes it itself."""
        return rates.get(self.estimator)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        rates.put(self.estimator, value)

    def lacks(self, capability: Capability) -> str | None:
        """Return why a learning rate cannot be set, or the estimator not be saved; None if it can."""
        if capability == "learning_rate":
            return rates.reason_not_set(self.estimator)
        if capability == "checkpoint":
            return self._reason_not_saved()
        if capability in {"snapshot", "weights"}:
            return None
        return f"a {self.framework} trainee does not provide {capability}"

    def _reason_not_saved(self) -> str | None:
        if not self._is_checked:
            self._is_checked = True
            try:
                content = skops.io.dumps(without_training(self.estimator))
                check_trusted(skops.io.get_untrusted_types(data=content), self.trusted)
            except (CheckpointError, UnsupportedTypeException, TypeError, ValueError, AttributeError) as error:
                self._reason = f"skops cannot save {type(self.estimator).__name__}: {error}".removesuffix(".")
        return self._reason

    def snapshot(self, *, optimizer: bool = True) -> EstimatorSnapshot:
        """Return a copy of the estimator; without its parameters and what trains it if not `optimizer`."""
        return EstimatorSnapshot.of(self.estimator, training=optimizer, order=self._order)

    def restore(self, snapshot: EstimatorSnapshot) -> None:
        """Put back what `snapshot` holds. Raises `CheckpointError` if it is of another estimator."""
        self._check_fits(snapshot, "The snapshot")
        snapshot.put_back(self.estimator, self._parameters())
        if snapshot.random is not None:
            self._order = snapshot.order

    def write(self, snapshot: EstimatorSnapshot, directory: Path) -> None:
        """Write `estimator.skops`, and beside it what only training needs."""
        snapshot.write(directory, self.trusted)

    def read(self, directory: Path) -> EstimatorSnapshot:
        """Return the snapshot that `write` wrote. Raises `CheckpointError` if it is damaged or of another estimator."""
        snapshot = EstimatorSnapshot.read(directory, self.trusted)
        self._check_fits(snapshot, directory)
        return snapshot

    def weights(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the fitted arrays of floats by attribute, as in `coef_`; those of a list by number too, as in `coefs_/0`."""
        found: dict[str, np.ndarray[Any, Any]] = {}
        for name, value in vars(self.estimator).items():
            if name.endswith("_") and not name.startswith("_"):
                several = isinstance(value, list)
                parts = {f"{name}/{number}": one for number, one in enumerate(value)} if several else {name: value}
                found |= {place: one for place, one in parts.items() if isinstance(one, np.ndarray) and one.dtype.kind == "f"}
        return found

    def begin_data(self, data: Any, epoch: int, batch: int) -> DataBegin:
        """Have `Batches` begin at `batch` of `epoch`. Raises `CheckpointError` if the epoch was cut with others than these."""
        if not isinstance(data, Batches):
            return DataBegin()
        if batch and self._order is not None and self._order != data.order:
            raise CheckpointError(
                f"The epoch that was cut was one of Batches with {_shown(self._order)}, and cannot continue with "
                f"{_shown(data.order)}: some samples would be trained twice, others never. Give the same data, batch_size, "
                "shuffle and seed, or resume from the end of an epoch."
            )
        self._order = data.order
        data.begin(epoch, batch)
        return DataBegin(min(batch, len(data)))

    def _parameters(self) -> list[str]:
        return list(self.estimator.get_params(deep=False))

    def _check_fits(self, snapshot: EstimatorSnapshot, source: object) -> None:
        kind, own = type(snapshot.estimator), type(self.estimator)
        if kind is not own:
            raise CheckpointError(f"{source} is of the estimator {kind.__name__}, and what is trained is {own.__name__}.")
        saved, now = (_compared(estimator) for estimator in (snapshot.estimator, self.estimator))
        differences = [
            f"{name}={saved.get(name)} there and {now.get(name)} here"
            for name in sorted(saved.keys() | now.keys())
            if saved.get(name) != now.get(name)
        ]
        if differences:
            raise CheckpointError(
                f"{source} is of {own.__name__} with other parameters: {'; '.join(differences)}. Give the estimator those that "
                "it had. To train with others, load estimator.skops by skops.io.load, set them, and begin a run with that."
            )


def _compared(estimator: Any) -> dict[str, str]:
    """Return the parameters that must not differ when a run is resumed, as text.

    Left out are the rate, which plugins set; what only tells of progress or spreads work; the length of a `fit` by the library
    itself; and random numbers, whose state is restored.
    """
    left_out = {rates.parameter_of(estimator), "verbose", "n_jobs", "max_iter"}
    return {
        name: _ADDRESS.sub("", repr(value))
        for name, value in estimator.get_params().items()
        if name not in left_out and not hasattr(value, "get_params") and not hasattr(value, "get_state")
    }


def _instead_of(estimator: Any) -> str:
    if hasattr(estimator, "steps"):
        return (
            "A Pipeline cannot be trained by batches. Fit its other steps first, and train the last one on what they return: "
            "fit(pipeline[-1], pipeline[:-1].fit_transform(x, y), y, ...)."
        )
    if getattr(estimator, "solver", None) == "lbfgs" and hasattr(estimator, "learning_rate_init"):
        return "A network has it with solver='adam' or 'sgd'."
    return (
        "Without it, scikit-learn trains in one call that no plugin can look into: take one that has it, such as SGDClassifier, "
        "SGDRegressor, MLPClassifier or MiniBatchKMeans."
    )


def _shown(order: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in order.items())
