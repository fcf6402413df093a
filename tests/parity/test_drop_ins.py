"""Other uses of Keras's callbacks in scripts also work with the drop-ins."""

from __future__ import annotations

import copy
import gc
import inspect
import math
import weakref
from typing import TYPE_CHECKING, Any, Final

import keras
import numpy as np
import pytest

from hookcore_adapters.keras import callbacks
from tests.parity.models import Breaks, X, Y, tiny, trained
from tests.parity.protocol import StandIn, drop_in, epochs_of, fit, said, stock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BOTH: Final = pytest.mark.parametrize("make", [stock, drop_in])


class Waits(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Records the wait of an EarlyStopping at the beginning of each epoch."""

    def __init__(self, stopper: Any) -> None:
        super().__init__()
        self.stopper = stopper
        self.seen: list[tuple[int, int]] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del logs
        self.seen.append((epoch, self.stopper.wait))


def patient() -> Any:
    """Return an EarlyStopping that only waits, because the loss falls."""
    return drop_in("EarlyStopping", "loss", mode="max", patience=50)


def test_which_callbacks_there_are() -> None:
    """The module has the ten callbacks, and no others."""
    assert callbacks.__all__ == [
        "BackupAndRestore",
        "CSVLogger",
        "EarlyStopping",
        "LambdaCallback",
        "LearningRateScheduler",
        "ModelCheckpoint",
        "ReduceLROnPlateau",
        "SwapEMAWeights",
        "TensorBoard",
        "TerminateOnNaN",
    ]


@pytest.mark.parametrize("name", callbacks.__all__)
def test_the_signature_is_keras_own(name: str) -> None:
    """The signature has the same parameters, order and defaults, except for arbitrary keywords."""

    def parameters(callback: Any) -> list[tuple[str, Any]]:
        return [
            (parameter.name, parameter.default)
            for parameter in inspect.signature(callback).parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD or callback is keras.callbacks.LambdaCallback
        ]

    assert parameters(getattr(callbacks, name)) == parameters(getattr(keras.callbacks, name))


@BOTH
def test_a_model_is_freed(make: Callable[..., Any], tmp_path: Path) -> None:
    """No callback keeps a model in memory."""
    model = tiny()
    trained(model, [make("EarlyStopping", "loss"), make("BackupAndRestore", tmp_path / "backup")], epochs=1)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


@BOTH
def test_other_callbacks_may_log_anything(make: Callable[..., Any], tmp_path: Path) -> None:
    """Text, None and lists in the logs do not affect callbacks that do not monitor them."""
    notes = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda _, logs: logs.update(note="warm", nothing=None, several=[1, 2]),
        on_train_batch_end=lambda _, logs: logs.update(note="warm"),
    )
    listed = [
        make("EarlyStopping", "loss"),
        make("ReduceLROnPlateau", "loss"),
        make("ModelCheckpoint", tmp_path / "a.keras", "loss", save_best_only=True),
        make("TerminateOnNaN"),
    ]
    assert len(trained(tiny(), [notes, *listed], epochs=2)) == 4


@BOTH
def test_an_evaluation_leaves_the_attributes(make: Callable[..., Any]) -> None:
    """Attributes of the training, such as the best value, are kept in an evaluation with the same callbacks."""
    callback, model = make("EarlyStopping", "loss"), tiny()
    trained(model, [callback], epochs=1)
    best = callback.best
    model.evaluate(X, Y, verbose=0, callbacks=[callback])
    assert callback.best == best is not None


@BOTH
def test_the_best_weights_can_be_read_after_training(make: Callable[..., Any]) -> None:
    """After training, `best_weights` has the restored weights."""
    callback, model = make("EarlyStopping", "loss", mode="max", restore_best_weights=True), tiny()
    trained(model, [callback])
    for best, weight in zip(callback.best_weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(best, weight)


@BOTH
def test_parameters_may_be_numpys_or_floats(make: Callable[..., Any]) -> None:
    """Numbers may be NumPy's, counts may be floats, and a patience may be infinite."""
    values = [1.0, 2.0, 3.0, 4.0]
    for parameters in (
        {"patience": np.int64(2), "min_delta": np.float32(0.5), "baseline": np.float32(5)},
        {"patience": 1.5, "start_from_epoch": np.int32(0)},
    ):
        callback = make("EarlyStopping", "loss", **parameters)
        fit(callback, StandIn(), epochs_of("loss", values))
        assert callback.stopped_epoch == 2
    endless = make("EarlyStopping", "loss", patience=float("inf"))
    fit(endless, StandIn(), epochs_of("loss", values))
    assert endless.stopped_epoch == 0
    plateau = make("ReduceLROnPlateau", "loss", np.float64(0.5), np.int64(1), cooldown=np.int64(1), min_lr=np.float32(0.1))
    model = StandIn(keras.optimizers.SGD(1.0))
    fit(plateau, model, epochs_of("loss", values))
    assert float(model.optimizer.learning_rate) == 0.125


@BOTH
def test_callbacks_can_be_copied(make: Callable[..., Any]) -> None:
    """Copies of callbacks, as made by tuners for each trial, are independent."""
    original = make("EarlyStopping", "loss", patience=2)
    copied = copy.deepcopy(original)
    fit(copied, StandIn(), epochs_of("loss", [1.0, 2.0, 3.0]))
    fit(original, StandIn(), epochs_of("loss", [5.0]))
    assert (copied.best, copied.wait, original.best, original.wait) == (1.0, 2, 5.0, 0)


@BOTH
def test_a_parameter_can_be_changed_between_fits(make: Callable[..., Any]) -> None:
    """Parameters are attributes, whose new values apply from the next fit on."""
    callback = make("EarlyStopping", "loss", patience=1)
    callback.patience, callback.monitor = 3, "val_loss"
    fit(callback, StandIn(), epochs_of("val_loss", [1.0] * 6))
    assert callback.stopped_epoch == 3


def in_order(stopper: Any, directory: Path, *, first: bool) -> list[Any]:
    """Return an EarlyStopping and a BackupAndRestore, which is first or last."""
    backup = drop_in("BackupAndRestore", directory)
    return [backup, stopper] if first else [stopper, backup]


@pytest.mark.parametrize("first", [True, False], ids=["backup first", "backup last"])
@pytest.mark.parametrize("again", ["nothing", "model", "model and callback"])
def test_a_restart_finds_the_state_wherever_the_backup_is_listed(tmp_path: Path, first: bool, again: str) -> None:  # noqa: FBT001 - parameters
    """A restart restores the state at the end of the epoch, whether BackupAndRestore is listed before others or after."""
    model, before = tiny(), patient()
    trained(model, [*in_order(before, tmp_path, first=first), Breaks(epoch=3)])
    # In a notebook the earlier objects still exist.
    model = tiny() if again == "nothing" else model
    stopper = before if again == "model and callback" else patient()
    waits = Waits(stopper)
    trained(model, [*in_order(stopper, tmp_path, first=first), waits], epochs=5)
    assert waits.seen == [(3, 2), (4, 3)]
    assert before.wait == (4 if stopper is before else 2)


def test_states_are_not_mixed_up(tmp_path: Path) -> None:
    """Two callbacks of one class keep their own states, also if one of them was used in an earlier fit."""
    model, falling = tiny(), drop_in("EarlyStopping", "loss", patience=50)
    trained(model, [falling], epochs=1)
    trained(model, [patient(), falling, drop_in("BackupAndRestore", tmp_path), Breaks(epoch=3)])
    rising, falling = patient(), drop_in("EarlyStopping", "loss", patience=50)
    both = Waits(rising), Waits(falling)
    trained(tiny(), [rising, falling, drop_in("BackupAndRestore", tmp_path), *both])
    assert [waits.seen for waits in both] == [[(3, 2)], [(3, 0)]]


@pytest.mark.parametrize("first", [True, False], ids=["backup first", "backup last"])
def test_a_restart_does_not_reach_into_the_fit_after_it(tmp_path: Path, first: bool) -> None:  # noqa: FBT001 - a parameter
    """Restored state applies to that fit, and the next fit starts again."""
    trained(tiny(), [*in_order(patient(), tmp_path, first=first), Breaks(epoch=2)])
    model, stopper = tiny(), patient()
    trained(model, in_order(stopper, tmp_path, first=first))
    waits = Waits(stopper)
    trained(model, [stopper, waits], epochs=2)
    assert waits.seen == [(0, 0), (1, 0)]


def test_nan_is_noticed_right_after_a_restart(tmp_path: Path) -> None:
    """A NaN in the first batch after a restart is noticed."""

    def guards() -> list[Any]:
        return [drop_in("TerminateOnNaN"), drop_in("BackupAndRestore", tmp_path)]

    trained(tiny(), [*guards(), Breaks(epoch=2)])
    model = tiny()
    with said():
        model.fit(X, Y * math.nan, epochs=3, batch_size=4, verbose=0, callbacks=guards())
    assert int(model.optimizer.iterations) == 2 * 2 + 1


def test_batches_passed_over_are_not_saved_again(tmp_path: Path) -> None:
    """A ModelCheckpoint that counts batches saves the same files as in an uninterrupted training."""
    saved = []
    for broken in (True, False):
        directory = tmp_path / str(broken)
        for breaks in ([Breaks(batches=7)], []) if broken else ([],):
            checkpoint = drop_in("ModelCheckpoint", directory / "{epoch}-{batch}-{loss:.4f}.keras", save_freq=3)
            backup = drop_in("BackupAndRestore", tmp_path / f"backup-{broken}", save_freq=2)
            trained(tiny(), [checkpoint, backup, *breaks], epochs=3, batch_size=2)
        saved.append(sorted(path.name for path in directory.iterdir()))
    assert [name[:3] for name in saved[0]] == [name[:3] for name in saved[1]] == ["1-3", "2-2", "3-1", "3-4"]


def test_a_restart_that_is_broken_off_again_leaves_the_model_whole(tmp_path: Path) -> None:
    """After an exception while batches are skipped, the model's next fit skips none."""
    trained(tiny(), [drop_in("BackupAndRestore", tmp_path, save_freq=3), Breaks(batches=3)], batch_size=2)
    model = tiny()
    trained(model, [drop_in("BackupAndRestore", tmp_path, save_freq=3), Breaks(batches=1)], batch_size=2)
    assert len(trained(model, [], epochs=1, batch_size=2)) == 4


def test_parameters_may_be_numbers_of_numpy(tmp_path: Path) -> None:
    """A NumPy number, given or assigned, is stored as Python's."""
    stopper = drop_in("EarlyStopping", patience=np.int64(2), min_delta=np.float32(-0.5), baseline=np.float64(1))
    reducer = drop_in("ReduceLROnPlateau", factor=np.float32(0.5), min_lr=np.float32(-1), cooldown=np.int64(2))
    assert repr((stopper.patience, stopper.min_delta, stopper.baseline)) == "(2, 0.5, 1.0)"
    assert repr((reducer.factor, reducer.min_lr, reducer.plugin.cooldown)) == "(0.5, 0.0, 1)"
    stopper.patience, reducer.factor = np.int64(3), np.float32(0.25)
    assert repr((stopper.patience, reducer.factor)) == "(3, 0.25)"
    saver = drop_in("ModelCheckpoint", str(tmp_path / "{epoch}.keras"), save_freq=np.int64(2))
    trained(tiny(), [saver], epochs=1, batch_size=2)
    assert repr(saver.save_freq) == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["1.keras"]
