"""The adapter for recorded runs: it feeds a log to the driver, and plugins decide as they would have in training.

What was not recorded is replaced as follows:

* All updates between two observations are one batch, without metrics. If the log has no steps, an epoch is one update.
* An epoch that is missing from the log has no metrics. Validation is due in the epochs that have validation metrics.
* The learning rate is the recorded one until a plugin sets it, and from then on the rate that plugins set.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from hookcore import HOOKS, CapabilityError, Engine, ParameterError, Run
from hookcore.authoring import Mode
from hookcore.driver import Driver
from hookcore.metrics import of_floats
from hookcore.numeric import is_finite, number_of
from hookcore_plugins.report.recorded import run_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from hookcore import Position
    from hookcore.authoring import Capability, Snapshot
    from hookcore_plugins.report.recorded import RecordedRun

_CLOCKS: Final = (time.monotonic, time.perf_counter, time.time)
_WITHIN_EPOCHS: Final = [hook for hook in HOOKS if hook.startswith(("on_batch", "on_evaluate"))]


@attrs.frozen
class _Fact:
    """One recorded observation, in the parts that the driver needs."""

    epoch: int
    updates: int
    """The number of updates since the previous observation."""
    by_steps: bool
    metrics: dict[str, float]
    """All metrics, in the order in which the driver would join them."""
    validation: Mapping[str, float]
    """The metrics of validation."""
    plain: Mapping[str, float]
    """The metrics of validation by their names without the prefix."""
    others: Mapping[str, float]
    learning_rate: float | None


def replay(metrics: Any, plugins: Iterable[object] | Engine = (), *, learning_rate: float | None = None) -> Run:
    """Let `plugins` decide on recorded metrics, and return the resulting run.

    * `metrics`: a path, a `RecordedRun`, a `History`, columns, or rows: see `hookcore_plugins.report.recorded.run_of`.
    * `plugins`: what `Engine` takes, or an `Engine`. For a list, plugins that are installed for every run are left out.
    * `learning_rate`: the initial rate, if the log lacks it. By default, plugins that set the rate are then refused.

    The run ends when a plugin votes to stop, or at the end of the log. `run.stop_reasons` and `run.decisions` hold what plugins
    would have asked for, and why. The effect of a learning rate that they set is unknown: the metrics remain the recorded ones.

    Restoring weights does nothing. A plugin that needs a model, or that decides by the time, is refused by name before the first
    epoch. Raises the errors of `run_of`, `ParameterError` for `learning_rate`, and the errors of plugins.
    """
    engine = plugins if isinstance(plugins, Engine) else Engine(plugins, autoload=False)
    return Recording(run_of(metrics), learning_rate).replay(engine)[0]


class Recording:
    """A recorded run, ready to be replayed any number of times."""

    name = "replay"
    ends_of_data: tuple[str, ...] = ()

    def __init__(self, recorded: RecordedRun, learning_rate: float | None = None) -> None:
        rate = None if learning_rate is None else number_of(learning_rate)
        if learning_rate is not None and (rate is None or not is_finite(rate) or rate < 0):
            raise ParameterError(f"replay: learning_rate must be a finite number of at least 0, got {learning_rate!r}.")
        self.recorded = recorded
        self._rate = rate
        self._facts = list(_facts(recorded))
        validated = {one.epoch + 1 for one in self._facts if one.validation}
        self._validation_freq = None if any(recorded.history.by_steps) else validated
        self._knows_steps = None not in recorded.history.steps
        self._epochs = max(recorded.epochs or 0, self._facts[-1].epoch + 1)

    # The methods that the driver calls on its host

    def stop(self) -> None:
        """Do nothing: votes are checked after each observation."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return an empty state: a replay is not resumed."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        """Do nothing: a replay is not resumed."""

    def replay(self, engine: Engine) -> tuple[Run, int]:
        """Return the run that results from the plugins of `engine`, and how many observations of the recording it used.

        Raises the errors of `replay`.
        """
        rate = self.recorded.learning_rate
        trainee = Replayed(self.recorded.directions, self._rate if rate is None else rate)
        for registered in engine.plugins:
            clock = getattr(registered.plugin, "clock", None)
            decides = not registered.is_observer and not any(map(trainee.lacks, registered.needs))
            if decides and any(clock is known for known in _CLOCKS):
                raise CapabilityError(
                    f"Plugin {registered.name!r} decides by the time, and a replay has no duration. Leave it out, or give it a "
                    "clock= that returns the time of the recorded run."
                )
        names = self.recorded.metric_names
        run = Run.of(trainee, epochs=self._epochs, validation_freq=self._validation_freq, metric_names=names)
        driver = Driver(engine, host=self, always_ends=True)
        try:
            driver.begin(run, initial_epoch=self._facts[0].epoch)
            hears = any(engine.order(hook) for hook in _WITHIN_EPOCHS)
            told = self._tell(driver, trainee, within_epochs=hears)
        except BaseException as error:
            driver.end(error)
            raise
        driver.end()
        return run, told

    def _tell(self, driver: Driver, trainee: Replayed, *, within_epochs: bool) -> int:
        """Report each observation to the driver until a plugin votes to stop, and return how many were reported.

        Batches and evaluations at the ends of epochs are reported only if a plugin has hooks for them, because they take half of
        the time.
        """
        votes = driver.run.stop_reasons if driver.run is not None else []
        is_open, is_lean, told = False, not within_epochs, 0
        for one in self._facts:
            if votes:
                break
            trainee.tell(one.learning_rate)
            if one.epoch != driver.epoch:
                if is_open:  # that epoch has no observation at its end
                    driver.epoch_end()
                _begin_epoch(driver, one.epoch, knows_steps=self._knows_steps)
                is_open, is_lean = True, not within_epochs
                if votes:
                    break
            if one.by_steps:
                is_lean = False
                driver.batch_held(None, updates=one.updates)
                _evaluate(driver, one)
                driver.settled(one.others)
            else:
                is_open = False
                _end_epoch(driver, one, is_lean=is_lean and one.updates > 0)
            told += 1
        if is_open:
            driver.leave()
        return told


