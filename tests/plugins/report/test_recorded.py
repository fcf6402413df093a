"""Recorded runs: how each log is read, which logs belong to one run, and which content is refused."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookcore import ParameterError
from hookcore.testing import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import CSVLog, EarlyStopping, JSONLog, Report, TensorBoard
from hookcore_plugins.report.compare import Comparison
from hookcore_plugins.report.recorded import Observation, RecordedError, RecordedRun, read_run, read_runs, run_of
from hookcore_plugins.report.recorded import text as reading

if TYPE_CHECKING:
    from pathlib import Path

LOSSES = [1.0, 0.5, math.nan, 0.25, 0.75]


def record(directory: Path, losses: list[float], *plugins: object, every: int | None = None, first: int = 0) -> None:
    """Record a run with everything that records."""
    logs = [CSVLog(directory / "log.csv"), JSONLog(directory / "log.jsonl"), Report(directory, summary=False)]
    trainee = ScriptedTrainee(learning_rate=0.125)
    with Loop([*logs, *plugins], epochs=first + len(losses), initial_epoch=first, trainee=trainee) as loop:
        for epoch in loop.epochs():
            for _ in loop.batches(range(4)):
                loop.log(loss=float(epoch))
                if every is not None and loop.every(every):
                    with loop.evaluation():
                        loop.log(loss=losses[epoch - first] + 1)
            with loop.evaluation():
                loop.log(loss=losses[epoch - first])


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def rows(run: RecordedRun) -> list[tuple[Any, ...]]:
    """Return what can be compared of each observation."""
    return [(one.epoch, one.step, one.by_steps, dict(one.metrics), one.learning_rate) for one in run.observations()]


@pytest.mark.parametrize("every", [None, 2])
def test_all_of_our_logs_tell_the_same(tmp_path: Path, every: int | None) -> None:
    """All our logs give the same metrics, epochs, steps and rates of each observation, also by steps."""
    record(tmp_path, [1.0, 0.5, 0.75, 0.25], TensorBoard(tmp_path / "board"), every=every)
    ours = [rows(read_run(tmp_path / name)) for name in ("run.json", "log.jsonl", "log.csv")]
    assert ours[0] == ours[1] == ours[2]
    assert len(ours[0]) == (4 if every is None else 12)
    board = rows(read_run(tmp_path / "board"))
    kept = ["loss", "val_loss"] if every is None else ["val_loss"]
    for one, other in zip(board, ours[0], strict=True):
        assert (one[0], one[2], one[4]) == (other[0], other[2], other[4])
        assert [one[3].get(name) for name in kept] == [other[3].get(name) for name in kept]


def test_a_run_with_several_logs_counts_once(tmp_path: Path) -> None:
    """Of several logs of one run the one with most information is read. Other runs, and logs of the same kind, are separate."""
    record(tmp_path / "first", LOSSES, EarlyStopping(patience=2), TensorBoard(tmp_path / "first" / "board"))
    record(tmp_path / "second", LOSSES)
    write(tmp_path / "third.csv", (tmp_path / "second" / "log.csv").read_text())
    write(tmp_path / "fourth.csv", "epoch,val_loss\n0,5.0\n")
    write(tmp_path / "fifth.csv", "epoch,val_loss\n0,5.0\n")
    found = read_runs([tmp_path, tmp_path / "first", tmp_path / "fourth.csv"])
    assert {run.name: (run.format, len(run.also)) for run in found} == {
        str(tmp_path / "first"): ("run.json", 3),
        str(tmp_path / "second"): ("run.json", 2),
        str(tmp_path / "third.csv"): ("CSVLog", 0),  # it tells the same, and lies elsewhere
        str(tmp_path / "fourth.csv"): ("Keras CSVLogger", 0),
        str(tmp_path / "fifth.csv"): ("Keras CSVLogger", 0),
    }
    assert next(run for run in found if "first" in run.name).parameters["early_stopping"]["patience"] == 2


def test_what_is_known_of_a_run_is_read_too(tmp_path: Path) -> None:
    """A recorded run has the outcome, reasons, parameters, the epochs to train, durations, and the best observation."""
    record(tmp_path, [3.0, 1.0, 2.0, 2.5, 4.0], EarlyStopping(patience=2))
    run = read_run(tmp_path)
    assert (run.outcome, run.epochs, run.monitor) == ("stopped", 5, "val_loss")
    assert run.why == ("early_stopping, in epoch 4: val_loss has not improved for 2 observations: 2.5, best 1 at epoch 2",)
    assert run.duration is not None
    assert run.seconds == sorted(seconds for seconds in run.seconds if seconds is not None)
    best = run.best("val_loss")
    assert best is not None
    assert (best.value, best.epoch) == (1.0, 1)
    with pytest.raises(RecordedError, match=r"has no metric 'vall_loss'; there are: loss, val_loss. Did you mean 'val_loss'\?"):
        run.best("vall_loss")
    lines = read_run(tmp_path / "log.jsonl")
    assert (lines.outcome, lines.why[0].split(":")[0], len(lines.decisions)) == ("stopped", "early_stopping", 1)


def test_nan_is_a_value_and_an_empty_cell_is_none(tmp_path: Path) -> None:
    """In each log NaN is a value and an empty cell is not, so that patience counts the one and not the other."""
    expected = [{"loss": 0.5, "val_loss": math.nan}, {"loss": 0.25}, {"loss": math.nan, "val_loss": math.inf}]
    logs = {
        "a.csv": "epoch,loss,val_loss\n0,0.5,nan\n1,0.25,\n2,NaN,inf\n",
        "keras.csv": "epoch,loss,val_loss\n0,0.5,nan\n1,0.25,NA\n2,nan,inf\n",
        "semicolon.csv": '"epoch";"loss";"val_loss"\r\n0;0.5;nan\r\n1;0.25;\r\n2;nan;inf\r\n',
        "history.json": '{"loss": [0.5, 0.25, NaN], "val_loss": [NaN, null, Infinity]}',
        "a.jsonl": "".join(
            json.dumps(
                {"event": "epoch", "epoch": i, "step": i, "metrics": {name: spelled(value) for name, value in row.items()}}
            )
            + "\n"
            for i, row in enumerate(expected)
        ),
    }
    for name, content in logs.items():
        run = read_run(write(tmp_path / name, content))
        assert repr([dict(one.metrics) for one in run.observations()]) == repr(expected), name


def spelled(value: float) -> float | str:
    return value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity"


LIGHTNING = """epoch,lr-SGD,step,train_loss_epoch,train_loss_step,val_loss
,0.1,0,,,
0,,1,,1.0,
0,,3,,0.9,
0,,3,,,0.75
0,,3,0.95,,
,0.05,4,,,
1,,5,,0.8,
1,,7,,0.7,
1,,7,,,0.5
1,,7,0.75,,
"""


def test_lightnings_rows_of_a_moment_are_one_observation(tmp_path: Path) -> None:
    """Lightning counts steps from zero, has separate rows for rates, and training between evaluations belongs to the next."""
    run = read_run(write(tmp_path / "metrics.csv", LIGHTNING))
    assert run.format == "Lightning CSVLogger"
    assert rows(run) == [
        (0, 4, False, {"train_loss_step": 0.9, "val_loss": 0.75, "train_loss_epoch": 0.95}, 0.1),
        (1, 8, False, {"train_loss_step": 0.7, "val_loss": 0.5, "train_loss_epoch": 0.75}, 0.05),
    ]
    assert run.direction("train_loss_epoch") is None
    assert run.direction("val_loss") == "min"


def trainer_state(steps: int) -> dict[str, Any]:
    """Return what Transformers writes after N steps, if four are an epoch and every second is evaluated."""
    log: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        log.append({"epoch": step / 4, "step": step, "loss": 1 / step, "grad_norm": 1.0, "learning_rate": 0.5})
        if step % 2 == 0:
            log.append({"epoch": step / 4, "step": step, "eval_loss": 2 / step, "eval_runtime": 0.1})
    return {"best_metric": None, "epoch": steps / 4, "log_history": log, "num_train_epochs": 2, "max_steps": 8}


def test_transformers_states_of_one_run_count_once(tmp_path: Path) -> None:
    """Of the states in the checkpoints the longest is read. An evaluation has the metrics of training since the one before."""
    for steps in (4, 8):
        (tmp_path / f"checkpoint-{steps}").mkdir()
        write(tmp_path / f"checkpoint-{steps}" / "trainer_state.json", trainer_state(steps))
    (run,) = read_runs([tmp_path])
    assert run.path.parent.name == "checkpoint-8"
    assert [row[:3] for row in rows(run)] == [(0, 2, True), (0, 4, False), (1, 6, True), (1, 8, False)]
    assert rows(run)[1][3:] == ({"loss": 0.25, "grad_norm": 1.0, "eval_loss": 0.5}, 0.5)
    assert (run.epochs, run.direction("eval_loss")) == (2, "min")


def test_a_log_beside_the_checkpoints_that_hold_transformers_states_is_of_the_same_run(tmp_path: Path) -> None:
    """A log is of the run whose checkpoints in its directory, or one below, hold Transformers' states: those are read."""
    for saved in ("checkpoint-8", "checkpoints/step-00000008"):
        run = tmp_path / saved.replace("/", "-")
        (run / saved).mkdir(parents=True)
        write(run / saved / "trainer_state.json", trainer_state(8))
        write(run / "metrics.csv", f"epoch,step,eval_loss\n0,2,1.0\n0,4,0.5\n1,6,{1 / 3}\n1,8,0.25\n")
        (found,) = read_runs([run])
        assert (found.path.name, [path.name for path in found.also]) == ("trainer_state.json", ["metrics.csv"])


