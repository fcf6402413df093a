"""In loops that evaluate by steps, one long epoch is observed, saved and logged like many short ones."""

from __future__ import annotations

import csv
import itertools
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from hookcore import HookcoreError, MetricError, MetricNames, Outcome, ParameterError, Run, hookimpl, store
from hookcore.testing import RecordingPlugin, ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, CSVLog, EarlyStopping, JSONLog, NaNGuard, ReduceLROnPlateau

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

SCORES = [1.0, 0.8, 0.9, 0.95, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]
"""The scores of ten evaluations: after the fourth, the second is the best."""


def train(
    plugins: Iterable[object],
    *,
    steps: int = 1000,
    every: int = 100,
    scores: Sequence[float] = SCORES,
    resume: Any = None,
    epochs: int = 1,
    prefix: str | None = None,
) -> Run:
    """Train `steps` batches in each epoch, and evaluate every `every` steps, with the next of `scores`."""
    trainee = ScriptedTrainee()
    with Loop(plugins, epochs=epochs, trainee=trainee, resume=resume) as loop:
        for _ in loop.epochs():
            for batch in loop.batches(range(steps)):
                trainee.weights = [trainee.weights[0] + trainee.learning_rate]
                loop.log(loss=float(batch))
                if loop.every(every):
                    with loop.evaluation(prefix):
                        loop.log(loss=scores[(loop.run.progress.step // every - 1) % len(scores)])
    return loop.run


def plugins_of(directory: Path) -> list[Any]:
    """Return plugins that a user would list."""
    return [
        EarlyStopping(patience=2),
        ReduceLROnPlateau(patience=1, factor=0.5),
        NaNGuard(),
        Checkpoint(directory / "checkpoints", keep_last=None),
        CSVLog(directory / "log.csv"),
    ]


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_epoch_stops_at_the_evaluation_at_which_the_patience_is_used_up(tmp_path: Path) -> None:
    """One epoch of 1,000 steps, an evaluation every 100, the best at step 200, patience 2: it stops at step 400."""
    run = train(plugins_of(tmp_path))
    assert (run.outcome, run.progress.step) == (Outcome.STOPPED, 400)
    vote = run.stop_reasons[0]
    assert vote.message == "val_loss has not improved for 2 observations: 0.95, best 0.8 at step 200"
    assert (vote.epoch, vote.step, vote.best, vote.best_epoch, vote.best_step) == (0, 400, 0.8, 0, 200)
    best = store.best(tmp_path / "checkpoints")
    assert (best.step, best.value) == (200, 0.8)
    assert [saved.step for saved in store.available(tmp_path / "checkpoints")] == [100, 200, 300, 400]
    assert run.history.steps == [100, 200, 300, 400]
    assert run.history.by_steps == [True] * 4
    assert run.history["val_loss"] == SCORES[:4]
    assert run.history["loss"] == [49.5, 149.5, 249.5, 349.5]  # the means since the previous observation
    assert run.history.learning_rates == [0.1, 0.1, 0.1, 0.05]  # each before it was reduced
    assert [(row["epoch"], row["step"], row["learning_rate"], row["val_loss"]) for row in rows(tmp_path / "log.csv")] == [
        ("0", "100", "0.1", "1.0"),
        ("0", "200", "0.1", "0.8"),
        ("0", "300", "0.1", "0.9"),
        ("0", "400", "0.05", "0.95"),
    ]


@pytest.mark.parametrize("best_only", [True, False])
def test_saves_and_evaluations_by_steps_that_meet_are_one_checkpoint_that_is_ranked(tmp_path: Path, *, best_only: bool) -> None:
    """With saves every 7 steps and evaluations every 30, the single checkpoint of step 210 has the evaluation's value."""

    def made(name: str) -> list[Any]:
        return [
            EarlyStopping(patience=4),
            Checkpoint(tmp_path / name, every_n_steps=7, keep_last=None, keep_best=None, save_best_only=best_only),
        ]

    scores = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.1, 0.9, 0.9, 0.9]
    whole = train(made("whole"), steps=300, every=30, scores=scores)
    best = store.best(tmp_path / "whole")
    assert (best.step, best.value) == (210, 0.1)
    assert best.record()["plugins"]["early_stopping"]["state"]["best"] == 0.1
    decided = [decision.message for decision in whole.decisions if decision.step == 210]
    assert decided[0] == "saving step-00000210: every 7 steps"
    saved = store.available(tmp_path / "whole")
    assert {7 * number for number in range(1, 43)} <= {one.step for one in saved}
    for one in saved[:: 1 if best_only else 9]:
        again = train(made(f"from-{one.step}"), steps=300, every=30, scores=scores, resume=one.path)
        assert again.history.state_dict() == whole.history.state_dict()
        assert again.decisions == whole.decisions
        assert again.stop_reasons == whole.stop_reasons


def test_an_epochs_end_that_shares_its_step_with_an_evaluation_keeps_its_value(tmp_path: Path) -> None:
    """If the last batch is observed, the checkpoint of the epoch's end replaces the batch's, and keeps its value."""
    recording = RecordingPlugin()
    train([recording, Checkpoint(tmp_path, keep_last=None)], steps=200, scores=[0.5, 0.25], epochs=2)
    assert [hook for hook in recording.hooks if hook in {"on_metrics", "on_epoch_end"}] == [
        "on_metrics",
        "on_metrics",
        "on_epoch_end",
    ] * 2
    saved = {one.step: one for one in store.available(tmp_path)}
    assert {step: one.value for step, one in saved.items()} == {100: 0.5, 200: 0.25, 300: 0.5, 400: 0.25}
    assert saved[200].record()["position"] == {"epoch": 1, "batch": 0, "begun": False}


def test_an_epochs_end_is_a_row_if_something_is_fresh_or_if_it_had_none() -> None:
    """An epoch's end is an observation if a metric is fresh, or if the epoch had no other observation."""
    run = train([], steps=250, epochs=2)
    assert run.history.steps == [100, 200, 250, 300, 400, 500]
    assert run.history.by_steps == [True, True, False, True, True, True]  # step 500 is also the end of an epoch
    assert run.history["loss"][2] == sum(range(200, 250)) / 50
    assert math.isnan(run.history["val_loss"][2])
    assert train([], steps=5).history.epochs == [0]
    with Loop(epochs=2) as loop:
        for _ in loop.epochs():
            pass
    assert loop.run.history.epochs == [0, 1]


def test_all_evaluations_of_one_batch_are_one_observation() -> None:
    """Two evaluations in one batch, and later logs of its body, are one observation at that step."""
    recording = RecordingPlugin()
    monitoring = [("far", EarlyStopping("far_loss", mode="min")), ("score", EarlyStopping("score", mode="max"))]
    with Loop([recording, *monitoring], epochs=1) as loop:
        for _ in loop.epochs():
            for _ in loop.batches(range(4)):
                loop.log(loss=1.0)
                if loop.every(2):
                    for prefix in ("near_", "far_"):
                        with loop.evaluation(prefix):
                            loop.log(loss=0.5)
                    loop.log(score=3.0)
    assert [event[1] for event in recording.events if event[0] == "on_metrics"] == [
        {"loss": 1.0, "near_loss": 0.5, "far_loss": 0.5, "score": 3.0}
    ] * 2
    assert loop.run.metric_names.validation[-2:] == ("near_", "far_")


def test_an_evaluation_ends_its_batch_first() -> None:
    """An evaluation ends its batch first, so the batch has what was logged before, and the epoch what is logged after."""
    recording = RecordingPlugin()
    with Loop([recording], epochs=1) as loop:
        for _ in loop.epochs():
            for _ in loop.batches([0]):
                loop.log(loss=1.0)
                with loop.evaluation():
                    loop.log(loss=2.0)
                loop.log(late=3.0)
                with pytest.raises(HookcoreError, match="within an open batch"):
                    next(loop.batches([0]))
    assert recording.events[2:] == [
        ("on_batch_begin", 0),
        ("on_batch_end", 0, {"loss": 1.0}),
        ("on_evaluate_begin",),
        ("on_evaluate_end", {"loss": 2.0}),
        ("on_metrics", {"loss": 1.0, "val_loss": 2.0, "late": 3.0}),
        ("on_epoch_end", 0, {"loss": 1.0, "val_loss": 2.0, "late": 3.0}),
        ("on_train_end", Outcome.COMPLETED),
    ]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_that_is_left_after_its_evaluation_is_observed(accumulate: int) -> None:
    """After a `break` behind an evaluation, its observation still comes, before the epoch's end."""
    recording = RecordingPlugin()
    with Loop([recording], epochs=1) as loop:
        for _ in loop.epochs():
            for batch in loop.batches(range(9), accumulate=accumulate):
                loop.log(loss=1.0)
                if batch == 2:
                    with loop.evaluation():
                        loop.log(loss=2.0)
                    break
    assert recording.hooks[-5:] == ["on_evaluate_begin", "on_evaluate_end", "on_metrics", "on_epoch_end", "on_train_end"]
    assert loop.run.progress.step == (3 if accumulate == 1 else 2)
    assert loop.run.history.steps == [loop.run.progress.step]


def test_every_counts_the_step_of_the_open_batch_once_also_after_its_evaluation() -> None:
    """`every(n)` is true exactly at each multiple of n steps over epochs, however often the body calls it."""
    asked: list[tuple[int, bool, bool]] = []
    with Loop(epochs=2) as loop:
        for _ in loop.epochs():
            for _ in loop.batches(range(5)):
                before = loop.every(3)
                if before:
                    with loop.evaluation():
                        pass
                asked.append((loop.run.progress.step, before, loop.every(3)))
    assert [is_due for _, is_due, _ in asked] == [step % 3 == 0 for step in range(1, 11)]
    assert [before for _, before, _ in asked] == [after for _, _, after in asked]


@pytest.mark.parametrize("resume", [True, False])
def test_under_accumulation_every_counts_updates_and_misses_none(tmp_path: Path, *, resume: bool) -> None:
    """With seven batches by threes, the step of the rest counts with the next one, also in a resumed run."""
    due: list[tuple[int, int]] = []

    def body(plugins: list[Any], start: Any = None, epochs: int = 3) -> None:
        with Loop(plugins, epochs=epochs, trainee=ScriptedTrainee(), resume=start) as loop:
            for _ in loop.epochs():
                batches = loop.batches(range(7), accumulate=3)
                due.extend((batch, loop.run.progress.step) for batch in batches if loop.every(3))

    body([Checkpoint(tmp_path)], epochs=1 if resume else 3)
    if resume:
        assert due == []
        body([Checkpoint(tmp_path)], "auto")
    assert due == [(2, 3), (2, 6)]  # these batches complete steps 4 and 7


@pytest.mark.parametrize("steps", [0, -1, True, 1.5, "100"])
def test_every_refuses_what_is_no_number_of_steps(steps: Any) -> None:
    """An invalid number of steps is an error that names it and what was expected."""
    with Loop(epochs=1) as loop:
        for _ in loop.epochs():
            for _ in loop.batches([0]):
                with pytest.raises(ParameterError, match=rf"a number of steps of at least 1, got {steps!r}"):
                    loop.every(steps)


def test_every_is_refused_outside_of_a_batch_of_training() -> None:
    """`every` before and after the batches and within an evaluation is an error."""
    with Loop(epochs=1) as loop:
        for _ in loop.epochs():
            with pytest.raises(HookcoreError, match="only within a batch of training"):
                loop.every(1)
            for _ in loop.batches([0]):
                with loop.evaluation(), pytest.raises(HookcoreError, match="only within a batch of training"):
                    loop.every(1)
            with pytest.raises(HookcoreError, match="only within a batch of training"):
                loop.every(1)


def test_a_validation_metric_is_missing_only_from_an_observation_that_has_another() -> None:
    """A misspelt validation metric is an error at the first evaluation, not at an earlier end of an epoch."""
    with pytest.raises(MetricError, match=r"no metric 'val_los' at step 100; .* loss, val_loss\. Did you mean 'val_loss'"):
        train([EarlyStopping("val_los", mode="min")])

    def late(**more: Any) -> Run:
        with Loop([EarlyStopping()], epochs=3, **more) as loop:
            for _ in loop.epochs():
                for _ in loop.batches(range(10)):
                    loop.log(loss=1.0)
                    if loop.every(15):
                        with loop.evaluation():
                            loop.log(loss=1.0)
        return loop.run

    assert late(validation_freq=None).history.steps == [10, 15, 20, 30]
    with pytest.raises(MetricError, match=r"no metric 'val_loss' at the end of epoch 1.*validation_freq"):
        late()


def test_a_loop_says_how_its_validation_metrics_are_called() -> None:
    """`mode="auto"` and NaNGuard support the loop's own prefix of validation metrics."""
    names = MetricNames(validation=("eval/",))
    with Loop([EarlyStopping("eval/accuracy"), NaNGuard()], epochs=3, metric_names=names, validation_freq=2) as loop:
        for epoch in loop.epochs():
            loop.log(loss=1.0)
            if epoch == 1:
                with loop.evaluation():
                    loop.log(accuracy=0.5, loss=math.nan)
    assert loop.run.history["eval/accuracy"][1] == 0.5
    assert [(vote.plugin, vote.metric) for vote in loop.run.stop_reasons] == [("nan_guard", "eval/loss")]


def test_what_is_observed_before_start_from_step_does_not_count() -> None:
    """With `start_from_step=300`, observation begins with the third evaluation."""
    run = train([EarlyStopping(patience=2, start_from_step=300)], scores=[0.1, 0.1, 0.5, 0.6, 0.7, 0.1])
    assert run.progress.step == 500
    assert run.stop_reasons[0].best_step == 300


def test_no_save_by_steps_is_made_without_saves_by_epochs(tmp_path: Path) -> None:
    """With `every_n_epochs=None`, neither evaluations nor ends of epochs are saved."""
    train([Checkpoint(tmp_path, every_n_epochs=None, every_n_steps=400, keep_last=None)])
    assert [saved.step for saved in store.available(tmp_path)] == [400, 800]


def test_evaluations_by_steps_are_saved_whatever_every_n_epochs_is(tmp_path: Path) -> None:
    """With `every_n_epochs=2`, each evaluation and each second end of an epoch is saved, with its reason."""
    run = train([Checkpoint(tmp_path, every_n_epochs=2)], steps=150, every=100, epochs=2)
    assert [decision.message for decision in run.decisions] == [
        "saving step-00000100: evaluation at step 100",
        "saving step-00000200: evaluation at step 200",
        "saving step-00000300: evaluation at step 300",
        "saving step-00000300: end of epoch 2",
    ]


def test_within_an_accumulation_the_value_ranks_no_other_weights(tmp_path: Path) -> None:
    """A save at an evaluation within an accumulation happens after the update, whose weights are not ranked by its value."""
    with Loop([Checkpoint(tmp_path, keep_last=None)], epochs=1, trainee=ScriptedTrainee()) as loop:
        for _ in loop.epochs():
            for batch in loop.batches(range(4), accumulate=2):
                if batch == 2:
                    with loop.evaluation():
                        loop.log(loss=0.5)
    assert [(saved.step, saved.value) for saved in store.available(tmp_path)] == [(2, None)]


def test_json_log_has_a_line_for_each_evaluation_with_what_was_decided_on_it(tmp_path: Path) -> None:
    """JSONLog has an `evaluation` line for each evaluation, an `epoch` line for each end, and decisions after them."""
    import json

    train([ReduceLROnPlateau(patience=1, factor=0.5), JSONLog(tmp_path / "log.jsonl")], steps=350)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["event"], line["step"]) for line in lines] == [
        ("evaluation", 100),
        ("evaluation", 200),
        ("evaluation", 300),
        ("learning_rate", 300),
        ("epoch", 350),
        ("train_end", 350),
    ]


