"""Make the history of a run from the rows of a log: check their order, and join rows that belong together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NoReturn

import attrs

from hookcore import History, MetricNames
from hookcore.authoring import printable
from hookcore_plugins.report.recorded.run import RATES, TRAINING, VALIDATION, RecordedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_EPOCH: Final = 10_000_000
"""The largest epoch, and the largest number of rows, that is accepted."""
MAX_GAP: Final = 100_000
"""The most epochs in a row that may be missing from a log."""
_EPOCHS: Final = ("epoch", "train/epoch")
"""The names under which the epoch is logged as a metric by step."""


@attrs.define
class Row:
    """The content of a log at one place."""

    where: str
    """The file and the line, for errors."""
    metrics: dict[str, float]
    epoch: int | None = None
    step: int | None = None
    by_steps: bool | None = None
    """None if the log does not tell: then a row is by steps if another row of its epoch follows."""
    rate: float | None = None
    time: float | None = None
    """Seconds, since 1970 or since the run began."""


def fail(where: object, problem: str) -> NoReturn:
    """Raise `RecordedError` about a place in a file."""
    raise RecordedError(f"{printable(str(where))}: {problem}")


def number(where: str, name: str, value: Any) -> float:
    """Return a number from JSON, which may be one of protobuf's strings for NaN and the infinities."""
    if isinstance(value, str) and value in {"NaN", "Infinity", "-Infinity"}:
        return float(value.replace("Infinity", "inf"))
    if type(value) is bool or not isinstance(value, int | float):
        fail(where, f"{printable(name, 60)!r} must be a number, got {printable(repr(value), 60)}.")
    try:
        return float(value)
    except OverflowError:
        fail(where, f"{printable(name, 60)!r} is too large for a float.")


def whole(where: str, name: str, value: Any) -> int:
    """Return a whole number of at least 0, which may be written as a float."""
    found = number(where, name, value)
    if not (found.is_integer() and 0 <= found < 2**63):
        fail(where, f"{name!r} must be a whole number of at least 0, got {printable(repr(value), 60)}.")
    return int(found)


def check_name(where: str, name: Any) -> str:
    """Return the name of a metric."""
    if not isinstance(name, str) or not name or not name.isprintable():
        fail(where, f"the name of a metric must be text in one line, got {printable(repr(name), 60)}.")
    return name


def names_of(metrics: Iterable[str]) -> MetricNames:
    """Return the prefixes of validation metrics in a log that does not tell them."""
    known = list(metrics)
    there = tuple(prefix for prefix in VALIDATION if any(name != prefix and name.startswith(prefix) for name in known))
    return MetricNames(validation=there or ("val_",), training=TRAINING)


def joined(rows: Iterable[Row]) -> list[Row]:
    """Join rows of one epoch and step if they have no metric in common: a log may have a row for each kind of metric."""
    found: list[Row] = []
    for row in rows:
        last = found[-1] if found else None
        same = last is not None and row.step is not None and (last.epoch, last.step) == (row.epoch, row.step)
        if last is not None and same and not last.metrics.keys() & row.metrics.keys():
            last.metrics.update(row.metrics)
            last.rate = last.rate if row.rate is None else row.rate
            last.time, last.by_steps = row.time, row.by_steps
        else:
            found.append(row)
    return found


def at_evaluations(rows: Sequence[Row], names: MetricNames) -> list[Row]:
    """Make observations from the rows of a log that has training metrics more often than evaluations.

    As in a run with plugins, an observation is an evaluation or an epoch's end, with the metrics of training since the
    observation before. In a log without validation metrics each row is an observation.
    """
    if not any(names.is_validation(name) for row in rows for name in row.metrics):
        return list(rows)
    found: list[Row] = []
    since: dict[str, float] = {}
    for i, row in enumerate(rows):
        since.update(row.metrics)
        ends_epoch = i + 1 == len(rows) or rows[i + 1].epoch != row.epoch
        if ends_epoch or any(names.is_validation(name) for name in row.metrics):
            found.append(attrs.evolve(row, metrics=since))
            since = {}
    return found


