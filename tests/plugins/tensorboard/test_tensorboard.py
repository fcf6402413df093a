"""TensorBoard in real runs: what it writes is read with TensorBoard's own reader, value for value."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import weakref
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from tensorboard.util.tensor_util import make_ndarray

from hookcore import CapabilityError, Engine, LoadError, MetricNames, ParameterError, Run, hookimpl, store
from hookcore.testing import RecordingPlugin, ScriptedTrainee, event_sequences, play
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, EarlyStopping, ReduceLROnPlateau, Report, TensorBoard, TimeLimit
from hookcore_plugins.tensorboard import event_files, event_writer, records, summaries
from tests.patience import PATIENCE
from tests.plugins.tensorboard.event_files import Logged, Visible, read, scalars, single, train, with_tests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hookcore.resume import Resume
    from hookcore.testing import Event as Happening
    from hookcore.trainee import Node

EVERYTHING: dict[str, Any] = {
    "update_freq": 2,
    "histogram_freq": 1,
    "images": True,
    "embeddings_freq": 1,
    "embeddings_metadata": ["the", "of", "and", "a"],
    "activations": True,
    "gradients": True,
}


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def both(log_dir: Path) -> dict[str, Logged]:
    return {run: read(log_dir / run) for run in ("train", "validation")}


# Scalars.


def test_both_curves_of_a_metric_are_in_one_chart(tmp_path: Path) -> None:
    """An epoch's metrics have the same tag in both runs, and as their step the epoch, counted from 0."""
    train([TensorBoard(tmp_path)], [0.75, 0.25])
    trained, validated = scalars(tmp_path / "train"), scalars(tmp_path / "validation")
    assert trained["epoch_loss"] == [(0, single(0.75 + 3 / 4)), (1, single(0.25 + 7 / 24))]
    assert validated["epoch_loss"] == [(0, 0.75), (1, 0.25)]
    assert validated["evaluation_loss_vs_iterations"] == [(2, 0.75), (4, 0.25)]
    assert trained["epoch_learning_rate"] == [(0, 0.5), (1, 0.5)]
    assert trained["hparams/val_loss"] == validated["epoch_loss"]
    assert trained.keys() == {"epoch_loss", "epoch_learning_rate", "hparams/val_loss"}
    assert validated.keys() == {"epoch_loss", "evaluation_loss_vs_iterations"}


@pytest.mark.parametrize(
    ("update_freq", "expected"), [("epoch", []), ("batch", [1, 2, 3, 4, 5, 6]), (1, [1, 2, 3, 4, 5, 6]), (2, [2, 4, 6]), (4, [4])]
)
def test_batches_are_written_every_n_steps(tmp_path: Path, update_freq: Any, expected: list[int]) -> None:
    """Batches are written by step, whatever the number of batches in an epoch; epochs are always written."""
    train([TensorBoard(tmp_path, update_freq=update_freq)], [0.5, 0.25], batches=3)
    found = scalars(tmp_path / "train")
    values = [0.5, 0.5, 0.5, 0.25, 0.25, 0.25]
    assert found.get("batch_loss", []) == [(step, single(values[step - 1] + 1 / step)) for step in expected]
    assert [step for step, _ in found["epoch_loss"]] == [0, 1]


def test_several_batches_at_a_time_do_not_skip_what_is_due(tmp_path: Path) -> None:
    """If steps skip a multiple of the number, the next event is written."""
    session = Engine([TensorBoard(tmp_path, update_freq=4)], autoload=False).start(Run())
    session.train_begin()
    session.epoch_begin(0)
    for batch in (2, 5, 8, 11):
        session.batches_end({"loss": float(batch)}, 3, 1)
    session.end()
    assert scalars(tmp_path / "train")["batch_loss"] == [(6, 5.0), (9, 8.0), (12, 11.0)]


def test_metrics_that_an_adapter_changes_later_are_written_as_they_were(tmp_path: Path) -> None:
    """A mapping that changes with the next batch is written with the values of its own."""
    session = Engine([TensorBoard(tmp_path, update_freq="batch")], autoload=False).start(Run())
    session.train_begin()
    session.epoch_begin(0)
    metrics = {"loss": 0.0}
    for batch in range(3):
        metrics["loss"] = float(batch)
        session.batch_end(batch, metrics)
    session.end()
    assert scalars(tmp_path / "train")["batch_loss"] == [(1, 0.0), (2, 1.0), (3, 2.0)]


def test_the_learning_rate_is_that_of_the_epoch(tmp_path: Path) -> None:
    """The rate is that from before a plugin reduced it, wherever that plugin is listed."""
    train([ReduceLROnPlateau(patience=1, factor=0.5), TensorBoard(tmp_path)], [1.0] * 4)
    assert scalars(tmp_path / "train")["epoch_learning_rate"] == [(0, 0.5), (1, 0.5), (2, 0.25), (3, 0.125)]


def test_a_learning_rate_among_the_metrics_is_replaced(tmp_path: Path) -> None:
    """Keras's own callbacks add a learning rate to the metrics; the trainee's is written in its place."""

    class Reports:
        @hookimpl
        def on_epoch_begin(self, run: Run) -> None:
            run.learning_rate = 0.25

    with Loop([TensorBoard(tmp_path), Reports()], epochs=1, trainee=ScriptedTrainee()) as loop:
        for _ in loop.epochs():
            loop.log(learning_rate=9.0)
    assert scalars(tmp_path / "train")["epoch_learning_rate"] == [(0, 0.25)]


def train_by_steps(
    plugins: Sequence[object], *, trainee: Any = None, fail: tuple[int, BaseException] | None = None, resume: Resume = False
) -> Run:
    """Run a loop of two epochs of three batches that evaluates after steps 2, 4 and 6; at `fail` a step raises an error."""
    trainee = Visible() if trainee is None else trainee
    with Loop(plugins, epochs=2, trainee=trainee, validation_data=[[1.0, 2.0]] * 40, resume=resume) as loop:
        for _ in loop.epochs():
            for _batch in loop.batches(range(3)):
                step = trainee.step = loop.run.progress.step + 1
                if fail is not None and fail[0] == step:
                    raise fail[1]
                loop.log(loss=float(step))
                if loop.every(2):
                    with loop.evaluation():
                        loop.log(loss=step / 8)
    return loop.run