def test_the_result_of_boosters_is_read(tmp_path: Path) -> None:
    """In the results of boosters a round is an epoch, and metrics are named for their data, as in the adapters."""
    run = read_run(write(tmp_path / "e.json", {"train": {"rmse": [2, 1]}, "valid": {"rmse": [3.0, 2.5]}}))
    assert rows(run) == [
        (0, 1, False, {"train-rmse": 2.0, "valid-rmse": 3.0}, None),
        (1, 2, False, {"train-rmse": 1.0, "valid-rmse": 2.5}, None),
    ]
    assert (run.metric_names.validation, run.direction("valid-rmse")) == (("valid-",), "min")


def test_a_history_is_read_as_pandas_and_keras_write_it(tmp_path: Path) -> None:
    """A history is read as columns, with the numbers of the epochs beside them, or as a table of pandas."""
    plain = {"loss": [2.0, 1.0], "learning_rate": [0.5, 0.25]}
    table = {name: {str(i): value for i, value in enumerate(values)} for name, values in plain.items()}
    for content in (plain, {"epoch": [0, 1], "history": plain}, table):
        run = read_run(write(tmp_path / "h.json", content))
        assert rows(run) == [(0, None, False, {"loss": 2.0}, 0.5), (1, None, False, {"loss": 1.0}, 0.25)]


