"""The scalars of TensorBoard in real runs, read with TensorBoard's own reader, value for value."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings

from hookcore import Engine, MetricNames, Run, hookimpl
from hookcore.testing import RecordingPlugin, ScriptedTrainee, event_sequences, play
from hookcore_adapters.loop import Loop
from hookcore_plugins import ReduceLROnPlateau, TensorBoard
from tests.plugins.tensorboard.event_files import (
    Logged,
    read,
    scalars,
    single,
    train,
    train_by_steps,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hookcore.testing import Event as Happening


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
    """A mapping that changes with the next batch is written with the values from its own batch."""
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
    """Every run has all its values in its own files, also if an exception ended it; earlier files are moved aside."""
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
