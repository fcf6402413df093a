"""After Ctrl-C at any line of hookcore's code while Keras trains, the resumed run ends as an uninterrupted one."""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import hookcore
import hookcore_adapters
from hookcore import Engine, Outcome, Run, store
from hookcore_adapters.keras import KerasAdapter, fit
from hookcore_plugins import Checkpoint, EarlyStopping

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

CODE = tuple(str(Path(str(package.__file__)).parent) for package in (hookcore, hookcore_adapters))
PLACES = 13
"""The number of places that are tried in each form, with one Ctrl-C and with two."""


def by_fit(model: Any, data: Any, engine: Engine, arguments: dict[str, Any]) -> None:
    fit(model, *data, plugins=engine, resume="auto", **arguments)


def by_adapter(model: Any, data: Any, engine: Engine, arguments: dict[str, Any]) -> None:
    model.fit(*data, callbacks=[KerasAdapter(engine, resume="auto")], **arguments)


def interrupted(train: Callable[[], None], at: int, times: int) -> int:
    """Train, with `times` Ctrl-C at the `at`-th line, and return the number of lines."""
    lines = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        del argument
        if not frame.f_code.co_filename.startswith(CODE):
            return None
        lines += event == "line"
        if lines == at and event == "line":
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        train()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("train", [by_fit, by_adapter])
def test_ctrl_c_at_any_line_loses_and_tears_nothing(
    model: Any, data: Any, tmp_path: Path, train: Callable[..., None], times: int
) -> None:
    """A resumed run has the weights, steps and history of an uninterrupted one, wherever Ctrl-C came."""
    gc.collect()  # runs that other tests have abandoned
    variables = [*model.variables, *model.optimizer.variables]
    start = [np.array(variable) for variable in variables]
    arguments = {"epochs": 4, "batch_size": 8, "validation_split": 0.25, "shuffle": False, "verbose": 0}

    def trained(directory: Path, at: int = 0) -> tuple[int, Run, list[Any]]:
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        engine = Engine([EarlyStopping("val_loss", patience=5), Checkpoint(directory, asynchronous=False)])
        lines = interrupted(lambda: train(model, data, engine, arguments), at, times)
        return lines, engine.run or Run(), [np.array(variable) for variable in variables]

    total, uncut, weights = trained(tmp_path / "uncut")
    assert total > 1000
    resumed = 0
    for at in range(1, total, total // PLACES):
        trained(tmp_path / str(at), at)
        if times == 2 and signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            gc.collect()  # the second Ctrl-C interrupted the end of the run, so its handler is removed with the run
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        saved = bool(store.available(tmp_path / str(at)))
        _, run, found = trained(tmp_path / str(at))
        assert run.outcome is Outcome.COMPLETED, at
        assert (run.resumed_from is not None) == saved, at
        assert all(map(np.array_equal, found, weights)), at
        assert run.progress == uncut.progress, at
        assert run.history.state_dict() == uncut.history.state_dict(), at
        resumed += saved
    assert resumed > PLACES // 3  # a third of the lines, or more, may be before the first checkpoint
