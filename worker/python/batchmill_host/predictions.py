"""What an MLflow model's predict() returned, as columns.

@source Azure ML batch endpoints, MLflow models: one column for a vector, one for each column of a data frame
"""

from typing import Any, Dict, List

from batchmill_host.failures import HostFailure
from batchmill_host.results import is_a

_NAME = "prediction"


def to_frame(returned: Any) -> Any:
    """A DataFrame with one row a prediction. SCORER_OUTPUT_INVALID for what has no rows."""
    import numpy
    import pandas

    if is_a(returned, "pandas", "DataFrame"):
        frame = returned.reset_index(drop=True)
    elif is_a(returned, "pandas", "Series"):
        frame = returned.reset_index(drop=True).to_frame(_NAME if returned.name is None else returned.name)
    elif isinstance(returned, dict):
        frame = _dict_frame(returned)
    elif isinstance(returned, (list, tuple)):
        frame = _list_frame(list(returned))
    elif isinstance(returned, (str, bytes, bool, int, float)) or isinstance(returned, numpy.generic):
        frame = pandas.DataFrame({_NAME: [returned]})
    else:
        frame = _array_frame(_as_array(returned))
    return _with_lists(frame)


def _as_array(returned: Any) -> Any:
    """Arrays, sparse matrices, tensors of PyTorch and TensorFlow."""
    if is_a(returned, "numpy", "ndarray"):
        return returned
    if hasattr(returned, "toarray"):
        return returned.toarray()
    if hasattr(returned, "detach"):
        returned = returned.detach().cpu()
    if hasattr(returned, "numpy"):
        return returned.numpy()
    name = type(returned).__name__
    raise HostFailure("SCORER_OUTPUT_INVALID", f"predict() must return an array, a DataFrame, a list or a dict of these; it returned {name}")


def _array_frame(array: Any) -> Any:
    import pandas

    if array.dtype.names:
        return pandas.DataFrame({name: _cells(array[name]) for name in array.dtype.names})
    if array.ndim == 0:
        array = array.reshape(1)
    if array.ndim == 2 and array.shape[1] != 1:
        return pandas.DataFrame(array, columns=[f"{_NAME}_{place}" for place in range(array.shape[1])])
    return pandas.DataFrame({_NAME: _cells(array[:, 0] if array.ndim == 2 else array)})


def _cells(array: Any) -> Any:
    """One cell a row, whatever the other dimensions are."""
    return array if array.ndim == 1 else array.tolist()


def _list_frame(rows: List[Any]) -> Any:
    import pandas

    plain = [row.tolist() if is_a(row, "numpy", "ndarray") else row for row in rows]
    widths = {len(row) if isinstance(row, (list, tuple)) else -1 for row in plain}
    if len(widths) == 1 and -1 not in widths and not any(isinstance(cell, (list, tuple, dict)) for row in plain for cell in row):
        width = widths.pop()
        names = [_NAME] if width == 1 else [f"{_NAME}_{place}" for place in range(width)]
        return pandas.DataFrame(plain, columns=names)
    # A list of dicts and lists of other lengths would become columns of their own making.
    return pandas.DataFrame({_NAME: pandas.Series(plain, dtype=None if widths == {-1} and not _has_dicts(plain) else object)})


def _has_dicts(rows: List[Any]) -> bool:
    return any(isinstance(row, dict) for row in rows)


def _dict_frame(columns: Dict[Any, Any]) -> Any:
    import pandas

    lists: Dict[str, Any] = {}
    for name, value in columns.items():
        if is_a(value, "pandas", "Series"):
            lists[str(name)] = value.tolist()
        elif isinstance(value, (list, tuple)):
            lists[str(name)] = list(value)
        elif value is None or isinstance(value, (str, bytes, bool, int, float, dict)):
            lists[str(name)] = [value]
        else:
            array = _as_array(value)
            lists[str(name)] = _cells(array.reshape(1) if array.ndim == 0 else array)
    lengths = {name: len(value) for name, value in lists.items()}
    if len(set(lengths.values())) > 1:
        raise HostFailure("SCORER_OUTPUT_INVALID", f"predict() returned a dict whose columns have different numbers of rows: {lengths}")
    return pandas.DataFrame({name: value if is_a(value, "numpy", "ndarray") else pandas.Series(value, dtype=_dtype(value)) for name, value in lists.items()})


def _dtype(values: List[Any]) -> Any:
    return object if any(isinstance(value, (list, tuple, dict)) for value in values) else None


def _with_lists(frame: Any) -> Any:
    """Arrays within cells as lists: their own text leaves out the middle of long ones."""
    for place in range(frame.shape[1]):
        column = frame.iloc[:, place]
        if column.dtype == object and any(is_a(cell, "numpy", "ndarray") for cell in column):
            frame.iloc[:, place] = column.map(lambda cell: cell.tolist() if is_a(cell, "numpy", "ndarray") else cell)
    return frame
