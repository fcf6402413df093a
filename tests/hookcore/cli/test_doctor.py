"""`hookcore doctor` names each mistake that can be found before the first batch, and its exit status tells."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from rich.console import Console

from hookcore.cli.checkup import check
from hookcore.cli.doctor import doctor, show
from hookcore_plugins import Checkpoint
from tests.hookcore.cli.calling import WATCHER, row
from tests.plugins.checkpoint.checkpointing import train

if TYPE_CHECKING:
    from click.testing import Result

    from tests.hookcore.cli.calling import Install


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Use an empty directory, and nothing that this environment autoloads."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOOKCORE_NO_AUTOLOAD", "1")
    monkeypatch.delenv("HOOKCORE_DISABLE_PLUGINS", raising=False)
    monkeypatch.delenv("HOOKCORE_PLUGINS", raising=False)


def examined(text: str, *options: str) -> Result:
    Path("hookcore.toml").write_text(f"[hookcore]\n{text}")
    return CliRunner().invoke(doctor, ["hookcore.toml", *options])


def test_a_run_without_mistakes_exits_with_0() -> None:
    """The output has the plugins and who asked for them, the calls of each hook in order, and who sets the learning rate."""
    result = examined('plugins = ["console", {reduce_lr_on_plateau = {patience = 2}}, "early_stopping"]')
    assert result.exit_code == 0, result.output
    assert "hookcore.toml: hookcore.plugins[1]" in result.output
    assert "console, early_stopping" not in result.output
    assert "The learning rate is set by reduce_lr_on_plateau." in result.output
    assert "The loop must have: learning_rate, for reduce_lr_on_plateau." in result.output
    assert "With `Loop`, pass `trainee=`: see docs/writing-a-trainee.md." in result.output
    assert "No mistakes." in result.output
    lines = {line.split()[0]: line.split(maxsplit=1)[1].strip() for line in result.output.splitlines() if line.startswith("on_")}
    assert lines["on_metrics"] == "console, reduce_lr_on_plateau, early_stopping"


FILE = "hookcore.toml: hookcore.plugins"
CHECKPOINT, REPORT = "{checkpoint = {directory = 'a'}", "{report = {directory = 'a'}"
MISTAKES: dict[str, tuple[str, list[str], list[str]]] = {
    "two typos in one plugin": (
        "plugins = [{early_stopping = {patiance = 1, monitr = 'loss'}}]",
        [],
        ["early_stopping.patiance: no parameter", "early_stopping.monitr: no parameter"],
    ),
    "three at once": (
        "plugns = []\nplugins = ['consol', {csv_log = {path = 'a', sep = ';'}}]\non_error = {report = 'raise'}",
        [],
        ["hookcore.plugns: there is no key", "'consol'", "csv_log.sep: no parameter 'sep'", "no plugin is called 'report'"],
    ),
    "one file": (
        "plugins = [{csv_log = {path = 'a/b'}}, {json_log = {path = 'a/../a/b'}}]",
        [],
        [f"{FILE}[1].json_log.path: csv_log and json_log both write"],
    ),
    "one directory": (
        "plugins = [{report = {directory = 'a'}}, {report = {directory = 'a'}, name = 'second'}]",
        [],
        [f"{FILE}[1].report.directory: report and second both write"],
    ),
    "one directory of three, and of another plugin": (
        f"plugins = [{CHECKPOINT}}}, {CHECKPOINT}, name = 'b'}}, 'report:directory=a', {CHECKPOINT}, name = 'c'}}]",
        [],
        [f"{FILE}[3].checkpoint.directory: checkpoint, b and c all write"],
    ),
    "two directories that two classes share": (
        f"plugins = [{CHECKPOINT}}}, {CHECKPOINT}, name = 'b'}}, {REPORT}}}, {REPORT}, name = 'c'}}]",
        [],
        [f"{FILE}[1].checkpoint.directory: checkpoint and b both", f"{FILE}[3].report.directory: report and c both"],
    ),
    "a path that cannot be written": (
        "plugins = [{checkpoint = {directory = '/proc/self/runs/first'}}, 'csv_log:path=/proc/self/log.csv']",
        [],
        [
            f"{FILE}[0].checkpoint.directory: checkpoint: /proc/self/runs/first cannot be written, as this process may not",
            f"{FILE}[1]: csv_log: /proc/self/log.csv cannot be written",
        ],
    ),
    "one name": (
        "plugins = ['console', 'console']",
        [],
        [f"{FILE}[1]: Two plugins are called 'console'. Name one: {{name = \"console_2\", console = {{}}}}."],
    ),
    "an option": (
        "plugins = [{console = {}, nam = 'progress'}]",
        [],
        [f"{FILE}[0]: a mapping must have one plugin's name with its parameters, such as {{early_stopping = {{patience = 3}}}}"],
    ),
    "two rates": (
        "plugins = ['reduce_lr_on_plateau', 'learning_rate_schedule:schedule=math:exp2']",
        [],
        [f"{FILE}[1]: reduce_lr_on_plateau and learning_rate_schedule set the learning rate"],
    ),
    "a direction": (
        "plugins = ['early_stopping:monitor=val_acuracy']",
        [],
        [f"{FILE}[0]: early_stopping: monitor='val_acuracy' has no known direction", "Did you mean 'val_accuracy'?"],
    ),
    "a metric": (
        "plugins = [{early_stopping = {monitor = 'val_acc'}}, 'nan_guard', {early_stopping = {}, name = 'second'}]",
        ["--metrics", "loss, val_accuracy"],
        [
            f"{FILE}[0].early_stopping.monitor: early_stopping: no metric 'val_acc'; there are: loss, val_accuracy. Did you mean",
            f"{FILE}[2].early_stopping: second: no metric 'val_loss'",
        ],
    ),
    "a capability": (
        "plugins = ['reduce_lr_on_plateau']",
        ["--without", "learning_rate"],
        [f"{FILE}[0]: The loop lacks learning_rate, which is needed by reduce_lr_on_plateau. Leave it out, or pass `Loop` a"],
    ),
    "the disk": (
        "plugins = ['checkpoint:directory=runs']",
        ["--checkpoint-mb", "1e12"],
        [f"{FILE}[0]: checkpoint: 5 checkpoints of 1000000.0 TB in runs need 5000000.0 TB, and the disk has"],
    ),
    "syntax": ("plugins = [", [], ["hookcore.toml cannot be read as a configuration"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_found(case: str) -> None:
    """All mistakes are listed at once, each with its name, and the status is 1."""
    text, options, expected = MISTAKES[case]
    result = examined(text, *options)
    assert result.exit_code == 1, result.output
    for part in expected:
        assert part in result.output
    count = 1 if case == "a direction" else len(expected)
    assert f"\n{count} mistake{'s' * (count > 1)}\n" in result.output


@pytest.mark.parametrize(
    "text",
    [
        "plugins = [{report = {directory = 'a'}}, {checkpoint = {directory = 'a'}}]",
        "plugins = ['early_stopping:monitor=eval_loss', {early_stopping = {monitor = 'x', mode = 'min'}, name = 'x'}]",
        "plugins = ['checkpoint:directory=runs']",
    ],
)
def test_what_is_right_is_no_mistake(text: str) -> None:
    """A directory of different plugins, a loop's prefix, a given mode and a disk with room are no mistakes."""
    assert examined(text, "--checkpoint-mb", "0.001").exit_code == 0


