"""The result of a demo, and the table of results at its end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hookcore import Run

INTERRUPTED: Final = 130
"""The exit status of a program that Ctrl-C ended, by the convention of shells."""


@attrs.frozen
class Result:
    """How a framework trained, and whether its best checkpoint has the recorded score when it is loaded."""

    framework: str
    epochs: int = 0
    stopped_by: str = ""
    """The plugins that voted to stop, or how the run ended otherwise."""
    metric: str = ""
    """The metric that ranks checkpoints, as in `"val_loss"`."""
    best: float | None = None
    """The best recorded value; None if no epoch was finished."""
    best_epoch: int = 0
    """The epoch of the best value, counted from one."""
    again: float | None = None
    """The value of the checkpoint, loaded with the framework's own loader."""
    missing: str = ""
    """What to install if the framework is missing; then all other fields are empty."""

    @property
    def is_verified(self) -> bool:
        """Whether the loaded checkpoint has the recorded score, to the last bit, or there was no epoch to score."""
        return not self.missing and self.best == self.again

    @classmethod
    def of(cls, run: Run, framework: str, metric: str) -> Result:
        """Return the result of a run before its checkpoint is scored."""
        plugins = ", ".join(dict.fromkeys(reason.plugin for reason in run.stop_reasons))
        ended = "no plugin" if run.outcome == "completed" else str(run.outcome)
        return cls(framework, len(run.history.epochs), plugins or ended, metric)

    def write(self, path: Path) -> None:
        """Write it for the process that started this one."""
        path.write_text(json.dumps(attrs.asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Result | None:
        """Return the result that another process wrote, or None if it did not write one."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None


def show(results: Iterable[Result]) -> None:
    """Print a table of the frameworks that have trained."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    titles = ("framework", "epochs", "stopped by", "best at", "best value", "loaded again")
    table = Table(*titles, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for result in results:
        table.add_row(result.framework, str(result.epochs), result.stopped_by, *_score(result))
    Console(highlight=False).print("", table, "", sep="\n")


def _score(result: Result) -> tuple[str, str, str]:
    if result.best is None:
        return "-", "-", "no score yet"
    again = "equal to it" if result.is_verified else f"NOT equal to it: {result.again:.6f}"
    return str(result.best_epoch), f"{result.metric} {result.best:.6f}", again
