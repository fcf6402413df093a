"""Logs that are one JSON value: run.json, trainer_state.json of Transformers, Keras's History, and evals_result of boosters.

* Keras's History: `json.dump(history.history, file)`, a list for each metric, also with `history.epoch` beside it, and the table
  that pandas makes of it. Lists of different lengths are refused, because it is unknown which epochs were validated.
* `evals_result` of XGBoost and LightGBM: lists by data and metric. A round is an epoch and a step. The metrics are called
  `<data>-<metric>`, as in our adapters, and data whose name begins with `train` or `dtrain` is that of training.
* trainer_state.json: metrics of training between two evaluations belong to the later one, as in the Transformers adapter.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

import attrs

from hookcore import HookcoreError, MetricNames
from hookcore.authoring import format_count, printable
from hookcore_plugins.report.record import RunRecord
from hookcore_plugins.report.recorded.rows import (
    Row,
    at_evaluations,
    check_name,
    fail,
    history_of,
    joined,
    names_of,
    number,
    split_rate,
    whole,
)
from hookcore_plugins.report.recorded.run import RecordedError, RecordedRun
from hookcore_plugins.report.recorded.text import content

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_SPEEDS: Final = ("_runtime", "_samples_per_second", "_steps_per_second", "_tokens_per_second", "_model_preparation_time")
"""The endings of the names under which Transformers logs the machine's speed."""


_START: Final = re.compile(r'\{\s*"[^"]*"\s*:\s*(\[|\{\s*"[^"]*"\s*:\s*(\[|[-\dN]))')
"""The beginning of an object of lists, or of objects of lists or numbers."""


def is_log(head: str) -> bool:
    """Return whether a file with this beginning may be one of these logs. If it is then not whole JSON, it is a damaged one."""
    return _START.match(head) is not None or '"log_history"' in head or re.match(r'\{\s*"report"\s*:', head) is not None


