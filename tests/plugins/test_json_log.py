"""JSONLog in real runs that write real files."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hookcore import Engine, Metrics, ParameterError, Progress, Run, SavedCheckpoint, hookimpl, store
from hookcore.testing import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import Checkpoint, EarlyStopping, JSONLog, ReduceLROnPlateau
from tests.plugins.checkpoint import checkpointing

Epochs = Sequence[Mapping[str, Any]]


def train(plugins: Sequence[object], epochs: Epochs, *, rate: float | None = 0.1) -> Run:
    """Train two batches an epoch, and log each of `epochs` at its end."""
    trainee = None if rate is None else ScriptedTrainee(learning_rate=rate)
    with Loop(plugins, epochs=len(epochs), trainee=trainee) as loop:
        for epoch in loop.epochs():
            for _ in loop.batches(range(2)):
                pass
            loop.log(epochs[epoch])
    return loop.run


def resume(plugins: Sequence[object], epochs: Epochs, *, epoch: int, step: int) -> None:
    """Drive a run, as an adapter does, that continues after the checkpoint of `epoch` and `step`."""
    checkpoint = SavedCheckpoint(Path(f"step-{step:08d}"), epoch, step)
    run = Run.of(ScriptedTrainee(), resumed_from=checkpoint)
    run.progress = Progress(epoch=epoch, step=step)
    session = Engine(plugins).start(run)
    session.train_begin()
    for number, metrics in enumerate(epochs, epoch + 1):
        session.epoch_begin(number)
        for batch in range(2):
            session.batch_begin(batch)
            session.batch_end(batch, Metrics())
        session.epoch_end(number, Metrics(metrics))
    session.end()


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not in standard JSON")


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the object in each line, which must be standard JSON."""
    return [json.loads(line, parse_constant=refuse_constant) for line in path.read_text().split("\n")[:-1]]


def frozen_clock() -> float:
    return 1.5


def test_one_line_per_epoch_and_one_for_the_end(tmp_path: Path) -> None:
    """Each line has the time that the clock gave, the epoch and the step."""
    ticks = itertools.count(1000)
    log = JSONLog(tmp_path / "log.jsonl", clock=lambda: float(next(ticks)))
    train([log], [{"loss": 0.5, "acc": 0.25}, {"loss": 0.1}])
    first = {"event": "epoch", "time": 1000.0, "epoch": 0, "step": 2, "learning_rate": 0.1}
    second = {"event": "epoch", "time": 1001.0, "epoch": 1, "step": 4, "learning_rate": 0.1}
    assert lines(tmp_path / "log.jsonl") == [
        first | {"metrics": {"loss": 0.5, "acc": 0.25}},
        second | {"metrics": {"loss": 0.1}},
        {"event": "train_end", "time": 1002.0, "epoch": 1, "step": 4, "outcome": "completed"},
    ]


def test_the_learning_rate_is_left_out_if_there_is_none(tmp_path: Path) -> None:
    """A loop without a trainee has no learning rate to write."""
    train([JSONLog(tmp_path / "log.jsonl")], [{"loss": 0.5}], rate=None)
    assert "learning_rate" not in lines(tmp_path / "log.jsonl")[0]


@pytest.mark.parametrize("log_first", [True, False])
def test_every_decision_is_written_once_beside_its_epoch(tmp_path: Path, *, log_first: bool) -> None:
    """Stops, learning rates and checkpoints, wherever the log is listed; the epoch has the rate that it was trained with."""
    log = JSONLog(tmp_path / "log.jsonl")
    others: list[object] = [ReduceLROnPlateau("loss", patience=1, factor=0.5), EarlyStopping("loss", patience=2)]
    others.append(Checkpoint(tmp_path / "checkpoints"))
    run = train([log, *others] if log_first else [*others, log], [{"loss": 1.0}] * 5, rate=1.0)
    written = lines(tmp_path / "log.jsonl")
    decided = [line for line in written if line["event"] not in {"epoch", "train_end"}]
    assert [(line["event"], line["plugin"], line["message"], line["epoch"], line["step"]) for line in decided] == [
        (decision.kind, decision.plugin, decision.message, decision.epoch, decision.step) for decision in run.decisions
    ]
    assert [line["event"] for line in decided] == [
        "checkpoint",
        "learning_rate",
        "checkpoint",
        "learning_rate",
        "stop",
        "checkpoint",
    ]
    assert [line["learning_rate"] for line in written if line["event"] == "epoch"] == [1.0, 1.0, 0.5]
    assert [line["epoch"] for line in written] == sorted(line["epoch"] for line in written)
    assert written[-1]["outcome"] == "stopped"


