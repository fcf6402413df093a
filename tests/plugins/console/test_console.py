"""The plugin Console: its runs one after the other, its parameters and its imports."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hookcore import Engine, ParameterError, Progress, Run, SavedCheckpoint
from hookcore_plugins import Console
from tests.plugins.console.showing import HIDE, SHOW, Clock, Talks, Terminal, plain, train


def test_one_console_shows_two_runs() -> None:
    """The second starts from zero: its decisions, its time, its bar."""
    clock, stream = Clock(), Terminal()
    engine = Engine([Console(stream=stream, clock=clock), Talks("enough")])
    for _ in range(2):
        train(engine, clock, [{}] * 3)
    shown = plain(stream.getvalue())
    assert shown.count("talks: stop, enough") == 2
    assert shown.count("stopped by talks:  1 epoch  4 steps  4.0s") == 2
    assert stream.getvalue().count(HIDE) == stream.getvalue().count(SHOW) == 2


def test_a_run_that_never_said_that_it_was_over_is_cleared_by_the_next() -> None:
    """Keras calls no end hook after an exception if the adapter is a plain callback."""
    clock, stream = Clock(), Terminal()
    engine = Engine([Console(stream=stream, clock=clock)])
    lost = engine.start(Run())
    lost.train_begin()
    lost.epoch_begin(0)
    train(engine, clock, [{}])
    assert stream.getvalue().count(HIDE) == stream.getvalue().count(SHOW) == 2


def test_a_script_that_dies_without_a_word_gives_the_cursor_back() -> None:
    """A script that dies gives the cursor back at the latest when Python ends."""
    script = (
        "from hookcore import Engine, Run; from hookcore_plugins import Console\n"
        "session = Engine([Console('bar')]).start(Run()); session.train_begin(); session.epoch_begin(0); raise SystemError\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.count(HIDE) == done.stdout.count(SHOW) == 1
    assert "SystemError" in done.stderr


def test_evaluation_and_prediction_outside_training_are_passed_over() -> None:
    """Evaluation and prediction outside of a run print nothing."""
    stream = Terminal()
    engine = Engine([Console(stream=stream)])
    session = engine.start(Run())
    session.hooks.on_evaluate_begin()
    session.hooks.on_evaluate_batch_end(0, {"loss": 1.0})
    session.hooks.on_evaluate_end({"loss": 1.0})
    session.hooks.on_predict_begin()
    session.hooks.on_predict_end()
    assert stream.getvalue() == ""
    assert session.run.failures == []


def test_a_resumed_run_says_from_where() -> None:
    """A resumed run names its checkpoint before its first epoch."""
    out = io.StringIO()
    run = Run(resumed_from=SavedCheckpoint(Path("runs/step-00000012"), 2, 12), progress=Progress(epoch=2, step=12))
    session = Engine([Console(stream=out)]).start(run)
    session.train_begin()
    session.end()
    assert out.getvalue().startswith("resumed from runs/step-00000012, step 12\n")


def test_bad_parameters_are_refused() -> None:
    """The error names the parameter, the value and what was expected."""
    bad: list[tuple[str, Any]] = [("stream", 3), ("clock", 1.0), ("verbose", None)]
    for name, value in bad:
        with pytest.raises(ParameterError, match=f"Console: {name} must be .*, got {value!r}"):
            Console(**{name: value})
    with pytest.raises(ParameterError, match=r"got 'bars'\. Did you mean 'bar'\?"):
        Console("bars")  # type: ignore[arg-type]  # what is tested


def test_it_is_asked_for_by_name() -> None:
    """A spec string gives `verbose`."""
    assert Engine(["console:verbose=lines"])["console"].verbose == "lines"


def test_importing_the_plugins_imports_neither_rich_nor_numpy() -> None:
    """Importing the plugins imports neither rich nor NumPy, which take time."""
    script = "import sys, hookcore_plugins; print([name for name in ('rich', 'numpy', 'click') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
