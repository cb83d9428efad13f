"""Columns of an input table that stand in the output beside the predictions.

The texts of a CSV are typed by rules of our own, the same as worker/scorers/text-types.ts has: what pandas takes them for depends on its
release, and a gap would round the integers of a column.
"""

import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from batchmill_host.column_types import BOOL, FLOAT64, INT64, NULL, UTF8, Type, parse_type, split_column
from batchmill_host.failures import HostFailure
from batchmill_host.mini_batch import InputFile
from batchmill_host.model_inputs import IMAGES, TABLES, UnreadableFile, csv_form, csv_names, csv_source, reading, row_groups

Wanted = Union[str, Sequence[str]]

_MISSING = frozenset(("", "nan", "na", "n/a", "null", "none", "#n/a"))
# A number that begins with 0 or + is a code or a telephone number.
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INFINITY = re.compile(r"-?inf(?:inity)?", re.IGNORECASE)
_SAFE = 2**53 - 1


class CarriedColumn(NamedTuple):
    """``kind`` is None where text is written, which has no types."""

    name: str
    kind: Optional[Type]
    values: List[Any]


class Typing(NamedTuple):
    """``declared`` and ``told`` are `name:type`: output.schema, and the columns of the job's first rows."""

    output_format: str
    declared: Optional[Sequence[str]]
    told: Optional[Sequence[str]]


def read_carried(file: InputFile, wanted: Wanted, typing: Typing) -> List[CarriedColumn]:
    """The wanted columns of all rows. Raises UnreadableFile: INPUT_COLUMNS_MISSING, INPUT_UNSUPPORTED for an image, and as reading does."""
    extension = os.path.splitext(file.path)[1].lower()
    if extension in IMAGES:
        raise UnreadableFile("INPUT_UNSUPPORTED", file, "An image has no columns, and output.include asks for columns of the input")
    with reading(file):
        if extension == ".csv":
            return _csv_columns(file, wanted, typing)
        # What no model reads is refused when it is read for the model.
        return _parquet_columns(file, wanted) if extension in TABLES else []


def _names(file: InputFile, wanted: Wanted, found: Sequence[str]) -> List[str]:
    if isinstance(wanted, str):
        return list(found)
    missing = [name for name in wanted if name not in found]
    if missing:
        named = ", ".join(repr(name) for name in missing)
        has = ", ".join(repr(name) for name in found[:50])
        raise UnreadableFile("INPUT_COLUMNS_MISSING", file, f"output.include names the columns {named}; the file has {has}")
    return list(wanted)


def _csv_columns(file: InputFile, wanted: Wanted, typing: Typing) -> List[CarriedColumn]:
    import pandas

    names = _names(file, wanted, csv_names(file))
    try:
        frame = pandas.read_csv(csv_source(file), usecols=names, dtype=str, na_filter=False, **csv_form(file))
    except pandas.errors.EmptyDataError:
        # A part in which no row begins.
        frame = pandas.DataFrame({name: [] for name in names})
    return [_text_column(name, frame[name].tolist(), typing) for name in names]


def _text_column(name: str, texts: List[str], typing: Typing) -> CarriedColumn:
    if typing.output_format in ("azure", "csv"):
        return CarriedColumn(name, None, texts)
    kinds = dict(split_column(text) for text in [*(typing.told or ()), *(typing.declared or ())])
    if kinds.get(name) == "utf8":
        return CarriedColumn(name, UTF8, [text or None for text in texts])
    return CarriedColumn(name, *typed_texts(texts))


def typed_texts(texts: Sequence[str]) -> Tuple[Type, List[Any]]:
    """Integers are int64, other numbers and both together float64, `true` and `false` bool, anything else text, where `NA` is no gap."""
    kinds = {_kind_of(text) for text in texts} - {"missing"}
    if not kinds and not any(texts):
        return NULL, [None] * len(texts)
    if kinds and kinds <= {"int", "wide"}:
        return INT64, _unless_missing(texts, int)
    if kinds and kinds <= {"int", "float"}:
        return FLOAT64, _unless_missing(texts, float)
    if kinds == {"bool"}:
        return BOOL, _unless_missing(texts, lambda text: text.lower() == "true")
    return UTF8, [text or None for text in texts]


def _kind_of(text: str) -> str:
    """`wide`: an integer of 64 bits that a double does not hold."""
    trimmed = text.strip()
    if trimmed.lower() in _MISSING:
        return "missing"
    if _INTEGER.fullmatch(trimmed):
        # Longer ones are not even looked at: int() takes its time with them, or refuses.
        value = int(trimmed) if len(trimmed) <= 20 else 2**64
        return "int" if abs(value) <= _SAFE else "wide" if -(2**63) <= value < 2**63 else "text"
    if _DECIMAL.fullmatch(trimmed) or _INFINITY.fullmatch(trimmed):
        return "float"
    return "bool" if trimmed.lower() in ("true", "false") else "text"


def _unless_missing(texts: Sequence[str], convert: Any) -> List[Any]:
    trimmed = [text.strip() for text in texts]
    return [None if text.lower() in _MISSING else convert(text) for text in trimmed]


def _parquet_columns(file: InputFile, wanted: Wanted) -> List[CarriedColumn]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file.path) as table:
        names = _names(file, wanted, table.schema_arrow.names)
        read = table.read_row_groups(row_groups(file, table), columns=names)
    return [_arrow_column(name, read.column(name)) for name in names]


def _arrow_column(name: str, column: Any) -> CarriedColumn:
    import pyarrow

    from batchmill_host.arrow_encode import type_text
    from batchmill_host.arrow_values import text_of

    types = pyarrow.types
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    plain = {"large_string": pyarrow.string(), "large_binary": pyarrow.binary(), "date64[ms]": pyarrow.date32()}.get(str(column.type))
    if plain is not None:
        column = column.cast(plain)
    if types.is_fixed_size_list(column.type) or types.is_large_list(column.type):
        column = column.cast(pyarrow.list_(column.type.value_type))
    kind = parse_type(type_text(column.type))
    values = column.to_pylist()
    if kind is None:
        # Decimals, times of day and others that no output has.
        return CarriedColumn(name, UTF8, [None if value is None else text_of(value) for value in values])
    return CarriedColumn(name, kind, values)


def insert_carried(frame: Any, place: int, columns: Sequence[CarriedColumn], first: int) -> None:
    """Puts the rows from ``first`` on before the column ``place`` of ``frame``. SCORER_OUTPUT_INVALID for a name that is there already."""
    import pandas

    own = [str(name) for name in frame.columns]
    clash = [column.name for column in columns if column.name in own]
    if clash:
        kept = ", ".join(column.name for column in columns if column.name not in own)
        advice = f"name those to keep: include: {{input: [{kept}]}}" if kept else "take input out of output.include"
        raise HostFailure(
            "SCORER_OUTPUT_INVALID", f"the input has columns {', '.join(map(repr, clash))}, and so have the rows of the scorer; {advice}"
        )
    for at, column in enumerate(columns):
        values = column.values[first : first + len(frame)]
        # As objects: a gap would make floats of integers.
        frame.insert(place + at, column.name, pandas.Series(values, index=frame.index, dtype=object))


def kinds_of(columns: Sequence[CarriedColumn]) -> Dict[str, Optional[Type]]:
    return {column.name: column.kind for column in columns}
