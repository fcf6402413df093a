"""Choose the chart of each metric: training and validation share one, whatever the loop calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hookcore_plugins.tensorboard.written import TRAIN, VALIDATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hookcore import Run
    from hookcore_plugins.tensorboard.board import Board


def write(board: Board, run: Run, prefix: str, at: int, metrics: Mapping[str, float], *, for_table: bool = False) -> None:
    """Hand over `metrics` to `board` at the epoch or step `at`, with `prefix` before the names of their charts.

    `for_table` adds those of validation for the table of hyperparameters.
    """
    validated = {name: value for name, value in metrics.items() if run.metric_names.is_validation(name)}
    trained = {name: value for name, value in metrics.items() if name not in validated}
    for directory, values in ((TRAIN, trained), (VALIDATION, validated)):
        if values:
            board.scalars(directory, at, prefix, {_chart(run, name): value for name, value in values.items()})
    if validated and for_table:  # the table shows only metrics of the directory that has the hyperparameters
        board.scalars(TRAIN, at, "hparams/", validated)


def with_rate(metrics: Mapping[str, float], rate: float | None) -> dict[str, float]:
    """Return `metrics` with the learning rate if it is known, in place of one that Keras's callbacks have added."""
    return dict(metrics) if rate is None else {**metrics, "learning_rate": rate}


def _chart(run: Run, name: str) -> str:
    """Return the plain name, or `name` if another metric of its kind had that first, as with two validation sets."""
    names = run.metric_names
    plain, kind = names.plain(name), names.is_validation(name)
    first = next((other for other in run.history if names.plain(other) == plain and names.is_validation(other) == kind), name)
    return plain if first == name else name
