"""What a run resumes from, and what the log tells about plugins that have changed."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from hookcore import CapabilityError, Capture, CheckpointError, Engine, ParameterError, Run, Session, hookimpl, state, store
from hookcore.host import NoHost
from hookcore.resume import find
from hookcore.testing import ScriptedTrainee
from hookcore.trainee import NoTrainee

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hookcore.store import SavedCheckpoint


@attrs.define(eq=False)
class Counts:
    """Keeps state, has a parameter, and votes to stop when it is told to."""

    limit: int = 3
    seen: int = attrs.field(default=0, init=False)
    refuses: bool = attrs.field(default=False, init=False)
    role: str = attrs.field(default="actor", init=False)
    kept: Any = attrs.field(default=None, init=False)

    @hookimpl
    def on_batch_end(self, run: Run) -> None:
        self.seen += 1
        if self.seen == self.limit:
            run.stop("enough")

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.refuses and state["seen"]:
            raise ValueError("an older version's")
        self.seen = state["seen"]

    def snapshots(self) -> dict[str, Any]:
        return {"best": {"weights": [7.0]}} if self.seen else {}

    def load_snapshots(self, snapshots: Mapping[str, Any]) -> None:
        self.kept = snapshots


class Other:
    """Another plugin, without state."""

    @hookimpl
    def on_epoch_end(self) -> None:
        pass


def session(*plugins: object, trainee: ScriptedTrainee | None = None) -> Session:
    return Engine(plugins, autoload=False).start(Run.of(trainee or ScriptedTrainee()))


def captured(*plugins: object, batches: int = 2) -> Capture:
    """Return the capture of a run of some batches."""
    one = session(*plugins)
    one.train_begin()
    one.epoch_begin(0)
    for batch in range(batches):
        one.batch_end(batch, {"loss": 0.5})
    return one.capture()


def saved(root: Path, step: int = 2, **changes: Any) -> SavedCheckpoint:
    """Return a checkpoint on disk whose record was changed."""
    capture = captured(("counts", Counts()))
    record = json.dumps({**json.loads(capture.record), **changes})
    return store.write(root, epoch=0, step=step, metric=None, value=None, record=record, files=capture.write)


def resumed(capture: Capture, *plugins: object) -> Session:
    one = session(*plugins)
    one.restore(capture)
    return one


def test_state_progress_history_and_snapshots_come_back(tmp_path: Path) -> None:
    """A checkpoint restores the trainee, each plugin's state and snapshots, the progress, and the position."""
    checkpoint = saved(tmp_path)
    trainee, plugin = ScriptedTrainee(weights=[5.0]), Counts()
    engine = Engine([("counts", plugin)], autoload=False)
    one = engine.start(Run.of(trainee, resumed_from=checkpoint))
    one.resume()
    assert (plugin.seen, plugin.kept, trainee.weights) == (2, {"best": {"weights": [7.0]}}, [0.0])
    assert (one.run.progress.step, one.position.epoch, one.position.batch, one.position.begun) == (2, 0, 2, True)


def test_a_cut_epoch_goes_on_without_a_second_beginning() -> None:
    """`on_epoch_begin` is called once per epoch, however often the run is cut in it, and once for the next one."""
    begun: list[int] = []

    class Begins:
        @hookimpl
        def on_epoch_begin(self, epoch: int) -> None:
            begun.append(epoch)

    one = resumed(captured(Begins()), Begins())
    one.train_begin()
    one.epoch_begin(0)
    one.batch_end(2, {})
    one.epoch_end(0, {}, {})
    one.epoch_begin(1)
    assert begun == [0, 1]
    assert (one.run.progress.step, one.position.batch) == (3, 0)


def test_a_loops_own_state_comes_back() -> None:
    """After a resume, `resumed_loop_state` is what the host's `state_dict` returned."""

    class Summing(NoHost):
        def state_dict(self) -> dict[str, float]:
            return {"sum": float("inf")}

    one = Engine([Other()], autoload=False).start(Run.of(ScriptedTrainee()), host=Summing())
    assert resumed(one.capture(), Other()).resumed_loop_state == {"sum": float("inf")}


