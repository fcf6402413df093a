"""`hookcore replay` at a terminal."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from hookcore import SpecError
from hookcore.cli.main import main
from hookcore.registry import discovery
from hookcore_adapters.loop import Loop
from hookcore_adapters.replay import picture
from hookcore_adapters.replay.settings import Asked, settings_of
from hookcore_adapters.replay.sweep import best_of, frontier, overall, sweep
from hookcore_plugins import CSVLog, EarlyStopping, Report
from hookcore_plugins.report.recorded import run_of

if TYPE_CHECKING:
    from pathlib import Path

VALUES = [1.0, 0.8, 0.7, 0.72, 0.71, 0.69, 0.7, 0.71, 0.72, 0.73]


def hookcore(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["replay", *map(str, arguments)])


def log(path: Path, values: list[float] = VALUES, rate: str = "0.5") -> Path:
    lines = [f"{epoch},{rate},{value},{value}" for epoch, value in enumerate(values)]
    path.write_text("epoch,learning_rate,loss,val_loss\n" + "\n".join(lines) + "\n")
    return path


def test_each_setting_is_shown_with_the_best(tmp_path: Path) -> None:
    """The table shows each setting's stop, best value, savings and loss, and marks the best setting with its reason."""
    found = hookcore(log(tmp_path / "log.csv"), "--plugin", "early_stopping", "--vary", "patience=1..3")
    assert found.exit_code == 0, found.output
    lines = [re.split(r"  +| (?=\*)", line.strip()) for line in found.output.splitlines()]
    assert lines[0] == [f"{tmp_path / 'log.csv'}: val_loss, best 0.6900 at epoch 6"]
    rows = [re.sub(r" +", " ", line) for line in found.output.splitlines() if re.match(r"\d", line)]
    assert [row.partition(" early")[0] for row in rows] == [
        "1 4 6 (60%) 0.7000 3 0.0100",
        "2 5 5 (50%) 0.7000 3 0.0100",
        "3 * 9 1 (10%) 0.6900 6 0",
    ]
    assert "early_stopping: val_loss has not improved for 2 observations: 0.71, best 0.7 at epoch 3" in found.output
    assert (
        "Best (*): patience=3: it saves the most epochs of the settings that lose nothing of the run's best val_loss: 10% of the "
        "epochs saved." in found.output
    )


def test_json_has_all_of_it(tmp_path: Path) -> None:
    """The output is standard JSON with zero-based epochs, also for infinite values and NaN."""
    path = log(tmp_path / "log.csv", [math.inf, math.nan, math.nan, math.nan])
    found = json.loads(hookcore(path, "--plugin", "early_stopping:patience=2", "--json").stdout, parse_constant=pytest.fail)
    (result,) = found["runs"][0]["settings"]
    assert (result["stopped"], result["epoch"], result["saved"], result["lost"]) == (True, 2, 1, 0.0)
    assert (result["best"]["value"], result["best"]["epoch"]) == (None, 0)  # it is infinite
    found = json.loads(
        hookcore(
            *(log(tmp_path / "log.csv"), "--json", "--plugin", "early_stopping:patience=1..3", "--vary", "min_delta=0,0.05"),
            *("--plugin", "reduce_lr_on_plateau:factor=0.5", "--vary", "patience=1,2"),
        ).stdout
    )
    assert len(found["settings"]) == 12
    assert found["settings"][1]["setting"] == {
        "early_stopping.patience": "1",
        "min_delta": "0",
        "reduce_lr_on_plateau.patience": "2",
    }
    assert found["settings"][1]["plugins"] == [
        "early_stopping:patience=1,min_delta=0",
        "reduce_lr_on_plateau:factor=0.5,patience=2",
    ]
    changes = found["runs"][0]["settings"][-2]["rate_changes"]
    assert [(change["epoch"], change["learning_rate"]) for change in changes] == [(3, 0.25), (4, 0.125)]
    assert "no longer shows it" in found["notes"][0]


