"""Choose the hyperparameters of a run for TensorBoard's table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hookcore.authoring import framework_of, learning_rate_of

if TYPE_CHECKING:
    from hookcore import Run

_LONGEST: Final = 200  # characters
_LARGEST: Final = 1e300
# Parameters in which runs that should be compared do not differ: the table shows five columns, and hides the others.
_NOT_COMPARED: Final = frozenset(
    {"asynchronous", "clock", "deadline", "directory", "graph", "interval", "now", "path", "signals", "stream", "summary"}
    | {"when_busy", "when_full", "keep_best", "keep_every", "keep_last", "missing", "style"}
)


def hyperparameters(run: Run) -> dict[str, bool | float | str]:
    """Return what TensorBoard's table shows of the run: short texts, and numbers that it does not leave out."""
    rate = learning_rate_of(run)
    values: dict[str, Any] = {"framework": framework_of(run.trainee)}
    values |= {"epochs": run.epochs} if run.epochs is not None else {}
    values |= {"learning_rate": rate} if rate is not None else {}
    for plugin, parameters in run.parameters.items():
        if plugin != run.plugin:
            values |= {f"{plugin}.{name}": value for name, value in parameters.items() if name not in _NOT_COMPARED}
    return {name: value if _fits_table(value) else str(value)[:_LONGEST] for name, value in values.items()}


def _fits_table(value: Any) -> bool:
    """Whether the table can hold `value` as it is: it would leave out NaN and the infinities."""
    return isinstance(value, bool) or (isinstance(value, int | float) and abs(value) < _LARGEST)
