"""Keras's callback protocol translated into hookcore's events: what `KerasAdapter` and `fit` have in common."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

import attrs

from hookcore import Engine, HookcoreError, Metrics, Position, Run, Session
from hookcore.resume import Resume, find
from hookcore_adapters.keras.data import build_from_batch, build_model, order_warnings
from hookcore_adapters.keras.epoch_state import EpochState
from hookcore_adapters.keras.skip_batches import BatchSkipper, can_skip_batches
from hookcore_adapters.keras.trainee import KerasTrainee
from hookcore_adapters.random_state import RandomState

logger = logging.getLogger("hookcore")

Logs: TypeAlias = Mapping[str, Any] | None


class _InitialEpoch(int):
    """An initial epoch that is true even if it is 0: Keras takes `_initial_epoch or initial_epoch`."""

    def __bool__(self) -> bool:
        return True


@attrs.define(eq=False)
class KerasEvents:
    """Receives what Keras calls, and drives a session with it.

    `validation_data` and `validation_freq` are for plugins that look at them: Keras 3 does not tell a callback.
    """

    engine: Engine
    validation_data: Any = None
    validation_freq: int | Collection[int] = 1
    resume: Resume = False
    arguments: Mapping[str, Any] | None = None
    """The arguments of `fit`, or None if they are unknown."""
    _model: Any = None
    _session: Session | None = None
    _outside_fit: bool = False
    """Whether the session is an evaluation or a prediction outside of `fit`, which the next session replaces."""
    _counts_updates: bool = False
    """Whether an execution may be several batches, or none or several updates, so that the optimizer must be asked."""
    _counts_before: tuple[int, int] | None = None
    """The optimizer's updates and the batches that it has seen, before the execution; None without an optimizer."""
    _epoch_state: EpochState = attrs.field(factory=EpochState)
    _resumed_random: RandomState | None = None
    """The random numbers of the checkpoint, from `train_begin` of a resumed run until its first epoch."""
    _stopped_early: bool | None = None
    """Whether this epoch's training was stopped before its data ended; None until that is known."""
    _interruption: BaseException | None = None
    """The exception that the next run raises, between two batches."""
    _skipper: BatchSkipper | None = None
    """Skips the batches of the epoch that were trained before the run was cut."""
    batch_begin: Callable[[int], None] = attrs.field(init=False)
    batch_end: Callable[[int, Logs], None] = attrs.field(init=False)
    """Called when a batch begins, and when it ends: the session's own methods, if they suffice. During training nothing is in the
    processor's caches, and each call in between costs as much as a plugin."""

    def __attrs_post_init__(self) -> None:
        self._choose_batches()

    def train_begin(self, model: Any, params: Mapping[str, Any]) -> None:
        """Begin a run, or resume one; end an earlier run that an exception has ended."""
        self._close_abandoned()
        self._model = model
        trainee = KerasTrainee(model)
        run = Run.of(
            trainee,
            epochs=params.get("epochs"),
            steps_per_epoch=params.get("steps"),
            model=model,
            validation_data=self.validation_data,
            validation_freq=self.validation_freq,
        )
        run.resumed_from = find(self.resume, self.engine.plugins, trainee)
        if run.resumed_from is not None and not model.built and self.arguments is not None:
            build_model(model, self.arguments)
        session = self.engine.start(run, host=self, on_vote=self.stop)
        session.resume()
        self.load_state_dict(session.resumed_loop_state, session.position)
        session.latest = self._epoch_state.logs
        # Unless a batch may begin that never ends; see `_execution_begin`.
        session.drops_latest = params.get("steps") is not None
        self._session = session
        self._counts_updates = int(getattr(model, "steps_per_execution", 1) or 1) > 1
        if run.resumed_from is not None:
            self._choose_first_epoch(session)
        session.train_begin()
        if self._interruption is not None:
            run.interrupt(self._interruption)

    def epoch_begin(self, epoch: int) -> None:
        """Begin an epoch, and skip its batches that were trained before the run was cut."""
        session = self._current()
        random, self._resumed_random = self._resumed_random, None
        if random is not None:
            self._model._initial_epoch = None  # noqa: SLF001 - the next fit begins with its own initial_epoch
            random.restore()  # whatever was drawn since it was read; before the hooks of this epoch draw
        session.epoch_begin(epoch)
        self._stopped_early = None
        if session.position.batch:
            self._skip_trained_batches(session, random or RandomState.now())
        else:
            self._epoch_state = EpochState()
            self._obey(session)
        self._choose_batches()

    def _choose_batches(self) -> None:
        session = self._session
        if session is not None and self._skipper is None and not self._counts_updates:
            self.batch_begin, self.batch_end = session.batch_begin, session.batch_end
        else:
            self.batch_begin, self.batch_end = self._execution_begin, self._execution_end

    def _execution_begin(self, batch: int) -> None:
        """Begin an execution, whose first batch is `batch`.

        If the length of the data is unknown, Keras begins one execution too many in each epoch, and never ends it.
        """
        session = self._current()
        if self._skipper is not None:
            self._skipper.start()
            return
        session.batch_begin(batch)
        if self._counts_updates:
            self._counts_before = KerasTrainee(self._model).counts

    def _execution_end(self, batch: int, logs: Logs) -> None:
        """End an execution. `batch` is its last batch, or would be if the data were longer."""
        session = self._current()
        if self._skipper is not None:
            self._end_skipped_execution(session, self._skipper)
            return
        if not self._counts_updates:
            session.batch_end(batch, logs)
        else:
            updates, batches = self._done_by_execution(session, batch)
            session.batches_end(logs, updates, batches)
            session.settled()

    def epoch_end(self, epoch: int, metrics: Metrics) -> None:
        """End an epoch. `metrics` are its own and, with the prefix `val_`, those of its validation."""
        session = self._current()
        if self._skipper is not None:
            _warn_of_missing(self._skipper.left, epoch)
            self._clean_up_model()
        shared = session.run.shared
        stopped = self._model.stop_training if self._stopped_early is None else self._stopped_early
        if shared.steps_per_epoch is None and not stopped:
            shared.steps_per_epoch = session.batch
        session.epoch_end(epoch, metrics)
        self._obey(session)

    def train_end(self) -> None:
        """End the run as completed or stopped, which Keras reports."""
        session = self._current()
        self._clean_up_model()
        if self._model.stop_training and not session.stopping:
            session.run.as_plugin(self.name).stop("model.stop_training was set by something else than a plugin")
        self._end(session)

    def failed(self, error: BaseException) -> None:
        """End the run with `error`, which Keras does not report to callbacks."""
        self._clean_up_model()
        if self._session is not None:
            self._end(self._session, error)

    def _end(self, session: Session, error: BaseException | None = None) -> None:
        try:
            if not self._outside_fit:
                session.end(error)
        finally:  # not before: plugins may capture in on_exception
            self._session, self._outside_fit = None, False
            self._choose_batches()

    def evaluate_begin(self, model: Any) -> None:
        """Begin a validation within training, or an evaluation outside of it."""
        session = self._session_of(model)
        if not self._outside_fit:
            session.batch_dropped()  # if the length of the data is unknown, Keras has begun one too many
            self._stopped_early = bool(model.stop_training)  # and not by a vote during or after validation
            if can_skip_batches():
                self._epoch_state.hold_metrics(model)
        session.hooks.on_evaluate_begin()

    def evaluate_batch_begin(self, batch: int) -> None:
        """Begin a batch of an evaluation."""
        self._current().hooks.on_evaluate_batch_begin(batch)

    def evaluate_batch_end(self, batch: int, logs: Logs = None) -> None:
        """End a batch of an evaluation."""
        self._current().evaluate_batch_end(batch, logs)

    def evaluate_end(self, logs: Logs = None) -> None:
        """End an evaluation."""
        self._current().hooks.on_evaluate_end(Metrics(logs))

    def predict_begin(self, model: Any) -> None:
        """Begin a prediction."""
        self._session_of(model).hooks.on_predict_begin()

    def predict_batch_begin(self, batch: int) -> None:
        """Begin a batch of a prediction."""
        self._current().hooks.on_predict_batch_begin(batch)

    def predict_batch_end(self, batch: int) -> None:
        """End a batch of a prediction."""
        self._current().hooks.on_predict_batch_end(batch)

    def predict_end(self) -> None:
        """End a prediction."""
        self._current().hooks.on_predict_end()

    def interrupt(self, exception: BaseException) -> BaseException:
        """Have `exception` raised between two batches, if no run has begun, of the next one; return what will be raised."""
        if self._session is not None:
            return self._session.run.interrupt(exception)
        self._interruption = exception
        return exception

    def _current(self) -> Session:
        if self._session is None:
            raise HookcoreError(
                "Keras called a hook outside of fit, evaluate and predict. "
                "If one fit runs within another, give each its own adapter."
            )
        return self._session

    def _session_of(self, model: Any) -> Session:
        if self._session is None or self._outside_fit:
            self._model = model
            run = Run.of(KerasTrainee(model), model=model)
            self._session = self.engine.start(run, training=False, host=self)
            self._outside_fit = True
        return self._session

    def _close_abandoned(self) -> None:
        if self._session is not None:
            error = HookcoreError(
                "An earlier fit ended by an exception, which Keras does not tell its callbacks. "
                "hookcore_adapters.keras.fit tells plugins of it when it happens."
            )
            self.failed(error)

    # What the engine asks of its host

    name = "keras"
    ends_of_data = ("OutOfRangeError",)  # of tensorflow.errors, which other backends do not have

    def stop(self) -> None:
        """Have Keras stop after this batch."""
        if self._session is not None:
            self._obey(self._session)

    def state_dict(self) -> Mapping[str, Any]:
        """Return what a checkpoint holds of Keras itself."""
        session = self._session
        if session is None:
            return {}
        state = {"steps_per_epoch": session.run.steps_per_epoch}
        within = session.position.batch and can_skip_batches()
        return state | {"epoch": self._epoch_state.state_dict(self._model, session.latest)} if within else state

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        """Take over the running metrics of an epoch that was cut, if its batches can be skipped."""
        within = position.batch and can_skip_batches()
        self._epoch_state = EpochState.from_state_dict(state.get("epoch", {})) if within else EpochState()

    def _choose_first_epoch(self, session: Session) -> None:
        """Have Keras begin with the epoch in which the run is resumed, or with none if no epoch is left."""
        self._resumed_random = RandomState.now()
        position, shared = session.position, session.run.shared
        # An epoch that has begun is finished, even if a plugin has voted to stop in it.
        nothing_left = session.stopping and not position.begun
        self._model._initial_epoch = _InitialEpoch(sys.maxsize if nothing_left else position.epoch)  # noqa: SLF001 - no public way
        if shared.steps_per_epoch is None:
            shared.steps_per_epoch = session.resumed_loop_state.get("steps_per_epoch")
        for warning in order_warnings(self.arguments, position):
            logger.warning("resumed: %s", warning)

    def _skip_trained_batches(self, session: Session, after: RandomState) -> None:
        """Skip the batches that were trained before; `after` is the random state to continue with after them."""
        position, model = session.position, self._model
        if not can_skip_batches():
            logger.warning(
                "resumed: epoch %d begins again with its first batch, although %d were trained: this backend cannot skip batches",
                position.epoch + 1,
                position.batch,
            )
            session.begin_again()
            self._obey(session)
            return
        state = self._epoch_state

        def restore(batch: Any) -> Mapping[str, Any]:
            build_from_batch(model, batch)  # the metrics, which Keras makes at the first batch that is trained
            state.restore_metrics(model)
            after.restore()
            return state.logs or {}

        state.random.restore()
        available = min(position.batch, session.run.steps_per_epoch or position.batch)
        if available < position.batch:
            _warn_of_missing(position.batch - available, position.epoch)
        self._skipper = BatchSkipper(model, available, restore)

    def _end_skipped_execution(self, session: Session, skipper: BatchSkipper) -> None:
        if not skipper.left:
            self._skipper = None
            self._obey(session)
        session.settle()

    def _clean_up_model(self) -> None:
        """Remove from the model what resuming has put there."""
        if self._resumed_random is not None:
            self._model._initial_epoch = self._resumed_random = None  # noqa: SLF001
        if self._skipper is not None:
            self._skipper.stop()
            self._skipper = None

    def _obey(self, session: Session) -> None:
        # Keras looks at the ends of batches and epochs. Not before the trained batches of an epoch that was cut are skipped.
        if session.stopping and self._skipper is None and self._resumed_random is None:
            self._model.stop_training = True

    def _done_by_execution(self, session: Session, last: int) -> tuple[int, int]:
        """Return the updates and the batches of an execution. The optimizer knows them; the numbers that Keras gives do not tell.

        The last execution of an epoch ends with finite data, and goes past `steps_per_epoch` if the data are infinite. With an
        optimizer that is not the model's, or that skips updates, each batch counts as one update.
        """
        known = session.run.steps_per_epoch
        batches = (last + 1 if known is None else min(last + 1, known)) - session.batch
        counts, before = KerasTrainee(self._model).counts, self._counts_before
        skips = hasattr(self._model.optimizer, "inner_optimizer")  # LossScaleOptimizer, after an overflow
        if counts is None or before is None or skips or counts == before:
            return batches, batches
        return counts[0] - before[0], min(counts[1] - before[1], batches)


def _warn_of_missing(batches: int, epoch: int) -> None:
    logger.warning("epoch %d had %d batches more when it was cut than its data have now", epoch + 1, batches)
