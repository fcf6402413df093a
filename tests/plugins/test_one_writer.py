"""One plugin of one run at a time writes a log: a second one is refused by name, unless the run has ended or was abandoned."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from hookcore import Engine, HookcoreError, Outcome, Run
from hookcore.driver import Driver
from hookcore.host import NoHost
from hookcore_adapters.loop import Loop
from hookcore_plugins import CSVLog, JSONLog, Report
from tests.patience import PATIENCE
from tests.plugins.at import At

if TYPE_CHECKING:
    from pathlib import Path


def train(plugins: Any, epochs: int = 2) -> Run:
    with Loop(plugins, epochs=epochs) as loop:
        for _ in loop.epochs():
            for _ in loop.batches(range(1)):
                loop.log(loss=1.0)
    return loop.run


def refused(*kinds: Any, path: Path) -> str:
    """Return the error of a plugin, of `kinds`, whose file another writes."""
    plugin = kinds[0](path)
    run = train([plugin])
    assert [(failure.hook, type(failure.error)) for failure in run.failures] == [("on_train_begin", HookcoreError)]
    assert run.outcome is Outcome.COMPLETED
    return str(run.failures[0].error)


def rows(path: Path) -> int:
    return len(path.read_text().splitlines())


@pytest.mark.parametrize("second", [CSVLog, JSONLog])
@pytest.mark.parametrize("exists", [True, False])
def test_two_plugins_of_one_run_do_not_write_one_file(tmp_path: Path, second: Any, *, exists: bool) -> None:
    """The second is refused before the first batch, by the path and both names; the first one's file is as if it were alone."""
    path = tmp_path / "log"
    if exists:
        path.write_text("epoch,step,loss\n")
    (tmp_path / "link").symlink_to(path)
    run = train([("first", CSVLog(path)), ("second", second(tmp_path / "link"))])
    assert [(failure.plugin, failure.hook) for failure in run.failures] == [("second", "on_train_begin")]
    assert str(run.failures[0].error) == (
        f"second: {path} is in use: first writes it, in a run of this process that has not ended. "
        "Give each plugin of each run a file of its own."
    )
    assert path.read_text() == "epoch,step,loss\n0,1,1.0\n1,2,1.0\n"
    with pytest.raises(HookcoreError, match=r"second: .* is in use: first writes it"):
        train(Engine([("first", CSVLog(path)), ("second", second(path))], on_error={"second": "raise"}))


@pytest.mark.parametrize("first", [CSVLog, JSONLog])
@pytest.mark.parametrize("second", [CSVLog, JSONLog])
def test_two_live_runs_do_not_write_one_file(tmp_path: Path, first: Any, second: Any) -> None:
    """A second run is refused in a hook and on another thread, also after the first has replaced its file for a new column."""
    path = tmp_path / "log"
    told: list[str] = []

    def other() -> None:
        told.append(refused(second, path=path))

    def on_a_thread() -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(PATIENCE)

    run = train([first(path), At(0, other), ("on_a_thread", At(2, on_a_thread))], epochs=4)
    assert not run.failures
    assert len(told) == 2
    assert rows(path) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert not train([second(path)]).failures  # it ended


SCRIPT = """
import sys
from hookcore_adapters.loop import Loop
from hookcore_plugins import CSVLog, JSONLog
with Loop([CSVLog(sys.argv[1]) if sys.argv[2] == "CSVLog" else JSONLog(sys.argv[1])], epochs=2) as loop:
    for _ in loop.epochs():
        for _ in loop.batches(range(1)):
            loop.log(loss=1.0)
        print("trains", flush=True)
        sys.stdin.readline()
"""


@pytest.mark.parametrize("kind", [CSVLog, JSONLog])
@pytest.mark.parametrize("end", ["ends", "is killed"])
def test_a_file_of_another_process_is_refused_until_that_ends(tmp_path: Path, kind: Any, end: str) -> None:
    """A file of another process is refused until that ends, in whatever way; no lock file is left beside it."""
    path = tmp_path / "log"
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, path, kind.__name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "trains\n"
        text = refused(JSONLog, path=path)
        assert text.startswith(f"json_log: {path} is in use: ")
        assert f"process {other.pid} writes it. Stop that run" in text or "another process writes it" in text
        if end == "ends":
            other.stdin.write("\n\n")
            other.stdin.flush()
            other.wait(PATIENCE)
        else:
            other.kill()
            other.wait(PATIENCE)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert not train([kind(path)]).failures


