"""The end of a host in good order: all that user code can see of an interpreter's end, and nothing of what it spends on libraries.

To take pandas and scikit-learn apart takes an interpreter a quarter of a second, as long as a short job. What a process started by
``multiprocessing`` leaves out, a host leaves out as well; but its exit handlers run, and what user code refers to ends first.
"""

import atexit
import gc
import os
import sys
import threading
from typing import Any, Callable, Dict, Optional, Sequence


class LastHandler:
    """Made before user code is imported: of exit handlers the first to be registered is the last to run."""

    def __init__(self, flush: Callable[[], None]) -> None:
        self._flush = flush
        self._folders: Optional[Sequence[str]] = None
        atexit.register(self._leave)

    def expect(self, folders: Sequence[str]) -> None:
        """The process is about to end with 0; user code is in ``folders``, absolute."""
        self._folders = folders

    def _leave(self) -> None:
        # A thread that goes on would fall over names that are gone; the interpreter knows how to stop it.
        if self._folders is None or threading.active_count() > 1:
            return
        folders = tuple(os.path.join(folder, "") for folder in self._folders)
        for module in list(sys.modules.values()):
            # Not asked for `__file__` itself: what stands in for a module may import it then.
            names = getattr(module, "__dict__", None)
            path = names.get("__file__") if isinstance(names, dict) else None
            if isinstance(path, str) and path.startswith(folders):
                _clear(names)
        # What refers to itself, as an object does that keeps one of its own methods.
        gc.collect()
        self._flush()
        os._exit(0)


def _clear(names: Dict[str, Any]) -> None:
    """As an interpreter does it at its end: what refers to itself in a ring may still call built-in functions."""
    for name in list(names):
        if name != "__builtins__":
            names[name] = None
