"""The task of the demos with Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hookcore import Engine


@attrs.frozen
class KerasTask:
    """A compiled model with its data."""

    model: Any
    data: Any
    validation_data: Any
    batch_size: int
    epochs: int
    plugins: Sequence[object]
    validation: str = "val_"
    file: str = "model.keras"
    loader: str = "keras.models.load_model"

    def train(self, engine: Engine, epochs: int) -> None:
        """Train by `fit`."""
        from hookcore_adapters.keras import fit

        fit(
            self.model,
            *self.data,
            validation_data=self.validation_data,
            epochs=epochs,
            batch_size=self.batch_size,
            plugins=engine,
        )

    def score(self, checkpoint: Path) -> Mapping[str, float]:
        """Load `checkpoint` and evaluate it."""
        import keras

        loaded = keras.models.load_model(checkpoint / self.file)
        # In batches of the same size as in training, because another order of sums changes the last digit.
        scores: Mapping[str, float] = loaded.evaluate(
            *self.validation_data, batch_size=self.batch_size, verbose=0, return_dict=True
        )
        return scores