def test_a_new_plugin_begins_fresh_and_a_missing_one_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """If the set of plugins has changed, the log names the difference, and the run continues."""
    plugin = Counts()
    with caplog.at_level(logging.WARNING, "hookcore"):
        one = resumed(captured(("gone", Other())), ("counts", plugin))
    assert plugin.seen == 0
    assert [record.getMessage() for record in caplog.records] == [
        "resumed: plugin 'counts' is new and begins with fresh state",
        "resumed: plugin 'gone' of the earlier run is missing; its state is left out",
    ]
    assert not one.stopping


def test_a_renamed_plugin_keeps_its_state(caplog: pytest.LogCaptureFixture) -> None:
    """If one new and one missing plugin share a class, the new one gets the other's state, votes and snapshots."""
    plugin = Counts()
    with caplog.at_level(logging.WARNING, "hookcore"):
        one = resumed(captured(("before", Counts()), batches=3), ("after", plugin))
    assert (plugin.seen, plugin.kept) == (3, {"best": {"weights": [7.0]}})
    assert [vote.plugin for vote in one.run.stop_reasons] == ["after"]
    assert "plugin 'after' was called 'before', has the same class and keeps its state" in caplog.text


def test_of_two_alike_none_is_taken_for_the_other() -> None:
    """If it is unclear which plugin was renamed, each begins with fresh state."""
    plugins = [Counts(), Counts()]
    resumed(captured(("a", Counts())), ("b", plugins[0]), ("c", plugins[1]))
    assert [plugin.seen for plugin in plugins] == [0, 0]


def test_a_vote_to_stop_stays(caplog: pytest.LogCaptureFixture) -> None:
    """A run that was stopped stays stopped, and the log names the plugin."""
    with caplog.at_level(logging.WARNING, "hookcore"):
        one = resumed(captured(("counts", Counts()), batches=3), ("counts", Counts()))
    assert one.stopping
    assert one.run.decisions[0].kind == "stop"
    assert "was stopped by counts and stays stopped: enough" in caplog.text


def test_a_vote_of_a_plugin_that_has_changed_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """With other parameters a plugin decides again, and the log names the parameters that changed."""
    with caplog.at_level(logging.WARNING, "hookcore"):
        one = resumed(captured(("counts", Counts(limit=3)), batches=3), ("counts", Counts(limit=9)))
    assert not one.stopping
    assert "the parameters of plugin 'counts' have changed: limit was 3 and is 9" in caplog.text
    assert "plugin 'counts' is missing or changed; its vote to stop is dropped" in caplog.text


def test_a_vote_of_a_plugin_that_is_gone_is_dropped() -> None:
    """If the plugin that stopped the run is missing now, the run continues."""
    assert not resumed(captured(("counts", Counts()), batches=3), Other()).stopping


def test_a_plugin_that_cannot_go_on_from_its_state() -> None:
    """An actor that cannot load its state is an error with its name and the state; an observer begins with fresh state."""
    capture, refusing = captured(("counts", Counts())), Counts()
    refusing.refuses = True
    with pytest.raises(CheckpointError, match=r"Plugin 'counts' could not load its saved state: ValueError.*State: .*'seen': 2"):
        resumed(capture, ("counts", refusing))
    observer = Counts()
    observer.refuses, observer.role = True, "observer"
    resumed(capture, ("counts", observer))
    assert observer.seen == 0


def test_nothing_to_resume_is_a_run_from_the_beginning() -> None:
    """With False or None the run starts from the beginning, whatever the plugins and the trainee."""
    for nothing in (False, None):
        assert find(nothing, (), NoTrainee()) is None