def test_mlflows_store_is_read_without_mlflow(tmp_path: Path) -> None:
    """Each run that was not deleted is read; its epochs are a metric `epoch`, else steps from 0 on; parameters are the config."""
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as store:
        store.executescript(
            """
            CREATE TABLE experiments (experiment_id INTEGER, name TEXT);
            CREATE TABLE runs (run_uuid TEXT, name TEXT, status TEXT, start_time BIGINT, end_time BIGINT, lifecycle_stage TEXT,
                               experiment_id INTEGER);
            CREATE TABLE metrics (key TEXT, value FLOAT, timestamp BIGINT, run_uuid TEXT, step BIGINT, is_nan BOOLEAN);
            CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT);
            INSERT INTO runs VALUES ('a', 'swift-owl', 'FINISHED', 1700000000000, 1700000009000, 'active', 0);
            INSERT INTO runs VALUES ('b', 'sly-fox', 'FAILED', 1700000001000, NULL, 'active', 0);
            INSERT INTO runs VALUES ('c', 'gone', 'FINISHED', 0, 0, 'deleted', 0);
            INSERT INTO runs VALUES ('d', 'empty', 'RUNNING', 1700000002000, NULL, 'active', 0);
            INSERT INTO params VALUES ('lr', '0.1', 'a'), ('width', '32', 'a'), ('name', '1_0', 'a'), ('bias', 'True', 'a');
            """
        )
        values = [
            *(("loss", 1.0 - step / 4, 1700000001000 + step, "a", step, 0) for step in range(3)),
            ("val_loss", 0.0, 1700000001000, "a", 0, 1),
            ("system/cpu", 1.0, 1700000001000, "a", 0, 0),
            *(("val_loss", value, 1700000002000 + step, "b", step, 0) for step, value in [(9, 2.0), (19, sys.float_info.max)]),
            *(("epoch", step // 10, 1700000002000 + step, "b", step, 0) for step in (9, 19)),
            ("loss", 1.0, 0, "c", 0, 0),
        ]
        store.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", values)
        store.commit()
    first, second = read_runs([tmp_path])
    assert (first.name, first.outcome, first.duration) == (f"{path}#swift-owl", "completed", 9.0)
    assert first.config == {"lr": 0.1, "width": 32, "name": "1_0", "bias": True}
    assert repr(rows(first)[0]) == repr((0, 1, False, {"loss": 1.0, "val_loss": math.nan}, None))
    assert [row[0] for row in rows(first)] == [0, 1, 2]
    assert rows(second) == [(0, 10, False, {"val_loss": 2.0}, None), (1, 20, False, {"val_loss": math.inf}, None)]
    with pytest.raises(RecordedError, match=r"2 runs are recorded there, and one was expected: .*#swift-owl, .*#sly-fox\."):
        read_run(path)


def test_runs_of_one_name_in_mlflows_store_are_all_read(tmp_path: Path) -> None:
    """Runs of one name have the experiment in their names, and the beginning of the id if that is equal too; `#` chooses one."""
    path = tmp_path / "mlflow.db"
    runs = {"a0": ("base", 0), "b123456789": ("base", 1), "c123456789": ("base", 1), "d0": ("other", 0), "e0": ("base:A", 1)}
    with closing(sqlite3.connect(path)) as store:
        store.executescript(
            """
            CREATE TABLE experiments (experiment_id INTEGER, name TEXT);
            CREATE TABLE runs (run_uuid TEXT, name TEXT, status TEXT, start_time BIGINT, end_time BIGINT, lifecycle_stage TEXT,
                               experiment_id INTEGER);
            CREATE TABLE metrics (key TEXT, value FLOAT, timestamp BIGINT, run_uuid TEXT, step BIGINT, is_nan BOOLEAN);
            CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT);
            INSERT INTO experiments VALUES (0, 'A'), (1, 'B');
            """
        )
        for number, (identity, (name, experiment)) in enumerate(runs.items()):
            row = (identity, name, "FINISHED", number, number, "active", experiment)
            store.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            store.execute("INSERT INTO metrics VALUES ('val_loss', 1.0, 0, ?, 0, 0)", (identity,))
        store.commit()
    labels = ["a0", "base:B:b1234567", "base:B:c1234567", "other", "e0"]
    assert [run.name for run in read_runs([tmp_path])] == [f"{path}#{label}" for label in labels]
    assert [run.label for run in read_runs([f"{path}#other", f"{path}#a0"])] == ["other", "a0"]
    assert [run.label for run in read_runs([f"{path}#base"])] == labels[1:3]
    rows = Comparison.read([f"{path}#other", write(tmp_path / "log.csv", "epoch,val_loss\n0,2\n")]).as_dict()["runs"]
    assert [row["path"] for row in rows] == [f"{path}#other", str(tmp_path / "log.csv")]
    with pytest.raises(RecordedError, match=r"it has no run 'othr'; there are: a0, .*, other, e0. Did you mean 'other'"):
        read_run(f"{path}#othr")
    with pytest.raises(RecordedError, match=rf"it is a URL. Give the path of the database file: {path}"):
        read_runs([f"sqlite:///{path}"])


def test_logs_above_and_below_each_other_are_of_one_run(tmp_path: Path) -> None:
    """A log above the run.json of its run counts as that run's, unless several runs below agree with it."""
    for log, report in [("log.csv", "report"), ("runs/first.csv", "runs/first")]:
        root = tmp_path / report.replace("/", "-")
        record(root / report, LOSSES)
        (root / report / "log.csv").rename(root / log)
        (run,) = read_runs([root])
        assert (run.format, {path.name for path in run.also}) == ("run.json", {"log.jsonl", log.rpartition("/")[2]})
    record(root / "runs" / "second", LOSSES)
    (root / "runs" / "second" / "log.csv").unlink()
    assert len(read_runs([root])) == 3


@pytest.mark.parametrize(("ends", "expected"), [(False, 1), (True, 2)])
def test_a_report_that_lacks_the_last_rows_of_a_killed_run(tmp_path: Path, ends: bool, expected: int) -> None:  # noqa: FBT001
    """A log that has more rows is of the same run if the run.json beside it did not record the run's end."""
    record(tmp_path, LOSSES)
    (tmp_path / "log.jsonl").unlink()
    report = json.loads((tmp_path / "run.json").read_text())
    write(tmp_path / "run.json", {**report, "outcome": report["outcome"] if ends else "running"})
    lines = (tmp_path / "log.csv").read_text().splitlines()
    write(tmp_path / "log.csv", "\n".join([*lines, lines[-1].replace("4,", "5,", 1), ""]))
    assert len(read_runs([tmp_path])) == expected


def test_a_file_with_several_runs_of_jsonlog_has_each(tmp_path: Path) -> None:
    """Epochs after the end of a run in a file of JSONLog are another run."""
    path = tmp_path / "log.jsonl"
    for losses in ([1.0, 2.0], [3.0]):
        with Loop([JSONLog(path, append=True)], epochs=len(losses)) as loop:
            for epoch in loop.epochs():
                loop.log(loss=losses[epoch])
    assert [(run.name, run.history["loss"]) for run in read_runs([path])] == [
        (str(path), [1.0, 2.0]),
        (f"{path}#2", [3.0]),
    ]


HEADER = "epoch,step,loss\n"
ROWS = '{"event": "epoch", "epoch": 0, "step": 1, "metrics": {"loss": 1.0}}\n'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ragged.csv", f"{HEADER}0,1,0.5\n1,2\n", "line 3: it has 2 cells, and the header has 3 columns"),
        ("long.csv", f"{HEADER}0,1,0.5,7\n", "line 2: it has 4 cells, and the header has 3 columns"),
        ("text.csv", f"{HEADER}0,1,fast\n", "line 2: column 'loss' must have numbers, got 'fast'"),
        ("under.csv", f"{HEADER}0,1,1_000\n", "line 2: column 'loss' must have numbers, got '1_000'"),
        ("twice.csv", "epoch,loss,loss\n0,1,1\n", "line 1: column 'loss' comes twice"),
        ("half.csv", f"{HEADER}0.5,1,1\n", "line 2: 'epoch' must be a whole number of at least 0, got 0.5"),
        ("below.csv", f"{HEADER}-1,1,1\n", "line 2: 'epoch' must be a whole number of at least 0, got -1.0"),
        ("huge.csv", f"{HEADER}1e12,1,1\n", "line 2: its epoch must be a number up to 10000000, got 1000000000000"),
        ("gap.csv", f"{HEADER}0,1,1\n9000000,2,1\n", "line 3: epoch 9000000 after 0: 8999999 epochs are missing"),
        ("again.csv", "epoch,loss\n0,1\n1,1\n1,2\n", "line 4: epoch 1 comes twice, and no step tells the two apart"),
        ("back.csv", "epoch,loss\n0,1\n1,1\n0,2\n", "line 4: epoch 0 after 1. The log goes back, so it holds more than one run"),
        ("steps.csv", f"{HEADER}0,5,1\n1,4,1\n", "line 3: step 4 after 5"),
        ("empty.csv", HEADER, "there is no metric in it"),
        ("quote.csv", f'{HEADER}0,1,"0.5\n', "line 2: it is not CSV"),
        ("name.csv", 'epoch,"lo\tss"\n0,1\n', "the name of a metric must be text in one line"),
        ("nothing", "", "it is not a log of a run that can be read"),
        ("prose.csv", "Once upon a time\nthere was a run\n", "it is not a log of a run that can be read"),
        ("sentence.csv", "Once, upon a time\nthere were, 2 runs\n", "it is not a log of a run that can be read"),
        (
            "none.csv",
            "loss;val_loss\n0.5;0.6\n",
            "a CSV needs a column 'epoch' or 'step', and its columns are 'loss', 'val_loss'. docs/replay.md lists the logs",
        ),
        (
            "case.csv",
            '"Epoch","loss"\n0,0.5\n',
            "its columns are 'Epoch', 'loss'. Rename 'Epoch' to 'epoch'. docs/replay.md lists the logs that are read",
        ),
        ("lines.jsonl", f"{ROWS}not JSON\n{ROWS}", "line 2: it is not an object of JSON"),
        ("number.jsonl", ROWS.replace("1.0", '"fast"'), "line 1: 'loss' must be a number, got 'fast'"),
        ("event.jsonl", f'{ROWS}{{"event": "party", "epoch": 0, "step": 1}}\n', "line 2: an event of JSONLog was expected"),
        ("list.jsonl", f"{ROWS}[1]\n", "line 2: it must be an object"),
        ("cut.json", '{"loss": [1, 2', "it is not whole JSON; the writer may have been cut"),
        ("deep.json", '{"a": ' + "[" * 100_000, "it is not whole JSON"),
        ("lengths.json", {"loss": [1, 2], "val_loss": [1]}, "'val_loss' has 1 value and others have 2"),
        ("keys.json", '{"loss": [1], "loss": [2]}', "'loss' comes twice in an object"),
        ("bool.json", {"loss": [True]}, "'loss' must be a number, got True"),
        ("big.json", {"loss": [10**400]}, "'loss' is too large for a float"),
        ("evals.json", {"train": {"rmse": [1, 2]}, "valid": {"rmse": [1]}}, "its lists have 1 and 2 values"),
        ("state.json", {"log_history": [{"epoch": 1.0, "loss": 1.0}]}, "entry 0 of log_history: 'step' must be a number"),
        ("report.json", {"report": 2, "history": {}}, "is not a report of a run"),
        ("other.json", {"version": 1, "history": []}, "it is not a log of a run that can be read"),
    ],
)
def test_what_is_no_log_of_a_run_is_refused(tmp_path: Path, name: str, content: object, message: str) -> None:
    """The error names the file and, if it has lines, the line."""
    path = write(tmp_path / name, content)
    with pytest.raises(RecordedError) as raised:
        read_run(path)
    assert message in str(raised.value)
    assert str(path) in str(raised.value)


