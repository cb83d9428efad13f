"""Entry of the host process: ``python worker/python/batchmill_host``."""

import os
import sys
import time

_started = time.monotonic()

# Running a folder puts that folder on sys.path, where our module names would shadow those of the user.
# The folder above is there only while the package is imported.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from batchmill_host.host import main  # noqa: E402

del sys.path[0]

if __name__ == "__main__":
    main(_started)