def test_observations_by_steps_are_in_charts_of_their_own(tmp_path: Path) -> None:
    """What is observed by steps is written by step, training since the observation before; epochs have their own metrics."""
    assert not train_by_steps([TensorBoard(tmp_path, histogram_freq=1)]).failures
    trained, validated = scalars(tmp_path / "train"), scalars(tmp_path / "validation")
    assert trained.pop("nonfinite/dense/bias/histogram")
    assert trained == {
        "step_loss": [(2, 1.5), (4, 4.0), (6, 5.5)],
        "step_learning_rate": [(2, 0.5), (4, 0.5), (6, 0.5)],
        "epoch_loss": [(0, 2.0), (1, 5.0)],
        "epoch_learning_rate": [(0, 0.5), (1, 0.5)],
        "hparams/val_loss": [(0, 0.25), (1, 0.75)],
    }
    assert validated == {
        "step_loss": [(2, 0.25), (4, 0.5), (6, 0.75)],
        "epoch_loss": [(0, 0.25), (1, 0.75)],
        "evaluation_loss_vs_iterations": [(2, 0.25), (4, 0.5), (6, 0.75)],
    }
    assert [epoch for epoch, _ in read(tmp_path / "train")["dense/bias/histogram"]] == [0, 1]


def test_the_learning_rate_of_an_observation_is_that_from_before_a_plugin_reduced_it(tmp_path: Path) -> None:
    """The rate is the one that was trained with, also at an epoch's end after its last batch was observed by steps."""
    train_by_steps([ReduceLROnPlateau("loss", patience=1, factor=0.5), TensorBoard(tmp_path)])
    found = scalars(tmp_path / "train")
    assert found["step_learning_rate"] == [(2, 0.5), (4, 0.25), (6, 0.125)]
    assert found["epoch_learning_rate"] == [(0, 0.5), (1, 0.125)]


@pytest.mark.parametrize("first", [True, False])
def test_what_plugins_log_is_written_once_with_the_metrics_of_its_moment(tmp_path: Path, *, first: bool) -> None:
    """A metric that a plugin logs in a hook is in the charts of its observation, wherever the plugin is listed."""

    class Logs:
        @hookimpl
        def on_epoch_end(self, run: Run, epoch: int) -> None:
            run.log(val_f1=epoch + 0.5)

        @hookimpl
        def on_metrics(self, run: Run) -> None:
            run.log(extra=float(run.progress.step), learning_rate=9.0)

    plugins: list[object] = [Logs(), TensorBoard(tmp_path)]
    assert not train_by_steps(plugins if first else plugins[::-1]).failures
    trained, validated = scalars(tmp_path / "train"), scalars(tmp_path / "validation")
    assert trained["step_extra"] == [(2, 2.0), (4, 4.0), (6, 6.0)]
    assert trained["epoch_extra"] == [(0, 3.0), (1, 6.0)]
    assert trained["epoch_learning_rate"] == [(0, 0.5), (1, 0.5)]
    assert trained["step_learning_rate"] == [(2, 0.5), (4, 0.5), (6, 0.5)]
    assert trained["epoch_loss"] == [(0, 2.0), (1, 5.0)]
    assert validated["epoch_f1"] == trained["hparams/val_f1"] == [(0, 0.5), (1, 1.5)]
    assert "step_f1" not in validated


@pytest.mark.parametrize("by_steps", [True, False])
def test_a_metric_shares_its_chart_with_its_twin_whatever_the_loop_calls_them(tmp_path: Path, *, by_steps: bool) -> None:
    """Prefixes of the loop's own are left out; of two validation sets the second keeps its own, so that neither is lost."""
    names = MetricNames(validation=("valid/",), training=("train-",))
    with Loop([TensorBoard(tmp_path)], epochs=2, metric_names=names) as loop:
        for epoch in loop.epochs():
            for _ in loop.batches([0]):
                loop.log({"train-loss": 1.0, "val_loss": 4.0})
                for prefix, value in {"valid/": 2.0, "other/": 3.0}.items() if by_steps else ():
                    with loop.evaluation(prefix):
                        loop.log(loss=value)
            # The second set alone, then both: its chart remains the same.
            for prefix, value in {} if by_steps else {"other/": 3.0, "valid/": 2.0}.items() if epoch else {"valid/": 2.0}.items():
                with loop.evaluation(prefix):
                    loop.log(loss=value)
    trained, validated = scalars(tmp_path / "train"), scalars(tmp_path / "validation")
    for prefix in ("epoch_", "step_") if by_steps else ("epoch_",):
        assert [value for _, value in trained[f"{prefix}loss"]] == [1.0, 1.0]
        assert [value for _, value in trained[f"{prefix}val_loss"]] == [4.0, 4.0]
        assert [value for _, value in validated[f"{prefix}loss"]] == [2.0, 2.0]
        assert [value for _, value in validated[f"{prefix}other/loss"]] == [3.0, 3.0][: 1 + by_steps]


def test_steps_per_second(tmp_path: Path) -> None:
    """The steps of an epoch are divided by its duration."""
    now = 100.0

    class Passes:
        @hookimpl
        def on_batch_end(self) -> None:
            nonlocal now
            now += 0.25

    train([TensorBoard(tmp_path, steps_per_second=True, clock=lambda: now), Passes()], [1.0, 2.0], batches=3)
    assert scalars(tmp_path / "train")["epoch_steps_per_second"] == [(0, 4.0), (1, 4.0)]


def test_without_a_trainee_there_are_metrics(tmp_path: Path) -> None:
    """A run without a learning rate and a graph has its metrics and no error."""
    with Loop([TensorBoard(tmp_path)], epochs=1) as loop:
        for _ in loop.epochs():
            loop.log(loss=1.0, val_loss=2.0)
    assert not loop.run.failures
    assert scalars(tmp_path / "train") == {"epoch_loss": [(0, 1.0)], "hparams/val_loss": [(0, 2.0)]}


def test_an_evaluation_by_itself_is_not_written(tmp_path: Path) -> None:
    """An evaluation before or after training writes nothing, and is not an error."""
    engine = Engine([TensorBoard(tmp_path)], autoload=False)
    for training in (False, True, False):
        session = engine.start(Run(), training=training)
        if training:
            session.train_begin()
            session.end()
        else:
            session.hooks.on_evaluate_begin()
            session.hooks.on_evaluate_end({"loss": 1.0})
        assert not session.run.failures
    assert not (tmp_path / "validation").exists()


