"""Reads input files as an MLflow model wants them: tables as data frames, images as arrays.

@source Azure ML batch endpoints, MLflow models: file types by extension, signature enforced while reading
"""

import csv
import io
import os
import re
import warnings
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from batchmill_host.failures import name_exception
from batchmill_host.mini_batch import GroupsPart, InputFile, TextPart

TABLES = (".csv", ".parquet", ".pqt")
IMAGES = (".png", ".jpg", ".jpeg", ".tiff", ".tif", ".bmp", ".gif")
# Types of MLflow's columns as pandas reads them; those that are missing here are left as they come. Text stays
# objects: pandas' own string types would not be taken for text by all releases of MLflow.
_DTYPES = {"integer": "int32", "long": "int64", "float": "float32", "double": "float64", "string": "object"}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_SEARCH_ROWS = 10_000


class UnreadableFile(Exception):
    """``code`` is one of docs/errors.md."""

    def __init__(self, code: str, file: InputFile, what: str) -> None:
        super().__init__(what)
        self.code = code
        self.message = f"Error processing input file: '{file.name}'. {what}"


class Column(NamedTuple):
    """``type`` is MLflow's name of it; None for types that have no name, such as arrays."""

    name: str
    type: Optional[str]
    is_required: bool


class Tensor(NamedTuple):
    name: Optional[str]
    dtype: Any
    shape: Tuple[int, ...]


class Signature(NamedTuple):
    """What the model says of its inputs. Columns without names are taken as they come."""

    columns: List[Column]
    tensors: List[Tensor]


def read_signature(model: Any) -> Signature:
    """Of a loaded pyfunc model; empty when it has none."""
    schema = model.metadata.get_input_schema() if model.metadata is not None else None
    if schema is None:
        return Signature([], [])
    if schema.is_tensor_spec():
        return Signature([], [Tensor(spec.name, spec.type, tuple(spec.shape)) for spec in schema.inputs])
    columns = [
        Column(spec.name, getattr(spec.type, "name", None), getattr(spec, "required", True)) for spec in schema.inputs if spec.name is not None
    ]
    return Signature(columns, [])


def read_inputs(file: InputFile, signature: Signature, rows_max: Optional[int]) -> Iterator[Any]:
    """What predict() is given, one after the other: the whole file, or ``rows_max`` rows of a table at a time.

    A table without rows gives nothing. Raises UnreadableFile.
    """
    extension = os.path.splitext(file.path)[1].lower()
    with reading(file):
        if extension == ".csv":
            yield from _read_csv(file, signature.columns, rows_max)
        elif extension in TABLES:
            yield from _read_parquet(file, signature.columns, rows_max)
        elif extension in IMAGES:
            yield _read_image(file, signature)
        else:
            kind = f"File type '{extension[1:]}'" if extension else "A file without an extension"
            known = ", ".join(kind[1:] for kind in TABLES + IMAGES)
            raise UnreadableFile("INPUT_UNSUPPORTED", file, f"{kind} is not supported: an MLflow model without a script reads {known}")


@contextmanager
def reading(file: InputFile) -> Iterator[None]:
    """What goes wrong within, as UnreadableFile: INPUT_UNREADABLE, INPUT_UNSUPPORTED for want of a package, else INPUT_DECODE_FAILED."""
    extension = os.path.splitext(file.path)[1].lower()
    try:
        yield
    except UnreadableFile:
        raise
    except ModuleNotFoundError as error:
        package = {"PIL": "pillow"}.get(error.name or "", error.name)
        raise UnreadableFile("INPUT_UNSUPPORTED", file, f"Reading {extension} needs {package}: add it to the environment") from None
    except MemoryError:
        raise
    except OSError as error:
        # A library's own complaint about the content is an OSError too, but one without a number.
        code = "INPUT_DECODE_FAILED" if error.errno is None else "INPUT_UNREADABLE"
        raise UnreadableFile(code, file, f"Exception: {name_exception(error)}") from None
    except Exception as error:
        raise UnreadableFile("INPUT_DECODE_FAILED", file, f"Exception: {error or name_exception(error)}") from None


def _read_csv(file: InputFile, columns: Sequence[Column], rows_max: Optional[int]) -> Iterator[Any]:
    import pandas

    options = csv_form(file)
    if columns:
        present = _present(file, columns, csv_names(file))
        options["usecols"] = [column.name for column in present]
        options["dtype"] = {column.name: _DTYPES[column.type] for column in present if column.type in _DTYPES}
    try:
        for frame in _csv_frames(file, options, rows_max):
            if len(frame) > 0:
                yield _cast(frame.drop(columns=_unnamed(file)) if not columns and file.part else frame, columns)
    except ValueError as error:
        if file.part is not None and isinstance(error, pandas.errors.EmptyDataError):
            return
        place = _place_of_bad_cell(file, columns) if "dtype" in options else ""
        raise UnreadableFile("INPUT_DECODE_FAILED", file, f"Exception: {_in_file(file, str(error))}{place}") from None


