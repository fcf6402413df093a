"""A forked child has its parent's run in memory, but its plugins do not write."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from hookcore import store
from tests.plugins.checkpoint.checkpointing import in_a_process

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import json, os, sys
from pathlib import Path
from hookcore import HookcoreError, store
from hookcore.testing import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, CSVLog, JSONLog, Report, TensorBoard

root, how = Path(sys.argv[1]), sys.argv[2]
parent, told = os.getpid(), root / "told"
plugins = [Checkpoint(root / "runs", every_n_steps=1), CSVLog(root / "log.csv"), JSONLog(root / "log.jsonl"),
           Report(root / "report", summary=False), TensorBoard(root / "board", update_freq="batch")]


def child():
    if how == "exit":
        sys.exit(0)
    if how == "raises":
        raise ZeroDivisionError
    if how == "interrupted":
        raise KeyboardInterrupt


def wait(pid):
    assert os.waitpid(pid, 0)[1] in (0, 256)


try:
    with Loop(plugins, epochs=3, trainee=ScriptedTrainee()) as loop:
        for epoch in loop.epochs():
            for batch in loop.batches(range(2)):
                loop.log(val_loss=1.0)
                if (epoch, batch) == (1, 0):
                    pid = os.fork()
                    if not pid:
                        child()
                    else:
                        wait(pid)
except HookcoreError as error:
    told.write_text(str(error))
    sys.exit(1)
except BaseException:
    if os.getpid() != parent:
        sys.exit(0)
    raise
print(json.dumps([str(loop.run.outcome), loop.run.history.epochs]))
"""


@pytest.mark.parametrize("how", ["exit", "raises", "interrupted", "continues"])
def test_the_end_of_a_forked_child_is_not_the_end_of_the_run(tmp_path: Path, how: str) -> None:
    """However a forked child leaves the loop, logs, report and checkpoints are only the parent's, which trains to its end."""
    told: Any = in_a_process(SCRIPT, tmp_path, how)
    assert told == ["completed", [0, 1, 2]]
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("train_end") == 1
    assert [event["step"] for event in events if event["event"] == "epoch"] == [2, 4, 6]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
    assert json.loads((tmp_path / "report" / "run.json").read_text())["outcome"] == "completed"
    assert store.newest(tmp_path / "runs").step == 6
    assert not (tmp_path / "runs" / "earlier-001").exists()
    if how == "continues":  # an error in the child, where plugins would be called
        text = (tmp_path / "told").read_text()
        assert text.startswith("This run of loop is driven by the process that forked this one, and its plugins write there.")


IN_A_HOOK = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
from hookcore import HookcoreError, hookimpl
from hookcore.testing import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, CSVLog, JSONLog, Report, TensorBoard

root, hook, end = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
parent = os.getpid()


def told(what):
    with (root / "told").open("a") as file:
        file.write(f"{what}\\n")


def fork(run):
    if run.progress.step < 3 and hook != "on_train_begin" or (root / "told").exists():
        return
    told("forks")
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)


def calls(name, function, wrapper=False):
    def plain(run):
        function(run)

    def around(run):
        function(run)
        try:
            yield
        finally:
            noting(run)

    return SimpleNamespace(name=name, **{hook: hookimpl(around if wrapper else plain, wrapper=wrapper)})


def noting(run):
    if os.getpid() != parent:
        told("a plugin was called in the child")


plugins = [calls("around", noting, wrapper=True)] if end.startswith("wrapped") else []
plugins += [Checkpoint(root / "runs", every_n_steps=1), CSVLog(root / "log.csv"),
            calls("forks", fork, wrapper=end == "wrapped twice"), calls("after", noting), JSONLog(root / "log.jsonl"),
            Report(root / "report", summary=False), TensorBoard(root / "board", update_freq="batch")]
if end == "last":
    plugins.append(plugins.pop(2))
try:
    with Loop(plugins, epochs=3, trainee=ScriptedTrainee()) as loop:
        for epoch in loop.epochs():
            for batch in loop.batches(range(2)):
                loop.log(val_loss=1.0)
            with loop.evaluation():
                loop.log(val_loss=1.0)
except HookcoreError as error:
    if os.getpid() == parent:
        raise
    told(error)
    sys.exit(1)
if os.getpid() != parent:
    told("the child trained on")
    sys.exit(1)
print('"' + str(loop.run.outcome) + '"')
"""

HOOKS = ["on_train_begin", "on_epoch_begin", "on_batch_begin", "on_batch_end", "on_evaluate_end", "on_epoch_end", "on_metrics"]


@pytest.mark.parametrize("end", ["", "last", "wrapped", "wrapped twice"])
@pytest.mark.parametrize("hook", [*HOOKS, "on_checkpoint", "on_train_end"])
def test_a_child_that_is_forked_in_a_hook_calls_no_plugin(tmp_path: Path, hook: str, end: str) -> None:
    """After a fork in a hook, the child calls no other plugin, wrapper or later event, and its loop raises an error."""
    assert in_a_process(IN_A_HOOK, tmp_path, hook, end) == "completed"
    forked, *told = (tmp_path / "told").read_text().splitlines()
    assert forked == "forks"
    assert len(told) == 1
    if end != "last":  # otherwise the loop may raise it, or the plugin that announced a checkpoint
        assert told[0].startswith("This run of loop is driven by the process that forked this one, and its plugins write there.")
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("train_end") == 1
    assert [event["step"] for event in events if event["event"] == "epoch"] == [2, 4, 6]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
    assert json.loads((tmp_path / "report" / "run.json").read_text())["outcome"] == "completed"
    assert store.newest(tmp_path / "runs").step == 6