def test_over_several_runs_one_setting_is_best(tmp_path: Path) -> None:
    """The best setting saves most without losing more than is allowed in any run, or has the smallest largest loss."""
    runs = [log(tmp_path / "a.csv"), log(tmp_path / "b.csv", [3, 2, 2.5, 2.6, 1, 1.5, 1.6, 1.7, 1.8, 1.9])]
    found = hookcore(*runs, "--plugin", "early_stopping:patience=1..6")
    rows = [re.sub(r" +", " ", line) for line in found.output.splitlines() if re.match(r"\d [ *]", line)]
    assert rows[0].strip() == "1 2 of 2 65% 60% - 70% 0.5050 1.0000"
    assert rows[2].strip() == "3 * 2 of 2 15% 10% - 20% 0 0"
    assert "it stops 2 of 2 runs" in found.output
    swept = sweep(map(run_of, map(str, runs)), settings_of([Asked("early_stopping:patience=1..6")]))
    settings = overall(swept)
    assert [best and str(best.setting) for best in (best_of(settings, allowed) for allowed in (0.0, 0.5, 1.0))] == [
        "patience=3", "patience=3", "patience=1"
    ]  # fmt: skip
    assert [str(one.setting) for one in frontier(settings)] == ["patience=1", "patience=3"]
    best = best_of(settings[:2])
    assert best is not None
    assert str(best.setting) == "patience=1"
    found = hookcore(*runs, "--plugin", "early_stopping:patience=1..2")
    assert "every setting loses more than 0 of some run's best val_loss, and its greatest loss, 1.0000, is the" in found.output


def test_no_setting_is_best_if_none_stops(tmp_path: Path) -> None:
    """If no setting stops a run, as with a plugin that only sets the learning rate, none is marked; its changes are shown."""
    runs = [log(tmp_path / "a.csv"), log(tmp_path / "b.csv", [1.0, 0.9, 0.8, 0.7])]
    plugin = ("--plugin", "reduce_lr_on_plateau:patience=1..2")
    for logs, changes in [(runs[:1], {"1": "4, 5, 7 and 3 more", "2": "5, 8, 10"}), (runs, {"1": "0 - 6", "2": "0 - 3"})]:
        found = hookcore(*logs, *plugin, "--svg", tmp_path / "p.svg")
        assert "*" not in found.output
        assert "No setting stops a run before its end." in found.output
        rows = [re.split("  +", line.strip()) for line in found.output.splitlines() if re.match(r"\d  ", line)]
        assert {row[0]: row[-1].partition("%  ")[2] or row[-1] for row in rows} == changes
    assert json.loads(hookcore(runs[0], *plugin, "--json").stdout)["best"]["setting"] is None


def test_what_is_known_of_the_end_of_a_run(tmp_path: Path) -> None:
    """A log without an outcome is noted, unless the run.json of the same run beside it has the outcome."""
    plugin = ("--plugin", "early_stopping:patience=9")
    found = re.sub(r"\s+", " ", hookcore(log(tmp_path / "log.csv"), *plugin).output)
    assert "Not known: whether the run was stopped early: its log does not record how it ended." in found
    for outcome, patience in [("stopped", 2), ("completed", 7)]:
        plugins = [CSVLog(tmp_path / "run" / "log.csv"), EarlyStopping("loss", patience=patience)]
        with Loop([*plugins, Report(tmp_path / "run", summary=False)], epochs=7) as loop:
            for epoch in loop.epochs():
                loop.log(loss=VALUES[epoch])
        found = re.sub(r"\s+", " ", hookcore(tmp_path / "run" / "log.csv", *plugin, "--metric", "loss", "--json").output)
        assert ("The run was stopped early" in found) == (outcome == "stopped")
        assert "whether the run was stopped early" not in found
    report = tmp_path / "run" / "run.json"
    report.write_text(report.read_text().replace('"outcome": "completed"', '"outcome": "running"'))
    found = re.sub(r"\s+", " ", hookcore(report, *plugin, "--metric", "loss").output)
    assert "whether the run was stopped early" in found
    report.write_text("{}")
    found = re.sub(r"\s+", " ", hookcore(tmp_path / "run" / "log.csv", *plugin, "--metric", "loss").output)
    assert "whether the run was stopped early" in found


