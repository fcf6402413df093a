"""The record of a run that `Report` writes to `run.json`, and what follows from it."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Self

import attrs

from hookcore import Decision, History, HookcoreError, MetricNames, Outcome, Progress, StopReason, store
from hookcore.authoring import describe, local_path, state
from hookcore_plugins.report.items import Best, Chart, best_of, place
from hookcore_plugins.report.run_json import FORMAT, fields_in

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    from hookcore.authoring import Mode
    from hookcore_plugins.report.items import Failure, KeptCheckpoint, Part

FILE: Final = "run.json"
_NOT_ENDED: Final = {
    True: "it is still training",
    False: "it was killed, or its machine went down: no process has its file locked",
    None: "it is still training, or was killed",
}


class ReportError(HookcoreError):
    """The report of a run does not exist, cannot be read or written, or needs a library that is not installed."""

    page = "docs/report.md"


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
    """The number of epochs that the run was to train, None if unknown."""
    progress: Progress
    history: History = attrs.field(repr=False)
    seconds: list[float | None] = attrs.field(repr=False)
    """Seconds for each row of the history: since the row before it, or since its epoch began."""
    metric_names: MetricNames = attrs.field(repr=False)
    """How the loop names its metrics."""
    monitor: str | None
    """The metric whose best observation counts."""
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
    config: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    """The configuration that `Report` was given."""
    chosen_parameters: Mapping[str, list[str]] | None = attrs.field(default=None, repr=False)
    """The names of the parameters of each plugin that differ from their defaults; None in a file of an earlier version."""
    command: list[str] = attrs.field(factory=list, repr=False)
    """The command line, with secrets hidden; empty in a file of an earlier version."""
    commit: str | None = attrs.field(default=None, repr=False)
    """The git commit of the script; None if there was no repository."""
    is_dirty: bool | None = attrs.field(default=None, repr=False)
    """Whether files that git tracks differed from the commit."""
    data: Mapping[str, int] = attrs.field(factory=dict, repr=False)
    """The sizes of the data, as far as the loop knew them."""
    graph: str | None = attrs.field(default=None, repr=False)
    """The name of the file with the model's picture, beside the report."""
    graph_hint: str | None = attrs.field(default=None, repr=False)
    """Why a picture of the model was asked for and could not be drawn."""
    is_alive: bool | None = attrs.field(default=None, repr=False)
    """Whether the run was still training when its record was read, by the lock of the file; None if that is unknown."""
    stat: os.stat_result | None = attrs.field(default=None, repr=False)
    """The status of the file just before it was read. Each write makes a new file."""

    @classmethod
    def read(cls, run: str | os.PathLike[str]) -> Self:
        """Read the report in the directory `run`, or in that file. Raises `ReportError`."""
        given = local_path(run, "run")
        path = given
        try:
            path = given / FILE if given.is_dir() else given
            stat, text = path.stat(), store.read_file(path).decode()
        except FileNotFoundError:
            below = path.parent.glob(f"*/{FILE}") if given.is_dir() else iter(())
            hint = f" There are runs below it: `hookcore compare {given}` shows them." if next(below, None) is not None else ""
            if "#" in given.name:
                raise ReportError(f"There is no {path}.{_of_other_logs(given)}") from None
            message = f"There is no {path}. A run writes this file if Report({str(path.parent)!r}) is among its plugins.{hint}"
            raise ReportError(message) from None
        except UnicodeDecodeError:
            raise ReportError(f"{path} is not a report of a run: it is not text in UTF-8.{_of_other_logs(path)}") from None
        except (OSError, ValueError) as error:
            raise ReportError(f"{path} cannot be read: {error}.{_of_other_logs(path)}") from error
        try:
            record = cls(path=path, **fields_in(state.loads(text)))
            is_alive = store.is_locked(path) if record.outcome == Outcome.RUNNING else None
            # A run writes its end and then frees the lock. If the record was read before that, it has to be read again.
            if is_alive is False and not _is_same_file(path, stat):
                return cls.read(path)
            return attrs.evolve(record, is_alive=is_alive, stat=stat)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            raise ReportError(f"{path} is not a report of a run: {describe(error)}.{_of_other_logs(path)}") from error

    def dumps(self) -> str:
        """Return the content of its file: standard JSON, with NaN and the infinities as `{"float": "nan"}` and the like."""
        plain = attrs.asdict(self, filter=lambda field, _: field.name not in {"history", "is_alive", "stat"})
        del plain["path"]
        best = self.best(self.monitor)
        best_as_dict = None if best is None else attrs.asdict(best)
        return state.dumps({"report": FORMAT, **plain, "best": best_as_dict, "history": self.history.state_dict()})

    def is_up_to_date(self) -> bool:
        """Return whether its file is still the one that was read. Each write makes a new file."""
        return self.stat is not None and _is_same_file(self.path, self.stat)

    def why(self) -> list[str]:
        """Return why the run ended, in a line for each reason."""
        if self.outcome == Outcome.RUNNING:
            at = None if self.stat is None else datetime.fromtimestamp(self.stat.st_mtime, UTC).astimezone()
            written = "" if at is None else f", written at {at:%Y-%m-%d %H:%M:%S}"
            return [f"{_NOT_ENDED[self.is_alive]}; this is its latest record{written}"]
        if self.exception is not None:
            return [self.exception]
        if self.stop_reasons:
            votes = [(place(vote.epoch, vote.step, by_steps=self.by_steps), vote) for vote in self.stop_reasons]
            return [f"{vote.plugin or 'loop'}, {where}: {vote.message}" for where, vote in votes]
        return ["all epochs are done" if self.epochs is None else f"{self.epochs} of {self.epochs} epochs are done"]

    @property
    def status(self) -> str:
        """The outcome. For a run without one, `running` or `killed` by its lock, or `not ended` if that is unknown."""
        not_ended = {True: "running", False: "killed", None: "not ended"}
        return not_ended[self.is_alive] if self.outcome == Outcome.RUNNING else self.outcome

    def parameters_chosen(self, plugin: str) -> dict[str, Any]:
        """Return the parameters of `plugin` that differ from their defaults; all of them in a file of an earlier version."""
        chosen = None if self.chosen_parameters is None else self.chosen_parameters.get(plugin)
        return {name: value for name, value in self.plugins[plugin].items() if chosen is None or name in chosen}

    def best(self, metric: str | None) -> Best | None:
        """Return the best observation of `metric`, or None if it has no observation or no known direction."""
        mode = None if metric is None else self.directions.get(metric)
        if metric is None or mode is None or metric not in self.history:
            return None
        return best_of(self.history, metric, mode)

    def last(self, metric: str) -> float:
        """Return the latest observation of `metric`, or NaN if it has no observation."""
        return next((value for value in reversed(self.history[metric]) if not math.isnan(value)), math.nan)

    @property
    def by_steps(self) -> bool:
        """Whether the loop evaluated by steps. Then steps, and not epochs, are the places of observations."""
        return any(self.history.by_steps)

    @property
    def unit(self) -> str:
        """The unit of the observations' places: `"step"` or `"epoch"`."""
        return "step" if self.by_steps else "epoch"

    def places(self) -> list[int | None]:
        """Return each row's place in the history: its step, or None if that was not recorded, or its epoch, counted from one."""
        return list(self.history.steps) if self.by_steps else [epoch + 1 for epoch in self.history.epochs]

    def place_of(self, item: Best | StopReason) -> int | None:
        """Return the place of the best observation, or of a vote to stop, as `places` does."""
        return item.step if self.by_steps else item.epoch + 1

    @property
    def observed_epochs(self) -> int:
        """How many epochs have an observation; the last of them may be incomplete."""
        return len(set(self.history.epochs))

    @property
    def learning_rates(self) -> list[float | None]:
        """The learning rate at each row of the history, before a plugin changed it."""
        return self.history.learning_rates

    def charts(self) -> list[Chart]:
        """Return the metrics in pairs of training and validation: the monitor's first, then in the order of appearance.

        If there are several validation sets, the first one's metric is in the pair, and each other has its own chart.
        """
        charts = dict.fromkeys(map(self._chart, self.history))
        return sorted(charts, key=lambda chart: self.monitor is None or self.monitor not in {chart.training, chart.validation})

    def _chart(self, name: str) -> Chart:
        names, metric = self.metric_names, self.metric_names.plain(name)
        training, validation = (
            next((prefix + metric for prefix in prefixes if prefix + metric in self.history), None)
            for prefixes in (("", *names.training), names.validation)
        )
        if name in {training, validation}:
            return Chart(metric, training, validation)
        return Chart(name, None, name) if names.is_validation(name) else Chart(name, name, None)

    def rate_changes(self) -> list[tuple[int, float]]:
        """Return where the learning rate changed, with the new rate: the first epoch that had it, counted from zero.

        In a loop by steps, it is the step of the last observation with the old rate, after which the rate changed.
        """
        places = self.history.steps if self.by_steps else self.history.epochs
        known = [
            (where, rate)
            for where, rate in zip(places, self.learning_rates, strict=True)
            if where is not None and rate is not None
        ]
        changes = [(old, new) for old, new in pairwise(known) if old[1] != new[1]]
        return [((old if self.by_steps else new)[0], new[1]) for old, new in changes]

    @property
    def total_seconds(self) -> float:
        """How long all parts of the run took together."""
        return sum(part.seconds for part in self.parts)

    def time_shares(self) -> list[tuple[str | None, float, float]]:
        """Return the name, seconds and share of each plugin and, named None, of training itself; the largest share first."""
        # Plugins that are listed before the report begin earlier than the clock of the run's parts.
        plugins = sum(self.plugin_seconds.values())
        total = max(self.total_seconds, plugins)
        training = total - plugins
        rows: list[tuple[str | None, float]] = [(None, training), *self.plugin_seconds.items()]
        shares = [(name, seconds, seconds / total if total > 0 else 0.0) for name, seconds in rows]
        return sorted(shares, key=lambda row: -row[1])


def _of_other_logs(path: Path) -> str:
    """Return what shows the log at `path`, if it may be another one than that of `Report`."""
    return "" if path.suffix == ".json" else f" A report is shown of a run.json; `hookcore compare {path}` shows other logs."


def _is_same_file(path: Path, stat: os.stat_result) -> bool:
    """Return whether the file still has this `stat`, and exists."""
    now = path.stat() if path.exists() else None
    return now is not None and (now.st_ino, now.st_mtime_ns, now.st_size) == (stat.st_ino, stat.st_mtime_ns, stat.st_size)
