"""Replaces `tensorflow.summary` in Keras's `TensorBoard` by hookcore's event writer, which does not need TensorFlow."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import uuid
import weakref
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import keras

from hookcore import Metrics
from hookcore.raised import describe
from hookcore_adapters.keras.callbacks.tensorflow_summaries import CopiedFile, tensorflow
from hookcore_adapters.keras.numeric_logs import numeric_logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hookcore_plugins.tensorboard.event_writer import EventWriter, Fill

logger = logging.getLogger("hookcore")

RUNS: Final = ("train", "validation")

_WRITERS: Final[weakref.WeakValueDictionary[str, EventWriter]] = weakref.WeakValueDictionary()
"""The open writers, by the ending of their files.

A writer may outlive its run, because Keras does not report exceptions to callbacks.
"""


class Summaries:
    """Has the functions of `tensorflow.summary` that Keras's `TensorBoard` calls, and writes their events, for one callback.

    As in `tensorflow.summary`, a context sets the default writer with its step, and another the condition for recording. They
    apply only to this object, not to other callbacks or scripts. Summaries that a model makes with TensorFlow are copied from
    TensorFlow's files to the same places as in Keras. All other functions are TensorFlow's.

    Events wait from `prepare` to `begin`, when it is known whether the run is resumed. An error in writing is logged once, and
    ends writing but not training.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """The number of this run's events in the files, by directory."""
        self.ending = ""
        """The ending of the names of this run's files."""
        self._directory = Path()
        self._writer: EventWriter | None = None
        self._waiting: list[tuple[str, int, Fill]] | None = []
        self._failed = False
        self._default: tuple[_Writer, int | None] | None = None
        self._records: Callable[[], bool] | None = None
        self._copied: dict[str, CopiedFile] = {}

    def prepare(self, directory: Path) -> None:
        """Prepare for a run in `directory`. Events wait until `begin`."""
        self.end()
        self.counts, self.ending, self._directory, self._waiting = Counter(), uuid.uuid4().hex, directory, []
        self._default, self._records, self._failed = None, None, False

    @property
    def waits(self) -> bool:
        """Whether events wait for `begin`."""
        return self._waiting is not None

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Write the waiting events or, if `state` is a result of `state_dict`, continue its files, without later events."""
        from hookcore_plugins.tensorboard import event_files
        from hookcore_plugins.tensorboard.event_writer import EventWriter

        waiting, self._waiting = self._waiting or [], None
        with self.surviving_errors():
            if state is not None:
                self.ending = state["ending"]
                if (earlier := _WRITERS.get(self.ending)) is not None:
                    earlier.close_quietly()
                for run in RUNS:
                    self.counts[run] = event_files.cut(self._directory / run, state["events"][run], self.ending)
            _WRITERS[self.ending] = self._writer = EventWriter(self._directory, self.counts, time.time, ending=self.ending)
            # The thread must also end if the callback is deleted before the end of training.
            weakref.finalize(self, self._writer.end_soon).atexit = False
            for run, step, fill in () if self.counts.total() else waiting:  # files that are continued have these events already
                self.add(run, step, fill)

    def add(self, run: str, step: int, fill: Fill) -> None:
        """Pass an event to the writer."""
        if self._waiting is not None:
            self._waiting.append((run, step, fill))
        elif self._writer is not None and not self._failed:
            with self.surviving_errors():
                self._writer.add(run, step, None, fill)

    @contextlib.contextmanager
    def surviving_errors(self) -> Iterator[None]:
        """Log an error, and stop writing."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - logged
            if not self._failed:
                logger.warning("TensorBoard: writing has stopped for this run: %s", describe(error))
            self._failed = True

    def copy(self) -> None:
        """Pass the summaries that TensorFlow has written since the last call to the writer, and ask it to write soon."""
        for run, copied in self._copied.items():
            for step, fill in copied.fresh():
                self.add(run, step, fill)
        if self._writer is not None:
            self._writer.hurry()

    def state_dict(self) -> dict[str, Any]:
        """Write all events, and return the ending of the files and the numbers of their events."""
        self.copy()
        if self._writer is not None:
            self._writer.sync()
        return {"ending": self.ending, "events": {run: self.counts[run] for run in RUNS}}

    def end(self) -> None:
        """Write all events, and end the writer's thread."""
        if self._writer is not None:
            self.copy()
            with self.surviving_errors():
                self._writer.close()
            self._writer = None

    # The functions of `tensorflow.summary`

    def create_file_writer(self, directory: str) -> _Writer:
        """Make one of the two directories, and return its writer."""
        with self.surviving_errors():
            Path(directory).mkdir(parents=True, exist_ok=True)
        return _Writer(self, os.path.basename(directory))  # noqa: PTH119 - one of `RUNS`

    def as_default(self, writer: _Writer, step: int | None) -> _Setting:
        """Return a context in which `writer` is the default, also for summaries by TensorFlow."""
        return _Setting(self, "_default", (writer, step), self._copy_of(writer.run).as_default(step) if tensorflow() else None)

    def record_if(self, condition: Callable[[], bool]) -> _Setting:
        """Return a context in which events are recorded only if `condition` returns true."""
        return _Setting(self, "_records", condition, tensorflow().summary.record_if(condition) if tensorflow() else None)

    def scalar(self, name: str, data: Any, step: Any = None) -> None:
        """Record a number, or each element of an array. A text is ignored."""
        if self._is_recorded():
            from hookcore_plugins.tensorboard import summaries

            with self.surviving_errors():
                for tag, number in Metrics(numeric_logs({name: data})).items():
                    self._record(summaries.scalar(tag, number), step)

    def histogram(self, name: str, data: Any, step: Any = None) -> None:
        """Record a histogram of the finite values of an array."""
        if self._is_recorded():
            from hookcore_plugins.tensorboard import summaries

            values, _ = summaries.finite(keras.ops.convert_to_numpy(data))
            self._record(summaries.histogram(name, values), step)

    def image(self, name: str, data: Any, step: Any = None) -> None:
        """Record a batch of images."""
        if self._is_recorded():
            from hookcore_plugins.tensorboard import summaries

            self._record(summaries.images(name, data), step)

    def graph(self, graph: Any) -> None:
        """Record a TensorFlow graph."""
        definition = graph.as_graph_def(add_shapes=True).SerializeToString()
        self._record(lambda event: setattr(event, "graph_def", definition), 0)

    def model(self, json: str) -> None:
        """Record a model's configuration."""
        from hookcore_plugins.tensorboard import summaries

        self._record(summaries.document("keras", json, "graph_keras_model"), 0)

    def trace_on(self, **given: Any) -> None:
        """Call TensorFlow's `trace_on`, if TensorFlow is imported."""
        if tensorflow():
            tensorflow().summary.trace_on(**given)

    def trace_export(self, **given: Any) -> None:
        """Call TensorFlow's `trace_export`, if TensorFlow is imported."""
        if tensorflow():
            tensorflow().summary.trace_export(**given)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        import tensorflow as tf

        return getattr(tf.summary, name)

    def _is_recorded(self) -> bool:
        return self._default is not None and (self._records is None or bool(self._records()))

    def _record(self, fill: Fill, step: Any) -> None:
        if self._default is not None and self._is_recorded():
            writer, default_step = self._default
            self.add(writer.run, int(keras.ops.convert_to_numpy(default_step if step is None else step)), fill)

    def _copy_of(self, run: str) -> Any:
        if run not in self._copied:
            self._copied[run] = CopiedFile.new()
        return self._copied[run].writer

    def __getstate__(self) -> dict[str, Any]:
        return vars(Summaries())


@attrs.define(eq=False)
class _Setting:
    """A context that sets an attribute. Unlike a generator, it does nothing if it is deleted before its end."""

    _summaries: Summaries
    _name: str
    _value: Any
    _tensorflows: Any
    """The corresponding context of TensorFlow, or None if that is not imported."""
    _before: Any = None

    def __enter__(self) -> None:
        self._before = getattr(self._summaries, self._name)
        setattr(self._summaries, self._name, self._value)
        if self._tensorflows is not None:
            self._tensorflows.__enter__()

    def __exit__(self, *raised: object) -> None:
        if self._tensorflows is not None:
            self._tensorflows.__exit__(*raised)
        setattr(self._summaries, self._name, self._before)


@attrs.frozen(eq=False)
class _Writer:
    """The result of `create_file_writer`."""

    summaries: Summaries
    run: str

    def as_default(self, step: int | None = None) -> _Setting:
        return self.summaries.as_default(self, step)

    def flush(self) -> None:
        self.summaries.copy()

    def close(self) -> None:
        self.summaries.end()
