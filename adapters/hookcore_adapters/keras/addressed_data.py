"""Start arrays and a `PyDataset`, whose batches have numbers, at a later batch, without reading the batches before it."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from typing import TYPE_CHECKING, Any

import attrs
import keras

from hookcore_adapters.keras import internal_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_REPLACED = (
    internal_data.BATCHES.name,
    internal_data.ENDLESS_BATCHES.name,
    internal_data.ENQUEUED_BATCHES.name,
)
"""The methods of a data adapter that TensorFlow calls only when a batch is read."""


@contextlib.contextmanager
def reading_from(data: Any, batches: int) -> Iterator[bool]:
    """Make `data`, a Keras epoch iterator that starts in this `with` block, skip `batches` batches; yield whether it can.

    The order of the batches and the random numbers drawn for it are the same as if all were read, and they are drawn by the end
    of the block. At the end of the epoch, call `all_read`.
    """
    adapter = data.data_adapter
    backend = keras.backend.backend() if isinstance(adapter, internal_data.ARRAYS.value) else None
    if isinstance(adapter, internal_data.PY_DATASET.value):
        if adapter.enqueuer is not None:
            with _enqueued_from(adapter, batches):
                yield True
            return
        own = internal_data.ENDLESS_BATCHES if adapter.num_batches is None else internal_data.BATCHES
        with _once(adapter, own.name, lambda: _dataset_from(adapter, own.value, batches)):
            yield True
    elif backend == "tensorflow":
        with _tensors_from(data, batches) as is_possible:
            yield is_possible
    elif backend == "jax":
        with _once(adapter, "get_jax_iterator", lambda: _arrays_from(adapter, batches)):
            yield True
    elif backend == "torch":
        with _once(adapter, "get_torch_dataloader", lambda: _loader_from(adapter, batches)):
            yield True
    else:
        yield False


def all_read(data: Any) -> None:
    """Make the next epoch of `data` read all its batches, also if this epoch read none after those that were skipped."""
    for name in _REPLACED:
        vars(data.data_adapter).pop(name, None)


@contextlib.contextmanager
def _once(adapter: Any, name: str, make: Callable[[], Any]) -> Iterator[None]:
    """Replace the next result of the method `name` by that of `make`, which is called before the `with` block ends."""
    lock = threading.Lock()
    made: list[Any] = []

    def ensure_made() -> None:
        with lock:  # Keras may call it on another thread
            if not made:
                made.append(make())

    def get_made() -> Any:
        ensure_made()
        vars(adapter).pop(name, None)
        return made[0]

    setattr(adapter, name, get_made)
    try:
        yield
        ensure_made()
    except BaseException:
        vars(adapter).pop(name, None)
        raise


@attrs.frozen
class _Unread:
    """Stands in for a `PyDataset` while batches are skipped, so that none is read."""

    num_batches: int | None

    def __getitem__(self, number: int) -> tuple[None]:
        return (None,)


def _dataset_from(adapter: Any, read: Callable[[Any], Iterator[Any]], batches: int) -> Iterator[Any]:
    dataset = adapter.py_dataset
    adapter.py_dataset = _Unread(dataset.num_batches)
    try:
        return _advanced(read(adapter), batches)
    finally:
        adapter.py_dataset = dataset


def _arrays_from(adapter: Any, batches: int) -> Iterator[Any]:
    is_read = False

    def iterator(convert: Callable[..., Any], inputs: Any) -> Iterator[Any]:
        def converted(array: Any, indices: Any) -> Any:
            return convert(array, indices=indices) if is_read else None

        return internal_data.SLICES.value(adapter, converted, inputs)  # type: ignore[no-any-return]

    internal_data.SLICES.set(adapter, iterator)
    try:
        found = _advanced(internal_data.ARRAYS.value.get_jax_iterator(adapter), batches)
    finally:
        vars(adapter).pop(internal_data.SLICES.name)
    is_read = True
    return found


def _loader_from(adapter: Any, batches: int) -> Iterator[Any]:
    loader = internal_data.ARRAYS.value.get_torch_dataloader(adapter)
    loader.dataset.__getitems__ = lambda indices: None  # noqa: ARG005 - the loader passes indices
    try:
        return _advanced(iter(loader), batches)
    finally:
        del loader.dataset.__getitems__


@contextlib.contextmanager
def _tensors_from(data: Any, batches: int) -> Iterator[bool]:
    """Skip batches of arrays on TensorFlow: drop the indices of samples before the samples are gathered."""
    distributed = internal_data.READ.of(data)
    dataset = gathering = internal_data.ORIGINAL.of(distributed, distributed)
    while (gather := internal_data.MAPPED_BY.of(gathering, None)) is None:
        gathering = internal_data.INPUT.of(gathering, None)
        if gathering is None:
            yield False
            return
    numbers = internal_data.INPUT.of(gathering).skip(batches)
    later = numbers.map(internal_data.FUNCTION.of(gather), num_parallel_calls=-1).with_options(dataset.options()).prefetch(-1)
    internal_data.READ.set(data, internal_data.STRATEGY.of(data).experimental_distribute_dataset(later))
    try:
        yield True
    finally:
        internal_data.READ.set(data, distributed)


@contextlib.contextmanager
def _enqueued_from(adapter: Any, batches: int) -> Iterator[None]:
    """Skip batches of a `PyDataset` that workers read ahead, in an order that another thread draws."""
    enqueuer, length = adapter.enqueuer, adapter.num_batches
    is_drawn = threading.Event()

    class FromIndex(type(enqueuer)):  # type: ignore[misc]
        """An enqueuer whose next order starts at a later index."""

        @property
        def indices(self) -> Iterator[int]:
            return self._indices

        @indices.setter
        def indices(self, order: Iterator[int]) -> None:
            self._indices = order if is_drawn.is_set() else itertools.islice(order, batches, None)
            is_drawn.set()

    with contextlib.suppress(queue.Empty):
        while True:  # drop what was read to build the model, or the epoch would start with it
            enqueuer.ready_queue.get_nowait()
    vars(enqueuer).pop("indices", None)
    enqueuer.__class__ = FromIndex
    if length is None:
        enqueuer.indices = itertools.count()
        yield
        return
    with _once(adapter, internal_data.ENQUEUED_BATCHES.name, lambda: _enqueued(adapter, length - batches)):
        yield
    while not is_drawn.wait(timeout=0.01) and enqueuer.run_thread is not None and enqueuer.run_thread.is_alive():
        pass


def _enqueued(adapter: Any, batches: int) -> Iterator[Any]:
    """Yield the `batches` that are left, as Keras's own method does for all, and stop reading ahead after the last."""
    for number, batch in enumerate(adapter.enqueuer.get() if batches > 0 else (), 1):
        yield internal_data.STANDARDIZE.of(adapter)(batch)
        if number == batches:
            adapter.enqueuer.stop()
            return


def _advanced(iterator: Iterator[Any], batches: int) -> Iterator[Any]:
    """Return `iterator` without its first elements."""
    for _ in itertools.islice(iterator, batches):
        pass
    return iterator
