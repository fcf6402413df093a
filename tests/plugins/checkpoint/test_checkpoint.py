"""Checkpoint in real runs, on real directories."""

from __future__ import annotations

import logging
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore import (
    CapabilityError,
    CheckpointError,
    HookcoreWarning,
    MetricError,
    Outcome,
    ParameterError,
    Run,
    hookimpl,
    state,
    store,
)
from hookcore.driver import Driver
from hookcore.store.retention import Retention
from hookcore.testing import RecordingPlugin, ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, EarlyStopping, ReduceLROnPlateau
from tests.plugins.checkpoint.checkpointing import in_a_process, steps, train

NAN = math.nan


def test_every_epoch_is_saved_and_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    """By default the three newest stay, and the best."""
    train([Checkpoint(tmp_path)], [5, 1, 4, 3, 2])
    assert steps(tmp_path) == [2, 3, 4, 5]


@given(
    values=st.lists(st.sampled_from([None, 1.0, 2.0, 3.0, NAN, math.inf, -math.inf]), min_size=1, max_size=6),
    keep=st.tuples(*[st.one_of(st.none(), st.integers(1, 3))] * 3),
    mode=st.sampled_from(["min", "max"]),
    every=st.integers(1, 3),
)
def test_what_stays_is_the_union_of_the_newest_the_best_and_every_nth_epoch(
    values: list[float | None], keep: tuple[int | None, int | None, int | None], mode: Any, every: int
) -> None:
    """The last, the best and those of every nth epoch stay; of equal values the earlier is best, and NaN and None never are."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        keep_last, keep_best, keep_every = keep
        plugin = Checkpoint(
            root, mode=mode, every_n_epochs=every, keep_last=keep_last, keep_best=keep_best, keep_every=keep_every
        )
        run = train([plugin], values)
        saved = [epoch for epoch in range(len(values)) if (epoch + 1) % every == 0]
        sign = 1 if mode == "min" else -1
        valued = {epoch: value for epoch in saved if (value := values[epoch]) is not None and not math.isnan(value)}
        ranked = sorted(valued, key=lambda epoch: (sign * valued[epoch], epoch))
        newest = saved if keep_last is None else saved[-keep_last:]
        best = ranked if keep_best is None else ranked[:keep_best]
        regular = [] if keep_every is None else [epoch for epoch in saved if (epoch + 1) % keep_every == 0]
        assert steps(root) == [epoch + 1 for epoch in sorted({*newest, *best, *regular})]
        assert [decision.epoch for decision in run.decisions] == saved
        if ranked:
            assert plugin.best().epoch == ranked[0]
        if saved:
            assert plugin.newest().epoch == saved[-1]
        assert [path.name for path in root.iterdir() if not path.name.startswith("step-")] == []


def test_a_checkpoint_says_what_must_be_kept(tmp_path: Path) -> None:
    """A checkpoint has the retention by which it was kept, for whoever removes checkpoints later."""
    train([plugin := Checkpoint(tmp_path, keep_last=2, keep_best=4, keep_every=5)], [1])
    assert plugin.newest().retention == Retention(last=2, best=4, every=5)


@pytest.mark.parametrize(
    ("mode", "values", "expected"),
    [
        ("min", [3, 2, 2, 2.5, 1], [1, 2, 5]),
        ("max", [1, 2, 2, 1.5, 3], [1, 2, 5]),
        ("min", [NAN, 2, NAN, 1], [2, 4]),
        ("max", [NAN, NAN], []),
        ("min", [NAN, 3, 4], [2]),
    ],
)
def test_save_best_only_saves_if_the_metric_improved(tmp_path: Path, mode: Any, values: list[float], expected: list[int]) -> None:
    """Better is strict, and NaN is never best, neither first nor later."""
    run = train([Checkpoint(tmp_path, mode=mode, save_best_only=True, keep_last=None)], values)
    assert steps(tmp_path) == expected
    assert len(run.decisions) == len(expected)


def test_save_best_only_keeps_to_improvements_whatever_every_n_epochs_says(tmp_path: Path) -> None:
    """An improvement in an epoch between is saved too."""
    train([Checkpoint(tmp_path, save_best_only=True, every_n_epochs=2, keep_last=None)], [3, 2, 1])
    assert steps(tmp_path) == [1, 2, 3]


def test_save_best_only_needs_its_metric(tmp_path: Path) -> None:
    """If the metric of save_best_only is missing, that is an error that names the plugin and the nearest metric."""
    with pytest.raises(MetricError, match=r"checkpoint: no metric 'val_los' .* Did you mean 'val_loss'\?"):
        train([Checkpoint(tmp_path, "val_los", "min", save_best_only=True)], [1])
    assert steps(tmp_path) == []


def test_without_save_best_only_a_missing_metric_leaves_no_best(tmp_path: Path) -> None:
    """Without its metric the newest checkpoints are still kept, and asking for the best is an error."""
    plugin = Checkpoint(tmp_path, keep_last=2)
    train([plugin], [None, None, None])
    assert steps(tmp_path) == [2, 3]
    with pytest.raises(CheckpointError, match="No checkpoint with a monitored value that verifies"):
        plugin.best()


def test_missing_warn_warns(tmp_path: Path) -> None:
    """With missing='warn' a missing metric is a warning instead of an error."""
    with pytest.warns(HookcoreWarning, match="checkpoint: no metric 'val_loss'"):
        train([Checkpoint(tmp_path, save_best_only=True, missing="warn")], [None])


def test_an_unknown_direction_is_refused_before_training(tmp_path: Path) -> None:
    """The error asks for a mode, and no epoch has begun."""
    recording = RecordingPlugin()
    with pytest.raises(MetricError, match=r"monitor='profit' has no known direction. Set mode='min' or mode='max'"):
        train([recording, Checkpoint(tmp_path, "profit")], [1], metric="profit")
    assert "on_epoch_begin" not in recording.hooks


@pytest.mark.parametrize(("every", "expected"), [(1, [2, 4, 6, 8, 10]), (2, [4, 8]), (3, [6]), (6, []), (None, [])])
def test_every_n_epochs_counts_from_the_first_epoch(tmp_path: Path, every: int | None, expected: list[int]) -> None:
    """With n the epochs n-1, 2n-1 and so on are saved; None saves at no epoch's end."""
    train([Checkpoint(tmp_path, every_n_epochs=every, keep_last=None)], [1] * 5, batches=2)
    assert steps(tmp_path) == expected


