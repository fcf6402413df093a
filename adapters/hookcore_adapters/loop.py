"""Any hand-written Python loop: the reference adapter."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from hookcore import Engine, HookcoreError, Metrics, Run
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
        self._batch_metrics: dict[str, Any] | None = None
        self._means: dict[str, _Mean] = {}
        self._epoch_metrics: dict[str, Any] = {}
        self._evaluation: dict[str, Any] | None = None
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
            self._means, self._epoch_metrics = {}, {}
            self._batched = False
            self._session.epoch_begin(epoch)
            self._left_early = self.run.epochs is not None
            yield epoch
            self._left_early = False
            self._finish_left_batch()
            metrics = {name: mean.value for name, mean in self._means.items()} | self._epoch_metrics
            if not self._batched:
                self.run.progress.step += 1
            self._session.epoch_end(epoch, Metrics(metrics))
            epoch += 1

    def batches(self, data: Iterable[Batch]) -> Iterator[Batch]:
        """The items of `data`, until they end or a plugin votes to stop. Each is one batch, trained by the body of your loop.

        Within `evaluation`, each is one batch that the body evaluates.
        """
        self._check_open("batches")
        if self._evaluation is not None:
            yield from self._evaluate_batches(data)
            return
        self._batched = True
        for number, batch in enumerate(data):
            if self._session.stopping:
                return
            self._session.batch_begin(number)
            self._batch_metrics = {}
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
        logged, self._batch_metrics = self._batch_metrics or {}, None
        for name, value in logged.items():
            self._means.setdefault(name, _Mean()).add(value)
        self._session.batch_end(number, Metrics(logged))

    def _evaluate_batches(self, data: Iterable[Batch]) -> Iterator[Batch]:
        hooks = self._session.hooks
        for number, batch in enumerate(data):
            hooks.on_evaluate_batch_begin(number)
            yield batch
            hooks.on_evaluate_batch_end(number, Metrics(self._evaluation))

    @contextlib.contextmanager
    def evaluation(self, prefix: str = "val_") -> Iterator[None]:
        """An evaluation: what is logged within it becomes the epoch's metrics with `prefix` before the name."""
        self._check_open("evaluation")
        self._session.hooks.on_evaluate_begin()
        self._evaluation = {}
        try:
            yield
            self._session.hooks.on_evaluate_end(Metrics(self._evaluation))
            self._epoch_metrics |= {f"{prefix}{name}": value for name, value in self._evaluation.items()}
        finally:
            self._evaluation = None

    def log(self, metrics: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Record metrics: within a batch the batch's, and the epoch gets their mean over its batches; outside the epoch's own.

        A value is a number or what `float` takes, such as a tensor of one element; it is converted at the end of the epoch, or
        when a plugin reads it.
        """
        self._check_open("log")
        given = {**(metrics or {}), **more}
        if self._evaluation is not None:
            self._evaluation |= given
        elif self._batch_metrics is not None:
            self._batch_metrics |= given
        else:
            self._epoch_metrics |= given

    def _check_open(self, method: str) -> None:
        if not self._open:
            msg = f"Loop.{method} works only within its `with` block: `with Loop(...) as loop:`."
            raise HookcoreError(msg)
        self._finish_left_batch()


class _Mean:
    """A mean of values that are not converted until it is read, so that adding a device's tensor waits for nothing."""

    __slots__ = ("_count", "_sum")

    def __init__(self) -> None:
        self._sum: Any = 0.0
        self._count = 0

    def add(self, value: Any) -> None:
        self._sum = self._sum + value
        self._count += 1

    @property
    def value(self) -> Any:
        return self._sum / self._count