def test_a_checkpoint_within_an_epoch_is_written_at_once(tmp_path: Path) -> None:
    """A checkpoint within an epoch is in the file before the epoch ends."""
    path = tmp_path / "log.jsonl"
    with Loop([JSONLog(path), Checkpoint(tmp_path / "c", every_n_steps=1)], epochs=1, trainee=ScriptedTrainee()) as loop:
        for _ in loop.epochs():
            for batch in loop.batches(range(3)):
                assert [line["event"] for line in lines(path)] == ["checkpoint"] * batch


def test_a_decision_of_the_last_hook_is_written(tmp_path: Path) -> None:
    """A decision in `on_train_end` is written before the line of the end."""

    class Late:
        @hookimpl
        def on_train_end(self, run: Run) -> None:
            run.set_learning_rate(0.5, "for the next run")

    train([JSONLog(tmp_path / "log.jsonl"), Late()], [{"loss": 1.0}])
    assert [line["event"] for line in lines(tmp_path / "log.jsonl")] == ["epoch", "learning_rate", "train_end"]


def test_the_end_of_a_failed_run_has_its_outcome(tmp_path: Path) -> None:
    """The file has the epochs before the exception, and the outcome."""

    def fail() -> None:
        with Loop([JSONLog(tmp_path / "log.jsonl")], epochs=2) as loop:
            for epoch in loop.epochs():
                loop.log(loss=1 / (1 - epoch))

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [(line["event"], line.get("outcome")) for line in lines(tmp_path / "log.jsonl")] == [
        ("epoch", None),
        ("train_end", "failed"),
    ]


# A metric has a name in one line: others are refused before any log sees them.
@given(values=st.dictionaries(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=4), st.floats()))
def test_every_line_is_standard_json_and_exact(tmp_path_factory: pytest.TempPathFactory, values: dict[str, float]) -> None:
    """A number that JSON lacks becomes a string that `float` reads, and every name is kept."""
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    train([JSONLog(path)], [values])
    read = lines(path)[0]["metrics"]
    assert read.keys() == values.keys()
    for name, value in values.items():
        assert isinstance(read[name], float if math.isfinite(value) else str)
        assert read[name] == "NaN" if math.isnan(value) else float(read[name]) == value


def test_non_finite_floats_are_written_as_protobuf_writes_them(tmp_path: Path) -> None:
    """NaN and the infinities become the three strings of protobuf's JSON mapping."""
    train([JSONLog(tmp_path / "log.jsonl")], [{"a": math.nan, "b": math.inf, "c": -math.inf}])
    assert lines(tmp_path / "log.jsonl")[0]["metrics"] == {"a": "NaN", "b": "Infinity", "c": "-Infinity"}


def test_an_earlier_file_is_moved_aside(tmp_path: Path) -> None:
    """One plugin serves two runs, each with its own file and decisions."""
    log, stop = JSONLog(tmp_path / "log.jsonl"), EarlyStopping("loss", patience=1)
    for _ in range(2):
        train([log, stop], [{"loss": 1.0}] * 3)
    for name in ("log.1.jsonl", "log.jsonl"):
        assert [line["event"] for line in lines(tmp_path / name)] == ["epoch", "epoch", "stop", "train_end"]


def test_append_continues_after_whole_lines(tmp_path: Path) -> None:
    """A torn last line is dropped."""
    path = tmp_path / "log.jsonl"
    train([JSONLog(path)], [{"loss": 1.0}])
    with path.open("a") as file:
        file.write('{"event": "ep')
    train([JSONLog(path, append=True)], [{"loss": 2.0}])
    assert [line["event"] for line in lines(path)] == ["epoch", "train_end", "epoch", "train_end"]


@pytest.mark.parametrize("content", ['{"a": 1}', '{\n  "a": 1\n}\n', "[1]\n", "\0\0\0\n"])
def test_append_moves_another_programs_file_aside(tmp_path: Path, content: str) -> None:
    """A file that does not consist of JSON objects is moved aside, and not lost."""
    path = tmp_path / "some.json"
    path.write_text(content)
    train([JSONLog(path, append=True)], [{"loss": 9.0}])
    assert [line["event"] for line in lines(path)] == ["epoch", "train_end"]
    assert (tmp_path / "some.1.json").read_text() == content


