"""A third-party distribution, examples/own_plugin, which hookcore finds only by its entry points.

These tests run if it is installed: `tox run -e own-plugin`.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from importlib import metadata, util
from typing import TYPE_CHECKING

import pytest

from hookcore import Engine, HookcoreWarning, SpecError
from hookcore.testing import check_plugin
from hookcore_adapters.loop import Loop

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(util.find_spec("acme_training") is None, reason="examples/own_plugin is not installed")

TRAIN = """
import sys
from hookcore_adapters.loop import Loop
with Loop(epochs=2) as loop:
    for epoch in loop.epochs():
        loop.log(loss=1.0)
print(loop.run.outcome, len(loop.run.history), "acme_training.summary" in sys.modules)
"""


def train(**environ: str) -> subprocess.CompletedProcess[str]:
    """Train in a new interpreter, which prints the outcome, the epochs, and whether the autoloaded plugin was imported."""
    environ = {**os.environ, **environ}
    return subprocess.run([sys.executable, "-c", TRAIN], env=environ, capture_output=True, text=True, check=False)


def test_found_by_autoload() -> None:
    """An engine without arguments has the plugin of the autoload group, with its distribution as origin."""
    assert [(one.name, one.origin) for one in Engine().plugins] == [
        ("acme_summary", f"acme-training {metadata.version('acme-training')}")
    ]


def test_autoloaded_in_a_script_that_does_not_name_it() -> None:
    """A script that names no plugin gets the autoloaded one."""
    assert train().stdout == "completed 2 True\n"


def test_found_by_name(tmp_path: Path) -> None:
    """The plugin of the catalogue is made from a string, with its parameters, and does its work in a run."""
    path = tmp_path / "ledger.jsonl"
    with Loop([f"acme_ledger:path={path},project=digits"], epochs=1) as loop:
        for _ in loop.epochs():
            loop.log(loss=0.5)
    line = json.loads(path.read_text())
    assert (line["project"], line["outcome"], line["metrics"]) == ("digits", "completed", {"loss": 0.5})


def test_wrong_parameter_of_a_name() -> None:
    """An unknown parameter is refused with the nearest known one, before anything runs."""
    with pytest.raises(SpecError, match=r"no parameter 'projet'.*Did you mean 'project'"):
        Engine(["acme_ledger:projet=digits"])


@pytest.mark.parametrize("environ", [{"HOOKCORE_DISABLE_PLUGINS": "acme_summary"}, {"HOOKCORE_NO_AUTOLOAD": "1"}])
def test_blocked_without_import(environ: dict[str, str]) -> None:
    """If either environment variable blocks the plugin, its module is not imported."""
    assert train(**environ).stdout == "completed 2 False\n"


@pytest.mark.parametrize(
    "failure", ["import no_such_module", "1 / 0", "class RunSummary:\n    def __init__(self): raise OSError"]
)
def test_failing_import_stops_no_run(tmp_path: Path, failure: str) -> None:
    """A run continues without a plugin that cannot be imported or made; a warning names it and the way to silence it."""
    package = tmp_path / "acme_training"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "summary.py").write_text(failure)
    broken = train(PYTHONPATH=str(tmp_path))
    assert broken.returncode == 0
    assert broken.stdout.startswith("completed 2 ")
    assert f"{HookcoreWarning.__name__}: Plugin 'acme_summary' of acme-training" in broken.stderr
    assert "HOOKCORE_DISABLE_PLUGINS=acme_summary" in broken.stderr
    silenced = train(PYTHONPATH=str(tmp_path), HOOKCORE_DISABLE_PLUGINS="acme_summary")
    assert (silenced.stdout, silenced.stderr) == ("completed 2 False\n", "")


def test_its_plugins_keep_the_contract(tmp_path: Path) -> None:
    """Both plugins pass `check_plugin`."""
    from acme_training.ledger import RunLedger
    from acme_training.summary import RunSummary

    numbers = itertools.count()
    check_plugin(lambda: RunLedger(tmp_path / f"{next(numbers)}.jsonl"))
    check_plugin(RunSummary)
