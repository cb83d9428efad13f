"""`azureml_user.parallel_run`: what a script is told of the process that it runs in.

@source Azure ML documentation of ParallelRunStep, EntryScript
"""

import logging
import os
from typing import Optional

from batchmill_host.stand_ins.finder import Circumstances

__all__ = ("EntryScript",)


class EntryScript:
    """One object however often it is made."""

    _only: "Optional[EntryScript]" = None
    _logger: Optional[logging.Logger] = None

    def __new__(cls) -> "EntryScript":
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    @property
    def agent_name(self) -> str:
        """`processNNN`, the number of the process on its node."""
        return Circumstances.process_name

    @property
    def log_dir(self) -> str:
        """Folder for logs of the script's own; exists."""
        folder = os.path.join(Circumstances.log_dir, "entry_script_log")
        os.makedirs(folder, exist_ok=True)
        return folder

    @property
    def output_dir(self) -> str:
        """Where files of the script's own go: AZUREML_BI_OUTPUT_PATH."""
        return os.environ["AZUREML_BI_OUTPUT_PATH"]

    @property
    def working_dir(self) -> str:
        """A folder of this process."""
        return os.getcwd()

    @property
    def logger(self) -> logging.Logger:
        """Writes to `log_dir`/processNNN.log.txt and, as all loggers do, to the log of the process."""
        if EntryScript._logger is None:
            path = os.path.join(self.log_dir, f"{self.agent_name}.log.txt")
            handler = logging.FileHandler(path, encoding="utf-8")
            handler.setFormatter(logging.Formatter("%(asctime)s|%(levelname)s|%(process)d|%(message)s"))
            logger = logging.getLogger("EntryScript")
            logger.addHandler(handler)
            EntryScript._logger = logger
        return EntryScript._logger
