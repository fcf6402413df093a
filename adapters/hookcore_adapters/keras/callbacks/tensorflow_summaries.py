"""The summaries that a model or a script makes with TensorFlow, copied from TensorFlow's own files."""

from __future__ import annotations

import shutil
import sys
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hookcore_plugins.tensorboard.event_writer import Fill


def tensorflow() -> Any:
    """Return TensorFlow if it is imported, and None otherwise. Only then can a script make summaries with it."""
    return sys.modules.get("tensorflow")


@attrs.define(eq=False)
class CopiedFile:
    """A temporary TensorFlow file, from which events are copied.

    A callback uses the same file in every fit, because a compiled train function keeps its writer.
    """

    writer: Any
    _directory: Path
    _offset: int = 0
    __weakref__: Any = attrs.field(init=False, repr=False)

    @classmethod
    def new(cls) -> CopiedFile:
        """Return a new file in a temporary directory, which is removed with it."""
        directory = Path(tempfile.mkdtemp(prefix="hookcore-tensorboard-"))
        copied = cls(tensorflow().summary.create_file_writer(str(directory)), directory)
        weakref.finalize(copied, shutil.rmtree, directory, ignore_errors=True)
        return copied

    def fresh(self) -> Iterator[tuple[int, Fill]]:
        """Yield the step and content of each event since the last call."""
        from tensorboard.compat.proto.event_pb2 import Event

        from hookcore_plugins.tensorboard import event_files, records

        self.writer.flush()
        for path in event_files.named(self._directory):
            with path.open("rb") as file:
                file.seek(self._offset)
                content = file.read()
            began = 0
            for end in records.ends(content):
                event = Event.FromString(content[began + records.HEAD : end - records.TAIL])
                began = end
                if not event.file_version:
                    yield event.step, event_fill(event)
            self._offset += began


def event_fill(event: Any) -> Fill:
    """Return a function that fills another event with the content of `event`."""
    return lambda other: other.MergeFrom(event)
