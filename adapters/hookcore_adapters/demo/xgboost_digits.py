"""The digits demo with XGBoost: a tree for each digit in each iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from hookcore_adapters.demo import digits
from hookcore_adapters.demo.task import loading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hookcore import Engine

PARAMETERS: Final = {
    "objective": "multi:softprob",
    "num_class": 10,
    "learning_rate": 0.3,  # the weight of a tree, so not comparable with that of an optimizer
    "max_depth": 4,
    "nthread": 1,
    "disable_default_eval_metric": True,  # only the demo's
}


@attrs.frozen
class XGBoostTask:
    """Data for training and for validation."""

    data: Any
    validation_data: Any
    epochs: int
    plugins: Sequence[object]
    validation: str = "val-"
    file: str = "model.ubj"
    loader: str = "xgboost.Booster"

    def train(self, engine: Engine, epochs: int) -> None:
        """Train by `xgboost.train`: an epoch is an iteration."""
        import xgboost

        from hookcore_adapters.xgboost import XGBoostAdapter

        xgboost.train(
            PARAMETERS,
            self.data,
            epochs,
            evals=[(self.validation_data, "val")],
            custom_metric=_metrics,
            callbacks=[XGBoostAdapter(engine)],
            verbose_eval=False,
        )

    def score(self, checkpoint: Path) -> Mapping[str, float]:
        """Load `checkpoint` and evaluate it."""
        import xgboost

        predicted = xgboost.Booster(model_file=checkpoint / self.file).predict(self.validation_data)
        # XGBoost passes the result of a metric on as text with six decimals.
        return {name: float(f"{value:f}") for name, value in _metrics(predicted, self.validation_data)}


def _metrics(predicted: Any, data: Any) -> list[tuple[str, float]]:
    import numpy as np

    labels = data.get_label().astype(int)
    loss = -np.log(predicted[np.arange(len(labels)), labels]).mean()
    return [("loss", float(loss)), ("accuracy", float((predicted.argmax(-1) == labels).mean()))]


def prepare() -> XGBoostTask:
    """Return the task."""
    click.echo(f"Loading XGBoost and {digits.DESCRIBED} ...")
    with loading("'hookcore[xgboost]' scikit-learn"):
        import xgboost

        import hookcore_adapters.xgboost  # noqa: F401 - raises an error if a library is missing

        both = digits.load()
    data, validation_data = (xgboost.DMatrix(of.images.reshape(len(of.images), -1), of.labels) for of in both)
    return XGBoostTask(data, validation_data, digits.EPOCHS, digits.plugins("val-loss"))
