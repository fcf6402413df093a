"""MLflow's store in SQLite, `mlflow.db`: every run in it that was not deleted. MLflow itself is not needed.

If the steps of a run are 0, 1, 2 and so on, they are its epochs; otherwise a metric `epoch` has the epochs. If a metric was
logged twice at a step, the later value counts. Metrics of the machine, `system/...`, are left out.

If runs have equal names, their experiments follow, and the beginning of their ids if the experiments are equal too, as in
`base:digits:1a2b3c4d`.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from hookcore import Outcome
from hookcore_plugins.report.recorded.rows import MAX_EPOCH, check_name, fail, history_of, number, rows_by_step, whole
from hookcore_plugins.report.recorded.run import RecordedRun

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEAD: Final = b"SQLite format 3\x00"
_OUTCOMES: Final = {
    "FINISHED": Outcome.COMPLETED,
    "FAILED": Outcome.FAILED,
    "KILLED": Outcome.INTERRUPTED,
    "RUNNING": Outcome.RUNNING,
    "SCHEDULED": Outcome.RUNNING,
}
_RUNS: Final = """
    SELECT run_uuid, runs.name, experiments.name, status, start_time, end_time FROM runs
    LEFT JOIN experiments ON experiments.experiment_id = runs.experiment_id
    WHERE runs.lifecycle_stage = 'active' ORDER BY start_time
"""
_METRICS: Final = """
    SELECT key, value, timestamp, step, is_nan FROM metrics WHERE run_uuid = ? AND key NOT LIKE 'system/%' ORDER BY timestamp
"""
_TABLES: Final = frozenset({"experiments", "runs", "metrics", "params"})
_SHORT_ID: Final = 8
_WORDS: Final = {"True": True, "False": False, "None": None}
_WHOLE: Final = re.compile(r"-?(0|[1-9][0-9]{0,14})")
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[+-]?[0-9]{1,3})?")


def read(path: Path, name: str) -> list[RecordedRun] | None:
    """Read the runs that have metrics, or return None if the database is not MLflow's. Raises `RecordedError`."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as store:
            tables = {row[0] for row in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables >= _TABLES:
                return None
            (rows,) = store.execute("SELECT count(*) FROM metrics").fetchone()
            if rows > MAX_EPOCH:
                fail(path, f"it has {rows} values, and at most {MAX_EPOCH} are read.")
            runs = [run for run in store.execute(_RUNS).fetchall() if _has_metrics(store, run[0])]
            found = [_run(path, name, store, run, label) for run, label in zip(runs, _labels(runs), strict=True)]
    except sqlite3.Error as error:
        fail(path, f"it cannot be read as MLflow's store: {error}.")
    if not found:
        fail(path, "no run in it has a metric.")
    return found


def _has_metrics(store: sqlite3.Connection, run: str) -> bool:
    query = "SELECT 1 FROM metrics WHERE run_uuid = ? AND key NOT LIKE 'system/%' LIMIT 1"
    return store.execute(query, (run,)).fetchone() is not None


def _labels(runs: Sequence[tuple[Any, ...]]) -> list[str]:
    """Return a different name for each run."""
    ids = [str(run[0]) for run in runs]
    names = [str(called or identity) for identity, called, *_ in runs]
    experiments = [str(experiment) for _, _, experiment, *_ in runs]
    there = Counter(zip(names, experiments, strict=True))
    found = []
    for identity, name, experiment in zip(ids, names, experiments, strict=True):
        in_other = any(other == name and of != experiment for other, of in there)
        is_alone = there[name, experiment] == 1
        found.append(":".join([name, *[experiment] * in_other, *[identity[:_SHORT_ID]] * (not is_alone)]))
    counts = Counter(found)
    return [label if counts[label] == 1 else identity for identity, label in zip(ids, found, strict=True)]


def _run(path: Path, name: str, store: sqlite3.Connection, run: tuple[Any, ...], label: str) -> RecordedRun:
    identity, _, _, status, began, ended = run
    where = f"{path}, run {label}"
    points: dict[int, dict[str, float]] = {}
    times: dict[int, float] = {}
    for key, value, timestamp, at, is_nan in store.execute(_METRICS, (identity,)):
        step, time = whole(where, "step", at), number(where, "timestamp", timestamp) / 1000
        points.setdefault(step, {})[check_name(where, key)] = float("nan") if is_nan else _value(where, key, value)
        times[step] = time
    rows, names = rows_by_step(where, points, times)
    history, seconds, notes = history_of(where, rows)
    parameters = dict(store.execute("SELECT key, value FROM params WHERE run_uuid = ?", (identity,)))
    took = None if began is None or ended is None else (number(where, "end", ended) - number(where, "start", began)) / 1000
    return RecordedRun(
        path=path,
        name=f"{name}#{label}",
        label=label,
        format="MLflow",
        history=history,
        seconds=seconds,
        metric_names=names,
        outcome=_OUTCOMES.get(str(status)),
        duration=took,
        config={str(key): _parameter(str(value)) for key, value in parameters.items()},
        notes=tuple(notes),
    )


def _parameter(text: str) -> Any:
    """Return the number, truth value or None that MLflow has stored as text; other text as it is."""
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _value(where: str, key: str, value: object) -> float:
    found = number(where, key, value)
    # MLflow stores infinity as the largest float.
    return found if abs(found) < sys.float_info.max else found * 2
