"""The records of event files, compared with those that TensorBoard's own writer makes."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from tensorboard.summary.writer.record_writer import RecordWriter

from hookcore_plugins.tensorboard.records import ends, framed


@given(st.lists(st.binary()))
def test_records_are_tensorboards_own(events: list[bytes]) -> None:
    """Records equal what TensorBoard's `RecordWriter` writes, and each ends where it says."""
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in events:
        writer.write(event)
    written = framed(events)
    assert written == file.getvalue()
    assert list(ends(written + b"torn")) == [len(framed(events[: count + 1])) for count in range(len(events))]
