"""A mini-batch as the host is given it, and what a scorer says of it when it is done."""

from typing import Any, Dict, List, NamedTuple, Optional

from batchmill_host.encode import Schema
from batchmill_host.failures import FileFailure


class InputFile(NamedTuple):
    """``path`` is a local copy; ``name`` the path within the input, as rows have it."""

    path: str
    name: str


class MiniBatch(NamedTuple):
    """``first`` is the ordinal of the first file in the job's input order; ``columns`` (`name:type`) are what the rows are to be widened to."""

    sequence: int
    first: int
    files: List[InputFile]
    columns: Optional[List[str]] = None


class Summary(NamedTuple):
    """``file_rows`` goes with the attributions `file` and `positional`, and is None with `range`."""

    rows: int
    attribution: str
    file_rows: Optional[List[int]]
    failed: List[FileFailure]
    schema: Optional[Schema]


def read_mini_batch(message: Dict[str, Any]) -> MiniBatch:
    """From a `score` message; a node that does not tell the ordinal counts from 0."""
    files = [InputFile(file["path"], file["name"]) for file in message["files"]]
    return MiniBatch(message["sequence"], message.get("first", 0), files, message.get("columns"))


def summary_message(summary: Summary) -> Dict[str, Any]:
    """The part of `done` that a scorer decides."""
    return {
        "rows": summary.rows,
        "attribution": summary.attribution,
        "fileRows": summary.file_rows,
        "failed": [failure._asdict() for failure in summary.failed],
        "schema": None if summary.schema is None else _schema_message(summary.schema),
    }


def _schema_message(schema: Schema) -> Dict[str, Any]:
    return {key: value for key, value in schema._asdict().items() if value is not None}
