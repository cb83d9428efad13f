"""What run() returned, in one of two shapes, recognised without importing pandas or numpy."""

import sys
from typing import Any, List, NamedTuple, Optional, Union

from batchmill_host.failures import HostFailure


class Frame(NamedTuple):
    """A pandas DataFrame."""

    data: Any


class Values(NamedTuple):
    """One element a row. ``name`` is that of a Series, if it has one."""

    data: List[Any]
    name: Optional[str]


Result = Union[Frame, Values]


def read_result(returned: Any) -> Result:
    """SCORER_OUTPUT_INVALID for what is neither list, tuple, array, DataFrame nor Series.

    A Series is taken as the list of its values, an array as the list of its rows.
    """
    if isinstance(returned, list):
        return Values(returned, None)
    if isinstance(returned, tuple):
        return Values(list(returned), None)
    if _is_a(returned, "pandas", "DataFrame"):
        return Frame(returned)
    if _is_a(returned, "pandas", "Series"):
        return Values(returned.tolist(), None if returned.name is None else str(returned.name))
    if _is_a(returned, "numpy", "ndarray"):
        if returned.ndim in (1, 2):
            return Values(returned.tolist(), None)
        raise _refuse(f"an array of {returned.ndim} dimensions (1 or 2 are possible), shape {returned.shape}")
    raise _refuse(_describe(returned))


def _is_a(value: Any, module_name: str, class_name: str) -> bool:
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
    module = type(value).__module__
    return name if module == "builtins" else f"{module}.{name}; make it a list or a DataFrame first"


def _refuse(found: str) -> HostFailure:
    return HostFailure(
        "SCORER_OUTPUT_INVALID",
        "run() must return a list or a DataFrame (a tuple, an array of 1 or 2 dimensions or a Series will do); "
        f"its length is the number of files that were scored. It returned {found}",
    )
