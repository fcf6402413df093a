"""The records that an event file consists of. TensorBoard's own checksum is made in Python, and took longer than all the rest."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import google_crc32c

if TYPE_CHECKING:
    from collections.abc import Iterable

_MASK: Final = 0xA282EAD8
_BITS: Final = 0xFFFFFFFF


def framed(events: Iterable[bytes]) -> bytes:
    """`events` as TensorBoard's `RecordWriter` writes them, one after the other.

    A record is the length, the length's checksum, the content and the content's checksum, as described in
    https://www.tensorflow.org/tutorials/load_data/tfrecord.
    """
    parts: list[bytes] = []
    for event in events:
        length = struct.pack("<Q", len(event))
        parts += length, _checksum(length), event, _checksum(event)
    return b"".join(parts)


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & _BITS)
