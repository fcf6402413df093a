"""`hookcore compare`: the order of the runs, and the values in which they differ."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from hookcore.cli.main import main
from hookcore.testing import ScriptedTrainee
from hookcore_plugins import CSVLog, EarlyStopping, ReduceLROnPlateau, ReportError, RunReport
from hookcore_plugins.report.compare import Comparison
from hookcore_plugins.report.compare.command import compare
from hookcore_plugins.report.compare.table import show, text_of
from tests.plugins.report.reporting import HOSTILE, Stops, recorded
from tests.plugins.report.test_command import Terminal

if TYPE_CHECKING:
    from pathlib import Path


def hookcore(*arguments: object) -> Result:
    return CliRunner().invoke(compare, list(map(str, arguments)))


def losses(*values: float) -> list[dict[str, float]]:
    return [{"loss": value / 2, "val_loss": value} for value in values]


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Record four runs: one stopped early, one without its plugin, one that failed, and a CSV file without parameters."""
    config = {"model": {"depth": 2}, "batch_size": 8}
    log = CSVLog(tmp_path / "a" / "log.csv")
    recorded(tmp_path / "a", losses(0.9, 0.5, 0.7, 0.8), [EarlyStopping(patience=2), log], asked=9, config=config)
    recorded(
        tmp_path / "b", losses(0.9, 0.4), [], trainee=ScriptedTrainee(learning_rate=0.3), config={**config, "batch_size": 16}
    )
    recorded(tmp_path / "c", losses(math.nan), [EarlyStopping(patience=4)], asked=3, config=config)
    (tmp_path / "d.csv").write_text("epoch,accuracy,loss,val_accuracy,val_loss\n0,0.5,1.0,0.4,0.45\n1,0.6,0.9,0.5,0.6\n")
    (tmp_path / "notes.txt").write_text("epochs are fun\n")
    return tmp_path


def test_a_row_for_each_run_the_best_first(sweep: Path) -> None:
    """A run with two logs counts once; runs without a best value come last; names lose the part that all share."""
    comparison = Comparison.read([sweep])
    assert [(row.name, row.status, row.epochs) for row in comparison] == [
        ("b", "completed", 2), ("d.csv", None, 2), ("a", "stopped", 4), ("c", "failed", 1)
    ]  # fmt: skip
    assert [None if row.best is None else (row.best.value, row.best.place) for row in comparison] == [
        (0.4, "in epoch 2"), (0.45, "in epoch 1"), (0.5, "in epoch 2"), None
    ]  # fmt: skip
    assert [row.last for row in comparison][:3] == [0.4, 0.6, 0.8]
    assert comparison.rows[2].why.startswith("early_stopping, in epoch 4: val_loss has not improved for 2 observations")
    assert (comparison.metric, comparison.mode) == ("val_loss", "min")


def test_only_what_differs(sweep: Path) -> None:
    """Parameters and configuration that are the same in all runs that have them are not columns, and neither are paths."""
    comparison = Comparison.read([sweep])
    assert comparison.differs == ("batch_size", "early_stopping.patience", "learning rate")
    assert [tuple(row.differs.items()) for row in comparison] == [
        tuple(zip(comparison.differs, values, strict=True)) for values in [(16, None, 0.3), (None,) * 3, (8, 2, 0.1), (8, 4, 0.1)]
    ]
    same = Comparison.read([sweep / "a", sweep / "a" / "run.json"])
    assert len(same) == 1
    assert same.differs == ()


def test_a_plugin_that_only_some_have(tmp_path: Path) -> None:
    """A plugin that some runs lack is a column, and none of its parameters unless two runs have different ones."""
    for number, plugins in enumerate([[ReduceLROnPlateau(factor=0.3)], [ReduceLROnPlateau(factor=0.3)], []]):
        recorded(tmp_path / str(number), losses(0.5 + number), plugins)
    (tmp_path / "log.csv").write_text("epoch,val_loss\n0,1\n")
    comparison = Comparison.read([tmp_path])
    assert comparison.differs == ("reduce_lr_on_plateau",)
    assert {row.name: row.differs["reduce_lr_on_plateau"] for row in comparison} == {
        "0": True, "1": True, "2": None, "log.csv": None
    }  # fmt: skip
    recorded(tmp_path / "3", losses(4), [ReduceLROnPlateau(factor=0.4)])
    assert Comparison.read([tmp_path]).differs == ("reduce_lr_on_plateau.factor",)


