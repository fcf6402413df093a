"""Logs in CSV: `CSVLog`'s, Keras CSVLogger's, Lightning CSVLogger's, and others with a column `epoch`.

* A row is an observation. Rows of the same epoch and step are one, if no two of them have the same metric: Lightning writes
  separate rows for training and validation. Metrics of training between two evaluations belong to the later one.
* An empty cell, and `NA`, is a metric that was not produced. Any other cell must be a number; `nan` is one.
* A last row without a line end may be cut within a number, and is left out.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from hookcore.authoring import format_count, printable
from hookcore_plugins.report.recorded.rows import (
    MAX_EPOCH,
    Row,
    at_evaluations,
    counts_from_zero,
    fail,
    history_of,
    joined,
    names_of,
    split_rate,
    whole,
)
from hookcore_plugins.report.recorded.run import RecordedRun
from hookcore_plugins.report.recorded.text import lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SEPARATORS: Final = ",;\t|"
_ABSENT: Final = frozenset({"", "NA"})
_OURS: Final = ("epoch", "step", "learning_rate")


def is_log(head: str) -> bool:
    """Return whether a file with this beginning is a log in CSV."""
    return _separator(head.partition("\n")[0]) is not None


def lack(head: str) -> str | None:
    """Return what a CSV with this beginning lacks to be a log; None if it is not a CSV with a header and numbers."""
    header, _, rows = head.partition("\n")
    for separator in _SEPARATORS:
        columns, cells = _cells(header, separator), _cells(rows.partition("\n")[0], separator)
        if len(columns) == len(cells) > 1 and any(map(_is_number, cells)):
            near = next((column for column in columns if column.lower() in _OURS[:2]), None)
            hint = "" if near is None else f" Rename {near!r} to {near.lower()!r}."
            there = printable(", ".join(map(repr, columns)), 200)
            text = f"a CSV needs a column 'epoch' or 'step', and its columns are {there}.{hint}"
            return f"{text} docs/replay.md lists the logs that are read."
    return None


def _cells(line: str, separator: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.strip().split(separator)]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _separator(header: str) -> str | None:
    for separator in _SEPARATORS:
        if {"epoch", "step"} & set(_cells(header, separator)) and separator in header:
            return separator
    return None


@attrs.define
class _Table:
    """The file as it is read."""

    path: Path
    line: int = 0
    cut: bool = False
    """Whether its last line lacks its end."""

    def texts(self) -> Iterator[str]:
        for line, text, is_whole in lines(self.path):
            self.line = line
            if not is_whole and self.line > 1:
                self.cut = True
                return
            yield text

    @property
    def where(self) -> str:
        return f"{self.path}, line {self.line}"


def read(path: Path, name: str) -> list[RecordedRun]:
    """Read the log. Raises `RecordedError`."""
    table = _Table(path)
    texts = table.texts()
    header = next(texts, "")
    separator = _separator(header)
    if separator is None:
        fail(path, "its first line is not the header of a log: there is no column 'epoch' or 'step'.")
    try:
        columns = next(csv.reader([header], delimiter=separator, strict=True))
        columns = [column.strip() for column in columns]
        twice = sorted({column for column in columns if columns.count(column) > 1})
        if twice:
            fail(table.where, f"column {printable(repr(twice[0]), 60)} comes twice.")
        rows = [_row(table, columns, cells) for cells in csv.reader(texts, delimiter=separator, strict=True) if cells]
    except csv.Error as error:
        fail(table.where, f"it is not CSV: {error}.")
    rows = joined(_with_epochs(path, rows))
    lightning = _is_lightning(columns, rows, path_rows=table.line - 1)
    if lightning:
        rows = _carry_rates([attrs.evolve(row, step=None if row.step is None else row.step + 1) for row in rows])
    names = names_of(columns)
    if lightning or columns[:1] != ["epoch"]:  # in CSVLog's file each row is an observation already
        rows = at_evaluations(rows, names)
    history, seconds, notes = history_of(path, rows)
    if table.cut:
        notes.append(f"{table.where}: the last line is left out: its end is missing, so its last number may be cut.")
    kind = "Lightning CSVLogger" if lightning else "CSVLog" if "step" in columns else "Keras CSVLogger"
    return [
        RecordedRun(
            path=path,
            name=name,
            format=kind,
            history=history,
            seconds=seconds,
            metric_names=names,
            notes=tuple(notes),
        )
    ]


def _row(table: _Table, columns: Sequence[str], cells: Sequence[str]) -> Row:
    where = table.where
    if len(cells) != len(columns):
        fail(where, f"it has {format_count(len(cells), 'cell')}, and the header has {format_count(len(columns), 'column')}.")
    if table.line > MAX_EPOCH:
        fail(where, f"at most {MAX_EPOCH} rows are read.")
    values: dict[str, float] = {}
    for column, cell in zip(columns, cells, strict=True):
        text = cell.strip()
        if text in _ABSENT:
            continue
        try:
            values[column] = float("" if "_" in text else text)  # Python takes 1_000 for a number
        except ValueError:
            fail(where, f"column {printable(repr(column), 60)} must have numbers, got {printable(repr(cell), 60)}.")
    epoch, step = (None if (value := values.pop(name, None)) is None else whole(where, name, value) for name in _OURS[:2])
    metrics, rate = split_rate(where, values)
    return Row(where, metrics, epoch, step, rate=rate)


def _with_epochs(path: Path, rows: Sequence[Row]) -> list[Row]:
    """Give a row without an epoch, as Lightning writes for learning rates, the epoch of the next row, else of the one before."""
    if all(row.epoch is None for row in rows):
        if any(row.step is None for row in rows):
            fail(path, "there are rows without an epoch and a step.")
        return [attrs.evolve(row, epoch=0, by_steps=True) for row in rows]
    known: int | None = None
    for row in reversed(rows):
        known = row.epoch = known if row.epoch is None else row.epoch
    for row in rows:
        known = row.epoch = known if row.epoch is None else row.epoch
    return list(rows)


def _is_lightning(columns: Sequence[str], rows: Sequence[Row], path_rows: int) -> bool:
    """Return whether Lightning wrote it: sorted columns, a row for each kind of metric, and steps counted from zero."""
    if "step" not in columns or list(columns) != sorted(columns) or not rows:
        return False
    return path_rows > len(rows) or counts_from_zero(rows)


def _carry_rates(rows: Sequence[Row]) -> list[Row]:
    """Give each row the rate that was logged last, and drop rows that have only a rate."""
    rate = None
    found = []
    for row in rows:
        rate = row.rate if row.rate is not None else rate
        if row.metrics:
            found.append(attrs.evolve(row, rate=rate))
    return found
