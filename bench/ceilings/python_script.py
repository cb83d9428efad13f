"""A scoring script in a bare loop, one process a processor: ``run()`` with a chunk of files, its rows written as pandas writes them.

``--output DIR`` scores once; ``--serve`` says ``ready`` when every process is through ``init()``, then scores into the folder that each
line on stdin names, and says ``done``.
"""

import argparse
import importlib
import multiprocessing
import os
import sys
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Dict, List, Optional

CHUNKS_AHEAD = 2


def chunks_of(folder: str, count: int) -> List[List[str]]:
    paths = sorted(str(path) for path in Path(folder).rglob("*") if path.is_file())
    return [paths[at : at + count] for at in range(0, len(paths), count)]


def work(pipe: Connection, options: argparse.Namespace) -> None:
    sys.path.insert(0, os.path.dirname(options.script))
    script = importlib.import_module(Path(options.script).stem)
    script.init()
    chunks = chunks_of(options.input, options.batch)
    file: Any = None
    pipe.send("open")
    while True:
        what, value = pipe.recv()
        if what == "end":
            return
        if what == "file":
            file = open(value, "w", encoding="utf-8", newline="")
        elif what == "close":
            file.close()
            pipe.send("closed")
        else:
            script.run(chunks[value]).to_csv(file, header=False, index=False)
            pipe.send("scored")


def score(pipes: List[Connection], chunks: int, output: Optional[str]) -> None:
    assert output is not None
    os.makedirs(output, exist_ok=True)
    left = iter(range(chunks))
    held: Dict[Connection, int] = {pipe: 0 for pipe in pipes}

    def give(pipe: Connection) -> None:
        chunk = next(left, None)
        if chunk is not None:
            pipe.send(("score", chunk))
            held[pipe] += 1
        elif held[pipe] == 0:
            pipe.send(("close", None))

    for place, pipe in enumerate(pipes):
        pipe.send(("file", os.path.join(output, f"part-{place}.csv")))
        for _ in range(CHUNKS_AHEAD):
            give(pipe)
    busy = set(pipes)
    while busy:
        for pipe in wait(list(busy)):
            said = pipe.recv()
            if said == "closed":
                busy.discard(pipe)
            else:
                held[pipe] -= 1
                give(pipe)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    parser.add_argument("--script", required=True)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--output")
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    pipes = []
    for _ in range(options.processes):
        here, there = multiprocessing.Pipe()
        multiprocessing.Process(target=work, args=(there, options), daemon=True).start()
        there.close()
        pipes.append(here)
    for pipe in pipes:
        assert pipe.recv() == "open"
    chunks = len(chunks_of(options.input, options.batch))
    if options.serve:
        print("ready", flush=True)
        for line in sys.stdin:
            score(pipes, chunks, line.strip())
            print("done", flush=True)
    else:
        score(pipes, chunks, options.output)
    for pipe in pipes:
        pipe.send(("end", None))


if __name__ == "__main__":
    main()
