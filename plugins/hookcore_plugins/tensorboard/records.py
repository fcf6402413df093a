"""The records that an event file consists of: a length, the length's checksum, an event and the event's checksum.

They are described in https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

# TensorBoard computes checksums in Python, which took longer than all the rest of writing.
import google_crc32c

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MASK: Final = 0xA282EAD8
_BITS: Final = 0xFFFFFFFF
_LENGTH: Final = struct.Struct("<Q")
_CHECKSUM: Final = struct.Struct("<I")
HEAD: Final = _LENGTH.size + _CHECKSUM.size
"""The number of bytes of a record before its event."""
TAIL: Final = _CHECKSUM.size
"""The number of bytes of a record after its event."""


def framed(events: Iterable[bytes]) -> bytes:
    """Return the records of `events`, one after the other, as TensorBoard's `RecordWriter` writes them."""
    parts: list[bytes] = []
    for event in events:
        length = _LENGTH.pack(len(event))
        parts += length, _checksum(length), event, _checksum(event)
    return b"".join(parts)


def ends(content: bytes) -> Iterator[int]:
    """Find the offset at which each whole record ends, up to the first that is not whole."""
    at = 0
    while at + HEAD <= len(content):
        start = at + HEAD
        length = content[at : at + _LENGTH.size]
        at = start + _LENGTH.unpack(length)[0] + TAIL
        if at > len(content) or content[start - _CHECKSUM.size : start] != _checksum(length):
            return
        if content[at - TAIL : at] != _checksum(content[start : at - TAIL]):
            return
        yield at


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return _CHECKSUM.pack(((crc >> 15 | crc << 17) + _MASK) & _BITS)