def _csv_frames(file: InputFile, options: Dict[str, Any], rows_max: Optional[int]) -> Iterator[Any]:
    import pandas

    if rows_max is None:
        yield _strictly(lambda: pandas.read_csv(csv_source(file), **options))
        return
    chunks = pandas.read_csv(csv_source(file), chunksize=rows_max, **options)
    while True:
        frame = _strictly(lambda: next(chunks, None))
        if frame is None:
            return
        yield frame


def _strictly(read: Callable[[], Any]) -> Any:
    """A first row of a part that has more cells than the header is what it is in any other row: an error, not a warning."""
    import pandas

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Length of header", category=pandas.errors.ParserWarning)
        try:
            return read()
        except pandas.errors.ParserWarning:
            raise ValueError("Error tokenizing data. Expected as many fields as the header has in line 1, saw more") from None


def csv_source(file: InputFile) -> Any:
    """What pandas reads: the file, or the rows of its part, which stand without their header."""
    if not isinstance(file.part, TextPart):
        return file.path
    with open(file.path, "rb") as table:
        table.seek(file.part.begin)
        return io.BytesIO(table.read(file.part.end - file.part.begin))


def csv_names(file: InputFile) -> List[str]:
    """Names of the columns, as pandas has them."""
    import pandas

    source: Any = file.path
    if isinstance(file.part, TextPart):
        with open(file.path, "rb") as table:
            source = io.BytesIO(table.read(file.part.head))
    return [str(name) for name in pandas.read_csv(source, nrows=0).columns]


def csv_form(file: InputFile) -> Dict[str, Any]:
    """How pandas is to take ``csv_source``, so that it takes a part as it takes the whole file."""
    if not isinstance(file.part, TextPart):
        return {}
    return {"header": None, "names": [*_unnamed(file), *csv_names(file)], "index_col": False}


def _unnamed(file: InputFile) -> List[str]:
    """Names for cells that stand before the first column, where rows are longer than the header: pandas judges by the first row."""
    if not isinstance(file.part, TextPart):
        return []
    with open(file.path, "rb") as table:
        head = table.read(file.part.head).decode("utf-8-sig", "replace")
    rows = [row for row in csv.reader(io.StringIO(head, newline="")) if "".join(row).strip(" \t") != "" or len(row) > 1]
    more = len(rows[1]) - len(rows[0]) if len(rows) > 1 else 0
    return [f"\0{place}" for place in range(more)]


def first_row(file: InputFile) -> int:
    """Number of the first row within the whole file."""
    return 0 if file.part is None else file.part.row


def _in_file(file: InputFile, message: str) -> str:
    """pandas counts lines from where it begins to read, and a record of several lines as one."""
    if file.part is None:
        return message
    return re.sub(r"\bin line (\d+)", lambda found: f"in row {first_row(file) + int(found.group(1)) - 1}", message)


def _read_parquet(file: InputFile, columns: Sequence[Column], rows_max: Optional[int]) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file.path) as table:
        names = None
        if columns:
            names = [column.name for column in _present(file, columns, table.schema_arrow.names)]
        groups = row_groups(file, table)
        if rows_max is None:
            pieces = iter([table.read_row_groups(groups, columns=names)])
        else:
            batches = table.iter_batches(rows_max, row_groups=groups, columns=names)
            pieces = (pyarrow.Table.from_batches([batch]) for batch in batches)
        for piece in pieces:
            if piece.num_rows > 0:
                yield _cast(piece.to_pandas(), columns)


def row_groups(file: InputFile, table: Any) -> List[int]:
    """Those of an open ``ParquetFile`` that are meant."""
    if not isinstance(file.part, GroupsPart):
        return list(range(table.num_row_groups))
    return list(range(file.part.first, file.part.first + file.part.count))


def _present(file: InputFile, columns: Sequence[Column], found: Sequence[str]) -> List[Column]:
    """Columns of the signature that the file has. INPUT_COLUMNS_MISSING when one that is required is not there."""
    missing = [column.name for column in columns if column.is_required and column.name not in found]
    if missing:
        named = ", ".join(repr(name) for name in missing)
        has = ", ".join(repr(name) for name in found[:50])
        raise UnreadableFile("INPUT_COLUMNS_MISSING", file, f"The model's signature needs the columns {named}; the file has {has}")
    return [column for column in columns if column.name in found]


def _cast(frame: Any, columns: Sequence[Column]) -> Any:
    """``frame`` with the types of the signature, so that MLflow's own check takes it."""
    for column in columns:
        if column.name not in frame.columns:
            continue
        values = frame[column.name]
        if column.type == "datetime":
            import pandas

            if values.dtype.kind != "M":
                frame[column.name] = pandas.to_datetime(values)
        elif column.type == "boolean" and values.dtype != bool:
            frame[column.name] = _as_bool(values, column.name)
        elif column.type == "string":
            if values.dtype != object:
                frame[column.name] = values.astype(object).map(lambda value: value if isinstance(value, str) else str(value), "ignore")
        elif column.type in _DTYPES and values.dtype != _DTYPES[column.type]:
            frame[column.name] = _as_number(values, column)
    # The signature's order is the model's; text files may have any.
    return frame[[column.name for column in columns if column.name in frame.columns]] if columns else frame


