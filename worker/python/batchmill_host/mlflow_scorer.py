"""Scores files with an MLflow model and no script: predict() for each file, or for some rows of it at a time."""

import sys
import tempfile
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from batchmill_host.carried import CarriedColumn, Typing, insert_carried, kinds_of, read_carried
from batchmill_host.channel import Channel
from batchmill_host.current_file import CurrentFile
from batchmill_host.device_memory import free_memory, is_full
from batchmill_host.encode import Encoding, Schema, encode
from batchmill_host.failures import FileFailure, HostFailure, user_failure
from batchmill_host.frames import ROWS_BYTES
from batchmill_host.mini_batch import InputFile, MiniBatch, Summary
from batchmill_host.mlflow_load import INVALID, find_model, load_model, mismatch_text
from batchmill_host.model_environment import blamed, differences
from batchmill_host.model_inputs import UnreadableFile, first_row, read_inputs, read_signature
from batchmill_host.origin import read_form
from batchmill_host.predictions import to_frame
from batchmill_host.results import Frame, is_a

# Text of a file is held until its last row is predicted: rows that have left cannot be taken back. Above this, on disk.
_HELD_BYTES_MAX = 32 * ROWS_BYTES
_TRACEBACK_CHARS = 2_000
# What code of one release raises at objects of another; other errors are about the data.
_MISMATCH_ERRORS = (AttributeError, TypeError, ImportError, KeyError)