def test_each_run_has_its_own_learning_rate(tmp_path: Path) -> None:
    """--learning-rate counts only for logs that lack a rate, which are named."""
    rates = {"a": "0.5", "b": "0.25", "c": ""}
    runs = [log(tmp_path / f"{name}.csv", rate=rate) for name, rate in rates.items()]
    plugin = ("--plugin", "reduce_lr_on_plateau:patience=1,factor=0.5", "--learning-rate", "8")
    found = hookcore(*runs, *plugin, "--json")
    changes = [run["settings"][0]["rate_changes"][0]["learning_rate"] for run in json.loads(found.stdout)["runs"]]
    assert changes == [0.25, 0.125, 4.0]
    assert f"--learning-rate is used only for {runs[2]}: the other logs have their own." in found.stderr
    assert "--learning-rate is not used: the logs have their own." in hookcore(*runs[:2], *plugin).output
    assert "--learning-rate is used for every run" in hookcore(runs[2], *plugin).output


@pytest.mark.parametrize("columns", [80, 200])
def test_the_table_fits_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """The table fits into 80 columns, and from 120 columns on has the reasons."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    plugins = [
        "--plugin",
        "early_stopping",
        "--vary",
        "patience=1..3",
        "--plugin",
        "reduce_lr_on_plateau",
        "--vary",
        "patience=1,2",
    ]
    found = re.sub(r"\x1b\[[0-9;]*m", "", hookcore(log(tmp_path / "log.csv"), *plugins).output)
    assert max(map(len, found.splitlines())) <= columns
    assert ("has not improved for 2 observations" in found) == (columns == 200)
    assert re.search(r"3 \* +1 +9 +1 \(10%\) 0\.6900 6 +0 +4, 5, 7 and 2 more", found)
    assert "…" not in found


def test_the_pictures_are_written(tmp_path: Path) -> None:
    """SVG and PNG pictures are written for one run and for several, also by steps."""
    steps = tmp_path / "steps.csv"
    steps.write_text("epoch,step,loss,val_loss\n" + "".join(f"0,{100 * i},{v},{v}\n" for i, v in enumerate(VALUES, 1)))
    for logs in ([log(tmp_path / "log.csv")], [log(tmp_path / "log.csv"), steps], [steps]):
        found = hookcore(
            *logs, "--plugin", "early_stopping:patience=1..4", "--svg", tmp_path / "p.svg", "--png", tmp_path / "p.png"
        )
        assert found.exit_code == 0, found.output
        assert (tmp_path / "p.svg").read_text().count("<svg") == 1
        assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert "stops at" in found.output
    assert "700" in found.output  # the step, not the epoch


@pytest.mark.parametrize("count", [1, 2])
def test_a_picture_shows_small_differences_as_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Values that are nearly equal look equal, losses begin at 0 and savings go to 100 %; no name covers a curve or a title."""
    seen: list[Any] = []

    def save(figure: Any, *_: object) -> bytes:
        seen.append(measured(figure))
        return b""

    monkeypatch.setattr(picture, "saved", save)
    logs = [log(tmp_path / f"{i}.csv", [1.0, *(0.7 + 1e-7 * epoch for epoch in range(9))][1:]) for i in range(count)]
    found = hookcore(*logs, "--plugin", "early_stopping:patience=1..6", "--svg", tmp_path / "p.svg")
    assert found.exit_code == 0, found.output
    ((limits, inside, named, titles),) = seen
    assert limits[0][1] - limits[0][0] > 0.05
    assert limits[1][0] < 0 < limits[1][1]
    assert not inside
    assert len(named) == (6 if count == 1 else 0)
    assert not any(title.overlaps(name) for title in titles for name in named)


