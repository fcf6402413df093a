"""What `Report` recorded of a run: read from its file, shown as text, as a picture, or as a page."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import attrs

from hookcore import Decision, History, HookcoreError, Monitor, Outcome, Progress, StopReason, store
from hookcore.authoring import did_you_mean, state

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from hookcore.authoring import Mode

Made = TypeVar("Made")

FILE: Final = "run.json"
FORMAT: Final = 1
GRAPH: Final = re.compile(r"model-[0-9a-f]{16}\.png")
"""What the file with the model's picture is called. Nothing else beside a report is read, whatever the report says."""
_NUMBERS: Final = frozenset({"value", "best", "seconds", "began"})
_MOST: Final = 2**30


class ReportError(HookcoreError):
    """There is no report of a run, what is there cannot be read, or what it takes to show it is not installed."""


@attrs.frozen
class Failure:
    """An error that a plugin raised."""

    plugin: str
    hook: str
    error: str
    traceback: str
    disabled: bool


@attrs.frozen
class Kept:
    """A checkpoint that is kept, and why."""

    path: str
    epoch: int
    step: int
    metric: str | None
    value: float | None
    reasons: str


@attrs.frozen
class Part:
    """A part of the run, in one process: it ends with the run, or with the checkpoint that the next part goes on from."""

    began: float
    """When it began, in seconds since 1970."""
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
    """One metric by epoch: in training and in validation, as far as it was observed."""

    metric: str
    training: str | None
    validation: str | None


