"""Write TensorBoard's event files on another thread."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

# Not its EventFileWriter, which imports TensorFlow if that is installed.
from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata

from hookcore import store
from hookcore.store import disk
from hookcore_plugins.tensorboard.event_files import name_of_next
from hookcore_plugins.tensorboard.records import framed

if TYPE_CHECKING:
    from pathlib import Path  # noqa: TC004 - never evaluated

logger = logging.getLogger("hookcore")

_SYNC_SECONDS: Final = 10.0

Fill: TypeAlias = Callable[[Any], None]
"""Fills an event; called on the writer's thread."""

LIMIT: Final = 20_000
"""How many events may wait. Beyond that the caller waits, so that memory is bounded and no event is lost."""
_WRITE_AT: Final = 2_000
"""How many waiting events are written without waiting for the interval."""
_CHUNK: Final = 1_000
"""How many events are encoded before they are written to the file."""
_TEMPLATES: Final = 16
"""How many templates are kept. Batches, epochs and evaluations have fewer recurring sets of names."""


class EventWriter:
    """Write events into one file for each run below `directory`, on one thread, in the order in which they are handed over.

    `counts` is how many events each run has in its files; it is kept up to date. Waiting events are written every `interval`
    seconds, and when `hurry` or `flush` is called. `clock` gives seconds since 1970. The names of the files end with `ending`,
    by which they can be found among others; by default each name has a random ending.

    Only the thread that trains hands over. An error of the writer is raised in that thread, at a later `add` or at `close`. A
    forked process leaves the writing to its parent.

    The writer lives until it is closed, because its thread refers to it. It is not a `Background` of the plugin `Checkpoint`,
    which would start a thread for each batch.
    """

    def __init__(
        self, directory: Path, counts: Counter[str], clock: Callable[[], float], interval: float = 2.0, ending: str = ""
    ) -> None:
        self._counts = counts
        self._directory = directory
        self._clock = clock
        self._interval = interval
        self._ending = ending
        self._queue: deque[tuple[str, int, float, str | None, Any] | Callable[[], object]] = deque()
        self._files: dict[str, _File] = {}
        self._template = functools.lru_cache(_TEMPLATES)(_template)  # not shared: another writer must not fill the same events
        self._error: BaseException | None = None
        self._check_at = _WRITE_AT
        self._wake = threading.Event()
        self._closing = False
        self._process = os.getpid()
        # A daemon, so that a run that never ends does not keep the process alive; atexit writes what still waits.
        self._thread = threading.Thread(target=self._work, name="TensorBoard", daemon=True)
        self._thread.start()
        atexit.register(self.close_quietly)

    def add(self, run: str, step: int, prefix: str | None, values: Mapping[str, float] | Fill) -> None:
        """Hand over an event: scalars with `prefix` before each name or, if it is None, the function that fills the event.

        `values` is read later, on the writer's thread.
        """
        queue = self._queue
        queue.append((run, step, self._clock(), prefix, values))
        if len(queue) >= self._check_at:
            self._check_queue()

    def submit(self, work: Callable[[], object]) -> None:
        """Hand over other work. It is done once everything that was handed over before is in the files."""
        self._queue.append(work)
        if len(self._queue) >= self._check_at:
            self._check_queue()

    def _check_queue(self) -> None:
        if self._error is not None:
            atexit.unregister(self.close_quietly)
            raise self._error
        self._wake.set()
        if len(self._queue) >= LIMIT:
            self.flush()

    def hurry(self) -> None:
        """Make the thread write the waiting events now, without waiting for it."""
        self._wake.set()

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that was handed over is in the files, or for `timeout` seconds. Does not raise the writer's error."""
        if self._process != os.getpid():
            return
        done = threading.Event()
        self._queue.append(done.set)
        self._wake.set()
        waited = 0.0
        while self._thread.is_alive() and not done.wait(0.1) and (timeout is None or waited < timeout):
            waited += 0.1

    def sync(self) -> None:
        """Wait, as a checkpoint does, until all that was handed over is in the files, for `_SYNC_SECONDS` at most."""
        self.flush(_SYNC_SECONDS)

    def end_soon(self) -> None:
        """Let the thread end once all that was handed over is written, without waiting for it: no caller is left."""
        self._closing = True
        self._wake.set()

    def close(self) -> None:
        """Write all that was handed over, and end the thread. Raises an error of the writer, unless `add` has raised it."""
        if self._process == os.getpid():
            self._closing = True
            self._wake.set()
            self._thread.join()
            atexit.unregister(self.close_quietly)
        if self._error is not None:
            raise self._error

    def close_quietly(self) -> None:
        """Close, and log an error instead of raising it: no caller is left that could handle it."""
        try:
            self.close()
        except Exception as error:  # noqa: BLE001 - logged
            logger.error("TensorBoard: not all could be written: %s", error)  # noqa: TRY400 - an error of the disk needs no traceback

    def _work(self) -> None:
        try:
            while not self._closing:
                self._wake.wait(self._interval)
                self._wake.clear()
                self._write_queued()
            self._write_queued()
        except BaseException as error:  # noqa: BLE001 - raised to the thread that trains
            self._error = error
            self._check_at = 0
        finally:
            for file in self._files.values():
                with contextlib.suppress(OSError):  # nothing is left to write, except after an error
                    file.write()
                file.close()
            if self._error is None:
                atexit.unregister(self.close_quietly)

    def _write_queued(self) -> None:
        queue, encoded = self._queue, 0
        while queue:
            item = queue.popleft()
            if callable(item):
                self._write()
                item()
                continue
            run, step, wall_time, prefix, values = item
            if prefix is None:
                event = Event()
                values(event)
            else:
                event, scalars = self._template(prefix, *values)
                for scalar, (_, value) in zip(scalars, values.items(), strict=True):
                    scalar.simple_value = value
            event.wall_time, event.step = wall_time, step
            if run not in self._files:
                self._files[run] = _File.opened(self._directory / run, wall_time, self._ending)
            self._files[run].events.append(event.SerializeToString())
            self._counts[run] += 1
            encoded += 1
            if encoded % _CHUNK == 0:
                self._write()
        self._write()

    def _write(self) -> None:
        for file in self._files.values():
            file.write()


def _template(prefix: str, *names: str) -> tuple[Any, Sequence[Any]]:
    """Make an event with an empty scalar of each name, and return both. To make them for each event would triple its cost."""
    event = Event()
    return event, [event.summary.value.add(tag=prefix + name) for name in names]


@attrs.define(eq=False)
class _File:
    """An event file. It collects records in memory, so that each write ends with a whole record."""

    _path: Path
    _descriptor: int
    events: list[bytes] = attrs.field(factory=list, init=False)

    @classmethod
    def opened(cls, directory: Path, wall_time: float, ending: str) -> _File:
        store.make_directory(directory)
        path = directory / name_of_next(directory, wall_time, socket.gethostname(), ending)
        file = cls(path, disk.create(path))
        source = SourceMetadata(writer="hookcore_plugins.tensorboard")
        first = Event(wall_time=wall_time, file_version="brain.Event:2", source_metadata=source)
        file.events.append(first.SerializeToString())
        return file

    def write(self) -> None:
        events, self.events = self.events, []  # before the write: after an error no part must be written twice
        disk.append(self._descriptor, self._path, framed(events))

    def close(self) -> None:
        os.close(self._descriptor)
        disk.sync_appended(self._path)