def runs_of(recorded: Sequence[tuple[Any, ...]], steps: Sequence[int]) -> list[dict[str, Logged]]:
    """Return what each run should have in its charts; no run is resumed. `steps` are 0 for what is not written by step."""
    runs: list[dict[str, Logged]] = []
    training = False
    for (hook, *arguments), step in zip(recorded, steps, strict=True):
        if hook == "on_train_begin":
            training = True
            runs.append({"train": {}, "validation": {}})
        elif hook == "on_train_end":
            training = False
        elif training and (hook in {"on_batch_end", "on_epoch_end", "on_evaluate_end"} or (hook == "on_metrics" and step)):
            at = arguments[0] if hook == "on_epoch_end" else step
            for name, value in arguments[-1].items():
                run, tag = "train", f"batch_{name}"
                if hook == "on_evaluate_end":
                    run, tag = "validation", f"evaluation_{name}_vs_iterations"
                elif hook != "on_batch_end":
                    run = "validation" if name.startswith("val_") else "train"
                    tag = f"{'epoch' if hook == 'on_epoch_end' else 'step'}_{name.removeprefix('val_')}"
                runs[-1][run].setdefault(tag, []).append((at, single(value)))
    return runs


@settings(max_examples=settings().max_examples * 2 // 5)  # each has up to three runs with files
@given(events=event_sequences(min_runs=1, resumes=False, nan=True, infinity=True))
def test_every_value_of_every_event_is_written(events: list[Happening]) -> None:
    """Every run has all its values in files of its own, also if an exception ended it; earlier files are moved aside."""
    with tempfile.TemporaryDirectory() as directory:
        recording = RecordingPlugin()
        steps: list[tuple[str, int]] = []

        class Steps:
            @hookimpl
            def on_batch_end(self, run: Run) -> None:
                steps.append(("on_batch_end", run.progress.step))

            @hookimpl
            def on_evaluate_end(self, run: Run) -> None:
                steps.append(("on_evaluate_end", run.progress.step))

            @hookimpl
            def on_metrics(self, run: Run) -> None:
                steps.append(("on_metrics", run.progress.step if run.history.by_steps[-1] else 0))

        board = TensorBoard(directory, update_freq="batch", hparams=False)
        played = play(events, [recording, Steps(), board])
        assert not any(run.failures for run in played)
        left = iter(steps)
        at = [next(left)[1] if event[0] in {"on_batch_end", "on_evaluate_end", "on_metrics"} else 0 for event in recording.events]
        expected = runs_of(recording.events, at)
        places = [*sorted(Path(directory).glob("earlier-*")), Path(directory)]
        written = [
            {run: scalars(place / run) if (place / run).exists() else {} for run in ("train", "validation")} for place in places
        ]
        for run in written:
            for prefix in ("epoch", "step"):
                run["train"].pop(f"{prefix}_learning_rate", None)
        nonempty = [run for run in expected if run["train"] or run["validation"]]
        assert [run for run in written if run["train"] or run["validation"]] == nonempty


# What is not lost, and what is not mixed.


@pytest.mark.parametrize("error", [RuntimeError("crash"), KeyboardInterrupt()])
def test_nothing_is_lost_if_an_exception_ends_the_run(tmp_path: Path, error: BaseException) -> None:
    """The files have all batches before the exception, and how the run ended."""
    with pytest.raises(type(error)):
        train([TensorBoard(tmp_path, update_freq="batch")], [1.0, 1.0], batches=3, fail=(1, 2, error))
    found = read(tmp_path / "train")
    assert [step for step, _ in found["batch_loss"]] == [1, 2, 3, 4, 5]
    outcome, status = ("failed", 2) if isinstance(error, RuntimeError) else ("interrupted", 0)
    assert f"the run ended: **{outcome}**" in found["decisions"][-1][1]
    assert found["_hparams_/session_end_info"][-1][1].session_end_info.status == status


def test_an_earlier_run_is_moved_aside(tmp_path: Path) -> None:
    """One plugin serves three runs: each has its own files and embeddings, and files of others stay."""
    board = TensorBoard(tmp_path, **EVERYTHING)
    for value in (1.0, 2.0, 3.0):
        train([board], [value])
        (tmp_path / "train" / "notes.txt").write_text("mine")
    for value, place in ((1.0, "earlier-001"), (2.0, "earlier-002"), (3.0, ".")):
        assert scalars(tmp_path / place / "validation")["epoch_loss"] == [(0, value)]
        assert (tmp_path / place / "train" / "projector_config.pbtxt").exists()
        assert len(list((tmp_path / place / "train" / "embeddings").iterdir())) == 4
    assert [path.parent for path in tmp_path.rglob("notes.txt")] == [tmp_path / "train"]


def test_a_directory_without_event_files_is_left_alone(tmp_path: Path) -> None:
    """A directory called `train` without event files may hold data, and is not moved."""
    (tmp_path / "train" / "embeddings").mkdir(parents=True)
    (tmp_path / "train" / "embeddings" / "cat.jpg").write_text("cat")
    train([TensorBoard(tmp_path)], [1.0])
    assert (tmp_path / "train" / "embeddings" / "cat.jpg").exists()
    assert not list(tmp_path.glob("earlier*"))


@settings(max_examples=settings().max_examples // 5)  # each is three runs with files
@given(
    values=st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=4),
    crash=st.tuples(st.integers(0, 3), st.integers(0, 2), st.binary(max_size=20)),
    every_n_steps=st.sampled_from([None, 1, 2, 3]),
    place=st.integers(0, 3),
    update_freq=st.sampled_from(["epoch", "batch", 2]),
    asynchronous=st.booleans(),
)
def test_a_resumed_log_reads_as_that_of_a_run_that_never_stopped(
    values: list[float],
    crash: tuple[int, int, bytes],
    every_n_steps: int | None,
    place: int,
    update_freq: Any,
    *,
    asynchronous: bool,
) -> None:
    """After a crash anywhere, every value is equal, wherever the plugin is listed, also if the files have a torn end."""
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)

        def run(name: str, fail: Any = None) -> None:
            plugins: list[object] = [ReduceLROnPlateau(patience=1, factor=0.5), EarlyStopping(patience=2)]
            plugins.append(Checkpoint("saved", every_n_steps=every_n_steps, asynchronous=asynchronous))
            plugins.insert(place, TensorBoard(**EVERYTHING | {"update_freq": update_freq}))
            (here / name).mkdir(exist_ok=True)
            with contextlib.chdir(here / name):  # paths are hyperparameters too
                assert not train(plugins, values, batches=3, fail=fail, resume="auto").failures

        run("whole")
        with contextlib.suppress(RuntimeError):
            run("parts", (*crash[:2], RuntimeError("crash")))
        whole, parts = here / "whole/logs", here / "parts/logs"
        saved = store.named(here / "parts/saved")
        for path in parts.glob("*/*tfevents*"):
            with path.open("ab") as file:
                file.write(crash[2])
        run("parts")
        assert both(parts) == both(whole)
        assert scalars(parts / "train") == scalars(whole / "train")
        assert tables(parts / "train") == tables(whole / "train")
        assert bool(list(parts.glob("earlier-*"))) == (not saved)


