"""Python values as the cells of an Arrow column: the type is found in them, or told."""

import array
import datetime
import struct
import sys
from typing import Any, Callable, Dict, List, Optional, Sequence

from batchmill_host.arrow_messages import Cells
from batchmill_host.column_types import BINARY, BOOL, DATE, FLOAT64, INT64, NULL, UTF8, Type, list_of
from batchmill_host.failures import HostFailure
from batchmill_host.missing import is_missing
from batchmill_host.numpy_values import plain_value

_EPOCH = datetime.datetime(1970, 1, 1)
_EPOCH_UTC = _EPOCH.replace(tzinfo=datetime.timezone.utc)
_NANOSECONDS = Type("timestamp", unit="ns")
_PER_MICRO = {"s": (1, 1_000_000), "ms": (1, 1_000), "us": (1, 1), "ns": (1_000, 1)}
# Letters of the modules array and struct.
_LETTERS = {("int", 8): "b", ("int", 16): "h", ("int", 32): "i", ("int", 64): "q", ("uint", 8): "B", ("uint", 16): "H",
            ("uint", 32): "I", ("uint", 64): "Q", ("float", 32): "f", ("float", 64): "d"}
_OFFSET_MAX = 2**31 - 1
_NUMBERS = ("null", "int", "uint", "float")
_KINDS: Dict[type, Type] = {bool: BOOL, int: INT64, float: FLOAT64, str: UTF8, bytes: BINARY, datetime.date: DATE}


def infer_type(name: str, values: Sequence[Any]) -> Type:
    """The type that fits all values. SCORER_OUTPUT_INVALID names the column, both types and the row where none does."""
    found = NULL
    for row, value in enumerate(values):
        own = _type_of(value)
        # A gap in a column of pandas is a NaN, whatever the others are.
        if own is found or own is NULL:
            continue
        if own is FLOAT64 and value != value and found.kind not in _NUMBERS:
            continue
        if found is FLOAT64 and own.kind not in _NUMBERS and all(is_missing(one) for one in values[:row]):
            found = NULL
        merged = _merge(found, own)
        if merged is None:
            raise HostFailure(
                "SCORER_OUTPUT_INVALID",
                f"column {name!r} is {own} in row {row} and {found} in the rows before; return one type, or declare it in output.schema",
            )
        found = merged
    return found


def _type_of(value: Any) -> Type:
    known = _KINDS.get(type(value))
    if known is not None:
        return known
    if value is None:
        return NULL
    if isinstance(value, (list, tuple, set, frozenset)):
        return _list_type(value)
    dtype = getattr(value, "dtype", None)
    if type(value).__module__ == "numpy" and dtype is not None:
        own = numpy_type(dtype)
        if getattr(value, "ndim", 0) == 0:
            return own or _scalar_type(value)
        return list_of(own) if own and value.ndim == 1 else _list_type(plain_value(value) if dtype.kind != "M" else value)
    return _other_type(value)


def _scalar_type(value: Any) -> Type:
    """A scalar of numpy that is no number of a fixed size."""
    if is_missing(value):
        return NULL
    if _is_nanoseconds(value):
        return _NANOSECONDS
    plain = plain_value(value)
    # A long double is its own item.
    return _other_type(plain) if type(plain) is type(value) else _type_of(plain)


def _is_nanoseconds(value: Any) -> bool:
    dtype = getattr(value, "dtype", None)
    return type(value).__module__ == "numpy" and getattr(dtype, "kind", "") == "M" and sys.modules["numpy"].datetime_data(dtype) == ("ns", 1)


def _other_type(value: Any) -> Type:
    if is_missing(value):
        return NULL
    if isinstance(value, datetime.datetime):
        return Type("timestamp", unit="us", zone="" if value.tzinfo is None else "UTC")
    for base in (bool, int, float, str, bytes, datetime.date):
        if isinstance(value, base):
            return _KINDS[base]
    # A dict is JSON, anything else its str().
    return UTF8


