"""Choose the hyperparameters of a run for TensorBoard's table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hookcore.authoring import HIDDEN, learning_rate_of, state

if TYPE_CHECKING:
    from hookcore import Run

_LONGEST: Final = 200  # characters
_LARGEST: Final = 1e300
# Parameters that do not affect training: if they differ, as paths do, each would take one of the five columns that are shown.
_NOT_COMPARED: Final = frozenset(
    {"asynchronous", "clock", "deadline", "directory", "graph", "interval", "now", "path", "signals", "stream", "summary"}
    | {"when_busy", "when_full", "keep_best", "keep_every", "keep_last", "missing", "style"}
)


def hyperparameters(run: Run) -> dict[str, bool | float | str]:
    """Return the row of the run in TensorBoard's table: its configuration, and the parameters of plugins that may be varied.

    TensorBoard makes a column of each name that any run has, and shows five columns, those in which the runs differ before the
    others. No run can remove a column that is the same in all: it does not know the others, and they list their own names. So
    such a column stays, at the end. A run without a value does not make a column differ. So numbers are always listed, because
    they are what people vary; other parameters are left out at their defaults.
    """
    rate = learning_rate_of(run)
    values: dict[str, Any] = {"epochs": run.epochs} if run.epochs is not None else {}
    values |= {"learning_rate": rate} if rate is not None else {}
    for plugin, parameters in run.parameters.items():
        chosen = run.chosen_parameters.get(plugin, ())
        for name, value in parameters.items():
            if name == "config" and isinstance(value, dict):
                values |= state.flattened(value, "config.")
            elif plugin != run.plugin and name not in _NOT_COMPARED and (name in chosen or _is_number(value)):
                values[f"{plugin}.{name}"] = value
    shown = {name: value for name, value in values.items() if value != HIDDEN}
    return {name: value if _fits_table(value) else str(value)[:_LONGEST] for name, value in shown.items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fits_table(value: Any) -> bool:
    """Return whether the table can hold `value` unchanged: it would leave out NaN and the infinities."""
    return isinstance(value, bool) or (isinstance(value, int | float) and abs(value) < _LARGEST)
