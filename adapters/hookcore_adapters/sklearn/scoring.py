"""The scores of an estimator, and the direction in which each gets better."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
from sklearn.metrics import check_scoring, make_scorer

from hookcore import MetricNames, ParameterError
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore.trainee import Mode

Scorer: TypeAlias = str | Callable[[Any, Any, Any], float]
"""A name that `sklearn.metrics.get_scorer` takes, a result of `make_scorer`, or a function `f(estimator, x, y)`."""
NAMES: Final = MetricNames()
_MADE: Final = type(make_scorer(max))
"""The class of the scorers that `make_scorer` returns."""


@attrs.frozen(eq=False)
class Scoring:
    """Score `estimator` by its own `score`, if it has one, and by `metrics`, scorers by name."""

    estimator: Any
    metrics: Mapping[str, Scorer]
    _scorer: Any = attrs.field(init=False)

    @_scorer.default
    def _make_scorer(self) -> Any:
        for name, scorer in self.metrics.items():
            self._check(name, scorer)
        own = {"score": None} if hasattr(self.estimator, "score") else {}  # None stands for that method
        try:
            return check_scoring(self.estimator, scoring={**own, **self.metrics}) if own or self.metrics else None
        except (ValueError, TypeError) as error:  # TypeError for an object that is not an estimator
            raise ParameterError(
                f"SklearnTrainee: metrics must be scorers of {type(self.estimator).__name__}, got {dict(self.metrics)!r}: {error}"
            ) from error

    def _check(self, name: object, scorer: object) -> None:
        if not isinstance(name, str) or not name or name == "score" or NAMES.is_validation(name):
            raise ParameterError(
                "SklearnTrainee: a name in metrics must be a text that is not 'score', the estimator's own, and does not begin "
                f"with 'val_', got {name!r}. Rename the scorer."
            )
        if not isinstance(scorer, str) and not callable(scorer):
            raise ParameterError(
                f"SklearnTrainee: metrics[{name!r}] must be a scorer: a name such as 'f1_macro', a result of make_scorer, or a "
                f"function of the estimator, x and y; got {scorer!r}."
            )
        if isinstance(scorer, str):
            from sklearn.metrics import get_scorer_names

            if scorer not in get_scorer_names():
                hint = did_you_mean(scorer, get_scorer_names()) or " sklearn.metrics.get_scorer_names() lists them."
                raise ParameterError(
                    f"SklearnTrainee: metrics[{name!r}] must be the name of a scorer of scikit-learn, got {scorer!r}.{hint}"
                )
        if name == "loss" and self._is_scikits(name):
            raise ParameterError(
                "SklearnTrainee: metrics['loss'] must be a function of the estimator, x and y that returns a loss, got "
                f"{self.metrics[name]!r}, a scorer of scikit-learn, for which larger is better. Rename it, as to 'neg_log_loss', "
                "or pass such a function."
            )

    def _is_scikits(self, name: str) -> bool:
        return isinstance(self.metrics[name], str | _MADE)

    def direction(self, metric: str) -> Mode | None:
        """Return the direction of `metric`: `"max"` for scores, `"min"` for the loss, None for a user's function."""
        plain = NAMES.plain(metric)
        if plain == "loss":
            return "min"
        return "max" if plain == "score" or (plain in self.metrics and self._is_scikits(plain)) else None

    def scores(self, estimator: Any, x: Any, y: Any = None) -> dict[str, Any]:
        """Return each metric of `estimator`, the one that is trained or a copy, for the samples `x` and targets `y`, by name.

        All scorers share one prediction.
        """
        return {} if self._scorer is None else dict(self._scorer(estimator, x, y))

    def loss(self) -> dict[str, float]:
        """Return `{"loss": ...}`, the estimator's `loss_` of its latest batch; `{}` without it, or if `metrics` has a loss."""
        loss = getattr(self.estimator, "loss_", None)
        return {"loss": float(loss)} if isinstance(loss, Real) and "loss" not in self.metrics else {}
