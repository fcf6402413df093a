"""What the networks of `sklearn.neural_network` keep for their training, and scikit-learn does not document."""

from __future__ import annotations

from typing import Any, Final

from sklearn.neural_network import MLPClassifier, MLPRegressor

OPTIMIZER: Final = "_optimizer"
"""It copies the learning rate when it is made, at the first batch, and does not look at the parameter again; scikit-learn
documents no other way to change the rate of a network in training. skops does not trust its class by itself."""
RATES: Final = ("learning_rate_init", "learning_rate")
"""The attributes of an optimizer that are its rate: its constructor sets both. Adam derives the second from the first."""
CURVE: Final = "loss_curve_"
"""The loss of each batch that was ever trained, as a list of numbers, for each of which skops would write a file."""
TRUSTED: Final = [f"sklearn.neural_network._stochastic_optimizers.{name}" for name in ("AdamOptimizer", "SGDOptimizer")]
"""The classes of optimizers."""


def is_network(estimator: Any) -> bool:
    """Return whether `estimator` is a network."""
    return isinstance(estimator, MLPClassifier | MLPRegressor)


def optimizer_of(estimator: Any) -> Any:
    """Return the optimizer of a network that was trained; None of anything else."""
    return getattr(estimator, OPTIMIZER, None) if is_network(estimator) else None


def of_training(estimator: Any) -> dict[str, Any]:
    """Return what a network needs to be trained and not to predict, by attribute; nothing of other estimators."""
    own = vars(estimator) if is_network(estimator) else {}
    return {name: own[name] for name in (OPTIMIZER, CURVE) if name in own}