def _as_number(values: Any, column: Column) -> Any:
    """Never quietly another number: 2.5 is no long."""
    cast = values.astype(_DTYPES[column.type or ""])
    if cast.dtype.kind in "iu" and not (cast == values).all():
        raise ValueError(f"column {column.name!r} of type {values.dtype} has values that are no {column.type}")
    return cast


def _as_bool(values: Any, name: str) -> Any:
    known = {True: True, False: False, "true": True, "false": False, "1": True, "0": False}
    cast = values.map(lambda value: known.get(value.strip().lower() if isinstance(value, str) else value))
    if cast.isna().any():
        wrong = values[cast.isna()].iloc[0]
        raise ValueError(f"column {name!r} must be boolean, and {wrong!r} is not")
    return cast.astype(bool)


def _place_of_bad_cell(file: InputFile, columns: Sequence[Column]) -> str:
    """Which column and row pandas meant; its own message has the text at most. Reads the file again, in pieces."""
    import pandas

    numbers = {column.name: column for column in columns if column.type in _DTYPES and column.type != "string"}
    try:
        row = first_row(file)
        wanted: Dict[str, Any] = {"dtype": "object", "usecols": lambda name: name in numbers, **csv_form(file)}
        for frame in pandas.read_csv(csv_source(file), chunksize=_SEARCH_ROWS, **wanted):
            for name, column in numbers.items():
                if name not in frame.columns:
                    continue
                values = frame[name]
                bad = pandas.to_numeric(values, errors="coerce")
                wrong = bad.isna() & (values.notna() | (column.type in ("integer", "long")))
                if column.type in ("integer", "long"):
                    wrong |= bad.notna() & (bad % 1 != 0)
                if wrong.any():
                    place = int(wrong.to_numpy().argmax())
                    cell = values.iloc[place]
                    shown = repr(cell) if isinstance(cell, str) else "empty"
                    return f" (column {name!r} must be {column.type}; row {row + place} has {shown})"
            row += len(frame)
    except Exception:
        # The first message stands by itself.
        pass
    return ""


def _read_image(file: InputFile, signature: Signature) -> Any:
    """An array with a leading axis of length 1; bytes in a one-row table for a model whose only column is binary."""
    if signature.columns:
        return _image_in_table(file, signature.columns)
    import numpy
    from PIL import Image

    tensor = signature.tensors[0] if len(signature.tensors) == 1 else None
    with Image.open(file.path) as image:
        mode = _wanted_mode(image, tensor)
        array = numpy.asarray(image if image.mode == mode else image.convert(mode))
    if array.ndim == 2:
        array = array[:, :, numpy.newaxis]
    array = array[numpy.newaxis]
    if tensor is None:
        return array
    shaped = _shape(array, tensor.shape, file).astype(tensor.dtype, copy=False)
    return shaped if tensor.name is None else {tensor.name: shaped}


def _image_in_table(file: InputFile, columns: Sequence[Column]) -> Any:
    import pandas

    if len(columns) != 1 or columns[0].type != "binary":
        wanted = ", ".join(f"{column.name} ({column.type})" for column in columns)
        raise UnreadableFile("INPUT_UNSUPPORTED", file, f"The model's signature wants a table with the columns {wanted}, not an image")
    with open(file.path, "rb") as image:
        return pandas.DataFrame({columns[0].name: [image.read()]})


def _wanted_mode(image: Any, tensor: Optional[Tensor]) -> str:
    """Channels as the signature has them; without one grey stays grey, and what is no plain picture becomes RGB."""
    if tensor is not None and len(tensor.shape) == 4:
        channels = tensor.shape[1] if _is_channels_first(tensor.shape) else tensor.shape[3]
        if channels in _MODES:
            return _MODES[channels]
    mode: str = image.mode
    return mode if mode in ("L", "RGB", "RGBA") or mode.startswith("I;16") else "RGB"


def _is_channels_first(shape: Sequence[int]) -> bool:
    return shape[1] in _MODES and shape[3] not in _MODES


def _shape(array: Any, wanted: Tuple[int, ...], file: InputFile) -> Any:
    """``array`` (1, height, width, channels) in the shape of the signature, where −1 is any length."""
    if len(wanted) == 4 and _is_channels_first(wanted):
        array = array.transpose(0, 3, 1, 2)
    if len(wanted) == array.ndim and all(want in (-1, have) for want, have in zip(wanted, array.shape)):
        return array
    # With several free axes the image keeps its own, without the channel of a grey one.
    grey = array[..., 0] if array.shape[-1] == 1 else array
    for candidate in (grey, grey[0]):
        if len(wanted) == candidate.ndim and all(want in (-1, have) for want, have in zip(wanted, candidate.shape)):
            return candidate
    if wanted.count(-1) <= 1:
        try:
            return array.reshape(wanted)
        except ValueError:
            pass
    raise UnreadableFile("INPUT_DECODE_FAILED", file, f"Exception: cannot reshape an image of shape {array.shape} into the signature's {wanted}")