def test_other_things_than_logs_are_refused_too(tmp_path: Path) -> None:
    """A missing path, a folder without logs, a pipe, bytes that are not text, and another database are refused."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes.csv").write_bytes(b"epoch,loss\n0,\xff\n")
    with closing(sqlite3.connect(tmp_path / "other.db")) as store:
        store.execute("CREATE TABLE t (x)")
    (tmp_path / "torn.db").write_bytes((tmp_path / "other.db").read_bytes()[:2000])
    (tmp_path / "folder").mkdir()
    for name, message in {
        "missing": "it cannot be read: No such file",
        "folder": "there is no log of a run",
        "pipe": "it is not a plain file",
        "bytes.csv": "line 2: it is not text in UTF-8",
        "other.db": "it is not a log of a run that can be read",
        "torn.db": "it cannot be read as MLflow's store",
    }.items():
        with pytest.raises(RecordedError, match=message):
            read_run(tmp_path / name)
    with pytest.raises(ParameterError, match="run must be a local path, not a URL"):
        read_run("s3://bucket/log.csv")


def test_a_log_that_is_too_long_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is too long is refused before it is read: a gigabyte would take several of memory."""
    with (tmp_path / "log.csv").open("wb") as file:
        file.write(b"epoch,loss\n")
        file.truncate(2**30)
    with pytest.raises(RecordedError, match=r"log.csv: it cannot be read: It has 1.1 GB, and at most 268.4 MB are read"):
        read_run(tmp_path / "log.csv")
    monkeypatch.setattr(reading, "MAX_BYTES", 10)
    with pytest.raises(RecordedError, match=r"It has 14 B, and at most 10 B are read"):
        read_run(write(tmp_path / "short.csv", "epoch,loss\n0,1"))


