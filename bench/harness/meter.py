"""Runs programs and says what they cost, with all that they start: wall seconds, processor seconds, the most memory at one time.

One JSON object a line on stdin asks, one on stdout answers. This process is the reaper of whatever is orphaned below it, so that no
process gets out of sight: seconds of the processors are exact also for daemons and for grandchildren that nobody waited for.

``start``: ``argv`` in the background; answered when its log matches ``says``, with the groups of the match.
``serve``: ``argv`` in the background with pipes; answered when it prints the line ``ready``.
``run``: ``argv`` to its end, measured.
``ask``: writes ``line`` to the program that serves and waits for the line ``done``, measured.
``end``: ends what runs, and this process.
"""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Dict, IO, List, Optional

_PR_SET_CHILD_SUBREAPER = 36
_TICK = os.sysconf("SC_CLK_TCK")
_LOOK_SECONDS = 0.1
# Looking at memory is work for the kernel; it may take so much of one processor at most.
_LOOK_SHARE = 0.04
_END_SECONDS = 15.0


class Process:
    """A line of ``/proc/PID/stat``."""

    def __init__(self, pid: int, stat: str) -> None:
        fields = stat[stat.rindex(")") + 2 :].split()
        self.pid = pid
        self.is_zombie = fields[0] == "Z"
        self.parent = int(fields[1])
        self.own = (int(fields[11]) + int(fields[12])) / _TICK
        self.reaped = (int(fields[13]) + int(fields[14])) / _TICK


