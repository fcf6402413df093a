"""The fixtures of the pytest plugin, which costs nothing in a session that does not use them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import pytest_hookcore
from hookcore import DiskFullError, Engine, ParameterError, Run, hookimpl
from hookcore.store import disk
from hookcore.testing.faults import OPERATIONS
from hookcore_plugins import Checkpoint, EarlyStopping, ReduceLROnPlateau

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hookcore.testing import Faults, ScriptedTrainee


def python(code: str, *arguments: str, path: str = "") -> str:
    """Run `code` in a new interpreter and return what it prints; `path` comes before the import path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [path, os.environ.get("PYTHONPATH")]))}
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_imports_nothing_until_a_fixture_is_used() -> None:
    """The import of the pytest plugin, which every session pays for, imports no other module."""
    printed = python("import sys, pytest; before = {*sys.modules}; import pytest_hookcore; print({*sys.modules} - before)")
    assert printed == "{'pytest_hookcore'}\n"


def test_a_session_that_imported_hookcore_before_is_no_warning(tmp_path: Path) -> None:
    """Pytest does not warn that hookcore was imported before its plugin."""
    packages = ("hookcore", "hookcore_adapters", "hookcore_plugins", "pytest_hookcore")
    info = tmp_path / "site" / "with_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: with-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pytest11]\npytest_hookcore = pytest_hookcore\n")
    (info / "RECORD").write_text("".join(f"{package}/__init__.py,,\n" for package in packages))
    (tmp_path / "test_it.py").write_text("def test_it(hookcore_engine): assert hookcore_engine().names == []\n")
    code = f"import sys, pytest, {', '.join(packages)}; sys.exit(pytest.main(sys.argv[1:]))"
    arguments = ["-q", "-W", "error", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", str(tmp_path)]
    assert "1 passed" in python(code, *arguments, path=str(info.parent))


def test_a_run_of_scripted_metrics(hookcore_run: Callable[..., Run], hookcore_trainee: ScriptedTrainee) -> None:
    """The run ends once a plugin votes to stop, and trains the test's `hookcore_trainee`."""
    plugins = [EarlyStopping("loss", patience=2), ReduceLROnPlateau("loss", patience=1)]
    run = hookcore_run(plugins, [{"loss": 1.0}] * 9, batches=4)
    assert (run.outcome, len(run.history), run.progress.step) == ("stopped", 3, 12)
    assert hookcore_trainee.learning_rate == pytest.approx(0.001)


def test_a_run_is_resumed(hookcore_run: Callable[..., Run], tmp_path: Path) -> None:
    """A run resumes from the checkpoint of an earlier run."""
    hookcore_run([Checkpoint(tmp_path)], [{"loss": 1.0}] * 2)
    run = hookcore_run([Checkpoint(tmp_path)], [{"loss": 1.0}] * 3, resume="auto")
    assert run.resumed_from is not None
    assert run.resumed_from.step == 2
    assert len(run.history) == 3


def test_an_engine_has_only_what_it_is_given(hookcore_engine: Callable[..., Engine], hookcore_run: Callable[..., Run]) -> None:
    """An engine has the plugins and spec strings that it is given and no others, and `hookcore_run` accepts it."""
    engine = hookcore_engine("early_stopping:monitor=loss,patience=1")
    assert engine.names == ["early_stopping"]
    assert hookcore_run(engine, [{"loss": 1.0}] * 9).outcome == "stopped"


def test_a_full_disk(hookcore_faults: Faults, hookcore_run: Callable[..., Run], tmp_path: Path) -> None:
    """A checkpoint that cannot be written is an error, and the previous one still exists."""
    hookcore_run([Checkpoint(tmp_path)], [{"loss": 1.0}])
    hookcore_faults.disk("write", times=None, error=OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(DiskFullError):
        hookcore_run([Checkpoint(tmp_path)], [{"loss": 1.0}] * 2, resume="auto")
    hookcore_faults.clear()
    run = hookcore_run([Checkpoint(tmp_path)], [{"loss": 1.0}] * 2, resume="auto")
    assert run.resumed_from is not None
    assert run.resumed_from.step == 1


def test_a_fault_happens_at_the_calls_asked_for(hookcore_faults: Faults, tmp_path: Path) -> None:
    """The calls from number `at` on fail, `times` of them, and none fails after `clear`."""
    hookcore_faults.disk("mkdir", at=2, times=2)
    happened = []
    for number in range(4):
        try:
            disk.mkdir(tmp_path / str(number))
            happened.append("made")
        except OSError as error:
            happened.append(os.strerror(error.errno or 0))
    assert happened == ["made", "No space left on device", "No space left on device", "made"]
    hookcore_faults.disk("mkdir")
    hookcore_faults.clear()
    disk.mkdir(tmp_path / "after")
    assert disk.mkdir.__module__ == disk.__name__


def test_the_disk_works_again_when_the_test_is_over() -> None:
    """The faults of a test end with it."""
    fixture: Any = pytest_hookcore.hookcore_faults
    faults = fixture.__wrapped__()
    next(faults).disk("mkdir")
    assert disk.mkdir.__module__ != disk.__name__
    assert list(faults) == []
    assert disk.mkdir.__module__ == disk.__name__


@pytest.mark.parametrize(("role", "outcome"), [("actor", "failed"), ("observer", "completed")])
def test_a_plugin_that_raises(hookcore_faults: Faults, hookcore_run: Callable[..., Run], role: str, outcome: str) -> None:
    """A faulty plugin raises at the call asked for, and the plugin beside it still sees the end of the run."""

    class Looks:
        outcome = ""

        @hookimpl
        def on_train_end(self, run: Run) -> None:
            self.outcome = str(run.outcome)

    looks = Looks()
    faulty = hookcore_faults.plugin("on_epoch_end", at=2, error=ValueError("mine"), role=role)  # type: ignore[arg-type]
    try:
        run = hookcore_run([faulty, looks], [{}] * 3)
    except ValueError:
        assert role == "actor"
    else:
        assert [(failure.plugin, failure.hook) for failure in run.failures] == [("faulty", "on_epoch_end")]
    assert looks.outcome == outcome


def test_a_bad_fault_is_refused(hookcore_faults: Faults) -> None:
    """An unknown name is refused with the nearest known one, and so is a number below 1."""
    with pytest.raises(ParameterError, match=r"operation must be one of .*, got 'renam'\. Did you mean 'rename'\?"):
        hookcore_faults.disk("renam")
    with pytest.raises(ParameterError, match=r"hook must be one of .*, got 'on_epoch_ends'\. Did you mean 'on_epoch_end'\?"):
        hookcore_faults.plugin("on_epoch_ends")
    for name in ("at", "times"):
        with pytest.raises(ParameterError, match=f"{name} must be an integer of at least 1, got 0"):
            hookcore_faults.disk("sync", **{name: 0})  # type: ignore[arg-type]
    assert {"append", "rename", "sync"} <= {*OPERATIONS}
