"""What user code finds around it before its first line runs: arguments, logging, variables, packages of Azure's images."""

import logging
import os
import sys
from typing import Any, Dict

from batchmill_host import mlflow_store
from batchmill_host.stand_ins import finder

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def prepare_user_code(init: Dict[str, Any]) -> None:
    """Once, with the payload of `init`.

    @source Azure ML batch scoring-script contract: driver arguments, root log handler, AZUREML_BI_OUTPUT_PATH
    """
    level: str = init["settings"]["loggingLevel"].upper()
    # What Azure's driver has there; scripts read their own arguments with parse_known_args.
    script: str = init["scorer"].get("script", "")
    sys.argv = [os.path.join(init["codeDir"] or "", script), "--logging_level", level]
    logging.basicConfig(stream=sys.stdout, level=level, format=_LOG_FORMAT)
    # Where the job's own output folder is shared with user code, the worker node has set it already.
    os.environ.setdefault("AZUREML_BI_OUTPUT_PATH", init["customDir"])
    process_name = f"process{init['process']:03d}"
    mlflow_store.offer(init["logDir"], init["job"], f"{init['node']}/{process_name}")
    finder.offer(init["logDir"], process_name)
