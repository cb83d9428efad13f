"""Scores with a user's script: run() and the rows that it returned."""

from typing import Any, Dict, Optional

from batchmill_host.calls import Calls
from batchmill_host.channel import Channel, NodeGone
from batchmill_host.encode import Encoding, Schema, encode
from batchmill_host.failures import HostFailure, user_failure
from batchmill_host.mini_batch import MiniBatch, Summary
from batchmill_host.origin import origin_columns, read_form
from batchmill_host.results import Result, read_result
from batchmill_host.script import Script


class ScriptScorer:
    """Loads the script and calls its init()."""

    def __init__(self, init: Dict[str, Any], channel: Channel) -> None:
        self._channel = channel
        self._format: str = init["settings"]["outputFormat"]
        self._form = read_form(init["settings"])
        self._writes_rows = init["settings"]["outputAction"] != "summary_only"
        self._script = Script(init["codeDir"], init["scorer"]["script"])
        self._script.init()
        self._calls = Calls(self._script, init.get("callSize"), init["customDir"])

    def score(self, batch: MiniBatch) -> Summary:
        result = read_result(self._calls.run(batch))
        learned = self._calls.take_learned()
        rows, files = len(result.data), len(batch.files)
        schema = self._encode(result, batch) if self._writes_rows else None
        if rows == files:
            return Summary(rows, "positional", [1] * files, [], schema, learned)
        return Summary(rows, "range", None, [], schema, learned)

    def shutdown(self) -> None:
        self._script.shutdown()

    def _encode(self, result: Result, batch: MiniBatch) -> Optional[Schema]:
        try:
            added = origin_columns(self._form, [file.name for file in batch.files], len(result.data))
            return encode(result, Encoding(self._format, self._form, added, columns=batch.columns), self._channel.write_rows)
        except (HostFailure, NodeGone):
            raise
        except BaseException as error:
            # Elements are user objects: their __str__ may raise anything.
            found = user_failure("SCORER_OUTPUT_INVALID", error)
            message = f"what run() returned cannot be written as {self._format}: {found.message}"
            raise HostFailure(found.code, message, found.detail) from None