@pytest.mark.parametrize(("at", "belongs"), [("on_batch_end", 2), ("on_evaluate_end", 2), ("on_metrics", 2), ("on_epoch_end", 3)])
def test_what_a_plugin_logs_belongs_to_its_observation_or_to_the_next(tmp_path: Path, at: str, belongs: int) -> None:
    """What a plugin logs in on_metrics or on_epoch_end belongs to that observation, and elsewhere to the next."""
    count = itertools.count(1)

    @hookimpl
    def log(run: Run) -> None:
        run.log(made=float(next(count)))

    recording = RecordingPlugin()
    logging = SimpleNamespace(name="logging", **{at: log})
    with Loop(
        [logging, recording, EarlyStopping("made", mode="max", missing="skip"), CSVLog(tmp_path / "log.csv")], epochs=1
    ) as loop:
        for _ in loop.epochs():
            for _ in loop.batches(range(3)):
                loop.log(loss=1.0)
                if loop.every(2):
                    with loop.evaluation():
                        loop.log(loss=1.0)
    assert loop.run.history.steps == [2, 3]
    first = loop.run.history.steps.index(belongs)
    assert not math.isnan(loop.run.history["made"][first])
    assert all(map(math.isnan, loop.run.history["made"][:first]))
    seen = [event[1] for event in recording.events if event[0] == "on_metrics"]
    assert seen[first]["made"] == loop.run.history["made"][first]
    assert rows(tmp_path / "log.csv")[first]["made"] == repr(loop.run.history["made"][first])
    if at == "on_epoch_end":
        assert recording.events[-3] == ("on_epoch_end", 0, {"loss": 1.0, "val_loss": 1.0, "made": 1.0})


