"""Rows as lines of CSV, written as pandas writes them, or with lone carriage returns in quotes: readers take those for the end of a line."""

import csv
import inspect
import io
from types import SimpleNamespace
from typing import Any, Callable, List, Sequence

# So much text is handed on at once.
_CHARS_PER_PIECE = 65_536


def csv_text(rows: Sequence[Sequence[Any]], delimiter: str, quotes_returns: bool) -> str:
    out = io.StringIO()
    # What pandas writes through, with the same arguments.
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows(rows)
    text = out.getvalue()
    if not quotes_returns or "\r" not in text:
        return text
    lines: List[str] = []
    # A writer puts into quotes what its line terminator has, and writes once a row.
    csv.writer(SimpleNamespace(write=lines.append), delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return _lines_text(lines)


def _lines_text(lines: List[str]) -> str:
    """Lines that end with CRLF, ended as all of ours are."""
    return "\n".join([line[:-2] for line in lines]) + "\n"


def write_frame(frame: Any, write: Callable[[bytes], None], separator: str, quotes_returns: bool) -> None:
    """What ``frame.to_csv(sep=separator, header=False, index=False)`` gives."""
    if not quotes_returns:
        frame.to_csv(_TextWriter(write), sep=separator, header=False, index=False)
        return
    # Its name before pandas 1.5.
    name = "lineterminator" if "lineterminator" in inspect.signature(frame.to_csv).parameters else "line_terminator"
    writer = _LineWriter(write)
    frame.to_csv(writer, sep=separator, header=False, index=False, **{name: "\r\n"})
    writer.hand_on()


class _TextWriter(io.TextIOBase):
    """What pandas writes to: encodes and hands on at once."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._write(text.encode("utf-8", "backslashreplace"))
        return len(text)


class _LineWriter(_TextWriter):
    """Takes rows that end with CRLF, one at a time, and hands them on some at a time."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        super().__init__(write)
        self._lines: List[str] = []
        self._chars = 0

    def write(self, text: str) -> int:
        self._lines.append(text)
        self._chars += len(text)
        if self._chars >= _CHARS_PER_PIECE:
            self.hand_on()
        return len(text)

    def hand_on(self) -> None:
        if self._lines:
            super().write(_lines_text(self._lines))
            self._lines, self._chars = [], 0