def _begin_epoch(driver: Driver, epoch: int, *, knows_steps: bool) -> None:
    """Begin `epoch`, after the epochs before it that are missing from the log."""
    while driver.epoch < epoch - 1 and not driver.stopping:
        driver.epoch_begin()
        if knows_steps:
            driver.batches()  # otherwise the epoch would count as a step; its steps count at the next observation
        driver.epoch_end()
    if not driver.stopping:
        driver.epoch_begin()


def _end_epoch(driver: Driver, one: _Fact, *, is_lean: bool) -> None:
    if is_lean:
        if one.updates > 1:
            driver.update(one.updates - 1)  # an epoch without batches counts as one
        driver.epoch_end(of_floats(one.metrics))
        return
    if one.updates:
        driver.batch_end(None, updates=one.updates)
    if one.validation:
        _evaluate(driver, one)
    driver.epoch_end(one.others)


def _evaluate(driver: Driver, one: _Fact) -> None:
    driver.evaluate_begin()
    driver.evaluate_end(one.plain, named=one.validation)


def _facts(recorded: RecordedRun) -> Iterator[_Fact]:
    names, done = recorded.metric_names, 0
    for one in recorded.observations():
        validation = {name: value for name, value in one.metrics.items() if names.is_validation(name)}
        others = {name: value for name, value in one.metrics.items() if name not in validation}
        updates = int(not one.by_steps) if one.step is None else one.step - done
        done += updates
        plain = {names.plain(name): value for name, value in validation.items()}
        yield _Fact(one.epoch, updates, one.by_steps, {**validation, **others}, validation, plain, others, one.learning_rate)


@attrs.define(eq=False)
class Replayed:
    """The trainee of a recorded run, which has only a learning rate."""

    _directions: Mapping[str, Mode]
    _recorded: float | None
    """The latest learning rate in the log."""
    _set: float | None = attrs.field(init=False, default=None)
    """The rate that a plugin has set."""
    framework: str = "replay"

    def tell(self, rate: float | None) -> None:
        """Set the recorded rate; None, if it is not known, changes nothing."""
        if rate is not None:
            self._recorded = rate

    @property
    def learning_rate(self) -> float:
        """The rate that a plugin has set, or the recorded one if none has."""
        rate = self._recorded if self._set is None else self._set
        if rate is None:
            raise AttributeError("the log has no learning rate")
        return rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._set = value

    def lacks(self, capability: Capability) -> str | None:
        """Return why a capability is missing; None for snapshots, and for the learning rate if it is known."""
        if capability == "snapshot":
            return None
        if capability == "learning_rate":
            known = self._set is not None or self._recorded is not None
            return None if known else "it is not in the log: give learning_rate=, or --learning-rate on the command line"
        return "a recorded run has metrics, and no model"

    def snapshot(self, *, optimizer: bool = True) -> Snapshot:
        """Return None: there are no weights."""
        del optimizer

    def restore(self, snapshot: Snapshot) -> None:
        """Do nothing: there are no weights."""

    def write(self, snapshot: Snapshot, directory: Path) -> None:
        """Do nothing: never called, because each plugin that saves is refused."""

    def read(self, directory: Path) -> Snapshot:
        """Return None: never called, because a replay is not resumed."""

    def direction(self, metric: str) -> Mode | None:
        """Return the direction that the log declares."""
        return self._directions.get(metric)
