"""Continue the data of an epoch after the batches that were trained before the interruption."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import attrs
import keras

from hookcore.stacks import callers
from hookcore_adapters.keras import internal_data
from hookcore_adapters.keras.addressed_data import all_read, reading_from
from hookcore_adapters.keras.keras_random import KerasRandom


def epoch_data() -> Any:
    """Return the epoch iterator of the Keras `fit` that is being executed, or None outside of `fit`."""
    read = (frame.f_locals.get("epoch_iterator") for frame in callers(sys._getframe()))  # noqa: SLF001 - callbacks do not get it
    return next((found for found in read if isinstance(found, internal_data.EPOCH_ITERATOR.value)), None)


def begin_data_again(generators: Sequence[Any]) -> None:
    """Make the data of the next epoch start again without changing the random state, including that of `generators`.

    An uninterrupted run would not start them in this epoch, and so would not draw the random numbers for it.
    """
    data = epoch_data()
    if data is None:
        return

    def executions() -> Iterator[tuple[Any, ...]]:
        vars(data).pop(internal_data.EXECUTIONS.name)
        own, before = internal_data.EXECUTIONS.of(data)(), KerasRandom.now(generators)
        first = next(own, None)
        before.restore(generators)
        yield from itertools.chain(() if first is None else (first,), own)

    internal_data.EXECUTIONS.set(data, executions)


@attrs.define(eq=False)
class BatchSkipper:
    """Makes `data`, the epoch iterator of Keras's `fit`, start its next epoch after `batches` batches.

    Keras's loop must train at least one execution to have logs. So if no batch may be left, it gets the last trained execution
    again without its data, and this object replaces the train function of `model` for it.

    Batches are skipped within `drawing`. `each` is called after each batch that must be read, and once after all. `skipped` is
    called after the last batch, with it if it was read, and returns the logs. `stops` then returns whether Keras must stop.
    """

    model: Any
    data: Any
    batches: int
    drawing: Callable[[], AbstractContextManager[None]]
    each: Callable[[], None]
    skipped: Callable[[Any], Mapping[str, Any]]
    stops: Callable[[], bool]
    missing: int = attrs.field(init=False)
    """The number of batches that are still to be skipped; afterwards, the number of batches that the data lack."""
    shift: int = attrs.field(init=False, default=0)
    """How many batches the epoch is ahead of Keras's numbers."""
    is_over: bool = attrs.field(init=False, default=False)
    """Whether Keras trains again."""
    _logs: Mapping[str, Any] = attrs.field(init=False, factory=dict)
    _train_function: Any = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.missing = self.batches
        internal_data.EXECUTIONS.set(self.data, self._executions)  # Keras's loop calls it when the epoch begins

    def _executions(self) -> Iterator[tuple[Any, ...]]:
        """Yield the executions of the epoch as Keras's own iterator does: their numbers and an iterator over their batches."""
        self._give_back()
        own = internal_data.EXECUTIONS.of(self.data)()
        with self.drawing():
            with reading_from(self.data, self.batches) as was_unread:
                latest = next(own, None)
            if latest is None:
                return
            if was_unread:
                self.missing = 0
            self._logs = self.skipped(None if was_unread else self._read(latest[-1]))
        executions = itertools.chain((latest,), own)
        for _ in range(self._trained_executions()):
            latest = next(executions, latest)
        self.each()
        there = self.data.data_adapter.num_batches  # the length of the data, which may be less than `steps_per_epoch`
        if there is None or self.batches >= min(there, self.data.num_batches) or self.stops():
            yield (*latest[:-1], itertools.repeat(None))
        self.is_over = True
        yield from executions

    def _read(self, batches: Iterator[Any]) -> Any:
        """Read the batches to skip, or fewer if the data end, and return the last one."""
        batch = None
        for batch in itertools.islice(batches, self.batches):  # noqa: B007 - the last one is returned
            self.missing -= 1
            self.each()
        return batch

    def _trained_executions(self) -> int:
        """Return how many executions of the epoch were trained, and set `shift`."""
        per, length = int(self.data.steps_per_execution), self.data.num_batches
        done = self.batches // per
        if length is not None:
            done = math.ceil(length / per) - math.ceil(max(length - self.batches, 0) / per)
        self.shift = self.batches - done * per
        return done

    def start(self) -> None:
        """Replace the train function for the execution that was trained before."""
        self._train_function, self.model.train_function = self.model.train_function, self

    def __call__(self, *arguments: Any) -> Any:
        """Return the same as the train function: the logs and, on JAX, the state that it got, unchanged."""
        self._give_back()
        return (self._logs, arguments[0]) if keras.backend.backend() == "jax" else self._logs

    def stop(self) -> None:
        """End the epoch, and restore Keras's own methods."""
        self._give_back()
        all_read(self.data)

    def _give_back(self) -> None:
        vars(self.data).pop(internal_data.EXECUTIONS.name, None)
        if self._train_function is not None and self.model.train_function is self:  # unless a callback has set another
            self.model.train_function = self._train_function
        self._train_function = None
