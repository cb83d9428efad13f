"""Results as messages of an Arrow IPC stream: the schema is the prologue of the job's output, record batches are the rows."""

import base64
import sys
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

from batchmill_host.arrow_messages import Cells, batch_message, schema_message
from batchmill_host.arrow_values import build, infer_type, numpy_type
from batchmill_host.column_types import INT64, UTF8, Type, parse_type, split_column, widens
from batchmill_host.failures import HostFailure
from batchmill_host.numpy_values import plain_value
from batchmill_host.origin import Added
from batchmill_host.results import ArrowTable, Frame, Result, Values, is_a

# Rows of a record batch.
_ROWS_MAX = 16_384
_BRACKETS = str.maketrans({"(": "[", ")": "]", " ": None})


class Column(NamedTuple):
    """``values`` gives all of it as a list, ``part`` some rows as they lie, where they have a type of their own."""

    name: str
    kind: Optional[Type]
    values: Callable[[], Sequence[Any]]
    part: Optional[Callable[[int, int], Cells]] = None


class Encoded(NamedTuple):
    columns: List[str]
    """Base64 of the schema message."""
    prologue: str


class Wanted(NamedTuple):
    """``declared`` columns; those that are ``added`` stand before them, and need not be declared, as little as those of
    ``origin_names``. ``told``: what the rows are to be widened to."""

    declared: Optional[Sequence[str]] = None
    added: Sequence[Column] = ()
    origin_names: Sequence[Optional[str]] = ()
    told: Optional[Sequence[str]] = None


def encode_arrow(columns: Sequence[Column], rows: int, write: Callable[[bytes], None], wanted: Wanted) -> Encoded:
    """Writes record batches of all rows."""
    declared, added, origin_names, told = wanted
    own = [*added, *(columns if declared is None else _declare(columns, declared, origin_names))]
    fitted = [_typed(column) for column in (own if told is None else _widen(own, told))]
    for first in range(0, rows, _ROWS_MAX):
        count = min(_ROWS_MAX, rows - first)
        write(batch_message(count, [(kind, part(first, count)) for _, kind, part in fitted]))
    message = schema_message([(name, kind) for name, kind, _ in fitted])
    return Encoded([f"{name}:{kind}" for name, kind, _ in fitted], base64.b64encode(message).decode("ascii"))


def _typed(column: Column) -> Tuple[str, Type, Callable[[int, int], Cells]]:
    name, kind, values, part = column
    if kind is not None and part is not None:
        return name, kind, part
    cells = values()
    found = infer_type(name, cells) if kind is None else kind
    return name, found, lambda first, count: build(name, found, cells[first : first + count])


def _widen(columns: Sequence[Column], told: Sequence[str]) -> List[Column]:
    """Columns of other names, or in another order, stay as they are: what is wrong with them the coordinator says."""
    wanted = [split_column(text) for text in told]
    if [column.name for column in columns] != [name for name, _ in wanted]:
        return list(columns)
    wide = []
    for column, (name, text) in zip(columns, wanted):
        own = column.kind or infer_type(name, column.values())
        kind = parse_type(text)
        if str(own) != text and (kind is None or not widens(own, kind)):
            raise HostFailure(
                "RESULT_SCHEMA_MISMATCH",
                f"column {name} is {own} here and {text} in the job's first rows, which is not wide enough; declare the column in output.schema",
            )
        wide.append(column if column.kind == kind else Column(name, kind, column.values))
    return wide


def added_column(name: str, cells: List[Any]) -> Column:
    return Column(name, INT64 if cells and isinstance(cells[0], int) else UTF8, lambda: cells)


def _declare(columns: Sequence[Column], declared: Sequence[str], origin_names: Sequence[Optional[str]]) -> List[Column]:
    """Those that are declared, behind the file and row that a scorer of ours adds by itself."""
    wanted = [(name, parse_type(kind)) for name, kind in map(split_column, declared)]
    names = [name for name, _ in wanted]
    given = {column.name: column for column in columns}
    missing = [text for text in declared if split_column(text)[0] not in given]
    extra = [column for column in columns if column.name not in names and column.name in origin_names]
    added = [column.name for column in columns if column.name not in names and column not in extra]
    if missing or added:
        what = f"lack the column {missing[0]}, which output.schema declares" if missing else f"have a column {added[0]}, which output.schema does not declare"
        raise HostFailure("SCORER_OUTPUT_INVALID", f"the rows {what}; they have {', '.join(given)}")
    return extra + [given[name] if given[name].kind == kind else Column(name, kind, given[name].values) for name, kind in wanted]


