"""Measure what it costs to log a scalar for TensorBoard, beside TensorFlow's, tensorboardX's and PyTorch's writers.

The floor is a formatted line written to a file. In each round a candidate logs a burst of steps, which is timed, and then gets
the time to write them, as it would during a batch. The first table is the time on the training thread; for a writer with its
own thread, it includes that thread's use of the interpreter meanwhile. The second table is the CPU time of all threads until
the burst is written, which is the fairer comparison. At the end every file is read back and compared, value for value, event
files with TensorBoard's own reader. The floor is in the tables twice: how far the second is from 1 is noise.
"""

from __future__ import annotations

import functools
import importlib
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import attrs
import click
import numpy as np
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray

from hookcore import Engine, Metrics, Run
from hookcore_plugins import TensorBoard
from side_by_side import Gate, Table, benchmark, is_there, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

STEPS: Final = 500
"""Steps in a burst."""
FLOOR, OURS, PEER = "formatted line", "TensorBoard plugin", "tensorboard's EventFileWriter"
Series = dict[str, list[tuple[int, float]]]
"""The steps and values of each tag."""


@attrs.frozen
class Way:
    """A candidate: log the metrics of one step, wait until everything logged is written, close, and read the file back."""

    log: Callable[[int, Mapping[str, float]], object]
    drain: Callable[[], object]
    close: Callable[[], object]
    read: Callable[[], Series]


