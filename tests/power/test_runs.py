"""A run that loses its power is resumed, and ends as a run that never lost it, with the same logs."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore import hookimpl, store
from hookcore.testing.doubles import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, CSVLog, JSONLog
from hookcore_plugins.report import Report
from hookcore_plugins.tensorboard import TensorBoard
from tests.plugins.tensorboard.event_files import read
from tests.power.crashes import LONG, Recorder, any_crash, crashes, put

if TYPE_CHECKING:
    from collections.abc import Callable

    from hookcore import Run, SavedCheckpoint
    from tests.power.crashes import Crash, Step


class Announces:
    """Promise each checkpoint that is announced to plugins."""

    promise: Callable[[int], None]

    @hookimpl
    def on_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        self.promise(checkpoint.step)


def train(promise: Callable[[int], None] = lambda _: None, *, boards: bool = False) -> tuple[Run, ScriptedTrainee]:
    trainee, announces = ScriptedTrainee(), Announces()
    announces.promise = promise
    still: dict[str, Any] = {"clock": lambda: 0.0}
    plugins: list[Any] = [
        Checkpoint("checkpoints", "loss", every_n_steps=2, keep_last=1, asynchronous=False),
        announces,
    ]
    if boards:
        plugins.append(TensorBoard("boards", clock=lambda: 1.0))
    else:
        plugins += [
            CSVLog("logs/log.csv"),
            JSONLog("logs/log.jsonl", **still),
            Report("report", interval=0, summary=False, now=lambda: 0.0, **still),
        ]
    with Loop(plugins, epochs=2, trainee=trainee, resume="auto") as loop:
        for _ in loop.epochs():
            for batch in loop.batches([0.5, 0.25, 2.0]):
                trainee.weights = [weight * 0.5 + batch for weight in trainee.weights]
                loop.log(loss=trainee.weights[0])
    return loop.run, trainee


def end_of(run: Run, trainee: ScriptedTrainee) -> dict[str, Any]:
    """Return all that must be the same at the end of a run that lost its power."""
    logs = {name: Path("logs", name) for name in ("log.csv", "log.jsonl")}
    end: dict[str, Any] = {
        "weights": trainee.weights,
        "history": run.history.state_dict(),
        "decisions": [attrs.asdict(decision) for decision in run.decisions],
        "outcome": run.outcome,
        **{name: path.read_text() for name, path in logs.items() if path.exists()},
    }
    for name in ("train", "validation"):
        end[name] = read(Path("boards", name)) if Path("boards", name).exists() else None
    if Path("report").exists():
        end["report"] = Report("report").show().history.state_dict()
    return end


@attrs.frozen
class Recorded:
    """A run that did not lose its power: its steps on the disk, and its end."""

    boards: bool
    trace: list[Step]
    expected: dict[str, Any]

    def check(self, crash: Crash, place: Path) -> None:
        """Resume in `place` from the state after `crash`, and compare the end."""
        put(crash.tree, place)
        with contextlib.chdir(place):
            report, there = Path("report", "run.json"), store.available(Path("checkpoints"))
            if report.exists() and report.stat().st_size:  # a first run makes and locks the file before it writes
                Report("report").show()
            assert max((one.step for one in there), default=0) >= (crash.promise or 0), str(crash)
            assert end_of(*train(boards=self.boards)) == self.expected, str(crash)
        shutil.rmtree(place)


@pytest.fixture(scope="module", params=[False, True], ids=["logs", "boards"])
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Record a run with some of the plugins that write."""
    root, boards = tmp_path_factory.mktemp("recorded"), request.param
    recorder = Recorder(root)
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(root):
        recorder.install(patch)
        expected = end_of(*train(recorder.promise, boards=boards))
    return Recorded(boards, recorder.trace, expected)


def test_a_resumed_run_comes_to_the_same_end(recorded: Recorded, tmp_path: Path) -> None:
    """Whenever the power is lost, the run resumes from the latest announced checkpoint or a later one, and ends the same."""
    for number, crash in enumerate(crashes(recorded.trace, 2 if LONG else 1)):
        recorded.check(crash, tmp_path / str(number))


@given(st.data())
def test_a_resumed_run_comes_to_the_same_end_whatever_is_missing(
    recorded: Recorded, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The run ends the same with any number of steps missing or torn."""
    recorded.check(data.draw(any_crash(recorded.trace)), tmp_path_factory.mktemp("crash") / "left")
