"""The digits demo with scikit-learn: a network that the adapter's `fit` trains by `partial_fit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

from hookcore_adapters.demo import digits
from hookcore_adapters.demo.task import loading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hookcore import Engine


def loss(estimator: Any, x: Any, y: Any) -> float:
    """Return the mean cross-entropy of the predictions of `estimator` for the samples `x` with labels `y`."""
    from sklearn.metrics import log_loss

    return float(log_loss(y, estimator.predict_proba(x), labels=estimator.classes_))


@attrs.frozen
class SklearnTask:
    """A network of scikit-learn with its data: each row is an image."""

    estimator: Any
    data: tuple[Any, Any]
    validation_data: tuple[Any, Any]
    epochs: int
    plugins: Sequence[object]
    validation: str = "val_"
    file: str = "estimator.skops"
    loader: str = "skops.io.load"

    def train(self, engine: Engine, epochs: int) -> None:
        """Train by `fit`."""
        from hookcore_adapters.sklearn import fit

        fit(
            self.estimator,
            *self.data,
            plugins=engine,
            epochs=epochs,
            batch_size=digits.BATCH_SIZE,
            validation_data=self.validation_data,
            metrics={"loss": loss},
            seed=1,
        )

    def score(self, checkpoint: Path) -> Mapping[str, float]:
        """Load `checkpoint` and evaluate it."""
        import skops.io

        loaded = skops.io.load(checkpoint / self.file)
        x, y = self.validation_data
        return {"loss": loss(loaded, x, y), "score": loaded.score(x, y)}


def prepare() -> SklearnTask:
    """Return the task."""
    click.echo(f"Loading scikit-learn and {digits.DESCRIBED} ...")
    with loading("'hookcore[sklearn]'"):
        from sklearn.neural_network import MLPClassifier

        import hookcore_adapters.sklearn  # noqa: F401 - raises an error if a library is missing

        train, held_out = digits.load()
    data, validation_data = ((of.images.reshape(len(of.images), -1), of.labels) for of in (train, held_out))
    network = MLPClassifier((64,), learning_rate_init=digits.LEARNING_RATE, random_state=1)
    return SklearnTask(network, data, validation_data, digits.EPOCHS, digits.plugins())
