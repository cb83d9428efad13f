"""What counts as no value."""

from typing import Any


def is_missing(cell: Any) -> bool:
    """None, NaN, NaT and pandas.NA, which is neither equal nor unequal to itself."""
    if cell is None:
        return True
    if isinstance(cell, (str, int, list, tuple, dict)):
        return False
    try:
        return bool(cell != cell)
    except TypeError:
        return True
    except ValueError:
        return False
