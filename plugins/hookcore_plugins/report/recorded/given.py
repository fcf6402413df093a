"""Make a recorded run of metrics in memory: of columns such as Keras's `history.history`, or of rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hookcore import History, MetricError, MetricNames, Metrics, ParameterError
from hookcore_plugins.report.recorded.rows import Row, history_of, names_of, split_rate
from hookcore_plugins.report.recorded.run import RecordedRun
from hookcore_plugins.report.recorded.search import read_run

NAME = "the metrics that were given"


def run_of(metrics: Any) -> RecordedRun:
    """Return the run that `metrics` is or tells of.

    * a `RecordedRun`, or a path that `read_run` reads;
    * a run's `History`, such as `run.history`;
    * a mapping of names to lists of numbers, one for each epoch, None for a metric that was not produced, such as Keras's
      `history.history`;
    * an iterable of mappings of names to numbers, one for each epoch, without metrics that were not produced.

    Numbers may be NumPy's, or tensors of one element. Raises `RecordedError` for a path, and `ParameterError` for anything else.
    """
    if isinstance(metrics, RecordedRun):
        return metrics
    if isinstance(metrics, str | os.PathLike):
        return read_run(metrics)
    if isinstance(metrics, History):
        names = names_of(metrics)
        return _run(metrics, [None] * len(metrics), names)
    if isinstance(metrics, Mapping):
        metrics = _rows(metrics)
    if not isinstance(metrics, Iterable):
        raise ParameterError(f"metrics must be a path, a recorded run, a history, columns or rows, got {type(metrics).__name__}.")
    rows = []
    for epoch, given in enumerate(metrics):
        if not isinstance(given, Mapping):
            raise ParameterError(f"metrics of epoch {epoch} must map names to numbers, got {given!r}.")
        where = f"{NAME}, epoch {epoch}"
        try:
            own, rate = split_rate(where, dict(Metrics(given).items()))
        except MetricError as error:
            raise ParameterError(f"{where}: {error}") from error
        rows.append(Row(where, own, epoch, rate=rate))
    history, seconds, _ = history_of(NAME, rows)
    return _run(history, seconds, names_of(history))


def _rows(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ParameterError(
            f"metrics must have as many values in each list, so that their epochs are known, got {lengths}. "
            "Put None for a metric that was not produced."
        )
    return [
        {name: values[epoch] for name, values in columns.items() if values[epoch] is not None}
        for epoch in range(next(iter(lengths.values()), 0))
    ]


def _run(history: History, seconds: list[float | None], names: MetricNames) -> RecordedRun:
    return RecordedRun(path=Path(NAME), name=NAME, format="Python", history=history, seconds=seconds, metric_names=names)
