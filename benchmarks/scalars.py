"""What the training thread pays to log a scalar, beside TensorFlow's, tensorboardX's and PyTorch's writers.

The floor is an append to a list; the yardstick is a formatted line written to a file. All candidates that are installed run in
one process, in shuffled rounds. In each round a candidate logs a burst of steps, which is timed, and then has the time to write
them, as it has while a batch is trained. At the end every file is read back and compared, value for value.

A row shows the median time for a scalar, and the medians, with quartiles, of its ratios to both in the same round. The line
stands twice in the table: how far the second is from 1 is noise. `CPU` is what all threads use for a scalar until it is written.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import attrs
import click
import numpy as np
from rich.console import Console
from rich.table import Table

from hookcore import Engine, Metrics, Run
from hookcore_plugins import TensorBoard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

STEPS: Final = 500
"""Steps in a burst."""
ROOM: Final = 1.5
"""By how much a gate may be missed under `--check`: a shared machine is no laboratory."""
FLOOR, LINE, AGAIN, OURS = "list append", "formatted line", "formatted line again", "TensorBoard plugin"
Series = dict[str, list[tuple[int, float]]]


class Candidate(Protocol):
    """A way to log: `log` one step's metrics, `drain` what waits, `close`, and `read` what was written."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log."""

    def drain(self) -> None:
        """Wait until what was logged is written."""

    def close(self) -> None:
        """End."""

    def read(self) -> Series:
        """The steps and values of each tag."""


class Floor:
    """A list."""

    def __init__(self, directory: Path) -> None:
        del directory
        self.logged: list[tuple[int, str, float]] = []

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append."""
        for name, value in metrics.items():
            self.logged.append((step, name, value))

    def drain(self) -> None:
        """Nothing waits."""

    close = drain

    def read(self) -> Series:
        """What is in the list."""
        return _series(self.logged)


class Line:
    """A line for each scalar."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "log.csv"
        self.file = self.path.open("w")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Format and write."""
        for name, value in metrics.items():
            self.file.write(f"{step},{name},{value:.9g}\n")

    def drain(self) -> None:
        """Have it in the file."""
        self.file.flush()

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def read(self) -> Series:
        """The lines."""
        rows = (line.split(",") for line in self.path.read_text().splitlines())
        return _series([(int(step), name, float(value)) for step, name, value in rows])


class Ours:
    """The plugin's hook. What the engine adds to each is another benchmark's question."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.plugin = TensorBoard(directory, update_freq="batch", hparams=False, graph=False)
        self.session = Engine([self.plugin], autoload=False).start(Run())
        self.session.train_begin()
        self.run = self.session.run

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """A batch has ended."""
        self.run.progress.step = step
        self.plugin.on_batch_end(self.run, metrics)

    def drain(self) -> None:
        """A checkpoint's view of the plugin waits for the writer."""
        self.plugin.state_dict()

    def close(self) -> None:
        """Training has ended."""
        self.session.end()

    def read(self) -> Series:
        """What TensorBoard reads, less the prefix of metrics by batch."""
        return {tag.removeprefix("batch_"): values for tag, values in _events(self.directory / "train").items()}


class TensorFlow:
    """`tf.summary.scalar`."""

    def __init__(self, directory: Path) -> None:
        import tensorflow as tf

        self.directory, self.scalar = directory, tf.summary.scalar
        self.writer = tf.summary.create_file_writer(str(directory))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One call for each scalar."""
        with self.writer.as_default():
            for name, value in metrics.items():
                self.scalar(name, value, step=step)

    def drain(self) -> None:
        """Flush."""
        self.writer.flush()

    def close(self) -> None:
        """Close."""
        self.writer.close()

    def read(self) -> Series:
        """What TensorBoard reads."""
        return _events(self.directory)


class SummaryWriter:
    """PyTorch's class, and tensorboardX's of the same name."""

    def __init__(self, directory: Path, module: str) -> None:
        self.directory = directory
        self.writer = importlib.import_module(module).SummaryWriter(str(directory))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One call for each scalar."""
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def drain(self) -> None:
        """Flush."""
        self.writer.flush()

    def close(self) -> None:
        """Close."""
        self.writer.close()

    def read(self) -> Series:
        """What TensorBoard reads."""
        return _events(self.directory)


class EventFile:
    """TensorBoard's own `EventFileWriter`, which PyTorch's `SummaryWriter` stands on."""

    def __init__(self, directory: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.directory, self.event, self.writer = directory, Event, EventFileWriter(str(directory))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One event for each scalar."""
        for name, value in metrics.items():
            event = self.event(wall_time=time.time(), step=step)
            event.summary.value.add(tag=name, simple_value=value)
            self.writer.add_event(event)

    def drain(self) -> None:
        """Flush."""
        self.writer.flush()

    def close(self) -> None:
        """Close."""
        self.writer.close()

    def read(self) -> Series:
        """What TensorBoard reads."""
        return _events(self.directory)


CANDIDATES: Final[Mapping[str, tuple[str | None, Callable[[Path], Candidate]]]] = {
    FLOOR: (None, Floor),
    LINE: (None, Line),
    AGAIN: (None, Line),
    OURS: ("tensorboard", Ours),
    "tensorboard's EventFileWriter": ("tensorboard", EventFile),
    "tf.summary": ("tensorflow", TensorFlow),
    "tensorboardX": ("tensorboardX", lambda directory: SummaryWriter(directory, "tensorboardX")),
    "torch's SummaryWriter": ("torch", lambda directory: SummaryWriter(directory, "torch.utils.tensorboard")),
}
"""The package that each needs, and how it is made."""


def _series(rows: list[tuple[int, str, float]]) -> Series:
    found: Series = {}
    for step, name, value in rows:
        found.setdefault(name, []).append((step, float(np.float32(value))))
    return found


def _events(directory: Path) -> Series:
    """The scalars in the event files of a directory, as TensorBoard itself reads them."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    rows = [
        (event.step, value.tag, make_ndarray(value.tensor).item())
        for path in sorted(directory.glob("*tfevents*"))
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
        if value.metadata.plugin_data.plugin_name == "scalars"
    ]
    return _series(rows)


