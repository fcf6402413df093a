"""Find what each setting would have done in each recorded run, and the setting that does best over all runs.

* A run is replayed with a setting until a plugin votes to stop, or to its end. *Kept* is the best value until then, and *lost* is
  by how much the best value of the whole run is better. *Saved* is the number of epochs that would not have been trained, or of
  steps if some run was evaluated by steps.
* The best setting saves most among the settings with which no run loses more than is allowed, by default nothing. If every
  setting loses more in some run, the best is the one with the smallest largest loss. Of equal settings, the first is best.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

import attrs

from hookcore import HookcoreError, Monitor, Outcome, ParameterError
from hookcore.registry import discovery
from hookcore_adapters.replay.adapter import Recording
from hookcore_plugins.report.items import Best

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hookcore import Decision, Engine, StopReason
    from hookcore.authoring import Mode
    from hookcore_adapters.replay.settings import Setting
    from hookcore_plugins.report.recorded import RecordedRun

_USUAL: Final = ("val_loss", "eval_loss", "loss")
"""The metrics that are tried in this order if no plugin monitors one."""


@attrs.frozen(eq=False)
class Result:
    """What one setting would have done in one run."""

    setting: Setting
    votes: tuple[StopReason, ...]
    """Why it would have stopped; empty if it would not have stopped."""
    kept: Best | None
    """The best value until then; None if there was no number."""
    lost: float | None
    """By how much the best value of the whole run is better, in the metric's unit; 0 or more, or None if either is unknown."""
    trained: int
    """The number of epochs or steps that would have been trained."""
    saved: int
    """The number of epochs or steps that would not have been trained."""
    cuts: tuple[Decision, ...]
    """Each change of the learning rate."""

    @property
    def share(self) -> float:
        """The share of the run that would have been saved, from 0 to 1."""
        return self.saved / max(self.saved + self.trained, 1)

    @property
    def place(self) -> int | None:
        """The epoch, counted from one, or the step at which it would have stopped; None if it would not have stopped."""
        return self.trained if self.votes else None


@attrs.frozen(eq=False)
class Swept:
    """What every setting would have done in one run."""

    recorded: RecordedRun
    metric: str
    mode: Mode
    unit: str
    """`"step"` if some run was evaluated by steps and all logs have steps, otherwise `"epoch"`."""
    full: Best | None
    """The best value of the whole run."""
    results: tuple[Result, ...]


@attrs.frozen(eq=False)
class Overall:
    """What one setting would have done over all runs."""

    setting: Setting
    results: tuple[Result, ...]
    """One for each run."""

    @property
    def stops(self) -> int:
        """The number of runs in which it would have stopped."""
        return sum(bool(result.votes) for result in self.results)

    @property
    def share(self) -> float:
        """The mean share of a run that would have been saved."""
        return statistics.fmean(result.share for result in self.results)

    @property
    def worst(self) -> float | None:
        """The largest loss in any run; None if the loss in some run is unknown."""
        lost = [result.lost for result in self.results]
        return None if None in lost else max(one for one in lost if one is not None)


def sweep(
    runs: Iterable[RecordedRun], settings: Sequence[Setting], *, metric: str | None = None, learning_rate: float | None = None
) -> list[Swept]:
    """Replay each run with each setting. `metric` is by default what the first plugin monitors.

    Raises `ParameterError` if the settings monitor several metrics, and the errors of plugins, with the run and the setting as a
    note.
    """
    catalogue = discovery.entry_points(discovery.CATALOGUE)
    engines = [setting.engine(catalogue) for setting in settings]
    recorded = list(runs)
    unit = "step" if any(any(run.history.by_steps) for run in recorded) else "epoch"
    if any(None in run.history.steps for run in recorded):
        unit = "epoch"
    return [_sweep(run, settings, engines, _counting(run, engines, metric), unit=unit, rate=learning_rate) for run in recorded]


def _sweep(
    recorded: RecordedRun, settings: Sequence[Setting], engines: Sequence[Engine], metric: str, *, unit: str, rate: float | None
) -> Swept:
    mode = _mode(recorded, engines, metric)
    bests = _bests(recorded, metric, mode)
    total = _place(recorded, len(bests) - 1, unit)
    recording = Recording(recorded, rate)
    results = []
    for setting, engine in zip(settings, engines, strict=True):
        try:
            run, told = recording.replay(engine)
        except HookcoreError as error:
            error.add_note(f"That was in {recorded.name}{f', with {setting}' if setting.varied else ''}.")
            raise
        trained = _place(recorded, told - 1, unit)
        kept = bests[told - 1] if told else None
        results.append(
            Result(
                setting=setting,
                votes=tuple(run.stop_reasons) if run.outcome == Outcome.STOPPED else (),
                kept=kept,
                lost=_lost(bests[-1], kept),
                trained=trained,
                saved=total - trained,
                cuts=tuple(made for made in run.decisions if made.kind == "learning_rate"),
            )
        )
    return Swept(recorded, metric, mode, unit, bests[-1], tuple(results))


