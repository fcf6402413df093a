"""The log warns of a resumed run with nothing left to train, whose weights may be another fold's in a cross-validation."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest

from hookcore.testing import ScriptedTrainee
from hookcore_adapters.keras import KerasAdapter, fit
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, EarlyStopping

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hookcore.resume import Resume


def in_loop(plugins: list[object], epochs: int, resume: Resume) -> str:
    with Loop(plugins, epochs=epochs, trainee=ScriptedTrainee(), resume=resume) as loop:
        for _ in loop.epochs():
            for _ in loop.batches(range(2)):
                loop.log(loss=1.0)
    return "loop"


def small_model() -> Any:
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


X, Y = np.zeros((4, 2)), np.zeros((4, 1))


def in_fit(plugins: list[object], epochs: int, resume: Resume) -> str:
    fit(small_model(), X, Y, epochs=epochs, plugins=plugins, resume=resume, verbose=0)
    return "keras"


def in_keras(plugins: list[object], epochs: int, resume: Resume) -> str:
    small_model().fit(X, Y, epochs=epochs, callbacks=[KerasAdapter(plugins, resume=resume)], verbose=0)
    return "keras"


LOOPS = pytest.mark.parametrize("train", [in_loop, in_fit, in_keras])


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if "trained nothing" in record.getMessage()]
    caplog.clear()
    return found


@LOOPS
def test_a_run_that_had_all_epochs_is_warned_of(
    tmp_path: Path, train: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """A run that had all epochs is warned of, with the checkpoint and the advice; runs that train are not."""
    with caplog.at_level(logging.WARNING, "hookcore"):
        train([Checkpoint(tmp_path)], 2, "auto")
        assert warnings(caplog) == []
        loop = train([Checkpoint(tmp_path)], 2, "auto")
        (text,) = warnings(caplog)
        newest = max(tmp_path.glob("step-*"))
        assert text.startswith(
            f"{loop} trained nothing: it resumed from {newest}, and that run had its 2 epochs. The weights are"
        )
        assert "give more epochs" in text
        assert "another fold, save into another directory" in text
        train([Checkpoint(tmp_path)], 3, "auto")
        train([Checkpoint(tmp_path)], 3, None)
        assert warnings(caplog) == []


@LOOPS
def test_a_run_that_was_stopped_is_warned_of(tmp_path: Path, train: Callable[..., str], caplog: pytest.LogCaptureFixture) -> None:
    """A run that was stopped is warned of, with the plugin; it trains if that plugin's parameters have changed."""
    with caplog.at_level(logging.WARNING, "hookcore"):
        for patience, epochs in ((1, 5), (1, 9), (2, 9)):
            stops = EarlyStopping("loss", patience=patience, min_delta=100)
            train([Checkpoint(tmp_path), stops], epochs, "auto")
            found = warnings(caplog)
            if epochs == 5 or patience == 2:
                assert found == []
            else:
                assert "and that run was stopped by early_stopping. The weights" in found[0]
                assert "give early_stopping other parameters, such as more patience" in found[0]


def test_a_loop_that_is_left_or_fails_at_once_is_not_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A loop that is left or fails at once, with epochs left, is not warned of."""
    in_loop([Checkpoint(tmp_path)], 1, None)
    with caplog.at_level(logging.WARNING, "hookcore"):
        with Loop([Checkpoint(tmp_path)], epochs=2, trainee=ScriptedTrainee(), resume="auto") as loop:
            for _ in loop.epochs():
                break
        with pytest.raises(ZeroDivisionError), Loop([], epochs=2, trainee=ScriptedTrainee(), resume=tmp_path) as loop:
            raise ZeroDivisionError
    assert warnings(caplog) == []
