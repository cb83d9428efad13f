"""The host's loop: init once, then one mini-batch after the other until the worker node says stop or is gone."""

import ctypes
import json
import os
import signal
import sys
import time
from typing import Any, Dict, List, NoReturn, Optional, Protocol

from batchmill_host.appended import Appended
from batchmill_host.channel import Channel, NodeGone
from batchmill_host.current_file import CurrentFile
from batchmill_host.failures import HostFailure
from batchmill_host.frames import DONE, FAILED, INIT, READY, SCORE, STOP, FrameCorrupt
from batchmill_host.last_handler import LastHandler
from batchmill_host.mini_batch import MiniBatch, Summary, read_mini_batch, summary_message
from batchmill_host.open_watch import watch_opens
from batchmill_host.script_scorer import ScriptScorer
from batchmill_host.surroundings import prepare_user_code

_PR_SET_PDEATHSIG = 1


def main(started: float) -> NoReturn:
    """Runs the host. ``started``: time.monotonic() at the first line of the process."""
    channel = Channel()
    _prepare_process()
    last = LastHandler(_flush)
    host = Host(channel, started)
    try:
        host.serve()
    except FrameCorrupt as error:
        channel.send(FAILED, _failed(0, HostFailure("FRAME_CORRUPT", str(error)), -1))
        _exit_now(1)
    except NodeGone as error:
        print(f"scoring host: the worker node cannot be reached ({error})", file=sys.stderr)
        _exit_now(1)
    last.expect(host.folders)
    del host
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


class Scorer(Protocol):
    """Made by `init`; what it raises there and in `score` is a HostFailure."""

    def score(self, batch: MiniBatch) -> Summary:
        """Writes rows to the channel; says how many and of which files."""

    def shutdown(self) -> None:
        """Called once, before the host ends in good order."""


class Host:
    def __init__(self, channel: Channel, started: float) -> None:
        self._channel = channel
        self._started = started
        self._current = CurrentFile(channel)
        self._appended = Appended()
        watch_opens(self._current, self._appended)
        self._scorer: Optional[Scorer] = None
        #: Of user code, absolute.
        self.folders: List[str] = []

    def serve(self) -> None:
        """Returns after `stop` or a failed init; a node that is gone ends the process at once."""
        while True:
            frame = self._channel.read()
            if frame is None:
                _exit_now(0)
            if frame.type == STOP:
                return self._stop()
            if frame.type == INIT and self._scorer is None:
                if not self._init(json.loads(frame.payload)):
                    return
            elif frame.type == SCORE and self._scorer is not None:
                self._score(self._scorer, read_mini_batch(json.loads(frame.payload)))
            else:
                raise FrameCorrupt(f"a frame of type {frame.type} is not expected here")

    def _init(self, message: Dict[str, Any]) -> bool:
        prepare_user_code(message)
        self.folders = [folder for folder in (message["codeDir"], message["modelDir"]) if folder is not None]
        self._appended.watch(message["customDir"])
        try:
            self._scorer = self._open_scorer(message)
        except HostFailure as failure:
            _flush()
            self._channel.send(FAILED, _failed(0, failure, -1))
            return False
        _flush()
        self._channel.send(READY, {"pid": os.getpid(), "initSeconds": time.monotonic() - self._started})
        return True

    def _open_scorer(self, message: Dict[str, Any]) -> Scorer:
        if message["scorer"]["kind"] == "mlflow":
            # Only here: a host that runs a script has no use for it.
            from batchmill_host.mlflow_scorer import MlflowScorer

            return MlflowScorer(message, self._channel, self._current)
        return ScriptScorer(message, self._channel)

    def _score(self, scorer: Scorer, batch: MiniBatch) -> None:
        self._channel.begin_rows()
        self._current.begin(batch.sequence, [file.path for file in batch.files])
        started = time.perf_counter()
        try:
            summary = scorer.score(batch)
        except HostFailure as failure:
            self._current.end()
            # Those of a failed attempt are thrown away with it.
            self._appended.take()
            _flush()
            self._channel.send(FAILED, _failed(batch.sequence, failure, self._current.index))
            return
        seconds = time.perf_counter() - started
        self._current.end()
        _flush()
        done = {"sequence": batch.sequence, "bytes": self._channel.end_rows(), **summary_message(summary)}
        self._channel.send(DONE, {**done, "runSeconds": seconds, "appended": self._appended.take()})

    def _stop(self) -> None:
        if self._scorer is None:
            return
        try:
            self._scorer.shutdown()
        except HostFailure as failure:
            try:
                print(f"shutdown() raised {failure.message}\n{failure.detail}", file=sys.__stderr__)
            except (OSError, ValueError):
                # User code has closed it; nobody is left to be told.
                pass


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
