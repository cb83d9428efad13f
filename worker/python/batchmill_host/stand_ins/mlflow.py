"""`mlflow.log_*` without MLflow: one JSON line a call in `mlflow/processNNN.jsonl` of the host's log folder.

@source MLflow documentation, the fluent tracking API
"""

import json
import os
import shutil
import time
import uuid
from types import TracebackType
from typing import Any, Callable, Dict, List, Optional, Type

from batchmill_host.stand_ins.finder import Circumstances

__all__ = (
    "active_run", "autolog", "end_run", "get_tracking_uri", "log_artifact", "log_artifacts", "log_dict", "log_metric", "log_metrics",
    "log_param", "log_params", "log_text", "set_experiment", "set_tag", "set_tags", "set_tracking_uri", "start_run",
)  # fmt: skip


class RunInfo:
    def __init__(self, run_id: str, run_name: str, experiment_id: str) -> None:
        self.run_id = run_id
        self.run_uuid = run_id
        self.run_name = run_name
        self.experiment_id = experiment_id
        self.status = "RUNNING"
        self.artifact_uri = "file://" + _artifact_folder(run_id)


class RunData:
    def __init__(self) -> None:
        self.params: Dict[str, str] = {}
        self.metrics: Dict[str, float] = {}
        self.tags: Dict[str, str] = {}


class ActiveRun:
    """What start_run() gives: to be used as it is, or with `with`."""

    def __init__(self, info: RunInfo) -> None:
        self.info = info
        self.data = RunData()

    def __enter__(self) -> "ActiveRun":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], tb: Optional[TracebackType]) -> None:
        end_run("FINISHED" if kind is None else "FAILED")


class _Store:
    """Runs of this process, the innermost last."""

    runs: List[ActiveRun] = []
    experiment = "0"


def start_run(
    run_id: Optional[str] = None,
    experiment_id: Optional[str] = None,
    run_name: Optional[str] = None,
    nested: bool = False,
    tags: Optional[Dict[str, Any]] = None,
    **_: Any,
) -> ActiveRun:
    if _Store.runs and not nested:
        raise RuntimeError(f"the run {_Store.runs[-1].info.run_id} is active already: call mlflow.end_run() first, or say nested=True")
    name = run_name or Circumstances.process_name
    run = ActiveRun(RunInfo(run_id or uuid.uuid4().hex, name, str(experiment_id or _Store.experiment)))
    _Store.runs.append(run)
    _write("run", run_name=name, experiment=run.info.experiment_id)
    if tags:
        set_tags(tags)
    return run


def end_run(status: str = "FINISHED") -> None:
    if _Store.runs:
        _write("end", status=status)
        _Store.runs.pop().info.status = status


def active_run() -> Optional[ActiveRun]:
    return _Store.runs[-1] if _Store.runs else None


def set_experiment(experiment_name: Optional[str] = None, experiment_id: Optional[str] = None, **_: Any) -> None:
    _Store.experiment = str(experiment_name or experiment_id or "0")


def set_tracking_uri(uri: Any) -> None:
    """Without MLflow nobody can be reached: records stay with the job's logs."""


def get_tracking_uri() -> str:
    return "file://" + _folder()


def autolog(*_: Any, **__: Any) -> None:
    """Training is what it logs; there is none here."""


def log_param(key: str, value: Any, **_: Any) -> Any:
    log_params({key: value})
    return value


def log_params(params: Dict[str, Any], **_: Any) -> None:
    for key, value in params.items():
        _run().data.params[key] = str(value)
        _write("param", key=key, value=str(value))


def log_metric(key: str, value: float, step: Optional[int] = None, **_: Any) -> None:
    number = float(value)
    _run().data.metrics[key] = number
    _write("metric", key=key, value=number, step=step or 0)


def log_metrics(metrics: Dict[str, float], step: Optional[int] = None, **_: Any) -> None:
    for key, value in metrics.items():
        log_metric(key, value, step)


def set_tag(key: str, value: Any, **_: Any) -> None:
    _run().data.tags[key] = str(value)
    _write("tag", key=key, value=str(value))


def set_tags(tags: Dict[str, Any], **_: Any) -> None:
    for key, value in tags.items():
        set_tag(key, value)


def log_text(text: str, artifact_file: str, **_: Any) -> None:
    def write(path: str) -> None:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    _put_artifact(artifact_file, write)


def log_dict(dictionary: Any, artifact_file: str, **_: Any) -> None:
    log_text(json.dumps(dictionary, indent=2, default=str), artifact_file)


def log_artifact(local_path: str, artifact_path: Optional[str] = None, **_: Any) -> None:
    name = os.path.join(artifact_path or "", os.path.basename(os.path.normpath(local_path)))
    if os.path.isdir(local_path):
        _put_artifact(name, lambda path: _copy_folder(local_path, path))
    else:
        _put_artifact(name, lambda path: _copy_file(local_path, path))


def log_artifacts(local_dir: str, artifact_path: Optional[str] = None, **_: Any) -> None:
    for name in sorted(os.listdir(local_dir)):
        log_artifact(os.path.join(local_dir, name), artifact_path)


def _run() -> ActiveRun:
    """As in MLflow, the first thing that is logged starts a run."""
    return _Store.runs[-1] if _Store.runs else start_run()


def _folder() -> str:
    folder = os.path.join(Circumstances.log_dir, "mlflow")
    os.makedirs(folder, exist_ok=True)
    return folder


def _artifact_folder(run_id: str) -> str:
    return os.path.join(_folder(), "artifacts", run_id)


def _put_artifact(name: str, write: Callable[[str], None]) -> None:
    root = _artifact_folder(_run().info.run_id)
    path = os.path.normpath(os.path.join(root, name))
    if not path.startswith(root + os.sep):
        raise ValueError(f"an artifact's path must stay within the artifacts of its run: {name!r}")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write(path)
    _write("artifact", path=os.path.relpath(path, _folder()))


def _copy_folder(source: str, target: str) -> None:
    if os.path.isdir(target):
        shutil.rmtree(target)
    shutil.copytree(source, target)


def _copy_file(source: str, target: str) -> None:
    shutil.copyfile(source, target)


def _write(kind: str, **fields: Any) -> None:
    run = _Store.runs[-1].info.run_id
    line = json.dumps({"time": time.time(), "run": run, "kind": kind, **fields}, ensure_ascii=False)
    # One write of one line, so that threads and forked children of the script do not cut each other's.
    with open(os.path.join(_folder(), f"{Circumstances.process_name}.jsonl"), "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(line + "\n")
