"""After Ctrl-C at any line of the loop's code or of hookcore's, a resumed run ends as an uninterrupted one."""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import hookcore.interrupt
import hookcore_adapters
from hookcore import Outcome, Run, hookimpl
from hookcore.testing import RecordingPlugin, ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, EarlyStopping

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

DATA = [1.0, -2.0, 3.0]
CODE = (__file__, *(str(Path(str(package.__file__)).parent) for package in (hookcore, hookcore_adapters)))
STRIDE = 61
"""Ctrl-C comes at every N-th line. N is a prime, so that loops are hit at different places."""


def train(directory: Path, trainee: ScriptedTrainee) -> Run:
    """Train two epochs of three batches, with an update for every two batches and for the rest."""
    plugins = [RecordingPlugin(), EarlyStopping("val_loss", patience=5), Checkpoint(directory, asynchronous=False)]
    gradient = 0.0
    with Loop(plugins, epochs=2, trainee=trainee, resume="auto") as loop:
        for _ in loop.epochs():
            for number, value in loop.batches(list(enumerate(DATA, 1)), accumulate=2):
                gradient += value - trainee.weights[0]
                if number % 2 == 0 or number == len(DATA):
                    trainee.weights = [trainee.weights[0] + trainee.learning_rate * gradient]
                    trainee.optimizer_state = [trainee.optimizer_state[0] + 1]
                    gradient = 0.0
                loop.log(loss=gradient)
            with loop.evaluation():
                loop.log(loss=abs(trainee.weights[0]))
    return loop.run


def train_by_epochs(directory: Path, trainee: ScriptedTrainee) -> Run:
    """Train four epochs without batches, each in two halves with an evaluation between them."""
    plugins = [RecordingPlugin(), EarlyStopping("val_loss", patience=5), Checkpoint(directory, asynchronous=False)]
    with Loop(plugins, epochs=4, trainee=trainee, resume="auto") as loop:
        for epoch in loop.epochs():
            trainee.weights = [trainee.weights[0] + DATA[epoch % 3]]
            with loop.evaluation("half_"):
                for _ in loop.batches(range(2)):
                    loop.log(loss=trainee.weights[0])
            trainee.weights = [trainee.weights[0] + trainee.optimizer_state[0]]
            trainee.optimizer_state = [trainee.optimizer_state[0] + 1]
            loop.log(val_loss=abs(trainee.weights[0]))
    return loop.run


def interrupted(
    directory: Path,
    at: int,
    times: int = 1,
    train: Callable[[Path, ScriptedTrainee], Run] = train,
    code: tuple[str, ...] = CODE,
) -> int:
    """Train, with `times` Ctrl-C at the `at`-th line of `code`, and return the number of lines until the end."""
    lines = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        del argument
        if not frame.f_code.co_filename.startswith(code):
            return None
        lines += event == "line"
        if lines == at and event == "line":
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        train(directory, ScriptedTrainee())
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return lines


# After a Ctrl-C between opening a file and the `with` that closes it, the garbage collector closes it.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("train", [train, train_by_epochs])
def test_ctrl_c_at_any_line_loses_and_tears_nothing(
    tmp_path: Path, train: Callable[[Path, ScriptedTrainee], Run], times: int
) -> None:
    """A resumed run has the weights, steps and history of an uninterrupted one, wherever Ctrl-C came.

    This also holds for a second Ctrl-C, which stops the run at once.
    """
    uncut = ScriptedTrainee()
    expected = train(tmp_path / "uncut", uncut)
    total, at, resumed = interrupted(tmp_path / "counted", 0, train=train), 1, 0
    assert total > 1000
    while at < total:
        directory = tmp_path / str(at)
        interrupted(directory, at, times, train)
        if times == 2 and signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            gc.collect()  # the second Ctrl-C interrupted the end of the run, so its handler is removed with the run
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        trainee = ScriptedTrainee()
        run = train(directory, trainee)
        assert run.outcome is Outcome.COMPLETED
        assert (trainee.weights, trainee.optimizer_state) == (uncut.weights, uncut.optimizer_state), at
        assert run.progress == expected.progress, at
        assert run.history.state_dict() == expected.history.state_dict(), at
        resumed += run.resumed_from is not None
        at += STRIDE * times
    assert resumed > 10


@pytest.mark.parametrize("train", [train, train_by_epochs])
def test_ctrl_c_at_each_line_that_handles_it_leaves_no_handler(
    tmp_path: Path, train: Callable[[Path, ScriptedTrainee], Run]
) -> None:
    """The program's own handler is restored if Ctrl-C comes while ours is set, is active, or is removed."""
    code = (str(Path(hookcore.interrupt.__file__)),)
    total = interrupted(tmp_path / "counted", 0, 1, train, code)
    assert total > 10
    for at in range(1, total + 1):
        interrupted(tmp_path / str(at), at, 1, train, code)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, at


def test_a_second_ctrl_c_is_raised_at_once_and_saves_nothing_of_the_cut_batch(tmp_path: Path) -> None:
    """A second Ctrl-C in a batch is raised at once, and the interrupted batch is not saved."""
    seen: list[str] = []

    class Telling:
        @hookimpl
        def on_exception(self, run: Run, exception: BaseException) -> None:
            seen.append(f"{type(exception).__name__} at step {run.progress.step}")

    def cut() -> None:
        with Loop([Telling(), Checkpoint(tmp_path, every_n_epochs=None)], epochs=1, trainee=ScriptedTrainee()) as loop:
            for _ in loop.epochs():
                for batch in loop.batches(range(3)):
                    if batch == 1:
                        signal.raise_signal(signal.SIGINT)
                        seen.append("the first was delayed")
                        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        cut()
    assert seen == ["the first was delayed", "KeyboardInterrupt at step 1"]
    assert not list(tmp_path.glob("step-*"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