def append(directory: Path) -> Way:
    """Append to a list: the cheapest way to hand over a value."""
    del directory
    logged: list[tuple[int, str, float]] = []

    def log(step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            logged.append((step, name, value))

    return Way(log, lambda: None, lambda: None, lambda: series(logged))


def line(directory: Path) -> Way:
    """Write formatted lines to a file: the floor."""
    path = directory / "log.csv"
    file = path.open("w")

    def log(step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            file.write(f"{step},{name},{value:.9g}\n")

    def read() -> Series:
        rows = (row.split(",") for row in path.read_text().splitlines())
        return series((int(step), name, float(value)) for step, name, value in rows)

    return Way(log, file.flush, file.close, read)


def plugin(directory: Path) -> Way:
    """Call the plugin's hook. What the engine adds to a call is measured by `dispatch.py`."""
    board = TensorBoard(directory, update_freq="batch", hparams=False, graph=False)
    session = Engine([board], autoload=False).start(Run())
    session.train_begin()
    run = session.run

    def log(step: int, metrics: Mapping[str, float]) -> None:
        run.progress.step = step
        board.on_batch_end(run, metrics)

    def read() -> Series:
        return {tag.removeprefix("batch_"): values for tag, values in events(directory / "train").items()}

    return Way(log, board.state_dict, session.end, read)  # a checkpoint's view of the plugin waits for the writer


def event_file(directory: Path) -> Way:
    """Use TensorBoard's own `EventFileWriter`, on which PyTorch's `SummaryWriter` is built."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(directory))

    def log(step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            event = Event(wall_time=time.time(), step=step)
            event.summary.value.add(tag=name, simple_value=value)
            writer.add_event(event)

    return Way(log, writer.flush, writer.close, functools.partial(events, directory))


def tf_summary(directory: Path) -> Way:
    """Use `tf.summary.scalar`."""
    import tensorflow as tf

    writer, scalar = tf.summary.create_file_writer(str(directory)), tf.summary.scalar

    def log(step: int, metrics: Mapping[str, float]) -> None:
        with writer.as_default():
            for name, value in metrics.items():
                scalar(name, value, step=step)

    return Way(log, writer.flush, writer.close, functools.partial(events, directory))


def summary_writer(module: str, directory: Path) -> Way:
    """Use PyTorch's class, or tensorboardX's of the same name."""
    writer = importlib.import_module(module).SummaryWriter(str(directory))

    def log(step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            writer.add_scalar(name, value, step)

    return Way(log, writer.flush, writer.close, functools.partial(events, directory))


WAYS: Final[Mapping[str, tuple[str, Callable[[Path], Way]]]] = {
    "list append": ("hookcore", append),
    FLOOR: ("hookcore", line),
    "formatted line again": ("hookcore", line),
    OURS: ("tensorboard", plugin),
    PEER: ("tensorboard", event_file),
    "tf.summary": ("tensorflow", tf_summary),
    "tensorboardX": ("tensorboardX", functools.partial(summary_writer, "tensorboardX")),
    "torch's SummaryWriter": ("torch", functools.partial(summary_writer, "torch.utils.tensorboard")),
}
"""The package that each candidate needs, and the function that creates it."""


def series(rows: Iterable[tuple[int, str, float]]) -> Series:
    """Return steps and values by tag, with the values rounded to 32 bits."""
    found: Series = {}
    for step, name, value in rows:
        found.setdefault(name, []).append((step, float(np.float32(value))))
    return found


def events(directory: Path) -> Series:
    """Return the scalars in the event files of a directory, as TensorBoard itself reads them."""
    return series(
        (event.step, value.tag, make_ndarray(value.tensor).item())
        for path in sorted(directory.glob("*tfevents*"))
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "scalars"
    )


def bursts(way: Way, logged: Sequence[tuple[int, Metrics]], used: list[float]) -> Callable[[], float]:
    """Return a function that returns the seconds of one scalar in the next burst, and adds its CPU time to `used`."""
    log = way.log
    begins = iter(range(0, len(logged), STEPS))

    def sample() -> float:
        begin = next(begins)
        burst = logged[begin : begin + STEPS]
        scalars = len(burst) * len(burst[0][1])
        cpu, began = time.process_time(), time.perf_counter()
        for step, metrics in burst:
            log(step, metrics)
        taken = time.perf_counter() - began
        way.drain()
        used.append((time.process_time() - cpu) / scalars)
        return taken / scalars

    return sample


def tables(count: int, rounds: int) -> tuple[Table, Table]:
    """Measure all candidates with `count` metrics per step: time, and CPU. Raises `AssertionError` for a lost value."""
    # Converted before, because that is the adapter's work, done once for all plugins.
    logged = [
        (step, Metrics({f"metric_{n}": step / 1000 + n for n in range(count)})) for step in range(1, (1 + rounds) * STEPS + 1)
    ]
    expected = series((step, name, value) for step, metrics in logged for name, value in metrics.items())
    with tempfile.TemporaryDirectory() as root:
        ways = {}
        for name, (package, make) in WAYS.items():
            if is_there(package):
                ways[name] = make(Path(tempfile.mkdtemp(dir=root)))
        used: dict[str, list[float]] = {name: [] for name in ways}
        figures = measure({name: bursts(way, logged, used[name]) for name, way in ways.items()}, rounds)
        for name, way in ways.items():
            way.close()
            assert way.read() == expected, f"{name}: what was read back differs from what was logged"  # noqa: S101 - the check
    cpu = {name: own[1:] for name, own in used.items()}  # the first round warms up
    of = f"one scalar, {count} per step"
    return Table(f"{of}, training thread", "us", figures, FLOOR, OURS), Table(f"{of}, CPU of all threads", "us", cpu, FLOOR, OURS)


@benchmark
@click.option("--metrics", default="1,4", show_default=True, help="Metrics per step, separated by commas.")
@click.option("--rounds", default=21, show_default=True, type=click.IntRange(min=2), help="Bursts of each candidate.")
def main(metrics: str, rounds: int) -> Iterator[Table | Gate | str]:
    """Print what it costs to log a scalar."""
    for count in map(int, metrics.split(",")):
        calling, cpu = tables(count, rounds)
        yield calling
        yield cpu
        of = f"{count} per step: "
        yield Gate(f"{of}training thread, x {FLOOR}", calling.ratio(OURS, FLOOR)[1], 3)
        yield Gate(f"{of}CPU of all threads, x {PEER}", cpu.ratio(OURS, PEER)[1], 1 / 3)
    left_out = [name for name, (package, _) in WAYS.items() if not is_there(package)]
    yield f"All files were read back equal. Not installed, so not in the tables: {', '.join(left_out) or 'none'}."


if __name__ == "__main__":
    main()
