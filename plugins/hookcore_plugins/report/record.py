"""What `Report` records of a run, as `run.json` holds it, and what can be told from it."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import attrs

from hookcore import Decision, History, HookcoreError, Monitor, Outcome, Progress, StopReason, store
from hookcore.authoring import local_path, state

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hookcore.authoring import Mode

Item = TypeVar("Item")

FILE: Final = "run.json"
FORMAT: Final = 1
_GRAPH: Final = re.compile(r"model-[0-9a-f]{16}\.png")
"""The name of the file with the model's picture. No other file is read, whichever name `run.json` gives."""
_NUMBERS: Final = frozenset({"value", "best", "seconds", "began"})


class ReportError(HookcoreError):
    """The report of a run does not exist, cannot be read or written, or needs a library that is not installed."""


@attrs.frozen
class Failure:
    """An error that a plugin raised."""

    plugin: str
    hook: str
    error: str
    traceback: str
    disabled: bool


@attrs.frozen
class KeptCheckpoint:
    """A checkpoint that is kept, and why."""

    path: str
    epoch: int
    step: int
    metric: str | None
    value: float | None
    reasons: str


@attrs.frozen
class Part:
    """A part of the run, in one process: it ends with the run, or with the checkpoint from which the next part resumes."""

    began: float
    """The time at which it began, in seconds since 1970."""
    seconds: float
    step: int
    """The step at which it began."""


@attrs.frozen
class Best:
    """The best observation of a metric."""

    metric: str
    mode: Mode
    epoch: int
    value: float


@attrs.frozen
class Chart:
    """A metric by epoch: its names in training and in validation, each None if it was not observed there."""

    metric: str
    training: str | None
    validation: str | None


