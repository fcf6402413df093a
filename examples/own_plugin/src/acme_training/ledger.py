"""A ledger of finished runs: one line of JSON for each."""

from __future__ import annotations

import datetime as dt
import json
import math
import os  # noqa: TC003 - attrs takes the type of a parameter from its converter, and hookcore converts strings to that type
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import attrs

from hookcore import hookimpl
from hookcore.authoring import validators

if TYPE_CHECKING:
    from hookcore import Run


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _path(value: str | os.PathLike[str]) -> Path:
    return Path(value)


@attrs.define(eq=False)
class RunLedger:
    """Append one line of JSON to `path` when a run ends, however it ends.

    The line holds the time (UTC), the outcome, the project, the epochs and steps done, the metrics of the last epoch (a NaN or an
    infinity as null), and every reason to stop. The file and its directory are created if they do not exist.

    * `path`: the file. Several runs may share it: each line is written at once.
    * `project`: a name in each line, to tell runs apart.

    Raises `ParameterError` for a blank project, and `OSError` when training begins if the file cannot be written to. A ledger
    that fails never stops a run, because it is an observer.
    """

    role: ClassVar[str] = "observer"

    path: Path = attrs.field(converter=_path)
    project: str = attrs.field(default="unnamed", validator=validators.text())
    _now: Callable[[], dt.datetime] = attrs.field(default=_now, alias="now", repr=False)

    @hookimpl
    def on_train_begin(self) -> None:
        """Check that the file can be written to, now rather than after hours of training."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.open("a").close()

    @hookimpl
    def on_train_end(self, run: Run) -> None:
        """Append the line."""
        last = run.history.last()
        line = {
            "time": self._now().isoformat(timespec="seconds"),
            "project": self.project,
            "outcome": run.outcome,
            "epochs": len(run.history),
            "steps": run.progress.step,
            "metrics": {name: value if math.isfinite(value) else None for name, value in last.items()},
            "stop_reasons": [f"{reason.plugin}: {reason.message}" for reason in run.stop_reasons],
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