def _list_type(values: Any) -> Type:
    item: Optional[Type] = NULL
    for value in values:
        item = item and _merge(item, _type_of(value))
    # A list of this and that has no type; as JSON it is read all the same.
    return UTF8 if item is None else list_of(item)


def numpy_type(dtype: Any) -> Optional[Type]:
    """None for a dtype that has no fixed size, or another order of bytes than this machine's."""
    kind = {"i": "int", "u": "uint", "f": "float", "b": "bool"}.get(dtype.kind)
    if kind is None or not dtype.isnative:
        return None
    if kind == "bool":
        return BOOL
    return Type(kind, 8 * dtype.itemsize) if dtype.itemsize <= 8 else None


def _merge(a: Type, b: Type) -> Optional[Type]:
    """None when nothing holds both."""
    if a == b or b.kind == "null":
        return a
    if a.kind == "null":
        return b
    if a.item and b.item:
        item = _merge(a.item, b.item)
        return item and list_of(item)
    if a.kind in _NUMBERS and b.kind in _NUMBERS:
        return FLOAT64 if "float" in (a.kind, b.kind) else INT64
    return None


def build(name: str, kind: Type, values: Sequence[Any]) -> Cells:
    """SCORER_OUTPUT_INVALID for a value that does not fit, with column, type and value."""
    if kind.kind == "null":
        for row, value in enumerate(values):
            if not is_missing(value):
                raise _refusal(name, kind, row, value)
        return Cells(len(values), len(values), None, [])
    # A NaN is a value where floats are wanted.
    lacks: Callable[[Any], bool] = _is_none if kind.kind == "float" else is_missing
    missing = [row for row, value in enumerate(values) if lacks(value)]
    validity = _bits([not lacks(value) for value in values]) if missing else None
    convert = _CONVERTERS[kind.kind]
    converted: List[Any] = []
    for row, value in enumerate(values):
        try:
            converted.append(None if missing and lacks(value) else convert(value, kind))
        except (TypeError, ValueError, OverflowError, struct.error, ArithmeticError):
            raise _refusal(name, kind, row, value) from None
    return _cells(name, kind, converted, len(missing), validity)


def _cells(name: str, kind: Type, values: List[Any], nulls: int, validity: Optional[bytes]) -> Cells:
    count = len(values)
    if kind.kind == "bool":
        return Cells(count, nulls, validity, [_bits(values)])
    if kind.kind in ("utf8", "binary"):
        parts = [value or b"" for value in values]
        return Cells(count, nulls, validity, [_offsets(name, map(len, parts)), b"".join(parts)])
    if kind.kind == "list" and kind.item:
        offsets = _offsets(name, (len(value or ()) for value in values))
        items = [item for value in values if value is not None for item in value]
        return Cells(count, nulls, validity, [offsets], [build(name, kind.item, items)])
    if kind.kind == "struct":
        children = [build(f"{name}.{field}", inner, [(value or {}).get(field) for value in values]) for field, inner in kind.fields]
        return Cells(count, nulls, validity, [], children)
    zeros = [0 if value is None else value for value in values]
    if kind == Type("float", 16):
        return Cells(count, nulls, validity, [b"".join(map(_half, zeros))])
    sizes = {"date32": "i", "timestamp": "q"}
    try:
        cells = array.array(sizes.get(kind.kind) or _LETTERS[kind.kind, kind.bits], zeros)
    except OverflowError:
        for row, value in enumerate(values):
            _check_range(name, kind, row, value)
        raise
    if sys.byteorder == "big":
        cells.byteswap()
    return Cells(count, nulls, validity, [cells.tobytes()])


def _half(value: float) -> bytes:
    try:
        return struct.pack("<e", value)
    except OverflowError:
        return struct.pack("<e", float("inf") if value > 0 else -float("inf"))


def _check_range(name: str, kind: Type, row: int, value: Any) -> None:
    low, high = (0, 2**kind.bits) if kind.kind == "uint" else (-(2 ** (kind.bits - 1)), 2 ** (kind.bits - 1))
    if kind.kind in ("int", "uint") and value is not None and not low <= value < high:
        raise _refusal(name, kind, row, value)