def test_a_plugin_may_make_the_only_metric_of_an_epochs_end() -> None:
    """An epoch's end without fresh metrics is an observation if a plugin logs a metric."""

    @hookimpl
    def log(run: Run, metrics: Any) -> None:
        run.log(gap=metrics["val_loss"] - metrics["loss"])

    recording = RecordingPlugin()
    run = train([SimpleNamespace(name="gap", on_epoch_end=log), recording], steps=200, scores=[0.5])
    assert recording.events[-2] == ("on_metrics", {"gap": 0.5 - 99.5})
    assert run.history.steps == [100, 200, 200]
    assert run.history.by_steps == [True, True, False]


def test_a_save_under_accumulation_is_ranked_even_if_an_epoch_ends_with_a_rest(tmp_path: Path) -> None:
    """With accumulation, `every` is true in a batch that completes a step, so its checkpoint is ranked."""
    scores = iter([0.9, 0.1, 0.8, 0.7])
    plugins = [Checkpoint(tmp_path, save_best_only=True)]
    with Loop(plugins, epochs=4, trainee=ScriptedTrainee(), validation_freq=None) as loop:
        for _ in loop.epochs():
            for _ in loop.batches(range(6), accumulate=4):
                if loop.every(2):
                    with loop.evaluation():
                        loop.log(loss=next(scores))
    assert store.best(tmp_path).value == 0.1
    assert [message for decision in loop.run.decisions if "+" in (message := decision.message)] == []