def overall(swept: Sequence[Swept]) -> list[Overall]:
    """Return what each setting would have done over all runs, in the order of the settings."""
    return [Overall(results[0].setting, results) for results in zip(*(one.results for one in swept), strict=True)]


def best_of(settings: Sequence[Overall], at_most: float = 0.0) -> Overall | None:
    """Return the best setting: see the module. `at_most` is what a run may lose, in the metric's unit.

    None if no setting stops a run, because then all settings save and lose the same; and if it is not known what is lost.
    """
    if not any(one.stops for one in settings):
        return None
    known = [(one, one.worst) for one in settings if one.worst is not None]
    allowed = [one for one, worst in known if worst <= at_most]
    if allowed:
        return max(allowed, key=lambda one: one.share)  # max returns the first of equal settings
    if known:
        least = min(worst for _, worst in known)
        return max((one for one, worst in known if worst == least), key=lambda one: one.share)
    return None


def frontier(settings: Sequence[Overall]) -> list[Overall]:
    """Return the settings that no other beats by saving more without losing more, or losing less without saving less."""
    found: list[Overall] = []
    known = [one for one in settings if one.worst is not None]
    for one in sorted(known, key=lambda one: (-one.share, one.worst)):
        if not found or (one.worst or 0.0) < (found[-1].worst or 0.0):
            found.append(one)
    return found


def _counting(recorded: RecordedRun, engines: Sequence[Engine], metric: str | None) -> str:
    """Return the run's name for the metric that counts."""
    return _monitored(recorded, engines) if metric is None else recorded.name_of(metric) or metric


def _monitored(recorded: RecordedRun, engines: Sequence[Engine]) -> str:
    """Return the metric that is monitored by the first plugin with a monitor, which must be the same in every setting."""
    found = {
        next((name for one in engine.plugins if isinstance(name := getattr(one.plugin, "monitor", None), str)), None)
        for engine in engines
    }
    monitored = sorted(name for name in found if name is not None)
    if len(monitored) > 1:
        raise ParameterError(
            f"The settings monitor {', '.join(monitored)}, and losses are compared by one metric: choose it by --metric."
        )
    usual = next((name for name in (recorded.monitor, *_USUAL) if name in recorded.history), None)
    metric = monitored[0] if monitored else usual
    if metric is None:
        raise ParameterError(f"No plugin monitors a metric in {recorded.name}: choose what counts by --metric.")
    return metric


def _mode(recorded: RecordedRun, engines: Sequence[Engine], metric: str) -> Mode:
    """Return the direction of `metric`: that of a plugin that monitors it with a mode, or the known one."""
    for engine in engines:
        for one in engine.plugins:
            if getattr(one.plugin, "monitor", None) == metric and (mode := getattr(one.plugin, "mode", "auto")) in {"min", "max"}:
                return "min" if mode == "min" else "max"
    recorded.best(metric)  # raises an error if there is no such metric
    mode = recorded.direction(metric)
    if mode is None:
        raise ParameterError(f"{metric!r} has no known direction: add mode=min or mode=max to the --plugin that monitors it.")
    return mode


def _bests(recorded: RecordedRun, metric: str, mode: Mode) -> list[Best | None]:
    """Return the best value after each row of the history."""
    history, monitor, best = recorded.history, Monitor(mode), None
    found: list[Best | None] = []
    recorded.best(metric, mode)  # raises an error if there is no such metric
    for value, epoch, step, by_steps in zip(history[metric], history.epochs, history.steps, history.by_steps, strict=True):
        monitor = monitor.observe(value, epoch, step, by_steps=by_steps)
        if monitor.waited == 0 and monitor.best is not None:
            best = Best(metric, mode, epoch, monitor.best, step, by_steps)
        found.append(best)
    return found


def _lost(full: Best | None, kept: Best | None) -> float | None:
    if full is None or kept is None:
        return None
    return 0.0 if full.value == kept.value else abs(full.value - kept.value)  # the difference of equal infinities is NaN


def _place(recorded: RecordedRun, row: int, unit: str) -> int:
    """Return the epoch of a row of the history, counted from one, or its step; 0 before the first row."""
    if row < 0:
        return 0
    step = recorded.history.steps[row]
    return step if unit == "step" and step is not None else recorded.history.epochs[row] + 1
