"""One training run, as plugins see it: progress, history, the trainee, and the verbs that they may use."""

from __future__ import annotations

import enum
import logging
import math
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from hookcore.errors import HookcoreError, ParameterError
from hookcore.history import History
from hookcore.trainee import NoTrainee, Trainee
from hookcore.validators import reject

if TYPE_CHECKING:
    # Nobody evaluates the types of the classes here, and what only checkpoints need is dear to import.
    from hookcore.capture import Capture  # noqa: TC004
    from hookcore.store import SavedCheckpoint  # noqa: TC004

logger = logging.getLogger("hookcore")

DecisionKind: TypeAlias = Literal["stop", "learning_rate", "checkpoint"]


class Outcome(enum.StrEnum):
    """How a run ended, or that it has not."""

    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    PREEMPTED = "preempted"
    FAILED = "failed"


@attrs.frozen
class StopReason:
    """One plugin's vote to stop, with what it saw."""

    plugin: str
    message: str
    epoch: int
    step: int
    metric: str | None = None
    value: float | None = None
    best: float | None = None


@attrs.frozen
class Decision:
    """Something that a plugin did to the run, and why."""

    plugin: str
    kind: DecisionKind
    message: str
    epoch: int
    step: int
    value: float | None = None
    """The new learning rate, or the value of the metric that a stop or a checkpoint is about."""


@attrs.frozen
class PluginFailure:
    """An error that a plugin raised: in which hook, and its whole traceback."""

    plugin: str
    hook: str
    error: Exception
    traceback: str
    disabled: bool
    """Whether the plugin was switched off, and the run went on without it."""


@attrs.define
class Progress:
    """Where the run is. `epoch` and `batch` count from zero; `step` is the number of optimizer updates done."""

    epoch: int = 0
    batch: int = 0
    step: int = 0


@attrs.frozen
class Position:
    """Where training goes on: with batch `batch` of epoch `epoch`, both counted from zero."""

    epoch: int = 0
    batch: int = 0
    begun: bool = False
    """Whether plugins had this epoch's `on_epoch_begin`."""


def _nothing_captured() -> Capture:
    raise HookcoreError("There is nothing to capture before the run begins.")


def _is_rate(value: object) -> bool:
    return isinstance(value, float | int) and math.isfinite(value) and value >= 0


def _nobody_told(*_: object) -> None:
    pass


@attrs.define(eq=False)
class Shared:
    """What the handles of one run have in common and may change. Adapters set it; plugins read it through `Run`."""

    epochs: int | None = None
    steps_per_epoch: int | None = None
    outcome: Outcome = Outcome.RUNNING
    stop_reasons: list[StopReason] = attrs.field(factory=list)
    decisions: list[Decision] = attrs.field(factory=list)
    failures: list[PluginFailure] = attrs.field(factory=list)
    parameters: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    plugin_seconds: dict[str, float] = attrs.field(factory=dict)
    shows_progress: bool = False
    interruption: BaseException | None = None
    capture: Callable[[], Capture] = _nothing_captured
    on_checkpoint: Callable[[SavedCheckpoint], None] = _nobody_told
    on_stop: Callable[[], None] = _nobody_told
    """Called at each vote to stop."""