def _is_none(value: Any) -> bool:
    return value is None or (not isinstance(value, (float, int)) and is_missing(value) and getattr(value, "dtype", None) is None)


def _bits(values: Sequence[Any]) -> bytes:
    packed = bytearray((len(values) + 7) // 8)
    for row, value in enumerate(values):
        if value:
            packed[row >> 3] |= 1 << (row & 7)
    return bytes(packed)


def _offsets(name: str, lengths: Any) -> bytes:
    offsets, end = array.array("i", [0]), 0
    for length in lengths:
        end += length
        if end > _OFFSET_MAX:
            raise HostFailure("SCORER_OUTPUT_INVALID", f"column {name!r} has more than 2 GiB in one mini-batch; return fewer rows at a time")
        offsets.append(end)
    if sys.byteorder == "big":
        offsets.byteswap()
    return offsets.tobytes()


def _refusal(name: str, kind: Type, row: int, value: Any) -> HostFailure:
    text = str(value)
    shown = text if len(text) <= 60 else text[:60] + "…"
    return HostFailure("SCORER_OUTPUT_INVALID", f"column {name!r} is {kind}, and row {row} has {shown!r} ({type(value).__name__})")


def _to_bool(value: Any, _kind: Type) -> bool:
    plain = _item(value)
    if not isinstance(plain, bool):
        raise TypeError
    return plain


def _to_int(value: Any, _kind: Type) -> int:
    plain = _item(value)
    if isinstance(plain, bool) or not isinstance(plain, (int, float)) or plain != int(plain):
        raise TypeError
    return int(plain)


def _to_float(value: Any, kind: Type) -> float:
    plain = _item(value)
    if isinstance(plain, bool) or not isinstance(plain, (int, float)):
        raise TypeError
    number = float(plain)
    if isinstance(plain, int) and int(number) != plain:
        raise ValueError
    return number


def _to_text(value: Any, _kind: Type) -> bytes:
    plain = _item(value)
    if isinstance(plain, (bool, int, float, bytes, datetime.date)):
        raise TypeError
    return text_of(plain).encode("utf-8", "backslashreplace")


def _to_bytes(value: Any, _kind: Type) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError
    return bytes(value)


def _to_date(value: Any, _kind: Type) -> int:
    value = _item(value)
    if isinstance(value, datetime.datetime) or not isinstance(value, datetime.date):
        raise TypeError
    return value.toordinal() - 719_163


def _to_time(value: Any, kind: Type) -> int:
    if kind == _NANOSECONDS and _is_nanoseconds(value):
        return int(value.astype("int64"))
    value = _item(value)
    if not isinstance(value, datetime.datetime) or (value.tzinfo is None) != (kind.zone == ""):
        raise TypeError
    since = value - (_EPOCH if value.tzinfo is None else _EPOCH_UTC)
    micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    factor, divisor = _PER_MICRO[kind.unit]
    # Of pandas' own: what datetime has no room for.
    return micros * factor // divisor + (getattr(since, "nanoseconds", 0) if kind.unit == "ns" else 0)


def _to_list(value: Any, _kind: Type) -> Any:
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(value)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 0) >= 1:
        return list(value)
    raise TypeError


def _to_struct(value: Any, _kind: Type) -> Dict[Any, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


_CONVERTERS: Dict[str, Callable[[Any, Type], Any]] = {
    "bool": _to_bool, "int": _to_int, "uint": _to_int, "float": _to_float, "utf8": _to_text, "binary": _to_bytes,
    "date32": _to_date, "timestamp": _to_time, "list": _to_list, "struct": _to_struct,
}


def _item(value: Any) -> Any:
    """A numpy scalar as Python's own."""
    return plain_value(value) if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0 else value


def text_of(value: Any) -> str:
    """What has no type of its own: dicts and mixed lists as JSON, anything else its str()."""
    if isinstance(value, str):
        return value
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        # Only here: encode knows all formats, and this one among them.
        from batchmill_host.encode import json_text

        return json_text(value)
    return str(value)
