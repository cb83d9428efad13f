"""Frames of docs/host-protocol.md: length u32, type u8, CRC-32 u32 (little endian), payload."""

import os
import struct
import zlib
from typing import Callable, NamedTuple, Optional, Union

INIT = 1
SCORE = 2
STOP = 3
READY = 65
ROWS = 66
DONE = 67
FAILED = 68

HEADER_BYTES = 9
PAYLOAD_BYTES_MAX = 16_777_216
ROWS_BYTES = 1_048_576

_header = struct.Struct("<IBI")

Payload = Union[bytes, memoryview]


class Frame(NamedTuple):
    type: int
    payload: bytes


class FrameCorrupt(Exception):
    """The stream is of no use any more: something wrote into it, or it is not ours."""


def frame_header(frame_type: int, payload: Payload) -> bytes:
    """The 9 bytes that stand before ``payload``."""
    crc = zlib.crc32(payload, zlib.crc32(bytes((frame_type,))))
    return _header.pack(len(payload), frame_type, crc)


def read_frame(read: Callable[[int], bytes]) -> Optional[Frame]:
    """The next frame; None when the stream ends, also in the middle of a frame (the peer died while it wrote).

    ``read(n)`` gives 1 to n bytes, or none at the end.
    """
    head = _read_exactly(read, HEADER_BYTES)
    if head is None:
        return None
    length, frame_type, wanted = _header.unpack(head)
    if length > PAYLOAD_BYTES_MAX:
        raise FrameCorrupt(f"a frame of {length} bytes is above the limit of {PAYLOAD_BYTES_MAX}")
    payload = _read_exactly(read, length)
    if payload is None:
        return None
    found = zlib.crc32(payload, zlib.crc32(bytes((frame_type,))))
    if found != wanted:
        raise FrameCorrupt(f"a frame of type {frame_type} has checksum {found}, its header says {wanted}")
    return Frame(frame_type, payload)


def _read_exactly(read: Callable[[int], bytes], count: int) -> Optional[bytes]:
    pieces = []
    while count > 0:
        piece = read(count)
        if not piece:
            return None
        pieces.append(piece)
        count -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def write_frame(fd: int, frame_type: int, payload: Payload) -> None:
    """Writes one frame to a blocking descriptor; OSError when the peer is gone."""
    head = frame_header(frame_type, payload)
    written = os.writev(fd, (head, payload))
    if written < HEADER_BYTES:
        _write_all(fd, head[written:])
        written = HEADER_BYTES
    _write_all(fd, memoryview(payload)[written - HEADER_BYTES :])


def _write_all(fd: int, data: Payload) -> None:
    view = memoryview(data)
    while len(view) > 0:
        view = view[os.write(fd, view) :]