def test_what_the_body_logs_before_its_batches_is_logged_once(tmp_path: Path) -> None:
    """What the body logs before its batches is logged once, although a resumed epoch runs the body again."""

    def run(directory: Path, resume: Any = None) -> Run:
        plugins = [Checkpoint(directory, every_n_steps=1, keep_last=None)]
        with Loop(plugins, epochs=2, trainee=ScriptedTrainee(), resume=resume) as loop:
            for epoch in loop.epochs():
                loop.log(before=float(epoch) if resume is None else -1.0)
                for _ in loop.batches(range(6)):
                    loop.log(loss=1.0)
                    if loop.every(3):
                        with loop.evaluation():
                            loop.log(loss=0.5)
        return loop.run

    whole = run(tmp_path / "whole")
    for saved in store.available(tmp_path / "whole"):
        if saved.epoch == 0 and saved.step < 6:
            again = run(tmp_path / str(saved.step), resume=saved.path)
            assert repr(again.history["before"][:2]) == repr(whole.history["before"][:2])
            assert again.history.steps == whole.history.steps


def test_a_metric_of_batches_is_not_logged_after_the_evaluation_that_ends_its_batch() -> None:
    """Logging a batch's metric after the evaluation, which would replace the mean, is an error with advice."""
    with Loop(epochs=1) as loop:
        for _ in loop.epochs():
            for batch in loop.batches(range(4)):
                if batch < 2:
                    loop.log(loss=1.0)
                    continue
                with loop.evaluation():
                    loop.log(loss=0.5)
                with pytest.raises(MetricError, match=r"'loss' is a mean over the batches, .* Log it before the evaluation"):
                    loop.log(loss=1.0)
    assert loop.run.history["loss"][0] == 1.0