@pytest.mark.parametrize(("every", "expected"), [(1, list(range(1, 10))), (2, [2, 4, 6, 8]), (4, [4, 8]), (10, [])])
def test_every_n_steps_counts_across_epochs(tmp_path: Path, every: int, expected: list[int]) -> None:
    """The steps are those of the run, not of the epoch, and nothing is saved between."""
    run = train([Checkpoint(tmp_path, every_n_steps=every, every_n_epochs=None, keep_last=None)], [1] * 3, batches=3)
    assert steps(tmp_path) == expected
    assert len(run.decisions) == len(expected)


def test_every_n_steps_counts_in_a_loop_without_batches(tmp_path: Path) -> None:
    """If the loop tells of no batches, each epoch is a step, and is saved at its end if it is due."""
    driver = Driver([Checkpoint(tmp_path, every_n_steps=2, every_n_epochs=None, keep_last=None)])
    driver.begin(Run.of(ScriptedTrainee()))
    for loss in (2, 1, 3, 4, 5):
        driver.epoch_begin()
        driver.epoch_end({"val_loss": loss})
    driver.end()
    assert steps(tmp_path) == [2, 4]
    assert [saved.value for saved in store.available(tmp_path)] == [1, 4]


def test_saves_by_steps_and_by_epochs_do_not_delay_each_other(tmp_path: Path) -> None:
    """A save at an epoch's end leaves the multiples of every_n_steps where they are."""
    train([Checkpoint(tmp_path, every_n_steps=2, keep_last=None)], [1] * 3, batches=3)
    assert steps(tmp_path) == [2, 3, 4, 6, 8, 9]


