"""A resumed run restores the state of callbacks beside plugins, such as those that swap averaged weights in."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import keras
import numpy as np
import pytest

from hookcore_adapters.keras import KerasAdapter, callbacks, fit, from_keras
from hookcore_plugins import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Train = Callable[..., None]

ARGUMENTS: Final[dict[str, Any]] = {
    "batch_size": 6,
    "epochs": 4,
    "validation_split": 0.25,
    "shuffle": False,
    "verbose": 0,
}


def beside(model: Any, data: Any, swap: Any, checkpoint: Checkpoint, others: list[Any]) -> None:
    fit(model, *data, callbacks=[swap, *others], plugins=[checkpoint], resume="auto", **ARGUMENTS)


def hosted(model: Any, data: Any, swap: Any, checkpoint: Checkpoint, others: list[Any]) -> None:
    fit(model, *data, callbacks=others, plugins=[from_keras(swap), checkpoint], resume="auto", **ARGUMENTS)


def before_the_adapter(model: Any, data: Any, swap: Any, checkpoint: Checkpoint, others: list[Any]) -> None:
    model.fit(*data, callbacks=[swap, *others, KerasAdapter([checkpoint], resume="auto")], **ARGUMENTS)


FORMS: Final = pytest.mark.parametrize("train", [beside, hosted, before_the_adapter])
SWAPS: Final = pytest.mark.parametrize(
    "swaps", [keras.callbacks.SwapEMAWeights, callbacks.SwapEMAWeights], ids=["Keras", "drop-in"]
)


class Cut(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Ends a run at the beginning of its third epoch, or after the second batch of it."""

    epoch = 0

    def __init__(self, *, within: bool) -> None:
        super().__init__()
        self.within = within

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del logs
        self.epoch = epoch
        if epoch == 2 and not self.within:
            raise InterruptedError

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        del logs
        if self.epoch == 2 and batch == 1:
            raise InterruptedError


@pytest.fixture
def averaging(make: Any) -> Callable[[], Any]:
    """Return `averaging()`, which returns a new model whose optimizer averages its weights."""
    return lambda: make(optimizer=keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.9))


def weights_equal(one: Any, other: Any) -> bool:
    return all(map(np.array_equal, one.get_weights(), other.get_weights()))


@FORMS
@SWAPS
def test_a_checkpoint_holds_the_averaged_weights(train: Train, swaps: Any, averaging: Any, data: Any, tmp_path: Path) -> None:
    """With `swap_on_epoch`, a checkpoint at the end of an epoch has the same weights that Keras's `ModelCheckpoint` saves."""
    keras_own = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras")
    averaging().fit(*data, callbacks=[keras.callbacks.SwapEMAWeights(swap_on_epoch=True), keras_own], **ARGUMENTS)
    checkpoint = Checkpoint(tmp_path / "runs")
    train(averaging(), data, swaps(swap_on_epoch=True), checkpoint, [])
    saved = checkpoint.newest()
    assert saved is not None
    assert weights_equal(
        keras.models.load_model(saved.path / "model.keras"), keras.models.load_model(tmp_path / f"{saved.epoch + 1}.keras")
    )


@FORMS
@SWAPS
@pytest.mark.parametrize("swap_on_epoch", [True, False])
@pytest.mark.parametrize("within", [False, True], ids=["between epochs", "within one"])
def test_a_resumed_run_ends_as_the_uncut_one(
    train: Train, swaps: Any, averaging: Any, data: Any, tmp_path: Path, *, swap_on_epoch: bool, within: bool
) -> None:
    """A run that swaps averaged weights in, if interrupted and resumed, ends with the same weights, averages and metrics."""
    uncut, resumed = averaging(), averaging()
    train(uncut, data, swaps(swap_on_epoch=swap_on_epoch), Checkpoint(tmp_path / "uncut"), [])
    directory = tmp_path / "cut"
    with pytest.raises(InterruptedError):
        train(averaging(), data, swaps(swap_on_epoch), Checkpoint(directory, every_n_steps=1), [Cut(within=within)])
    train(resumed, data, swaps(swap_on_epoch), Checkpoint(directory, every_n_steps=1), [])
    assert weights_equal(uncut, resumed)
    for one, other in zip(uncut.optimizer.variables, resumed.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    assert uncut.history.history["val_loss"][2:] == resumed.history.history["val_loss"]


@pytest.mark.parametrize("host", [False, True], ids=["beside", "hosted"])
def test_what_a_drop_in_has_observed_is_resumed(make: Any, data: Any, tmp_path: Path, *, host: bool) -> None:
    """A drop-in `EarlyStopping` beside `Checkpoint`, or hosted, stops a resumed run at the same epoch as an uninterrupted one."""

    def train(*others: Any) -> int:
        stopper = callbacks.EarlyStopping("loss", mode="max", patience=3)
        plugins = [*([from_keras(stopper)] if host else []), Checkpoint(tmp_path / "runs")]
        listed = [*([] if host else [stopper]), *others]
        run = fit(make(), *data, batch_size=24, epochs=9, verbose=0, resume="auto", callbacks=listed, plugins=plugins)
        return len(run.history.epochs)

    cut = Cut(within=False)
    with pytest.raises(InterruptedError):
        train(cut)
    assert train() == 4


def test_state_that_is_new_or_gone_is_named(averaging: Any, data: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log names a callback whose state the checkpoint lacks, and a state whose callback the run lacks."""
    arguments = ARGUMENTS | {"plugins": [Checkpoint(tmp_path)], "resume": "auto", "epochs": 1}
    fit(averaging(), *data, callbacks=[callbacks.SwapEMAWeights()], **arguments)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "hookcore"):
        fit(averaging(), *data, callbacks=[callbacks.ReduceLROnPlateau("loss")], **arguments)
    assert "the checkpoint has no state of the callback ReduceLROnPlateau_1, which starts from the beginning" in caplog.text
    assert "the checkpoint has the state of a callback SwapEMAWeights_1, which this run does not have" in caplog.text