def test_a_damaged_log_in_a_folder_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    """The error of a damaged log goes to `on_error`, by default it is raised; hidden files, pipes and others are skipped."""
    write(tmp_path / "good.csv", "epoch,loss\n0,1\n")
    write(tmp_path / "bad.csv", "epoch,loss\n0\n")
    write(tmp_path / "notes.json", {"version": 3})
    write(tmp_path / ".hidden.csv", "epoch,loss\n0\n")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere.csv").symlink_to(tmp_path / "missing.csv")
    errors: list[RecordedError] = []
    assert [run.path.name for run in read_runs([tmp_path], on_error=errors.append)] == ["good.csv"]
    assert ["bad.csv" in str(error) for error in errors] == [True]
    with pytest.raises(RecordedError, match=r"bad.csv, line 2"):
        read_runs([tmp_path])


def test_what_a_rule_leaves_out_is_noted(tmp_path: Path) -> None:
    """A run has notes on an incomplete last line, on missing epochs, and on those before the first."""
    run = read_run(write(tmp_path / "a.csv", "epoch,loss\n2,1\n4,0.5\n5,0.12"))
    assert [one.epoch for one in run.observations()] == [2, 4]
    assert [note.removeprefix(f"{tmp_path}/") for note in run.notes] == [
        "a.csv, line 3: epoch 3, counted from 0, is not in the log, and counts as one without metrics.",
        "Its first epoch is number 2, counted from 0: those before are not in the log.",
        "a.csv, line 4: the last line is left out: its end is missing, so its last number may be cut.",
    ]
    run = read_run(write(tmp_path / "a.jsonl", ROWS + ROWS.replace('"epoch": 0', '"epoch": 1')[:-9]))
    assert len(run.history) == 1
    assert "the last line is left out: it is cut" in run.notes[0]