def read(path: Path, name: str) -> list[RecordedRun] | None:
    """Read the log, or return None if the file is not one. Raises `RecordedError` if it is damaged."""
    try:
        found = json.loads(content(path).decode("utf-8-sig"), object_pairs_hook=_unique(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, RecordedError):
            raise
        where = f"{path}, line {error.lineno}" if isinstance(error, json.JSONDecodeError) else path
        fail(where, "it is not whole JSON; the writer may have been cut.")
    if not isinstance(found, dict) or not found:
        return None
    kind = _kind(found)
    return None if kind is None else [kind(path, name, found)]


def _unique(path: Path) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice = next(key for i, (key, _) in enumerate(pairs) if key in dict(pairs[:i]))
            fail(path, f"{printable(repr(twice), 60)} comes twice in an object.")
        return found

    return unique


def _kind(found: Mapping[str, Any]) -> Callable[[Path, str, Any], RecordedRun] | None:
    values = list(found.values())
    inner = [item for value in values if isinstance(value, dict) for item in value.values()]
    if "report" in found and "history" in found:
        kind: Callable[[Path, str, Any], RecordedRun] | None = _run_json
    elif isinstance(found.get("log_history"), list):
        kind = _trainer_state
    elif isinstance(found.get("history"), dict) or all(isinstance(value, list) for value in values):
        kind = _keras_history
    elif not all(isinstance(value, dict) and value for value in values):
        kind = None
    elif all(isinstance(item, list) for item in inner):
        kind = _evals_result
    else:
        indices = all(key.isdigit() for value in values for key in value)
        kind = _keras_history if indices and not any(isinstance(item, dict | list) for item in inner) else None
    return kind


def _run_json(path: Path, name: str, found: object) -> RecordedRun:
    del found  # the report's own reader checks every field
    try:
        record = RunRecord.read(path)
    except HookcoreError as error:
        raise RecordedError(str(error)) from error
    seconds: list[float | None] = []
    past: float | None = 0.0
    for took in record.seconds:
        past = None if past is None or took is None else past + took
        seconds.append(past)
    return RecordedRun(
        path=path,
        name=name,
        format="run.json",
        history=record.history,
        seconds=seconds,
        metric_names=record.metric_names,
        directions={metric: mode for metric, mode in record.directions.items() if mode is not None},
        outcome=record.outcome,
        why=tuple(record.why()),
        stop_reasons=tuple(record.stop_reasons),
        decisions=tuple(record.decisions),
        monitor=record.monitor,
        epochs=record.epochs,
        duration=record.total_seconds,
        parameters=record.plugins,
        config=record.config,
        record=record,
    )


def _keras_history(path: Path, name: str, found: Mapping[str, Any]) -> RecordedRun:
    epochs = found.get("epoch") if isinstance(found.get("history"), dict) else None
    columns = {key: _column(path, key, values) for key, values in found.get("history", found).items()}
    lengths = {key: len(values) for key, values in columns.items()}
    longest = max(lengths.values(), default=0)
    short = next((key for key, length in lengths.items() if length != longest), None)
    if short is not None:
        fail(
            path,
            f"{printable(repr(short), 60)} has {format_count(lengths[short], 'value')} and others have {longest}, and the file "
            "does not tell which epochs lack one. Record the run by CSVLog, JSONLog or Report instead.",
        )
    if epochs is None:
        epochs = list(range(longest))
    elif not isinstance(epochs, list) or len(epochs) != longest:
        fail(path, f"'epoch' must be a list of {longest} numbers.")
    rows = []
    for i, epoch in enumerate(epochs):
        where = f"{path}, epoch {i}"
        values = {key: number(where, key, column[i]) for key, column in columns.items() if column[i] is not None}
        metrics, rate = split_rate(where, values)
        rows.append(Row(where, metrics, whole(where, "epoch", epoch), rate=rate))
    return _plain(path, name, "Keras History", rows, names_of(columns))


def _column(path: Path, key: str, values: Any) -> list[Any]:
    if isinstance(values, dict):
        if sorted(values, key=int) != [str(i) for i in range(len(values))]:
            fail(path, f"{printable(repr(key), 60)} must have a value for each epoch from 0 on.")
        return [values[str(i)] for i in range(len(values))]
    if not isinstance(values, list):
        fail(path, f"{printable(repr(key), 60)} must be a list of numbers, got {printable(repr(values), 60)}.")
    return values


def _evals_result(path: Path, name: str, found: Mapping[str, Mapping[str, list[Any]]]) -> RecordedRun:
    columns = {f"{data}-{metric}": values for data, metrics in found.items() for metric, values in metrics.items()}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        fail(path, f"its lists have {' and '.join(map(str, sorted(lengths)))} values, and all should have as many.")
    rows = []
    for i, values in enumerate(zip(*columns.values(), strict=True)):
        where = f"{path}, round {i}"
        metrics = {check_name(where, key): number(where, key, value) for key, value in zip(columns, values, strict=True)}
        rows.append(Row(where, metrics, i, i + 1))
    training = tuple(f"{data}-" for data in found if data.startswith(("train", "dtrain")))
    names = MetricNames(tuple(f"{data}-" for data in found if f"{data}-" not in training) or ("val_",), training)
    return _plain(path, name, "evals_result", rows, names)


def _trainer_state(path: Path, name: str, found: Mapping[str, Any]) -> RecordedRun:
    names = MetricNames(validation=("eval_",))
    rows, duration = [], None
    for i, logged in enumerate(found["log_history"]):
        where = f"{path}, entry {i} of log_history"
        if not isinstance(logged, dict):
            fail(where, "it must be an object.")
        if "train_runtime" in logged:  # the entry at the end, with sums
            duration = number(where, "train_runtime", logged["train_runtime"])
            continue
        step, at = whole(where, "step", logged.get("step")), number(where, "epoch", logged.get("epoch"))
        if not 0 <= at < math.inf:
            fail(where, f"'epoch' must be a number of at least 0, got {at}.")
        known = {"epoch", "step", "total_flos", "num_input_tokens_seen", "learning_rate"}
        own = {key: value for key, value in logged.items() if key not in known and not key.endswith(_SPEEDS)}
        numbers = {check_name(where, key): number(where, key, value) for key, value in own.items() if not isinstance(value, str)}
        rate = number(where, "learning_rate", logged["learning_rate"]) if "learning_rate" in logged else None
        rows.append(Row(where, numbers, max(math.ceil(at) - 1, 0), step, not at.is_integer(), rate))
    epochs = found.get("num_train_epochs")
    run = _plain(path, name, "Transformers trainer_state.json", at_evaluations(joined(rows), names), names)
    return attrs.evolve(run, duration=duration, epochs=epochs if type(epochs) is int and epochs > 0 else None)


def _plain(path: Path, name: str, kind: str, rows: Sequence[Row], names: MetricNames) -> RecordedRun:
    history, seconds, notes = history_of(path, rows)
    return RecordedRun(
        path=path, name=name, format=kind, history=history, seconds=seconds, metric_names=names, notes=tuple(notes)
    )
