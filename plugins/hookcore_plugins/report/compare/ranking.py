"""Compare runs as data: choose the metric that ranks them, and make a row for each run."""

from __future__ import annotations

import math
from collections import Counter
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs

from hookcore.authoring import did_you_mean, state
from hookcore_plugins.report.compare.differences import differing
from hookcore_plugins.report.record import ReportError
from hookcore_plugins.report.recorded import RecordedError, read_runs

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hookcore.authoring import Mode
    from hookcore_plugins.report.items import Best
    from hookcore_plugins.report.recorded import RecordedRun


@attrs.frozen(eq=False, kw_only=True)
class Compared:
    """One of the compared runs."""

    run: RecordedRun
    name: str
    """Its name, without the part that all names share."""
    metric: str | None
    """The run's name for the metric that ranks the runs; None if it has no such metric."""
    best: Best | None
    last: float
    """The latest value of the metric, NaN if it was never observed."""
    differs: dict[str, Any]
    """Its values of the parameters and the configuration in which the runs differ, by each name; None if it lacks a value."""

    @property
    def status(self) -> str | None:
        """The outcome, `running` or `killed`; None if the log does not have it."""
        return self.run.outcome if self.run.record is None else self.run.record.status

    @property
    def why(self) -> str:
        """Why it ended; empty if the log does not have it."""
        return "; ".join(self.run.why)

    @property
    def epochs(self) -> int:
        """How many epochs have an observation."""
        return len(set(self.run.history.epochs))

    @property
    def duration(self) -> float | None:
        """How many seconds it took, or those from its first observation to its last; None if the log has no times."""
        known = [seconds for seconds in self.run.seconds if seconds is not None]
        return known[-1] if self.run.duration is None and known else self.run.duration

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON-able values."""
        best, mark = self.best, f"#{self.run.label}"
        return {
            "run": self.name,
            "path": f"{self.run.path}{mark if self.run.name.endswith(mark) else ''}",
            "outcome": self.status,
            "why": self.why,
            "epochs": self.epochs,
            "metric": self.metric,
            "best": None if best is None else best.value,
            "best_epoch": None if best is None else best.epoch + 1,
            "best_step": None if best is None else best.step,
            "last": None if math.isnan(self.last) else self.last,
            "seconds": self.duration,
            "differs": self.differs,
        }


@attrs.frozen(eq=False, kw_only=True)
class Ranking:
    """Recorded runs, the best first; those without a best value come last.

    Iterating over it yields a `Compared` for each run.
    """

    rows: tuple[Compared, ...]
    metric: str | None
    """The metric that ranks the runs; None if they share no metric whose direction is known."""
    mode: Mode | None
    differs: tuple[str, ...]
    """The names of the parameters and the configuration in which the runs differ."""
    left_out: tuple[str, ...] = ()
    """Why logs that were found are not compared, a sentence each."""

    @classmethod
    def read(cls, paths: Iterable[str | os.PathLike[str]], metric: str | None = None, mode: Mode | None = None) -> Self:
        """Read the runs that are recorded at `paths`, files and directories, which are searched.

        `metric` ranks them; by default it is the one that most of them monitor, or the loss of validation. In runs of other
        frameworks it may have another name, as in `eval_loss` for `val_loss`. `mode` is its direction, if that is unknown. A
        damaged log in a directory is left out. Raises `ReportError` if there is no run, no run has the metric, or its direction
        is unknown.
        """
        errors: list[RecordedError] = []
        try:
            runs = read_runs(paths, on_error=errors.append)
        except RecordedError as error:
            raise ReportError(str(error)) from error
        return cls.of(runs, metric, mode, left_out=[str(error) for error in errors])

    @classmethod
    def of(
        cls, runs: Sequence[RecordedRun], metric: str | None = None, mode: Mode | None = None, *, left_out: Sequence[str] = ()
    ) -> Self:
        """Compare `runs`. The other arguments and the errors are those of `read`."""
        chosen = metric or _common_metric(runs)
        own = [None if chosen is None else run.name_of(chosen) for run in runs]
        if metric is not None and not any(own):
            known = sorted({name for run in runs for name in run.history})
            raise ReportError(f"No run has a metric {metric!r}; there are {known}.{did_you_mean(metric, known)}")
        directions = {run.direction(name) for run, name in zip(runs, own, strict=True) if name is not None} - {None}
        if mode is None and len(directions) == 1:
            mode = directions.pop()
        if mode is None and (metric is not None or len(directions) > 1):
            problem = "The logs disagree on" if directions else "It is not known"
            raise ReportError(f"{problem} whether a smaller or larger {chosen!r} is better: say --mode min or --mode max.")
        names, found = differing(runs)
        rows = [
            Compared(
                run=run,
                name=name,
                metric=called,
                best=None if called is None or mode is None else run.best(called, mode),
                last=math.nan if called is None else _last(run.history[called]),
                differs=differs,
            )
            for run, name, called, differs in zip(runs, _short([run.name for run in runs]), own, found, strict=True)
        ]
        rows.sort(key=_rank(mode))
        return cls(rows=tuple(rows), metric=chosen, mode=mode, differs=tuple(names), left_out=tuple(left_out))

    def __iter__(self) -> Iterator[Compared]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def by(self) -> str:
        """The order of the runs, in words."""
        if self.mode is None:
            return "they have no metric in common whose direction is known, so they are in order of their names"
        return f"by {self.metric}, {'smaller' if self.mode == 'min' else 'larger'} is better"

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON-able values."""
        runs = [row.as_dict() for row in self.rows]
        return {"metric": self.metric, "mode": self.mode, "differs": self.differs, "runs": runs, "left_out": self.left_out}

    def dumps(self) -> str:
        """Return the comparison as standard JSON, with NaN and the infinities as `{"float": "nan"}` and the like."""
        return state.dumps(self.as_dict(), indent=2)


