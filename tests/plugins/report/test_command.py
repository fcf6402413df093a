"""`hookcore report` and the summary, as a user at a terminal sees them."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner, Result

from hookcore import hookimpl
from hookcore.cli.main import main
from hookcore_plugins import Checkpoint, EarlyStopping, LearningRateSchedule, ReduceLROnPlateau, ReportError, RunReport
from hookcore_plugins.report.summary import show
from tests.plugins.report.reporting import HOSTILE, ODD, Clock, Epochs, Stops, recorded

LOSSES = [{"loss": 1.0 / (i + 1), "val_loss": abs(i - 4) + 0.5} for i in range(9)]


def hookcore(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(report: RunReport, monkeypatch: pytest.MonkeyPatch, columns: int) -> list[str]:
    """Return the lines that a terminal with this many columns shows, without styles."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    show(report, stream)
    return re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()


def busy(directory: Path) -> RunReport:
    """Record a run in which everything happened."""

    class Broken:
        role: ClassVar[str] = "observer"

        @hookimpl
        def on_epoch_end(self) -> None:
            raise OSError("no room on the device, although there was some yesterday")

    plugins: list[Any] = [
        EarlyStopping(patience=4),
        ReduceLROnPlateau(patience=1),
        Checkpoint(directory / "checkpoints", keep_last=9),
        *((f"broken_{i}", Broken()) for i in range(7)),
    ]
    epochs = [losses | {f"metric_{i}": 0.5 for i in range(40)} for losses in LOSSES]
    return recorded(directory / "report", epochs, plugins, asked=30, graph="png")


def test_everything_is_summed_up(tmp_path: Path) -> None:
    """Outcome and why, epochs, best, learning rates, checkpoints, time, errors; in a pipe each row is one line."""
    busy(tmp_path)
    result = hookcore(tmp_path / "report")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == f"{tmp_path / 'report'}: stopped by early_stopping"
    rows = {line[:13].strip(): line[14:] for line in lines[1:] if line[:13].strip()}
    assert list(rows) == ["why", "epochs", "best", "last", "learning rate", "checkpoints", "time", "errors", "model", "report"]
    assert rows["why"].startswith("early_stopping, in epoch 9: val_loss has not improved for 4 observations")
    assert rows["epochs"].startswith("9 of 30, 9 steps, ")
    assert rows["best"] == "val_loss 0.5000 in epoch 5"
    assert rows["last"].startswith("loss 0.1111, val_loss 4.5000, metric_0 0.5000")
    assert rows["last"].endswith("(42 in all)")
    assert rows["learning rate"] == "0.1, 0.01 from epoch 7, 0.001 from epoch 8, 0.0001 from epoch 9"
    assert rows["checkpoints"] == "step 9, epoch 9: newest"
    assert f"{rows['checkpoints']}\n{'':14}step 5, epoch 5: best val_loss, one of the last 9\n" in result.output
    assert rows["errors"].startswith("broken_0 in on_epoch_end: OSError: no room on the device")
    assert "and 4 more" in result.output
    assert "training itself" in rows["time"]


@pytest.mark.parametrize("columns", [80, 200])
def test_one_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """No line is wider than the terminal, and there are no more than 24 of them."""
    lines = on_terminal(busy(tmp_path), monkeypatch, columns)
    assert max(map(len, lines)) <= columns or len(str(tmp_path)) > columns - 40
    assert len(lines) <= 24 + 8 * (len(str(tmp_path)) > columns - 40)


@pytest.mark.parametrize("epochs", ODD.values(), ids=ODD)
def test_a_summary_of_any_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: Epochs) -> None:
    """Whatever was logged, and however wide the terminal is; nothing in it controls the terminal."""
    report = recorded(tmp_path, epochs, [(f"named {HOSTILE[6]}", Stops(at=1, message=HOSTILE[6]))], asked=len(epochs) + 1)
    assert hookcore(tmp_path).exit_code == 0
    for columns in (20, 80, 200):
        assert all(line.isprintable() for line in on_terminal(report, monkeypatch, columns))


def test_many_changes_of_the_rate_are_counted(tmp_path: Path) -> None:
    """The summary counts the changes of a schedule instead of listing them."""
    recorded(tmp_path, LOSSES, [LearningRateSchedule(lambda epoch: 0.1 / (epoch + 1))])
    assert "learning rate 0.1 to 0.01111, changed 8 times\n" in hookcore(tmp_path).output


def test_a_run_that_was_resumed(tmp_path: Path) -> None:
    """The summary says how often the run was resumed, and at which steps."""
    recorded(tmp_path, LOSSES)
    data = json.loads((tmp_path / "run.json").read_text())
    data["parts"] += [{"began": 0.0, "seconds": 1.0, "step": 12}, {"began": 0.0, "seconds": 1.0, "step": 70}]
    (tmp_path / "run.json").write_text(json.dumps(data))
    assert "resumed       2 times, at step 12, 70; begun " in hookcore(tmp_path).output


def test_a_run_that_has_not_ended(tmp_path: Path) -> None:
    """The summary says that the run is running."""
    seen = []

    class Looks:
        @hookimpl
        def on_batch_end(self) -> None:
            seen.append(hookcore(tmp_path).output)

    recorded(tmp_path, LOSSES[:1], [Looks()])
    assert seen[0].startswith(f"{tmp_path}: running\nwhy           it is still training")