def test_an_epochs_value_ranks_the_checkpoint_that_steps_had_saved(tmp_path: Path) -> None:
    """If a step's save and an epoch's fall on the same step, the epoch's stays, with its value."""
    plugin = Checkpoint(tmp_path, every_n_steps=2, keep_last=1)
    train([plugin], [1, 3], batches=2)
    assert steps(tmp_path) == [2, 4]
    assert (plugin.best().step, plugin.best().value) == (2, 1)


def test_what_is_saved_is_the_trainee_at_that_step(tmp_path: Path) -> None:
    """The weights read back from the best checkpoint are those of its step, and the manifest names metric and value."""
    plugin, trainee = Checkpoint(tmp_path), ScriptedTrainee()
    train([plugin], [3, 1, 2], batches=2)
    best = plugin.best()
    assert trainee.read(best.path)["weights"] == [4.0]
    assert (best.epoch, best.step, best.metric, best.value) == (1, 4, "val_loss", 1.0)


def test_each_save_is_a_decision_with_its_reason(tmp_path: Path) -> None:
    """The decision names the step and why: an epoch's end, an improvement, a number of steps."""
    by_epoch = train([Checkpoint(tmp_path / "a")], [1]).decisions
    by_value = train([Checkpoint(tmp_path / "b", save_best_only=True)], [0.25]).decisions
    by_step = train([Checkpoint(tmp_path / "c", every_n_steps=1, every_n_epochs=None)], [1]).decisions
    assert [(made.plugin, made.kind, made.message) for made in (*by_epoch, *by_value, *by_step)] == [
        ("checkpoint", "checkpoint", "saving step-00000001: end of epoch 1"),
        ("checkpoint", "checkpoint", "saving step-00000001: val_loss improved to 0.25"),
        ("checkpoint", "checkpoint", "saving step-00000001: every 1 steps"),
    ]


def test_the_first_checkpoint_imports_nothing(tmp_path: Path) -> None:
    """Everything that a save needs is imported when training begins: later a package may be upgraded, or out of reach."""
    told = in_a_process(
        """
        import json, sys
        from hookcore.testing import ScriptedTrainee
        from hookcore_adapters.loop import Loop
        from hookcore_plugins import Checkpoint

        with Loop([Checkpoint(sys.argv[1])], epochs=1, trainee=ScriptedTrainee()) as loop:
            before = set(sys.modules)
            for _ in loop.epochs():
                pass
        print(json.dumps(sorted(set(sys.modules) - before)))
        """,
        tmp_path,
    )
    assert (told, steps(tmp_path)) == ([], [1])


def test_other_plugins_are_told_of_each_checkpoint_when_it_is_durable(tmp_path: Path) -> None:
    """on_checkpoint comes once for each, with a checkpoint that verifies at that moment."""
    verified = []

    class Uploader:
        @hookimpl
        def on_checkpoint(self, checkpoint: store.SavedCheckpoint) -> None:
            verified.append(store.verify(checkpoint.path))

    train([Uploader(), Checkpoint(tmp_path, keep_last=1)], [1, 2, 3])
    assert [(saved.epoch, saved.step, saved.value) for saved in verified] == [(0, 1, 1), (1, 2, 2), (2, 3, 3)]


