"""Any hand-written Python loop: the reference adapter."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from hookcore import Engine, HookcoreError, MetricError, Metrics, Run
from hookcore.resume import find
from hookcore.trainee import NoTrainee
from hookcore.validators import reject

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from hookcore import Session, Trainee
    from hookcore.resume import Resume

logger = logging.getLogger("hookcore")

Batch = TypeVar("Batch")


class Loop:
    """A training loop that you write, with plugins.

        with Loop(plugins, epochs=20) as loop:
            for epoch in loop.epochs():
                for batch in loop.batches(data):
                    loop.log(loss=step(batch))
                loop.log(val_loss=evaluate())

    * `plugins`: what `Engine` takes, or an `Engine`.
    * `epochs`: the number of epochs; None for a loop that a plugin's vote ends. `initial_epoch` is the first, counted from zero.
    * `trainee` lets plugins set the learning rate, take snapshots and save. When the `with` block is entered, a plugin that needs
      what the trainee lacks is refused by name.
    * `model` and `validation_data`: what plugins find in `run.model` and `run.validation_data`.
    * `validation_freq`: validation metrics come every N epochs, or after the epochs listed, counted from one.
    * `steps_per_epoch`: for progress displays.
    * `resume`: `"auto"` resumes from the newest whole checkpoint of a plugin such as `Checkpoint`, if there is one yet; a path
      resumes from that checkpoint, or from the newest in that directory. The trainee, the plugins, the history and the progress
      are restored when the `with` block is entered. In an epoch that was cut, `batches` skips as many items of the data as were
      trained before: give it the same data in the same order. What else your own code keeps, restore yourself.
    """

    def __init__(
        self,
        plugins: Iterable[object] | Engine = (),
        *,
        epochs: int | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        trainee: Trainee | None = None,
        model: Any = None,
        validation_data: Any = None,
        validation_freq: int | Collection[int] = 1,
        resume: Resume = False,
    ) -> None:
        # Checked although they have types: a script is rarely checked for them.
        numbers: dict[str, Any] = {"epochs": epochs, "initial_epoch": initial_epoch, "steps_per_epoch": steps_per_epoch}
        for name, value in numbers.items():
            if value is not None and not (isinstance(value, int) and value >= 0):
                reject(self, name, value, "an integer of at least 0" + ("" if name == "initial_epoch" else " or None"))
        given: Any = trainee
        if isinstance(given, type):
            reject(self, "trainee", given, f"an instance, {given.__name__}(...)")
        self._engine = Engine.of(plugins)
        self.run = Run(
            trainee=NoTrainee() if trainee is None else trainee,
            model=model,
            validation_data=validation_data,
            validation_freq=validation_freq,
        )
        self.run.shared.epochs = epochs
        self.run.shared.steps_per_epoch = steps_per_epoch
        self._session: Session | None = None
        self._initial_epoch = initial_epoch
        self._resume = resume
        self._to_skip = 0
        self._is_open = False
        self._epoch_metrics: _LoggedMetrics | None = None
        self._evaluation_metrics: _LoggedMetrics | None = None
        self._left_early = False
        self._left_batch: Callable[[], None] | None = None
        self._has_batches = False

    def __enter__(self) -> Self:
        if self._session is not None:
            raise HookcoreError("A Loop is one run. Make another for the next; they may share an Engine.")
        self.run.resumed_from = find(self._resume, self._engine.plugins, self.run.trainee)
        self._session = session = self._engine.start(self.run)
        session.loop_state = self._loop_state
        session.resume()
        try:
            session.train_begin()
        except BaseException as error:
            session.end(error)
            raise
        self._is_open = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        session = self._session
        assert session is not None  # noqa: S101 - __enter__ made it
        if error is None:
            try:
                self._finish_left_batch()
            except BaseException as raised:
                self._is_open = False
                session.end(raised)
                raise
        self._is_open = False
        if error is None and self._left_early:
            self.run.as_plugin("loop").stop("the loop was left before its last epoch")
        session.end(error)

    def epochs(self) -> Iterator[int]:
        """Yield the epochs, counted from zero, until all are done or a plugin votes to stop.

        An epoch that you leave by `break` has not ended: no `on_epoch_end`, and the run is stopped. To end the run after an
        epoch, let a plugin vote. An epoch in which the body does not call `batches` counts as one step.
        """
        session = self._current("epochs")
        epoch = self._initial_epoch if self.run.resumed_from is None else session.position.epoch
        self._to_skip, cut = session.position.batch, session.resumed_loop_state.get("epoch")
        # An epoch that was cut is finished, even if a plugin has voted in it.
        while (self.run.epochs is None or epoch < self.run.epochs) and (cut is not None or not session.stopping):
            self._epoch_metrics, cut = _LoggedMetrics() if cut is None else _LoggedMetrics.from_state_dict(cut), None
            self._has_batches = self._to_skip > 0
            session.epoch_begin(epoch)
            self._left_early = self.run.epochs is not None
            yield epoch
            self._left_early = False
            self._finish_left_batch()
            if self._to_skip:
                logger.warning("epoch %d had %d batches more when it was cut than its data has now", epoch + 1, self._to_skip)
                self._to_skip = 0
            metrics, self._epoch_metrics = self._epoch_metrics.metrics(), None
            if not self._has_batches:
                self.run.progress.step += 1
            session.epoch_end(epoch, Metrics(metrics))
            epoch += 1

    def batches(self, data: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the items of `data`, until they end or a plugin votes to stop. Your loop's body trains each as one batch.

        Within `evaluation`, the body evaluates each as one batch, and no vote ends them.
        """
        session, logged = self._current("batches"), self._current_metrics("batches")
        training = self._evaluation_metrics is None
        self._has_batches |= training
        begin = session.batch_begin if training else session.evaluate_batch_begin
        end = session.batch_end if training else session.evaluate_batch_end
        for number, batch in enumerate(data):
            if training and self._to_skip:
                self._to_skip -= 1
                continue
            if training and session.stopping:
                return
            begin(number)
            logged.begin_batch()
            try:
                yield batch
            except GeneratorExit:
                # Either a `break`, after the body worked on this batch, or an exception, before it had: which of them shows when
                # the loop continues or ends. And Python drops what a plugin raises here.
                self._left_batch = lambda number=number: end(number, logged.end_batch())
                raise
            end(number, logged.end_batch())

    def _loop_state(self) -> Mapping[str, Any]:
        """Return what a checkpoint holds of the loop itself: the metrics of an epoch that has not ended."""
        return {"epoch": None if self._epoch_metrics is None else self._epoch_metrics.state_dict()}

    def _finish_left_batch(self) -> None:
        """End the batch that the body left by `break`."""
        finish, self._left_batch = self._left_batch, None
        if finish is not None:
            finish()

    @contextlib.contextmanager
    def evaluation(self, prefix: str = "val_") -> Iterator[None]:
        """Evaluate: what is logged within becomes the epoch's metrics, with `prefix` before the name.

        As in training, what is logged within one of its `batches` counts with its mean.
        """
        session, epoch = self._current("evaluation"), self._current_metrics("evaluation")
        session.hooks.on_evaluate_begin()
        self._evaluation_metrics = logged = _LoggedMetrics()
        try:
            yield
            self._finish_left_batch()
            metrics = logged.metrics()
            session.hooks.on_evaluate_end(Metrics(metrics))
            epoch.own |= {f"{prefix}{name}": value for name, value in metrics.items()}
        finally:
            self._evaluation_metrics = None

    def log(self, metrics: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Record metrics: within a batch those of the batch, whose means the epoch gets, and elsewhere those of the epoch.

        A value is a number or what `float` takes, such as a tensor of one element. A tensor is converted at the end of the
        epoch, or when a plugin reads it; until then it is added up in its own framework, detached and in at least 32 bits.
        """
        self._current("log")
        self._current_metrics("log").log({**(metrics or {}), **more})

    def _current_metrics(self, method: str) -> _LoggedMetrics:
        logged = self._epoch_metrics if self._evaluation_metrics is None else self._evaluation_metrics
        if logged is None:
            raise HookcoreError(f"Loop.{method} works only within an epoch: `for epoch in loop.epochs():`.")
        return logged

    def _current(self, method: str) -> Session:
        if self._session is None or not self._is_open:
            raise HookcoreError(f"Loop.{method} works only within its `with` block: `with Loop(...) as loop:`.")
        self._finish_left_batch()
        return self._session


@attrs.define
class _LoggedMetrics:
    """The metrics of an epoch or of an evaluation: means over its batches, and what was logged outside of a batch.

    Tensors are added up where they are, so that nothing waits for a device.
    """

    own: dict[str, Any] = attrs.field(factory=dict)
    _batch: dict[str, Any] | None = None
    _sums: dict[str, tuple[Any, int]] = attrs.field(factory=dict)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """Return the metrics that `state_dict` returned."""
        return cls(own=dict(state["own"]), sums={name: (total, count) for name, (total, count) in state["sums"].items()})

    def state_dict(self) -> dict[str, Any]:
        """Return the metrics so far, as JSON-able values."""
        sums = {
            part: [value, count] for name, (total, count) in self._sums.items() for part, value in Metrics({name: total}).items()
        }
        return {"own": dict(Metrics(self.own)), "sums": sums}

    def log(self, given: Mapping[str, Any]) -> None:
        (self.own if self._batch is None else self._batch).update(given)

    def begin_batch(self) -> None:
        self._batch = {}

    def end_batch(self) -> dict[str, Any]:
        batch, self._batch = self._batch or {}, None
        for name, value in batch.items():
            total, count = self._sums.get(name, (0.0, 0))
            try:
                self._sums[name] = (total + _widened(value), count + 1)
            except TypeError as error:
                raise MetricError(f"Metric {name!r} must be a number, got {value!r}.") from error
        return batch

    def metrics(self) -> dict[str, Any]:
        return {name: total / count for name, (total, count) in self._sums.items()} | self.own


def _widened(value: Any) -> Any:
    """Return `value` in a type whose sums stay exact. A tensor stays on its device, so that nothing waits for it."""
    if hasattr(value, "__array_interface__"):  # NumPy
        return float(value)
    if hasattr(value, "detach"):  # PyTorch
        return value.detach().float()
    return value.astype("float32") if hasattr(value, "astype") else value