@pytest.mark.parametrize("every_n_steps", [1, 2, 3])
@pytest.mark.parametrize("step", range(1, 7))
def test_a_resumed_log_of_a_loop_by_steps_reads_as_that_of_a_run_that_never_stopped(
    tmp_path: Path, step: int, every_n_steps: int
) -> None:
    """After a crash anywhere every value is equal, also if the checkpoint was taken at an observation within an epoch."""

    def run(name: str, fail: Any = None) -> None:
        plugins = [
            ReduceLROnPlateau("val_loss", patience=1, factor=0.5),
            TensorBoard(**EVERYTHING | {"update_freq": "batch"}),
            Checkpoint("saved", every_n_steps=every_n_steps),
        ]
        (tmp_path / name).mkdir(exist_ok=True)
        with contextlib.chdir(tmp_path / name):  # paths are hyperparameters too
            assert not train_by_steps(plugins, fail=fail, resume="auto").failures

    run("whole")
    with contextlib.suppress(RuntimeError):
        run("parts", (step, RuntimeError("crash")))
    run("parts")
    whole, parts = tmp_path / "whole/logs", tmp_path / "parts/logs"
    assert both(parts) == both(whole)
    assert [at for at, _ in scalars(parts / "train")["step_loss"]] == [2, 4, 6]
    assert tables(parts / "train") == tables(whole / "train")


def test_a_run_that_had_ended_is_resumed(tmp_path: Path) -> None:
    """A resumed run removes the outcome that the files had, and writes its own."""

    def run(values: list[float]) -> None:
        train([TensorBoard(tmp_path / "logs", **EVERYTHING), Checkpoint(tmp_path / "saved")], values, resume="auto")

    run([3.0, 2.0])
    run([3.0, 2.0, 1.0])
    found = read(tmp_path / "logs" / "train")
    assert [step for step, _ in found["epoch_loss"]] == [0, 1, 2]
    assert len(found["_hparams_/session_start_info"]) == len(found["_hparams_/session_end_info"]) == 1
    assert [text.count("the run ended") for _, text in found["decisions"]] == [0, 0, 1]


def test_a_resumed_run_does_not_continue_the_log_of_another(tmp_path: Path) -> None:
    """If another run wrote in the directory since, its files are moved aside and the decisions so far are written again."""
    saved = Checkpoint(tmp_path / "saved")

    def board() -> TensorBoard:
        return TensorBoard(tmp_path / "logs", clock=lambda: 1000.0)  # both begin within a second

    train([board(), saved], [3.0, 2.0])
    train([board()], [9.0] * 5)
    train([board(), saved], [3.0, 2.0, 1.0], resume="auto")
    assert scalars(tmp_path / "logs" / "validation")["epoch_loss"] == [(2, 1.0)]
    assert scalars(tmp_path / "logs" / "earlier-001" / "validation")["epoch_loss"] == [(0, 3.0), (1, 2.0)]
    assert scalars(tmp_path / "logs" / "earlier-002" / "validation")["epoch_loss"] == [(epoch, 9.0) for epoch in range(5)]
    assert [step for step, _ in read(tmp_path / "logs" / "train")["decisions"]] == [2, 4, 6]


def test_a_new_file_is_read_after_earlier_ones(tmp_path: Path) -> None:
    """A new file has a later name, also if the clock goes back or two runs begin within a second: TensorBoard sorts by name."""
    now = 1000.0

    def run(epochs: int) -> None:
        board = TensorBoard(tmp_path / "logs", clock=lambda: now)
        train([board, Checkpoint(tmp_path / "saved")], [1.0] * epochs, resume="auto")

    run(1)
    now = 5.0
    run(2)
    now = 1000.0
    run(3)
    assert len(event_files.named(tmp_path / "logs" / "train")) == 3
    assert [step for step, _ in scalars(tmp_path / "logs" / "train")["epoch_loss"]] == [0, 1, 2]
    assert sum("the run ended" in text for _, text in read(tmp_path / "logs" / "train")["decisions"]) == 1


@pytest.mark.parametrize("torn", [b"\0" * 20, b"\1", b"\xff" * 40])
def test_what_a_crash_left_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    """Zeros after a loss of power, or a part of a record, are removed, and whole records stay."""
    train([TensorBoard(tmp_path)], [1.0, 2.0])
    before = read(tmp_path / "train")
    (path,) = event_files.named(tmp_path / "train")
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(torn)
    assert event_files.cut(tmp_path / "train", 1000) == sum(1 for _ in LegacyEventFileLoader(str(path)).Load()) - 1
    assert path.stat().st_size == size
    assert read(tmp_path / "train") == before
    assert event_files.cut(tmp_path / "train", 0) == 0
    assert not path.exists()


CHILD = """
    import os, sys
    from pathlib import Path
    from hookcore import hookimpl
    from hookcore_plugins import Checkpoint, TensorBoard
    from tests.plugins.tensorboard.event_files import train
    from tests.plugins.tensorboard.test_tensorboard import EVERYTHING

    class Dies:
        name = "dies"

        @hookimpl(tryfirst=True)
        def on_batch_end(self, run):
            if run.progress.step == int(sys.argv[1]):
                os.write(1, b"now\\n")
                os.read(0, 1)  # until it is killed

    board = TensorBoard("logs", **EVERYTHING | {"update_freq": "batch"})
    train([board, Checkpoint("saved", every_n_steps=1, asynchronous=False), Dies()], [3.0, 2.0, 1.0], batches=3, resume="auto")
"""


def child(step: int, *, kill: bool) -> None:
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(step)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=with_tests())
    with process:
        assert process.stdout is not None
        if kill:
            assert process.stdout.readline() == b"now\n"
            process.kill()
    assert process.returncode == (-signal.SIGKILL if kill else 0)


