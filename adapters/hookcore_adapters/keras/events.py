"""Keras's callback protocol translated into hookcore's events: what `KerasAdapter` and `fit` have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from hookcore import Engine, HookcoreError, Metrics, Run, Session
from hookcore_adapters.keras.trainee import KerasTrainee

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@attrs.define(eq=False)
class KerasEvents:
    """Receives what Keras calls, and drives a session with it.

    `validation_data` and `validation_freq` are what plugins see of them: Keras 3 does not tell a callback.
    """

    engine: Engine
    validation_data: Any = None
    validation_freq: int | Collection[int] = 1
    _model: Any = None
    _session: Session | None = None
    _alone: bool = False
    """Whether the session is an evaluation or a prediction outside of `fit`."""
    _steps_per_execution: int = 1
    _base_step: int = 0
    _base_iterations: int = 0

    def train_begin(self, model: Any, params: Mapping[str, Any]) -> Session:
        """A new run; one that never ended was ended by an exception."""
        self._close_abandoned()
        self._model = model
        run = Run(
            trainee=KerasTrainee(model),
            model=model,
            validation_data=self.validation_data,
            validation_freq=self.validation_freq,
        )
        run.shared.epochs = params.get("epochs")
        run.shared.steps_per_epoch = params.get("steps")
        self._session = session = self.engine.start(run)
        self._steps_per_execution = int(getattr(model, "steps_per_execution", 1) or 1)
        session.train_begin()
        self._obey(session)
        return session

    def epoch_begin(self, epoch: int) -> None:
        """Remember where the epoch began, to count its steps."""
        session = self._training()
        self._base_step = session.run.progress.step
        if self._must_ask_optimizer(session):
            self._base_iterations = self._iterations()
        session.epoch_begin(epoch)
        self._obey(session)

    def batch_begin(self, batch: int) -> None:
        """`batch` is the first one of an execution."""
        session = self._training()
        session.batch_begin(batch)
        self._obey(session)

    def batch_end(self, batch: int, logs: Mapping[str, Any] | None) -> None:
        """`batch` is the last one of an execution, and where that reaches past the epoch, Keras does not cut the number."""
        session = self._training()
        if self._steps_per_execution == 1:
            session.batch_end(batch, Metrics(logs))
        else:
            step = self._base_step + self._batches_done(session, batch)
            session.batch_end(batch, Metrics(logs), step - session.run.progress.step)
        self._obey(session)

    def epoch_end(self, epoch: int, logs: Mapping[str, Any] | None) -> None:
        """The epoch's own metrics and, with `val_`, those of its validation."""
        session = self._training()
        shared = session.run.shared
        if shared.steps_per_epoch is None and not self._model.stop_training:
            shared.steps_per_epoch = session.run.progress.step - self._base_step
        session.epoch_end(epoch, Metrics(logs))
        self._obey(session)

    def train_end(self) -> None:
        """The end that Keras reports: all epochs done, or stopped."""
        session, self._session = self._training(), None
        if self._model.stop_training and not session.stopping:
            attrs.evolve(session.run, plugin="keras").stop("model.stop_training was set by something else than a plugin")
        session.end()

    def failed(self, error: BaseException) -> None:
        """The end that Keras does not report."""
        if self._session is not None:
            session, self._session = self._session, None
            session.end(error)

    def evaluate_begin(self, model: Any) -> None:
        """Validation within training, or an evaluation of its own."""
        self._any(model).hooks.on_evaluate_begin()

    def evaluate_batch_begin(self, batch: int) -> None:
        """One batch."""
        self._training().hooks.on_evaluate_batch_begin(batch)

    def evaluate_batch_end(self, batch: int, logs: Mapping[str, Any] | None) -> None:
        """One batch."""
        self._training().hooks.on_evaluate_batch_end(batch, Metrics(logs))

    def evaluate_end(self, logs: Mapping[str, Any] | None) -> None:
        """All batches."""
        self._training().hooks.on_evaluate_end(Metrics(logs))
        self._forget_if_alone()

    def predict_begin(self, model: Any) -> None:
        """A prediction."""
        self._any(model).hooks.on_predict_begin()

    def predict_batch_begin(self, batch: int) -> None:
        """One batch."""
        self._training().hooks.on_predict_batch_begin(batch)

    def predict_batch_end(self, batch: int) -> None:
        """One batch."""
        self._training().hooks.on_predict_batch_end(batch)

    def predict_end(self) -> None:
        """All batches."""
        self._training().hooks.on_predict_end()
        self._forget_if_alone()

    def _training(self) -> Session:
        if self._session is None:
            msg = "Keras called a hook outside of fit, evaluate and predict; is the adapter in two places at once?"
            raise HookcoreError(msg)
        return self._session

    def _any(self, model: Any) -> Session:
        if self._session is None:
            self._model = model
            self._session = self.engine.start(Run(trainee=KerasTrainee(model), model=model))
            self._alone = True
        return self._session

    def _forget_if_alone(self) -> None:
        if self._alone:
            self._session, self._alone = None, False

    def _close_abandoned(self) -> None:
        if self._session is not None and not self._alone:
            msg = (
                "An earlier fit ended by an exception, which Keras does not tell its callbacks. "
                "hookcore_adapters.keras.fit tells plugins of it when it happens."
            )
            self.failed(HookcoreError(msg))
        self._session, self._alone = None, False

    def _obey(self, session: Session) -> None:
        if session.stopping:
            self._model.stop_training = True

    def _batches_done(self, session: Session, last: int) -> int:
        if self._must_ask_optimizer(session):
            return self._iterations() - self._base_iterations
        steps = session.run.steps_per_epoch
        return last + 1 if steps is None else min(last + 1, steps)

    def _must_ask_optimizer(self, session: Session) -> bool:
        """Whether the batch numbers do not tell how many batches there were in the last execution of an epoch."""
        return self._steps_per_execution > 1 and session.run.steps_per_epoch is None and self._model.optimizer is not None

    def _iterations(self) -> int:
        return int(self._model.optimizer.iterations)
