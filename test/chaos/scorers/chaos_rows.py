"""The same rows as chaos-rows.mjs without custom files, from a Python scoring host."""

import hashlib
import os
import re
import time

PACE = float(os.environ.get("PACE", "0"))


def init():
    pass


def run(mini_batch):
    rows = []
    for path in mini_batch:
        work_ms, kibibytes = map(int, re.search(r"-w(\d+)-k(\d+)\.txt$", str(path)).groups())
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        time.sleep(work_ms * PACE / 1000)
        rows.append(os.path.basename(path) + " " + digest + " " + digest[:16] * (kibibytes * 64))
    return rows
