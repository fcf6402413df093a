"""CSVLog in real runs that write real files."""

from __future__ import annotations

import contextlib
import csv
import logging
import math
import struct
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
from hookcore_plugins import Checkpoint, CSVLog, ReduceLROnPlateau

Epochs = Sequence[Mapping[str, Any]]


def train(plugins: Sequence[object], epochs: Epochs, *, batches: int = 2, rate: float | None = 0.1) -> Run:
    """Train a run that logs each of `epochs` at its end."""
    trainee = None if rate is None else ScriptedTrainee(learning_rate=rate)
    with Loop(plugins, epochs=len(epochs), trainee=trainee) as loop:
        for epoch in loop.epochs():
            for _ in loop.batches(range(batches)):
                pass
            loop.log(epochs[epoch])
    return loop.run


def resume(plugins: Sequence[object], epochs: Epochs, *, epoch: int, step: int, batches: int = 2) -> Run:
    """Drive a run, as an adapter does, that continues after `step` and after `epoch`, or within the first if that is -1."""
    checkpoint = SavedCheckpoint(Path(f"step-{step:08d}"), max(epoch, 0), step)
    run = Run.of(ScriptedTrainee(), resumed_from=checkpoint)
    run.progress = Progress(epoch=epoch, step=step)
    session = Engine(plugins).start(run)
    session.train_begin()
    for number, metrics in enumerate(epochs, epoch + 1):
        session.epoch_begin(number)
        for batch in range(batches):
            session.batch_begin(batch)
            session.batch_end(batch, Metrics())
        session.epoch_end(number, Metrics(metrics))
    session.end()
    return run


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_one_row_per_epoch(tmp_path: Path) -> None:
    """The columns are epoch, step and learning rate, then the metrics by name."""
    train([CSVLog(tmp_path / "log.csv")], [{"loss": 0.5, "acc": 0.25}, {"acc": 0.75, "loss": 0.125}])
    text = (tmp_path / "log.csv").read_text(encoding="utf-8")
    assert text == "epoch,step,learning_rate,acc,loss\n0,2,0.1,0.25,0.5\n1,4,0.1,0.75,0.125\n"


def test_there_is_no_learning_rate_column_without_a_learning_rate(tmp_path: Path) -> None:
    """A loop without a trainee has no such column."""
    train([CSVLog(tmp_path / "log.csv")], [{"loss": 0.5}], rate=None)
    assert rows(tmp_path / "log.csv")[0] == ["epoch", "step", "loss"]


def test_the_learning_rate_is_the_one_the_epoch_was_trained_with(tmp_path: Path) -> None:
    """A plugin that reduces it at the end of the epoch, wherever it is listed, shows in the next row."""
    reduce = ReduceLROnPlateau(monitor="loss", patience=1, factor=0.5)
    train([reduce, CSVLog(tmp_path / "log.csv")], [{"loss": 1.0}] * 3, rate=1.0)
    assert [row[2] for row in rows(tmp_path / "log.csv")[1:]] == ["1.0", "1.0", "0.5"]


@given(value=st.floats())
def test_floats_read_back_exactly(tmp_path_factory: pytest.TempPathFactory, value: float) -> None:
    """Every float reads back exactly, NaN and the infinities too."""
    path = tmp_path_factory.mktemp("log") / "log.csv"
    train([CSVLog(path)], [{"loss": value}])
    read = rows(path)[1][-1]
    assert math.isnan(value) or struct.pack("d", float(read)) == struct.pack("d", value)
    assert not math.isnan(value) or read == "nan"


def test_a_late_column_leaves_earlier_cells_empty(tmp_path: Path) -> None:
    """A metric that comes later, or not in each epoch, as with validation every other epoch, leaves empty cells."""
    train([CSVLog(tmp_path / "log.csv")], [{"loss": 3.0}, {"loss": 2.0, "a_val": 5.0}, {"loss": 1.0}], rate=None)
    assert rows(tmp_path / "log.csv") == [
        ["epoch", "step", "a_val", "loss"],
        ["0", "2", "", "3.0"],
        ["1", "4", "5.0", "2.0"],
        ["2", "6", "", "1.0"],
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


# A metric has a name in one line: others are refused before any log sees them.
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=4).filter(
    lambda name: name not in {"epoch", "step", "learning_rate"}
)