def test_the_saved_state_is_the_state_after_every_decision_of_the_event(tmp_path: Path) -> None:
    """A checkpoint is taken after all plugins were called, even if Checkpoint is listed first: it has their decisions."""
    plugin, trainee = Checkpoint(tmp_path), ScriptedTrainee(learning_rate=1.0)
    others = [EarlyStopping(patience=9), ReduceLROnPlateau(factor=0.5, patience=2, cooldown=3)]
    train([plugin, *others], [1, 2, 3], trainee=trainee)
    saved = plugin.newest()
    record = saved.record()
    best = {"best": 1, "best_epoch": 0, "best_step": 1, "by_steps": False}
    assert record["plugins"]["early_stopping"]["state"] == {**best, "waited": 2}
    assert record["plugins"]["reduce_lr_on_plateau"]["state"]["cooling"] == 3
    assert record["plugins"]["checkpoint"]["state"] == {**best, "waited": 2, "last_step": 3, "ranking": [3, 3]}
    assert record["decisions"][-1]["message"] == "saving step-00000003: end of epoch 3"
    assert record["progress"] == {"epoch": 2, "batch": 0, "step": 3, "accumulated": 0}
    assert record["history"]["metrics"] == {"val_loss": [1, 2, 3]}
    assert state.loads((saved.path / "trainee.json").read_text())["learning_rate"] == 0.5


def test_the_epoch_of_a_vote_to_stop_is_saved(tmp_path: Path) -> None:
    """The last epoch of a stopped run has its checkpoint, like any other."""
    assert train([Checkpoint(tmp_path), EarlyStopping(patience=1)], [1, 2, 3]).outcome is Outcome.STOPPED
    assert steps(tmp_path) == [1, 2]


def test_checkpoints_of_an_earlier_run_are_set_aside_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each new run moves what it finds into the next earlier-00n, logs its name, and keeps to its own checkpoints."""
    caplog.set_level(logging.INFO, "hookcore")
    plugin = Checkpoint(tmp_path, keep_last=None)
    train([plugin], [1, 2])
    train([plugin], [7, 8, 9])
    assert f"the checkpoints of an earlier run are now in {tmp_path / 'earlier-001'}" in caplog.text
    train([Checkpoint(tmp_path)], [5])
    assert [steps(tmp_path / name) for name in (".", "earlier-001", "earlier-002")] == [[1], [1, 2], [1, 2, 3]]
    assert plugin.best().value == 5


def test_one_object_serves_two_runs_from_fresh_state(tmp_path: Path) -> None:
    """The best value and the steps of the first run are not the second one's."""
    plugin = Checkpoint(tmp_path, save_best_only=True, every_n_steps=2, keep_last=None)
    train([plugin], [0, 0, 0, 0])
    assert steps(tmp_path) == [1, 2, 4]
    train([plugin], [5], batches=3)
    assert steps(tmp_path) == [2, 3]


@given(
    values=st.lists(st.sampled_from([None, 1.0, 2.0, 3.0, NAN]), min_size=1, max_size=5),
    parameters=st.fixed_dictionaries(
        {
            "save_best_only": st.booleans(),
            "missing": st.just("skip"),
            "every_n_epochs": st.sampled_from([1, 2, None]),
            "every_n_steps": st.sampled_from([2, 3, 4, None]),
            "keep_last": st.sampled_from([1, 2, None]),
            "keep_best": st.sampled_from([1, 2, None]),
            "keep_every": st.sampled_from([None, 2]),
            "asynchronous": st.booleans(),
        }
    ),
    cut=st.tuples(st.integers(0, 4), st.integers(0, 2)),
    error=st.sampled_from([RuntimeError, KeyboardInterrupt]),
)
def test_a_run_that_is_cut_and_resumed_saves_and_keeps_what_one_never_cut_does(
    values: list[float | None], parameters: dict[str, Any], cut: tuple[int, int], error: type[BaseException]
) -> None:
    """Wherever a run is cut, the resumed run saves the same steps for the same reasons, and the same checkpoints are left."""

    def left(directory: Path) -> list[tuple[object, ...]]:
        return [(saved.step, saved.epoch, repr(saved.value), saved.retention) for saved in store.available(directory)]

    def reasons(run: Any) -> list[str]:
        return [decision.message for decision in run.decisions if not decision.message.endswith("interrupted")]

    with tempfile.TemporaryDirectory() as place:
        whole, parts = Path(place, "whole"), Path(place, "parts")
        expected = train([Checkpoint(whole, **parameters)], values, batches=3)
        if cut[0] < len(values):
            with pytest.raises(error):
                train([Checkpoint(parts, **parameters)], values, batches=3, fail=(*cut, error()))
        run = train([Checkpoint(parts, **parameters)], values, batches=3, resume="auto")
        assert reasons(run) == reasons(expected)
        assert not list(parts.glob("earlier-*"))
        if error is RuntimeError:  # else one more checkpoint has its place among the newest
            assert left(parts) == left(whole)