@pytest.mark.parametrize("step", [1, 4, 8])
def test_after_a_kill_what_a_checkpoint_knows_of_is_in_the_files(tmp_path: Path, step: int) -> None:
    """The files of a killed run have what its checkpoint counts, and if it is resumed they read as if it was never killed."""
    for name, kills in (("whole", []), ("parts", [step])):
        (tmp_path / name).mkdir()
        with contextlib.chdir(tmp_path / name):
            for at in kills:
                child(at, kill=True)
                assert [found for found, _ in read(Path("logs/train")).get("batch_loss", [])] == list(range(1, at))
            child(0, kill=False)
    assert both(tmp_path / "parts/logs") == both(tmp_path / "whole/logs")
    assert tables(tmp_path / "parts/logs/train") == tables(tmp_path / "whole/logs/train")


def test_a_run_that_is_left_without_its_end_is_written(tmp_path: Path) -> None:
    """A run without an end, as when Keras's fit raises, is written at the end of the process or when another run begins."""
    script = """
        from hookcore import Engine, Run
        from hookcore_plugins import TensorBoard
        engine = Engine([TensorBoard("logs", update_freq="batch")], autoload=False)
        for run in range(2):
            session = engine.start(Run())
            session.train_begin()
            session.epoch_begin(0)
            session.batch_end(0, {"loss": float(run)})
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
    assert scalars(tmp_path / "logs" / "earlier-001" / "train")["batch_loss"] == [(1, 0.0)]
    assert scalars(tmp_path / "logs" / "train")["batch_loss"] == [(1, 1.0)]


# The writer.


def test_an_error_of_the_writer_disables_the_plugin(tmp_path: Path) -> None:
    """The error is raised at the next event, the run continues, and events that are encoded are written."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "validation").write_text("no directory")
    run = train([TensorBoard(tmp_path / "logs", update_freq="batch"), Checkpoint(tmp_path / "saved")], [1.0] * 5)
    assert [(failure.plugin, type(failure.error)) for failure in run.failures] == [("tensorboard", FileExistsError)]
    assert run.failures[0].hook != "on_train_end"
    assert len(run.history) == 5
    assert scalars(tmp_path / "logs" / "train")["batch_loss"][:2] == [(1, 2.0), (2, 1.5)]


def test_no_more_than_the_limit_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that hands over too fast waits for the disk: memory stays bounded, and no event is lost."""
    monkeypatch.setattr(event_writer, "LIMIT", 20)
    monkeypatch.setattr(event_writer, "_WRITE_AT", 10)
    waiting = []

    def clock() -> float:
        waiting.append(len(writer._queue))
        return 1.0

    writer = event_writer.EventWriter(tmp_path, Counter(), clock)
    for step in range(2000):
        writer.add("train", step, "batch_", {"loss": float(step)})
    writer.close()
    assert max(waiting) < 20
    assert len(scalars(tmp_path / "train")["batch_loss"]) == 2000


def test_waiting_events_are_written_without_a_flush(tmp_path: Path) -> None:
    """Events are written while the run lasts, so that a viewer sees them; other work comes after the events before it."""
    writer = event_writer.EventWriter(tmp_path, Counter(), lambda: 1.0, interval=0.0)
    writer.add("train", 1, "batch_", {"loss": 0.5})
    found, done = [], threading.Event()
    writer.submit(lambda: found.append(scalars(tmp_path / "train")))
    writer.submit(done.set)
    assert done.wait(PATIENCE)
    assert found == [{"batch_loss": [(1, 0.5)]}]
    writer.close()


def test_each_write_ends_with_a_whole_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between two writes leaves no torn record."""
    ends: list[int] = []
    write = os.write

    def watched(descriptor: int, content: Any) -> int:
        written = write(descriptor, content)
        path = next(tmp_path.rglob("*tfevents*"))
        ends.append(len(list(records.ends(path.read_bytes()))))
        assert list(records.ends(path.read_bytes()))[-1] == path.stat().st_size
        return written

    monkeypatch.setattr("os.write", watched)
    monkeypatch.setattr(event_writer, "_CHUNK", 3)
    writer = event_writer.EventWriter(tmp_path, Counter(), lambda: 1.0)
    for step in range(10):
        writer.add("train", step, "batch_", {"loss": 0.5})
    writer.close()
    assert ends[-1] == 11
    assert len(ends) >= 4


def test_a_forked_process_leaves_the_writing_to_its_parent(tmp_path: Path) -> None:
    """A forked process has the queue but no thread: it neither waits nor writes."""
    writer = event_writer.EventWriter(tmp_path, Counter(), lambda: 1.0, interval=10.0 * PATIENCE)
    writer._process -= 1  # as a child sees it
    writer.add("train", 1, "batch_", {"loss": 0.5})
    writer.flush()
    writer.close()
    assert len(writer._queue) == 1
    writer._process += 1
    writer.close()
    assert scalars(tmp_path / "train") == {"batch_loss": [(1, 0.5)]}


# Graph, histograms, images.


def test_the_graph_has_the_layers(tmp_path: Path) -> None:
    """The graph is written once, with the kinds, inputs, shapes and parameters of the layers."""
    train([TensorBoard(tmp_path, update_freq="batch")], [1.0, 2.0])
    ((step, graph),) = read(tmp_path / "train")["__run_graph__"]
    assert step == 0
    words, dense = graph.node
    assert [(node.name, node.op, list(node.input)) for node in graph.node] == [
        ("model/words", "Embedding", []),
        ("model/dense", "Dense", ["model/words"]),
    ]
    assert [dim.size for dim in words.attr["_output_shapes"].list.shape[0].dim] == [-1, 7, 3]
    assert dense.attr["parameters"].i == 4


@pytest.mark.parametrize("how", ["none", "lacking", "raising", "off"])
def test_a_run_without_a_graph(tmp_path: Path, how: str) -> None:
    """If the trainee has no graph, lacks it or fails, the rest is written."""

    class Failing(Visible):
        def graph(self) -> list[Node]:
            raise NotImplementedError

    trainee: Any = {
        "none": ScriptedTrainee(),
        "lacking": Visible(without={"graph": "not built"}),
        "raising": Failing(),
        "off": Visible(),
    }[how]
    with Loop([TensorBoard(tmp_path, graph=how != "off")], epochs=1, trainee=trainee) as loop:
        for _ in loop.epochs():
            loop.log(loss=1.0)
    assert not loop.run.failures
    assert "__run_graph__" not in read(tmp_path / "train")
    assert scalars(tmp_path / "train")["epoch_loss"] == [(0, 1.0)]