@pytest.mark.parametrize("given", [True, "", 3])
def test_what_is_nothing_to_resume_from_is_refused(given: Any) -> None:
    """Another value of `resume` is an error that tells what can be given."""
    with pytest.raises(ParameterError, match="resume must be 'auto', the path of a checkpoint"):
        find(given, (), ScriptedTrainee())


def test_auto_needs_a_plugin_that_saves() -> None:
    """`"auto"` without a plugin that saves is an error, and not a run from the beginning."""
    with pytest.raises(ParameterError, match="needs a plugin that saves checkpoints, such as Checkpoint"):
        find("auto", Engine([Other()], autoload=False).plugins, ScriptedTrainee())


def test_a_trainee_that_cannot_be_restored_is_refused(tmp_path: Path) -> None:
    """Without a trainee that can be restored, `resume` is an error before anything is read."""
    with pytest.raises(CapabilityError, match="that can be saved and restored, but this loop was given no trainee"):
        find(tmp_path / "none", (), NoTrainee())


def test_a_path_is_a_checkpoint_or_a_directory_of_them(tmp_path: Path) -> None:
    """The path of a checkpoint is that one, and a directory is the newest that verifies; anything else is an error."""
    first, second = saved(tmp_path, 1), saved(tmp_path, 2)
    assert find(first.path, (), ScriptedTrainee()) == first
    assert find(str(tmp_path), (), ScriptedTrainee()) == second
    (second.path / store.RECORD).write_text("{}")
    assert find(tmp_path, (), ScriptedTrainee()) == first
    for path in (second.path, tmp_path / "nothing"):
        with pytest.raises(CheckpointError):
            find(path, (), ScriptedTrainee())


def test_auto_takes_the_checkpoint_with_the_most_steps(tmp_path: Path) -> None:
    """`"auto"` takes the checkpoint with the most steps of all plugins; those that have no checkpoint yet do not count."""

    class Saves:
        def __init__(self, found: SavedCheckpoint | None) -> None:
            self.found = found

        @hookimpl
        def on_train_begin(self) -> None:
            pass

        def resumable(self) -> SavedCheckpoint | None:
            return self.found

    early, late = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2)
    named = [(str(number), Saves(found)) for number, found in enumerate([early, late, None])]
    assert find("auto", Engine(named, autoload=False).plugins, ScriptedTrainee()) == late
    assert find("auto", Engine([named[2]], autoload=False).plugins, ScriptedTrainee()) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"position": {"epoch": -1, "batch": 0, "begun": True}},
        {"position": {"epoch": 0, "batch": 0, "begun": "yes"}},
        {"position": {}},
        {"progress": {"weights": 3}},
        {"plugins": 3},
        {"plugins": {"counts": 3}},
        {"decisions": [{}]},
        {"stop_reasons": 5},
        {"held": None},
        {"held": [["counts", "best"], ["counts", "more"]]},
        {"history": {"epochs": [0]}},
    ],
)
def test_a_record_that_does_not_hold_what_it_should_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A record with a right digest and a wrong content is a CheckpointError, and nothing else."""
    trainee = ScriptedTrainee(weights=[5.0])
    checkpoint = saved(tmp_path, **changes)
    one = Engine([("counts", Counts())], autoload=False).start(Run.of(trainee, resumed_from=checkpoint))
    with pytest.raises(CheckpointError):
        one.resume()
    assert trainee.weights == [5.0]
    one.end()  # nothing had begun
    assert one.run.outcome == "failed"


def test_parameters_are_recorded_as_plain_values() -> None:
    """The record has the parameters of an attrs plugin, and the type of each value that is not JSON-able."""

    @attrs.define(eq=False)
    class Configured(Other):
        factor: float = 0.5
        clock: Any = print
        names: tuple[str, ...] = ("a", "b")

    record = state.loads(captured(("configured", Configured())).record)
    assert record["plugins"]["configured"]["parameters"] == {
        "factor": 0.5,
        "clock": "builtin_function_or_method",
        "names": ["a", "b"],
    }
