"""One training run, as plugins see it: its progress, its history, its trainee, and what a plugin may ask of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, get_args

import attrs

from hookcore.errors import HookcoreError, ParameterError
from hookcore.history import History
from hookcore.numeric import integer_of, is_finite, number_of
from hookcore.run_state import Decision, DecisionKind, Live, Outcome, PluginFailure, Progress, Shared, StopReason
from hookcore.trainee import NoTrainee, Trainee, reason_lacking, sync
from hookcore.validators import integer

if TYPE_CHECKING:
    # The annotations here are never evaluated, and modules that only checkpoints need are slow to import.
    from hookcore.capture import Capture
    from hookcore.metric_names import MetricNames
    from hookcore.store import SavedCheckpoint  # noqa: TC004

logger = logging.getLogger("hookcore")

_EPOCHS = integer(
    at_least=1, expected="a number of epochs of at least 1, a collection of epochs, or None for validation by steps"
)


@attrs.define(eq=False)
class Run:
    """A plugin's handle on the run.

    Each plugin gets its own handle, which has the plugin's name, so that votes and decisions are recorded under it. The handles
    of one run share everything else.
    """

    plugin: str = ""
    """The name of the plugin that the handle belongs to; empty on the handle that the caller of a loop gets."""
    validation_freq: int | Collection[int] | None = attrs.field(default=1)
    """Validation runs every N epochs, 1 by default, or after the epochs in a collection, counted from one as in Keras; None if it
    runs by steps."""
    resumed_from: SavedCheckpoint | None = None
    """The checkpoint that this run continues, or None."""
    progress: Progress = attrs.field(factory=Progress)
    history: History = attrs.field(factory=History)
    shared: Shared = attrs.field(factory=Shared, repr=False)

    @validation_freq.validator
    def _check_validation_freq(self, attribute: attrs.Attribute[Any], value: object) -> None:
        is_collection = isinstance(value, Collection) and not isinstance(value, str) and integer_of(value) is None
        if value is not None and not is_collection:
            _EPOCHS(self, attribute, value)

    @classmethod
    def of(
        cls,
        trainee: Trainee | None = None,
        *,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        model: Any = None,
        validation_data: Any = None,
        validation_freq: int | Collection[int] | None = 1,
        metric_names: MetricNames | None = None,
        resumed_from: SavedCheckpoint | None = None,
    ) -> Run:
        """Return the run that an adapter is about to begin. An argument that is None, the default, is unknown or missing."""
        epochs, steps = (length if (plain := integer_of(length)) is None else plain for length in (epochs, steps_per_epoch))
        shared = Shared(NoTrainee() if trainee is None else trainee, model, validation_data, epochs, steps)
        shared.metric_names = metric_names or shared.metric_names
        return cls(validation_freq=validation_freq, resumed_from=resumed_from, shared=shared)

    @property
    def trainee(self) -> Trainee:
        """What is trained. Raises `HookcoreError` once the run has ended, as do the next two."""
        trainee: Trainee = self._of_live_run("trainee")
        return trainee

    @property
    def model(self) -> Any:
        """The framework's own object, for plugins written for one framework, or None."""
        model = self._of_live_run("model")
        sync(self.shared.trainee)
        return model

    @property
    def validation_data(self) -> Any:
        """What the loop was given to validate on, or None."""
        return self._of_live_run("validation_data")

    def _of_live_run(self, name: str) -> Any:
        if self.shared.is_released:
            raise HookcoreError(f"The run has ended, and an ended run holds no {name}. A plugin has it up to on_train_end.")
        return getattr(self.shared, name)

    @property
    def epochs(self) -> int | None:
        """The number of epochs that was asked for, or None if it is unknown."""
        return self.shared.epochs

    @property
    def steps_per_epoch(self) -> int | None:
        """The number of batches in an epoch, or None if it is unknown."""
        return self.shared.steps_per_epoch

    @property
    def metric_names(self) -> MetricNames:
        """How the loop names its metrics: which are of validation, and what each is called without a prefix."""
        return self.shared.metric_names

    @property
    def outcome(self) -> Outcome:
        """How the run ended; `Outcome.RUNNING` until it has."""
        return self.shared.outcome

    @property
    def may_go_on(self) -> bool:
        """Whether the loop may still drive the run: it has not ended, and was not abandoned.

        A run is abandoned if its loop was dropped. If the framework does not report exceptions, a run also counts as abandoned
        when no code of the run is on the caller's stack.
        """
        session = self.shared.session()
        return session is not None and session.may_go_on

    @property
    def stop_reasons(self) -> list[StopReason]:
        """Every vote to stop, in the order in which it was given."""
        return self.shared.stop_reasons

    @property
    def decisions(self) -> list[Decision]:
        """Every vote to stop, change of the learning rate and checkpoint so far, each with its reason."""
        return self.shared.decisions

    @property
    def failures(self) -> list[PluginFailure]:
        """Every error that a plugin raised."""
        return self.shared.failures

    @property
    def parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """The parameters of each plugin as JSON-able values, by the plugin's name; empty if it is not of an attrs class."""
        return self.shared.parameters

    @property
    def chosen_parameters(self) -> Mapping[str, Collection[str]]:
        """By plugin, the names of the parameters that differ from their defaults, or that have no default."""
        return self.shared.chosen_parameters

    @property
    def plugin_seconds(self) -> Mapping[str, float]:
        """The seconds that each plugin has taken so far, by its name; time in the hooks of batches is estimated from a sample."""
        return self.shared.plugin_seconds

    @property
    def shows_progress(self) -> bool:
        """Whether some plugin shows the run's progress and its end, as `Console` does."""
        return self.shared.shows_progress

    @property
    def learning_rate(self) -> float:
        """The learning rate in use now; once the run has ended, the last one. Raises `AttributeError` if the trainee has no rate.

        Set it to a number: also one of NumPy, or in an array or a tensor without dimensions. Raises `ParameterError` for a value
        that is not a finite number of at least 0, and the trainee's error if the framework has a schedule.
        """
        if not self.shared.is_released:
            rate = self.trainee.learning_rate
            plain = number_of(rate)
            return rate if plain is None else float(plain)
        if self.shared.last_learning_rate is None:
            raise AttributeError("the run has ended, and had no learning rate then")
        return self.shared.last_learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        trainee = self.trainee
        if not (hasattr(type(trainee), "learning_rate") or hasattr(trainee, "learning_rate")):  # assigning would add it
            reason = reason_lacking(trainee, "learning_rate")
            raise AttributeError(f"{self.plugin}: the learning rate cannot be set to {value!r}: {reason}.")
        rate = number_of(value)
        if rate is None or not is_finite(rate) or rate < 0:
            raise ParameterError(f"{self.plugin}: the learning rate must be a finite number of at least 0, got {value!r}.")
        trainee.learning_rate = float(rate)

    def as_plugin(self, name: str) -> Run:
        """Return a handle on the same run under another name: votes and decisions are recorded under it."""
        return attrs.evolve(self, plugin=name)

    def validates(self, epoch: int) -> bool:
        """Return whether validation is due at the end of `epoch`, counted from zero, by `validation_freq`."""
        if self.validation_freq is None:
            return False
        if isinstance(self.validation_freq, int):
            return (epoch + 1) % self.validation_freq == 0
        return epoch + 1 in self.validation_freq

    def stop(
        self,
        message: str,
        *,
        metric: str | None = None,
        value: float | None = None,
        best: float | None = None,
        best_epoch: int | None = None,
        best_step: int | None = None,
    ) -> None:
        """Vote to stop the run, for the reason `message`. Every vote is kept; the loop stops after the event of the first one.

        `metric`, its `value`, and the `best` value so far with its epoch, counted from zero, and its step are recorded with the
        vote; None, the default, if no metric led to it.
        """
        epoch, step = self.progress.epoch, self.progress.step
        value, best = self._number("value", value), self._number("best", best)
        place = integer_of(best_epoch), integer_of(best_step)
        if not isinstance(message, str):
            raise ParameterError(f"{self.plugin}: the reason to stop must be a string, got {message!r}.")
        self.stop_reasons.append(StopReason(self.plugin, message, epoch, step, metric, value, best, *place))
        self.decide("stop", message, value)
        session = self.shared.session()
        if session is not None:
            session.voted()

    def set_learning_rate(self, value: float, reason: str) -> None:
        """Set the learning rate and record `reason`. Raises as assigning to `learning_rate` does."""
        before, plain = self.learning_rate, number_of(value)
        self.learning_rate = rate = value if plain is None else plain
        self.decide("learning_rate", f"learning rate {before:.4g} -> {rate:.4g}: {reason}", rate)

    def log(self, metrics: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Add metrics of your own to an observation: to the history, to the logs, and to what other plugins observe.

        Within `on_epoch_end` or `on_metrics` they belong to that observation, until its moment is settled, and plugins that are
        called later in `on_metrics` see them. Elsewhere they belong to the next observation; until then you may log a name again,
        and the latest value counts. Values are numbers, or what `float` takes. In an evaluation or a prediction outside of a run
        there is no observation, and nothing is recorded.

        Raises `MetricError` for a value that is not a number, and for a name that the observation has already; if the next
        observation is the first to have that name, the error is raised there, as the plugin's. Raises `HookcoreError` on any
        thread except that of training, before the run begins, and once it has ended. If the run ends without another observation,
        the log warns of metrics that were logged for it.
        """
        session = self.shared.session()
        if session is None:
            when = "after the run has ended" if self.shared.is_released else "before the run begins"
            raise HookcoreError(f"{self.plugin}: run.log was called {when}. Call it in a hook.")
        session.log(self.plugin, {**(metrics or {}), **more})

    def interrupt(self, exception: BaseException) -> BaseException:
        """Raise `exception` in the training loop once this moment is settled, when every plugin has had every event of it.

        The open batch is finished, and so is an accumulation; the epoch is not, and a resumed run continues with the next batch.
        If there are several exceptions, the first counts, and is returned. May be called from a signal handler. Raises
        `ParameterError` if `exception` is not an exception.
        """
        given: Any = exception
        if not isinstance(given, BaseException):
            raise ParameterError(f"{self.plugin}: run.interrupt must be given an exception, got {given!r}.")
        if self.shared.interruption is None:
            self.shared.interruption = exception
        return self.shared.interruption

    def checkpoint_saved(self, checkpoint: SavedCheckpoint) -> None:
        """Call `on_checkpoint` of every plugin for a checkpoint that is durable now."""
        logger.info("%s: %s is on disk", self.plugin, checkpoint.path)
        session = self.shared.session()
        if session is not None:
            session.announce_checkpoint(checkpoint)

    def decide(self, kind: DecisionKind, message: str, value: float | None = None) -> None:
        """Record a decision and log it. `value` is the new learning rate or the metric's value, or None for neither.

        Raises `ParameterError` for another kind, a message that is not a string, or a value that is not a number.
        """
        if kind not in get_args(DecisionKind) or not isinstance(message, str):
            kinds = ", ".join(map(repr, get_args(DecisionKind)))
            raise ParameterError(
                f"{self.plugin}: a decision must have a kind out of {kinds} and a message, got {kind!r} and {message!r}."
            )
        value = self._number("value", value)
        self.decisions.append(Decision(self.plugin, kind, message, self.progress.epoch, self.progress.step, value))
        logger.info("%s: %s", self.plugin, message)

    def _number(self, name: str, value: Any) -> float | None:
        """Return a number as Python's, as it is stored in every later checkpoint. Raises `ParameterError` for anything else."""
        plain = None if value is None else number_of(value)
        if plain is None and value is not None:
            raise ParameterError(f"{self.plugin}: {name} must be a number or None, got {value!r}.")
        return plain

    def capture(self) -> Capture:
        """Return what a checkpoint holds: the trainee, progress, history, decisions and every plugin's state, as they are now.

        Raises `HookcoreError` before the run begins and after it has ended, and `RegistrationError` if a plugin's state is not
        JSON-able.
        """
        return self._session().capture()

    def when_settled(self, then: Callable[[Capture], None]) -> None:
        """Call `then(capture)` once every plugin has had every hook of this moment.

        A moment lasts from a batch's end through the evaluations that belong to it, or through its epoch's end. So the capture
        holds everything that the moment led to, in whatever order the plugins are called, and all plugins that ask share it. A
        moment does not end while gradients are accumulated. If an exception cuts a batch or an epoch, no capture is taken, and
        the log names what was cut. Raises as `capture` does.
        """
        self._session().when_settled(self.plugin, then)

    def _session(self) -> Live:
        session = self.shared.session()
        if session is None:
            when = "after the run has ended" if self.shared.is_released else "before the run begins"
            raise HookcoreError(f"There is nothing to capture {when}. Call capture in a hook.")
        return session

    def __str__(self) -> str:
        progress = self.progress
        return f"run {self.outcome} at epoch {progress.epoch + 1}, step {progress.step}"
