"""Select the metrics among the numbers that `Trainer` logs, and split their names into prefix and name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX: Final = "eval"
"""The default prefix of the metrics of `Trainer.evaluate`, without the `_` that follows."""
OF_UPDATES: Final = {"loss", "grad_norm"}
"""The metrics of the updates since the previous log."""
_RUNTIME: Final = "_runtime"
_KNOWN: Final = {"epoch", "learning_rate", "total_flos"}
"""Numbers that are not metrics, because the run has them itself."""
_SPEEDS: Final = (_RUNTIME, "_samples_per_second", "_steps_per_second", "_tokens_per_second", "_model_preparation_time")
"""The endings of numbers that are not metrics, because they measure the machine's speed and would differ in a resumed run."""


def metrics_of(logged: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics among the numbers that `Trainer` has logged."""
    return {
        name: value
        for name, value in logged.items()
        if isinstance(value, int | float) and name not in _KNOWN and not name.endswith(_SPEEDS)
    }


def prefix_of(evaluated: Mapping[str, Any]) -> str | None:
    """Return the prefix of these metrics, or None for a log within training, which lacks the runtime."""
    return next((name.removesuffix(_RUNTIME) for name in evaluated if name.endswith(_RUNTIME)), None)


def plain(metrics: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the metrics of an evaluation by their names without the prefix, such as `loss` for `eval_loss`."""
    return {name.removeprefix(f"{prefix}_"): value for name, value in metrics.items()}
