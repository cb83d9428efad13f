"""Rows as they will stand in the output file. Formats: `azure`, `csv`, `jsonl`, `arrow` of docs/host-protocol.md."""

import json
import sys
from contextlib import nullcontext
from typing import Any, Callable, ContextManager, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set

from batchmill_host.column_types import Type
from batchmill_host.csv_text import csv_text, write_frame
from batchmill_host.failures import HostFailure
from batchmill_host.frame_text import small_frame_text
from batchmill_host.missing import is_missing
from batchmill_host.numpy_values import plain_value
from batchmill_host.origin import Added, Form, check_names
from batchmill_host.results import ArrowTable, Frame, Result, Values, pandas_frame

Write = Callable[[bytes], None]
# Text is handed on in slices of so many rows, so that a long result is never held twice.
_ROWS_PER_SLICE = 4_096
_RESULT = "result"


class Schema(NamedTuple):
    """``columns`` as ``name:type``; ``prologue`` stands once before the first row of the job, as text, or as ``prologueForm`` (`base64`)
    has it."""

    columns: List[str]
    prologue: str
    prologueForm: Optional[str] = None


class Encoding(NamedTuple):
    """How to write. ``added`` are columns before those of the result; ``separator`` stands between the cells of the format `azure`;
    ``columns`` are what rows of the format `arrow` are to be widened to; ``kinds`` are types of columns that are none of the scorer's."""

    output_format: str
    form: Form = Form()
    added: Added = ()
    separator: str = " "
    columns: Optional[List[str]] = None
    kinds: Mapping[str, Optional[Type]] = {}


def encode(result: Result, encoding: Encoding, write: Write) -> Optional[Schema]:
    """Writes all rows; the schema for a format that has columns."""
    if len(result.data) == 0:
        return None
    with _whole_arrays():
        if encoding.output_format == "arrow":
            return _encode_arrow(result, encoding, write)
        if isinstance(result, ArrowTable):
            result = Frame(pandas_frame(result.data))
        if encoding.added:
            result = _with_columns(result, encoding.added, encoding.output_format)
        if encoding.output_format == "csv":
            return _encode_csv(result, encoding.form, write)
        if encoding.output_format == "jsonl":
            _encode_jsonl(result, write)
        else:
            _encode_azure(result, write, encoding.separator)
    return None


def _encode_arrow(result: Result, encoding: Encoding, write: Write) -> Schema:
    # Only here: most jobs have no use for it.
    from batchmill_host import arrow_encode

    form, added, rows = encoding.form, encoding.added, len(result.data)
    if isinstance(result, ArrowTable):
        check_names(added, result.data.schema.names)
        wanted = arrow_encode.Wanted(form.schema, told=encoding.columns)
        encoded = arrow_encode.encode_table(result.data, added, wanted, write)
        if encoded is not None:
            return Schema(encoded.columns, encoded.prologue, "base64")
        columns, is_unnamed = arrow_encode.table_columns(result.data), False
    else:
        columns, is_unnamed = arrow_encode.columns_of(result, _table)
    columns = [column._replace(kind=encoding.kinds.get(column.name) or column.kind) for column in columns]
    declared = form.schema
    if declared is not None and is_unnamed and len(declared) == len(columns):
        names = [arrow_encode.split_column(text)[0] for text in declared]
        columns = [column._replace(name=name) for name, column in zip(names, columns)]
    check_names(added, [column.name for column in columns])
    extra = [arrow_encode.added_column(name, cells) for name, cells in added]
    origin_names = ["file", "row", form.file_column, form.row_column, *encoding.kinds]
    encoded = arrow_encode.encode_arrow(columns, rows, write, arrow_encode.Wanted(declared, extra, origin_names, encoding.columns))
    return Schema(encoded.columns, encoded.prologue, "base64")


def _with_columns(result: Result, added: Added, output_format: str) -> Result:
    """The same as a table with columns before its own."""
    if isinstance(result, Frame):
        check_names(added, [str(name) for name in result.data.columns])
        frame = result.data.copy(deep=False)
        for place, (name, cells) in enumerate(added):
            frame.insert(place, name, cells)
        return Frame(frame)
    heads = list(zip(*(cells for _, cells in added)))
    if output_format == "jsonl":
        objects = []
        for head, own in zip(heads, _objects(result)):
            check_names(added, list(own))
            objects.append({**dict(zip((name for name, _ in added), head)), **own})
        return Values(objects, None)
    names, rows = _table(result)
    check_names(added, names)
    fields = [*(name for name, _ in added), *names]
    return Values([(*head, *row) for head, row in zip(heads, rows)], None, fields, is_table=True)


def _whole_arrays() -> ContextManager[Any]:
    """str() of an array breaks lines after 75 characters, which would tear a row, and leaves out the middle of more than 1,000 values."""
    numpy = sys.modules.get("numpy")
    # A script may have put something else in its place.
    options = getattr(numpy, "printoptions", None)
    return nullcontext() if options is None else options(linewidth=sys.maxsize, threshold=sys.maxsize)


def _encode_azure(result: Result, write: Write, separator: str) -> None:
    """Space-separated cells of a DataFrame; a list is one str(element) a line, without quotes.

    @source Azure ML batch endpoints, the format of append_row
    """
    if isinstance(result, Frame):
        _write_frame(result.data, write, separator, quotes_returns=False)
        return
    if result.is_table:
        for part in _slices(result.data):
            write(_csv_text(part, separator, quotes_returns=False))
        return
    for part in _slices(result.data):
        write(("\n".join(map(str, part)) + "\n").encode("utf-8", "backslashreplace"))


