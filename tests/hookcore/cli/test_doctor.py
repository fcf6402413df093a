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
    assert "No mistakes." in result.output
    lines = {line.split()[0]: line.split(maxsplit=1)[1].strip() for line in result.output.splitlines() if line.startswith("on_")}
    assert lines["on_metrics"] == "console, reduce_lr_on_plateau, early_stopping"


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
        ["csv_log and json_log both write"],
    ),
    "one directory": (
        "plugins = [{report = {directory = 'a'}}, {report = {directory = 'a'}, name = 'second'}]",
        [],
        ["report and second both write"],
    ),
    "one name": ("plugins = ['console', 'console']", [], ["hookcore.plugins[1]: Two plugins are called 'console'"]),
    "two rates": (
        "plugins = ['reduce_lr_on_plateau', 'learning_rate_schedule:schedule=math:exp2']",
        [],
        ["reduce_lr_on_plateau and learning_rate_schedule set the learning rate"],
    ),
    "a direction": (
        "plugins = ['early_stopping:monitor=val_acuracy']",
        [],
        ["monitor='val_acuracy' has no known direction", "Did you mean 'val_accuracy'?"],
    ),
    "a metric": (
        "plugins = ['early_stopping:monitor=val_acc']",
        ["--metrics", "loss, val_accuracy"],
        ["early_stopping: no metric 'val_acc'; there are: loss, val_accuracy. Did you mean 'val_accuracy'?"],
    ),
    "a capability": (
        "plugins = ['reduce_lr_on_plateau']",
        ["--without", "learning_rate"],
        ["The loop lacks learning_rate, which is needed by reduce_lr_on_plateau."],
    ),
    "the disk": (
        "plugins = ['checkpoint:directory=runs']",
        ["--checkpoint-mb", "1e12"],
        ["checkpoint: 5 checkpoints of 1000000.0 TB in runs need 5000000.0 TB, and the disk has"],
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
    assert ("1 mistake\n" in result.output) == (len(expected) == 1 or case == "a direction")


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
