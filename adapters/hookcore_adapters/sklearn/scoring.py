"""What an estimator is scored by, and which way each metric gets better."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
from sklearn.metrics import check_scoring, make_scorer

from hookcore import MetricNames, ParameterError
from hookcore.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hookcore.trainee import Mode

Scorer: TypeAlias = "str | Callable[[Any, Any, Any], float]"
"""A name that `sklearn.metrics.get_scorer` knows, what `make_scorer` returns, or any `f(estimator, x, y)`."""
NAMES: Final = MetricNames()
_MADE: Final = type(make_scorer(max))
"""The class of scikit-learn's own scorers."""


@attrs.frozen(eq=False)
class Scoring:
    """The metrics of `estimator`: its own `score`, if it has one, and those of `metrics`, scorers by name."""

    estimator: Any
    metrics: Mapping[str, Scorer]
    _scorer: Any = attrs.field(init=False)

    @_scorer.default
    def _make_scorer(self) -> Any:
        for name, scorer in self.metrics.items():
            self._check(name, scorer)
        own = {"score": None} if hasattr(self.estimator, "score") else {}  # None is scikit-learn's word for that method
        try:
            return check_scoring(self.estimator, scoring={**own, **self.metrics}) if own or self.metrics else None
        except (ValueError, TypeError) as error:  # the latter for an object that is no estimator
            raise ParameterError(f"SklearnTrainee: metrics {dict(self.metrics)!r}: {error}") from error

    def _check(self, name: object, scorer: object) -> None:
        if not isinstance(name, str) or not name or name == "score" or NAMES.is_validation(name):
            raise ParameterError(
                f"SklearnTrainee: metrics must be scorers by names that are not 'score', the estimator's own, and have no 'val_' "
                f"in front, got the name {name!r}."
            )
        if not isinstance(scorer, str) and not callable(scorer):
            raise ParameterError(
                f"SklearnTrainee: metrics[{name!r}] must be a scorer: a name such as 'f1_macro', what make_scorer returns, or a "
                f"function of the estimator, x and y; got {scorer!r}."
            )
        if isinstance(scorer, str):
            from sklearn.metrics import get_scorer_names

            if scorer not in get_scorer_names():
                hint = did_you_mean(scorer, get_scorer_names())
                raise ParameterError(f"SklearnTrainee: metrics[{name!r}] is {scorer!r}, a scorer that scikit-learn lacks.{hint}")
        if name == "loss" and self._is_scikits(name):
            raise ParameterError(
                "SklearnTrainee: metrics['loss'] is a scorer of scikit-learn's, which is better if larger, and a loss is better "
                "if smaller. Give it another name, such as 'neg_log_loss', or a function of the estimator, x and y that returns "
                "the loss."
            )

    def _is_scikits(self, name: str) -> bool:
        return isinstance(self.metrics[name], str | _MADE)

    def direction(self, metric: str) -> Mode | None:
        """Return the direction of `metric`: `"max"` for scores, `"min"` for the loss, None for a function of the user's own."""
        plain = NAMES.plain(metric)
        if plain == "loss":
            return "min"
        return "max" if plain == "score" or (plain in self.metrics and self._is_scikits(plain)) else None

    def scores(self, estimator: Any, x: Any, y: Any = None) -> dict[str, Any]:
        """Return each metric of `estimator`, or a copy of it, for the samples `x` and targets `y`, by its name.

        What is predicted is predicted once for all scorers.
        """
        return {} if self._scorer is None else dict(self._scorer(estimator, x, y))

    def loss(self) -> dict[str, float]:
        """Return the estimator's `loss_` of what it was trained on last, by the name `loss`; nothing without that."""
        loss = getattr(self.estimator, "loss_", None)
        return {"loss": float(loss)} if isinstance(loss, Real) and "loss" not in self.metrics else {}
