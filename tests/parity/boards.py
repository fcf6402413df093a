"""The content of TensorBoard's files, event by event."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.util.tensor_util import make_ndarray

if TYPE_CHECKING:
    from pathlib import Path

Points: TypeAlias = dict[tuple[str, str], list[tuple[int, str, Any]]]


def points(directory: Path) -> Points:
    """Return the step, kind and value of each event, by directory and tag, in the order of the files, without times and speeds.

    Unlike TensorBoard's readers, this converts nothing: a scalar differs from a tensor that contains it.
    """
    found: Points = defaultdict(list)
    for path in sorted(directory.rglob("*tfevents*")):
        for content in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(content)
            for value in event.summary.value:
                array = make_ndarray(value.tensor)
                plain: Any = None if "per_second" in value.tag else array.tolist()
                if value.metadata.plugin_data.plugin_name == "images":
                    pixels = [np.asarray(Image.open(io.BytesIO(png))).tolist() for png in array[2:]]
                    plain = [*array[:2], *pixels]
                if value.tag == "keras":  # without what differs from object to object
                    plain = re.sub(rb'"shared_object_id": \d+', b"", plain)
                found[path.parent.name, value.tag].append((event.step, str(value.metadata), plain))
    return dict(found)


def steps(directory: Path, tag: str, run: str = "train") -> list[int]:
    """Return the steps of the points of one tag."""
    return [step for step, *_ in points(directory).get((run, tag), [])]