@given(data=st.data())
def test_a_resumed_log_is_the_log_of_a_run_that_never_stopped(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Wherever a run is cut, lines past the checkpoint and an earlier end are dropped: the file is the same, byte for byte."""
    here = tmp_path_factory.mktemp("log")
    epochs = data.draw(st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(), max_size=3), min_size=2, max_size=6))
    saved = data.draw(st.integers(0, len(epochs) - 2))
    crashed = data.draw(st.integers(saved, len(epochs) - 1))
    train([JSONLog(here / "whole", clock=frozen_clock)], epochs)
    train([JSONLog(here / "cut", clock=frozen_clock)], epochs[: crashed + 1])
    with (here / "cut").open("a") as file:
        file.write(data.draw(st.sampled_from(["", '{"event": "epoch"', '{"event": "epoch", "step": 999}'])))
    resume([JSONLog(here / "cut", clock=frozen_clock)], epochs[saved + 1 :], epoch=saved, step=2 * (saved + 1))
    assert (here / "cut").read_bytes() == (here / "whole").read_bytes()


@settings(max_examples=settings().max_examples * 2 // 5)  # each is three runs with files
@given(
    values=st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=1, max_size=4),
    cut=st.tuples(st.integers(0, 3), st.integers(0, 2)),
    every_n_steps=st.sampled_from([None, 1, 2, 3]),
    place=st.integers(0, 3),
    append=st.booleans(),
    asynchronous=st.booleans(),
)
def test_with_checkpoints_a_resumed_log_is_the_log_of_a_run_that_never_stopped(
    values: list[float], cut: tuple[int, int], every_n_steps: int | None, place: int, *, append: bool, asynchronous: bool
) -> None:
    """After a crash anywhere the file is the same, wherever the log is listed and however late a checkpoint is durable."""
    with tempfile.TemporaryDirectory() as directory:

        def run(name: str, fail: tuple[int, int, BaseException] | None = None) -> None:
            log = JSONLog(here / f"{name}.jsonl", append=append, clock=frozen_clock)
            plugins: list[object] = [ReduceLROnPlateau(patience=1, factor=0.5), EarlyStopping(patience=2)]
            plugins.append(Checkpoint(here / name, every_n_steps=every_n_steps, asynchronous=asynchronous))
            plugins.insert(place, log)
            checkpointing.train(plugins, values, batches=3, fail=fail, resume="auto")

        here = Path(directory)
        for name in ("whole", "parts"):
            (here / f"{name}.jsonl").write_text('{"event": "epoch", "step": 99}\n' if append else "")
        run("whole")
        with contextlib.suppress(RuntimeError):
            run("parts", (*cut, RuntimeError("crash")))
        assume(store.named(here / "parts") or not append)  # else it is another run, after the one that crashed
        run("parts")
        assert (here / "parts.jsonl").read_text() == (here / "whole.jsonl").read_text()


def test_a_log_that_the_earlier_run_did_not_have_begins_where_the_run_continues(tmp_path: Path) -> None:
    """A log that the earlier run lacked does not repeat the decisions of that run."""
    checkpointing.train([Checkpoint(tmp_path / "c")], [2.0])
    checkpointing.train([Checkpoint(tmp_path / "c"), JSONLog(tmp_path / "log.jsonl")], [2.0, 1.0], resume="auto")
    assert [(line["event"], line["step"]) for line in lines(tmp_path / "log.jsonl")] == [
        ("epoch", 2),
        ("checkpoint", 2),
        ("train_end", 2),
    ]


def test_resuming_leaves_the_lines_of_a_run_before_alone(tmp_path: Path) -> None:
    """If a file has several runs, only the last one is cut, though the first has more steps."""
    path = tmp_path / "log.jsonl"
    train([JSONLog(path)], [{"loss": 1.0}] * 5)
    train([JSONLog(path, append=True)], [{"loss": 2.0}] * 3)
    resume([JSONLog(path)], [{"loss": 3.0}], epoch=0, step=2)
    written = lines(path)
    assert [line["step"] for line in written if line["event"] == "epoch"] == [2, 4, 6, 8, 10, 2, 4]
    assert [line["event"] for line in written].count("train_end") == 2


def test_bad_parameters_are_refused(tmp_path: Path) -> None:
    """The error names the parameter, the value and what was expected."""
    with pytest.raises(ParameterError, match="JSONLog: path must be the path of a file, not of a directory"):
        JSONLog(tmp_path)
    bad: list[tuple[str, Any]] = [("path", 5), ("append", "yes"), ("clock", 3)]
    for name, value in bad:
        with pytest.raises(ParameterError, match=f"{name} must be .*, got {value!r}"):
            JSONLog(**{"path": tmp_path / "log.jsonl", name: value})


def test_it_is_asked_for_by_name(tmp_path: Path) -> None:
    """A spec string gives every parameter but the clock."""
    log = Engine([f"json_log:path={tmp_path}/log.jsonl,append=true"])["json_log"]
    assert (log.path, log.append) == (tmp_path / "log.jsonl", True)
