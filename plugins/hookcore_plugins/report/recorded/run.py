"""A recorded run as the readers return it: its observations, and everything else that its log has."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import attrs

from hookcore import History, HookcoreError, MetricNames
from hookcore.authoring import DIRECTIONS, did_you_mean, printable
from hookcore_plugins.report.items import best_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from hookcore import Decision, StopReason
    from hookcore.authoring import Mode
    from hookcore_plugins.report.items import Best
    from hookcore_plugins.report.record import RunRecord


VALIDATION: Final = tuple(f"{name}{end}" for name in ("val", "valid", "validation", "eval", "test") for end in "_/-")
"""How the names of validation metrics begin in logs that hookcore did not write."""
TRAINING: Final = ("train_", "train/", "train-")
"""How those of training metrics may begin."""

RATES: Final = ("learning_rate", "lr")
"""The names under which logs and configurations have the learning rate."""


class RecordedError(HookcoreError, ValueError):
    """A log of a run does not exist, cannot be read, or has content that no log of a run has."""

    page = "docs/replay.md"


@attrs.frozen
class Observation:
    """One observation of a recorded run."""

    epoch: int
    """Counted from zero."""
    step: int | None
    """How many optimizer updates were done; None if the log does not tell."""
    by_steps: bool
    """Whether it was made within its epoch, not at its end."""
    metrics: Mapping[str, float]
    """The metrics that were produced, also as NaN; others are left out."""
    learning_rate: float | None
    """The rate in use then; None if the log does not tell."""
    seconds: float | None
    """When it was made, in seconds since the run began, else since the first observation; None if the log does not tell."""


@attrs.frozen(eq=False, kw_only=True)
class RecordedRun:
    """A run as its log describes it. Values that the log does not have are None or empty."""

    path: Path
    """The file or directory that it was read from."""
    name: str
    """Its name: the path, or the directory of a run.json; in a file with several runs, then `#` and the run's own name."""
    label: str = ""
    """Its own name in a file that may have several runs, different for each of them; otherwise empty."""
    format: str
    """The kind of log, for people, as in `"Keras CSVLogger"`."""
    history: History = attrs.field(repr=False)
    """A row for each observation."""
    seconds: list[float | None] = attrs.field(repr=False)
    """When each row was observed: see `Observation.seconds`."""
    metric_names: MetricNames = attrs.field(factory=MetricNames, repr=False)
    directions: Mapping[str, Mode] = attrs.field(factory=dict, repr=False)
    """The directions that the log has: see `direction`."""
    outcome: str | None = None
    """How it ended, as in `Outcome`."""
    why: tuple[str, ...] = ()
    """Why it ended."""
    stop_reasons: tuple[StopReason, ...] = attrs.field(default=(), repr=False)
    decisions: tuple[Decision, ...] = attrs.field(default=(), repr=False)
    monitor: str | None = None
    """The metric whose best observation counts, if the log names it."""
    epochs: int | None = None
    """The number of epochs that the run was to train."""
    duration: float | None = None
    """How many seconds it took."""
    parameters: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict, repr=False)
    """The parameters of each plugin, by its name."""
    config: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    """The run's own configuration."""
    record: RunRecord | None = attrs.field(default=None, repr=False)
    """The whole record, if the run was read from a run.json."""
    notes: tuple[str, ...] = ()
    """A sentence for each part of the log that was left out or interpreted by a rule."""
    also: tuple[Path, ...] = ()
    """The run's other logs, which were found beside this one and agree with it."""

    def observations(self) -> Iterator[Observation]:
        """Yield every observation, in order."""
        history = self.history
        rows = zip(
            history.epochs,
            history.steps,
            history.by_steps,
            history.rows(),
            history.learning_rates,
            self.seconds,
            strict=True,
        )
        for row in rows:
            yield Observation(*row)

    @property
    def learning_rate(self) -> float | None:
        """The first recorded rate, else `learning_rate` or `lr` in the configuration; None if the log has neither."""
        first = next((rate for rate in self.history.learning_rates if rate is not None), None)
        given = (self.config.get(name) for name in RATES)
        return next((float(rate) for rate in (first, *given) if isinstance(rate, int | float) and 0 <= rate < math.inf), None)

    def direction(self, metric: str) -> Mode | None:
        """Return the direction in which `metric` gets better, from the log or the table of well-known names, or None."""
        return self.directions.get(metric) or DIRECTIONS.get(metric) or DIRECTIONS.get(self.metric_names.plain(metric))

    def name_of(self, metric: str) -> str | None:
        """Return the run's name for `metric`, or None if it lacks the metric.

        That may be another name for the same metric of validation or of training: `eval_loss` for `val_loss`, or `loss` for
        `train_loss`.
        """
        if metric in self.history:
            return metric
        wanted = self._meaning(metric)
        return next((name for name in self.history if self._meaning(name) == wanted), None)

    def _meaning(self, metric: str) -> tuple[str, bool]:
        """Return the name of `metric` without that of its data, and whether it is of validation."""
        names = self.metric_names
        plain, of_validation = names.plain(metric), names.is_validation(metric)
        for prefixes, validates in ((VALIDATION, True), (TRAINING, False)):
            prefix = next((one for one in prefixes if plain == metric and metric.startswith(one) and metric != one), None)
            if prefix is not None:
                return metric.removeprefix(prefix), validates
        return plain, of_validation

    def best(self, metric: str, mode: Mode | None = None) -> Best | None:
        """Return the best observation of `metric`, or None if it has no number. `mode` is by default its `direction`.

        Also None if the direction is unknown. Raises `RecordedError` if the run has no such metric.
        """
        if metric not in self.history:
            there = ", ".join(self.history) or "none"
            hint = did_you_mean(metric, self.history)
            raise RecordedError(f"{printable(self.name)} has no metric {metric!r}; there are: {printable(there)}.{hint}")
        mode = mode or self.direction(metric)
        return None if mode is None else best_of(self.history, metric, mode)