@given(
    epochs=st.lists(st.dictionaries(names, st.floats(allow_nan=False), max_size=4), min_size=1, max_size=5),
    separator=st.sampled_from(",;\t |.e1"),
)
def test_every_metric_lands_in_its_own_column(
    tmp_path_factory: pytest.TempPathFactory, epochs: list[dict[str, float]], separator: str
) -> None:
    """Each value is under its metric's name, whatever the names, the epochs and the separator."""
    path = tmp_path_factory.mktemp("log") / "log.csv"
    train([CSVLog(path, separator=separator)], epochs, rate=None)
    with path.open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file, delimiter=separator))
    fixed = {"epoch", "step"}
    assert [{name: float(cell) for name, cell in row.items() if cell and name not in fixed} for row in read] == epochs


def test_a_row_is_on_disk_when_its_epoch_has_ended(tmp_path: Path) -> None:
    """Another program can read a row when its epoch has ended, and an exception in the next epoch loses nothing."""
    path = tmp_path / "log.csv"

    def fail() -> None:
        with Loop([CSVLog(path)], epochs=2) as loop:
            for epoch in loop.epochs():
                assert len(rows(path)) == (0 if epoch == 0 else 2)
                loop.log(loss=1 / (1 - epoch))

    with pytest.raises(ZeroDivisionError):
        fail()
    assert rows(path) == [["epoch", "step", "loss"], ["0", "1", "1.0"]]


def test_an_earlier_file_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An earlier file moves to the first free number, which the log names, and nothing is lost."""
    path = tmp_path / "log.csv"
    (tmp_path / "log.1.csv").write_text("taken")
    log = CSVLog(path)
    with caplog.at_level(logging.INFO, "hookcore"):
        for value in (1.0, 2.0, 3.0):
            train([log], [{"loss": value}])
    assert [rows(tmp_path / name)[1][-1] for name in ("log.2.csv", "log.3.csv", "log.csv")] == ["1.0", "2.0", "3.0"]
    assert (tmp_path / "log.1.csv").read_text() == "taken"
    assert str(tmp_path / "log.3.csv") in caplog.text


def test_an_empty_file_is_not_moved_aside(tmp_path: Path) -> None:
    """An empty file, as of a run that failed in its first epoch, is not moved aside."""
    (tmp_path / "log.csv").touch()
    train([CSVLog(tmp_path / "log.csv")], [{"loss": 1.0}])
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_append_continues_under_one_header(tmp_path: Path) -> None:
    """The file has the columns of both runs, and each value is under its own."""
    path = tmp_path / "log.csv"
    train([CSVLog(path)], [{"loss": 1.0, "acc": 0.5}])
    train([CSVLog(path, append=True)], [{"loss": 2.0, "mae": 4.0}, {"loss": 3.0, "mae": 5.0}], rate=None)
    assert rows(path) == [
        ["epoch", "step", "learning_rate", "acc", "loss", "mae"],
        ["0", "2", "0.1", "0.5", "1.0", ""],
        ["0", "2", "", "", "2.0", "4.0"],
        ["1", "4", "", "", "3.0", "5.0"],
    ]


def test_append_drops_a_torn_last_line(tmp_path: Path) -> None:
    """A crash in the middle of a write leaves half a row, or half of a header."""
    path = tmp_path / "log.csv"
    path.write_text("epoch,step,loss\n0,2,1.0\n1,4,0.")
    train([CSVLog(path, append=True)], [{"loss": 9.0}], rate=None)
    assert rows(path)[1:] == [["0", "2", "1.0"], ["0", "2", "9.0"]]
    path.write_text("epoch,st")
    train([CSVLog(path, append=True)], [{"loss": 9.0}], rate=None)
    assert rows(path) == [["epoch", "step", "loss"], ["0", "2", "9.0"]]


@pytest.mark.parametrize("content", ["a table,of somebody's\n1,2\n", "all on one line without an end"])
def test_append_moves_another_programs_file_aside(tmp_path: Path, content: str) -> None:
    """A file without an epoch column is moved aside, not merged and not lost."""
    path = tmp_path / "table.csv"
    path.write_text(content)
    train([CSVLog(path, append=True)], [{"loss": 9.0}], rate=None)
    assert rows(path) == [["epoch", "step", "loss"], ["0", "2", "9.0"]]
    assert (tmp_path / "table.1.csv").read_text() == content


def test_append_takes_over_the_file_of_keras(tmp_path: Path) -> None:
    """A file of keras.callbacks.CSVLogger, without steps and with other line ends, is continued."""
    path = tmp_path / "log.csv"
    path.write_bytes(b"epoch,accuracy,loss\r\n0,0.5,1.0\r\n")
    train([CSVLog(path, append=True)], [{"loss": 9.0, "accuracy": 0.25}], rate=None)
    assert rows(path) == [["epoch", "step", "accuracy", "loss"], ["0", "", "0.5", "1.0"], ["0", "2", "0.25", "9.0"]]


@given(data=st.data())
def test_a_resumed_log_is_the_log_of_a_run_that_never_stopped(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Wherever a run is cut, rows past the checkpoint are dropped and written again: the file is the same, byte for byte."""
    here = tmp_path_factory.mktemp("log")
    epochs = data.draw(st.lists(st.dictionaries(st.sampled_from("abc"), st.floats(), max_size=3), min_size=2, max_size=6))
    saved = data.draw(st.integers(0, len(epochs) - 2))
    crashed = data.draw(st.integers(saved, len(epochs) - 1))
    train([CSVLog(here / "whole.csv")], epochs)
    train([CSVLog(here / "cut.csv")], epochs[: crashed + 1])
    with (here / "cut.csv").open("a") as file:
        file.write(data.draw(st.sampled_from(["", "9", "9,99,0.1"])))
    resume([CSVLog(here / "cut.csv")], epochs[saved + 1 :], epoch=saved, step=2 * (saved + 1))
    assert (here / "cut.csv").read_bytes() == (here / "whole.csv").read_bytes()
    assert not list(here.glob("*.1.csv"))