def columns_of(result: Result, table: Callable[[Values], Tuple[List[str], Sequence[Sequence[Any]]]]) -> Tuple[List[Column], bool]:
    """Columns of a result, and whether nobody gave them names. ``table`` gives names and rows of a list."""
    if isinstance(result, ArrowTable):
        raise TypeError("a table of Arrow has messages of its own")
    if isinstance(result, Frame):
        frame = result.data
        return [_series(str(name), frame.iloc[:, place]) for place, name in enumerate(frame.columns)], False
    source = result.source
    if source is not None:
        return _source_columns(source, result)
    names, rows = table(result)
    cells = list(zip(*rows)) if rows else [()] * len(names)
    is_unnamed = result.fields is None and not _has_names(result.data[0])
    return [Column(name, None, _constant(column)) for name, column in zip(names, cells)], is_unnamed


def _has_names(element: Any) -> bool:
    return isinstance(element, dict) or bool(getattr(element, "_fields", ()))


def _source_columns(source: Any, result: Values) -> Tuple[List[Column], bool]:
    if is_a(source, "pandas", "Series"):
        return [_series(result.name or "result", source)], result.name is None
    if source.dtype.names:
        return [_array(name, source[name]) for name in source.dtype.names], False
    if source.ndim == 1:
        return [_array("result", source)], True
    return [_array(f"c{place}", source[:, place]) for place in range(source.shape[1])], True


def _constant(values: Sequence[Any]) -> Callable[[], Sequence[Any]]:
    return lambda: values


def _series(name: str, series: Any) -> Column:
    dtype = series.dtype
    zone = str(getattr(dtype, "tz", "") or "")
    if zone and getattr(dtype, "kind", "") == "M":
        series, dtype = series.dt.tz_convert(None), series.dt.tz_convert(None).dtype
    # Extension types (categories, nullable numbers) have values of their own making.
    if type(dtype).__module__.startswith("numpy"):
        return _array(name, series.to_numpy(), "UTC" if zone else "")
    told = str(dtype).lower().split("[")[0]
    kind = parse_type({"boolean": "bool", "string": "utf8"}.get(told, told))
    return Column(name, kind, series.tolist)


def _array(name: str, values: Any, zone: str = "") -> Column:
    """A one-dimensional array of numpy."""
    dtype = values.dtype
    if dtype.kind == "M":
        unit = sys.modules["numpy"].datetime_data(dtype)[0]
        kind = Type("timestamp", unit=unit, zone=zone) if unit in ("s", "ms", "us", "ns") and dtype.isnative else None
        return Column(name, kind, _times(values, zone), kind and (lambda first, count: _time_cells(values[first : first + count])))
    own = numpy_type(dtype)
    if own is None:
        return Column(name, None, lambda: plain_value(values))
    return Column(name, own, values.tolist, lambda first, count: _array_cells(values[first : first + count]))


def _times(values: Any, zone: str) -> Callable[[], Sequence[Any]]:
    """As datetimes, which have microseconds; None where there is no time."""

    def read() -> Sequence[Any]:
        import datetime

        plain = values.astype("datetime64[us]").tolist()
        return [one if one is None or not zone else one.replace(tzinfo=datetime.timezone.utc) for one in plain]

    return read


def _array_cells(part: Any) -> Cells:
    numpy = sys.modules["numpy"]
    if part.dtype.kind == "b":
        return Cells(len(part), 0, None, [numpy.packbits(part, bitorder="little").tobytes()])
    return Cells(len(part), 0, None, [part.tobytes()])


def _time_cells(part: Any) -> Cells:
    numpy = sys.modules["numpy"]
    gaps = numpy.isnat(part)
    nulls = int(gaps.sum())
    validity = numpy.packbits(~gaps, bitorder="little").tobytes() if nulls else None
    return Cells(len(part), nulls, validity, [part.tobytes()])


