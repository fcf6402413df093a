"""The kill tests with a Keras model."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING, Final

import keras

from hookcore import store
from tests.kill.lives import LONG, Training, seconds_after, to_the_end

if TYPE_CHECKING:
    from pathlib import Path

KILLS: Final = 12 if LONG else 2


def test_a_keras_model_ends_the_same(tmp_path: Path) -> None:
    """A run that is killed at random moments leaves a model that loads, and ends bit for bit like one that was never killed."""
    wanted = Training("keras", tmp_path / "unharmed").live(to_the_end).result
    chance = random.Random(0)  # noqa: S311 - the same every time
    killed = 0
    for case in itertools.count():
        training = Training("keras", tmp_path / str(case))
        for _ in range(2):
            after_a_checkpoint = seconds_after(chance.randrange(2, 5), chance.uniform(0, 0.1))
            # A run that ended before its moment was not killed.
            killed += training.live(after_a_checkpoint, moment="with a Keras model").result is None
            keras.models.load_model(store.newest(training.directory / "checkpoints").path / "model.keras")
        assert training.live(to_the_end).result == wanted
        if killed >= KILLS:
            return
