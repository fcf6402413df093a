"""The snapshot of a forest, in memory and in files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from hookcore import state

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

MODEL: Final = "model.txt"
"""The forest in a checkpoint, which `lightgbm.Booster(model_file=...)` opens."""
_REST: Final = "training.json"


@attrs.define(eq=False)
class ForestSnapshot:
    """Hold the first iterations of a forest.

    Later iterations do not change them, so a snapshot is only a number until a checkpoint needs their text, which takes time.
    """

    iterations: int
    learning_rate: float
    results: Sequence[Any]
    """The evaluations after the last of these iterations, as LightGBM lists them."""
    best_iteration: int = 0
    """The best iteration, counted from 1, if LightGBM's own early stopping had ended training by then; else 0."""
    best_score: Sequence[Sequence[Any]] = ()
    """The evaluations after the best iteration: the data's name, the metric's and the value of each."""
    text: str | None = attrs.field(default=None, repr=False)

    @property
    def nbytes(self) -> int:
        """The number of bytes that it takes on disk; 0 before its text is made."""
        return len(self.text or "")

    def write(self, directory: Path) -> None:
        """Write it into `directory`, from any thread. Its text must have been made."""
        (directory / MODEL).write_text(self.text or "", encoding="utf-8")
        rest = {
            "iterations": self.iterations,
            "learning_rate": self.learning_rate,
            "results": [[*result[:2], float(result[2]), bool(result[3])] for result in self.results],
            "best_iteration": self.best_iteration,
            "best_score": [[data, metric, float(value)] for data, metric, value in self.best_score],
        }
        (directory / _REST).write_text(state.dumps(rest), encoding="utf-8")

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Return the snapshot that `write` wrote."""
        text, rest = (directory / MODEL).read_text(encoding="utf-8"), state.loads((directory / _REST).read_text(encoding="utf-8"))
        results = [tuple(result) for result in rest["results"]]
        best = int(rest.get("best_iteration", 0)), rest.get("best_score", ())  # earlier versions did not write these
        return cls(int(rest["iterations"]), float(rest["learning_rate"]), results, *best, text)
