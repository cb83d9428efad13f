"""One row a file. On a machine whose interpreter is started with BROKEN_WHEN, run() ends the process while that file exists."""

import os
import time


def init():
    pass


def run(mini_batch):
    broken_when = os.environ.get("BROKEN_WHEN")
    if broken_when and os.path.exists(broken_when):
        os._exit(7)
    time.sleep(0.2)
    return [os.path.basename(path) for path in mini_batch]