def test_ctrl_c_saves_once_more(tmp_path: Path) -> None:
    """An interrupted run has a checkpoint of the last step that was done, although no save was due."""
    with pytest.raises(KeyboardInterrupt):
        train([plugin := Checkpoint(tmp_path)], [2, 1], batches=3, fail=(1, 2, KeyboardInterrupt()))
    assert steps(tmp_path) == [3, 5]
    newest = plugin.newest()
    assert (newest.epoch, newest.step, newest.value) == (1, 5, None)


def test_ctrl_c_right_after_a_save_leaves_its_value(tmp_path: Path) -> None:
    """An interrupt before the next step is done does not take the best checkpoint's value away."""
    with pytest.raises(KeyboardInterrupt):
        train([plugin := Checkpoint(tmp_path)], [2, 1], fail=(1, 0, KeyboardInterrupt()))
    assert (plugin.best().step, plugin.best().value) == (1, 2)


def test_ctrl_c_before_the_first_step_saves_too(tmp_path: Path) -> None:
    """However early it comes, an interrupted run has a checkpoint."""
    with pytest.raises(KeyboardInterrupt):
        train([Checkpoint(tmp_path)], [2], fail=(0, 0, KeyboardInterrupt()))
    assert steps(tmp_path) == [0]


@pytest.mark.parametrize("error", [RuntimeError("bad"), SystemExit(1)])
def test_any_other_exception_saves_nothing(tmp_path: Path, error: BaseException) -> None:
    """After an error the trainee's state may be bad; earlier checkpoints stay."""
    with pytest.raises(type(error)):
        train([Checkpoint(tmp_path)], [2, 1], batches=3, fail=(1, 2, error))
    assert steps(tmp_path) == [3]


def test_a_trainee_that_cannot_be_saved_is_refused_before_training(tmp_path: Path) -> None:
    """The error names the plugin and says why, and nothing was made on disk."""
    trainee = ScriptedTrainee(cannot={"checkpoint": "it lives in another process"})
    with pytest.raises(CapabilityError, match="'checkpoint' needs the trainee's checkpoint, but it lives in another process"):
        train([Checkpoint(tmp_path / "runs")], [1], trainee=trainee)
    assert not (tmp_path / "runs").exists()


def test_a_directory_that_is_a_file_is_refused_at_once(tmp_path: Path) -> None:
    """The error shows the path."""
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(ParameterError) as caught:
        Checkpoint(path)
    assert str(caught.value) == f"Checkpoint: directory must be the path of a directory, not of a file, got {str(path)!r}."


def test_the_directory_is_made_with_its_parents_when_training_begins(tmp_path: Path) -> None:
    """Making the plugin writes nothing; a path may be a string."""
    plugin = Checkpoint(str(tmp_path / "a" / "b"))
    assert not (tmp_path / "a").exists()
    train([plugin], [1])
    assert steps(tmp_path / "a" / "b") == [1]