def test_the_size_of_a_checkpoint_is_that_of_the_newest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a checkpoint, the size is unknown and the disk is not checked; otherwise the newest has the size."""
    text = "plugins = ['checkpoint:directory=runs,keep_best=none']"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, 5))  # noqa: ARG005
    assert examined(text).exit_code == 0
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    train([Checkpoint("runs", keep_last=1, keep_best=None)], [1.0, 2.0])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, 5))  # noqa: ARG005
    result = examined(text)
    assert "and the disk has 5 B free" in result.output
    assert result.exit_code == 1


def test_what_the_user_has_left_out_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocked and overridden plugins are notes; a blocked name that no plugin has is a mistake."""
    monkeypatch.setenv("HOOKCORE_PLUGINS", "console;early_stopping:patience=3")
    monkeypatch.setenv("HOOKCORE_DISABLE_PLUGINS", "early-stopping")
    result = examined("plugins = ['console']")
    assert result.exit_code == 0, result.output
    assert "'early_stopping' was asked for and is blocked by HOOKCORE_DISABLE_PLUGINS." in result.output
    assert "HOOKCORE_PLUGINS names 'console', which this engine has by configuration: that counts." in result.output
    monkeypatch.setenv("HOOKCORE_DISABLE_PLUGINS", "early_stoping")
    assert "Did you mean 'early_stopping'?" in examined("").output


