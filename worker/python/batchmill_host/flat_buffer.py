"""FlatBuffers written from plain descriptions: as much of the format as the messages of Arrow need.

@source FlatBuffers, internals: tables find their fields through a vtable, references point forward, scalars lie at multiples of
their size
"""

import struct
from typing import List, NamedTuple, Sequence, Tuple, Union

_FORMS = {1: "<B", 2: "<h", 4: "<i", 8: "<q"}


class Scalar(NamedTuple):
    """``size`` in bytes."""

    value: int
    size: int


class Pairs(NamedTuple):
    """A vector of structs of two 64-bit integers each."""

    items: Sequence[Tuple[int, int]]


class Tables(NamedTuple):
    items: Sequence["Table"]


class Table(NamedTuple):
    """Fields in the order of their numbers; None: the default of the format."""

    fields: Sequence[Union[Scalar, str, Pairs, Tables, "Table", None]]


def flat_buffer(root: Table) -> bytes:
    writer = _Writer()
    return writer.finish(writer.write(root))


class _Writer:
    def __init__(self) -> None:
        # The first word points to the root.
        self._data = bytearray(8)

    def finish(self, root: int) -> bytes:
        struct.pack_into("<I", self._data, 0, root)
        return bytes(self._data)

    def write(self, value: Union[str, Pairs, Tables, Table]) -> int:
        """Its position."""
        if isinstance(value, Table):
            return self._table(value)
        if isinstance(value, Pairs):
            return self._pairs(value)
        if isinstance(value, Tables):
            return self._tables(value)
        return self._text(value)

    def _align(self, size: int, ahead: int = 0) -> None:
        self._data += bytes(-(len(self._data) + ahead) % size)

    def _refer(self, at: int, value: Union[str, Pairs, Tables, Table]) -> None:
        struct.pack_into("<I", self._data, at, self.write(value) - at)

    def _text(self, value: str) -> int:
        # A name may hold a lone surrogate, which has no UTF-8 form.
        text = value.encode("utf-8", "backslashreplace")
        self._align(4)
        at = len(self._data)
        self._data += struct.pack("<I", len(text)) + text + b"\0"
        return at

    def _pairs(self, value: Pairs) -> int:
        self._align(8, 4)
        at = len(self._data)
        self._data += struct.pack("<I", len(value.items))
        for pair in value.items:
            self._data += struct.pack("<qq", *pair)
        return at

    def _tables(self, value: Tables) -> int:
        self._align(4)
        at = len(self._data)
        self._data += struct.pack("<I", len(value.items)) + bytes(4 * len(value.items))
        for place, item in enumerate(value.items):
            self._refer(at + 4 + 4 * place, item)
        return at

    def _table(self, value: Table) -> int:
        offsets, size = _layout(value)
        self._align(2)
        vtable = len(self._data)
        self._data += struct.pack(f"<HH{len(offsets)}H", 4 + 2 * len(offsets), size, *offsets)
        self._align(8)
        at = len(self._data)
        self._data += struct.pack("<i", at - vtable) + bytes(size - 4)
        for offset, field in zip(offsets, value.fields):
            if isinstance(field, Scalar):
                struct.pack_into(_FORMS[field.size], self._data, at + offset, field.value)
            elif field is not None:
                self._refer(at + offset, field)
        return at


def _layout(value: Table) -> Tuple[List[int], int]:
    """Where each field lies behind the beginning of the table (0: nowhere), and the size of the whole."""
    offsets: List[int] = []
    end = 4
    for field in value.fields:
        if field is None:
            offsets.append(0)
            continue
        size = field.size if isinstance(field, Scalar) else 4
        end += -end % size
        offsets.append(end)
        end += size
    return offsets, end
