"""A forked child has its parent's run in memory, and none of its plugins writes there."""

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
    """However it leaves the loop: logs, report and checkpoints are those of the parent alone, which trains to its end."""
    told: Any = in_a_process(SCRIPT, tmp_path, how)
    assert told == ["completed", [0, 1, 2]]
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("train_end") == 1
    assert [event["step"] for event in events if event["event"] == "epoch"] == [2, 4, 6]
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
    assert json.loads((tmp_path / "report" / "run.json").read_text())["outcome"] == "completed"
    assert store.newest(tmp_path / "runs").step == 6
    assert not (tmp_path / "runs" / "earlier-001").exists()
    if how == "continues":  # which is an error in the child: its plugins would be called there
        text = (tmp_path / "told").read_text()
        assert text.startswith("This run of loop is driven by the process that forked this one, and its plugins write there.")