@pytest.mark.parametrize("how", ["dropped", "not told of its exception", "same plugin"])
def test_an_abandoned_run_gives_way(tmp_path: Path, how: str) -> None:
    """A dropped loop gives up its file, as in a notebook, and so does a framework's run that did not report its exception."""
    path, plugin = tmp_path / "log.csv", CSVLog(tmp_path / "log.csv")
    if how == "dropped":
        abandoned: Any = Loop([plugin], epochs=9).__enter__()
        assert "csv_log: " in refused(CSVLog, path=path)
        del abandoned
    else:
        abandoned = Driver([plugin], host=NoHost("tiny"))
        abandoned.begin(Run.of(epochs=9))
    assert not train([plugin if how == "same plugin" else CSVLog(path)]).failures
    assert rows(path) == 3


@pytest.mark.parametrize("kind", [CSVLog, JSONLog])
def test_a_file_that_was_removed_is_locked_again(tmp_path: Path, kind: Any) -> None:
    """If the file is removed, the run writes a new one, which is locked too."""
    path, told = tmp_path / "log", []

    def other() -> None:
        told.append(refused(JSONLog, path=path))

    assert not train([At(0, path.unlink), kind(path), ("at_2", At(1, other))], epochs=3).failures
    assert told


@pytest.mark.parametrize("kind", [CSVLog, JSONLog])
def test_a_file_that_was_moved_and_is_another_run_s_is_not_written(tmp_path: Path, kind: Any) -> None:
    """The error of the first run names the run that has the file now, and that file is unchanged."""
    path = tmp_path / "log"
    other: list[Any] = []

    def take() -> None:
        path.rename(tmp_path / "moved")
        other.append(Loop([("other", kind(path))], epochs=2))
        other[0].__enter__()

    run = train([At(1, take), kind(path)], epochs=3)
    assert "is in use: other writes it" in str(run.failures[0].error)
    assert path.read_text() == ""
    other.clear()


def test_a_plugin_that_was_disabled_holds_nothing(tmp_path: Path) -> None:
    """A plugin that was disabled can be pickled, and others may write its file while its run continues."""
    path = tmp_path / "log.csv"

    def break_it() -> None:
        path.unlink()
        path.mkdir()

    def mend_it() -> None:
        path.rmdir()
        assert not train([CSVLog(path)]).failures

    engine = Engine([CSVLog(path), At(0, break_it), ("at_2", At(1, mend_it))])
    run = train(engine, epochs=3)
    assert [failure.hook for failure in run.failures] == ["on_metrics"]
    assert rows(path) == 3
    assert pickle.loads(pickle.dumps(engine["csv_log"])).path == path  # noqa: S301 - what was just pickled


def test_two_runs_do_not_write_one_report(tmp_path: Path) -> None:
    """A second run with the same report is refused, and leaves the record of the first unchanged."""
    told: list[str] = []

    def other() -> None:
        run = train([("other", Report(tmp_path, summary=False))])
        told.append(str(run.failures[0].error))

    assert not train([("first", Report(tmp_path, summary=False)), At(0, other)]).failures
    assert told[0].startswith(f"other: {tmp_path / 'run.json'} is in use: first writes it")
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert not train([Report(tmp_path, summary=False)]).failures


def test_a_forked_child_does_not_write(tmp_path: Path) -> None:
    """A forked child is refused the file, also if the file was open when it forked: its parent holds the lock."""
    path, plugin = tmp_path / "log.jsonl", JSONLog(tmp_path / "log.jsonl")
    told = tmp_path / "told"
    with Loop([plugin], epochs=2) as loop:
        for epoch in loop.epochs():
            loop.log(loss=1.0)
            if epoch == 0:  # the next epoch begins with the file open
                continue
            child = os.fork()
            if not child:
                try:
                    plugin._write("epoch", 0, 0)
                except HookcoreError as error:
                    told.write_text(str(error))
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
    assert "is in use: " in told.read_text()
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["epoch", "epoch", "train_end"]
