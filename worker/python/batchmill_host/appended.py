"""Which files below the custom output folder were opened for appending, so that only their new bytes count."""

import os
from typing import List, Set


class Appended:
    """Collects paths within ``folder``; costs one test of a bit per open when nobody appends."""

    def __init__(self) -> None:
        self._folder = ""
        self._paths: Set[str] = set()

    def watch(self, folder: str) -> None:
        """From now on, files below ``folder`` are noted."""
        self._folder = os.path.realpath(folder)

    def opened(self, path: object, flags: object) -> None:
        """``flags`` are those of open(2). Never raises: it runs inside the user's open()."""
        if not isinstance(flags, int) or not flags & os.O_APPEND or not self._folder:
            return
        if not isinstance(path, (str, bytes)):
            # A descriptor: the file was opened before, with flags of its own.
            return
        try:
            found = os.path.realpath(os.fsdecode(path))
        except (OSError, ValueError):
            return
        if found.startswith(self._folder + os.sep):
            self._paths.add(found)

    def take(self) -> List[str]:
        """Paths relative to the folder, in order; forgets those that are not open any more.

        A file that stays open for appending from init() on gets rows in every mini-batch without another open.
        """
        if not self._paths:
            return []
        taken = sorted(os.path.relpath(path, self._folder) for path in self._paths)
        self._paths &= _open_paths()
        return taken


def _open_paths() -> Set[str]:
    """Files that this process has open. Without /proc none: a file that is appended to again is opened again as a rule."""
    paths = set()
    try:
        for fd in os.listdir("/proc/self/fd"):
            try:
                paths.add(os.readlink("/proc/self/fd/" + fd))
            except OSError:
                # Closed meanwhile, as the one that lists the folder is.
                continue
    except OSError:
        pass
    return paths
