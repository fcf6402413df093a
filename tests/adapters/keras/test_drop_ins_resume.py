"""A script with the drop-ins alone, cut anywhere and started again, ends as if it had never been cut: weights, log, files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import keras
import numpy as np
import pytest

from hookcore_adapters.keras import KerasAdapter, callbacks, fit, from_keras
from hookcore_plugins import Checkpoint

EPOCHS, BATCHES = 12, 4
RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(32, 3)).astype("float32")
Y = (X.sum(axis=1, keepdims=True) + RANDOM.normal(size=(32, 1)) > 0).astype("float32")


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def new() -> Any:
    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dense(8, "relu"), layers.Dropout(0.2), layers.Dense(1, activation="sigmoid")]
    )
    model.compile(keras.optimizers.Adam(0.1), "binary_crossentropy", metrics=["accuracy"])
    return model


class Cut(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Ends the run by an exception in an epoch: before a batch, or after all other callbacks at the epoch's end."""

    def __init__(self, epoch: int, batch: int | None) -> None:
        super().__init__()
        self.at, self.epoch = (epoch, batch), 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del logs
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        del logs
        if self.at == (self.epoch, batch):
            raise InterruptedError

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        del logs
        if self.at == (epoch, None):
            raise InterruptedError


ARGUMENTS: dict[str, Any] = {"batch_size": 6, "epochs": EPOCHS, "validation_split": 0.25, "verbose": 0}


def checkpoint() -> Checkpoint:
    return Checkpoint(Path("saved").absolute(), every_n_steps=3)


def by_backups(model: Any, drop_ins: list[Any], cut: list[Any]) -> None:
    model.fit(X, Y, callbacks=[*drop_ins, callbacks.BackupAndRestore("saved", save_freq=3), *cut], **ARGUMENTS)


def by_backups_before(model: Any, drop_ins: list[Any], cut: list[Any]) -> None:
    model.fit(X, Y, callbacks=[callbacks.BackupAndRestore("saved", save_freq=3), *drop_ins, *cut], **ARGUMENTS)


def by_backups_of_epochs(model: Any, drop_ins: list[Any], cut: list[Any]) -> None:
    model.fit(X, Y, callbacks=[*drop_ins, callbacks.BackupAndRestore("saved"), *cut], **ARGUMENTS)


def by_adapter(model: Any, drop_ins: list[Any], cut: list[Any]) -> None:
    model.fit(X, Y, callbacks=[*drop_ins, KerasAdapter([checkpoint()], resume="auto"), *cut], **ARGUMENTS)


def by_fit(model: Any, drop_ins: list[Any], cut: list[Any]) -> None:
    fit(model, X, Y, callbacks=[*drop_ins, *cut], plugins=[checkpoint()], resume="auto", **ARGUMENTS)


def hosted(model: Any, drop_ins: list[Any], cut: list[Any]) -> None:
    fit(model, X, Y, plugins=[*map(from_keras, [*drop_ins, *cut]), checkpoint()], resume="auto", **ARGUMENTS)


Train: TypeAlias = Callable[[Any, list[Any], list[Any]], None]


@attrs.frozen
class End:
    """What a run leaves."""

    weights: list[Any]
    log: str
    logs: list[str]
    best: list[Any]
    stopped_epoch: int
    best_epoch: int


def end(train: Train, where: Path, cut: Cut | None = None, *, append: bool = False) -> End:
    """Train in the directory `where`, cut and again if there is a `cut`, and return what is left in the end."""
    where.mkdir()
    os.chdir(where)
    for cuts in [[cut], []] if cut else [[]]:
        model = new()
        stopper = callbacks.EarlyStopping("val_loss", patience=3, restore_best_weights=True)
        drop_ins = [
            stopper,
            callbacks.ModelCheckpoint("best.keras", save_best_only=True),
            callbacks.ReduceLROnPlateau(factor=0.5, patience=1),
            callbacks.CSVLogger("log.csv", append=append),
        ]
        with pytest.raises(InterruptedError) if cuts else contextlib.nullcontext():
            train(model, drop_ins, cuts)
    values = [value.tolist() for value in model.get_weights()]
    best = [value.tolist() for value in keras.models.load_model("best.keras").get_weights()]
    logs = sorted(path.name for path in where.glob("log*"))
    return End(values, Path("log.csv").read_text(), logs, best, stopper.stopped_epoch, stopper.best_epoch)


# The best epoch is the fourth, and the run stops after the seventh.
CUTS = [(0, 2), (4, 0), (5, 1), (5, None), (6, 3), (6, None)]
FORMS = pytest.mark.parametrize("train", [by_backups, by_backups_before, by_backups_of_epochs, by_adapter, by_fit, hosted])


@pytest.fixture(scope="module")
def uncut(tmp_path_factory: pytest.TempPathFactory) -> End:
    """Return what a run leaves that is not interrupted."""
    return end(by_backups, tmp_path_factory.mktemp("uncut") / "run")


@FORMS
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_a_script_of_drop_ins_ends_as_if_it_was_never_cut(
    train: Train, cut: tuple[int, int | None], uncut: End, tmp_path: Path
) -> None:
    """The best weights, the log, the saved best model and the decision to stop are those of the uncut run."""
    assert (uncut.best_epoch, uncut.stopped_epoch) == (3, 6)
    append = cut[0] % 2 > 0  # makes no difference
    assert end(train, tmp_path / "run", Cut(*cut), append=append) == uncut


@FORMS
def test_a_schedule_sets_the_rate_of_an_epoch_once(train: Train, tmp_path: Path) -> None:
    """Of an epoch that was cut within, a schedule that returns a part of the rate is not called again."""

    def rates(where: Path, cuts: list[Any]) -> str:
        where.mkdir()
        os.chdir(where)
        for cut in [*cuts, None]:
            drop_ins = [callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.8), callbacks.CSVLogger("log.csv")]  # noqa: ARG005 - Keras's
            with pytest.raises(InterruptedError) if cut else contextlib.nullcontext():
                train(new(), drop_ins, [cut] if cut else [])
        return Path("log.csv").read_text()

    assert rates(tmp_path / "cut", [Cut(4, 3)]) == rates(tmp_path / "uncut", [])
