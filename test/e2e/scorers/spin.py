"""A model that takes SPIN_MS of a processor's time for each mini-batch, whatever its size."""

import os
import time

spin_seconds = float(os.environ["SPIN_MS"]) / 1_000


def init():
    pass


def run(mini_batch):
    end = time.monotonic() + spin_seconds
    while time.monotonic() < end:
        pass
    return [os.path.basename(path) for path in mini_batch]
