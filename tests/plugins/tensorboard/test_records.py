"""The records of event files, beside those that TensorBoard's own writer makes."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from tensorboard.summary.writer.record_writer import RecordWriter

from hookcore_plugins.tensorboard.records import framed


@given(st.lists(st.binary()))
def test_records_are_tensorboards_own(events: list[bytes]) -> None:
    """They are, one after the other, what its `RecordWriter` writes."""
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in events:
        writer.write(event)
    assert framed(events) == file.getvalue()
