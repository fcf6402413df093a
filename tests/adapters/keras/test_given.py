"""A resumed run that is given something else than the run before it: the log names the old value and the new one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import keras
import pytest
import tensorflow as tf

from hookcore_adapters.keras import fit
from hookcore_plugins import Checkpoint, ReduceLROnPlateau

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hookcore import Run

    Train = Callable[..., Run]


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """`warned()`: what the log has warned of since the last call."""
    caplog.set_level(logging.WARNING, "hookcore")

    def take() -> list[str]:
        messages = [record.getMessage() for record in caplog.records if record.name == "hookcore"]
        caplog.clear()
        return messages

    return take


def sgd(rate: Any) -> dict[str, Any]:
    return {"optimizer": keras.optimizers.SGD(rate)}


def test_a_changed_learning_rate_is_named(train: Train, make: Any, data: Any, tmp_path: Path, warned: Any) -> None:
    """The checkpoint's rate wins over that of compile, with a warning; a plugin's cuts and an equal rate are no change."""
    arguments: dict[str, Any] = {"batch_size": 24, "resume": "auto", "shuffle": False}

    def plugins() -> list[object]:
        return [ReduceLROnPlateau("loss", min_delta=100, patience=1, factor=0.5), Checkpoint(tmp_path)]

    train(make(**sgd(0.5)), *data, epochs=3, plugins=plugins(), **arguments)
    assert train(make(**sgd(0.5)), *data, epochs=4, plugins=plugins(), **arguments).learning_rate < 0.5
    assert warned() == []
    run = train(make(**sgd(0.03)), *data, epochs=5, plugins=plugins(), **arguments)
    rate = run.history.learning_rates[-1]
    (warning,) = warned()
    assert "compiled with learning_rate=0.03, and before with 0.5" in warning
    assert f"continues with {rate:g}, as the checkpoint has it" in warning


def test_a_schedule_is_the_models_own(make: Any, data: Any, tmp_path: Path, warned: Any) -> None:
    """A framework's schedule is in no checkpoint, so a changed one is used, and no warning says otherwise."""
    for rate, epochs in ((0.5, 1), (0.25, 2)):
        schedule = keras.optimizers.schedules.ExponentialDecay(rate, 100, 0.5)
        run = fit(
            make(**sgd(schedule)), *data, epochs=epochs, batch_size=24, verbose=0, plugins=[Checkpoint(tmp_path)], resume="auto"
        )
    assert run.learning_rate == pytest.approx(0.25, rel=0.05)
    assert warned() == []


CHANGES: Final[dict[str, tuple[dict[str, Any], list[str]]]] = {
    "batch size": (
        {"batch_size": 12},
        ["batch_size is 12, and was 6; the run continues with 12", "steps_per_epoch is 2, and was 4"],
    ),
    "samples": ({"validation_split": 0.5}, ["samples is 12, and was 24", "steps_per_epoch is 2, and was 4"]),
    "steps": ({"steps_per_epoch": 3}, ["steps_per_epoch is 3, and was 4"]),
    "nothing": ({}, []),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_sizes_of_the_data_are_named(make: Any, data: Any, tmp_path: Path, warned: Any, name: str) -> None:
    """Another batch size, number of samples or number of steps is used from now on, and the log names both values."""
    changed, expected = CHANGES[name]
    arguments: dict[str, Any] = {"batch_size": 6, "verbose": 0, "shuffle": False, "plugins": [Checkpoint(tmp_path)]}
    fit(make(), *data, epochs=1, **arguments)
    fit(make(), *data, epochs=2, resume="auto", **arguments | changed)
    found = [message for message in warned() if "continues with" in message]
    assert len(found) == len(expected)
    assert all(f"resumed: {text}" in message for text, message in zip(expected, found, strict=True))


def test_the_adapter_names_changed_steps(make: Any, data: Any, tmp_path: Path, train: Train, warned: Any) -> None:
    """`KerasAdapter` is told the number of steps alone, which a changed batch size changes."""
    train(make(), *data, batch_size=6, epochs=1, plugins=[Checkpoint(tmp_path)])
    train(make(), *data, batch_size=12, epochs=2, plugins=[Checkpoint(tmp_path)], resume="auto")
    assert "resumed: steps_per_epoch is 2, and was 4; the run continues with 2" in warned()


def shuffled(data: Any, **arguments: Any) -> Any:
    return tf.data.Dataset.from_tensor_slices(data).shuffle(24, **arguments).batch(6).prefetch(1)


@pytest.mark.parametrize(
    ("make_data", "at", "warns"),
    [
        (shuffled, 6, True),
        (lambda data: shuffled(data, seed=1), 6, True),
        (lambda data: shuffled(data, seed=1), 2, False),
        (lambda data: shuffled(data, seed=1), 4, False),
        (lambda data: shuffled(data, seed=1, reshuffle_each_iteration=False), 6, False),
        (lambda data: tf.data.Dataset.zip(shuffled(data), shuffled(data)).map(lambda one, _: one), 6, True),
        (lambda data: tf.data.Dataset.from_tensor_slices(data).batch(6), 6, False),
    ],
    ids=["shuffled", "seeded", "seeded, first epoch", "seeded, an epoch's end", "one order", "within others", "in order"],
)
def test_a_dataset_whose_order_cannot_be_made_again_is_told_of(
    make: Any, data: Any, tmp_path: Path, warned: Any, *, make_data: Any, at: int, warns: bool
) -> None:
    """A run that is resumed within an epoch whose order a `tf.data` pipeline makes again gets other batches: the log warns."""
    arguments: dict[str, Any] = {"verbose": 0, "epochs": 2, "shuffle": False}
    plugin = Checkpoint(tmp_path, every_n_steps=1, keep_last=10)
    fit(make(), make_data(data), plugins=[plugin], **arguments)
    saved = next(path for path in tmp_path.iterdir() if path.name == f"step-{at:08d}")
    fit(make(), make_data(data), plugins=[Checkpoint(tmp_path / "other")], resume=saved, **arguments)
    assert any("the dataset shuffles, and its order cannot be made again" in message for message in warned()) is warns
