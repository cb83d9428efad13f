"""The two descriptors that the worker node hands over, kept out of the reach of user code."""

import fcntl
import json
import os
from typing import Any, Optional

from batchmill_host.frames import ROWS, ROWS_BYTES, Frame, read_frame, write_frame

PROTOCOL_FD = 3
SIDE_FD = 4
# Where the descriptors live after the move: above those that programs give numbers to.
_FD_MIN = 100


class NodeGone(Exception):
    """The worker node does not read or write any more, or this is a forked child, which has no business with it."""


class Channel:
    """Frames both ways, and the side channel that names the current file."""

    def __init__(self) -> None:
        self._protocol = _move_away(PROTOCOL_FD)
        self._side = _move_away(SIDE_FD)
        # A name that does not fit is dropped: user code must never wait for somebody to read it.
        os.set_blocking(self._side, False)
        # A forked child of user code must not hold the node's connection open, let alone write to it.
        os.register_at_fork(after_in_child=self._abandon)
        self._bytes = 0
        self._rows = bytearray()

    def read(self) -> Optional[Frame]:
        """The next frame, or None when the worker node has closed the connection."""
        return read_frame(self._read)

    def _read(self, count: int) -> bytes:
        try:
            return os.read(self._protocol, count)
        except OSError as error:
            raise NodeGone(str(error)) from None

    def send(self, frame_type: int, message: Any) -> None:
        """One JSON message."""
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        # A lone surrogate (a file name that is not UTF-8) has no UTF-8 form; it must not cost the whole message.
        self._write(frame_type, text.encode("utf-8", "backslashreplace"))

    def begin_rows(self) -> None:
        self._bytes = 0
        self._rows.clear()

    def write_rows(self, data: bytes) -> None:
        """Output bytes; they leave in pieces of ROWS_BYTES."""
        self._rows += data
        while len(self._rows) >= ROWS_BYTES:
            self._send_rows(bytes(self._rows[:ROWS_BYTES]))
            del self._rows[:ROWS_BYTES]

    def end_rows(self) -> int:
        """Sends what is left; the number of bytes since begin_rows."""
        if self._rows:
            self._send_rows(bytes(self._rows))
            self._rows.clear()
        return self._bytes

    def _send_rows(self, piece: bytes) -> None:
        self._write(ROWS, piece)
        self._bytes += len(piece)

    def _write(self, frame_type: int, payload: bytes) -> None:
        try:
            write_frame(self._protocol, frame_type, payload)
        except OSError as error:
            raise NodeGone(str(error)) from None

    def tell_file(self, sequence: int, index: int) -> None:
        """Names the current file at once; never raises."""
        try:
            os.write(self._side, b"%d %d\n" % (sequence, index))
        except OSError:
            pass

    def _abandon(self) -> None:
        for fd in (self._protocol, self._side):
            try:
                os.close(fd)
            except OSError:
                pass
        self._protocol = self._side = -1


def _move_away(fd: int) -> int:
    """A close-on-exec duplicate; the original number is closed, so that nothing can write there by accident."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FD_MIN)
    os.close(fd)
    return moved
