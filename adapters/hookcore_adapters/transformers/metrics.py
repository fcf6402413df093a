"""Which of the numbers that `Trainer` logs are metrics, and what each is called without the name of its evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "eval"
"""How `Trainer.evaluate` begins the names of its metrics unless it is told otherwise; `_` follows."""
OF_UPDATES: Final = {"loss", "grad_norm"}
"""What `Trainer` logs of the updates since it logged last."""
_RUNTIME: Final = "_runtime"
_KNOWN: Final = {"epoch", "learning_rate", "total_flos"}
"""What is no metric, as the run knows it."""
_SPEEDS: Final = (_RUNTIME, "_samples_per_second", "_steps_per_second", "_tokens_per_second", "_model_preparation_time")
"""How the names of what is no metric end, as it tells how fast the machine was: a resumed run would have others."""


def metrics_of(logged: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics among the numbers that `Trainer` has logged."""
    return {
        name: value
        for name, value in logged.items()
        if isinstance(value, int | float) and name not in _KNOWN and not name.endswith(_SPEEDS)
    }


def prefix_of(evaluated: Mapping[str, Any]) -> str | None:
    """Return how `Trainer` begins these names, if they are of an evaluation, a prediction or all of training."""
    return next((name.removesuffix(_RUNTIME) for name in evaluated if name.endswith(_RUNTIME)), None)


def plain(metrics: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the metrics of an evaluation without the name of it, as in `loss` for `eval_loss`."""
    return {name.removeprefix(f"{prefix}_"): value for name, value in metrics.items()}