@attrs.frozen
class Times:
    """One candidate's rounds: seconds a scalar on the calling thread, and CPU seconds a scalar on all threads until written."""

    calling: list[float] = attrs.field(factory=list)
    cpu: list[float] = attrs.field(factory=list)


def measure(count: int, rounds: int) -> dict[str, Times]:
    """The times of every candidate that is installed, with `count` metrics a step. Raises `AssertionError` for a value lost."""
    with tempfile.TemporaryDirectory() as root:
        installed = {name: make for name, (package, make) in CANDIDATES.items() if package is None or _is_there(package)}
        directories = {name: Path(root, str(number)) for number, name in enumerate(installed)}
        for directory in directories.values():
            directory.mkdir()
        candidates = {name: make(directories[name]) for name, make in installed.items()}
        times = {name: Times() for name in candidates}
        # Step by step, as a loop has them; reading them is the adapter's affair, and converted once for all plugins.
        logged = [
            (step, Metrics({f"metric_{number}": step / 1000 + number for number in range(count)}))
            for step in range(1, rounds * STEPS + 1)
        ]
        for _, metrics in logged:
            dict(metrics)
        gc.disable()
        for number in range(rounds):
            burst = logged[number * STEPS : (number + 1) * STEPS]
            for name in random.sample(list(candidates), len(candidates)):
                _burst(candidates[name], burst, times[name], count)
        gc.enable()
        expected = _series([(step, name, value) for step, metrics in logged for name, value in metrics.items()])
        for name, candidate in candidates.items():
            candidate.close()
            assert candidate.read() == expected, f"{name}: what was read back differs from what was logged"  # noqa: S101 - the check
    return times


def _burst(candidate: Candidate, burst: list[tuple[int, Metrics]], times: Times, count: int) -> None:
    log, scalars = candidate.log, len(burst) * count
    cpu, began = time.process_time(), time.perf_counter()
    for step, metrics in burst:
        log(step, metrics)
    times.calling.append((time.perf_counter() - began) / scalars)
    candidate.drain()
    times.cpu.append((time.process_time() - cpu) / scalars)


def _is_there(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@attrs.frozen
class Row:
    """One candidate in the table."""

    way: str
    microseconds: float
    to_floor: list[float]
    to_line: list[float]
    cpu_microseconds: float


def rows_of(times: Mapping[str, Times]) -> list[Row]:
    """The table's rows."""

    def ratios(own: Times, other: Times) -> list[float]:
        return statistics.quantiles([mine / its for mine, its in zip(own.calling, other.calling, strict=True)], n=4)

    return [
        Row(
            name,
            statistics.median(own.calling) * 1e6,
            ratios(own, times[FLOOR]),
            ratios(own, times[LINE]),
            statistics.median(own.cpu) * 1e6,
        )
        for name, own in times.items()
    ]


def gates(rows: list[Row]) -> dict[str, tuple[float, float]]:
    """What was found, and the most that it may be."""
    ours = next((row for row in rows if row.way == OURS), None)
    if ours is None:
        return {}
    return {"microseconds a scalar": (ours.microseconds, 1.0), "formatted lines a scalar": (ours.to_line[1], 3.0)}


@click.command()
@click.option("--metrics", default="1,4", help="Metrics a step, separated by commas.")
@click.option("--rounds", default=31, help="Bursts of each candidate.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write everything there.")
@click.option("--check", is_flag=True, help="Exit with status 1 where a gate is missed by more than half as much again.")
@click.pass_context
def main(ctx: click.Context, metrics: str, rounds: int, path: Path | None, *, check: bool) -> None:
    """Print what the training thread pays to log a scalar."""
    printed: Any = Console()
    results: list[dict[str, Any]] = []
    missed = False
    for count in map(int, metrics.split(",")):
        rows = rows_of(measure(count, rounds))
        table = Table("way", "us a scalar", "x list append", "x formatted line", "CPU us a scalar")
        table.title = f"{count} scalars a step" if count > 1 else "one scalar a step"
        for row in rows:
            own = f"{row.microseconds:.2f}", _shown(row.to_floor), _shown(row.to_line), f"{row.cpu_microseconds:.1f}"
            table.add_row(row.way, *own)
        printed.print(table)
        for gate, (found, limit) in gates(rows).items():
            printed.print(f"{'met' if found <= limit else 'MISSED'}: {gate}: {found:.2f}, at most {limit:g}")
            missed |= found > limit * ROOM
        results.append({"metrics": count, "rows": [attrs.asdict(row) for row in rows], "gates": gates(rows)})
    left_out = [name for name, (package, _) in CANDIDATES.items() if package is not None and not _is_there(package)]
    printed.print("All files were read back equal. Not installed, so not in the table:", ", ".join(left_out) or "none")
    if path:
        path.write_text(json.dumps(results, indent=1))
    ctx.exit(int(check and missed))


def _shown(ratio: list[float]) -> str:
    low, middle, high = ratio
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
