"""The trainee of scikit-learn: an estimator with `partial_fit`, saved without pickle."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs
import numpy as np
import skops.io
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted
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

logger = logging.getLogger("hookcore")

_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
"""The part of a default `repr` that differs between two processes."""


@attrs.define(eq=False)
class SklearnTrainee:
    """Present an estimator with `partial_fit` to plugins, as a `hookcore.Trainee`, for your own loop; `fit` is such a loop.

    * `estimator`: an estimator of scikit-learn, or one with the same methods. It may be fitted.
    * `metrics`: what `scores` returns in addition to the estimator's own `score`, by name: names of scikit-learn's scorers,
      results of `make_scorer`, or functions of the estimator, x and y. For scorers and `score`, larger is better; a plugin that
      monitors your own function asks for `mode`, unless the name is well known.
    * `trusted`: the types, as `"module.Class"`, that skops shall load although it does not trust them, such as your own
      estimator.

    The learning rate is `learning_rate_init` of a network, `eta0` of a linear model with `learning_rate="constant"`, or a
    `learning_rate` that is a number. Checkpoints hold `estimator.skops`, which `skops.io.load` opens.

    Raises `ParameterError` for an object that is not such an estimator, and for metrics that are not scorers.
    """

    framework: ClassVar[str] = "sklearn"

    estimator: Any
    metrics: Mapping[str, Scorer] = attrs.field(factory=dict, kw_only=True)
    trusted: Collection[str] = attrs.field(default=(), kw_only=True)
    _scoring: Scoring = attrs.field(init=False, repr=False)
    _order: Mapping[str, Any] | None = attrs.field(init=False, default=None, repr=False)
    """The arguments that determine the order of the data in training, or did in the checkpoint that was restored."""
    _reason: str | None = attrs.field(init=False, default=None, repr=False)
    """Why the estimator cannot be saved, if it is known."""
    _is_checked: bool = attrs.field(init=False, default=False, repr=False)
    _has_begun: bool = attrs.field(init=False, default=False, repr=False)
    """Whether the loop has begun to train batches."""
    _has_warned: bool = attrs.field(init=False, default=False, repr=False)

    @_scoring.default
    def _make_scoring(self) -> Scoring:
        given = self.estimator
        if isinstance(given, type) or not hasattr(given, "get_params"):
            reject(self, "estimator", given, "an estimator of scikit-learn, such as SGDClassifier()")
        if not hasattr(given, "partial_fit"):
            reject(self, "estimator", given, "an estimator with a method `partial_fit`", f" {_instead_of(given)}")
        if isinstance(self.trusted, str):
            reject(self, "trusted", self.trusted, "a list of the names of types, as in ['package.module.Class']")
        return Scoring(given, self.metrics)

    def scores(self, x: Any, y: Any = None) -> dict[str, Any]:
        """Return the estimator's `score` and `metrics` for the samples `x`, one in each row, and their targets `y`."""
        return self._scoring.scores(self.estimator, x, y)

    def loss(self) -> dict[str, float]:
        """Return `{"loss": ...}`, the estimator's `loss_` of its latest batch; `{}` without it, or if `metrics` has a loss."""
        return self._scoring.loss()

    def direction(self, metric: str) -> Mode | None:
        """Return `"max"` for scores, `"min"` for the loss, and None for any other metric."""
        return self._scoring.direction(metric)

    @property
    def learning_rate(self) -> float:
        """The learning rate in use. Raises `AttributeError` if the estimator has no rate or computes it itself."""
        return rates.get(self.estimator)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        rates.put(self.estimator, value)

    def lacks(self, capability: Capability) -> str | None:
        """Return why `capability` is missing, as the end of a sentence, or None if it is not."""
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
        """Return a copy of the estimator; if not `optimizer`, without what only training needs."""
        if self._has_begun and not self._has_warned and not _is_fitted(self.estimator):
            self._has_warned = True
            logger.warning(
                "SklearnTrainee: the loop trains batches, and the estimator that is saved is not fitted. Call partial_fit of the "
                "object that SklearnTrainee was given, trainee.estimator, and not of a copy"
            )
        return EstimatorSnapshot.of(self.estimator, training=optimizer, order=self._order)

    def restore(self, snapshot: EstimatorSnapshot) -> None:
        """Restore the estimator from `snapshot`. Raises `CheckpointError` for a snapshot of another estimator."""
        self._check_fits(snapshot, "the snapshot")
        snapshot.put_back(self.estimator, self._parameters())
        if snapshot.random is not None:
            self._order = snapshot.order

    def write(self, snapshot: EstimatorSnapshot, directory: Path) -> None:
        """Write `estimator.skops`, `training.skops` with what only training needs, and `state.json` into `directory`."""
        snapshot.write(directory, self.trusted)

    def read(self, directory: Path) -> EstimatorSnapshot:
        """Return the snapshot that `write` wrote. Raises `CheckpointError` for a damaged one, or one of another estimator."""
        snapshot = EstimatorSnapshot.read(directory, self.trusted)
        self._check_fits(snapshot, f"the checkpoint {directory}")
        return snapshot

    def weights(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the fitted arrays of floats by attribute, as in `coef_`; in a list, with their index, as in `coefs_/0`."""
        found: dict[str, np.ndarray[Any, Any]] = {}
        for name, value in vars(self.estimator).items():
            if name.endswith("_") and not name.startswith("_"):
                several = isinstance(value, list)
                parts = {f"{name}/{number}": one for number, one in enumerate(value)} if several else {name: value}
                found |= {place: one for place, one in parts.items() if isinstance(one, np.ndarray) and one.dtype.kind == "f"}
        return found

    def begin_data(self, data: Any, epoch: int, batch: int) -> DataBegin:
        """Have `Batches` begin at `batch` of `epoch`. Raises `CheckpointError` if the epoch was cut with other arguments."""
        self._has_begun = True
        if not isinstance(data, Batches):
            return DataBegin()
        if batch and self._order is not None and self._order != data.order:
            raise CheckpointError(
                f"SklearnTrainee: the epoch was cut with Batches of {_shown(self._order)}, and cannot continue with Batches of "
                f"{_shown(data.order)}: some samples would be trained twice, and others never. Pass the same data, batch_size, "
                "shuffle and seed, or resume from a checkpoint at the end of an epoch."
            )
        self._order = data.order
        data.begin(epoch, batch)
        return DataBegin(min(batch, len(data)))

    def _parameters(self) -> list[str]:
        return list(self.estimator.get_params(deep=False))

    def _check_fits(self, snapshot: EstimatorSnapshot, source: object) -> None:
        kind, own = type(snapshot.estimator), type(self.estimator)
        if kind is not own:
            raise CheckpointError(
                f"SklearnTrainee: {source} is of an estimator {kind.__name__}, and the estimator is now {own.__name__}. Pass the "
                "same estimator, or save into another directory."
            )
        saved, now = (_compared(estimator) for estimator in (snapshot.estimator, self.estimator))
        differences = [
            f"{name} was {saved.get(name)} and is {now.get(name)}"
            for name in sorted(saved.keys() | now.keys())
            if saved.get(name) != now.get(name)
        ]
        if differences:
            raise CheckpointError(
                f"SklearnTrainee: {source} is of {own.__name__} with other parameters: {'; '.join(differences)}. Pass the same "
                "parameters. To train with other ones, load estimator.skops with skops.io.load, set them, and start a new run."
            )


def _compared(estimator: Any) -> dict[str, str]:
    """Return the parameters that must not differ in a resumed run, as text.

    These may differ: the learning rate, which plugins set; `verbose`, `n_jobs`, and `max_iter`, which `partial_fit` ignores; and
    random generators, whose state is restored.
    """
    left_out = {rates.parameter_of(estimator), "verbose", "n_jobs", "max_iter"}
    return {
        name: _ADDRESS.sub("", repr(value))
        for name, value in estimator.get_params().items()
        if name not in left_out and not hasattr(value, "get_params") and not hasattr(value, "get_state")
    }


def _is_fitted(estimator: Any) -> bool:
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def _instead_of(estimator: Any) -> str:
    if hasattr(estimator, "steps"):
        return (
            "A Pipeline cannot be trained by batches. Fit its other steps first, and train the last one on their output: "
            "fit(pipeline[-1], pipeline[:-1].fit_transform(x, y), y, ...)."
        )
    if getattr(estimator, "solver", None) == "lbfgs" and hasattr(estimator, "learning_rate_init"):
        return "A network has it with solver='adam' or 'sgd'."
    return (
        "Without it, scikit-learn trains in one call that plugins cannot look into. Use an estimator that has it, such as "
        "SGDClassifier, SGDRegressor, MLPClassifier or MiniBatchKMeans."
    )


def _shown(order: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in order.items())
