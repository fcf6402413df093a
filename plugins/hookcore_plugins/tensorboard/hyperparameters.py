"""Choose the hyperparameters of a run for TensorBoard's table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hookcore.authoring import HIDDEN, learning_rate_of, state

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
    """Return what TensorBoard's table shows of the run: the configuration that it was given, and what may differ between runs.

    A column that is the same in all runs hides one that differs, and no run knows the others. So parameters at their
    defaults are left out, except numbers, which are what people vary: an empty cell would hide a 0.
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
    """Whether the table can hold `value` as it is: it would leave out NaN and the infinities."""
    return isinstance(value, bool) or (isinstance(value, int | float) and abs(value) < _LARGEST)