def test_a_value_that_all_runs_that_have_it_share_is_no_column(tmp_path: Path) -> None:
    """Neither is a number that is an integer in one run and a float in another."""
    for number, config in enumerate([{"width": 32, "kind": "a"}, {"width": 32.0}, {}]):
        recorded(tmp_path / str(number), losses(0.5), config=config)
    assert Comparison.read([tmp_path]).differs == ()


def test_a_rate_that_the_configuration_has_and_a_secret_are_no_columns(tmp_path: Path) -> None:
    """The learning rate is one column, also if a framework has it in 32 bits; hidden values are not compared."""
    for rate in (0.1, 0.25):
        trainee = ScriptedTrainee(learning_rate=rate * (1 + 1e-8))
        recorded(tmp_path / str(rate), losses(rate), trainee=trainee, config={"lr": rate, "token": "x"})
    recorded(tmp_path / "none", losses(0.7), trainee=ScriptedTrainee(learning_rate=0.2), config={"lr": 0.2})
    record = json.loads((tmp_path / "none" / "run.json").read_text())
    record["history"]["learning_rates"] = [None]
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "run.json").write_text(json.dumps({**record, "config": {"lr": 0.3}}))
    assert Comparison.read([tmp_path]).differs == ("lr",)


def test_the_metric_that_ranks(sweep: Path) -> None:
    """Another metric ranks if it is named, also if its direction must be said; a name that no run has is an error."""
    (sweep / "e.csv").write_text("epoch,eval_loss,eval_gain\n0,0.2,5\n1,0.3,7\n")
    assert Comparison.read([sweep]).rows[0].metric == "eval_loss"
    assert [row.name for row in Comparison.read([sweep], "loss")][:2] == ["b", "a"]
    with pytest.raises(ReportError, match="whether a smaller or larger 'eval_gain' is better: say --mode"):
        Comparison.read([sweep], "eval_gain")
    best = Comparison.read([sweep], "eval_gain", "max").rows[0].best
    assert best is not None
    assert best.value == 7
    result = hookcore(sweep, "--metric", "val_los")
    assert result.exit_code == 1
    assert "No run has a metric 'val_los'" in result.output
    assert "Did you mean 'val_loss'?" in result.output


@pytest.mark.parametrize("metric", ["loss", "train_loss", "train/loss"])
def test_the_loss_of_training_under_each_of_its_names(tmp_path: Path, metric: str) -> None:
    """`loss`, `train_loss` and the like are one metric in every log, and none of them is the loss of validation."""
    recorded(tmp_path / "a", [{"loss": 0.5, "val_loss": 9.0}])
    recorded(tmp_path / "b", [{"train_loss": 0.75, "val_loss": 8.0}])
    (tmp_path / "c.csv").write_text("epoch,loss,val_loss\n0,0.25,9\n")
    (tmp_path / "d.csv").write_text("epoch,train-loss,eval_loss\n0,1,9\n")
    comparison = Comparison.read([tmp_path], metric, "min")
    found = [(row.name, row.best.value) for row in comparison if row.best is not None]
    assert found == [("c.csv", 0.25), ("a", 0.5), ("b", 0.75), ("d.csv", 1)]


def test_logs_that_disagree_on_a_direction(tmp_path: Path) -> None:
    """If logs disagree on a metric's direction, it must be given."""
    for mode in ("min", "max"):
        recorded(tmp_path / mode, [{"gain": 1.0}], monitor="gain", mode=mode)
    with pytest.raises(ReportError, match="The logs disagree on whether a smaller or larger 'gain' is better: say --mode"):
        Comparison.read([tmp_path])
    assert Comparison.read([tmp_path], mode="max").mode == "max"


