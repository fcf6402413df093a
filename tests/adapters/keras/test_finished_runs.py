"""After a finished `fit`, adapters, drop-in and hosted callbacks can be pickled, and hold no model."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

from hookcore import Engine, HookcoreError
from hookcore_adapters.keras import KerasAdapter, callbacks, fit, from_keras
from hookcore_plugins import Checkpoint, EarlyStopping, ReduceLROnPlateau

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

X, Y = np.linspace(0, 1, 16, dtype="float32").reshape(8, 2), np.ones((8, 1), "float32")


def halved(epoch: int, rate: float) -> float:
    return rate / 2 if epoch else rate


MAKES: dict[str, Callable[[Path], Any]] = {
    "KerasAdapter": lambda place: KerasAdapter([EarlyStopping("loss", patience=1), ReduceLROnPlateau("loss"), Checkpoint(place)]),
    "KerasAdapter of a hosted callback": lambda _: KerasAdapter([from_keras(keras.callbacks.TerminateOnNaN())]),
    "BackupAndRestore": lambda place: callbacks.BackupAndRestore(place / "backup"),
    "CSVLogger": lambda place: callbacks.CSVLogger(place / "log.csv"),
    "EarlyStopping": lambda _: callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True),
    "LearningRateScheduler": lambda _: callbacks.LearningRateScheduler(halved),
    "ModelCheckpoint": lambda place: callbacks.ModelCheckpoint(place / "model.keras", monitor="loss", save_best_only=True),
    "ReduceLROnPlateau": lambda _: callbacks.ReduceLROnPlateau("loss", patience=1),
    "SwapEMAWeights": lambda _: callbacks.SwapEMAWeights(swap_on_epoch=True),
    "TensorBoard": lambda place: callbacks.TensorBoard(place / "logs"),
    "TerminateOnNaN": lambda _: callbacks.TerminateOnNaN(),
}
COPIES: dict[str, Callable[[Any], Any]] = {
    "pickled": lambda used: pickle.loads(pickle.dumps(used)),  # noqa: S301 - pickled here
    "copied": copy.deepcopy,
}


def model() -> Any:
    keras.utils.set_random_seed(3)
    made = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    made.compile(keras.optimizers.SGD(0.1, use_ema=True), "mse")
    return made


def train(callback: Any, trained: Any) -> list[float]:
    losses: list[float] = trained.fit(X, Y, epochs=3, batch_size=4, shuffle=False, verbose=0, callbacks=[callback]).history[
        "loss"
    ]
    return losses


def test_every_drop_in_is_here() -> None:
    """The callbacks above are all of the package, except those that are Keras's own."""
    own = {name for name in callbacks.__all__ if getattr(callbacks, name) is not getattr(keras.callbacks, name)}
    assert {name for name in MAKES if not name.startswith("KerasAdapter")} == own


@pytest.mark.parametrize("name", MAKES)
def test_a_used_callback_pickles_and_trains_again_and_holds_no_model(name: str, tmp_path: Path) -> None:
    """A callback that is pickled or copied, before or after a fit, trains as the original did, and keeps no model."""
    callback = MAKES[name](tmp_path)
    used = [copied(callback) for copied in COPIES.values()]
    trained = model()
    expected = train(callback, trained)
    assert callback.model is trained
    used += [copied(callback) for copied in COPIES.values()]
    assert [train(again, model()) for again in used] == [expected] * 4
    freed = weakref.ref(trained)
    del trained
    gc.collect()
    assert freed() is None
    assert callback.model is None


@pytest.mark.parametrize("doing", ["evaluate", "predict", "fit"])
def test_what_a_plugin_hosts_holds_no_model(doing: str) -> None:
    """After a fit, an evaluation or a prediction, the model is freed although the adapter still exists."""
    hosted = from_keras(keras.callbacks.LambdaCallback(on_test_batch_end=print, on_predict_batch_end=print))
    adapter, trained = KerasAdapter([hosted]), model()
    if doing == "fit":
        run = fit(trained, X, Y, epochs=1, verbose=0, plugins=adapter.engine)
        assert run.history.epochs == [0]
    else:
        getattr(trained, doing)(X, verbose=0, callbacks=[adapter], **({"y": Y} if doing == "evaluate" else {}))
    freed = weakref.ref(trained)
    del trained
    gc.collect()
    assert freed() is None


def test_an_adapter_is_not_pickled_within_its_fit() -> None:
    """Pickling an adapter within its fit is an error that names the reason, and the fit continues."""
    errors: list[str] = []

    def pickle_it(epoch: int, logs: Any) -> None:
        del epoch, logs
        with pytest.raises(HookcoreError) as caught:
            pickle.dumps(adapter)
        errors.append(str(caught.value))

    adapter = KerasAdapter(Engine([EarlyStopping("loss")], autoload=False))
    fits = model().fit(X, Y, verbose=0, callbacks=[adapter, keras.callbacks.LambdaCallback(on_epoch_end=pickle_it)])
    assert len(fits.history["loss"]) == 1
    assert errors == ["An engine can be pickled or copied once its run has ended, and this one has not."]
