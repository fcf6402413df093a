"""The state of one run: what is recorded of it, and what all handles on it share."""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

import attrs

from hookcore.errors import HookcoreError, PluginError, Preempted
from hookcore.metric_names import MetricNames
from hookcore.raised import describe
from hookcore.trainee import NoTrainee, Trainee, learning_rate_in
from hookcore.validators import number

if TYPE_CHECKING:
    from hookcore.capture import Capture
    from hookcore.store import SavedCheckpoint

DecisionKind: TypeAlias = Literal["stop", "learning_rate", "checkpoint"]
"""What a plugin did: voted to stop, set the learning rate, or saved a checkpoint."""


class Outcome(enum.StrEnum):
    """How a run ended; `RUNNING` until it has."""

    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    PREEMPTED = "preempted"
    FAILED = "failed"


_OUTCOMES: Final = {KeyboardInterrupt: Outcome.INTERRUPTED, Preempted: Outcome.PREEMPTED}
"""How a run ended, by the class of the exception that ended it."""

_OPTIONAL_NUMBER = number(optional=True, finite=False)


@attrs.frozen
class StopReason:
    """One plugin's vote to stop: its message, when it was given, and the metric that it is about, if any."""

    plugin: str
    message: str
    epoch: int
    step: int
    metric: str | None = None
    value: float | None = attrs.field(default=None, validator=_OPTIONAL_NUMBER)
    best: float | None = attrs.field(default=None, validator=_OPTIONAL_NUMBER)
    best_epoch: int | None = None
    """The epoch of the best value, counted from zero, or None."""
    best_step: int | None = None
    """The step of the best value, or None."""


@attrs.frozen
class Decision:
    """Something that a plugin did to the run, and why."""

    plugin: str
    kind: DecisionKind
    message: str
    epoch: int
    step: int
    value: float | None = attrs.field(default=None, validator=_OPTIONAL_NUMBER)
    """The new learning rate, or the value of the metric that a stop or a checkpoint is about."""


@attrs.frozen
class PluginFailure:
    """An error that a plugin raised, with the hook that it was raised in and the formatted traceback."""

    plugin: str
    hook: str
    error: BaseException
    traceback: str
    disabled: bool
    """Whether the plugin was disabled and the run continued without it."""


@attrs.define
class Progress:
    """How far the run is. `epoch` and `batch` count from zero; `step` is the number of optimizer updates done.

    `accumulated` is the number of batches since the latest update, whose gradients wait for the next one.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    accumulated: int = 0


@attrs.frozen
class Position:
    """The batch that is trained next: batch `batch` of epoch `epoch`, both counted from zero."""

    epoch: int = 0
    batch: int = 0
    begun: bool = False
    """Whether this epoch's `on_epoch_begin` has been called."""


class Live(Protocol):
    """What a run asks of the session that drives it."""

    def capture(self) -> Capture:
        """Return what a checkpoint holds."""
        ...

    def when_settled(self, plugin: str, then: Callable[[Capture], None]) -> None:
        """Have `then(capture)` called for `plugin` once the moment is settled."""

    def log(self, plugin: str, metrics: Mapping[str, Any]) -> None:
        """Add `metrics` of `plugin` to the observation that they belong to."""

    def announce_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        """Call `on_checkpoint` of every plugin."""

    def voted(self) -> None:
        """Tell the loop that a plugin has voted to stop."""

    @property
    def may_go_on(self) -> bool:
        """Whether the loop may still drive the run."""
        ...


def _no_session() -> None:
    return None


@attrs.define(eq=False)
class Shared:
    """The state that all handles of one run share. Adapters and the session set it; plugins read it through `Run`.

    Once the run has ended, `release` drops what only a live run has; the rest is data, which can be pickled and copied.
    """

    trainee: Trainee | None = attrs.field(factory=NoTrainee)
    model: Any = None
    validation_data: Any = None
    epochs: int | None = None
    steps_per_epoch: int | None = None
    metric_names: MetricNames = attrs.field(factory=MetricNames)
    outcome: Outcome = Outcome.RUNNING
    stop_reasons: list[StopReason] = attrs.field(factory=list)
    decisions: list[Decision] = attrs.field(factory=list)
    failures: list[PluginFailure] = attrs.field(factory=list)
    parameters: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    chosen_parameters: Mapping[str, Collection[str]] = attrs.field(factory=dict)
    plugin_seconds: dict[str, float] = attrs.field(factory=dict)
    shows_progress: bool = False
    interruption: BaseException | None = None
    session: Callable[[], Live | None] = _no_session
    """Returns the session, or None. It is held weakly, so that a run whose adapter was dropped is no longer driven."""
    last_learning_rate: float | None = None
    """The learning rate when the run ended; None if the trainee lacks one, or if the run has not ended."""
    is_released: bool = False
    contradicting: set[str] = attrs.field(factory=set)
    """The plugins for which the log has named a `mode` that contradicts a known direction."""

    def ends(self, exception: BaseException | None = None) -> None:
        """Set the outcome of a run that ends, by `exception` if one is given."""
        if exception is None:
            self.outcome = Outcome.STOPPED if self.stop_reasons else Outcome.COMPLETED
        else:
            self.outcome = next((_OUTCOMES[kind] for kind in _OUTCOMES if isinstance(exception, kind)), Outcome.FAILED)

    def fail(self) -> None:
        """End the run as failed, without calling plugins."""
        self.outcome = Outcome.FAILED
        self.release()

    def release(self) -> None:
        """Drop the trainee, the model, the validation data and the session: the run has ended, and the rest is data."""
        if self.is_released:
            return
        self.last_learning_rate = learning_rate_in(self.trainee)
        self.trainee = self.model = self.validation_data = self.interruption = None
        self.failures[:] = [attrs.evolve(failure, error=_as_data(failure.error)) for failure in self.failures]
        self.session, self.is_released = _no_session, True

    def __getstate__(self) -> dict[str, Any]:
        if not self.is_released:
            raise HookcoreError("A run can be pickled or copied once it has ended, and this one has not.")
        return {field.name: getattr(self, field.name) for field in attrs.fields(Shared)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


def _as_data(error: BaseException) -> BaseException:
    """Return a copy of `error` without its traceback, whose frames hold the model; only the text if it cannot be pickled."""
    try:
        import pickle

        copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - what was just pickled
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - whatever an exception's own methods raise, and the packages may be out of reach
        copied = None
    return copied if type(copied) is type(error) else PluginError(describe(error))
