"""Stands for a device that has memory for 4 files; notes how many each call of run() is given."""

import os


class OutOfMemoryError(RuntimeError):
    pass


def run(mini_batch):
    with open(os.environ["TRACE"], "a") as trace:
        trace.write(f"{len(mini_batch)}\n")
    if len(mini_batch) > 4:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return [os.path.basename(path) for path in mini_batch]
