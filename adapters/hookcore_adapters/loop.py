"""Any hand-written Python loop: the reference adapter."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from hookcore import Engine, HookcoreError, MetricError, Metrics, Run
from hookcore.trainee import NoTrainee

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from hookcore import Trainee

Batch = TypeVar("Batch")


class Loop:
    """A training loop that you write, with plugins.

        with Loop(plugins, epochs=20) as loop:
            for epoch in loop.epochs():
                for batch in loop.batches(data):
                    loop.log(loss=step(batch))
                loop.log(val_loss=evaluate())

    `plugins` is what `Engine` takes, or an `Engine`. `epochs` may be None for a loop that ends by a plugin's vote.
    `trainee` lets plugins set the learning rate, take snapshots and save; a plugin that needs what is not there is refused by
    name when the `with` block is entered. `model` and `validation_data` are what plugins find in `run.model` and
    `run.validation_data`; `validation_freq` says that validation metrics come only every so many epochs; `steps_per_epoch` is
    for progress displays.
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
    ) -> None:
        engine = plugins if isinstance(plugins, Engine) else Engine(plugins)
        self.run = Run(
            trainee=NoTrainee() if trainee is None else trainee,
            model=model,
            validation_data=validation_data,
            validation_freq=validation_freq,
        )
        self.run.shared.epochs = epochs
        self.run.shared.steps_per_epoch = steps_per_epoch
        self._session = engine.start(self.run)
        self._initial_epoch = initial_epoch
        self._epoch = _Logged()
        self._evaluation: _Logged | None = None
        self._open = False
        self._left_early = False
        self._left_in: int | None = None
        self._batched = False

    def __enter__(self) -> Self:
        try:
            self._session.train_begin()
        except BaseException as error:
            self._session.end(error)
            raise
        self._open = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open = False
        if error is None:
            try:
                self._finish_left_batch()
            except BaseException as raised:
                self._session.end(raised)
                raise
        if error is None and self._left_early:
            attrs.evolve(self.run, plugin="loop").stop("the loop was left before its last epoch")
        self._session.end(error)

    def epochs(self) -> Iterator[int]:
        """The epochs, counted from zero, until all are done or a plugin votes to stop.

        An epoch in which the body does not call `batches` counts as one step.
        """
        self._check_open("epochs")
        epoch = self._initial_epoch
        while (self.run.epochs is None or epoch < self.run.epochs) and not self._session.stopping:
            self._epoch = _Logged()
            self._batched = False
            self._session.epoch_begin(epoch)
            self._left_early = self.run.epochs is not None
            yield epoch
            self._left_early = False
            self._finish_left_batch()
            if not self._batched:
                self.run.progress.step += 1
            self._session.epoch_end(epoch, Metrics(self._epoch.metrics()))
            epoch += 1

    def batches(self, data: Iterable[Batch]) -> Iterator[Batch]:
        """The items of `data`, until they end or a plugin votes to stop. Each is one batch, trained by the body of your loop.

        Within `evaluation`, each is one batch that the body evaluates.
        """
        self._check_open("batches")
        if self._evaluation is not None:
            yield from self._evaluate_batches(data, self._evaluation)
            return
        self._batched = True
        for number, batch in enumerate(data):
            if self._session.stopping:
                return
            self._session.batch_begin(number)
            self._epoch.begin_batch()
            try:
                yield batch
            except GeneratorExit:
                # By `break`, after it trained on this batch, or by an exception, before it had: that shows when the loop
                # goes on or ends. And what a plugin raises here would be lost: nobody receives it.
                self._left_in = number
                raise
            self._end_batch(number)

    def _finish_left_batch(self) -> None:
        """End the batch that the body left by `break`."""
        number, self._left_in = self._left_in, None
        if number is not None:
            self._end_batch(number)

    def _end_batch(self, number: int) -> None:
        self._session.batch_end(number, Metrics(self._epoch.end_batch()))

    def _evaluate_batches(self, data: Iterable[Batch], logged: _Logged) -> Iterator[Batch]:
        hooks = self._session.hooks
        for number, batch in enumerate(data):
            hooks.on_evaluate_batch_begin(number)
            logged.begin_batch()
            yield batch
            hooks.on_evaluate_batch_end(number, Metrics(logged.end_batch()))

    @contextlib.contextmanager
    def evaluation(self, prefix: str = "val_") -> Iterator[None]:
        """An evaluation: what is logged within it becomes the epoch's metrics with `prefix` before the name.

        As in training, what is logged within one of its `batches` counts with its mean.
        """
        self._check_open("evaluation")
        self._session.hooks.on_evaluate_begin()
        self._evaluation = logged = _Logged()
        try:
            yield
            metrics = logged.metrics()
            self._session.hooks.on_evaluate_end(Metrics(metrics))
            self._epoch.own |= {f"{prefix}{name}": value for name, value in metrics.items()}
        finally:
            self._evaluation = None

    def log(self, metrics: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Record metrics: within a batch the batch's, and the epoch gets their mean over its batches; outside the epoch's own.

        A value is a number or what `float` takes, such as a tensor of one element; it is converted at the end of the epoch, or
        when a plugin reads it.
        """
        self._check_open("log")
        given = {**(metrics or {}), **more}
        (self._epoch if self._evaluation is None else self._evaluation).log(given)

    def _check_open(self, method: str) -> None:
        if not self._open:
            msg = f"Loop.{method} works only within its `with` block: `with Loop(...) as loop:`."
            raise HookcoreError(msg)
        self._finish_left_batch()


@attrs.define
class _Logged:
    """The metrics of an epoch or of an evaluation: means over its batches, and what was logged outside of a batch.

    Values are added up as they are, so that a device's tensor waits for nothing.
    """

    own: dict[str, Any] = attrs.field(factory=dict)
    _batch: dict[str, Any] | None = None
    _sums: dict[str, tuple[Any, int]] = attrs.field(factory=dict)

    def log(self, given: Mapping[str, Any]) -> None:
        (self.own if self._batch is None else self._batch).update(given)

    def begin_batch(self) -> None:
        self._batch = {}

    def end_batch(self) -> dict[str, Any]:
        batch, self._batch = self._batch or {}, None
        for name, value in batch.items():
            total, count = self._sums.get(name, (0.0, 0))
            try:
                self._sums[name] = (total + value, count + 1)
            except TypeError as error:
                msg = f"Metric {name!r} must be a number, got {value!r}."
                raise MetricError(msg) from error
        return batch

    def metrics(self) -> dict[str, Any]:
        return {name: total / count for name, (total, count) in self._sums.items()} | self.own