@settings(max_examples=settings().max_examples * 2 // 5)  # each is three runs with files
@given(
    epochs=st.lists(st.dictionaries(st.sampled_from("ab"), st.floats(), max_size=2), min_size=1, max_size=4),
    cut=st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 2, "between"])),
    every_n_steps=st.sampled_from([None, 1, 2, 3]),
    append=st.booleans(),
    only_metrics=st.booleans(),
)
def test_with_checkpoints_a_resumed_log_is_the_log_of_a_run_that_never_stopped(
    epochs: Epochs, cut: tuple[int, object], every_n_steps: int | None, *, append: bool, only_metrics: bool
) -> None:
    """After a crash anywhere the file is the same, also from a checkpoint within an epoch whose end has the same step."""
    with tempfile.TemporaryDirectory() as directory:

        def run(name: str, crash: tuple[int, object] | None = None) -> None:
            log = CSVLog(here / f"{name}.csv", append=append, only_metrics=only_metrics)
            # The epoch's end saves nothing, so that a checkpoint of the same step is from before it.
            plugins = [log, Checkpoint(here / name, every_n_steps=every_n_steps, every_n_epochs=2)]
            with Loop(plugins, epochs=len(epochs), trainee=ScriptedTrainee(), resume="auto") as loop:
                for epoch in loop.epochs():
                    if crash == (epoch, "between"):
                        raise RuntimeError
                    for batch in loop.batches(range(3)):
                        if crash == (epoch, batch):
                            raise RuntimeError
                    loop.log(epochs[epoch])

        here = Path(directory)
        for name in ("whole", "parts"):
            (here / f"{name}.csv").write_text("epoch,step\n7,99\n" if append else "")
        run("whole")
        with contextlib.suppress(RuntimeError):
            run("parts", cut)
        assume(store.named(here / "parts") or not append)  # else it is another run, after the one that crashed
        run("parts")
        assert (here / "parts.csv").read_text() == (here / "whole.csv").read_text()


def test_resuming_leaves_the_rows_of_a_run_before_alone(tmp_path: Path) -> None:
    """If a file has several runs, only the last one is cut, though the first has more steps."""
    path = tmp_path / "log.csv"
    train([CSVLog(path)], [{"loss": 1.0}] * 5)
    train([CSVLog(path, append=True)], [{"loss": 2.0}] * 3)
    resume([CSVLog(path, append=True)], [{"loss": 3.0}], epoch=0, step=2)
    assert [row[1] for row in rows(path)[1:]] == ["2", "4", "6", "8", "10", "2", "4"]
    # From a checkpoint within its first epoch.
    resume([CSVLog(path, append=True)], [{"loss": 4.0}], epoch=-1, step=1, batches=1)
    assert [row[1] for row in rows(path)[1:]] == ["2", "4", "6", "8", "10", "2"]


