"""What run() returned, in one of two shapes, recognised without importing pandas or numpy."""

import sys
from typing import Any, List, NamedTuple, Optional, Union

from batchmill_host.failures import HostFailure
from batchmill_host.numpy_values import plain_value


class Frame(NamedTuple):
    """A pandas DataFrame."""

    data: Any


class Values(NamedTuple):
    """One element a row. ``name`` is that of a Series, if it has one; ``fields`` those of a structured array; ``source`` the Series or
    array itself, which knows its types. ``is_table``: the elements are cells of ``fields`` in every format."""

    data: List[Any]
    name: Optional[str]
    fields: Optional[List[str]] = None
    source: Any = None
    is_table: bool = False


class ArrowTable(NamedTuple):
    """A table of pyarrow, as it is."""

    data: Any


Result = Union[Frame, Values, ArrowTable]


def read_result(returned: Any) -> Result:
    """SCORER_OUTPUT_INVALID for what is neither list, tuple, array, DataFrame nor Series.

    A Series is taken as the list of its values, an array as the list of its rows, one without dimensions (what squeeze()
    makes of a single value) as one row. Tables of Polars and Arrow become data frames where pandas is there.
    """
    if isinstance(returned, list):
        return Values(returned, None)
    if isinstance(returned, tuple):
        return Values(list(returned), None)
    if is_a(returned, "pandas", "DataFrame"):
        return Frame(returned)
    if is_a(returned, "pandas", "Series"):
        return Values(returned.tolist(), None if returned.name is None else str(returned.name), None, returned)
    if is_a(returned, "numpy", "ndarray"):
        if returned.ndim == 0:
            returned = returned.reshape(1)
        if returned.ndim in (1, 2):
            names = returned.dtype.names if returned.ndim == 1 else None
            return Values(plain_value(returned), None, None if names is None else list(names), returned)
        raise _refuse(f"an array of {returned.ndim} dimensions (up to 2 are possible), shape {returned.shape}")
    if is_a(returned, "pyarrow", "Table"):
        return ArrowTable(returned)
    if is_a(returned, "polars", "DataFrame"):
        return Frame(pandas_frame(returned))
    raise _refuse(_describe(returned))


def pandas_frame(table: Any) -> Any:
    """A table of Polars or Arrow as a DataFrame. SCORER_OUTPUT_INVALID where pandas is not there."""
    try:
        import pandas
    except ImportError:
        raise _refuse(f"{_full_name(table)}, which needs pandas to be written: add it to the environment") from None
    if is_a(table, "pyarrow", "Table"):
        # Integers with a gap stay integers: as float64, those above 2^53 would be others.
        return table.to_pandas(integer_object_nulls=True)
    # Polars' own to_pandas() needs pyarrow as well.
    columns = table.to_dict(as_series=False)
    return pandas.DataFrame({name: pandas.Series(cells, dtype=_gap_dtype(cells)) for name, cells in columns.items()})


def _gap_dtype(cells: List[Any]) -> Any:
    """None lets pandas choose, which makes floats of integers with a gap."""
    return object if {type(cell) for cell in cells} == {int, type(None)} else None


def is_a(value: Any, module_name: str, class_name: str) -> bool:
    """False when the module was never imported: then nobody can have made such an object."""
    cls = getattr(sys.modules.get(module_name), class_name, None)
    return isinstance(cls, type) and isinstance(value, cls)


def _describe(value: Any) -> str:
    name = type(value).__name__
    if value is None:
        return "NoneType. Is a return statement missing?"
    if name == "generator":
        return "a generator; return a list instead of using yield"
    if name == "coroutine":
        return "a coroutine; run() must not be async"
    return name if type(value).__module__ == "builtins" else f"{_full_name(value)}; make it a list or a DataFrame first"


def _full_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__name__}"


def _refuse(found: str) -> HostFailure:
    return HostFailure(
        "SCORER_OUTPUT_INVALID",
        "run() must return a list or a DataFrame (a tuple, an array of at most 2 dimensions or a Series will do); "
        f"its length is the number of files that were scored. It returned {found}",
    )
