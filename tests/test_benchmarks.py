"""The common parts of the benchmarks: gates, the command line, and the page of results."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPT = """
from side_by_side import ROOM, Gate, Table, benchmark, measure

@benchmark
def main():
    times = iter(range(1, 100))
    found = Table("a table", "s", measure({"floor": lambda: 2.0, "ours": lambda: float(next(times))}, 3), "floor", "ours")
    yield found
    yield Gate("what it costs", found.ratio("ours", "floor")[1], %s)
    yield "A note."

main()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Return the path at which a test writes its own benchmark."""
    return tmp_path / "dispatch.py"


def run(script: Path, at_most: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    script.write_text('"""What it costs.\n\nHow."""\n' + SCRIPT % at_most)
    environment = {"PYTHONPATH": str(BENCHMARKS)}
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize(
    ("at_most", "said", "status"), [("1.5", "met", 0), ("1.5 / ROOM", "MISSED", 0), ("1.4 / ROOM", "MISSED", 1)]
)
def test_a_gate_that_is_missed_by_much_fails_the_check(script: Path, at_most: str, said: str, status: int) -> None:
    """With `--check`, only a gate that is missed by much fails; without it, each gate is only reported."""
    for arguments, code in ([], 0), (["--check"], status):
        ended = run(script, at_most, *arguments)
        assert f"{said}: what it costs: 1.5," in ended.stdout, ended.stderr
        assert "A note." in ended.stdout
        assert ended.returncode == code


def test_the_page_has_what_was_found(script: Path, tmp_path: Path) -> None:
    """The page has the script's docstring and below it the tables, gates and notes; the warm-up round does not count."""
    assert run(script, "1.4", "--json", str(tmp_path / "results" / "dispatch.json")).returncode == 0
    assert json.loads((tmp_path / "results" / "dispatch.json").read_text())["results"][0]["figures"]["ours"] == [2, 3, 4]
    made = subprocess.run(
        [sys.executable, BENCHMARKS / "page.py", tmp_path / "results"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(BENCHMARKS)},
        check=True,
    )
    for line in (
        "What it costs.",
        "How.",
        "| `dispatch.py`: what it costs | 1.5 | 1.4 | **no** |",
        "| ours | 3 | 2 to 4 | 1.5 (1 to 2) | 1 (1 to 1) |",
        "A note.",
    ):
        assert line in made.stdout.splitlines()


def test_every_benchmark_is_run_shown_and_listed() -> None:
    """Each benchmark is in the list of scripts that run together and are on the page, and in the README."""
    scripts = {path.stem for path in BENCHMARKS.glob("*.py") if "@benchmark\n" in path.read_text()}
    assert scripts
    assert set(runpy.run_path(str(BENCHMARKS / "side_by_side.py"))["SCRIPTS"]) == scripts
    readme = (BENCHMARKS / "README.md").read_text()
    assert all(f"| `{script}.py` |" in readme for script in scripts)
