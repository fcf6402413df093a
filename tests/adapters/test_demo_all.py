"""`hookcore demo --all` as a process, with frameworks that are missing, fail or hang. `torch/test_demo.py` has real ones."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from hookcore.cli.main import main
from hookcore_adapters.demo import result
from hookcore_adapters.demo.frameworks import FRAMEWORKS
from hookcore_adapters.demo.result import Result
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-c", "from hookcore.cli.main import main; main(prog_name='hookcore')", "demo", "--all"]
HANGS = "import signal; print('begun', flush=True); signal.pause()"


def start(tmp_path: Path, **sources: str) -> subprocess.Popen[str]:
    """Start the demo in a new process group. Only frameworks with a given source are installed."""
    for framework in FRAMEWORKS:
        missing = f"raise ImportError('No module named {framework}', name={framework!r})"
        (tmp_path / f"{framework}.py").write_text(sources.get(framework, missing))
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    given: dict[str, Any] = {"env": os.environ | {"PYTHONPATH": path}, "cwd": tmp_path, "start_new_session": True, "text": True}
    return subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **given)


def test_what_is_missing_is_named_with_its_extra(tmp_path: Path) -> None:
    """If no framework is installed, a line for each names what to install, no table is printed, and the status is 1."""
    with start(tmp_path) as process:
        text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    for framework in FRAMEWORKS:
        (line,) = (line for line in text.splitlines() if line.startswith(f"{framework} was not trained. "))
        assert re.search(rf"The demo needs {framework}: pip install '?[a-z]", line)
    assert "best value" not in text
    assert "Traceback" not in text
    assert list(tmp_path.glob("runs")) == []


def test_what_fails_is_named_and_the_others_are_trained(tmp_path: Path) -> None:
    """A framework whose process fails is named with the exit status, and the others are still trained."""
    with start(tmp_path, keras="raise SystemExit(3)") as process:
        text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "keras failed with exit status 3: see above." in text
    assert "torch was not trained. " in text


@pytest.mark.parametrize(
    ("number", "to_all", "status"), [(signal.SIGINT, True, 130), (signal.SIGTERM, False, 143)], ids=["ctrl-c", "sigterm"]
)
def test_a_signal_ends_all(tmp_path: Path, number: signal.Signals, to_all: bool, status: int) -> None:  # noqa: FBT001
    """Ctrl-C in the terminal and SIGTERM end the current framework, no other begins, and no process is left."""
    with start(tmp_path, keras=HANGS) as process:
        assert process.stdout is not None
        before = list(iter(process.stdout.readline, "begun\n"))
        (os.killpg if to_all else os.kill)(process.pid, number)
        text, _ = process.communicate(timeout=PATIENCE)  # until all writers have ended
    assert process.returncode == status
    assert "Traceback" not in text
    assert "torch" not in "".join(before) + text


def test_usage() -> None:
    """`--all` is refused with `--framework`, and with another model."""
    for arguments in (["--framework", "torch"], ["--model", "imdb"]):
        called = CliRunner().invoke(main, ["demo", "--all", *arguments])
        assert called.exit_code == 2, called.output


def test_table_on_80_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The row of each framework fits into 80 columns, and a differing score is shown with both values."""
    monkeypatch.setenv("COLUMNS", "80")
    equal = Result("transformers", 23, "early_stopping", "eval_loss", 1.234567, 19, 1.234567)
    result.show([equal, Result("torch", 1, "interrupted", "val_loss")])
    _, head, _, *rows = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "framework"
    assert rows[0].split() == ["transformers", "23", "early_stopping", "19", "eval_loss", "1.234567", "equal", "to", "it"]
    assert rows[1].split() == ["torch", "1", "interrupted", "-", "-", "no", "score", "yet"]
    other = Result("keras", 23, "early_stopping", "val_loss", 1.234567, 19, 1.5)
    assert equal.is_verified
    assert not other.is_verified
    result.show([other])
    assert "NOT equal to it: 1.500000" in " ".join(capsys.readouterr().out.split())
