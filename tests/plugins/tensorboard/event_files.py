"""What TensorBoard reads in a log directory, and a trainee that shows everything."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import numpy as np
from google.protobuf import text_format
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tensorboard.util.tensor_util import make_ndarray

from hookcore.trainee import Node
from hookcore_adapters.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hookcore import Run
    from hookcore.resume import Resume
    from tests.plugins.checkpoint.checkpointing import Failure

Logged: TypeAlias = dict[str, list[tuple[int, Any]]]
"""By tag, the step and value of each event, in the order in which TensorBoard reads them."""
EVERYTHING: Final[dict[str, Any]] = {
    "update_freq": 2,
    "histogram_freq": 1,
    "images": True,
    "embeddings_freq": 1,
    "embeddings_metadata": ["the", "of", "and", "a"],
    "activations": True,
    "gradients": True,
}
"""The parameters of a `TensorBoard` that writes all it can."""


def read(directory: Path) -> Logged:
    """Read the event files of one run: floats, texts, and arrays as nested lists, without the times."""
    found: Logged = defaultdict(list)
    for path in sorted(directory.glob("*tfevents*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                plugin = value.metadata.plugin_data
                if plugin.plugin_name == "hparams":
                    found[value.tag].append((event.step, _session(plugin.content)))
                elif plugin.plugin_name == "graphs":
                    found[value.tag].append((event.step, GraphDef.FromString(make_ndarray(value.tensor).item())))
                else:
                    found[value.tag].append((event.step, _plain(make_ndarray(value.tensor).tolist())))
    return dict(found)


def both(log_dir: Path) -> dict[str, Logged]:
    """Return what `read` finds in each of the two directories."""
    return {run: read(log_dir / run) for run in ("train", "validation")}


def _session(content: bytes) -> Any:
    """Return the start or the end of a session without its times, and without its name, which has a time in it."""
    data = plugin_data_pb2.HParamsPluginData.FromString(content)
    session = data.session_start_info if data.HasField("session_start_info") else data.session_end_info
    for field in ("start_time_secs", "end_time_secs", "group_name"):
        if field in session.DESCRIPTOR.fields_by_name:
            session.ClearField(field)
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, bytes) and not value.startswith(b"\x89PNG"):
        return value.decode()
    if isinstance(value, float) and np.isnan(value):
        return "nan"  # equal to itself
    return value


def scalars(directory: Path) -> Logged:
    """Read the scalars of one run with the accumulator that TensorBoard uses."""
    accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(event.step, _plain(event.value)) for event in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]
    }


def tables(directory: Path) -> dict[str, str]:
    """Return the projector's list, and every file that it names."""
    config = text_format.Parse((directory / "projector_config.pbtxt").read_text(), ProjectorConfig())
    named = {path for entry in config.embeddings for path in (entry.tensor_path, entry.metadata_path) if path}
    return {"": str(config), **{path: (directory / path).read_text() for path in named}}


def single(value: float) -> Any:
    """Return `value` as 32 bits hold it, which is how TensorBoard keeps a scalar."""
    with np.errstate(over="ignore"):
        return _plain(float(np.float32(value)))


def with_tests() -> dict[str, str]:
    """Return the environment of a Python that can import these helpers too."""
    root = str(Path(__file__).parents[3])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), root])}


@attrs.define(eq=False)
class Visible:
    """A trainee that has every view; its values depend only on the step."""

    rows: int = 4
    step: int = 0
    learning_rate: float = 0.5
    framework: str = "visible"
    without: Mapping[str, str] = attrs.field(factory=dict)

    def lacks(self, capability: str) -> str | None:
        return self.without.get(capability)

    def weights(self) -> dict[str, Any]:
        values = np.arange(self.rows * 3, dtype="float32") / 7 + self.step
        return {"words/embeddings": values.reshape(self.rows, 3), "dense/bias": np.array([0.5, np.nan], "float32")}

    def activations(self, data: Any, samples: int = 1) -> dict[str, Any]:
        return {"dense": np.asarray(data)[:samples] + self.step}

    def gradients(self, data: Any, samples: int = 32) -> dict[str, Any]:
        return {name: weight * len(np.asarray(data)[:samples]) for name, weight in self.weights().items()}

    def graph(self) -> list[Node]:
        return [
            Node("model/words", "Embedding", (), (None, 7, 3), 12),
            Node("model/dense", "Dense", ("model/words",), (None, 1), 4),
        ]

    def embeddings(self) -> dict[str, Any]:
        return {"words": self.weights()["words/embeddings"]}

    def picture(self) -> bytes:
        return b""

    def snapshot(self, *, optimizer: bool = True) -> tuple[int, float]:
        del optimizer
        return self.step, self.learning_rate

    def restore(self, snapshot: Sequence[float]) -> None:
        self.step, self.learning_rate = int(snapshot[0]), snapshot[1]

    def write(self, snapshot: Any, directory: Path) -> None:
        (directory / "trainee.txt").write_text(f"{snapshot[0]} {snapshot[1]!r}")

    def read(self, directory: Path) -> tuple[int, float]:
        step, rate = (directory / "trainee.txt").read_text().split()
        return int(step), float(rate)

    def direction(self, metric: str) -> None:
        del metric


def train(
    plugins: Iterable[object],
    values: Sequence[float],
    *,
    batches: int = 2,
    trainee: Any = None,
    fail: Failure | None = None,
    resume: Resume = False,
) -> Run:
    """Run a loop whose metrics come from `values`, one for each epoch, and from the step."""
    trainee = Visible() if trainee is None else trainee
    with Loop(plugins, epochs=len(values), trainee=trainee, validation_data=[[1.0, 2.0]] * 40, resume=resume) as loop:
        for epoch in loop.epochs():
            for batch in loop.batches(range(batches)):
                if fail is not None and fail[:2] == (epoch, batch):
                    raise fail[2]
                trainee.step = loop.run.progress.step + 1
                loop.log(loss=values[epoch] + 1 / trainee.step)
            with loop.evaluation():
                loop.log(loss=values[epoch])
    return loop.run


def train_by_steps(
    plugins: Sequence[object], *, trainee: Any = None, fail: tuple[int, BaseException] | None = None, resume: Resume = False
) -> Run:
    """Run a loop of two epochs of three batches that evaluates after steps 2, 4 and 6; at `fail` a step raises an error."""
    trainee = Visible() if trainee is None else trainee
    with Loop(plugins, epochs=2, trainee=trainee, validation_data=[[1.0, 2.0]] * 40, resume=resume) as loop:
        for _ in loop.epochs():
            for _batch in loop.batches(range(3)):
                step = trainee.step = loop.run.progress.step + 1
                if fail is not None and fail[0] == step:
                    raise fail[1]
                loop.log(loss=float(step))
                if loop.every(2):
                    with loop.evaluation():
                        loop.log(loss=step / 8)
    return loop.run
