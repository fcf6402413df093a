"""What `Report` finds around the run: versions, the checkpoints on disk, and the user's name, which it leaves out."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hookcore import store
from hookcore.authoring import framework_of
from hookcore_plugins.report.items import KeptCheckpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hookcore import Run

_LIBRARIES: Final = {
    name: name for name in ("jax", "keras", "lightgbm", "lightning", "numpy", "tensorflow", "torch", "transformers", "xgboost")
} | {"sklearn": "scikit-learn"}
"""Libraries whose version matters, by the name of their module."""


def kept_checkpoints(directories: Iterable[str]) -> list[KeptCheckpoint]:
    """List the checkpoints in `directories`, and why the retention of the newest in each directory keeps them."""
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
    """Return the versions of Python, the platform and the libraries; none of them names a user or a host."""
    versions = {"python": platform.python_version(), "platform": platform.platform(), "hookcore": metadata.version("hookcore")}
    if framework_of(run.trainee) != "none":
        versions["trained by"] = framework_of(run.trainee)
    for module, distribution in _LIBRARIES.items():
        if module in sys.modules:
            with contextlib.suppress(metadata.PackageNotFoundError):
                versions[distribution] = metadata.version(distribution)
    return versions


def without_home(text: str) -> str:
    """Return `text`, which is JSON, with `~` for the home directory, as its path has the user's name."""
    home = json.dumps(str(Path.home()))[1:-1]
    return text if len(home) <= 1 else re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
