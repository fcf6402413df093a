"""The callbacks of the book's chapter as plugins, with the chapter's arguments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import keras
import numpy as np
import pytest

from hookcore import Run, hookimpl, store
from hookcore_adapters.keras import MODEL_FILE, KerasAdapter, fit
from hookcore_plugins import Checkpoint, EarlyStopping, ReduceLROnPlateau

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("form", ["fit", "adapter"])
def test_the_chapters_configuration_runs(make: Callable[..., Any], data: Any, tmp_path: Path, form: str) -> None:
    """Checkpoint on val_loss, EarlyStopping on acc and ReduceLROnPlateau run together and leave the best model."""
    model = make(optimizer="rmsprop", loss="binary_crossentropy", metrics=["acc"], run_eagerly=False)
    checkpoint = Checkpoint(tmp_path, monitor="val_loss", save_best_only=True)
    plugins = [
        EarlyStopping(monitor="acc", patience=10),
        checkpoint,
        ReduceLROnPlateau(monitor="val_loss", factor=0.1, patience=5),
    ]
    x, y = data
    arguments: dict[str, Any] = {"epochs": 30, "batch_size": 32, "validation_data": (x[:8], y[:8]), "verbose": 0}
    if form == "fit":
        run = fit(model, x, y, plugins=plugins, **arguments)
    else:
        adapter = KerasAdapter(plugins)
        model.fit(x, y, callbacks=[adapter], **arguments)
        assert adapter.run is not None
        run = adapter.run
    accuracies, losses = run.history["acc"], run.history["val_loss"]
    best = max(range(len(accuracies)), key=lambda epoch: (accuracies[epoch], -epoch))
    assert run.history.epochs == list(range(min(30, best + 11)))
    assert [reason.plugin for reason in run.stop_reasons] == (["early_stopping"] if best + 11 <= 30 else [])
    # The best checkpoint is of the epoch with the lowest val_loss, and has that loss when it is loaded.
    saved = checkpoint.best()
    assert (saved.value, saved.epoch) == (min(losses), losses.index(min(losses)))
    loaded = keras.models.load_model(store.verify(saved.path).path / MODEL_FILE)
    assert loaded.evaluate(x[:8], y[:8], verbose=0, return_dict=True)["loss"] == pytest.approx(min(losses), rel=1e-6)


@attrs.define(eq=False)
class ActivationLogger:
    """The chapter's callback, which saves every layer's activations for the first validation sample after each epoch."""

    directory: Path
    _activations: Any = attrs.field(init=False, default=None)

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        """Make a model that returns every layer's output."""
        self._activations = keras.Model(run.model.inputs, [layer.output for layer in run.model.layers])

    @hookimpl
    def on_epoch_end(self, run: Run, epoch: int) -> None:
        """Save the activations for the first validation sample."""
        sample = run.validation_data[0][0:1]
        activations = self._activations.predict(sample, verbose=0)
        np.savez(self.directory / f"activations_at_epoch_{epoch}.npz", *activations)


@pytest.mark.parametrize("given", ["validation_data", "validation_split"])
def test_the_chapters_own_callback_works_as_a_plugin(make: Callable[..., Any], data: Any, tmp_path: Path, given: str) -> None:
    """As a plugin, the chapter's callback saves a file after each epoch, with that epoch's activations."""
    x, y = data
    arguments = {"validation_data": (x[18:], y[18:])} if given == "validation_data" else {"validation_split": 0.25}
    model = make()
    fit(model, x, y, epochs=2, verbose=0, plugins=[ActivationLogger(tmp_path)], **arguments)
    files = sorted(tmp_path.glob("*.npz"))
    assert [file.name for file in files] == ["activations_at_epoch_0.npz", "activations_at_epoch_1.npz"]
    opened = [np.load(file) for file in files]
    assert [opened[0][name].shape for name in opened[0].files] == [(1, 2), (1, 1)]
    np.testing.assert_allclose(opened[1]["arr_1"], model.predict(x[18:19], verbose=0), rtol=1e-6)
    assert not np.array_equal(opened[0]["arr_1"], opened[1]["arr_1"]), "each epoch has its own"


def test_the_chapters_own_callback_works_under_the_adapter(make: Callable[..., Any], data: Any, tmp_path: Path) -> None:
    """The same plugin works under `KerasAdapter` if the adapter is given the validation data."""
    adapter = KerasAdapter([ActivationLogger(tmp_path)], validation_data=data)
    make().fit(*data, validation_data=data, callbacks=[adapter], verbose=0)
    assert [file.name for file in tmp_path.iterdir()] == ["activations_at_epoch_0.npz"]
