"""Work for a new process: it resumes a run from each checkpoint, or opens one with the framework's own loader."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from hookcore import ParameterError
from hookcore.testing.adapters.catalogue import deciding
from hookcore.testing.adapters.harness import Harness, Scenario
from hookcore.testing.adapters.lives import Trial

if TYPE_CHECKING:
    from collections.abc import Sequence


def ask(what: str, harness: type[Harness], directory: Path, **arguments: Any) -> Any:
    """Call the function `what` of this module in a new process, for a harness and JSON values; return the result."""
    name, module = harness.__qualname__, sys.modules[harness.__module__]
    if "." in name or harness.__module__ == "__main__":
        raise ParameterError(
            f"The harness {name} must be at the top level of a module, not of __main__: a new process imports it."
        )
    # Test runners import modules from folders that are not on the import path.
    root = Path(module.__file__ or ".").resolve().parents[module.__name__.count(".")]
    request = directory / f"{what}.json"
    request.write_text(json.dumps({"what": what, "harness": [module.__name__, name], "arguments": arguments}))
    code = f"from {__name__} import answer; answer({str(request)!r})"
    path = os.pathsep.join([*(entry for entry in sys.path if entry), str(root)])
    done = subprocess.run(  # noqa: S603 - this Python, and code of ours
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    answered = request.with_suffix(".answer")
    if done.returncode or not answered.exists():
        raise AssertionError(f"The new process failed:\n{done.stderr[-4000:]}")
    return json.loads(answered.read_text())


def answer(request: str) -> None:
    """Make the call that the file `request` describes, and write the result beside it."""
    asked = json.loads(Path(request).read_text())
    module, name = asked["harness"]
    harness = getattr(importlib.import_module(module), name)
    with tempfile.TemporaryDirectory() as directory:
        answered = globals()[asked["what"]](harness, Path(directory), **asked["arguments"])
    Path(request).with_suffix(".answer").write_text(json.dumps(answered))


def resume(harness: type[Harness], directory: Path, scenario: dict[str, Any], checkpoints: Sequence[str]) -> list[dict[str, Any]]:
    """Resume a run from each of the checkpoints; return what each run leaves behind, and its events."""
    trial, lives = Trial(harness, directory), []
    for checkpoint in checkpoints:
        life = trial.life(*deciding(trial), scenario=Scenario(**scenario), resume=Path(checkpoint)).ends()
        lives.append({"left": life.left, "within": life.within(), "trained": life.job.trained})
    return lives


def predict(harness: type[Harness], directory: Path, checkpoint: str) -> str:
    """Return the predictions of the model that the framework's own loader makes from a checkpoint."""
    del directory
    return harness.predict_from(Path(checkpoint))


def as_json(scenario: Scenario) -> dict[str, Any]:
    """Return the arguments that make `scenario`."""
    return attrs.asdict(scenario, recurse=False)