def test_missing_directories_are_made_when_training_begins(tmp_path: Path) -> None:
    """Missing directories are made when training begins: an unused object leaves nothing behind."""
    log = CSVLog(str(tmp_path / "a" / "b" / "log.csv"))
    assert list(tmp_path.iterdir()) == []
    train([log], [{"loss": 1.0}])
    assert len(rows(tmp_path / "a" / "b" / "log.csv")) == 2


def test_a_file_removed_during_the_run_gets_its_header_again(tmp_path: Path) -> None:
    """A file that is removed during the run gets its header again: rows without one would be read wrongly."""
    path = tmp_path / "log.csv"
    with Loop([CSVLog(path)], epochs=2) as loop:
        for _ in loop.epochs():
            loop.log(loss=1.0)
            path.unlink()
    assert rows(path) == [["epoch", "step", "loss"], ["1", "2", "1.0"]]


def test_a_log_that_cannot_be_written_does_not_stop_the_run(tmp_path: Path) -> None:
    """A log that cannot be written is reported once, and the run continues without it."""

    class Removes:
        @hookimpl
        def on_epoch_begin(self, epoch: int) -> None:
            if epoch == 1:
                path.unlink()
                path.mkdir()

    path = tmp_path / "log.csv"
    run = train([CSVLog(path), Removes()], [{"loss": 1.0}] * 3)
    assert [(failure.plugin, failure.hook) for failure in run.failures] == [("csv_log", "on_metrics")]
    assert len(run.history) == 3


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    """A symbolic link stays, and the file behind it is written."""
    (tmp_path / "log.csv").symlink_to(tmp_path / "behind.csv")
    train([CSVLog(tmp_path / "log.csv")], [{"loss": 1.0}, {"mae": 1.0}])
    assert (tmp_path / "log.csv").is_symlink()
    assert len(rows(tmp_path / "behind.csv")) == 3


def test_bad_parameters_are_refused(tmp_path: Path) -> None:
    """The error names the parameter, the value and what was expected."""
    (tmp_path / "file").touch()
    with pytest.raises(ParameterError, match=r"CSVLog: path must be the path of a file, not of a directory, got '.*'\."):
        CSVLog(tmp_path)
    with pytest.raises(ParameterError, match=r"path must be a path in a directory, and .*file is a file"):
        CSVLog(tmp_path / "file" / "log.csv")
    with pytest.raises(ParameterError, match="path must be the path of a file, not of a device or pipe"):
        CSVLog("/dev/null")
    bad: list[tuple[str, Any]] = [("path", 5), ("path", None), ("separator", ""), ("separator", ",,"), ("separator", '"')]
    bad += [("separator", None), ("append", 1), ("append", "yes")]
    for name, value in bad:
        with pytest.raises(ParameterError, match=f"{name} must be .*, got {value!r}"):
            CSVLog(**{"path": tmp_path / "log.csv", name: value})


def test_it_is_asked_for_by_name(tmp_path: Path) -> None:
    """A spec string gives every parameter."""
    engine = Engine([f"csv_log:path={tmp_path}/log.csv,separator=;,append=true"])
    log = engine["csv_log"]
    assert (log.path, log.separator, log.append) == (tmp_path / "log.csv", ";", True)


def test_absent_and_only_metrics(tmp_path: Path) -> None:
    """`absent` fills empty cells, also in rows before a late column, and `only_metrics` leaves out step and rate."""
    path = tmp_path / "log.csv"
    with Loop([CSVLog(path, absent="NA", only_metrics=True)], epochs=3, trainee=ScriptedTrainee()) as loop:
        for epoch in loop.epochs():
            loop.log({"loss": 1.0} | ({"val_loss": 2.0} if epoch == 1 else {}))
    assert rows(path) == [["epoch", "loss", "val_loss"], ["0", "1.0", "NA"], ["1", "1.0", "2.0"], ["2", "1.0", "NA"]]