@given(
    st.text(alphabet='epochstl,;\n"0123.-naNif{}[]: ', max_size=60),
    st.sampled_from(["", "epoch,step,loss\n", ROWS, '{"loss": [']),
)
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: str, head: str) -> None:
    """Any file is read or refused without another error, and each row that is read has an epoch and numbers."""
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_text(head + content)
    try:
        found = read_runs([path])
    except RecordedError:
        return
    for run in found:
        assert all(one.epoch >= 0 and all(type(value) is float for value in one.metrics.values()) for one in run.observations())


def test_metrics_of_a_program_are_a_run_too() -> None:
    """Columns, rows, a history and a recorded run are accepted; anything else is refused with what was expected."""
    columns = {"loss": [2, 1.5, 1.0], "val_loss": [3.0, None, 2.0], "learning_rate": [0.5, 0.5, 0.25]}
    listed = [
        {"loss": 2.0, "val_loss": 3.0, "learning_rate": 0.5},
        {"loss": 1.5, "lr": 0.5},
        {"loss": 1, "val_loss": 2, "lr": 0.25},
    ]
    told = [({"loss": 2.0, "val_loss": 3.0}, 0.5), ({"loss": 1.5}, 0.5), ({"loss": 1.0, "val_loss": 2.0}, 0.25)]
    expected = [
        Observation(epoch=epoch, step=None, by_steps=False, metrics=metrics, learning_rate=rate, seconds=None)
        for epoch, (metrics, rate) in enumerate(told)
    ]
    run = run_of(columns)
    for given_metrics in (columns, listed, run, run.history):
        assert list(run_of(given_metrics).observations()) == expected
    for wrong, message in [
        ({"loss": [1], "acc": [1, 2]}, "as many values in each list"),
        ([[1.0]], "epoch 0 must map names to numbers"),
        ([{"loss": "fast"}], "Metric 'loss' must be a number"),
        (7, "must be a path, a recorded run"),
    ]:
        with pytest.raises(ParameterError, match=message):
            run_of(wrong)
    with pytest.raises(RecordedError, match="there is no metric in it"):
        run_of([])