def measured(figure: Any) -> tuple[Any, ...]:
    """Return the y limits of both charts, the texts within the first, and the boxes of its names above and of the titles."""
    figure.canvas.draw()
    curves, tradeoff = figure.axes
    low, high = tradeoff.get_xlim()
    assert low <= 0
    assert high >= 100
    named = [label for axis in curves.child_axes for label in axis.get_xticklabels()]
    titles = [axis.title if axis.get_title() else axis._left_title for axis in figure.axes]
    return (
        [axis.get_ylim() for axis in figure.axes],
        list(curves.texts),
        [label.get_window_extent() for label in named],
        [title.get_window_extent() for title in titles],
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plugin", "early_stoping"], "No plugin is called 'early_stoping'"),
        (["--plugin", "early_stopping", "--vary", "patince=1..3"], "no parameter 'patince'; there are:"),
        (["--plugin", "early_stopping:patience=-1"], "patience must be an integer of at least 0, got -1"),
        (["--plugin", "early_stopping", "--vary", "patience=3..1"], "the range '3..1' must go up"),
        (["--plugin", "early_stopping", "--vary", "patience"], "expected key=values"),
        (["--plugin", "early_stopping", "--vary", "min_delta=0.1..0.5"], "neither a value nor a range of whole numbers"),
        (["--plugin", "early_stopping:patience=3", "--vary", "patience=1..3"], "'patience' is given twice for early_stopping"),
        (["--plugin", "early_stopping", "--vary", "patience=0..999", "--vary", "start_from_step=0..999"], "more than 10000"),
        (["--vary", "patience=1..3", "--plugin", "early_stopping"], "comes before any --plugin"),
        ([], "Missing option '--plugin'"),
        (["--plugin", "early_stopping", "--vary", "monitor=loss,val_loss"], "choose it by --metric"),
        (["--plugin", "early_stopping:monitor=acc"], "has no metric 'acc'; there are: loss, val_loss"),
        (["--plugin", "checkpoint:directory=x"], "has metrics, and no model. See docs/writing-a-trainee.md. That was in"),
        (["--plugin", "nan_guard", "--metric", "what"], "has no metric 'what'"),
        (["--plugin", "early_stopping", "--lose-at-most", "-1"], "Invalid value for '--lose-at-most'"),
    ],
)
def test_a_mistake_is_an_error_of_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    """A mistake is an error of one line that names what was given and expected, without a traceback."""
    found = hookcore(log(tmp_path / "log.csv"), *arguments)
    assert found.exit_code in {1, 2}
    assert message in re.sub(r"\s+", " ", found.output)
    assert isinstance(found.exception, SystemExit)


def test_a_damaged_log_in_a_folder_is_reported_beside_the_others(tmp_path: Path) -> None:
    """A damaged log in a folder is reported on standard error; given directly, it is an error."""
    log(tmp_path / "good.csv")
    (tmp_path / "bad.csv").write_text("epoch,val_loss\n0\n")
    found = hookcore(tmp_path, "--plugin", "early_stopping", "--json")
    assert len(json.loads(found.stdout)["runs"]) == 1
    assert "Left out:" in found.stderr
    assert "bad.csv, line 2: it has 1 cell" in found.stderr
    assert hookcore(tmp_path / "bad.csv", "--plugin", "early_stopping").exit_code == 1


def test_a_name_from_a_log_cannot_break_out_of_the_terminal(tmp_path: Path) -> None:
    """Control characters in names of files and metrics do not reach the terminal."""
    directory = tmp_path / "a\x1b[31mb"
    directory.mkdir()
    found = hookcore(log(directory / "log.csv"), "--plugin", "early_stopping:patience=1..2")
    assert found.exit_code == 0
    assert "\x1b" not in found.output
    (directory / "log.csv").write_text("epoch,val_loss\nx,1\n")
    assert "\x1b" not in hookcore(directory / "log.csv", "--plugin", "early_stopping").output


def test_settings_are_the_grid_of_what_is_varied() -> None:
    """Settings are the grid of all varied values; ranges are inclusive, and two plugins of one kind have different names."""
    catalogue = discovery.entry_points(discovery.CATALOGUE)
    found = settings_of(
        [
            Asked('early_stopping:monitor="val,loss",patience=0..4..2,mode=min', ("min_delta=0, 1e-3",)),
            Asked("early_stopping:monitor=loss"),
        ]
    )
    assert [str(one) for one in found[:3]] == ["patience=0, min_delta=0", "patience=0, min_delta=1e-3", "patience=2, min_delta=0"]
    assert len(found) == 6
    plugins: dict[str, Any] = {one.name: one.plugin for one in found[-1].engine(catalogue).plugins}
    assert list(plugins) == ["early_stopping", "early_stopping_2"]
    one, other = plugins.values()
    assert (one.monitor, one.patience, one.min_delta, one.mode, other.monitor) == ("val,loss", 4, 1e-3, "min", "loss")
    with pytest.raises(SpecError, match="asks for 40000 settings"):
        settings_of([Asked("early_stopping:patience=1..200"), Asked("early_stopping:patience=1..200")])
