"""A mini-batch as the host is given it, and what a scorer says of it when it is done."""

from typing import Any, Dict, List, NamedTuple, Optional, Union

from batchmill_host.encode import Schema
from batchmill_host.failures import FileFailure


class TextPart(NamedTuple):
    """Whole rows of a CSV: bytes ``begin`` to ``end``. The first ``head`` bytes have the header; ``row`` rows come before."""

    begin: int
    end: int
    head: int
    row: int


class GroupsPart(NamedTuple):
    """Row groups of a Parquet file; ``row`` rows come before."""

    first: int
    count: int
    row: int


class InputFile(NamedTuple):
    """``path`` is a local copy; ``name`` the path within the input, as rows have it; ``part`` is None for all of it."""

    path: str
    name: str
    part: Union[None, TextPart, GroupsPart] = None


class MiniBatch(NamedTuple):
    """``first`` is the ordinal of the first file in the job's input order; ``columns`` (`name:type`) are what the rows are to be widened to."""

    sequence: int
    first: int
    files: List[InputFile]
    columns: Optional[List[str]] = None


class Summary(NamedTuple):
    """``file_rows`` goes with the attributions `file` and `positional`, and is None with `range`. ``call_size``: found since the answer
    before; None: nothing was."""

    rows: int
    attribution: str
    file_rows: Optional[List[int]]
    failed: List[FileFailure]
    schema: Optional[Schema]
    call_size: Optional[int] = None


def read_mini_batch(message: Dict[str, Any]) -> MiniBatch:
    """From a `score` message; a node that does not tell the ordinal counts from 0."""
    files = [InputFile(file["path"], file["name"], _read_part(file.get("part"))) for file in message["files"]]
    return MiniBatch(message["sequence"], message.get("first", 0), files, message.get("columns"))


def _read_part(part: Optional[Dict[str, Any]]) -> Union[None, TextPart, GroupsPart]:
    if part is None:
        return None
    if part["kind"] == "text":
        return TextPart(part["begin"], part["end"], part["head"], part["row"])
    return GroupsPart(part["first"], part["count"], part["row"])


def summary_message(summary: Summary) -> Dict[str, Any]:
    """The part of `done` that a scorer decides."""
    learned = {} if summary.call_size is None else {"callSize": summary.call_size}
    return {
        **learned,
        "rows": summary.rows,
        "attribution": summary.attribution,
        "fileRows": summary.file_rows,
        "failed": [failure._asdict() for failure in summary.failed],
        "schema": None if summary.schema is None else _schema_message(summary.schema),
    }


def _schema_message(schema: Schema) -> Dict[str, Any]:
    return {key: value for key, value in schema._asdict().items() if value is not None}
