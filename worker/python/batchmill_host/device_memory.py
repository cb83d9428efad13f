"""A device that is full: what runtimes say of it, and what can be done before the next try."""

import gc
import re
import sys

# What runtimes say when a device is full; host-failures.ts has the same list with its sources.
_DEVICE_MEMORY = re.compile(
    r"\b(?:CUDA|HIP)(?: error)?: ?out of memory|\b(?:CUDA|HIP) out of memory|\bcuda\.OutOfMemoryError|^OutOfMemoryError\b"
    r"|\bcupy[\w.]*\.OutOfMemoryError|\b(?:cudaErrorMemoryAllocation|hipErrorOutOfMemory|CUDA_ERROR_OUT_OF_MEMORY)\b"
    r"|\bCU(?:BLAS|DNN|SOLVER|SPARSE|FFT)_STATUS_ALLOC_FAILED\b|\bCUDA failure 2: out of memory"
    r"|ResourceExhaustedError[\s\S]*\bdevice:GPU|Failed to allocate memory for requested buffer"
)


def is_full(message: str) -> bool:
    """Whether the message of an exception says that a device has no memory left."""
    return _DEVICE_MEMORY.search(message) is not None


def free_memory() -> None:
    """Of a call that failed. Its exception must be let go of before: frames behind it hold what filled the memory."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
