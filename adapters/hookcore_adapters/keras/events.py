"""Translates Keras's callback protocol for the driver; the common part of `KerasAdapter` and `fit`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import attrs

from hookcore import Engine, HookcoreError, Metrics, Position, Run
from hookcore.driver import Driver
from hookcore.interrupt import being_executed
from hookcore.resume import Resume
from hookcore_adapters.keras.callback_states import CallbackStates
from hookcore_adapters.keras.callbacks_without_state import warn_of_backups, warn_of_lost_state
from hookcore_adapters.keras.counts import Counts
from hookcore_adapters.keras.data import build_model, generators_of_fit
from hookcore_adapters.keras.data_order import warn_of_missing_seed
from hookcore_adapters.keras.given import Given
from hookcore_adapters.keras.held_weights import TraineeBesideCallbacks, read_held_weights
from hookcore_adapters.keras.monitors import warn_of_misspelt
from hookcore_adapters.keras.numeric_logs import Logs
from hookcore_adapters.keras.resuming import Resuming
from hookcore_adapters.keras.trainee import KerasTrainee


@attrs.define(eq=False)
class KerasEvents:
    """Receives Keras's events and reports them to a driver, whose host it is.

    `validation_data` and `validation_freq` are for plugins that use them, because Keras 3 does not pass them to callbacks.
    """

    engine: Engine
    validation_data: Any = None
    validation_freq: int | Collection[int] = 1
    resume: Resume = False
    arguments: Mapping[str, Any] | None = None
    """The arguments of `fit`, or None if they are unknown."""
    states: CallbackStates = attrs.field(init=False, factory=CallbackStates)
    """The states of the callbacks that Keras calls beside plugins."""
    _driver: Driver = attrs.field(init=False)
    _model: Any = None
    _resuming: Resuming = attrs.field(factory=Resuming)
    _given: Given = attrs.field(factory=Given)
    _generators: Sequence[Any] = ()
    """The PyTorch generators from which the data draw, except the global one."""
    _counts: Counts | None = None
    """Counts the batches and updates of each execution; None if each is one batch and one update."""
    _stopped_early: bool | None = None
    """Whether this epoch's training was stopped before its data ended; None until that is known."""
    _interruption: BaseException | None = None
    """The exception that the next run raises, between two batches."""
    batch_begin: Callable[[int], None] = attrs.field(init=False)
    batch_end: Callable[[int, Logs], None] = attrs.field(init=False)
    """Called when a batch begins and ends: directly the session's methods, if they suffice.

    During training the processor's caches are cold, so each call in between would cost as much as a plugin.
    """

    def __attrs_post_init__(self) -> None:
        self._driver = Driver(self.engine, resume=self.resume, host=self, always_ends=self.arguments is not None)
        self._choose_batches()

    def train_begin(self, model: Any, params: Mapping[str, Any]) -> None:
        """Begin or resume a run, after ending an earlier run that an exception has interrupted."""
        self.prepare(model, params)
        self.start()

    def prepare(self, model: Any, params: Mapping[str, Any]) -> None:
        """Prepare and restore the run, before callbacks see the model."""
        self._driver.end_abandoned(
            HookcoreError(
                "An earlier fit ended by an exception, which Keras does not report to callbacks. hookcore_adapters.keras.fit "
                "reports it to plugins when it happens."
            )
        )
        self.engine.check_free(self.name)
        self._resuming.clean_up()
        self._model = model
        trainee = TraineeBesideCallbacks(model, held=self.states.held_weights)
        self._given = Given.of(trainee, self.arguments)
        self._generators = generators_of_fit(self.validation_data)
        found = self._driver.find(trainee)
        if found is not None and not model.built and self.arguments is not None:
            build_model(model, self.arguments)
        run = Run.of(
            trainee,
            epochs=params.get("epochs"),
            steps_per_epoch=params.get("steps"),
            model=model,
            validation_data=self.validation_data,
            validation_freq=self.validation_freq,
            resumed_from=found,
        )
        self._counts = Counts.of(model)
        warn_of_misspelt(self.engine, model)
        # Keras does not report exceptions, so a Ctrl-C may arrive after its `fit` has ended.
        codes = being_executed(sys._getframe())  # noqa: SLF001 - the only way to find the caller
        loop = next((code for code in codes if code.co_name == "fit" and "keras" in code.co_filename), None)
        self._driver.begin(run, loop=loop, start=False)
        self._warn_of_resuming(is_resumed=found is not None)

    def _warn_of_resuming(self, *, is_resumed: bool) -> None:
        """Warn of what differs after an interruption, if the run is resumed, or saves and may be resumed later."""
        saves = any(registered.is_resumable for registered in self.engine.plugins)
        if saves or is_resumed:
            warn_of_lost_state(self.states.callbacks, self.engine, resumed=is_resumed)
        if saves and not is_resumed:
            warn_of_missing_seed(self.arguments)
        if self.resume:
            warn_of_backups(self.states.callbacks)

    def start(self) -> None:
        """Begin the prepared run for plugins."""
        self._driver.start()
        if self._interruption is not None:
            self._run.interrupt(self._interruption)

    def epoch_ends(self) -> None:
        """Prepare for the callbacks at the end of an epoch, which may change the learning rate."""
        if self._driver.is_running:
            self._driver.epoch_ends()

    def before_epoch(self) -> None:
        """Restore the state with which a resumed run begins its first epoch, before callbacks use it."""
        self._resuming.begin_epoch()

    def epoch_begin(self, epoch: int) -> None:
        """Begin an epoch, and skip its batches that were trained before the interruption."""
        self._check_runs()
        self.before_epoch()
        self._driver.epoch_begin(epoch)
        self._stopped_early = None
        position = self._driver.position
        if not position.batch:
            self._resuming = self._resuming_at()
        elif not self._resuming.skip_trained_batches(
            self._run.steps_per_epoch, each=self._driver.batch_skipped, stops=lambda: self._driver.stopping
        ):
            self._driver.begin_again()
        self._choose_batches()
        self._pass_votes_on()

    @property
    def is_skipping(self) -> bool:
        """Whether the present execution was trained before the interruption, and is skipped."""
        return self._resuming.is_skipping

    def _resuming_at(self, position: Position | None = None) -> Resuming:
        return Resuming(self._model, position or Position(), self._generators)

    def _choose_batches(self) -> None:
        if self._driver.is_running and self._counts is None and not self._resuming.is_skipping:
            self.batch_begin, self.batch_end = self._driver.batches()
        else:
            self.batch_begin, self.batch_end = self._execution_begin, self._execution_end

    def _execution_begin(self, batch: int) -> None:
        """Begin an execution.

        If the length of the data is unknown, Keras begins an additional execution in each epoch, and never ends it.
        """
        del batch
        self._check_runs()
        if self._resuming.is_skipping:
            self._resuming.begin_skipping()
            return
        self._driver.batch_begin()
        if self._counts is not None:
            self._counts.begin()

    def _execution_end(self, batch: int, logs: Logs) -> None:
        """End an execution. `batch` is its last batch, or a higher number if the data ended in it."""
        self._check_runs()
        if self._resuming.is_skipping:
            self._resuming.end_skipping()
            self._driver.batch_skipped()
            self._pass_votes_on()
        elif self._counts is None:
            self._driver.batch_end(logs)
        else:
            # Keras counts the last execution of an epoch as full: past the end of finite data, and past `steps_per_epoch`.
            known = self._run.steps_per_epoch
            last = batch + 1 + self._resuming.shift
            last = last if known is None else min(last, known)
            updates, batches = self._counts.end(last - self._driver.position.batch)
            self._driver.batch_end(logs, updates=updates, batches=batches)

    def epoch_end(self, epoch: int, metrics: Metrics) -> None:
        """End an epoch. `metrics` are its own and, with the prefix `val_`, those of its validation."""
        self._check_runs()
        if epoch > self._driver.epoch:  # a script that calls callbacks itself may omit on_epoch_begin
            self.epoch_begin(epoch)
        self._resuming.end_epoch()
        if self._counts is not None:
            self._driver.update(self._counts.give_up())
        stopped = self._model.stop_training if self._stopped_early is None else self._stopped_early
        self._driver.epoch_end(metrics, exhausted=not stopped)
        self._pass_votes_on()

    def train_end(self) -> None:
        """End the run as completed or stopped, which Keras reports."""
        self._check_runs()
        self._resuming.clean_up()
        by = "model.stop_training was set by something else than a plugin" if self._model.stop_training else None
        self._end(by=by)

    def failed(self, error: BaseException) -> None:
        """End the run, if there is one, with `error`, which Keras does not report to callbacks."""
        self._resuming.clean_up()
        self._end(error)

    def _end(self, error: BaseException | None = None, *, by: str | None = None) -> None:
        try:
            self._driver.end(error, by=by)
        finally:
            self._model, self._resuming, self._counts, self._generators = None, Resuming(), None, ()
            self._choose_batches()

    def evaluate_begin(self, model: Any) -> None:
        """Begin a validation within training, or an evaluation outside of it."""
        if self._driver.is_running:
            self._driver.batch_dropped()  # if the length of the data is unknown, Keras has begun an additional batch
            self._stopped_early = bool(model.stop_training)  # read now, before a vote during or after validation
            self._resuming.hold_metrics(has_logs=self._driver.latest is not None)
        self._prepare(model)
        self._driver.evaluate_begin()

    def evaluate_batch_begin(self, batch: int) -> None:
        """Begin a batch of an evaluation."""
        del batch
        self._driver.evaluate_batch_begin()

    def evaluate_batch_end(self, batch: int, logs: Logs = None) -> None:
        """End a batch of an evaluation."""
        del batch
        self._driver.evaluate_batch_end(logs)

    def evaluate_end(self, logs: Logs = None) -> None:
        """End an evaluation."""
        self._driver.evaluate_end(logs)
        self._leave()

    def predict_begin(self, model: Any) -> None:
        """Begin a prediction."""
        self._prepare(model)
        self._driver.predict_begin()

    def predict_batch_begin(self, batch: int) -> None:
        """Begin a batch of a prediction."""
        del batch
        self._driver.predict_batch_begin()

    def predict_batch_end(self, batch: int) -> None:
        """End a batch of a prediction."""
        del batch
        self._driver.predict_batch_end()

    def predict_end(self) -> None:
        """End a prediction."""
        self._driver.predict_end()
        self._leave()

    def interrupt(self, exception: BaseException) -> BaseException:
        """Raise `exception` between two batches of the run, or of the next run if none has begun; return what will be raised."""
        if self._driver.is_running:
            return self._run.interrupt(exception)
        self._interruption = exception
        return exception

    @property
    def _run(self) -> Run:
        run = self._driver.run
        assert run is not None  # noqa: S101 - only used within a run
        return run

    def _check_runs(self) -> None:
        if not self._driver.is_running:
            raise HookcoreError(
                "Keras called a callback's method outside of fit, evaluate and predict. If one fit runs within another, give "
                "each its own adapter."
            )

    def _prepare(self, model: Any) -> None:
        if not self._driver.is_running:
            self._driver.outside(KerasTrainee(model), model)

    def _leave(self) -> None:
        if not self._driver.is_running:
            self._driver.end()

    def _pass_votes_on(self) -> None:
        """Stop Keras if a plugin has voted, possibly while batches were skipped."""
        if self._driver.stopping:
            self.stop()

    # The methods that the driver calls on its host

    name = "keras"
    ends_of_data = ("OutOfRangeError",)  # in tensorflow.errors, which only that backend has

    def stop(self) -> None:
        """Ask Keras to stop after this batch, unless trained batches of an interrupted epoch must still be skipped."""
        if not self._resuming.is_waiting:
            self._model.stop_training = True

    def state_dict(self) -> Mapping[str, Any]:
        """Return the state of Keras for a checkpoint."""
        counts = {} if self._counts is None else self._counts.state_dict()
        states = self.states.state_dict()
        counts |= {"given": self._given.state_dict(self._run)} | ({"callbacks": states} if states else {})
        return counts | self._resuming.state_dict(self._driver.latest, within=self._driver.position.batch > 0)

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        """Restore the running metrics of an interrupted epoch, and make Keras begin with that epoch."""
        if self._counts is not None:
            self._counts.load_state_dict(state)
        self._resuming = self._resuming_at(position)
        if self._run.resumed_from is not None:
            held = read_held_weights(KerasTrainee(self._model), self._run.resumed_from.path)
            stopped = self.states.load_state_dict(state.get("callbacks", {}), held)
            # An epoch that has begun is finished, even if a plugin has voted to stop in it.
            nothing_left = (self._driver.stopping or stopped) and not position.begun
            self._resuming.choose_first_epoch(state, self.arguments, nothing_left=nothing_left)
            self._given.compare(state.get("given", {}), self._run)