@attrs.frozen(eq=False, kw_only=True)
class RunRecord:
    """A run as `Report` recorded it in a `run.json`."""

    path: Path
    """The file that holds it."""
    outcome: str
    exception: str | None
    """The exception that ended the run, or None."""
    traceback: str | None = attrs.field(repr=False)
    epochs: int | None
    """How many epochs were asked for."""
    progress: Progress
    history: History = attrs.field(repr=False)
    learning_rates: list[float | None] = attrs.field(repr=False)
    """The learning rate at the end of each epoch of the history, before a plugin changed it."""
    seconds: list[float | None] = attrs.field(repr=False)
    """How long each epoch of the history took."""
    monitor: str | None
    """The metric whose best epoch counts."""
    directions: Mapping[str, Mode | None] = attrs.field(repr=False)
    stop_reasons: list[StopReason] = attrs.field(repr=False)
    decisions: list[Decision] = attrs.field(repr=False)
    checkpoints: list[KeptCheckpoint] = attrs.field(repr=False)
    failures: list[Failure] = attrs.field(repr=False)
    plugins: Mapping[str, Mapping[str, Any]] = attrs.field(repr=False)
    """The parameters of each plugin."""
    parts: list[Part] = attrs.field(repr=False)
    plugin_seconds: Mapping[str, float] = attrs.field(repr=False)
    environment: Mapping[str, str] = attrs.field(repr=False)
    graph: str | None = attrs.field(default=None, repr=False)
    """The name of the file with the model's picture, beside the report."""
    graph_hint: str | None = attrs.field(default=None, repr=False)
    """Why there is no picture of the model although one was asked for."""

    @classmethod
    def read(cls, run: str | os.PathLike[str]) -> Self:
        """Read the report in the directory `run`, or in that file. Raises `ReportError`."""
        given = local_path(run, "run")
        path = given
        try:
            path = given / FILE if given.is_dir() else given
            text = store.read_file(path).decode()
        except FileNotFoundError:
            message = f"There is no {path}. A run writes this file if Report({str(path.parent)!r}) is among its plugins."
            raise ReportError(message) from None
        except (OSError, ValueError) as error:
            raise ReportError(f"{path} cannot be read: {error}.") from error
        try:
            return cls._from_data(path, state.loads(text))
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ReportError(f"{path} is not a report of a run: {error!r}.") from error

    @classmethod
    def _from_data(cls, path: Path, data: Mapping[str, Any]) -> Self:
        if data["report"] != FORMAT:
            raise ValueError(f"its format is {data['report']!r}, and this version of hookcore reads format {FORMAT}")
        history = History()
        history.load_state_dict(data["history"])
        graph = data["graph"]
        return cls(
            path=path,
            outcome=str(Outcome(data["outcome"])),
            exception=_text(data["exception"]),
            traceback=_text(data["traceback"]),
            epochs=None if data["epochs"] is None else int(data["epochs"]),
            progress=build(Progress, data["progress"]),
            history=history,
            learning_rates=_column(data["learning_rates"], history),
            seconds=_column(data["seconds"], history),
            monitor=_text(data["monitor"]),
            directions={name: mode if mode in {"min", "max"} else None for name, mode in data["directions"].items()},
            stop_reasons=[build(StopReason, vote) for vote in data["stop_reasons"]],
            decisions=[build(Decision, decision) for decision in data["decisions"]],
            checkpoints=[build(KeptCheckpoint, checkpoint) for checkpoint in data["checkpoints"]],
            failures=[build(Failure, failure) for failure in data["failures"]],
            plugins={name: dict(parameters) for name, parameters in data["plugins"].items()},
            parts=[build(Part, part) for part in data["parts"]],
            plugin_seconds={name: float(seconds) for name, seconds in data["plugin_seconds"].items()},
            environment={name: str(version) for name, version in data["environment"].items()},
            graph=graph if graph is not None and _GRAPH.fullmatch(graph) else None,
            graph_hint=_text(data["graph_hint"]),
        )

    def dumps(self) -> str:
        """Return the content of its file: standard JSON, with NaN and the infinities as `{"float": "nan"}` and the like."""
        plain = attrs.asdict(self, filter=lambda field, _: field.name != "history")
        del plain["path"]
        best = self.best(self.monitor)
        best_as_dict = None if best is None else attrs.asdict(best)
        return state.dumps({"report": FORMAT, **plain, "best": best_as_dict, "history": self.history.state_dict()})

    def why(self) -> list[str]:
        """Say why the run ended, in a line for each reason."""
        if self.outcome == Outcome.RUNNING:
            return ["it is still running, or was killed; this is the latest that was recorded"]
        if self.exception is not None:
            return [self.exception]
        if self.stop_reasons:
            return [f"{vote.plugin or 'loop'}, in epoch {vote.epoch + 1}: {vote.message}" for vote in self.stop_reasons]
        return ["all epochs are done" if self.epochs is None else f"{self.epochs} of {self.epochs} epochs are done"]

    def best(self, metric: str | None) -> Best | None:
        """Return the best observation of `metric`, or None if it has no observation or no known direction."""
        mode = None if metric is None else self.directions.get(metric)
        if metric is None or mode is None or metric not in self.history:
            return None
        monitor = Monitor(mode)
        for epoch, value in zip(self.history.epochs, self.history[metric], strict=True):
            if monitor.improves(value):
                monitor = attrs.evolve(monitor, best=value, best_epoch=epoch)
        if monitor.best is None or monitor.best_epoch is None:
            return None
        return Best(metric, mode, monitor.best_epoch, monitor.best)

    def last(self, metric: str) -> float:
        """Return the latest observation of `metric`, or NaN if it has no observation."""
        return next((value for value in reversed(self.history[metric]) if not math.isnan(value)), math.nan)

    def charts(self) -> list[Chart]:
        """Return the metrics in pairs of training and validation: the monitor's first, then in the order of appearance."""
        names = dict.fromkeys(name.removeprefix("val_") or name for name in self.history)
        charts = [
            Chart(name, name if name in self.history else None, f"val_{name}" if f"val_{name}" in self.history else None)
            for name in names
        ]
        return sorted(charts, key=lambda chart: self.monitor is None or self.monitor not in {chart.training, chart.validation})

    def rate_changes(self) -> list[tuple[int, float]]:
        """Return each epoch from which the learning rate differed from that of the epoch before, with the new rate."""
        rates = [(epoch, rate) for epoch, rate in zip(self.history.epochs, self.learning_rates, strict=True) if rate is not None]
        return [(epoch, rate) for (_, before), (epoch, rate) in pairwise(rates) if rate != before]

    @property
    def total_seconds(self) -> float:
        """How long all parts of the run took together."""
        return sum(part.seconds for part in self.parts)

    def time_shares(self) -> list[tuple[str | None, float, float]]:
        """Return the name, seconds and share of each plugin and, named None, of training itself; the largest share first."""
        total = self.total_seconds
        training = max(0.0, total - sum(self.plugin_seconds.values()))
        rows: list[tuple[str | None, float]] = [(None, training), *self.plugin_seconds.items()]
        shares = [(name, seconds, seconds / total if total > 0 else 0.0) for name, seconds in rows]
        return sorted(shares, key=lambda row: -row[1])


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _column(values: Any, history: History) -> list[float | None]:
    """Return a number or None for each epoch of the history."""
    column = [None if value is None else float(value) for value in values]
    if len(column) != len(history):
        raise ValueError(f"a column of {len(column)} values for {len(history)} epochs")
    return column


def build(kind: type[Item], raw: Mapping[str, Any]) -> Item:
    """Build a `kind` from `raw`, with a plain number for each field that holds one, and a string for any other."""
    return kind(**dict(_fields(raw)))


def _fields(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in raw.items():
        if name in {"epoch", "step", "batch", "accumulated"}:
            yield name, int(value)
        elif value is None or isinstance(value, bool):
            yield name, value
        else:
            yield name, float(value) if name in _NUMBERS else str(value)
