"""Keras's callback protocol translated into hookcore's events: what `KerasAdapter` and `fit` have in common."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import keras

from hookcore import Engine, HookcoreError, Metrics, RegistrationError, Run, Session
from hookcore.resume import Resume, find
from hookcore.run import logger
from hookcore_adapters.keras.data import build, build_by, doubts
from hookcore_adapters.keras.epoch_state import EpochState
from hookcore_adapters.keras.pass_over import PassOver, can_pass_over
from hookcore_adapters.keras.trainee import KerasTrainee
from hookcore_adapters.random_state import RandomState

if TYPE_CHECKING:
    from collections.abc import Iterable

Logs: TypeAlias = Mapping[str, Any] | None
_ENDS_OF_DATA: Final = ("OutOfRangeError",)  # of tensorflow.errors, which other backends have not


def engine_of(plugins: Iterable[object] | Engine) -> Engine:
    """The engine given, or one of the plugins given; `RegistrationError` for a Keras callback among them, and says what to do."""
    if isinstance(plugins, Engine):
        return plugins
    listed = [plugins] if isinstance(plugins, str | keras.callbacks.Callback) else list(plugins)
    for one in listed:
        plugin = one[-1] if isinstance(one, tuple) and one else one
        if isinstance(plugin, keras.callbacks.Callback):
            name = type(plugin).__name__
            raise RegistrationError(
                f"{name} is a Keras callback, not a plugin. Give it to fit as one, callbacks=[{name}(...)], "
                f"or make it a plugin: hookcore_adapters.keras.from_keras({name}(...))."
            )
    return Engine(listed)


class _Epoch(int):
    """An epoch to begin with, the first one too: Keras takes `_initial_epoch or initial_epoch`."""

    def __bool__(self) -> bool:
        return True


@attrs.define(eq=False)
class KerasEvents:
    """Receives what Keras calls, and drives a session with it.

    `validation_data` and `validation_freq` are what plugins see of them: Keras 3 does not tell a callback.
    """

    engine: Engine
    validation_data: Any = None
    validation_freq: int | Collection[int] = 1
    resume: Resume = False
    arguments: Mapping[str, Any] | None = None
    """What `fit` was given, where that is known."""
    _model: Any = None
    _session: Session | None = None
    _alone: bool = False
    """Whether the session is an evaluation or a prediction outside of `fit`, which the next one replaces."""
    _steps_per_execution: int = 1
    _base_step: int = 0
    _iterations: int | None = None
    """The optimizer's count before the execution, where an execution may be several batches; None without an optimizer."""
    _epoch: EpochState = attrs.field(factory=EpochState)
    _goes_on_with: RandomState | None = None
    """The random numbers of the checkpoint, from `train_begin` of a resumed run until its first epoch."""
    _cut_short: bool | None = None
    """Whether this epoch's training was stopped before its data ended; None until that is known."""
    _interruption: BaseException | None = None
    """What is to be raised as soon as there is a run."""
    _passing: PassOver | None = None
    """What lets the batches of the epoch go by that were trained before the run was cut."""
    batch_begin: Callable[[int], None] = attrs.field(init=False)
    batch_end: Callable[[int, Logs], None] = attrs.field(init=False)
    """To be called when a batch begins, and when it ends: the session's own, where nothing else is to do. In a training nothing
    is in the processor's caches, and each call in between costs as much as a plugin."""

    def __attrs_post_init__(self) -> None:
        self._choose_batches()

    def train_begin(self, model: Any, params: Mapping[str, Any]) -> None:
        """A new run, or one that goes on from a checkpoint; one that never ended was ended by an exception."""
        self._close_abandoned()
        self._model = model
        trainee = KerasTrainee(model)
        run = Run(
            trainee=trainee,
            model=model,
            validation_data=self.validation_data,
            validation_freq=self.validation_freq,
            resumed_from=find(self.resume, self.engine.plugins, trainee),
        )
        run.shared.epochs = params.get("epochs")
        run.shared.steps_per_epoch = params.get("steps")
        if run.resumed_from is not None and not model.built and self.arguments is not None:
            build(model, self.arguments)
        session = self.engine.start(run)
        session.loop_state = functools.partial(self._state, session)
        session.resume()
        within = session.position.batch and can_pass_over()
        self._epoch = EpochState.of(session.resumed_loop_state.get("epoch", {})) if within else EpochState()
        session.latest = self._epoch.logs
        # Not where a batch may begin that never ends; see `_execution_begin`.
        session.drops_latest = params.get("steps") is not None
        session.ends_of_data = _ENDS_OF_DATA
        run.shared.on_stop = functools.partial(self._obey, session)
        self._session = session
        self._steps_per_execution = int(getattr(model, "steps_per_execution", 1) or 1)
        if run.resumed_from is not None:
            self._go_on(session)
        session.train_begin()
        if self._interruption is not None:
            run.interrupt(self._interruption)

    def epoch_begin(self, epoch: int) -> None:
        """Remember where the epoch began, to count its steps."""
        session = self._current()
        random, self._goes_on_with = self._goes_on_with, None
        if random is not None:
            self._model._initial_epoch = None  # noqa: SLF001 - the next fit begins where it is told to
            random.restore()  # whatever was drawn since it was read; what the hooks of this epoch draw comes after it
        session.epoch_begin(epoch)
        self._base_step = session.run.progress.step - session.position.batch
        self._cut_short = None
        if session.position.batch:
            self._pass_over(session, random or RandomState.now())
        else:
            self._epoch = EpochState()
            self._obey(session)
        self._choose_batches()

    def _choose_batches(self) -> None:
        session = self._session
        if session is not None and self._passing is None and self._steps_per_execution == 1:
            self.batch_begin, self.batch_end = session.batch_begin, session.batch_end
        else:
            self.batch_begin, self.batch_end = self._execution_begin, self._execution_end

    def _execution_begin(self, batch: int) -> None:
        """`batch` is the first one of an execution.

        Where the length of the data is unknown, Keras begins one execution too many in each epoch, which has no end.
        """
        session = self._current()
        if self._passing is not None:
            self._passing.start()
            return
        session.batch_begin(batch)
        if self._steps_per_execution > 1:
            self._iterations = KerasTrainee(self._model).iterations

    def _execution_end(self, batch: int, logs: Logs) -> None:
        """`batch` is the last one of a whole execution, whether the data reached that far or not."""
        session = self._current()
        if self._passing is not None:
            self._passed(session, self._passing)
            return
        session.batch_end(batch, logs, 1 if self._steps_per_execution == 1 else self._steps_done(session, batch))

    def epoch_end(self, epoch: int, metrics: Metrics) -> None:
        """The epoch's own metrics and, with `val_`, those of its validation."""
        session = self._current()
        if self._passing is not None:
            _tell_of_missing(self._passing.left, epoch)
            self._leave_no_trace()
        shared = session.run.shared
        if shared.steps_per_epoch is None and not (self._model.stop_training if self._cut_short is None else self._cut_short):
            shared.steps_per_epoch = session.run.progress.step - self._base_step
        session.epoch_end(epoch, metrics)
        self._obey(session)

    def train_end(self) -> None:
        """The end that Keras reports: all epochs done, or stopped."""
        session, self._session = self._current(), None
        self._choose_batches()
        self._leave_no_trace()
        if self._model.stop_training and not session.stopping:
            session.run.as_plugin("keras").stop("model.stop_training was set by something else than a plugin")
        session.end()

    def failed(self, error: BaseException) -> None:
        """The end that Keras does not report."""
        session, alone = self._session, self._alone
        self._session, self._alone = None, False
        self._choose_batches()
        self._leave_no_trace()
        if session is not None and not alone:
            session.end(error)

    def evaluate_begin(self, model: Any) -> None:
        """Validation within training, or an evaluation of its own."""
        session = self._any(model)
        if not self._alone:
            self._cut_short = bool(model.stop_training)  # and not by a vote that is given from here on
            if can_pass_over():
                self._epoch.hold_metrics(model)
        session.hooks.on_evaluate_begin()

    def evaluate_batch_begin(self, batch: int) -> None:
        """One batch."""
        self._current().hooks.on_evaluate_batch_begin(batch)

    def evaluate_batch_end(self, batch: int, logs: Logs = None) -> None:
        """One batch."""
        self._current().evaluate_batch_end(batch, logs)

    def evaluate_end(self, logs: Logs = None) -> None:
        """All batches."""
        self._current().hooks.on_evaluate_end(Metrics(logs))

    def predict_begin(self, model: Any) -> None:
        """A prediction."""
        self._any(model).hooks.on_predict_begin()

    def predict_batch_begin(self, batch: int) -> None:
        """One batch."""
        self._current().hooks.on_predict_batch_begin(batch)

    def predict_batch_end(self, batch: int) -> None:
        """One batch."""
        self._current().hooks.on_predict_batch_end(batch)

    def predict_end(self) -> None:
        """All batches."""
        self._current().hooks.on_predict_end()

    def interrupt(self, exception: BaseException) -> None:
        """Have `exception` raised between two batches."""
        if self._session is None:
            self._interruption = exception
        else:
            self._session.run.interrupt(exception)

    def _current(self) -> Session:
        if self._session is None:
            raise HookcoreError("Keras called a hook outside of fit, evaluate and predict; is the adapter in two places at once?")
        return self._session

    def _any(self, model: Any) -> Session:
        if self._session is None or self._alone:
            self._model = model
            self._session = self.engine.start(Run(trainee=KerasTrainee(model), model=model), training=False)
            self._session.ends_of_data = _ENDS_OF_DATA
            self._alone = True
        return self._session

    def _close_abandoned(self) -> None:
        if self._session is not None:
            msg = (
                "An earlier fit ended by an exception, which Keras does not tell its callbacks. "
                "hookcore_adapters.keras.fit tells plugins of it when it happens."
            )
            self.failed(HookcoreError(msg))

    def _state(self, session: Session) -> Mapping[str, Any]:
        """What a checkpoint holds of Keras itself."""
        state = {"steps_per_epoch": session.run.steps_per_epoch}
        within = session.position.batch and can_pass_over()
        return state | {"epoch": self._epoch.state_dict(self._model, session.latest)} if within else state

    def _go_on(self, session: Session) -> None:
        """Have Keras begin with the epoch that comes next, where any does."""
        self._goes_on_with = RandomState.now()
        position, shared = session.position, session.run.shared
        # An epoch that has begun is finished, even where a plugin has voted to stop in it.
        nothing_left = session.stopping and not position.begun
        self._model._initial_epoch = _Epoch(sys.maxsize if nothing_left else position.epoch)  # noqa: SLF001 - the only door
        if shared.steps_per_epoch is None:
            shared.steps_per_epoch = session.resumed_loop_state.get("steps_per_epoch")
        for doubt in doubts(self.arguments, position):
            logger.warning("resumed: %s", doubt)

    def _pass_over(self, session: Session, now: RandomState) -> None:
        """Let the batches go by that were trained before; `now` is the random state to go on with after them."""
        position, model = session.position, self._model
        if not can_pass_over():
            msg = (
                "resumed: epoch %d begins again with its first batch, although %d were trained: this backend cannot pass over any"
            )
            logger.warning(msg, position.epoch + 1, position.batch)
            session.position = attrs.evolve(position, batch=0)
            self._obey(session)
            return
        cut = self._epoch

        def go_on(batch: Any) -> Mapping[str, Any]:
            build_by(model, batch)  # the metrics, which Keras makes at the first batch that is trained
            cut.restore_metrics(model)
            now.restore()
            return cut.logs or {}

        cut.random.restore()
        there = min(position.batch, session.run.steps_per_epoch or position.batch)
        if there < position.batch:
            _tell_of_missing(position.batch - there, position.epoch)
        self._passing = PassOver(model, there, go_on)

    def _passed(self, session: Session, passing: PassOver) -> None:
        """After an execution that trained nothing."""
        if not passing.left:
            self._passing = None
            self._obey(session)
        session.poll()

    def _leave_no_trace(self) -> None:
        """Take out of the model what resuming has put there."""
        if self._goes_on_with is not None:
            self._model._initial_epoch = self._goes_on_with = None  # noqa: SLF001
        if self._passing is not None:
            self._passing.stop()
            self._passing = None

    def _obey(self, session: Session) -> None:
        # Keras looks at the ends of batches and epochs. Not before the batches of an epoch that was cut have gone by.
        if session.stopping and self._passing is None and self._goes_on_with is None:
            self._model.stop_training = True

    def _steps_done(self, session: Session, last: int) -> int:
        """How many batches there were in an execution. The optimizer knows; the numbers that Keras gives do not tell.

        The last execution of an epoch ends where finite data do, and goes past `steps_per_epoch` where they do not end.
        """
        iterations = KerasTrainee(self._model).iterations
        skips = hasattr(self._model.optimizer, "inner_optimizer")  # LossScaleOptimizer, after an overflow
        if iterations is not None and self._iterations is not None and not skips:
            return iterations - self._iterations
        known = session.run.steps_per_epoch
        return (last + 1 if known is None else min(last + 1, known)) - session.run.progress.batch


def _tell_of_missing(batches: int, epoch: int) -> None:
    logger.warning("epoch %d had %d batches more when it was cut than its data have now", epoch + 1, batches)
