"""Scalars and arrays of numpy as Python's own values."""

import sys
from typing import Any, List

# numpy makes bare integers of times and durations in these units: datetime has no room for them.
_FINE_UNITS = ("ns", "ps", "fs", "as")


def plain_value(value: Any) -> Any:
    """What ``value.tolist()`` gives, but times and durations where that has bare integers: those of pandas where it is there,
    which keep nanoseconds, else Python's own, in microseconds."""
    dtype = value.dtype
    if dtype.kind not in "mMV" or not _is_fine(dtype):
        return value.tolist()
    if value.ndim > 1 or (value.ndim == 1 and dtype.names):
        return [plain_value(row) for row in value]
    if dtype.names:
        return tuple(plain_value(value[name]) for name in dtype.names)
    times = _times(value.reshape(-1))
    return times if value.ndim == 1 else times[0]


def _is_fine(dtype: Any) -> bool:
    if dtype.names:
        return any(_is_fine(dtype[name]) for name in dtype.names)
    return dtype.kind in "mM" and sys.modules["numpy"].datetime_data(dtype)[0] in _FINE_UNITS


def _times(values: Any) -> List[Any]:
    kind = "datetime64" if values.dtype.kind == "M" else "timedelta64"
    try:
        import pandas
    except ImportError:
        found: List[Any] = values.astype(f"{kind}[us]").tolist()
        return found
    listed: List[Any] = pandas.Series(values.astype(f"{kind}[ns]")).tolist()
    return listed
