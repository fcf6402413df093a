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
      by steps. It matters only before the first of them: from then on the loop is known.
    * `metric_names`: how the names of validation metrics begin; by default with `val_`. A prefix that `evaluation` is given
      counts too.
    * `steps_per_epoch`: for progress displays.
    * `resume`: `"auto"` resumes from the newest whole checkpoint of a plugin such as `Checkpoint`, if there is one yet; a path
      resumes from that checkpoint, or from the newest in that directory. The trainee, the plugins, the history and the progress
      are restored when the `with` block is entered. In an epoch that was cut, `batches` skips as many items of the data as were
      trained before: give it the same data in the same order. If the trainee knows such data, they begin there, and nothing is
      read before. What else your own code keeps, restore yourself.
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
        # Checked although they have types: a script is rarely checked for them.
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
        """The metrics of the open epoch; before `epochs` is called, those of the epoch in which the resumed run was cut."""
        self._evaluation: Means | None = None
        self._to_skip = 0
        """The batches of the open epoch that were trained before the run was cut."""
        self._updates = 1
        """The updates that the open batch makes, as far as its body can know."""
        self._unseen = 0
        """The updates since the latest batch whose body could know of its own: each was made when a body was over."""
        self._held = False
        """Whether an evaluation has ended the open batch, and belongs to it with what the body still does."""
        self._left_batch: Callable[[], None] | None = None
        """Ends what the body has left: a batch by `break`, or an evaluation by an exception."""
        self._has_warned = False
        """Whether the log says that the data's order is lost if the run is cut."""
        self._in_epoch = False
        """Whether the body trains an epoch, or has left one by `break`."""

    # What the driver asks of its host

    name = "loop"
    ends_of_data = ()

    def stop(self) -> None:
        """Do nothing: the loop looks at the votes before each batch and each epoch."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return the metrics of an epoch that is not over, and the updates that no body has seen."""
        return {"epoch": None if self._epoch is None else self._epoch.state_dict(), "unseen": self._unseen}

    def load_state_dict(self, state: Mapping[str, Any], position: Position) -> None:
        """Take over the metrics of an epoch that was cut, and skip its batches."""
        self._epoch = Means.of(state["epoch"]) if state.get("epoch") else None
        self._to_skip, self._unseen = position.batch, int(state.get("unseen", 0))

    def __enter__(self) -> Self:
        if self._entered:
            raise HookcoreError("A Loop is one run. Make another for the next; they may share an Engine.")
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

        An epoch that you leave by `break` has not ended: no `on_epoch_end`, and the run is stopped. To end the run after an
        epoch, let a plugin vote. An epoch in which the body does not call `batches` counts as one step.

        Raises `HookcoreError` if an epoch is open: within the loop over the epochs, and after a `break` in it.
        """
        self._current("epochs")
        if self._in_epoch:
            raise HookcoreError(
                f"Loop.epochs was called in epoch {self._driver.epoch + 1}, which has not ended. An epoch that is left by "
                "`break` ends the run: let a plugin vote instead, or make another Loop for what follows."
            )
        driver, run = self._driver, self.run
        # An epoch that was cut is finished, even if a plugin has voted in it.
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
                    "epoch %d had %d batches more when it was cut than its data has now", driver.epoch + 1, self._to_skip
                )
                self._to_skip = 0
            metrics = self._epoch.metrics()
            fresh = self._epoch.take_fresh() if self._epoch.was_observed else None
            self._epoch = None
            driver.epoch_end(metrics, fresh=fresh)

    def batches(self, data: Iterable[Batch], accumulate: int = 1) -> Iterator[Batch]:
        """Yield the items of `data`, until they end or a plugin votes to stop. Your loop's body trains each as one batch.

        If the body adds up the gradients of several batches, say of how many: `accumulate=4` counts one step for every four
        batches, and one for a shorter rest at the end. A checkpoint is never taken in between.

        Within `evaluation`, the body evaluates each as one batch, and no vote ends them. An `evaluation` within the body ends its
        batch first: see there.
        """
        self._current("batches")
        means = self._means("batches")
        accumulate = checked_integer(self, "accumulate", accumulate, at_least=1)
        if means.is_in_batch or (self._held and self._evaluation is None):
            raise HookcoreError(
                "Loop.batches was called within a batch of another Loop.batches, which has not ended. To train on two data sets "
                "at once, give it data that yield pairs. zip(a, b) does, but hides what a resumed run needs: an epoch that was "
                "cut continues as it was only if both come in the same order again."
            )
        if self._evaluation is not None:
            yield from self._evaluated(data, means)
            return
        self._driver.batches()  # before the data is asked for its first, which may take its time
        items, first = self._begun(data)
        yield from self._trained(items, means) if accumulate == 1 else self._accumulated(items, means, accumulate, first)

    def _begun(self, data: Iterable[Batch]) -> tuple[Iterator[Batch], int]:
        """Return what iterates over `data`, and the number of its first batch.

        If the trainee can skip them, it is without the batches that were trained before the cut.
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
        begin, end = self._driver.batches()  # the shortest way, as each batch is an update
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
            except BaseException as error:  # the driver does not see it
                self._driver.end(error)
                raise
            means.begin_batch()
            try:
                yield batch
            except GeneratorExit:
                # Either a `break`, after the body worked on this batch, or an exception, before it had: which of them shows when
                # the loop continues or ends. And Python drops what a plugin raises here.
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
                # What was accumulated by then is all that there will be.
                self._leave(functools.partial(self._end_accumulated, means, updates=1))
                raise
            if self._left_batch is not None:
                self._end_left_batch()
            if self._updates:
                self._end_accumulated(means, updates=1)
                batch = next(items, nothing)
                continue
            # After the body, which may reuse what it was given: the update comes now only if this was the last batch.
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
        """Tell that all that the open batch and its evaluations led to is done: this is an observation."""
        self._held = False
        self._driver.settled(means.take_fresh())

    def every(self, steps: int) -> bool:
        """Return whether the open batch completes a multiple of `steps` steps, counted since the beginning of the run.

        For the body of `batches`, as in `if loop.every(100):`. If a shorter rest of accumulated batches was a step, which only
        shows when the last body is over, the next batch that completes a step counts both. Raises `HookcoreError` outside of a
        batch of training, and `ParameterError` for anything but an integer of at least 1.
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
        """Have `end` called when the body continues, after what ends an evaluation whose exception left this batch too."""
        within = self._left_batch

        def end_both() -> None:
            if within is not None:
                within()
            end()

        self._left_batch = end_both

    def _end_left_batch(self) -> None:
        """End the batch that the body left by `break`, or the evaluation that it left by an exception."""
        end, self._left_batch = self._left_batch, None
        if end is not None:
            end()

    @contextlib.contextmanager
    def evaluation(self, prefix: str | None = None) -> Iterator[None]:
        """Evaluate: what is logged within becomes metrics of the epoch, with `prefix` before the name, by default `val_`.

        As in training, what is logged within one of its `batches` counts with its mean.

        Within a batch of training, the evaluation ends that batch first, and is an observation of its own when the body is over:
        with the training since the observation before, other evaluations in the same body, and what the body logs after it. So a
        loop by steps is

            for batch in loop.batches(data):
                loop.log(loss=step(batch))
                if loop.every(100):
                    with loop.evaluation():
                        loop.log(loss=evaluate())

        Between batches, and after them, it belongs to the end of its epoch.
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
            self._left_batch = None  # of a batch in it: the end of the evaluation ends that
            self._leave(self._driver.evaluate_end)  # without metrics, if the body catches the exception
            raise
        finally:
            self._evaluation = None

    def log(self, metrics: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Record metrics: within a batch those of the batch, whose means the epoch gets, and elsewhere those of the epoch.

        After an `evaluation` within a batch that batch is over, and they are the epoch's.

        A value is a number or what `float` takes, such as a tensor of one element. A tensor is converted at the end of the
        epoch, or when a plugin reads it; until then it is added up in its own framework, detached and in at least 32 bits.
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
        """Return whether the body does again what it did before the run was cut, and its metrics are those of then."""
        return self._to_skip > 0 and means is self._epoch and not means.is_in_batch

    def _means(self, method: str) -> Means:
        means = self._epoch if self._evaluation is None else self._evaluation
        if means is None:
            raise HookcoreError(f"Loop.{method} works only within an epoch: `for epoch in loop.epochs():`.")
        return means

    def _check_runs(self) -> None:
        if not self._driver.is_running:
            raise HookcoreError("The run has ended by an error that was raised in it: leave the `with` block of the Loop.")

    def _current(self, method: str) -> None:
        if not self._open:
            raise HookcoreError(f"Loop.{method} works only within its `with` block: `with Loop(...) as loop:`.")
        self._check_runs()
        self._end_left_batch()
