"""Measure whether a run's memory grows: with the events of batches, which it must not, and with its epochs.

Each candidate has its own process, and gets 100,000 events to warm up and then `--events` more, by default 1,000,000; its
growth is the difference of its resident memory (`/proc/self/statm`, Linux). Each event has ten metrics with new numbers, and an
epoch ends every 100,000 events. The four plugins are `EarlyStopping`, `NaNGuard`, which reads a metric at each batch, `CSVLog`,
and one that reads all metrics at each batch. *One float kept per event* proves that growth is detected. The peers call four
listeners, two of which read.

The second table is the history of as many epochs, with four metrics; at the end a checkpoint's record of all of it is created,
and the table shows what that leaves behind, too.
"""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import attrs
import click
import pluggy

from hookcore import Engine, Metrics, Run, hookimpl, specs
from hookcore.testing.doubles import ScriptedTrainee
from hookcore_adapters.loop import Loop
from hookcore_plugins import CSVLog, EarlyStopping, NaNGuard
from side_by_side import Counter, Gate, Table, benchmark, is_there

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from hookcore import Session

    Events = Generator[None, None, None]

WARM_UP: Final = 100_000
"""Events before the first measurement, and events in an epoch."""
PER_MILLION: Final = 256
"""KiB for 10**6 events: a quarter of a byte each. The smallest possible leak, an entry in a list, takes 8 bytes."""
HISTORY: Final = 200
"""MB for 10**6 epochs."""
KERAS_SHARE: Final = 10
"""Keras gets one event in this many, because each takes it 100 us."""


@attrs.define(eq=False)
class Reader:
    """Reads all metrics at each batch, trained or evaluated."""

    events: int = 0
    total: float = 0.0

    @hookimpl
    def on_batch_end(self, metrics: Mapping[str, float]) -> None:
        """Read."""
        self.events += 1
        self.total += sum(metrics.values())

    @hookimpl
    def on_evaluate_batch_end(self, metrics: Mapping[str, float]) -> None:
        """Read."""
        self.on_batch_end(metrics)


def metrics_of(event: int) -> dict[str, float]:
    """Return ten metrics with values that no earlier event had."""
    return {"loss": 1 / (event + 1), **{f"metric_{i}": event + i / 10 for i in range(9)}}


def plugins(reader: Reader, directory: str) -> list[object]:
    """Return the four plugins."""
    return [EarlyStopping("loss", patience=10**9), NaNGuard(), CSVLog(f"{directory}/log.csv"), reader]


def begun(own: list[object]) -> Session:
    """Return a session in which training has begun."""
    session = Engine(own, autoload=False).start(Run.of(ScriptedTrainee()))
    session.train_begin()
    return session


def session(reader: Reader, directory: str) -> Events:
    """Run batches in a session, with what an adapter calls."""
    driven = begun(plugins(reader, directory))
    for epoch in itertools.count():
        driven.epoch_begin(epoch)
        for batch in range(WARM_UP):
            metrics = metrics_of(epoch * WARM_UP + batch)
            driven.batch_begin(batch)
            driven.batch_end(batch, Metrics(metrics))
            yield
        driven.epoch_end(epoch, Metrics(metrics))


def loop(reader: Reader, directory: str) -> Events:
    """Run the batches of a `Loop`, and log metrics."""
    with Loop(plugins(reader, directory)) as driven:
        for epoch in driven.epochs():
            for batch in driven.batches(range(WARM_UP)):
                driven.log(metrics_of(epoch * WARM_UP + batch))
                yield


def evaluation(reader: Reader, directory: str) -> Events:
    """Run batches of evaluations in a `Loop`."""
    with Loop(plugins(reader, directory)) as driven:
        for epoch in driven.epochs():
            driven.log(loss=0.5)
            with driven.evaluation():
                for batch in driven.batches(range(WARM_UP)):
                    driven.log(metrics_of(epoch * WARM_UP + batch))
                    yield


def kept(reader: Reader, directory: str) -> Events:
    """Keep one float per event: the positive control."""
    del directory
    floats = []
    for event in itertools.count():
        reader.on_batch_end(metrics_of(event))
        floats.append(event / 7)
        yield


def raw_pluggy(reader: Reader, directory: str) -> Events:
    """Run batches through pluggy's own caller of the hooks."""
    del directory
    manager = pluggy.PluginManager("hookcore")
    manager.add_hookspecs(specs)
    for one in (reader, Reader(), Counter(), Counter()):
        manager.register(one)
    for event in itertools.count():
        manager.hook.on_batch_begin(run=None, batch=event)
        manager.hook.on_batch_end(run=None, batch=event, metrics=Metrics(metrics_of(event)))
        yield


