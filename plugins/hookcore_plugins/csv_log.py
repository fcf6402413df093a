"""Write the metrics of every observation to a CSV file."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs

from hookcore import Run, hookimpl
from hookcore.authoring import schema, validators
from hookcore_plugins import log_file

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping

_STATE: Final = schema.fields({"rows": schema.optional(schema.integer)})
_FIRST_COLUMNS = ("epoch", "step", "learning_rate")
_RETURNING: Final = SimpleNamespace(write=str)
"""A file for which `writerow` returns the row: it returns what `write` returns."""


@attrs.define(eq=False, on_setattr=validators.convert_and_validate)
class CSVLog:
    """Write one row per observation to the CSV file `path`: epoch, step, learning rate, then the metrics by name.

    An observation is the end of an epoch or, in a loop that evaluates by steps, an evaluation. Epochs count from 0. `step` is
    the number of optimizer updates so far. The learning rate is the one in use then, before any plugin reduced it; if the
    trainee has no learning rate, there is no such column. Floats are written so that they read back exactly. A metric that comes
    later than the first row gets a column: the file is then replaced as a whole. Each row can be read as soon as its observation
    is over.

    * `separator`: one character.
    * `absent`: the content of a cell whose metric was not produced.
    * `only_metrics`: leave out the columns `step` and `learning_rate`.
    * `append`: continue the file of an earlier run, under one header. By default that file is moved aside, to `log.1.csv` beside
      `log.csv` and so on. A resumed run always continues its file, without the rows that were written after the checkpoint.

    While a run trains, any other plugin or run that would write the file is refused when its training begins.

    A metric named like one of the first three columns is not written. A file without an `epoch` column was not written by this
    plugin and is moved aside. Raises `ParameterError` for a path that cannot be a file and for a value outside its range.
    """

    role: ClassVar[str] = "observer"

    path: Path = attrs.field(converter=validators.as_path, validator=validators.file())
    separator: str = attrs.field(default=",")
    append: bool = attrs.field(default=False, validator=validators.boolean())
    absent: str = attrs.field(default="", validator=attrs.validators.instance_of(str), kw_only=True)
    only_metrics: bool = attrs.field(default=False, validator=validators.boolean(), kw_only=True)
    _columns: list[str] = attrs.field(init=False, factory=list)
    _rows: int | None = attrs.field(init=False, default=None)
    """How many rows there are in the file; None before a run."""
    _file: log_file.LogFile | None = attrs.field(init=False, default=None, repr=False)
    """The file, from the beginning of a run to its end."""

    @separator.validator
    def _one_character(self, attribute: Any, value: Any) -> None:
        if not isinstance(value, str) or len(value) != 1 or value in '"\r\n':
            validators.reject(self, attribute.alias, value, "one character, no quote and no line end")

    @hookimpl
    def on_train_begin(self, run: Run) -> None:
        """Prepare the file: keep the rows that the run continues, or empty it."""
        self._file = log_file.LogFile.open(self.path, run)
        text = log_file.earlier_lines(self.path, run, append=self.append)
        columns, rows = self._read(text, run)
        if run.resumed_from is not None:
            # By step only if the earlier run lacked this plugin: a step does not tell whether its epoch had ended.
            rows = log_file.rows_up_to(rows, run.resumed_from.step, _step_of) if self._rows is None else rows[: self._rows]
        self._columns, self._rows = columns, len(rows)
        self._file.replace(self._table(rows) if columns else "")

    @hookimpl(wrapper=True)  # after all other plugins, so that the row has what they log
    def on_metrics(self, run: Run, metrics: Mapping[str, float]) -> Generator[None, None, None]:
        """Write the row."""
        try:
            yield
        finally:
            self._write(run, metrics)

    def _write(self, run: Run, metrics: Mapping[str, float]) -> None:
        assert self._file is not None  # noqa: S101 - from on_train_begin on
        row: dict[str, float] = dict(metrics.items())
        row["epoch"] = run.progress.epoch
        if not self.only_metrics:
            row["step"] = run.progress.step
            rate = run.history.learning_rates[-1]
            if rate is not None:
                row["learning_rate"] = rate
        if row.keys() <= set(self._columns) and not self._file.is_changed():
            self._file.add(self._line(row))
            self._rows = (self._rows or 0) + 1
            return
        # There is a new column, or another program has changed the file: it may lack the header, rows or the last line end.
        columns, rows = self._read(self._file.read(), run)
        names = {*self._columns, *columns, *row}
        first = _FIRST_COLUMNS[:1] if self.only_metrics else _FIRST_COLUMNS
        self._columns = [name for name in first if name in names] + sorted(names.difference(first))
        rows.append(row)
        self._file.replace(self._table(rows))
        self._rows = len(rows)

    @hookimpl(trylast=True)
    def on_train_end(self) -> None:
        """Unlock the file, all of which is on the disk then."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self, text: str, run: Run) -> tuple[list[str], list[dict[str, Any]]]:
        """Return the columns and rows of `text`, the content of the file; if they are not this plugin's, move the file aside."""
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=self.separator)
        columns, rows = list(reader.fieldnames or ()), list(reader)
        if text and "epoch" not in columns:
            log_file.set_aside(self.path, run)
            return [], []
        return columns, rows

    def _table(self, rows: Iterable[Mapping[str, Any]]) -> str:
        return "".join(self._line(row) for row in [dict(zip(self._columns, self._columns, strict=True)), *rows])

    def _line(self, row: Mapping[str, Any]) -> str:
        writer: Any = csv.writer(_RETURNING, delimiter=self.separator, lineterminator="\n")
        line: str = writer.writerow([row.get(name, self.absent) for name in self._columns])
        return line

    def state_dict(self) -> dict[str, Any]:
        """Return how far the file was written, so that a resumed run continues there."""
        return {"rows": self._rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken."""
        self._rows = _STATE(state)["rows"]


def _step_of(row: Mapping[str, Any]) -> float | None:
    try:
        return float(row["step"])
    except (KeyError, TypeError, ValueError):
        return None