def encode_table(table: Any, added: Added, wanted: Wanted, write: Callable[[bytes], None]) -> Optional[Encoded]:
    """A table of pyarrow, which writes it itself, without dictionaries and with the columns that are ``added`` before its own. None:
    its columns are read as lists instead, to be reordered, made narrower or refused."""
    import pyarrow

    columns = [(name, pyarrow.chunked_array([pyarrow.array(list(map(_readable, cells)))])) for name, cells in added]
    heads = [f"{name}:{type_text(column.type)}" for name, column in columns]
    for name, column in zip(table.schema.names, table.columns):
        kind = _plain_type(column.type)
        columns.append((name, column if kind == column.type else column.cast(kind)))
    told = [*heads, *wanted.declared] if wanted.declared is not None else wanted.told
    if told is not None:
        fitted = _cast_columns(columns, told)
        if fitted is None:
            return None
        columns = fitted
    texts = [f"{name}:{type_text(column.type)}" for name, column in columns]
    plain = pyarrow.table([column for _, column in columns], schema=pyarrow.schema([pyarrow.field(name, column.type) for name, column in columns]))
    for batch in plain.to_batches(max_chunksize=_ROWS_MAX):
        write(batch.serialize().to_pybytes())
    return Encoded(texts, base64.b64encode(plain.schema.serialize().to_pybytes()).decode("ascii"))


def _readable(cell: Any) -> Any:
    """Names of files need not be UTF-8."""
    return cell.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(cell, str) else cell


def _cast_columns(columns: Sequence[Tuple[str, Any]], told: Sequence[str]) -> Optional[List[Tuple[str, Any]]]:
    """Columns of pyarrow with the types that are told. None where names differ, or a type is not wide enough for all its values."""
    import pyarrow

    wanted = [split_column(text) for text in told]
    if [name for name, _ in columns] != [name for name, _ in wanted]:
        return None
    fitted = []
    for (name, column), (_, text) in zip(columns, wanted):
        own = type_text(column.type)
        if own != text:
            before, after = parse_type(own), parse_type(text)
            kind = _arrow_type(after) if before and after and widens(before, after) else None
            if kind is None:
                return None
            try:
                column = column.cast(kind)
            except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
                return None
        fitted.append((name, column))
    return fitted


def _arrow_type(kind: Type) -> Any:
    """None for what nothing but null is widened to."""
    import pyarrow

    if kind.item:
        item = _arrow_type(kind.item)
        return item and pyarrow.list_(item)
    try:
        return pyarrow.type_for_alias(str(kind))
    except ValueError:
        return None


def _plain_type(kind: Any) -> Any:
    """The type without dictionaries, also where they are inside of lists, structs and maps."""
    import pyarrow
    from pyarrow import types

    def plain(field: Any) -> Any:
        return field.with_type(_plain_type(field.type))

    if types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if types.is_list(kind):
        return pyarrow.list_(plain(kind.value_field))
    if types.is_large_list(kind):
        return pyarrow.large_list(plain(kind.value_field))
    if types.is_fixed_size_list(kind):
        return pyarrow.list_(plain(kind.value_field), kind.list_size)
    if types.is_struct(kind):
        return pyarrow.struct([plain(field) for field in kind])
    if types.is_map(kind):
        return pyarrow.map_(plain(kind.key_field), plain(kind.item_field), kind.keys_sorted)
    return kind


def table_columns(table: Any) -> List[Column]:
    """With the types that the table has, where they are among ours."""
    columns = zip(table.schema.names, table.columns)
    return [Column(name, parse_type(type_text(_plain_type(column.type))), column.to_pylist) for name, column in columns]


def type_text(kind: Any) -> str:
    """The texts of the other encoders where they have the type, pyarrow's own for any other."""
    from pyarrow import types

    if types.is_list(kind):
        return f"list<{type_text(kind.value_type)}>"
    if types.is_fixed_size_list(kind):
        return f"list<{type_text(kind.value_type)}>[{kind.list_size}]"
    if types.is_struct(kind):
        return f"struct<{','.join(f'{field.name}:{type_text(field.type)}' for field in kind)}>"
    if types.is_timestamp(kind):
        return f"timestamp[{kind.unit}{',' + kind.tz if kind.tz else ''}]"
    text = str(kind).translate(_BRACKETS)
    return {"string": "utf8", "large_string": "large_utf8", "double": "float64", "float": "float32", "halffloat": "float16",
            "date32[day]": "date32", "date64[ms]": "date64"}.get(text, text)
