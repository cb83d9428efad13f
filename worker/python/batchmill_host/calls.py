"""Calls of run() with as many files as the device has memory for: half as many when it says that it has not, and so from then on."""

import os
import sys
from typing import Any, List, Optional, Sequence

from batchmill_host.device_memory import free_memory, is_full
from batchmill_host.failures import HostFailure
from batchmill_host.mini_batch import InputFile, MiniBatch
from batchmill_host.results import is_a
from batchmill_host.script import Script


class Calls:
    """``files_max``: what was found before; None: nobody knows. ``custom_dir``: where the script writes files of its own."""

    def __init__(self, script: Script, files_max: Optional[int], custom_dir: str) -> None:
        self._script = script
        self._custom_dir = custom_dir
        self._files_max = files_max
        self._told = files_max

    def run(self, batch: MiniBatch) -> Any:
        """What run() returned, put together of several calls where one was too much. A file alone fails as it does."""
        returned: List[Any] = []
        done = 0
        while done < len(batch.files) or not returned:
            files = batch.files[done : done + (self._files_max or len(batch.files))]
            failure = self._call(files, batch, done, returned)
            if failure is None:
                done += len(files)
            elif len(files) < 2 or not is_full(failure.message) or self._has_written():
                raise failure
            else:
                self._files_max = len(files) // 2
                print(
                    f"batchmill: no memory for {len(files)} files in one call of run(), {self._files_max} from here on: {failure.message}",
                    file=sys.stderr,
                )
                free_memory()
        return _together(returned)

    def take_learned(self) -> Optional[int]:
        """Files of a call as found since the last look; None: nothing new."""
        if self._files_max == self._told:
            return None
        self._told = self._files_max
        return self._files_max

    def _has_written(self) -> bool:
        """What the call that failed has written there must go, as it does with a failed attempt, before it is made again."""
        try:
            return len(os.listdir(self._custom_dir)) > 0
        except OSError:
            # It has removed the folder.
            return True

    def _call(self, files: Sequence[InputFile], batch: MiniBatch, done: int, returned: List[Any]) -> Optional[HostFailure]:
        part = batch._replace(first=batch.first + done, files=list(files))
        try:
            # A list of user code's own: what it does to it must not change what is counted here.
            returned.append(self._script.run([file.path for file in files], part))
            return None
        except HostFailure as failure:
            # Of the exception behind it the frames hold what filled the memory.
            return HostFailure(failure.code, failure.message, failure.detail)


def _together(returned: List[Any]) -> Any:
    first = returned[0]
    if len(returned) == 1:
        return first
    if all(isinstance(one, (list, tuple)) for one in returned):
        return [element for one in returned for element in one]
    if _are(returned, "pandas", "DataFrame") or _are(returned, "pandas", "Series"):
        return sys.modules["pandas"].concat(returned)
    if _are(returned, "numpy", "ndarray"):
        # What squeeze() makes of a single value is one row.
        return sys.modules["numpy"].concatenate([one.reshape(1) if one.ndim == 0 else one for one in returned])
    if _are(returned, "pyarrow", "Table"):
        return sys.modules["pyarrow"].concat_tables(returned)
    if _are(returned, "polars", "DataFrame"):
        return sys.modules["polars"].concat(returned)
    kinds = sorted({type(one).__name__ for one in returned})
    raise HostFailure(
        "SCORER_OUTPUT_INVALID",
        f"the mini-batch was scored in {len(returned)} calls of run(), for want of memory, which returned {' and '.join(kinds)}; "
        "run() must return a list or a DataFrame, the same for any number of files",
    )


def _are(returned: List[Any], module: str, name: str) -> bool:
    return all(is_a(one, module, name) for one in returned)
