"""One row a file: its name. A file whose text is a word of poison makes just that trouble.

COUNTS: a folder; each process appends one byte a file that it was given to a file of its own there.
READER: "open" reads with Python's open, whose files are named to the worker node; "c" reads through the C library,
whose files are not.
"""

import ctypes
import os
import sys
import time

_libc = ctypes.CDLL(None)


def init():
    pass


def read(path):
    if os.environ.get("READER") == "c":
        descriptor = _libc.open(path.encode(), 0)
        text = ctypes.create_string_buffer(64)
        count = _libc.read(descriptor, text, 64)
        _libc.close(descriptor)
        return text.raw[:count].decode()
    with open(path) as file:
        return file.read()


def score(path):
    text = read(path).strip()
    if text == "raise":
        raise ValueError("cannot score " + os.path.basename(path))
    if text == "hang":
        time.sleep(3_600)
    if text == "segfault":
        ctypes.string_at(0)
    if text == "exit":
        os._exit(7)
    if text == "memory":
        # 1 GB/s, up to what the machine that runs the test can bear; the limit is far below.
        held = []
        for _ in range(300):
            held.append(b"x" * 10_000_000)
            time.sleep(0.01)
        raise AssertionError("nobody has stopped it at 3 GB")
    if text == "print":
        line = "x" * 1_048_575 + "\n"
        for _ in range(int(os.environ["PRINT_MB"])):
            sys.stdout.write(line)
    return os.path.basename(path)


def run(mini_batch):
    with open(os.path.join(os.environ["COUNTS"], str(os.getpid())), "a") as file:
        file.write("x" * len(mini_batch))
    rows = [score(path) for path in mini_batch]
    if any(read(path).strip() == "none" for path in mini_batch):
        return None
    return rows
