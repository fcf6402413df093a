"""The log names Keras's own callbacks whose state no checkpoint has, before the first batch and in a resumed run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import keras
import pytest

from hookcore_adapters.keras import KerasAdapter, callbacks, fit, from_keras
from hookcore_plugins import Checkpoint, EarlyStopping

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Train = Callable[..., None]

ARGUMENTS: Final[dict[str, Any]] = {"batch_size": 12, "shuffle": False, "verbose": 0}
KERAS: Final = "these Keras callbacks start from the beginning"


def beside(model: Any, data: Any, listed: list[Any], plugins: list[Any], **arguments: Any) -> None:
    fit(model, *data, callbacks=listed, plugins=plugins, **ARGUMENTS | arguments)


def hosted(model: Any, data: Any, listed: list[Any], plugins: list[Any], **arguments: Any) -> None:
    fit(model, *data, plugins=[*map(from_keras, listed), *plugins], **ARGUMENTS | arguments)


def before_the_adapter(
    model: Any, data: Any, listed: list[Any], plugins: list[Any], *, resume: Any = False, **arguments: Any
) -> None:
    model.fit(*data, callbacks=[*listed, KerasAdapter(plugins, resume=resume)], **ARGUMENTS | arguments)


FORMS: Final = pytest.mark.parametrize("train", [beside, hosted, before_the_adapter])


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[..., list[str]]:
    """Return `logged(level)`, which returns the messages of this level in the log so far."""
    caplog.set_level(logging.INFO, "hookcore")

    def messages(level: int = logging.WARNING) -> list[str]:
        return [one.getMessage() for one in caplog.records if one.name == "hookcore" and one.levelno == level]

    return messages


class Cut(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Ends the run at the beginning of its third epoch, without an event for plugins, like a kill, and keeps the log before."""

    def __init__(self, logged: Callable[..., list[str]]) -> None:
        super().__init__()
        self.logged = logged
        self.before: list[list[str]] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        self.before.append(self.logged())

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del logs
        if epoch == 2:
            raise InterruptedError


def by_rate(epoch: int, rate: float) -> float:
    del epoch
    return rate * 0.5


def by_epoch(epoch: int) -> float:
    return 0.1 / (epoch + 1)


@FORMS
def test_callbacks_that_forget_are_named_before_the_first_batch_and_again_when_resumed(
    train: Train, make: Any, data: Any, logged: Callable[..., list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """A run that saves warns once, before its first batch, of Keras's callbacks and what they lose; the resumed run does too."""

    def listed() -> list[Any]:
        best = keras.callbacks.ModelCheckpoint("best.keras", "loss", save_best_only=True)
        return [
            keras.callbacks.EarlyStopping("loss"),
            keras.callbacks.ReduceLROnPlateau("loss"),
            best,
            keras.callbacks.LearningRateScheduler(by_rate),
        ]

    cut = Cut(logged)
    with pytest.raises(InterruptedError):
        train(make(), data, [*listed(), cut], [Checkpoint("runs")], resume="auto", epochs=4)
    (first,) = cut.before[0]
    assert cut.before[-1] == [first]
    assert f"if this run is resumed, {KERAS}" in first
    caplog.clear()
    train(make(), data, listed(), [Checkpoint("runs")], resume="auto", epochs=4)
    (again,) = [message for message in logged() if "plugin 'cut' of the earlier run is missing" not in message]
    assert f"resumed: {KERAS}" in again
    for message in (first, again):
        assert "EarlyStopping loses its best value and weights, and how long it has waited" in message
        assert "ReduceLROnPlateau loses its best value" in message
        assert "ModelCheckpoint loses its best value, so that a worse model may replace the best one" in message
        assert "LearningRateScheduler sets the rate of an interrupted epoch twice" in message
        assert "hookcore_adapters.keras.callbacks" in message


@pytest.mark.parametrize("kind", ["own", "drop-in", "plugin"])
def test_what_is_warned_of_happens_only_to_callbacks_without_state(
    make: Any, data: Any, logged: Callable[..., list[str]], *, kind: str
) -> None:
    """After a cut, Keras's `EarlyStopping` stops later than in an uncut run; a drop-in and a plugin stop at the same epoch."""
    given: dict[str, Any] = {"monitor": "loss", "mode": "max", "patience": 3}

    def train(*others: Any) -> int:
        stoppers = {"own": [keras.callbacks.EarlyStopping(**given)], "drop-in": [callbacks.EarlyStopping(**given)]}.get(kind, [])
        plugins = [Checkpoint("runs"), *([] if stoppers else [EarlyStopping(**given)])]
        run = fit(make(), *data, epochs=9, callbacks=[*stoppers, *others], plugins=plugins, resume="auto", **ARGUMENTS)
        return len(run.history.epochs)

    with pytest.raises(InterruptedError):
        train(Cut(logged))
    assert (train() == 4) is (kind != "own")
    assert len([message for message in logged() if KERAS in message]) == (2 if kind == "own" else 0)


@FORMS
def test_other_callbacks_are_not_warned_of(
    train: Train, make: Any, data: Any, logged: Callable[..., list[str]], watch: Callable[[], Any]
) -> None:
    """Callbacks that forget nothing, or have `state_dict`, and runs without checkpoints give no warning; INFO names a user's."""

    class WithState(keras.callbacks.EarlyStopping):  # type: ignore[misc]  # Keras ships no types
        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: Any) -> None:
            pass

    def listed() -> list[Any]:
        return [
            keras.callbacks.CSVLogger("log.csv"),
            keras.callbacks.LambdaCallback(),
            keras.callbacks.LearningRateScheduler(by_epoch),
            keras.callbacks.ModelCheckpoint("last.keras"),
            keras.callbacks.TerminateOnNaN(),
            callbacks.EarlyStopping("loss"),
            WithState("loss", patience=9),
            watch(),
        ]

    train(make(), data, [keras.callbacks.EarlyStopping("loss")], [])
    train(make(), data, listed(), [Checkpoint("runs")])
    assert logged() == []
    assert not [message for message in logged(logging.INFO) if "state_dict" in message]
    train(make(), data, listed(), [Checkpoint("runs")], resume="auto", epochs=2)
    assert logged() == []
    (named,) = [message for message in logged(logging.INFO) if "state_dict" in message]
    assert named.endswith("start from the beginning: Seen")


@pytest.mark.parametrize("backups", [keras.callbacks.BackupAndRestore, callbacks.BackupAndRestore], ids=["Keras", "drop-in"])
def test_backups_beside_resume_give_a_warning(backups: Any, make: Any, data: Any, logged: Callable[..., list[str]]) -> None:
    """With `resume`, the log warns before the first batch of `BackupAndRestore`, which restores the model too."""
    cut = Cut(logged)
    with pytest.raises(InterruptedError):
        beside(make(), data, [backups("backups"), cut], [Checkpoint("runs")], resume="auto", epochs=3)
    (message,) = cut.before[0]
    assert "BackupAndRestore restores the model from its own backup" in message
