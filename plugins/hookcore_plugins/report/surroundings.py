"""Find what surrounds a run: the versions, the command, the commit, the sizes of the data, and the checkpoints."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hookcore import store
from hookcore.authoring import command_without_secrets, framework_of
from hookcore_plugins.report.items import KeptCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hookcore import Run

_LIBRARIES: Final = {
    name: name for name in ("jax", "keras", "lightgbm", "lightning", "numpy", "tensorflow", "torch", "transformers", "xgboost")
} | {"sklearn": "scikit-learn"}
"""Libraries whose versions are recorded, by the names of their modules."""
_LONGEST_ARGUMENT: Final = 500
_MOST_ARGUMENTS: Final = 200
_GIT_SECONDS: Final = 2.0
"""How long git may take, once a run. In a very large repository that is too short, and the commit stays unknown."""
_GIT: Final = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "status")
"""Git, without hooks and the file system monitor. A filter that the repository configures may still run."""


def command() -> list[str]:
    """Return the command line of this process, with secrets hidden, and without the code that `python -c` was given."""
    arguments = ["python", *sys.orig_argv[1:]]
    if sys.argv[:1] == ["-c"]:
        arguments = ["python", "-c", "...", *sys.argv[1:]]
    return [argument[:_LONGEST_ARGUMENT] for argument in command_without_secrets(arguments)[:_MOST_ARGUMENTS]]


def revision() -> tuple[str | None, bool | None]:
    """Return the git commit of the script, or else of the working directory, and whether tracked files differ from it.

    Both are None if there is no repository, or if git fails. Nothing is written, and no hook of git runs.
    """
    with contextlib.suppress(Exception):  # whatever goes wrong, the record lacks these two values and no more
        script = getattr(sys.modules.get("__main__"), "__file__", None)
        directories = [Path.cwd()] if script is None else [Path(script).resolve().parent, Path.cwd()]
        for directory in directories:
            if any((parent / ".git").exists() for parent in (directory, *directory.parents)):
                return _revision_in(directory)
    return None, None


def _revision_in(directory: Path) -> tuple[str | None, bool | None]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    answer = subprocess.run(  # noqa: S603 - git, with nothing from outside
        [*_GIT, "--porcelain=v2", "--branch", "--untracked-files=no", "--no-renames", "--ignore-submodules=all"],
        cwd=directory,
        env={**plain, "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_GIT_SECONDS,
        check=True,
    )
    lines = answer.stdout.decode(errors="replace").splitlines()
    commit = next(line.removeprefix("# branch.oid ") for line in lines if line.startswith("# branch.oid "))
    return commit if re.fullmatch("[0-9a-f]{40,64}", commit) else None, any(not line.startswith("#") for line in lines)


def data_sizes(run: Run) -> dict[str, int]:
    """Return the sizes of the data that the loop knows: batches in an epoch, and samples to validate on."""
    known = {"batches_per_epoch": run.steps_per_epoch, "validation_samples": _samples(run.validation_data)}
    return {name: size for name, size in known.items() if size is not None}


def _samples(data: Any) -> int | None:
    """Return the number of samples in arrays or loaders, by their shape or their data set; None if it is unknown."""
    with contextlib.suppress(Exception):  # whatever the data of a framework raise
        if isinstance(data, list | tuple) and data and all(hasattr(loader, "dataset") for loader in data):
            return sum(len(loader.dataset) for loader in data)
        first = next(iter(data.values())) if isinstance(data, dict) else data[0] if isinstance(data, list | tuple) else data
        return int(first.shape[0]) if hasattr(first, "shape") else len(first.dataset)
    return None


def kept_checkpoints(directories: Iterable[str]) -> list[KeptCheckpoint]:
    """List the checkpoints in `directories`, and why each is kept, by the retention in the directory's newest checkpoint."""
    kept = []
    for directory in directories:
        available = store.available(Path(directory))
        retention = available[-1].retention if available else None
        reasons = {} if retention is None else retention.reasons(available)
        for saved in available:
            why = ", ".join(reasons.get(saved.path, ()))
            kept.append(KeptCheckpoint(os.fspath(saved.path), saved.epoch, saved.step, saved.metric, saved.value, why))
    return kept


def environment(run: Run) -> dict[str, str]:
    """Return the versions of Python, the platform and the libraries, none of which names a user or a host."""
    versions = {"python": platform.python_version(), "platform": platform.platform(), "hookcore": metadata.version("hookcore")}
    if framework_of(run.trainee) != "none":
        versions["trained by"] = framework_of(run.trainee)
    for module, distribution in _LIBRARIES.items():
        if module in sys.modules:
            with contextlib.suppress(metadata.PackageNotFoundError):
                versions[distribution] = metadata.version(distribution)
    return versions


def without_home(text: str) -> str:
    """Return `text`, which is JSON, with `~` for the home directory, whose path contains the user's name."""
    home = json.dumps(str(Path.home()))[1:-1]
    return text if len(home) <= 1 else re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