@attrs.define(eq=False)
class Run:
    """A plugin's handle on the run.

    Each plugin gets its own, which knows the plugin's name, so that votes and decisions are recorded under it.
    The handles of one run share everything else.
    """

    plugin: str = ""
    """The name of the plugin whose handle this is; empty on the handle that the caller of a loop gets."""
    trainee: Trainee = attrs.field(factory=NoTrainee, repr=False)
    model: Any = attrs.field(default=None, repr=False)
    """The framework's own object, for plugins written for one framework."""
    validation_data: Any = attrs.field(default=None, repr=False)
    """What the loop was given to validate on, or None."""
    validation_freq: int | Collection[int] = attrs.field(default=1)
    """Validation runs every so many epochs, or after the epochs listed, counted from one as in Keras."""
    resumed_from: SavedCheckpoint | None = None
    """The checkpoint that this run goes on from, or None."""
    progress: Progress = attrs.field(factory=Progress)
    history: History = attrs.field(factory=History)
    shared: Shared = attrs.field(factory=Shared, repr=False)

    @validation_freq.validator
    def _due_sometimes(self, attribute: attrs.Attribute[Any], value: object) -> None:
        if not (value >= 1 if isinstance(value, int) else isinstance(value, Collection)):
            reject(self, attribute.name, value, "a number of epochs of at least 1, or a collection of epochs")

    @property
    def epochs(self) -> int | None:
        """The number of epochs asked for, or None when unknown."""
        return self.shared.epochs

    @property
    def steps_per_epoch(self) -> int | None:
        """The number of batches in an epoch, or None when unknown."""
        return self.shared.steps_per_epoch

    @property
    def outcome(self) -> Outcome:
        """How the run ended; `running` until then."""
        return self.shared.outcome

    @property
    def stop_reasons(self) -> list[StopReason]:
        """Every vote to stop, in the order in which they were given."""
        return self.shared.stop_reasons

    @property
    def decisions(self) -> list[Decision]:
        """Every stop, learning-rate change and checkpoint so far, each with its reason."""
        return self.shared.decisions

    @property
    def failures(self) -> list[PluginFailure]:
        """Every error that a plugin raised."""
        return self.shared.failures

    @property
    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """What each plugin was made with, by its name, as JSON-able values; empty for what is no attrs class."""
        return self.shared.parameters

    @property
    def plugin_seconds(self) -> Mapping[str, float]:
        """The seconds that each plugin has taken so far; those in the hooks of batches are estimated from a sample."""
        return self.shared.plugin_seconds

    @property
    def shows_progress(self) -> bool:
        """Whether some plugin shows progress, as `Console` does, and says how the run ended."""
        return self.shared.shows_progress

    @property
    def learning_rate(self) -> float:
        """The learning rate in use now. Setting it where the framework has a schedule raises an error."""
        return self.trainee.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        if not _is_rate(value):
            raise ParameterError(f"{self.plugin}: the learning rate must be a finite number of at least 0, got {value!r}.")
        self.trainee.learning_rate = float(value)

    def as_plugin(self, name: str) -> Run:
        """Return a handle on the same run under another name: votes and decisions are recorded under it."""
        return attrs.evolve(self, plugin=name)

    def validates(self, epoch: int) -> bool:
        """Whether validation is due in `epoch`, as far as the loop said."""
        if isinstance(self.validation_freq, int):
            return (epoch + 1) % self.validation_freq == 0
        return epoch + 1 in self.validation_freq

    def stop(self, message: str, *, metric: str | None = None, value: float | None = None, best: float | None = None) -> None:
        """Vote to stop the run. Every vote is kept; the run stops after the event in which the first was given."""
        self.stop_reasons.append(StopReason(self.plugin, message, self.progress.epoch, self.progress.step, metric, value, best))
        self.decide("stop", message, value)
        self.shared.on_stop()

    def set_learning_rate(self, value: float, reason: str) -> None:
        """Set the learning rate and record why."""
        before = self.learning_rate
        self.learning_rate = value
        self.decide("learning_rate", f"learning rate {before:.4g} -> {value:.4g}: {reason}", value)

    def interrupt(self, exception: BaseException) -> None:
        """Have `exception` raised once every plugin has had the event that is going on, or the next one.

        The batch is finished, not the epoch; a resumed run goes on with the next batch. Of several the first counts. May be
        called from a signal handler.
        """
        if self.shared.interruption is None:
            self.shared.interruption = exception

    def checkpoint_saved(self, checkpoint: SavedCheckpoint) -> None:
        """Tell every plugin of a checkpoint that is durable now (`on_checkpoint`)."""
        logger.info("%s: %s is on disk", self.plugin, checkpoint.path)
        self.shared.on_checkpoint(checkpoint)

    def decide(self, kind: DecisionKind, message: str, value: float | None = None) -> None:
        """Record a decision and log it."""
        self.decisions.append(Decision(self.plugin, kind, message, self.progress.epoch, self.progress.step, value))
        logger.info("%s: %s", self.plugin, message)

    def capture(self) -> Capture:
        """Everything that a checkpoint holds, as it is now: the trainee, progress, history, decisions, every plugin's state."""
        return self.shared.capture()

    def __str__(self) -> str:
        progress = self.progress
        return f"run {self.outcome} at epoch {progress.epoch + 1}, step {progress.step}"
