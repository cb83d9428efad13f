"""A file store for mlflow.log_*: scripts log without any set-up, as they do in an Azure job, and without a network.

@source Azure ML batch scoring-script contract: MLflow tracking is configured before the script runs
"""

import json
import os
import shutil
import sys
import tempfile
import time
import urllib.parse
from typing import Any, Optional, Sequence

_FOLDER = "mlruns"
# Of the experiment that carries the job's name. MLflow itself wants to find `0`, Default.
_EXPERIMENT_ID = "1"


def offer(log_dir: str, job: str, run_name: str) -> None:
    """Points MLflow at ``log_dir``/mlruns, unless the deployment says where it shall log. Nothing is written before it is imported."""
    # Neither belongs into a scoring host, whichever store is used: both speak with a network or look for programs.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    if "MLFLOW_TRACKING_URI" in os.environ:
        return
    root = os.path.join(log_dir, _FOLDER)
    os.environ["MLFLOW_TRACKING_URI"] = _uri(root)
    os.environ.setdefault("MLFLOW_EXPERIMENT_ID", _EXPERIMENT_ID)
    os.environ.setdefault("MLFLOW_RUN_CONTEXT", json.dumps({"mlflow.runName": run_name, "batchmill.job": job}))
    # Releases from 3.7 on refuse a store of files without it.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    sys.meta_path.insert(0, _BeforeImport(root, job))


class _BeforeImport:
    """Makes the store when user code first imports MLflow, and finds nothing."""

    def __init__(self, root: str, job: str) -> None:
        self._root = root
        self._job = job

    def find_spec(self, name: str, path: Optional[Sequence[str]] = None, target: Any = None) -> None:
        if name == "mlflow":
            sys.meta_path.remove(self)
            # Only where the package is: its stand-in keeps its records elsewhere.
            if any(os.path.isdir(os.path.join(folder, "mlflow")) for folder in sys.path):
                _make_store(self._root, self._job)


def _make_store(root: str, job: str) -> None:
    """All of it or nothing: MLflow's own way to make one fails when several hosts begin at once."""
    if os.path.isdir(root):
        return
    os.makedirs(os.path.dirname(root), exist_ok=True)
    made = tempfile.mkdtemp(prefix="." + _FOLDER, dir=os.path.dirname(root))
    os.chmod(made, 0o755)
    os.mkdir(os.path.join(made, ".trash"))
    for experiment, name in (("0", "Default"), (_EXPERIMENT_ID, job)):
        _write_experiment(made, root, experiment, name)
    try:
        os.rename(made, root)
    except OSError:
        # Another host was first; an empty or full folder of its name is as good as ours.
        shutil.rmtree(made, ignore_errors=True)


def _uri(path: str) -> str:
    return "file://" + urllib.parse.quote(path)


def _write_experiment(folder: str, root: str, experiment: str, name: str) -> None:
    now = int(time.time() * 1000)
    fields = {
        "artifact_location": _uri(f"{root}/{experiment}"),
        "creation_time": now,
        "experiment_id": experiment,
        "last_update_time": now,
        "lifecycle_stage": "active",
        "name": name,
    }
    os.mkdir(os.path.join(folder, experiment))
    with open(os.path.join(folder, experiment, "meta.yaml"), "w", encoding="utf-8") as file:
        # A JSON value is a YAML value.
        file.writelines(f"{key}: {json.dumps(value)}\n" for key, value in fields.items())
