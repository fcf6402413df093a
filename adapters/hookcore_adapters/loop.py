"""Any hand-written Python loop: the reference adapter."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
from collections.abc import Collection  # noqa: TC003 - tools such as jsonargparse read the types of the arguments
from typing import TYPE_CHECKING, Any, TypeVar

from hookcore import HookcoreError, MetricError, MetricNames, Plugins, Resume, Run, Trainee
from hookcore.authoring import due
from hookcore.driver import Driver
from hookcore.means import Means
from hookcore.trainee import begin_data, check_trainee, restore_random
from hookcore.validators import checked_integer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from hookcore import Position

logger = logging.getLogger("hookcore")

Batch = TypeVar("Batch")


class Loop:
    """A training loop that you write, with plugins.

        with Loop(plugins, epochs=20) as loop:
            for epoch in loop.epochs():
                for batch in loop.batches(data):
                    loop.log(loss=step(batch))
                loop.log(val_loss=evaluate())

    * `plugins`: what `Engine` takes, an `Engine`, or a configuration, such as `"hookcore.toml"`.
    * `epochs`: the number of epochs; None for a loop that a plugin's vote ends. `initial_epoch` is the first, counted from zero.
    * `trainee` lets plugins set the learning rate, take snapshots and save. When the `with` block is entered, a plugin that needs
      what the trainee lacks is refused by name.
    * `model` and `validation_data`: what plugins find in `run.model` and `run.validation_data`.
    * `validation_freq`: validation metrics come every N epochs, or after the epochs listed, counted from one; None if they come
      every N steps. It matters only until the first validation metrics arrive.
    * `metric_names`: how the names of validation metrics begin; by default with `val_`. A prefix given to `evaluation` counts
      too.
    * `steps_per_epoch`: for progress displays.
    * `resume`: `"auto"` resumes from the newest complete checkpoint of a plugin such as `Checkpoint`, if there is one; a path
      resumes from that checkpoint, or from the newest in that directory. Entering the `with` block restores the trainee, the
      plugins, the history and the progress. If an epoch was interrupted, `batches` skips the items that were trained: give it the
      same data in the same order. Data that the trainee can start in mid-epoch skip them without reading. Restore any other state
      of your code yourself.
    """

    def __init__(
        self,
        plugins: Plugins = (),
        *,
        epochs: int | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        trainee: Trainee | None = None,
        model: Any = None,
        validation_data: Any = None,
        validation_freq: int | Collection[int] | None = 1,
        metric_names: MetricNames | None = None,
        resume: Resume = False,
    ) -> None:
        # Checked at run time too, because few scripts are type-checked.
        epochs = checked_integer(self, "epochs", epochs, at_least=0, optional=True)
        initial_epoch = checked_integer(self, "initial_epoch", initial_epoch, at_least=0)
        steps_per_epoch = checked_integer(self, "steps_per_epoch", steps_per_epoch, at_least=0, optional=True)
        if trainee is not None:
            check_trainee("Loop", trainee)
        self._prefix = next(iter(metric_names.validation), "") if metric_names is not None else "val_"
        self._driver = Driver(plugins, resume=resume, host=self, always_ends=True)
        self.run = Run.of(
            trainee,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            model=model,
            validation_data=validation_data,
            validation_freq=validation_freq,
            metric_names=metric_names,
        )
        self._initial_epoch = initial_epoch
        self._entered = False
        self._open = False
        self._epoch: Means | None = None
        """The metrics of the open epoch; before `epochs` is called, those of the interrupted epoch of a resumed run."""
        self._evaluation: Means | None = None
        self._to_skip = 0
        """How many batches of the open epoch were trained before the run was interrupted."""
        self._updates = 1
        """The number of updates that the open batch makes, as far as is known while its body runs."""
        self._unseen = 0
        """The number of updates since the latest batch that counted as one while its body ran. They showed only afterwards."""
        self._held = False
        """Whether an evaluation in the body has ended the open batch, whose observation waits for the end of the body."""
        self._left_batch: Callable[[], None] | None = None
        """Ends a batch that the body left by `break`, or an evaluation that it left by an exception."""
        self._has_warned = False
        """Whether the log has the warning that an interrupted epoch loses the order of its data."""
        self._in_epoch = False
        """Whether the body is in an epoch, or has left one by `break`."""

    # The methods that the driver calls on its host

    name = "loop"
    ends_of_data = ()

    def stop(self) -> None:
        """Do nothing: the loop checks for votes before each batch and each epoch."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the metrics of an unfinished epoch, and the number of updates that `every` has not counted yet."""
        return {"epoch": None if self._epoch is None else self._epoch.state_dict(), "unseen": self._unseen}

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        """Restore the metrics of an interrupted epoch, and skip the batches that were trained."""
        self._epoch = Means.of(state["epoch"]) if state.get("epoch") else None
        self._to_skip, self._unseen = position.batch, int(state.get("unseen", 0))

    def __enter__(self) -> Self:
        if self._entered:
            raise HookcoreError(
                "A Loop is one run, and this one was used before. Make another Loop for the next run; they may share an Engine."
            )
        self._entered = True
        self._driver.begin(self.run, initial_epoch=self._initial_epoch)
        self._open = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self._end_left_batch()
                if self._epoch is not None:
                    self._driver.leave()
        except BaseException as raised:
            self._driver.end(raised)
            raise
        finally:
            self._open = False
        early = "the loop was left before its last epoch" if self._in_epoch and self.run.epochs is not None else None
        self._driver.end(error, by=early)

    def epochs(self) -> Iterator[int]:
        """Yield the epochs, counted from zero, until all are done or a plugin votes to stop.

        A `break` leaves the epoch unfinished: `on_epoch_end` is not called, and the run ends as stopped. To end the run after an
        epoch, let a plugin vote. An epoch whose body does not call `batches` counts as one step.

        Raises `HookcoreError` if an epoch is open: in the body of the loop over the epochs, and after a `break` in it.
        """
        self._current("epochs")
        if self._in_epoch:
            raise HookcoreError(
                f"Loop.epochs was called in epoch {self._driver.epoch + 1}, which has not ended. An epoch that is left by "
                "`break` ends the run: let a plugin vote instead, or make another Loop for what follows."
            )
        driver, run = self._driver, self.run
        # An interrupted epoch is finished, even if a plugin voted to stop in it.
        if run.epochs is not None and driver.epoch >= run.epochs:
            self._epoch = None  # resumed with fewer epochs than were trained
        while self._epoch is not None or ((run.epochs is None or driver.epoch + 1 < run.epochs) and not driver.stopping):
            if self._epoch is None:
                self._epoch = Means()
            driver.epoch_begin()
            self._in_epoch = True
            yield driver.epoch
            self._in_epoch = False
            self._end_left_batch()
            self._check_runs()
            if self._to_skip:
                logger.warning(
                    "epoch %d had %d more batches when it was interrupted than its data have now", driver.epoch + 1, self._to_skip
                )
                self._to_skip = 0
            metrics = self._epoch.metrics()
            fresh = self._epoch.take_fresh() if self._epoch.was_observed else None
            self._epoch = None
            driver.epoch_end(metrics, fresh=fresh)

    def batches(self, data: Iterable[Batch], accumulate: int = 1) -> Iterator[Batch]:
        """Yield the items of `data` until they end or a plugin votes to stop. The body of your loop trains on each as one batch.

        `accumulate` is the number of batches whose gradients the body adds up before an update: `accumulate=4` counts one step
        for every four batches, and one for the fewer batches that may be left at the end. No checkpoint is taken between the
        batches of one step.

        Within `evaluation`, the body evaluates each item as one batch, and a vote does not end the evaluation. For an evaluation
        in the body of a batch of training, see `evaluation`.
        """
        self._current("batches")
        means = self._means("batches")
        accumulate = checked_integer(self, "accumulate", accumulate, at_least=1)
        if means.is_in_batch or (self._held and self._evaluation is None):
            raise HookcoreError(
                "Loop.batches was called within an open batch of another Loop.batches. To train on two data sets at once, pass "
                "data that yield pairs. zip(a, b) does, but then an interrupted epoch is resumed exactly only if both data sets "
                "come in the same order again."
            )
        if self._evaluation is not None:
            yield from self._evaluated(data, means)
            return
        self._driver.batches()  # before the first item is read, which may take time
        items, first = self._begun(data)
        yield from self._trained(items, means) if accumulate == 1 else self._accumulated(items, means, accumulate, first)

    def _begun(self, data: Iterable[Batch]) -> tuple[Iterator[Batch], int]:
        """Return an iterator over `data`, and the number of its first batch.

        If the trainee can start the data in mid-epoch, the batches that were trained before the interruption are left out.
        """
        trainee = self.run.trainee
        begun = begin_data(trainee, data, self._driver.epoch, self._to_skip)
        saves = any(registered.is_resumable for registered in self._driver.engine.plugins)
        if begun.warning is not None and (self._to_skip or saves) and not self._has_warned:
            self._has_warned = True
            logger.warning("%s", begun.warning)
        items = iter(data)
        if begun.batch:
            self._skipped(begun.batch)
        return items, begun.batch

    def _skipped(self, batches: int) -> None:
        self._to_skip -= batches
        if not self._to_skip:
            restore_random(self.run.trainee)

    def _trained(self, items: Iterator[Batch], means: Means) -> Iterator[Batch]:
        begin, end = self._driver.batches()  # the driver's fast path, as each batch is an update
        self._updates = 1
        for number, batch in enumerate(items, self._driver.position.batch - self._to_skip):
            if self._to_skip:
                self._skipped(1)
                continue
            if self._driver.stopping:
                return
            self._check_runs()
            try:
                begin(number)
            except BaseException as error:  # on this path the driver does not catch it
                self._driver.end(error)
                raise
            means.begin_batch()
            try:
                yield batch
            except GeneratorExit:
                # Either a `break`, after the body trained on this batch, or an exception before that. Which one shows only when
                # the loop continues or ends, and Python drops what a plugin raises here: so the batch is ended later.
                self._leave(functools.partial(self._end_batch, end, number, means))
                raise
            if self._left_batch is not None:
                self._end_left_batch()
            self._end_batch(end, number, means)

    def _end_batch(self, end: Callable[[int, Mapping[str, Any]], None], number: int, means: Means) -> None:
        self._unseen = 0
        if self._held:
            self._settle(means)
            return
        try:
            end(number, means.end_batch())
        except BaseException as error:
            self._driver.end(error)
            raise

    def _accumulated(self, items: Iterator[Batch], means: Means, accumulate: int, first: int) -> Iterator[Batch]:
        nothing = object()
        batch: Any = next(items, nothing)
        for number in itertools.count(first + 1):
            if batch is nothing:
                return
            if self._to_skip:
                self._skipped(1)
                batch = next(items, nothing)
                continue
            if number % accumulate == 1 and self._driver.stopping:
                return
            self._check_runs()
            self._updates = int(number % accumulate == 0)
            self._driver.batch_begin()
            means.begin_batch()
            try:
                yield batch
            except GeneratorExit:
                # After a `break` no more batches are accumulated, so this one ends with an update.
                self._leave(functools.partial(self._end_accumulated, means, updates=1))
                raise
            if self._left_batch is not None:
                self._end_left_batch()
            if self._updates:
                self._end_accumulated(means, updates=1)
                batch = next(items, nothing)
                continue
            # Read ahead only after the body, because the data may reuse the batch's memory. This batch is an update only if it
            # was the last.
            try:
                batch = next(items, nothing)
            except BaseException:
                self._end_accumulated(means, updates=0)
                raise
            self._end_accumulated(means, updates=int(batch is nothing))

    def _end_accumulated(self, means: Means, *, updates: int) -> None:
        late = updates - self._updates
        self._unseen = 0 if self._updates else self._unseen + late
        if not self._held:
            self._driver.batch_end(means.end_batch(), updates=updates)
            return
        if late:
            self._driver.update(late)
        self._settle(means)

    def _settle(self, means: Means) -> None:
        """Report the open batch with its evaluations to the driver as one observation."""
        self._held = False
        self._driver.settled(means.take_fresh())

    def every(self, steps: int) -> bool:
        """Return whether the open batch completes a multiple of `steps` steps, counted from the beginning of the run.

        Call it in the body of `batches`, as in `if loop.every(100):`. If the last batches of the data are fewer than
        `accumulate`, their step shows only after the last body, so the next batch that completes a step counts both. Raises
        `HookcoreError` outside of a batch of training, and `ParameterError` for anything but an integer of at least 1.
        """
        self._current("every")
        steps = checked_integer(self, "every", steps, at_least=1, expected="a number of steps of at least 1")
        is_open = self._evaluation is None and (self._held or (self._epoch is not None and self._epoch.is_in_batch))
        if not is_open:
            raise HookcoreError("Loop.every works only within a batch of training: `for batch in loop.batches(data):`.")
        if not self._updates:
            return False  # within an accumulation
        after = self.run.progress.step + (0 if self._held else self._updates)
        return due(steps, after, after - self._updates - self._unseen)

    def _evaluated(self, data: Iterable[Batch], means: Means) -> Iterator[Batch]:
        for batch in data:
            self._driver.evaluate_batch_begin()
            means.begin_batch()
            try:
                yield batch
            except GeneratorExit:
                self._leave(lambda: self._driver.evaluate_batch_end(means.end_batch()))
                raise
            self._driver.evaluate_batch_end(means.end_batch())

    def _leave(self, end: Callable[[], None]) -> None:
        """Call `end` when the body continues, after ending an evaluation in which an exception left this batch."""
        within = self._left_batch

        def end_both() -> None:
            if within is not None:
                within()
            end()

        self._left_batch = end_both

    def _end_left_batch(self) -> None:
        """End the batch that the body left by `break`, or the evaluation that it left by an exception, if there is one."""
        end, self._left_batch = self._left_batch, None
        if end is not None:
            end()

    @contextlib.contextmanager
    def evaluation(self, prefix: str | None = None) -> Iterator[None]:
        """Evaluate in a `with` block.

        What it logs becomes metrics of the epoch, with `prefix` before each name, by default `val_`.

        As in training, the metric is the mean of what is logged in its `batches`.

        An evaluation in the body of a batch of training ends that batch first. When the body is over, one observation joins the
        training since the previous observation, all evaluations in the body, and what the body logged after them. So a loop that
        evaluates every N steps is

            for batch in loop.batches(data):
                loop.log(loss=step(batch))
                if loop.every(100):
                    with loop.evaluation():
                        loop.log(loss=evaluate())

        Elsewhere in an epoch, the evaluation belongs to the observation at the end of the epoch.
        """
        self._current("evaluation")
        epoch = self._means("evaluation")
        prefix = self._prefix if prefix is None else prefix
        if self._evaluation is None and epoch.is_in_batch:
            self._driver.batch_held(epoch.end_batch(), updates=self._updates, begun=True)
            self._held = True
        was_done_before = self._was_done_before(epoch)
        self._driver.evaluate_begin(prefix)
        self._evaluation = means = Means()
        try:
            yield
            self._end_left_batch()
            metrics = means.metrics()
            if not was_done_before:
                epoch.log({f"{prefix}{name}": value for name, value in metrics.items()})
            self._driver.evaluate_end(metrics)
        except BaseException:
            self._left_batch = None  # a batch within: the end of the evaluation ends it too
            self._leave(self._driver.evaluate_end)  # without metrics, if the body catches the exception
            raise
        finally:
            self._evaluation = None

    def log(self, metrics: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Record metrics. Within a batch they are the batch's, and the epoch gets their means; elsewhere they are the epoch's.

        An `evaluation` within a batch ends that batch, so metrics logged after it are the epoch's.

        A value is a number or anything that `float` accepts, such as a tensor of one element. A tensor is converted at the end of
        the epoch, or when a plugin reads it. Until then its framework adds up the values, detached and in at least 32 bits.
        """
        self._current("log")
        means, given = self._means("log"), {**(metrics or {}), **more}
        if self._held and means is self._epoch and (late := [name for name in given if means.has_mean(name)]):
            raise MetricError(
                f"Loop.log: {late[0]!r} is a mean over the batches, and was logged after an evaluation that has ended its batch. "
                "Log it before the evaluation."
            )
        if not self._was_done_before(means):
            means.log(given)

    def _was_done_before(self, means: Means) -> bool:
        """Return whether the body repeats what it did before the run was interrupted, whose metrics were restored."""
        return self._to_skip > 0 and means is self._epoch and not means.is_in_batch

    def _means(self, method: str) -> Means:
        means = self._epoch if self._evaluation is None else self._evaluation
        if means is None:
            raise HookcoreError(f"Loop.{method} works only within an epoch: `for epoch in loop.epochs():`.")
        return means

    def _check_runs(self) -> None:
        if not self._driver.is_running:
            raise HookcoreError("An error has ended the run: leave the `with` block of the Loop.")

    def _current(self, method: str) -> None:
        if not self._open:
            raise HookcoreError(f"Loop.{method} works only within its `with` block: `with Loop(...) as loop:`.")
        self._check_runs()
        self._end_left_batch()