def history_of(path: object, rows: Sequence[Row]) -> tuple[History, list[float | None], list[str]]:
    """Return the history of `rows`, the seconds of each, and notes. Raises `RecordedError` if they are not those of one run."""
    if not any(row.metrics for row in rows):
        fail(path, "there is no metric in it.")
    if len(rows) > MAX_EPOCH:
        fail(path, f"it has {len(rows)} observations, and at most {MAX_EPOCH} are read.")
    history, notes, before = History(), list[str](), None
    for i, row in enumerate(rows):
        epoch = row.epoch
        if epoch is None or epoch > MAX_EPOCH:
            fail(row.where, f"its epoch must be a number up to {MAX_EPOCH}, got {epoch}.")
        if before is not None:
            _check_order(before, row, notes)
        follows = i + 1 < len(rows) and rows[i + 1].epoch == epoch
        by_steps = row.step is not None and follows if row.by_steps is None else row.by_steps
        history.append(epoch, row.metrics, row.step, by_steps=by_steps, learning_rate=row.rate)
        before = row
    if rows[0].epoch:
        notes.append(f"Its first epoch is number {rows[0].epoch}, counted from 0: those before are not in the log.")
    times = [row.time for row in rows]
    # Large times count from 1970, others from the beginning of the run.
    began = next((time for time in times if time is not None and time > 1e8), 0.0)  # noqa: PLR2004 - three years
    seconds = [None if time is None or not math.isfinite(time) else max(time - began, 0.0) for time in times]
    return history, seconds, notes


def _check_order(before: Row, row: Row, notes: list[str]) -> None:
    assert before.epoch is not None and row.epoch is not None  # noqa: S101, PT018 - history_of has checked
    if row.epoch < before.epoch or (row.step is not None and before.step is not None and row.step < before.step):
        what = f"epoch {row.epoch} after {before.epoch}" if row.epoch < before.epoch else f"step {row.step} after {before.step}"
        fail(
            row.where,
            f"{what}. The log goes back, so it holds more than one run, or one that was resumed without its earlier rows "
            "being removed. Give each run its own file.",
        )
    if row.epoch == before.epoch and (row.step is None or before.step is None):
        fail(row.where, f"epoch {row.epoch} comes twice, and no step tells the two apart. Remove one.")
    gap = row.epoch - before.epoch - 1
    if gap > MAX_GAP:
        fail(row.where, f"epoch {row.epoch} after {before.epoch}: {gap} epochs are missing.")
    if gap > 0:
        span = f"{before.epoch + 1}" if gap == 1 else f"{before.epoch + 1} to {row.epoch - 1}"
        notes.append(f"{row.where}: epoch {span}, counted from 0, is not in the log, and counts as one without metrics.")


def split_rate(where: str, metrics: Mapping[str, float]) -> tuple[dict[str, float], float | None]:
    """Return the metrics without learning rates, and the rate if there is exactly one."""
    rates = [name for name in metrics if name.rpartition("/")[2] in RATES or name.startswith("lr-")]
    own = {check_name(where, name): value for name, value in metrics.items() if name not in rates}
    return own, metrics[rates[0]] if len(rates) == 1 else None


def rows_by_step(
    path: object, points: Mapping[int, Mapping[str, float]], times: Mapping[int, float]
) -> tuple[list[Row], MetricNames]:
    """Return the rows of a log that has metrics by step, and how its validation metrics are named.

    If any epoch is a fraction, rows belong to the epoch in which their number lies, and a whole number is the end of the epoch
    before it.
    """
    steps = sorted(points)
    told_epochs = any(key in values for values in points.values() for key in _EPOCHS)
    are_epochs = steps == list(range(len(steps))) and not told_epochs
    fractions = any(not float(values.get(key, 0)).is_integer() for values in points.values() for key in _EPOCHS)
    rows, epoch = [], 0
    for step in steps:
        where, values = f"{path}, step {step}", dict(points[step])
        told = next((values.pop(key) for key in _EPOCHS if key in values), None)
        if told is not None and not 0 <= told <= MAX_EPOCH:
            fail(where, f"'epoch' must be a number from 0 to {MAX_EPOCH}, got {told}.")
        if told is not None:
            epoch = max(epoch, math.ceil(told) - 1 if fractions else int(told))
        metrics, rate = split_rate(where, values)
        at = (step, step + 1) if are_epochs else (epoch, step)
        row = Row(where, metrics, *at, None if told_epochs or are_epochs else True, rate, times.get(step))
        if metrics:
            rows.append(row)
    names = names_of(key for row in rows for key in row.metrics)
    if told_epochs and counts_from_zero(rows):
        rows = [attrs.evolve(row, step=row.step + 1) for row in rows if row.step is not None]
    return at_evaluations(rows, names), names


def counts_from_zero(rows: Sequence[Row]) -> bool:
    """Return whether steps count from zero, as Lightning's do: then the last of each epoch is one less than a multiple of it."""
    ends = [row for i, row in enumerate(rows) if i + 1 == len(rows) or rows[i + 1].epoch != row.epoch]
    counts = [(row.epoch, row.step) for row in ends if row.epoch is not None and row.step is not None]
    return len(counts) > 1 and all((step + 1) % (epoch + 1) == 0 for epoch, step in counts)