class _PredictFailed(Exception):
    def __init__(self, failure: HostFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class _Scored(NamedTuple):
    rows: int
    schema: Optional[Schema]


class MlflowScorer:
    """Loads the model of `modelPath`."""

    def __init__(self, init: Dict[str, Any], channel: Channel, current: CurrentFile) -> None:
        self._channel = channel
        self._current = current
        form = read_form(init["settings"])
        self._row_column, self._file_column = form.row_column or "row", form.file_column or "file"
        self._encoding = Encoding(init["settings"]["outputFormat"], form, separator=",")
        self._carried = form.input_columns
        self._writes_rows = init["settings"]["outputAction"] != "summary_only"
        self._rows_max: Optional[int] = init["scorer"]["rowsPerPredict"]
        # Rows that the device has memory for, as found here or before; None: nobody knows.
        self._fits: Optional[int] = init.get("callSize")
        self._told = self._fits
        self._folder = find_model(init["modelPath"])
        self._model = load_model(self._folder)
        self._signature = read_signature(self._model)

    def score(self, batch: MiniBatch) -> Summary:
        """A file that cannot be read or predicted is named and left out. When predict() fails in all of them, the mini-batch fails:
        then it is the model that is broken."""
        file_rows = [0] * len(batch.files)
        failed: List[FileFailure] = []
        broken: List[HostFailure] = []
        schema: Optional[Schema] = None
        for index, file in enumerate(batch.files):
            self._current.begin_file(index)
            try:
                scored = self._score_file(file, schema, self._encoding._replace(columns=batch.columns))
                file_rows[index] = scored.rows
                schema = schema or scored.schema
            except UnreadableFile as error:
                failed.append(FileFailure(index, error.code, error.message))
            except _PredictFailed as error:
                broken.append(error.failure)
                failed.append(FileFailure(index, error.failure.code, _with_traceback(error.failure)))
        if len(broken) == len(batch.files) and len({failure.message for failure in broken}) == 1:
            raise broken[-1]
        learned = None if self._fits == self._told else self._fits
        self._told = self._fits
        return Summary(sum(file_rows), "file", file_rows, failed, schema, learned)

    def shutdown(self) -> None:
        """A model has nothing to say at the end."""

    def _score_file(self, file: InputFile, schema: Optional[Schema], encoding: Encoding) -> _Scored:
        rows = 0
        carried: List[CarriedColumn] = []
        if self._carried is not None and self._writes_rows:
            form = encoding.form
            told = encoding.columns or (schema.columns if form.evolves and schema is not None else None)
            carried = read_carried(file, self._carried, Typing(encoding.output_format, form.schema, told))
            encoding = encoding._replace(kinds=kinds_of(carried))
        with tempfile.SpooledTemporaryFile(_HELD_BYTES_MAX) as held:
            for data, frame in self._predicted(file):
                if carried and len(frame) != len(data):
                    raise _other_rows(len(frame), len(data))
                first = rows
                rows += len(frame)
                if not self._writes_rows or len(frame) == 0:
                    continue
                before = first_row(file)
                frame.insert(0, self._row_column, range(before + first, before + rows), allow_duplicates=True)
                frame.insert(frame.shape[1], self._file_column, file.name, allow_duplicates=True)
                if carried:
                    insert_carried(frame, 1, carried, first)
                if self._encoding.form.evolves and encoding.columns is None and schema is not None:
                    # Rows of the first file have fixed them for this mini-batch.
                    encoding = encoding._replace(columns=schema.columns)
                found = encode(Frame(frame), encoding, held.write)
                if carried and found is None and encoding.output_format == "azure":
                    # Where no name is written, nobody would see that files have their columns in another order.
                    found = Schema([f"{name}:value" for name in frame.columns], "")
                if schema is not None and found is not None and found.columns != schema.columns:
                    raise _other_inputs(found, schema) if carried else _PredictFailed(_other_columns(found, schema))
                schema = schema or found
            held.seek(0)
            for piece in iter(lambda: held.read(ROWS_BYTES), b""):
                self._channel.write_rows(piece)
        return _Scored(rows, schema)

    def _predicted(self, file: InputFile) -> Iterator[Tuple[Any, Any]]:
        """What predict() was given, with what it returned. Where a device is full, a table is given in halves, and so from then on."""
        for whole in read_inputs(file, self._signature, min(filter(None, (self._rows_max, self._fits)), default=None)):
            is_table = is_a(whole, "pandas", "DataFrame")
            rows = len(whole) if is_table else 1
            done = 0
            while done < rows:
                count = min(rows - done, self._fits or rows) if is_table else rows
                data = whole.iloc[done : done + count].reset_index(drop=True) if count < rows else whole
                failure, frame = self._tried(data)
                if failure is not None:
                    if count < 2 or not is_full(failure.message):
                        raise _PredictFailed(failure)
                    print(f"batchmill: no memory for {count} rows in one call of predict(), {count // 2} from here on", file=sys.stderr)
                    self._fits = count // 2
                    free_memory()
                    continue
                if count < rows and len(frame) != count:
                    # What it says of rows together cannot be put together of parts.
                    self._fits = self._told
                    raise _PredictFailed(_not_by_rows(len(frame), count))
                yield data, frame
                done += count

    def _tried(self, data: Any) -> Tuple[Optional[HostFailure], Any]:
        """The failure without the exception behind it, whose frames hold what filled the memory."""
        try:
            return None, self._predict(data)
        except _PredictFailed as error:
            return HostFailure(error.failure.code, error.failure.message, error.failure.detail), None

    def _predict(self, data: Any) -> Any:
        try:
            return to_frame(self._model.predict(data))
        except HostFailure as failure:
            raise _PredictFailed(failure) from None
        except BaseException as error:
            raise self._predict_failure(error) from None

    def _predict_failure(self, error: BaseException) -> Exception:
        failure = user_failure("SCORER_FAILED", error)
        guilty = blamed(differences(self._folder), error) if isinstance(error, _MISMATCH_ERRORS) else []
        if guilty:
            message = f"the model loads, but predict() fails: {failure.message}\n{mismatch_text(guilty)}"
            return HostFailure(INVALID, message, failure.detail)
        return _PredictFailed(failure)


def _other_columns(found: Schema, wanted: Schema) -> HostFailure:
    return HostFailure(
        "SCORER_OUTPUT_INVALID",
        f"predict() returned the columns {', '.join(found.columns)}, and {', '.join(wanted.columns)} before; they must be the same in all files",
    )


def _not_by_rows(found: int, wanted: int) -> HostFailure:
    return HostFailure(
        "SCORER_OUT_OF_MEMORY",
        f"the GPU, not the machine, has no memory left for all rows of the file in one call of predict(), and fewer cannot be tried: "
        f"for {wanted} of them it returned {found} rows. Give smaller files, or a device with more memory",
    )


def _other_rows(found: int, wanted: int) -> HostFailure:
    return HostFailure(
        "SCORER_OUTPUT_INVALID",
        f"predict() returned {found} rows for {wanted} rows of input, so columns of the input (output.include) cannot stand beside them",
    )


def _other_inputs(found: Schema, wanted: Schema) -> HostFailure:
    """The mini-batch fails as a whole where its files differ: alone, each is held against the first rows of the job."""
    return HostFailure(
        "RESULT_SCHEMA_MISMATCH",
        f"files of one mini-batch have the columns {', '.join(wanted.columns)} and {', '.join(found.columns)}; "
        "name those to keep in output.include, declare their types in output.schema, or let it be `evolve`",
    )


def _with_traceback(failure: HostFailure) -> str:
    """The error itself, then where it came from: the message is all that the report of a file has."""
    detail = failure.detail
    shown = detail if len(detail) <= _TRACEBACK_CHARS else detail[:_TRACEBACK_CHARS] + " …"
    return f"{failure.message}\n{shown.rstrip()}" if shown else failure.message
