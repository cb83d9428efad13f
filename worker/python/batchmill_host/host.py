"""The host's loop: init once, then one mini-batch after the other until the worker node says stop or is gone."""

import ctypes
import json
import logging
import os
import signal
import sys
import time
from typing import Any, Dict, List, NoReturn, Optional

from batchmill_host.channel import Channel, NodeGone
from batchmill_host.current_file import CurrentFile
from batchmill_host.encode import Schema, encode
from batchmill_host.failures import HostFailure, user_failure
from batchmill_host.frames import DONE, FAILED, INIT, READY, SCORE, STOP, FrameCorrupt
from batchmill_host.results import Result, read_result
from batchmill_host.script import Script

_PR_SET_PDEATHSIG = 1
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def main(started: float) -> NoReturn:
    """Runs the host. ``started``: time.monotonic() at the first line of the process."""
    channel = Channel()
    _prepare_process()
    try:
        Host(channel, started).serve()
    except FrameCorrupt as error:
        channel.send(FAILED, _failed(0, HostFailure("FRAME_CORRUPT", str(error)), -1))
        _exit_now(1)
    except NodeGone as error:
        print(f"scoring host: the worker node cannot be reached ({error})", file=sys.stderr)
        _exit_now(1)
    sys.exit(0)


def _prepare_process() -> None:
    # Ctrl-C is for the worker node, which decides what becomes of its hosts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A node that is killed cannot stop its hosts, and one inside a long run() does not see its connection end.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Code folders are known by their digest, and several hosts may share one: nothing is written beside the sources.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    # A line is in the log as soon as it is printed, whatever becomes of the process; text that is not UTF-8 harms nobody.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]


class Host:
    def __init__(self, channel: Channel, started: float) -> None:
        self._channel = channel
        self._started = started
        self._current = CurrentFile(channel)
        self._script: Optional[Script] = None
        self._settings: Dict[str, Any] = {}

    def serve(self) -> None:
        """Returns after `stop` or a failed init; a node that is gone ends the process at once."""
        while True:
            frame = self._channel.read()
            if frame is None:
                _exit_now(0)
            if frame.type == STOP:
                return self._stop()
            if frame.type == INIT and self._script is None:
                if not self._init(json.loads(frame.payload)):
                    return
            elif frame.type == SCORE and self._script is not None:
                self._score(self._script, json.loads(frame.payload))
            else:
                raise FrameCorrupt(f"a frame of type {frame.type} is not expected here")

    def _init(self, message: Dict[str, Any]) -> bool:
        self._settings = message["settings"]
        script = message["scorer"]["script"]
        level = self._settings["loggingLevel"].upper()
        # What Azure's driver has there; scripts read their own arguments with parse_known_args.
        sys.argv = [os.path.join(message["codeDir"] or "", script), "--logging_level", level]
        logging.basicConfig(stream=sys.stdout, level=level, format=_LOG_FORMAT)
        try:
            loaded = Script(message["codeDir"], script)
            loaded.init()
        except HostFailure as failure:
            _flush()
            self._channel.send(FAILED, _failed(0, failure, -1))
            return False
        self._script = loaded
        _flush()
        self._channel.send(READY, {"pid": os.getpid(), "initSeconds": time.monotonic() - self._started})
        return True

    def _score(self, script: Script, message: Dict[str, Any]) -> None:
        sequence: int = message["sequence"]
        paths: List[str] = [file["path"] for file in message["files"]]
        self._channel.begin_rows()
        self._current.begin(sequence, paths)
        try:
            started = time.perf_counter()
            # A copy: what user code does to its list must not change what is counted here.
            returned = script.run(list(paths))
            seconds = time.perf_counter() - started
            done = self._send_result(read_result(returned), len(paths))
        except HostFailure as failure:
            self._current.end()
            _flush()
            self._channel.send(FAILED, _failed(sequence, failure, self._current.index))
            return
        self._current.end()
        _flush()
        self._channel.send(DONE, {"sequence": sequence, **done, "failed": [], "runSeconds": seconds})

    def _send_result(self, result: Result, files: int) -> Dict[str, Any]:
        rows = len(result.data)
        schema: Optional[Schema] = None
        if self._settings["outputAction"] != "summary_only":
            schema = self._encode(result)
        is_positional = rows == files
        return {
            "bytes": self._channel.end_rows(),
            "rows": rows,
            "attribution": "positional" if is_positional else "range",
            "fileRows": [1] * files if is_positional else None,
            "schema": None if schema is None else schema._asdict(),
        }

    def _encode(self, result: Result) -> Optional[Schema]:
        try:
            return encode(result, self._settings["outputFormat"], self._channel.write_rows)
        except (HostFailure, NodeGone):
            raise
        except BaseException as error:
            # Elements are user objects: their __str__ may raise anything.
            found = user_failure("SCORER_OUTPUT_INVALID", error)
            message = f"what run() returned cannot be written as {self._settings['outputFormat']}: {found.message}"
            raise HostFailure(found.code, message, found.detail) from None

    def _stop(self) -> None:
        if self._script is None:
            return
        try:
            self._script.shutdown()
        except HostFailure as failure:
            print(f"shutdown() raised {failure.message}\n{failure.detail}", file=sys.stderr)


def _failed(sequence: int, failure: HostFailure, file_index: int) -> Dict[str, Any]:
    return {
        "sequence": sequence,
        "code": failure.code,
        "message": failure.message,
        "detail": failure.detail,
        "fileIndex": file_index,
    }


def _flush() -> None:
    """What user code printed leaves before the answer, so that it lands in the log of its mini-batch."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()  # type: ignore[union-attr]
        except Exception:
            # Closed or replaced by user code: there is nothing to flush then.
            pass


def _exit_now(code: int) -> NoReturn:
    """Without the exit handlers and threads of user code, which might wait for ever."""
    _flush()
    os._exit(code)