def test_histograms_of_weights_activations_and_gradients(tmp_path: Path) -> None:
    """Histograms are written every N epochs, beginning with the first; values that are not finite are counted."""
    train([TensorBoard(tmp_path, histogram_freq=2, activations=True, gradients=True)], [1.0] * 4)
    found = read(tmp_path / "train")
    for tag, values in {
        "words/embeddings/histogram": [np.arange(12, dtype="float32") / 7 + step for step in (2, 6)],
        "dense/bias/histogram": [np.array([0.5])] * 2,
        "activations/dense": [np.array([[1.0, 2.0]] * 32) + step for step in (2, 6)],
        "gradients/dense/bias": [np.array([16.0])] * 2,
    }.items():
        assert found[tag] == [(epoch, buckets(value)) for epoch, value in zip((0, 2), values, strict=True)]
    assert found["nonfinite/dense/bias/histogram"] == [(0, 1.0), (2, 1.0)]
    assert "nonfinite/words/embeddings/histogram" not in found


def buckets(values: Any) -> Any:
    return make_ndarray(histogram_pb("", values).value[0].tensor).tolist()


NUMBERS = arrays.arrays(
    st.sampled_from([np.float64, np.float32, np.float16, np.int32, np.uint8, np.bool_]),
    arrays.array_shapes(min_dims=0, min_side=0),
)


@given(values=NUMBERS)
@example(values=np.array([1.0, np.inf, -np.inf, np.nan, 1.7e308, -1.7e308]))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of histogram_pb
def test_a_histogram_is_tensorboards_own(values: Any) -> None:
    """A histogram of the finite values equals TensorBoard's, for any type and shape, also of an empty array."""
    row, missing = summaries.finite(values)
    event = Event()
    with np.errstate(all="raise", under="ignore"):
        summaries.histogram("here", row)(event)
    (value,) = event.summary.value
    assert value.tag == "here"
    assert row.size + missing == values.size
    found = make_ndarray(value.tensor)
    assert found[:, 2].sum() == row.size
    if row.size == 0 or (row.max() - row.min()) / 30 > 1e-300 or row.max() == row.min():
        assert np.array_equal(found, make_ndarray(histogram_pb("here", row).value[0].tensor))


@given(matrix=arrays.arrays(np.float32, arrays.array_shapes(min_dims=2, max_dims=2, min_side=2)))
def test_an_image_of_any_matrix(matrix: Any) -> None:
    """The least value is black and the greatest white; values that are not finite are black."""
    event = Event()
    with np.errstate(all="raise", under="ignore"):
        summaries.image("here", matrix)(event)
    shown = np.asarray(Image.open(io.BytesIO(event.summary.value[0].image.encoded_image_string)))
    assert shown.shape == matrix.shape
    usable = np.isfinite(matrix)
    assert not shown[~usable].any()
    if usable.any() and matrix[usable].min() < matrix[usable].max():
        assert shown[usable][matrix[usable].argmax()] == 255
        assert shown[usable][matrix[usable].argmin()] == 0


def test_images_are_of_matrices_and_bounded(tmp_path: Path) -> None:
    """A bias has no image; a large matrix loses rows or columns."""
    train([TensorBoard(tmp_path, histogram_freq=1, images=True)], [1.0], trainee=Visible(rows=1200))
    found = read(tmp_path / "train")
    assert [tag for tag in found if tag.endswith("/image")] == ["words/embeddings/image"]
    ((_, (width, height, _)),) = found["words/embeddings/image"]
    assert (int(width), int(height)) == (3, 400)


# The projector.


def tables(directory: Path) -> dict[str, str]:
    """Return the projector's list, and every file that it names."""
    config = text_format.Parse((directory / "projector_config.pbtxt").read_text(), ProjectorConfig())
    named = {path for entry in config.embeddings for path in (entry.tensor_path, entry.metadata_path) if path}
    return {"": str(config), **{path: (directory / path).read_text() for path in named}}


def test_embeddings_with_their_words(tmp_path: Path) -> None:
    """Embeddings are written before training, every N epochs and after training, exactly; the latest is listed first."""
    words = ["the", "of", "", "a\tb"]
    train([TensorBoard(tmp_path, embeddings_freq=2, embeddings_metadata={"words": words})], [1.0] * 3)
    config = text_format.Parse((tmp_path / "train/projector_config.pbtxt").read_text(), ProjectorConfig())
    whens = ["after training", "epoch 0002", "epoch 0000", "before training"]
    assert [entry.tensor_name for entry in config.embeddings] == [f"words, {when}" for when in whens]
    for entry, step in zip(config.embeddings, (6, 6, 2, 0), strict=True):
        found = np.loadtxt(tmp_path / "train" / entry.tensor_path, delimiter="\t", dtype="float32")
        assert np.array_equal(found, (np.arange(12, dtype="float32") / 7 + step).astype("float32").reshape(4, 3))
        assert (tmp_path / "train" / entry.metadata_path).read_text() == "the\nof\n''\na\\tb\n"
    assert (tmp_path / "train" / "embeddings" / "words-epoch-0002.tsv").exists()
    assert words == ["the", "of", "", "a\tb"]


@pytest.mark.parametrize("parent", [False, True])
def test_the_projector_finds_them(tmp_path: Path, *, parent: bool) -> None:
    """The projector finds the embeddings if TensorBoard is started in the log directory or above it."""
    train([TensorBoard(tmp_path / "logs", embeddings_freq=1)], [1.0])
    root = tmp_path if parent else tmp_path / "logs"
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(root)).Reload()
    context = TBContext(logdir=str(root), data_provider=MultiplexerDataProvider(multiplexer, str(root)))
    plugin = ProjectorPlugin(context)
    plugin._update_configs()
    assert list(plugin._configs) == ["logs/train" if parent else "train"]
    ((_, config),) = plugin._configs.items()
    assert [list(entry.tensor_shape) for entry in config.embeddings] == [[4, 3]] * 3