def keras_list(reader: Reader, directory: str) -> Events:
    """Run batches through Keras's `CallbackList`, with its own callbacks."""
    import keras

    class Listener(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            del batch
            reader.on_batch_end(logs)

    own = keras.callbacks
    listed = [own.EarlyStopping("loss"), own.TerminateOnNaN(), own.CSVLogger(f"{directory}/log.csv"), Listener()]
    told = own.CallbackList(listed)
    for event in itertools.count():
        told.on_train_batch_begin(event)
        told.on_train_batch_end(event, metrics_of(event))
        yield


WAYS: Final[Mapping[str, Callable[[Reader, str], Events]]] = {
    "Session": session,
    "Loop": loop,
    "Loop, evaluation": evaluation,
    "one float kept per event": kept,
    "raw pluggy": raw_pluggy,
    "Keras CallbackList": keras_list,
}
GATED: Final = ("Session", "Loop", "Loop, evaluation")


def resident() -> int:
    """Return the resident memory of this process, in bytes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(way: str, events: int) -> int:
    """Return by how many bytes `events` make this process grow. Raises `AssertionError` if a plugin missed one."""
    reader = Reader()
    with tempfile.TemporaryDirectory() as directory:
        driven = WAYS[way](reader, directory)
        _drive(driven, WARM_UP // share(way))
        before = resident()
        _drive(driven, events)
        after = resident()
        seen = WARM_UP // share(way) + events
        # An event ends after its body, so the end of the last one may be missing.
        assert seen - 1 <= reader.events <= seen, f"{way}: {reader.events} events"  # noqa: S101 - the check
        driven.close()
    return after - before


def _drive(events: Events, number: int) -> None:
    for _ in itertools.islice(events, number):
        pass


def share(way: str) -> int:
    """Return N, if one in N events is measured."""
    return KERAS_SHARE if way == "Keras CallbackList" else 1


def history(epochs: int) -> tuple[int, int]:
    """Return the bytes of the history of `epochs` epochs, and those that a record of all of them leaves behind."""
    driven = begun([EarlyStopping("loss", patience=10**9), NaNGuard()])
    _epochs(driven, range(1000))
    before = resident()
    _epochs(driven, range(1000, 1000 + epochs))
    after = resident()
    record = driven.run.capture().record
    assert len(driven.run.history) == 1000 + epochs  # noqa: S101 - the check
    assert len(record) > epochs * 4  # noqa: S101 - the check
    del record
    return after - before, resident() - after


def _epochs(driven: Session, numbers: range) -> None:
    for epoch in numbers:
        loss = 1 / (epoch + 1)
        driven.epoch_begin(epoch)
        driven.epoch_end(epoch, Metrics({"loss": loss, "accuracy": 1 - loss, "val_loss": 2 * loss, "val_accuracy": 1 - 2 * loss}))


def in_its_own_process(way: str, events: int) -> list[int]:
    """Run `--memory-of` in a new process, in which nothing else has used memory; return the numbers that it prints."""
    command = [sys.executable, __file__, "--memory-of", way, "--events", str(events)]
    return [int(number) for number in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]  # noqa: S603 - this very file


def of(way: str, events: int) -> list[int]:
    """Measure one candidate in this process; return its bytes."""
    return list(history(events)) if way == "history" else [growth(way, events)]


@benchmark
@click.option(
    "--events", default=1_000_000, show_default=True, type=click.IntRange(min=1000), help="Batches, and epochs of history."
)
@click.option("--memory-of", hidden=True, help="Print only the memory of one candidate.")
def main(events: int, memory_of: str | None) -> Iterator[Table | Gate | str]:
    """Print by how much memory grows."""
    if memory_of is not None:
        yield " ".join(map(str, of(memory_of, events)))
        return
    ways = [way for way in WAYS if is_there({"raw pluggy": "pluggy", "Keras CallbackList": "tensorflow"}.get(way, "hookcore"))]
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda way: in_its_own_process(way, events // share(way)), ["history", *ways])
        (held, left), *others = found
    grown = dict(zip(ways, others, strict=True))
    yield Table(f"growth over {events:,} batches", "KiB", grown)
    if "Keras CallbackList" in ways:
        yield f"Keras ran only {events // KERAS_SHARE:,} of these batches."
    for way in GATED:
        yield Gate(f"{way}: KiB more after {events:,} batches", grown[way][0] / 1024, PER_MILLION)
    floats = events * sys.getsizeof(0.5)
    yield Gate("control: bytes of the floats kept, x bytes measured", floats / max(grown["one float kept per event"][0], 1), 1)
    yield Table(f"{events:,} epochs, 4 metrics each", "MB", {"history": [held], "left behind by a checkpoint's record": [left]})
    yield Gate(f"MB of history of {events:,} epochs", held / 1e6, HISTORY * events / 1e6)


if __name__ == "__main__":
    main()
