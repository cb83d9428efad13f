"""Messages of an Arrow IPC stream, written without a library, so that rows have the same types on every worker node whatever is installed there.

@source Arrow columnar format: Message.fbs, Schema.fbs, and the encapsulated message format
"""

import struct
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

from batchmill_host.column_types import Type
from batchmill_host.flat_buffer import Pairs, Scalar, Table, Tables, flat_buffer

Buffer = Union[bytes, bytearray, memoryview]

_VERSION_5, _SCHEMA, _RECORD_BATCH = 4, 1, 3
_UNITS = ("s", "ms", "us", "ns")
# Numbers of the union Type.
_TYPE_IDS = {"null": 1, "int": 2, "uint": 2, "float": 3, "binary": 4, "utf8": 5, "bool": 6, "date32": 8, "timestamp": 10, "list": 12, "struct": 13}


class Cells(NamedTuple):
    """A column of a record batch, or a part of one. ``validity`` None: nothing is null. ``children`` of lists and structs."""

    length: int
    nulls: int
    validity: Optional[bytes]
    buffers: Sequence[Buffer]
    children: Sequence["Cells"] = ()  # type: ignore[misc]


def schema_message(columns: Sequence[Tuple[str, Type]]) -> bytes:
    fields = Tables([_field(name, kind) for name, kind in columns])
    return _message(_SCHEMA, Table([Scalar(0, 2), fields]), [])


def batch_message(rows: int, columns: Sequence[Tuple[Type, Cells]]) -> bytes:
    nodes: List[Tuple[int, int]] = []
    body: List[Buffer] = []
    for kind, cells in columns:
        _collect(kind, cells, nodes, body)
    places: List[Tuple[int, int]] = []
    offset = 0
    for part in body:
        size = memoryview(part).nbytes
        places.append((offset, size))
        offset += size + -size % 8
    return _message(_RECORD_BATCH, Table([Scalar(rows, 8), Pairs(nodes), Pairs(places)]), body)


def _collect(kind: Type, cells: Cells, nodes: List[Tuple[int, int]], body: List[Buffer]) -> None:
    nodes.append((cells.length, cells.nulls))
    if kind.kind != "null":
        body.append(cells.validity or b"")
    body.extend(cells.buffers)
    kinds = [kind.item] if kind.item else [field for _, field in kind.fields]
    for inner, child in zip(kinds, cells.children):
        _collect(inner, child, nodes, body)


def _message(header_id: int, header: Table, body: Sequence[Buffer]) -> bytes:
    padded = [piece for part in body for piece in (part, bytes(-memoryview(part).nbytes % 8))]
    length = sum(memoryview(piece).nbytes for piece in padded)
    meta = flat_buffer(Table([Scalar(_VERSION_5, 2), Scalar(header_id, 1), header, Scalar(length, 8)]))
    meta += bytes(-len(meta) % 8)
    return b"".join([struct.pack("<Ii", 0xFFFFFFFF, len(meta)), meta, *padded])


def _field(name: str, kind: Type) -> Table:
    children = [_field("item", kind.item)] if kind.item else [_field(*field) for field in kind.fields]
    return Table([name, Scalar(1, 1), Scalar(_TYPE_IDS[kind.kind], 1), _type(kind), None, Tables(children)])


def _type(kind: Type) -> Table:
    if kind.kind in ("int", "uint"):
        return Table([Scalar(kind.bits, 4), Scalar(int(kind.kind == "int"), 1)])
    if kind.kind == "float":
        return Table([Scalar((16, 32, 64).index(kind.bits), 2)])
    if kind.kind == "date32":
        return Table([Scalar(0, 2)])
    if kind.kind == "timestamp":
        return Table([Scalar(_UNITS.index(kind.unit), 2), kind.zone or None])
    return Table([])