@pytest.mark.parametrize("content", ["the\nof\nand\na\n", "the\nof\nand\na", "word\tcount\nthe\t4\nof\t3\nand\t2\na\t1\n"])
@pytest.mark.parametrize("mapped", [False, True])
def test_words_from_a_file(tmp_path: Path, content: str, *, mapped: bool) -> None:
    """A file has a word per line, or columns beneath a header."""
    (tmp_path / "words.tsv").write_text(content)
    given: Any = {"words": str(tmp_path / "words.tsv")} if mapped else tmp_path / "words.tsv"
    assert not train([TensorBoard(tmp_path / "logs", embeddings_freq=1, embeddings_metadata=given)], [1.0]).failures
    assert (tmp_path / "logs/train/embeddings/words-labels.tsv").read_text().split() == content.split()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (["the"] * 3, "has 3 labels for 'words', which has 4 rows"),
        (["the"] * 5, "has 5 labels for 'words', which has 4 rows"),
        ({"word": ["the"] * 4}, "names 'word', and the embeddings are: words. Did you mean 'words'"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path: Path, metadata: Any, message: str) -> None:
    """Labels that do not fit are refused before anything is trained, moved or written."""
    train([TensorBoard(tmp_path / "logs")], [7.0])
    board = TensorBoard(tmp_path / "logs", embeddings_freq=1, embeddings_metadata=metadata)
    with pytest.raises(ParameterError, match=message):
        Engine([board], on_error={"tensorboard": "raise"}).start(Run.of(Visible())).train_begin()
    assert scalars(tmp_path / "logs" / "validation")["epoch_loss"] == [(0, 7.0)]


def test_an_embedding_with_values_that_are_not_finite(tmp_path: Path) -> None:
    """Such a value becomes 0: the projector would draw no vector at all."""

    class Diverged(Visible):
        def embeddings(self) -> dict[str, Any]:
            return {"inner/words": np.array([[1.5, np.nan], [-np.inf, 2.0]])}

    train([TensorBoard(tmp_path, embeddings_freq=1)], [1.0], trainee=Diverged())
    assert (tmp_path / "train/embeddings/inner-words-epoch-0000.tsv").read_text() == "1.5\t0\n0\t2\n"


def test_a_model_that_is_built_by_its_first_batch(tmp_path: Path) -> None:
    """Labels are checked when the model has embeddings, and the graph is that of the built model."""

    class Lazy(Visible):
        def embeddings(self) -> dict[str, Any]:
            return super().embeddings() if self.step else {}

        def graph(self) -> list[Node]:
            return super().graph() if self.step else []

    board = TensorBoard(tmp_path, embeddings_freq=1, embeddings_metadata={"words": ["the", "of", "and", "a"]})
    assert not train([board], [1.0], trainee=Lazy()).failures
    found = tables(tmp_path / "train")
    assert "embeddings/words-labels.tsv" in found
    assert "embeddings/words-before-training.tsv" not in found
    assert len(read(tmp_path / "train")["__run_graph__"][0][1].node) == 2


# Decisions and hyperparameters.


@pytest.mark.parametrize("log_first", [True, False])
def test_decisions_are_texts_at_their_steps(tmp_path: Path, *, log_first: bool) -> None:
    """The latest text of a step has all decisions of that step; the outcome comes last."""
    others: list[object] = [ReduceLROnPlateau(patience=1, factor=0.5), EarlyStopping(patience=2)]
    board = TensorBoard(tmp_path)
    run = train([board, *others] if log_first else [*others, board], [1.0] * 5)
    texts = read(tmp_path / "train")["decisions"]
    shown = dict(texts)
    assert [step for step, _ in texts] == sorted(step for step, _ in texts)
    for decision in run.decisions:
        what = f"stop: {decision.message}" if decision.kind == "stop" else decision.message
        row = f"| {decision.epoch + 1} | {decision.step} | {decision.plugin} | {what} |"
        assert row in shown[decision.step].split("\n")
    assert list(shown) == [4, 6]
    assert shown[6].split("\n")[-1] == "| 3 | 6 |  | the run ended: **stopped** |"
    assert [len(text.split("\n")) for text in shown.values()] == [3, 5]


def test_a_message_stays_within_its_cell(tmp_path: Path) -> None:
    """Bars and line ends in a message do not break the table."""

    class Stops:
        @hookimpl
        def on_batch_end(self, run: Run) -> None:
            run.stop("a | b\nc")

    train([TensorBoard(tmp_path), Stops()], [1.0])
    assert "| 1 | 1 | stops | stop: a \\| b c |" in read(tmp_path / "train")["decisions"][0][1]


def test_hyperparameters_are_those_of_the_other_plugins(tmp_path: Path) -> None:
    """Hyperparameters are the configuration, and of the plugins what is a number or not at its default.

    A plugin's paths and clocks are left out, and so is a secret. The learning rate is that at the start.
    """
    limit = TimeLimit(hours=1, clock=lambda: 1.0)
    config = {"model": {"depth": 3}, "layers": [1, 2], "api_key": "x", "none": None}
    plugins = [ReduceLROnPlateau(patience=1), Checkpoint(tmp_path / "saved"), limit]
    train([TensorBoard(tmp_path), *plugins, Report(tmp_path / "report", config=config, summary=False)], [1.0] * 3)
    ((_, start),) = read(tmp_path / "train")["_hparams_/session_start_info"]
    found = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.session_start_info.hparams.items()}
    expected = {
        "epochs": 3,
        "learning_rate": 0.5,
        "reduce_lr_on_plateau.patience": 1,
        "reduce_lr_on_plateau.min_lr": 0,
        "time_limit.hours": 1,
        "config.model.depth": 3,
        "config.layers": "[1, 2]",
        "config.none": "None",
    }
    assert {name: value for name, value in found.items() if name in expected} == expected
    for left_out in ("config.api_key", "reduce_lr_on_plateau.mode", "checkpoint.save_best_only", "time_limit.seconds"):
        assert left_out not in found
    assert not [name for name in found if name.startswith("tensorboard.") or name.endswith((".clock", ".directory"))]


def test_the_table_has_the_runs_that_are_there(tmp_path: Path) -> None:
    """TensorBoard's table calls each run by its directory, and leaves out those that were moved aside."""
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    for directory in ("first", "first", "second/tb"):
        train([TensorBoard(tmp_path / directory), EarlyStopping(patience=3)], [1.0])
    assert (tmp_path / "first/earlier-001/train").is_dir()
    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(tmp_path)).Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(tmp_path))
    context = backend_context.Context(TBContext(data_provider=provider))
    asked = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=9, allowed_statuses=[api_pb2.STATUS_SUCCESS])
    rows = list_session_groups.Handler(RequestContext(), context, "", asked).run().session_groups
    assert sorted(row.name for row in rows) == ["first/train", "second/tb/train"]
    assert all(row.hparams["early_stopping.patience"].number_value == 3 for row in rows)
    assert scalars(tmp_path / "first/earlier-001/train")["epoch_loss"]


def test_hyperparameters_can_be_left_out(tmp_path: Path) -> None:
    """Without hyperparameters, the charts for their table are left out too."""
    train([TensorBoard(tmp_path, hparams=False)], [1.0])
    assert not [tag for tag in read(tmp_path / "train") if "hparams" in tag]