@pytest.mark.parametrize(("option", "begin"), [("--html", b"<!DOCTYPE html>"), ("--svg", b"<?xml"), ("--png", b"\x89PNG")])
def test_pages_and_pictures_are_written(tmp_path: Path, option: str, begin: bytes) -> None:
    """Each option writes the named file, whatever its suffix is, makes its directory, and names it after the summary."""
    recorded(tmp_path, LOSSES)
    target = tmp_path / "new" / "file.out"
    result = hookcore(tmp_path, option, target)
    assert result.exit_code == 0
    assert result.output.endswith(f"written: {target}\n")
    assert target.read_bytes().startswith(begin)


def test_the_file_itself_may_be_named(tmp_path: Path) -> None:
    """A report that was moved aside is shown by the name of its file."""
    recorded(tmp_path, LOSSES)
    recorded(tmp_path, LOSSES[:1])
    assert "epochs        9 of 9" in hookcore(tmp_path / "run.1.json").output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no .*run.json. A run writes this file if Report"),
        ("{", "is not a report of a run"),
        ("[]", "is not a report of a run"),
        ('{"format": 1, "history": {}}', "is not a report of a run: KeyError"),
        ('{"report": 3}', "its format is 3, and this version of hookcore reads format 2 and earlier"),
        ("\ud800".encode("utf-8", "surrogatepass"), "it is not text in UTF-8"),
        ("[" * 100_000, "is not a report of a run"),
    ],
)
def test_what_is_not_a_report(tmp_path: Path, content: str | bytes | None, message: str) -> None:
    """Another file is refused with what is wrong with it, also a checkpoint's own run.json."""
    if content is not None:
        (tmp_path / "run.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    result = hookcore(tmp_path)
    assert result.exit_code == 1
    assert re.search(message, result.output)


@pytest.mark.parametrize(
    "change",
    [
        {"history": {"epochs": [0], "metrics": {"loss": ["one"]}}},
        {"history": {"epochs": [0, 1], "metrics": {"loss": [1.0]}}},
        {"outcome": "wonderful"},
        {"epochs": "many"},
        {"history": {"epochs": [0], "metrics": {}, "learning_rates": [1.0, 2.0]}},
        {"history": {"epochs": [0], "metrics": {}, "learning_rates": ["fast"]}},
        {"history": {"epochs": [0], "metrics": {}, "steps": ["one"]}},
        {"history": {"epochs": [0], "metrics": {}, "by_steps": [True]}},
        {"metric_names": {"validation": [""]}},
        {"seconds": ["slow"]},
        {"decisions": [{"plugin": "x"}]},
        {"decisions": 7},
        {"stop_reasons": [{"epoch": "one"}]},
        {"parts": [{"began": "yesterday", "seconds": 1, "step": 1}]},
        {"plugin_seconds": {"x": "long"}},
        {"plugins": {"x": 3}},
        {"directions": []},
    ],
)
def test_a_report_of_another_shape(tmp_path: Path, change: dict[str, Any]) -> None:
    """A damaged file, or one made by hand, is refused before anything is shown."""
    recorded(tmp_path, [{"loss": 1.0}])
    data = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(data | change))
    with pytest.raises(ReportError, match="is not a report of a run"):
        RunReport.read(tmp_path)


def test_a_file_of_the_earlier_format(tmp_path: Path) -> None:
    """What an earlier version wrote, without steps in the history and with the rates beside it, is shown as it was then."""
    (tmp_path / "run.json").write_bytes(Path(__file__).with_name("run_of_format_1.json").read_bytes())
    assert hookcore(tmp_path).output.splitlines()[:-1] == [
        f"{tmp_path}: stopped by early_stopping",
        "why           early_stopping, in epoch 5: val_loss has not improved for 3 observations: 0.8, best 0.5 at epoch 2",
        "epochs        5 of 20, 10 steps, 5.8s",
        "best          val_loss 0.5000 in epoch 2",
        "last          loss 0.1056, val_loss 0.8000, accuracy 0.8000",
        "learning rate 0.1, 0.05 from epoch 4, 0.025 from epoch 5",
        "checkpoints   step 10, epoch 5: newest",
        "              step 4, epoch 2: best val_loss",
        "              in checkpoints",
        "time          training itself 91%, early_stopping 2%, ..., report 2% (5 in all)",
    ]
    report = RunReport.read(tmp_path)
    assert re.findall('role="img" aria-label="(.*?)"', report.page()) == [
        "loss by epoch: training from 0.7500 to 0.1056; validation from 1.0000 to 0.8000",
        "accuracy by epoch: training from 0.0000 to 0.8000",
        "learning rate by epoch, from 0.1 to 0.025, with 2 changes",
    ]
    assert report.history.steps == [None] * 5
    assert report.seconds == [0.25] * 5
    assert report.picture("png")


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    """The error names the file and the reason."""
    recorded(tmp_path, LOSSES)
    (tmp_path / "file").write_text("")
    result = hookcore(tmp_path, "--svg", tmp_path / "file" / "page.svg")
    assert result.exit_code == 1
    assert "cannot be written: " in result.output


def test_saving_by_suffix(tmp_path: Path) -> None:
    """Without a kind the suffix decides what is written; an unknown suffix is refused."""
    report = recorded(tmp_path, LOSSES, clock=Clock())
    assert report.save(tmp_path / "x.SVG").read_bytes() == report.picture("svg")
    with pytest.raises(ReportError, match="not 'jpg'"):
        report.save(tmp_path / "x.jpg")