def descendants() -> List[Process]:
    children: Dict[int, List[Process]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                process = Process(int(name), file.read())
        except OSError:
            continue
        children.setdefault(process.parent, []).append(process)
    found: List[Process] = []
    ahead = [os.getpid()]
    while ahead:
        below = children.get(ahead.pop(), [])
        found.extend(below)
        ahead.extend(process.pid for process in below)
    return found


def roles(labels: Dict[str, str], processes: List[Process]) -> Dict[str, float]:
    """Processor seconds by label; a process is of the first label whose pattern its command line matches, else of ``others``."""
    sums: Dict[str, float] = {}
    for process in processes:
        try:
            with open(f"/proc/{process.pid}/cmdline", encoding="utf-8", errors="replace") as file:
                command = file.read().replace("\0", " ")
        except OSError:
            continue
        role = next((label for label, pattern in labels.items() if re.search(pattern, command)), "others")
        sums[role] = sums.get(role, 0.0) + process.own
    return sums


def processor_seconds(processes: List[Process]) -> float:
    """Of all that ever ran below this process. What has ended counts with whoever has waited for it."""
    times = os.times()
    own_children = times.children_user + times.children_system
    return own_children + sum(process.own + process.reaped for process in processes)


def memory_bytes(pid: int) -> int:
    """Proportional: what several processes share is counted once."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


class Watch(threading.Thread):
    """Looks now and then at memory, and at when the first byte of the output is there."""

    def __init__(self, first: Optional[str]) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.first_at: Optional[float] = None
        self._first = first
        self._ended = threading.Event()
        self._next = 0.0

    def run(self) -> None:
        while not self._ended.is_set():
            self._look()
            self._ended.wait(0.01 if self._first and self.first_at is None else _LOOK_SECONDS / 2)

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _look(self) -> None:
        if self._first and self.first_at is None and size_of(self._first) > 0:
            self.first_at = time.perf_counter()
        began = time.perf_counter()
        if began < self._next:
            return
        self.peak = max(self.peak, sum(memory_bytes(process.pid) for process in descendants() if not process.is_zombie))
        ended = time.perf_counter()
        self._next = ended + max(_LOOK_SECONDS, (ended - began) / _LOOK_SHARE)


def size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


class Meter:
    def __init__(self) -> None:
        self._background: List["subprocess.Popen[bytes]"] = []
        self._served: Optional["subprocess.Popen[bytes]"] = None

    def start(self, asked: Dict[str, Any]) -> Dict[str, Any]:
        child = self._spawn(asked, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + asked.get("seconds", 60)
        while True:
            text = read(asked["log"])
            match = re.search(asked["says"], text)
            if match:
                return {"groups": match.groups()}
            if time.monotonic() > deadline or not is_alive(child.pid):
                raise RuntimeError(f"{' '.join(asked['argv'])} does not say {asked['says']}:\n{text[-4000:]}")
            time.sleep(0.02)

    def serve(self, asked: Dict[str, Any]) -> Dict[str, Any]:
        self._served = self._spawn(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self._answer(asked, "ready")

    def run(self, asked: Dict[str, Any]) -> Dict[str, Any]:
        return self._measured(asked, lambda: self._to_its_end(asked))

    def ask(self, asked: Dict[str, Any]) -> Dict[str, Any]:
        def put() -> Dict[str, Any]:
            pipe = stream(self._served and self._served.stdin)
            pipe.write(asked["line"].encode() + b"\n")
            pipe.flush()
            return self._answer(asked, "done")

        return self._measured(asked, put)

    def end(self) -> None:
        for child in self._background:
            if is_alive(child.pid):
                child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _END_SECONDS
        while time.monotonic() < deadline and any(is_alive(child.pid) for child in self._background):
            time.sleep(0.02)
        while True:
            for process in descendants():
                if not process.is_zombie:
                    kill(process.pid)
            try:
                # What was orphaned is nobody else's to wait for.
                os.waitpid(-1, 0)
            except ChildProcessError:
                return

    def _measured(self, asked: Dict[str, Any], work: Any) -> Dict[str, Any]:
        labels: Dict[str, str] = asked.get("labels", {})
        watch = Watch(asked.get("first"))
        before = descendants()
        cpu, by = processor_seconds(before), roles(labels, before)
        watch.start()
        began = time.perf_counter()
        answer = work()
        wall = time.perf_counter() - began
        watch.end()
        after = descendants()
        by_after = roles(labels, after)
        return {
            **answer,
            "wall": wall,
            "cpu": processor_seconds(after) - cpu,
            "roles": {role: seconds - by.get(role, 0.0) for role, seconds in by_after.items()},
            "peak": watch.peak,
            "first": None if watch.first_at is None else watch.first_at - began,
        }

    def _to_its_end(self, asked: Dict[str, Any]) -> Dict[str, Any]:
        child = self._spawn(asked, stdin=subprocess.DEVNULL, is_background=False)
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == child.pid:
                break
        code = os.waitstatus_to_exitcode(status)
        if code != 0:
            raise RuntimeError(f"{' '.join(asked['argv'])} ended with {code}:\n{read(asked['log'])[-4000:]}")
        return {}

    def _answer(self, asked: Dict[str, Any], wanted: str) -> Dict[str, Any]:
        # What libraries print beside it is passed over.
        for line in stream(self._served and self._served.stdout):
            if line.decode(errors="replace").strip() == wanted:
                return {}
        raise RuntimeError(f"what serves has ended:\n{read(asked['log'])[-4000:]}")

    def _spawn(self, asked: Dict[str, Any], is_background: bool = True, **pipes: Any) -> "subprocess.Popen[bytes]":
        with open(asked["log"], "ab") as log:
            child = subprocess.Popen(
                asked["argv"],
                cwd=asked.get("cwd"),
                env={**os.environ, **asked.get("env", {})},
                stderr=log,
                **{"stdout": log, **pipes},
            )
        if is_background:
            self._background.append(child)
        return child


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def stream(pipe: Any) -> "IO[bytes]":
    if pipe is None:
        raise RuntimeError("nothing serves")
    return pipe


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return not Process(pid, file.read()).is_zombie
    except OSError:
        return False


def read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def main() -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    meter = Meter()
    try:
        for line in sys.stdin:
            asked = json.loads(line)
            if asked["op"] == "end":
                break
            try:
                answer = getattr(meter, asked["op"])(asked)
            except (RuntimeError, OSError) as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)
    finally:
        meter.end()


if __name__ == "__main__":
    main()