def test_a_plugin_may_log_while_it_reads_the_metrics() -> None:
    """A plugin may log while it iterates over the metrics, and later plugins see the new value."""

    @hookimpl
    def smooth(run: Run, metrics: Any) -> None:
        for name, value in metrics.items():
            run.log({f"{name}_smooth": value / 2})

    recording = RecordingPlugin()
    train([SimpleNamespace(name="smooth", on_metrics=smooth), recording], steps=1, every=1, scores=[0.5])
    assert ("on_metrics", {"loss": 0.0, "val_loss": 0.5, "loss_smooth": 0.0, "val_loss_smooth": 0.25}) in recording.events


def test_what_is_logged_at_the_end_of_the_run_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A metric that is logged after the last observation gives a warning that names it, and the run completes."""

    @hookimpl
    def log(run: Run) -> None:
        run.log(saved=1.0)

    run = train([SimpleNamespace(name="late", on_train_end=log), Checkpoint(tmp_path)], steps=1)
    assert run.outcome is Outcome.COMPLETED
    assert "late: saved=1 was logged after the last observation, so it is not in the history" in caplog.messages


@pytest.mark.parametrize("first", [True, False])
def test_every_log_has_what_the_last_plugin_logs(tmp_path: Path, *, first: bool) -> None:
    """Loggers write after every other plugin, also one that asks to be called last, in any order of the list."""

    @hookimpl(trylast=True)
    def log(run: Run) -> None:
        run.log(late=1.0)

    late, logs = SimpleNamespace(name="late", on_metrics=log), [CSVLog(tmp_path / "log.csv"), JSONLog(tmp_path / "log.jsonl")]
    train([late, *logs] if first else [*logs, late], steps=1)
    assert rows(tmp_path / "log.csv")[0]["late"] == "1.0"
    assert '"late": 1.0' in (tmp_path / "log.jsonl").read_text()