def test_the_environment_is_examined_without_a_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a configuration the environment is checked, and a hookcore.toml in the working directory is not read."""
    examined("broken [")
    monkeypatch.setenv("HOOKCORE_PLUGINS", "csv_log;console")
    result = CliRunner().invoke(doctor)
    assert result.exit_code == 1
    assert "HOOKCORE_PLUGINS: Plugin spec 'csv_log': " in result.output
    assert "console" in result.output.splitlines()[1]


@pytest.mark.parametrize(
    ("parameters", "status"),
    [("", 0), (",monitor=val_acc", 1), (",save_best_only=true", 1), (",missing=skip,save_best_only=true", 0)],
)
def test_a_metric_that_nothing_depends_on_may_be_missing(parameters: str, status: int) -> None:
    """As a checkpoint's, unless it is chosen or decides what is saved."""
    assert examined(f"plugins = ['checkpoint:directory=a{parameters}']", "--metrics", "loss").exit_code == status


@pytest.mark.parametrize(
    ("name", "text", "suggestion"),
    [
        (
            "run.yaml",
            "hookcore:\n  plugins: [console, console]\n",
            "run.yaml, line 2: {where}{{name: console_2, console: {{}}}}.",
        ),
        (
            "run.json",
            '{"hookcore": {"plugins": ["console", "console"]}}',
            'run.json: {where}{{"name": "console_2", "console": {{}}}}.',
        ),
    ],
)
def test_a_suggestion_is_in_the_notation_of_the_file(name: str, text: str, suggestion: str) -> None:
    """It can be copied into it. In TOML, `test_a_mistake_is_found` has it."""
    Path(name).write_text(text)
    where = "hookcore.plugins[1]: Two plugins are called 'console'. Name one: "
    assert f"1. {suggestion.format(where=where)}\n" in CliRunner().invoke(doctor, [name]).output


@pytest.mark.parametrize("key", ["nam", "replace"])
def test_a_mistyped_option_has_the_nearest(key: str) -> None:
    """Beside a plugin's name, a key that is no option is taken for a second plugin."""
    assert (
        f"'console', '{key}'. Did you mean '{'name' if key == 'nam' else 'replaces'}'?"
        in examined(f"plugins = [{{console = {{}}, {key} = 'progress'}}]").output
    )
    assert "Did you mean" not in examined("plugins = [{console = {}, csv_log = {}}]").output


def test_a_suggestion_takes_a_name_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the plugin that was asked for, whatever it is called. A spec string in the environment has no name."""
    text = "{console = {}, name = 'stop'}, {console = {}, name = 'stop_2'}, {early_stopping = {}, name = 'stop'}"
    assert 'Name one: {name = "stop_3", early_stopping = {}}.' in examined(f"plugins = [{text}]").output
    monkeypatch.setenv("HOOKCORE_PLUGINS", "console;console")
    assert "Remove one of them, or name it in code or in a configuration." in examined("").output


@pytest.mark.parametrize("width", [80, 200])
def test_names_and_places_are_whole_at_every_width(width: int) -> None:
    """Names and places are never cut, and sentences wrap beside their numbers."""
    examined("plugins = ['learning_rate_schedule:schedule=math:exp2', 'consol']")
    console = Console(width=width, record=True, file=io.StringIO(), force_terminal=True, color_system=None)
    show(check(Path("hookcore.toml")), console)
    lines = console.export_text().splitlines()
    assert all(len(line.rstrip()) <= width for line in lines)
    assert any("learning_rate_schedule" in line and "hookcore.toml: hookcore.plugins[0]" in line for line in lines)
    start = next(number for number, line in enumerate(lines) if line.startswith("1. "))
    assert all(line.startswith("   ") for line in lines[start + 1 :] if line)


def test_doctor_examines_autoloaded_plugins(install: Install) -> None:
    """Autoloaded plugins are listed with their origin; a broken one is a mistake, with the reason."""
    install("one", "hookcore.autoload", {"watcher": "one_p:Watcher"}, one_p=WATCHER.format(options=""))
    result = CliRunner().invoke(doctor)
    assert result.exit_code == 0
    assert row(result, "watcher").split() == ["watcher", "one", "1.2", "autoload"]
    install("two", "hookcore.autoload", {"breaker": "two_p:Breaker"}, two_p="1 / 0")
    result = CliRunner().invoke(doctor)
    assert result.exit_code == 1
    assert "Plugin 'breaker' of two 1.2 could not be loaded" in result.output
