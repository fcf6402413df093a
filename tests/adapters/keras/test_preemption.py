"""Preemption in `fit`, by signals from another process while a real model trains."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# Within a hook it prints `send NAME` or `kill NAME` and waits for a line, which does not come after `kill`. After each fit it
# prints `result JSON`.
SCRIPT = """
    import json, pathlib, signal, sys
    from types import SimpleNamespace

    import keras
    import numpy as np

    from hookcore import Engine, hookimpl
    from hookcore.testing import RecordingPlugin
    from hookcore_adapters.keras import fit
    from hookcore_plugins import Checkpoint, Preemption

    x = np.random.default_rng(7).normal(size=(24, 3)).astype("float32")
    y = (x.sum(axis=1, keepdims=True) > 0).astype("float32")
    signal.alarm(300)
    usual = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]
    before = [signal.getsignal(number) for number in usual]


    def sending(hook, names):
        names = list(names)

        def send(run):
            while names and run.progress.epoch == 1 and run.progress.batch >= 1:
                print(names.pop(0), flush=True)
                sys.stdin.readline()

        return SimpleNamespace(name="sending", **{hook: hookimpl(lambda run: send(run))})


    def train(directory, *names, at="on_batch_begin", catch=BaseException, resume=False):
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dropout(0.3), keras.layers.Dense(1)])
        model.compile("adam", "mse")
        recording = RecordingPlugin()
        plugins = [Preemption(), Checkpoint(directory, every_n_epochs=None), recording, sending(at, names)]
        engine, error = Engine(plugins), None
        try:
            fit(model, x, y, validation_data=(x, y), batch_size=6, epochs=3, plugins=engine, resume=resume, verbose=0)
        except catch as raised:
            error = raised
        result = {
            "outcome": engine.run.outcome,
            "error": type(error).__name__,
            "after another": error is not None and error.__context__ is not None,
            "hooks": recording.hooks,
            "step": engine.run.progress.step,
            "iterations": int(model.optimizer.iterations),
            "checkpoints": sorted(path.name for path in pathlib.Path(directory).glob("step-*")),
            "handlers": [signal.getsignal(number) for number in usual] == before,
            "weights": [weight.tolist() for weight in model.get_weights()],
        }
        print("result", json.dumps(result), flush=True)


    train("once", "send SIGINT")
    train("twice", "send SIGINT", "kill SIGINT")
    train("evaluation", "send SIGTERM", at="on_evaluate_batch_begin")
    train("cut", "send SIGTERM")
    train("cut", resume="auto")
    train("uncut")
    train("exit", "send SIGUSR1", catch=())
"""
NAMES = ["once", "twice", "evaluation", "cut", "resumed", "uncut"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the script's result for each fit, and its exit status."""
    directory: Path = tmp_path_factory.mktemp("trained")
    results: list[Any] = []
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
    with (
        (directory / "errors.txt").open("w+") as errors,
        subprocess.Popen(
            command, cwd=directory, env=os.environ, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            what, _, rest = line.partition(" ")
            if what == "result":
                results.append(json.loads(rest))
            else:
                process.send_signal(getattr(signal, rest.strip()))
                # Also after `kill`, because a signal that arrives just before the read does not interrupt it.
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write("\n")
                    process.stdin.flush()
        status = process.wait()
        errors.seek(0)
        said = errors.read()
    assert len(results) == len(NAMES), said
    return {**dict(zip(NAMES, results, strict=True)), "status": status}


def test_ctrl_c_ends_the_run_once_after_the_batch(trained: Any) -> None:
    """One Ctrl-C ends the run after the batch, as `interrupted`, with one checkpoint, and restores the handlers."""
    once = trained["once"]
    assert once["outcome"] == "interrupted"
    assert (once["error"], once["after another"]) == ("KeyboardInterrupt", False)
    assert once["hooks"][-4:] == ["on_batch_end", "on_exception", "on_checkpoint", "on_train_end"]
    assert once["hooks"].count("on_exception") == 1
    assert once["step"] == once["iterations"] == 6
    assert once["checkpoints"] == ["step-00000006"]
    assert once["handlers"]


def test_a_second_ctrl_c_goes_through(trained: Any) -> None:
    """A second Ctrl-C is raised within the batch, which does not end; the run ends once, and the handlers are restored."""
    twice = trained["twice"]
    assert twice["outcome"] == "interrupted"
    assert (twice["error"], twice["step"]) == ("KeyboardInterrupt", 5)
    assert twice["hooks"].count("on_exception") == twice["hooks"].count("on_train_end") == 1
    assert twice["hooks"][twice["hooks"].index("on_exception") - 1] == "on_batch_begin"
    assert twice["handlers"]


def test_a_signal_in_an_evaluation_ends_the_run_after_its_batch(trained: Any) -> None:
    """SIGTERM in a validation ends the run after the batch, without waiting for the end of the validation."""
    evaluation = trained["evaluation"]
    assert (evaluation["outcome"], evaluation["error"]) == ("preempted", "Preempted")
    assert evaluation["hooks"][-4:] == ["on_evaluate_batch_end", "on_exception", "on_checkpoint", "on_train_end"]
    assert evaluation["checkpoints"] == ["step-00000008"]
    assert evaluation["handlers"]


def test_a_resumed_run_continues_with_the_next_batch_and_reaches_the_same_end(trained: Any) -> None:
    """A run that is preempted within an epoch and resumed has bit for bit the weights of an uninterrupted one."""
    assert (trained["cut"]["outcome"], trained["cut"]["step"]) == ("preempted", 6)
    assert trained["resumed"]["outcome"] == "completed"
    assert trained["resumed"]["hooks"].count("on_batch_end") == 6
    assert trained["resumed"]["weights"] == trained["uncut"]["weights"]
    assert trained["cut"]["weights"] != trained["uncut"]["weights"]


def test_the_process_exits_with_the_signals_status(trained: Any) -> None:
    """If the program does not catch it, SIGUSR1 ends the process with status 128 plus its number."""
    assert trained["status"] == 128 + signal.SIGUSR1
