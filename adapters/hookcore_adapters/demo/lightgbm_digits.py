"""The digits demo with LightGBM: a forest for each digit."""

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

LEARNING_RATE = 0.2  # the weight of a tree, so not comparable with that of an optimizer


@attrs.frozen
class LightGBMTask:
    """Parameters with data sets."""

    params: Mapping[str, Any]
    data: Any
    validation_data: Any
    held_out: digits.Digits
    epochs: int
    plugins: Sequence[object]
    validation: str = "val-"
    file: str = "model.txt"
    loader: str = "lightgbm.Booster"

    def train(self, engine: Engine, epochs: int) -> None:
        """Train by the adapter's `train`: an epoch is an iteration, which grows a tree for each digit."""
        from hookcore_adapters.lightgbm import train

        train(
            self.params,
            self.data,
            epochs,
            valid_sets=[self.validation_data],
            valid_names=["val"],
            feval=[_loss, _accuracy],
            plugins=engine,
        )

    def score(self, checkpoint: Path) -> Mapping[str, float]:
        """Load `checkpoint` and evaluate it."""
        import lightgbm

        loaded = lightgbm.Booster(model_file=checkpoint / self.file)
        predicted = loaded.predict(_features(self.held_out))
        return {name: value for name, value, _ in (metric(predicted, self.validation_data) for metric in (_loss, _accuracy))}


def _loss(predicted: Any, data: Any) -> tuple[str, float, bool]:
    """Return the cross-entropy, by its name in every demo, and False because lower is better."""
    import numpy as np

    labels = data.get_label().astype(int)
    return "loss", float(-np.log(predicted[np.arange(len(labels)), labels]).mean()), False


def _accuracy(predicted: Any, data: Any) -> tuple[str, float, bool]:
    return "accuracy", float((predicted.argmax(-1) == data.get_label()).mean()), True


def _features(of: digits.Digits) -> Any:
    return of.images.reshape(len(of.images), -1)


def prepare() -> LightGBMTask:
    """Return the task."""
    click.echo(f"Loading LightGBM and {digits.DESCRIBED} ...")
    with loading("'hookcore[lightgbm]' scikit-learn"):
        import lightgbm

        import hookcore_adapters.lightgbm  # noqa: F401 - raises an error if a library is missing

        train, held_out = digits.load()
    data = lightgbm.Dataset(_features(train), train.labels)
    return LightGBMTask(
        {
            "objective": "multiclass",
            "num_class": 10,
            "metric": "none",  # only the demo's
            "learning_rate": LEARNING_RATE,
            "num_leaves": 15,
            "num_threads": 1,
            "verbosity": -1,
        },
        data,
        lightgbm.Dataset(_features(held_out), held_out.labels, reference=data),
        held_out,
        digits.EPOCHS,
        digits.plugins("val-loss"),
    )