# What is asked for.


def test_needs_are_what_the_parameters_ask_for(tmp_path: Path) -> None:
    """The plugin needs the views that its parameters ask for; it does without a graph."""
    assert TensorBoard(tmp_path).needs == ()
    assert TensorBoard(tmp_path, **EVERYTHING).needs == ("weights", "activations", "gradients", "embeddings")
    with pytest.raises(CapabilityError, match="'tensorboard' needs the trainee's weights, but they are frozen"):
        train([TensorBoard(tmp_path, histogram_freq=1)], [1.0], trainee=Visible(without={"weights": "they are frozen"}))


def test_activations_need_validation_data(tmp_path: Path) -> None:
    """Activations without validation data are refused before training."""
    board = TensorBoard(tmp_path, histogram_freq=1, activations=True)
    with pytest.raises(CapabilityError, match="need validation data"):
        Engine([board], on_error={"tensorboard": "raise"}).start(Run.of(Visible())).train_begin()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"log_dir": 5}, "log_dir must be the path of a directory, got 5"),
    ({"log_dir": __file__}, "log_dir must be the path of a directory, not of a file"),
    ({"update_freq": 0}, "update_freq must be 'epoch', 'batch' or a number of steps of at least 1, got 0"),
    ({"update_freq": True}, "update_freq must be"),
    ({"update_freq": "step"}, "update_freq must be"),
    ({"update_freq": ["batch"]}, "update_freq must be"),
    ({"histogram_freq": -1}, "histogram_freq must be an integer of at least 0"),
    ({"embeddings_freq": 1.5}, "embeddings_freq must be"),
    ({"graph": "yes"}, "graph must be True or False"),
    ({"images": True}, "images has no effect while histogram_freq is 0; give histogram_freq=1"),
    ({"activations": True}, "activations has no effect"),
    ({"gradients": True}, "gradients has no effect"),
    ({"embeddings_metadata": ["a"]}, "embeddings_metadata has no effect while embeddings_freq is 0"),
    (
        {"embeddings_freq": 1, "embeddings_metadata": "words.tsv"},
        "embeddings_metadata must be .*; there is no such file, got 'words.tsv'",
    ),
    ({"embeddings_freq": 1, "embeddings_metadata": {"words": 5}}, "embeddings_metadata must be a list of words, .*, got 5"),
    ({"clock": 3}, "clock must be a function"),
]


@pytest.mark.parametrize(("parameters", "message"), BAD)
def test_bad_parameters_are_refused(parameters: Mapping[str, Any], message: str) -> None:
    """The error names the parameter, the value and what was expected."""
    with pytest.raises(ParameterError, match=f"TensorBoard: {message}"):
        TensorBoard(**parameters)


def test_it_is_asked_for_by_name(tmp_path: Path) -> None:
    """A spec string can set every parameter that a string can hold."""
    board = Engine([f"tensorboard:log_dir={tmp_path},update_freq=3,histogram_freq=1,images=true"])["tensorboard"]
    assert (board.log_dir, board.update_freq, board.histogram_freq, board.images) == (tmp_path, 3, 1, True)
    assert Engine(["tensorboard:update_freq=batch"])["tensorboard"].update_freq == "batch"


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(LoadError, match=r"pip install 'hookcore\[tensorboard\]'"):
        TensorBoard()


def test_importing_the_plugins_imports_no_tensorboard() -> None:
    """TensorBoard and NumPy are imported when the first run begins."""
    script = "import sys, hookcore_plugins; sys.exit(sorted({'tensorboard', 'numpy'} & set(sys.modules)) or None)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_file_begins_as_tensorboard_expects(tmp_path: Path) -> None:
    """The first record has the version of the format and the name of the writer."""
    train([TensorBoard(tmp_path)], [math.pi])
    (path,) = (tmp_path / "train").glob("*tfevents*")
    first = next(iter(LegacyEventFileLoader(str(path)).Load()))
    assert first.file_version == "brain.Event:2"
    assert first.source_metadata.writer == "hookcore_plugins.tensorboard"


def test_checkpoints_keep_the_name_of_the_class(tmp_path: Path) -> None:
    """A checkpoint has the class under the name from before it moved, so that older checkpoints match it."""
    train([TensorBoard(tmp_path / "logs"), Checkpoint(tmp_path / "saved")], [1.0])
    (record,) = (tmp_path / "saved").glob("step-*/run.json")
    assert json.loads(record.read_text())["plugins"]["tensorboard"]["type"] == "hookcore_plugins.tensorboard.TensorBoard"


def test_the_work_of_decisions_grows_as_they_do(tmp_path: Path) -> None:
    """Each is looked at a few times, however many there are by then: a scheduler may change the rate at every step."""

    class Counted:
        epoch, plugin, kind, message = 0, "schedule", "learning_rate", "less"

        def __init__(self, step: int) -> None:
            self._step = step

        @property
        def step(self) -> int:
            looked.append(self._step)
            return self._step

    tables: dict[int, int] = {}
    board: Any = SimpleNamespace(decisions=lambda step, rows: tables.update({step: len(rows)}))
    plugin, looked, decisions = TensorBoard(tmp_path), list[int](), list[Counted]()
    run: Any = SimpleNamespace(progress=SimpleNamespace(step=0, epoch=0), decisions=decisions, outcome="completed")
    for number in range(300):
        run.progress.step = number // 2
        decisions.append(Counted(run.progress.step))
        plugin._write_decisions(board, run)
    plugin._write_decisions(board, run, ended=True)
    fresh = TensorBoard(tmp_path)
    fresh._write_decisions(board, run)
    assert len(looked) < 300 * 8
    assert tables == dict.fromkeys(range(150), 2)


def test_a_run_that_was_dropped_leaves_no_thread(tmp_path: Path) -> None:
    """Notebooks drop runs without their end. What was handed over is in the files."""
    loop = Loop([TensorBoard(tmp_path)], epochs=9, trainee=ScriptedTrainee()).__enter__()
    for _ in loop.epochs():
        loop.log(loss=1.0)
        if loop.run.progress.step == 2:
            break
    board = loop._driver.engine["tensorboard"]._board
    thread, reference = board._writer._thread, weakref.ref(board._writer)
    del board, loop
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    del thread
    gc.collect()
    assert reference() is None
    assert sum(len(list(records.ends(path.read_bytes()))) for path in event_files.named(tmp_path / "train")) > 2