def test_a_directory_that_cannot_be_made_is_refused_before_training(tmp_path: Path) -> None:
    """The error names it and gives the system's reason, before any epoch; a file that exists already is refused first."""
    recording, plugin = RecordingPlugin(), Checkpoint(tmp_path / "file" / "runs")
    (tmp_path / "file").touch()
    with pytest.raises(
        CheckpointError, match=rf"checkpoint directory {tmp_path}/file/runs cannot be written to: Not a directory"
    ):
        train([recording, plugin], [1])
    with pytest.raises(ParameterError, match=rf"directory must be a path in a directory, and {tmp_path}/file is a file"):
        Checkpoint(tmp_path / "file" / "runs")
    assert "on_epoch_begin" not in recording.hooks


def test_a_directory_without_the_right_to_write_is_refused_before_training(tmp_path: Path) -> None:
    """With the rights of an ordinary user the error gives the system's reason, and no epoch has begun."""
    tmp_path.chmod(0o555)
    told = in_a_process(
        """
        import json, os, sys
        from hookcore import CheckpointError
        from hookcore.testing import RecordingPlugin, ScriptedTrainee
        from hookcore_adapters.loop import Loop
        from hookcore_plugins import Checkpoint

        recording = RecordingPlugin()
        loop = Loop([recording, Checkpoint(sys.argv[1])], epochs=1, trainee=ScriptedTrainee())
        if os.geteuid() == 0:
            os.setuid(65534)  # root may write anywhere
        try:
            loop.__enter__()
        except CheckpointError as error:
            print(json.dumps({"error": str(error), "hooks": recording.hooks}))
        """,
        tmp_path,
    )
    tmp_path.chmod(0o755)
    assert told["error"] == f"The checkpoint directory {tmp_path} cannot be written to: Permission denied."
    assert "on_epoch_begin" not in told["hooks"]


def test_a_disk_that_fills_up_while_saving_stops_the_run_and_harms_no_other_checkpoint(tmp_path: Path) -> None:
    """The error names checkpoint and reason; the earlier ones verify, nothing half-written is left, and the run has failed."""
    told = in_a_process(
        """
        import json, resource, sys
        from hookcore import CheckpointError
        from hookcore.testing import RecordingPlugin, ScriptedTrainee
        from hookcore_adapters.loop import Loop
        from hookcore_plugins import Checkpoint

        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        trainee, recording = ScriptedTrainee(), RecordingPlugin()
        loop = Loop([recording, Checkpoint(sys.argv[1], asynchronous=False)], epochs=5, trainee=trainee)
        try:
            with loop:
                for epoch in loop.epochs():
                    for _ in loop.batches(range(2)):
                        trainee.weights = [1.0] * 10 ** (epoch + 2)
                    loop.log(val_loss=1)
        except CheckpointError as error:
            saved = [event[1].step for event in recording.events if event[0] == "on_checkpoint"]
            print(json.dumps({"error": str(error), "outcome": loop.run.outcome, "saved": saved, "epoch": epoch}))
        """,
        tmp_path,
    )
    assert told == {
        "error": (
            f"The checkpoint {tmp_path}/step-00000006 could not be written: File too large. Earlier checkpoints are untouched."
        ),
        "outcome": "failed",
        "saved": [2, 4],
        "epoch": 2,
    }
    assert steps(tmp_path) == [2, 4]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000004"]


@pytest.mark.parametrize(
    ("parameter", "value", "expectation"),
    [
        ("monitor", "", "a non-empty string"),
        ("mode", "mni", "one of 'auto', 'min', 'max'"),
        ("save_best_only", "yes", "True or False"),
        ("every_n_epochs", 0, "an integer of at least 1 or None"),
        ("every_n_epochs", 1.0, "an integer of at least 1 or None"),
        ("every_n_steps", 0, "an integer of at least 1 or None"),
        ("every_n_steps", -5, "an integer of at least 1 or None"),
        ("keep_last", 0, "an integer of at least 1 or None"),
        ("keep_last", True, "an integer of at least 1 or None"),
        ("keep_best", 0, "an integer of at least 1 or None"),
        ("keep_every", 0, "an integer of at least 1 or None"),
        ("asynchronous", None, "True or False"),
        ("when_busy", "drop", "one of 'wait', 'skip'"),
        ("when_full", "purne", "one of 'error', 'prune'"),
        ("clock", 3, "a function"),
        ("missing", "never", "one of 'error', 'warn', 'skip'"),
    ],
)
def test_a_parameter_outside_its_range_is_refused(tmp_path: Path, parameter: str, value: Any, expectation: str) -> None:
    """The error names the class, the parameter, what was expected and the value."""
    with pytest.raises(ParameterError) as caught:
        Checkpoint(tmp_path, **{parameter: value})
    assert str(caught.value).startswith(f"Checkpoint: {parameter} must be {expectation}, got {value!r}.")