def test_runs_that_have_no_metric_to_choose_by(tmp_path: Path) -> None:
    """Runs that have no common metric with a direction are in the order of their names, with the reason in the title."""
    for name in ("b", "a"):
        (tmp_path / f"{name}.csv").write_text("epoch,wonder\n0,1\n")
    result = hookcore(tmp_path)
    assert result.output.startswith("2 runs, they have no metric in common whose direction is known")
    assert [line.split()[0] for line in result.output.splitlines()[2:]] == ["a.csv", "b.csv"]


def test_the_table_in_a_pipe(sweep: Path) -> None:
    """In a pipe each run is one whole line."""
    lines = hookcore(sweep).output.splitlines()
    assert lines[0] == "4 runs, by val_loss, smaller is better"
    titles = ["run", "outcome", "epochs", "best", "at", "last", "time", *Comparison.read([sweep]).differs, "why"]
    assert re.split("  +", lines[1]) == titles
    assert re.fullmatch(r"b +completed +2/2 +0\.4000 +epoch 2 +0\.4000 +\S+ m?s +16 +- +0\.3", lines[2])
    assert lines[4].endswith("best 0.5 at epoch 2")
    assert len(lines) == 6


@pytest.mark.parametrize("columns", [40, 80, 250])
def test_the_table_in_a_terminal(sweep: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """No line is wider than the terminal unless that is very narrow; what does not fit beside a run stands beneath it."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    show(Comparison.read([sweep]), stream)
    text = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert all(part in text for part in ("0.5000", "failed", "batch_size 16" if columns < 250 else "batch_size", "0.3"))
    reason = "early_stopping, in epoch 4: val_loss has not improved for 2 observations: 0.8, best 0.5 at epoch 2"
    assert reason in re.sub(r"\s+", " ", text)
    assert max(map(len, text.splitlines())) <= max(columns, 66)
    assert (len(text.splitlines()) == 6) == (columns == 250)


def test_json_and_csv(sweep: Path) -> None:
    """Both have every run with the values that differ; nothing else is on the standard output."""
    found = json.loads(hookcore(sweep, "--json").stdout)
    assert [run["run"] for run in found["runs"]] == ["b", "d.csv", "a", "c"]
    assert found["runs"][0]["differs"] == {
        "batch_size": 16, "early_stopping.patience": None, "learning rate": 0.3
    }  # fmt: skip
    assert (found["runs"][3]["best"], found["runs"][3]["last"], found["runs"][1]["outcome"]) == (None, None, None)
    rows = list(csv.DictReader(io.StringIO(hookcore(sweep, "--csv").stdout)))
    assert [(row["run"], row["best"], row["best_epoch"], row["batch_size"]) for row in rows] == [
        ("b", "0.4", "2", "16"), ("d.csv", "0.45", "1", ""), ("a", "0.5", "2", "8"), ("c", "", "", "8")
    ]  # fmt: skip
    assert hookcore(sweep, "--csv", "--json").exit_code == 2


def test_a_damaged_log_is_left_out_and_named(sweep: Path) -> None:
    """Runs beside a damaged log are compared; a folder without runs and a missing path are errors of one line."""
    (sweep / "broken").mkdir()
    (sweep / "broken" / "run.json").write_text((sweep / "a" / "run.json").read_text().replace("stopped", "odd"))
    (sweep / "empty").mkdir()
    output = hookcore(sweep).output
    assert output.startswith("4 runs")
    assert re.search("left out: .*broken/run.json.* is not a report of a run", output)
    for path in (sweep / "empty", sweep / "none"):
        result = hookcore(path)
        assert result.exit_code == 1
        assert result.output.startswith("Error: ")
        assert len(result.output.splitlines()) == 1


def test_the_url_of_mlflows_store_is_an_error_that_names_the_path() -> None:
    """A relative path in the URL stays relative."""
    assert "Give the path of the database file: mlf/mlflow.db" in hookcore("sqlite:///mlf/mlflow.db").output


def test_report_of_a_folder_names_compare(sweep: Path) -> None:
    """`hookcore report` of a directory with runs below it says what to type."""
    result = CliRunner().invoke(main, ["report", str(sweep)])
    assert result.exit_code == 1
    assert f"`hookcore compare {sweep}` shows them." in result.output
    for path in (sweep / "d.csv", sweep / "mlflow.db#base"):
        result = CliRunner().invoke(main, ["report", str(path)])
        assert result.exit_code == 1
        assert f"A report is shown of a run.json; `hookcore compare {path}` shows other logs." in result.output


def test_the_text_of_a_comparison_in_a_notebooks_kernel(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a kernel, in which rich displays what a console prints, `str` returns the text and displays nothing."""
    outside, displayed = str(Comparison.read([sweep])), []
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", lambda *args: displayed.append(args))
    inside = str(Comparison.read([sweep]))
    assert inside.startswith("4 runs, by val_loss")
    assert inside == outside
    assert not displayed


def hostile(directory: Path) -> Comparison:
    """Record runs whose names, reasons and configuration would be executed in a page or a terminal."""
    for number, name in enumerate(HOSTILE):
        config = {name: name, "same": 1, "formula": f"=cmd|{number}"}
        where = directory / f"{number}{name.replace('/', '').replace(chr(0), '')[:100]}"
        epochs = [{"val_loss": 1.0 / (1 + epoch + number), **({name: 1.0} if name.isprintable() else {})} for epoch in range(3)]
        recorded(where, epochs, [(f"{name}.", Stops(at=1, message=name))], config=config)
    return Comparison.read([directory])


def test_nothing_of_a_run_breaks_out(tmp_path: Path) -> None:
    """No text of a run is executed in a page, a terminal, a notebook's cell or a spreadsheet."""
    comparison = hostile(tmp_path)
    assert len(comparison) == len(HOSTILE)
    page = comparison.page()
    assert page.count("<script") == page.count("</script") == 2
    assert page.count("<style") == page.count("</style") == 1
    assert "<img" not in page
    assert "\x1b" not in page
    for width in (80, 100_000):
        assert all(line.isprintable() for line in text_of(comparison, width).splitlines())
    frame = RunReport.read_all(tmp_path)._repr_html_()
    assert frame.count("<") == 2
    assert 'sandbox="allow-scripts"' in frame
    cells: list[Any] = list(csv.DictReader(io.StringIO(comparison.csv())))
    assert all(row["formula"].startswith("'=cmd|") for row in cells)


def test_the_page_has_the_data_of_every_run(sweep: Path, tmp_path: Path) -> None:
    """The page has the curves of each metric, on each axis that the log has; values that are not finite are left out."""
    result = hookcore(sweep, "--html", tmp_path / "new" / "page.html")
    assert result.output.endswith(f"written: {tmp_path / 'new' / 'page.html'}\n")
    page = (tmp_path / "new" / "page.html").read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert found is not None
    data = json.loads(found[1])
    assert data["metrics"] == ["val_loss", "loss", "accuracy", "val_accuracy"]
    runs = {run["name"]: run for run in data["runs"]}
    assert runs["a"]["y"]["val_loss"] == [0.9, 0.5, 0.7, 0.8]
    assert runs["a"]["x"]["epoch"] == runs["a"]["x"]["step"] == [1, 2, 3, 4]
    assert len(runs["a"]["x"]["time"]) == 4
    assert [(run["epochs"], run["asked"], run["best_in"]) for run in (runs["a"], runs["d.csv"])] == [
        (4, 9, "in epoch 2"), (2, None, "in epoch 1")
    ]  # fmt: skip
    assert runs["c"]["y"]["val_loss"] == [None]
    assert runs["d.csv"]["x"]["time"] is None
    (sweep / "file").write_text("")
    assert "cannot be written" in hookcore(sweep, "--html", sweep / "file" / "page.html").output
