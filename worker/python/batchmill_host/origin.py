"""Columns that say of which file each row is, and which row of it: added by name, before those of the scorer."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from batchmill_host.failures import HostFailure


class Form(NamedTuple):
    """How rows are written beyond the format: ``outputForm`` of the settings."""

    header: bool = True
    delimiter: str = ","
    schema: Optional[List[str]] = None
    file_column: Optional[str] = None
    row_column: Optional[str] = None
    evolves: bool = False
    # Names, `all`, or None.
    input_columns: Union[None, str, Sequence[str]] = None


def read_form(settings: Dict[str, Any]) -> Form:
    """A worker node that says nothing knows of no other than the default."""
    given = settings.get("outputForm") or {}
    return Form(
        given.get("header", True), given.get("delimiter", ","), given.get("schema"), given.get("fileColumn"), given.get("rowColumn"),
        given.get("evolves", False), given.get("inputColumns"),
    )


# Name and cells of each added column.
Added = Sequence[Tuple[str, List[Any]]]


def origin_columns(form: Form, files: Sequence[str], rows: int) -> Added:
    """The columns that the form asks for: one row a file, or all rows of the only file. SCORER_OUTPUT_INVALID where nobody knows."""
    if form.file_column is None and form.row_column is None:
        return []
    if rows == len(files):
        names, numbers = list(files), [0] * rows
    elif len(files) == 1:
        names, numbers = [files[0]] * rows, list(range(rows))
    else:
        raise HostFailure(
            "SCORER_OUTPUT_INVALID",
            f"run() returned {rows} rows for {len(files)} files, and output.include asks for the file of each: "
            "return one row for each file, or set mini_batch_size to 1",
        )
    added: List[Tuple[str, List[Any]]] = []
    if form.file_column is not None:
        added.append((form.file_column, names))
    if form.row_column is not None:
        added.append((form.row_column, numbers))
    return added


def check_names(added: Added, names: Sequence[str]) -> None:
    for name, _ in added:
        if name in names:
            raise HostFailure(
                "SCORER_OUTPUT_INVALID",
                f"the rows have a column {name!r} of their own; give the one of output.include another name",
            )