@pytest.mark.parametrize("directory", ["", None, 3])
def test_a_directory_that_is_no_path_is_refused(directory: Any) -> None:
    """An empty path would silently mean the current directory."""
    with pytest.raises(ParameterError, match=f"Checkpoint: directory must be the path of a directory, got {directory!r}"):
        Checkpoint(directory)


def test_a_metric_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    """A misspelt monitor would otherwise keep no best, without a message."""
    loop = Loop([Checkpoint(tmp_path, "val_los", mode="min")], epochs=1, trainee=ScriptedTrainee())
    with pytest.raises(MetricError, match="Did you mean 'val_loss'"), loop:  # noqa: PT012 - the error comes out of the loop
        for _ in loop.epochs():
            loop.log(val_loss=1.0)


def test_epochs_without_batches_have_checkpoints_of_their_own(tmp_path: Path) -> None:
    """A loop that never uses batches counts an epoch as a step, so that no checkpoint replaces the one before it."""
    checkpoint = Checkpoint(tmp_path, keep_last=None)
    with Loop([checkpoint], epochs=3, trainee=ScriptedTrainee()) as loop:
        for epoch in loop.epochs():
            loop.log(val_loss=[1.0, 0.5, 2.0][epoch])
    assert [saved.value for saved in store.available(tmp_path)] == [1.0, 0.5, 2.0]
    assert checkpoint.best().epoch == 1


def test_the_best_is_found_by_an_object_that_saw_no_run(tmp_path: Path) -> None:
    """Another script finds the best checkpoint of a metric that should be large, without giving the mode again."""
    with Loop([Checkpoint(tmp_path, "val_acc", keep_last=None)], epochs=3, trainee=ScriptedTrainee()) as loop:
        for epoch in loop.epochs():
            loop.log(val_acc=[0.1, 0.9, 0.5][epoch])
    assert Checkpoint(tmp_path).best().value == store.best(tmp_path).value == 0.9


def test_a_run_that_fails_at_its_start_leaves_the_earlier_checkpoints(tmp_path: Path) -> None:
    """They are moved aside by the first save of another run, and not by a run that never trained."""
    with Loop([Checkpoint(tmp_path)], epochs=1, trainee=ScriptedTrainee()) as loop:
        for _ in loop.epochs():
            loop.log(val_loss=1.0)
    before = store.newest(tmp_path)
    with pytest.raises(MetricError), Loop([Checkpoint(tmp_path), EarlyStopping("odd")], epochs=1, trainee=ScriptedTrainee()):
        pass
    assert store.newest(tmp_path) == before


def test_a_batch_that_an_exception_cut_is_not_saved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its weights are of a step that no record counts; the log says why."""
    trainee = ScriptedTrainee()

    def cut() -> None:
        with Loop([Checkpoint(tmp_path)], epochs=1, trainee=trainee) as loop:
            for _ in loop.epochs():
                for batch in loop.batches(range(3)):
                    trainee.weights = [batch + 1.0]
                    if batch == 1:
                        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut()
    assert steps(tmp_path) == []
    assert "checkpoint: no capture: batch 2 was cut, so weights and record differ" in caplog.text
