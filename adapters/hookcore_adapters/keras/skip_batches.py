"""Continue the data of an epoch after the batches that were trained before the run was cut."""

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
    """Return the epoch iterator of the `fit` of Keras's that is being executed, or None."""
    read = (frame.f_locals.get("epoch_iterator") for frame in callers(sys._getframe()))  # noqa: SLF001 - no callback gets it
    return next((found for found in read if isinstance(found, internal_data.EPOCH_ITERATOR.value)), None)


def begin_data_again(generators: Sequence[Any]) -> None:
    """Have the data of the next epoch begin again without a trace in the random numbers, those of `generators` included.

    Data that continue from epoch to epoch were begun before the run was cut, and what that drew was drawn then.
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
    """Has `data`, the epoch iterator of Keras's `fit`, begin its next epoch after `batches` batches.

    Keras's loop must train at least one execution to have logs. So if no batch may be left after those, it gets the last one that
    was trained before once more, without its data, and meanwhile this takes the place of the train function of `model`.

    They are skipped within `drawing`, and `each` is called after each that must be read for that, and once after all. `skipped`
    is called after the last, with that batch if it was read, and returns the logs. `stops` tells then whether Keras must train
    no more.
    """

    model: Any
    data: Any
    batches: int
    drawing: Callable[[], AbstractContextManager[None]]
    each: Callable[[], None]
    skipped: Callable[[Any], Mapping[str, Any]]
    stops: Callable[[], bool]
    missing: int = attrs.field(init=False)
    """How many of the batches were not skipped yet or, once that is over, the data do not have."""
    shift: int = attrs.field(init=False, default=0)
    """How many batches the epoch is ahead of the numbers of Keras's executions."""
    is_over: bool = attrs.field(init=False, default=False)
    """Whether Keras trains again."""
    _logs: Mapping[str, Any] = attrs.field(init=False, factory=dict)
    _train_function: Any = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self.missing = self.batches
        internal_data.EXECUTIONS.set(self.data, self._executions)  # Keras's loop asks for them when the epoch begins

    def _executions(self) -> Iterator[tuple[Any, ...]]:
        """Yield the executions of the epoch as Keras's own iterator does: their numbers, and an iterator of batches."""
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
        there = self.data.data_adapter.num_batches  # and not what was asked for, which they may fall short of
        if there is None or self.batches >= min(there, self.data.num_batches) or self.stops():
            yield (*latest[:-1], itertools.repeat(None))
        self.is_over = True
        yield from executions

    def _read(self, batches: Iterator[Any]) -> Any:
        """Read the batches to skip, as far as there are any, and return the last."""
        batch = None
        for batch in itertools.islice(batches, self.batches):  # noqa: B007 - the last one is wanted
            self.missing -= 1
            self.each()
        return batch

    def _trained_executions(self) -> int:
        """Return how many of the epoch's executions are done, and set `shift`."""
        per, length = int(self.data.steps_per_execution), self.data.num_batches
        done = self.batches // per
        if length is not None:
            done = math.ceil(length / per) - math.ceil(max(length - self.batches, 0) / per)
        self.shift = self.batches - done * per
        return done

    def start(self) -> None:
        """Take the train function's place for the execution that was trained before."""
        self._train_function, self.model.train_function = self.model.train_function, self

    def __call__(self, *arguments: Any) -> Any:
        """Return what the train function does: the logs and, on JAX, the state that it got."""
        self._give_back()
        return (self._logs, arguments[0]) if keras.backend.backend() == "jax" else self._logs

    def stop(self) -> None:
        """End the epoch: what is Keras's is so again."""
        self._give_back()
        all_read(self.data)

    def _give_back(self) -> None:
        vars(self.data).pop(internal_data.EXECUTIONS.name, None)
        if self._train_function is not None and self.model.train_function is self:  # and no callback has made another
            self.model.train_function = self._train_function
        self._train_function = None