def _encode_csv(result: Result, form: Form, write: Write) -> Schema:
    if isinstance(result, Frame):
        names = [str(name) for name in result.data.columns]
        _write_frame(result.data, write, form.delimiter, quotes_returns=True)
    else:
        names, rows = _table(result)
        for part in _slices(rows):
            write(_csv_text(part, form.delimiter))
    # Text has no types; a column that is int64 here and float64 in the next mini-batch is the same column.
    header = _csv_text([names], form.delimiter).decode("utf-8") if form.header else ""
    return Schema([f"{name}:value" for name in names], header)


def _write_frame(frame: Any, write: Write, separator: str, quotes_returns: bool) -> None:
    text = small_frame_text(frame, separator, quotes_returns)
    if text is None:
        write_frame(frame, write, separator, quotes_returns)
    else:
        write(text.encode("utf-8", "backslashreplace"))


def _csv_text(rows: Iterable[Sequence[Any]], delimiter: str, quotes_returns: bool = True) -> bytes:
    cells = [[_csv_cell(cell) for cell in row] for row in rows]
    return csv_text(cells, delimiter, quotes_returns).encode("utf-8", "backslashreplace")


def _csv_cell(cell: Any) -> Any:
    return "" if is_missing(cell) else _plain(cell)


def _table(values: Values) -> "tuple[List[str], List[Sequence[Any]]]":
    """Column names and rows of a list, whose elements must all have the form of the first."""
    rows = [_plain(element) for element in values.data]
    if values.fields is not None:
        return values.fields, rows
    form = _form(rows[0])
    for index, row in enumerate(rows):
        if _form(row) != form:
            raise _ragged(index, f"is {_form(row)}, element 0 is {form}")
    if form == "a dict":
        names: Dict[str, None] = {}
        for row in rows:
            names.update(dict.fromkeys(row))
        return [str(name) for name in names], [[row.get(name) for name in names] for row in rows]
    if form == "a single value":
        return [values.name or _RESULT], [[row] for row in rows]
    width = len(rows[0])
    for index, row in enumerate(rows):
        if len(row) != width:
            raise _ragged(index, f"has {len(row)} cells, element 0 has {width}")
    return _cell_names(rows[0]), rows


def _ragged(index: int, found: str) -> HostFailure:
    return HostFailure(
        "SCORER_OUTPUT_INVALID",
        f"a CSV needs results of one form: element {index} of what run() returned {found}; "
        "use the format jsonl for results that differ",
    )


def _form(row: Any) -> str:
    if isinstance(row, dict):
        return "a dict"
    return "a row of cells" if isinstance(row, (list, tuple)) else "a single value"


def _cell_names(row: Sequence[Any]) -> List[str]:
    """Fields of a namedtuple, else c0, c1, …"""
    return list(getattr(row, "_fields", ())) or [f"c{index}" for index in range(len(row))]


def _encode_jsonl(result: Result, write: Write) -> None:
    """One object a line, so that lines of different mini-batches may have different keys."""
    for part in _slices(_objects(result)):
        write(("\n".join(map(_json_line, part)) + "\n").encode("utf-8", "backslashreplace"))


def _objects(result: Result) -> Iterable[Dict[str, Any]]:
    if isinstance(result, Frame):
        frame = result.data
        names = [str(name) for name in frame.columns]
        _check_unique(names)
        # Not to_json: it rounds to 15 digits and writes dates as numbers.
        columns = [frame.iloc[:, place].tolist() for place in range(len(names))]
        return (dict(zip(names, row)) for row in _transpose(columns, len(frame)))
    name, fields = result.name or _RESULT, result.fields
    if fields is not None:
        return (dict(zip(fields, element)) for element in result.data)
    return (_object(_plain(element), name) for element in result.data)


def _check_unique(names: List[str]) -> None:
    seen: Set[str] = set()
    for name in names:
        if name in seen:
            raise HostFailure(
                "SCORER_OUTPUT_INVALID",
                f"the rows have more than one column {name!r}, and an object of jsonl keeps one of a name: "
                "rename one (in output.include, if it is the column of the file or the row)",
            )
        seen.add(name)


def _transpose(columns: List[List[Any]], count: int) -> Iterable[Sequence[Any]]:
    return zip(*columns) if columns else (() for _ in range(count))


def _object(element: Any, name: str) -> Dict[str, Any]:
    if isinstance(element, dict):
        return element
    if isinstance(element, (list, tuple)):
        return dict(zip(_cell_names(element), element))
    return {name: element}


def json_text(value: Any) -> str:
    """Any value as JSON, in one line."""
    try:
        return _to_json(value)
    except (TypeError, ValueError):
        return _to_json(_json_value(value))


def _json_line(value: Dict[str, Any]) -> str:
    try:
        return _to_json(value)
    except (TypeError, ValueError):
        # A NaN, or a key that JSON does not know: rare, so only then is everything looked at.
        return _to_json(_json_value(value))


_to_json: Callable[[Any], str] = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=lambda value: _json_value(value)
).encode


def _json_value(value: Any) -> Any:
    """A value that JSON has: NaN, infinities and missing values are null, dates ISO text, what is left str(value)."""
    value = _plain(value)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if -_INFINITY < value < _INFINITY else None
    if isinstance(value, dict):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_json_value(item) for item in value]
    if is_missing(value):
        return None
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


_INFINITY = float("inf")


def _plain(value: Any) -> Any:
    """A numpy scalar or array as Python's own; anything else as it is."""
    return plain_value(value) if type(value).__module__ == "numpy" and hasattr(value, "tolist") else value


def _slices(rows: Iterable[Any]) -> Iterable[List[Any]]:
    part: List[Any] = []
    for row in rows:
        part.append(row)
        if len(part) == _ROWS_PER_SLICE:
            yield part
            part = []
    if part:
        yield part