@attrs.frozen(eq=False, kw_only=True)
class RunReport:
    """A run as `Report` recorded it in a `run.json`.

    In a notebook it shows as the picture of its curves.
    """

    path: Path
    """The file that it is in."""
    outcome: str
    exception: str | None
    """What ended the run, where that was an exception."""
    traceback: str | None = attrs.field(repr=False)
    epochs: int | None
    """How many were asked for."""
    progress: Progress
    history: History = attrs.field(repr=False)
    learning_rates: list[float | None] = attrs.field(repr=False)
    """The learning rate that each epoch of the history ended with, before a plugin changed it."""
    seconds: list[float | None] = attrs.field(repr=False)
    """How long each epoch of the history took."""
    monitor: str | None
    """The metric whose best epoch counts."""
    directions: Mapping[str, Mode | None] = attrs.field(repr=False)
    stop_reasons: list[StopReason] = attrs.field(repr=False)
    decisions: list[Decision] = attrs.field(repr=False)
    checkpoints: list[Kept] = attrs.field(repr=False)
    failures: list[Failure] = attrs.field(repr=False)
    plugins: Mapping[str, Mapping[str, Any]] = attrs.field(repr=False)
    """The parameters of each plugin."""
    parts: list[Part] = attrs.field(repr=False)
    plugin_seconds: Mapping[str, float] = attrs.field(repr=False)
    environment: Mapping[str, str] = attrs.field(repr=False)
    graph: str | None = attrs.field(default=None, repr=False)
    """The name of the file with the model's picture, beside the report."""
    graph_hint: str | None = attrs.field(default=None, repr=False)
    """Why there is none although it was asked for."""

    @classmethod
    def read(cls, run: str | os.PathLike[str]) -> Self:
        """The report in the directory `run`, or in that file. Raises `ReportError`."""
        given = Path(run)
        path = given / FILE if given.is_dir() else given
        try:
            if path.stat().st_size > _MOST:
                raise ReportError(f"{path} is no report of a run: it is too large.")
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ReportError(
                f"There is no {path}. A run writes one where Report({str(path.parent)!r}) is among its plugins."
            ) from None
        except (OSError, ValueError) as error:
            raise ReportError(f"{path} cannot be read: {error}.") from error
        try:
            return cls._made(path, state.loads(text))
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ReportError(f"{path} is no report of a run: {error!r}.") from error

    @classmethod
    def _made(cls, path: Path, data: Mapping[str, Any]) -> Self:
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
            progress=record(Progress, data["progress"]),
            history=history,
            learning_rates=_column(data["learning_rates"], history),
            seconds=_column(data["seconds"], history),
            monitor=_text(data["monitor"]),
            directions={name: mode if mode in {"min", "max"} else None for name, mode in data["directions"].items()},
            stop_reasons=[record(StopReason, one) for one in data["stop_reasons"]],
            decisions=[record(Decision, one) for one in data["decisions"]],
            checkpoints=[record(Kept, one) for one in data["checkpoints"]],
            failures=[record(Failure, one) for one in data["failures"]],
            plugins={name: dict(parameters) for name, parameters in data["plugins"].items()},
            parts=[record(Part, one) for one in data["parts"]],
            plugin_seconds={name: float(seconds) for name, seconds in data["plugin_seconds"].items()},
            environment={name: str(version) for name, version in data["environment"].items()},
            graph=graph if graph is not None and GRAPH.fullmatch(graph) else None,
            graph_hint=_text(data["graph_hint"]),
        )

    def dumps(self) -> str:
        """The text of its file: standard JSON, but for `{"float": "nan"}` and the like where a number is none."""
        plain = attrs.asdict(self, filter=lambda field, _: field.name != "history")
        del plain["path"]
        best = self.best(self.monitor)
        best_as_dict = None if best is None else attrs.asdict(best)
        record = {"report": FORMAT, **plain, "best": best_as_dict, "history": self.history.state_dict()}
        return state.dumps(record)

    def why(self) -> list[str]:
        """Why the run ended."""
        if self.outcome == Outcome.RUNNING:
            return ["it goes on, or was killed; this is what was last recorded"]
        if self.exception is not None:
            return [self.exception]
        if self.stop_reasons:
            return [f"{vote.plugin or 'loop'}, in epoch {vote.epoch + 1}: {vote.message}" for vote in self.stop_reasons]
        return ["all epochs are done" if self.epochs is None else f"{self.epochs} of {self.epochs} epochs are done"]

    def best(self, metric: str | None) -> Best | None:
        """The best observation of `metric`; None where there is none, or where it is not known what is better."""
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
        """The latest observation of `metric`; NaN where there is none."""
        return next((value for value in reversed(self.history[metric]) if not math.isnan(value)), math.nan)

    def charts(self) -> list[Chart]:
        """The metrics in pairs, that of the monitor first, then in the order in which they appeared."""
        names = dict.fromkeys(name.removeprefix("val_") or name for name in self.history)
        charts = [
            Chart(name, name if name in self.history else None, f"val_{name}" if f"val_{name}" in self.history else None)
            for name in names
        ]
        return sorted(charts, key=lambda one: self.monitor is None or self.monitor not in {one.training, one.validation})

    def rate_changes(self) -> list[tuple[int, float]]:
        """The epochs from which on the learning rate was another, with the new one."""
        rates = [(epoch, rate) for epoch, rate in zip(self.history.epochs, self.learning_rates, strict=True) if rate is not None]
        return [(epoch, rate) for (_, before), (epoch, rate) in pairwise(rates) if rate != before]

    @property
    def total_seconds(self) -> float:
        """How long the run took, all its parts together."""
        return sum(part.seconds for part in self.parts)

    def time_shares(self) -> list[tuple[str | None, float, float]]:
        """What took the time: plugins by name, and None for the training itself; seconds and share of the whole, most first."""
        total = self.total_seconds
        training = max(0.0, total - sum(self.plugin_seconds.values()))
        rows: list[tuple[str | None, float]] = [(None, training), *self.plugin_seconds.items()]
        shares = [(name, seconds, seconds / total if total > 0 else 0.0) for name, seconds in rows]
        return sorted(shares, key=lambda row: -row[1])

    def page(self) -> str:
        """One HTML page that needs nothing else. Raises `ReportError` where Jinja or Matplotlib is not installed."""
        from hookcore_plugins.report.page import page

        return page(self)

    def picture(self, kind: str = "svg") -> bytes:
        """The curves as one picture, `"svg"` or `"png"`. Raises `ReportError` where Matplotlib is not installed."""
        if kind not in {"svg", "png"}:
            raise ReportError(
                f"A report is shown as 'html', 'svg' or 'png', not {kind!r}.{did_you_mean(kind, ['html', 'svg', 'png'])}"
            )
        from hookcore_plugins.report.picture import picture

        return picture(self, kind)

    def save(self, path: str | os.PathLike[str], kind: str | None = None) -> Path:
        """Write the page or a picture: `"html"`, `"svg"` or `"png"`, as the file's suffix says unless `kind` does.

        Raises `ReportError`.
        """
        target = Path(path)
        kind = target.suffix.removeprefix(".").lower() if kind is None else kind
        content = self.page().encode() if kind == "html" else self.picture(kind)
        try:
            store.write_bytes(target, content)
        except OSError as error:
            raise ReportError(f"{target} cannot be written: {error.strerror or error}.") from error
        return target

    def _repr_png_(self) -> bytes:
        return self.picture("png")


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _column(values: Any, history: History) -> list[float | None]:
    """One number or None for each epoch of the history."""
    column = [None if value is None else float(value) for value in values]
    if len(column) != len(history):
        raise ValueError(f"a column of {len(column)} values for {len(history)} epochs")
    return column


def record(kind: type[Made], raw: Mapping[str, Any]) -> Made:
    """A `kind` of `raw`, whose values are numbers where they must be, and strings otherwise."""
    return kind(**dict(_fields(raw)))


def _fields(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in raw.items():
        if name in {"epoch", "step", "batch"}:
            yield name, int(value)
        elif value is None or isinstance(value, bool):
            yield name, value
        else:
            yield name, float(value) if name in _NUMBERS else str(value)