def _common_metric(runs: Sequence[RecordedRun]) -> str | None:
    """Return the metric that most runs monitor or would by default; if several are equally common, the first."""
    own = [name for run in runs if (name := _own_metric(run)) is not None]
    return Counter(own).most_common(1)[0][0] if own else None


def _own_metric(run: RecordedRun) -> str | None:
    """Return the metric that counts in one run: the monitor, else the loss or another metric of validation, else any."""
    names = run.metric_names
    losses = [f"{prefix}loss" for prefix in names.validation]
    validation = [name for name in run.history if names.is_validation(name)]
    first = [] if run.monitor is None else [run.monitor]
    every = [*first, *losses, *validation, "loss", *run.history]
    return next((name for name in every if name in run.history and run.direction(name) is not None), None)


def _last(values: Sequence[float]) -> float:
    return next((value for value in reversed(values) if not math.isnan(value)), math.nan)


def _rank(mode: Mode | None) -> Callable[[Compared], tuple[bool, float, str]]:
    """Return the key by which rows are sorted: the best first, those without a best value last, and equal ones by name."""

    def key(row: Compared) -> tuple[bool, float, str]:
        value = 0.0 if row.best is None else -row.best.value if mode == "max" else row.best.value
        return row.best is None, value, row.name

    return key


def _short(names: Sequence[str]) -> list[str]:
    """Return `names` without the directories that all share, and without the file name if all share that."""
    if len(names) < 2:  # noqa: PLR2004 - one name has nothing in common
        return [Path(name).name or name for name in names]
    paths = [Path(name).parts for name in names]
    common = sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False)))
    rest = [parts[common:] for parts in paths]
    if all(len(parts) > 1 for parts in rest) and len({parts[-1] for parts in rest}) == 1:
        rest = [parts[:-1] for parts in rest]
    return [str(Path(*parts)) if parts else Path(name).name or name for parts, name in zip(rest, names, strict=True)]
