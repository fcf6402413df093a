"""TensorBoard's directories: those of our plugin, of Keras's callback, and of any writer of scalars by step.

* Our plugin and Keras write `epoch_loss` into `train` and `validation`; in the run it is `loss` and `val_loss`. Our plugin's
  `step_loss` is an observation by steps, in the epoch whose end follows. Metrics of single batches and evaluations, and speeds,
  are left out.
* Of other writers a step is an observation. If there is a scalar `epoch`, it has the epoch; otherwise steps that are 0, 1, 2 and
  so on are epochs. Metrics of training between two evaluations belong to the later one.
* Values have 32 bits there, so decisions on ties may differ from those with a log in text.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import attrs

from hookcore.authoring import describe, printable
from hookcore_plugins.report.recorded.rows import (
    MAX_EPOCH,
    Row,
    check_name,
    fail,
    history_of,
    names_of,
    rows_by_step,
)
from hookcore_plugins.report.recorded.run import RATES, RecordedError, RecordedRun
from hookcore_plugins.report.recorded.text import MAX_BYTES, content

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

STEM: Final = "events.out.tfevents."
VALIDATION: Final = frozenset({"validation", "val", "eval"})
"""The directories that hold the validation of the run in the directory above; `train` holds its training."""
_HEAD, _TAIL = 12, 4
"""The bytes of a record before its event (the length and a checksum), and those after it (another checksum)."""
PARTS: Final = VALIDATION | {"train"}


@attrs.frozen
class _Scalar:
    name: str
    step: int
    value: float
    time: float


def read(directory: Path, files: Mapping[str, Sequence[Path]], name: str) -> list[RecordedRun]:
    """Read the run in `directory`. `files` has its event files, by the part of the run: "", "train" or one of `VALIDATION`.

    Raises `RecordedError`, also if TensorBoard is not installed.
    """
    size = sum(path.stat().st_size for paths in files.values() for path in paths)
    if size > MAX_BYTES:
        fail(directory, f"its event files have {size} bytes, and at most {MAX_BYTES} are read.")
    scalars = [
        attrs.evolve(scalar, name=_named(scalar.name, validation=part in VALIDATION))
        for part, paths in files.items()
        for path in sorted(paths)
        for scalar in _scalars(path)
    ]
    by_epoch = [one for one in scalars if one.name.startswith("epoch_")]
    by_step = [one for one in scalars if one.name.startswith("step_")]
    notes = ["Values of TensorBoard have 32 bits."]
    if by_epoch:
        rows = _of_epochs(directory, by_epoch, by_step)
        names = names_of(key for row in rows for key in row.metrics)
    else:
        points: dict[int, dict[str, float]] = {}
        times: dict[int, float] = {}
        for one in scalars:
            points.setdefault(one.step, {})[one.name] = one.value
            times[one.step] = one.time
        rows, names = rows_by_step(directory, points, times)
    history, seconds, more = history_of(directory, rows)
    return [
        RecordedRun(
            path=directory,
            name=name,
            format="TensorBoard",
            history=history,
            seconds=seconds,
            metric_names=names,
            notes=(*notes, *more),
        )
    ]


def _scalars(path: Path) -> Iterator[_Scalar]:
    try:
        from tensorboard.compat.proto.event_pb2 import Event
    except ImportError as error:
        raise RecordedError(
            f"{path} is an event file of TensorBoard, which is not installed: pip install 'hookcore[tensorboard]'"
        ) from error
    plugins: dict[str, str] = {}
    for record in _records(path):
        try:
            event = Event.FromString(record)
        except Exception as error:  # noqa: BLE001 - whatever protobuf's implementation raises
            fail(path, f"it is damaged: {describe(error)}.")
        for value in event.summary.value:
            plugin = plugins.setdefault(
                value.tag, value.metadata.plugin_data.plugin_name
            )  # some writers have it only in the first event of a tag
            number = _number(value, plugin)
            if number is not None:
                if event.step < 0:
                    fail(path, f"the scalar {printable(value.tag, 60)!r} has step {event.step}.")
                yield _Scalar(check_name(str(path), value.tag), event.step, number, event.wall_time)


def _records(path: Path) -> Iterator[bytes]:
    """Yield the records of an event file, up to one that is still being written.

    TensorBoard's own loader would import TensorFlow if that is installed, which takes longer than everything else.
    """
    whole, at = content(path), 0
    while at + _HEAD <= len(whole):
        (length,) = struct.unpack_from("<Q", whole, at)
        end = at + _HEAD + length + _TAIL
        if end > len(whole):
            return
        yield whole[at + _HEAD : end - _TAIL]
        at = end


def _number(value: Any, plugin: str) -> float | None:
    """Return the number of a scalar; None for a value of another kind."""
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if plugin != "scalars" or not value.HasField("tensor"):
        return None
    tensor = value.tensor
    if tensor.tensor_content:
        codes = {1: "<f", 2: "<d"}  # DT_FLOAT and DT_DOUBLE
        code = codes.get(tensor.dtype, "")
        return struct.unpack(code, tensor.tensor_content)[0] if struct.calcsize(code) == len(tensor.tensor_content) else None
    return next(iter([*tensor.float_val, *tensor.double_val]), None)


def _named(tag: str, *, validation: bool) -> str:
    """Return the name of a scalar, with `val_` before the metric if it is of validation."""
    for axis in ("epoch_", "step_"):
        if validation and tag.startswith(axis):
            return f"{axis}val_{tag.removeprefix(axis)}"
    return f"val_{tag}" if validation else tag


def _of_epochs(directory: Path, by_epoch: Iterable[_Scalar], by_step: Iterable[_Scalar]) -> list[Row]:
    ends: dict[int, Row] = {}
    for one in by_epoch:
        if one.step > MAX_EPOCH:
            fail(directory, f"{one.name!r} has epoch {one.step}, and the largest that is read is {MAX_EPOCH}.")
        row = ends.setdefault(one.step, Row(f"{directory}, epoch {one.step}", {}, one.step, by_steps=False))
        _put(row, one.name.removeprefix("epoch_"), one)
    within: dict[int, Row] = {}
    for one in by_step:
        row = within.setdefault(one.step, Row(f"{directory}, step {one.step}", {}, step=one.step, by_steps=True))
        _put(row, one.name.removeprefix("step_"), one)
    ordered = [ends[epoch] for epoch in sorted(ends)]
    found: list[Row] = []
    waiting = [within[step] for step in sorted(within)]
    for end in ordered:
        while waiting and (waiting[0].time or 0.0) <= (end.time or 0.0):
            found.append(attrs.evolve(waiting.pop(0), epoch=end.epoch))
        found.append(attrs.evolve(end, step=found[-1].step) if found and found[-1].by_steps else end)
    last = max(ends, default=-1) + 1
    return [*found, *(attrs.evolve(row, epoch=last) for row in waiting)]


def _put(row: Row, name: str, one: _Scalar) -> None:
    if name in RATES:
        row.rate = one.value
    elif not name.endswith("steps_per_second"):
        row.metrics[name] = one.value
    row.time = one.time if row.time is None else max(row.time, one.time)
