"""`azureml.core` as old scoring scripts use it: where the model lies, and a run whose metrics go to the log.

@source Azure ML SDK v1 documentation, azureml.core.Run and azureml.core.Model
"""

import json
import logging
import os
from typing import Any, Dict, List, Optional

__all__ = ("Model", "Run")

_logger = logging.getLogger("azureml.core")


class Model:
    """Only the way to the files of the deployment's model."""

    @staticmethod
    def get_model_path(model_name: str, version: Optional[int] = None, _workspace: Any = None) -> str:
        """The entry of AZUREML_MODEL_DIR with that name; where there is none, the only entry, whatever it is called."""
        folder = os.environ.get("AZUREML_MODEL_DIR")
        if folder is None:
            raise ValueError(f"Model.get_model_path({model_name!r}): the deployment has no model")
        named = os.path.join(folder, model_name)
        if os.path.exists(named):
            return named
        entries = os.listdir(folder)
        if len(entries) == 1:
            return os.path.join(folder, entries[0])
        raise ValueError(f"Model.get_model_path({model_name!r}): the deployment's model folder has {', '.join(sorted(entries)) or 'nothing'}")


class Run:
    """Metrics and tags become lines of the log."""

    _only: "Optional[Run]" = None

    def __init__(self) -> None:
        self.id = os.environ.get("AZUREML_RUN_ID", "OfflineRun")
        self.tags: Dict[str, str] = {}
        self._metrics: Dict[str, Any] = {}

    @classmethod
    def get_context(cls, allow_offline: bool = True, **_: Any) -> "Run":
        """The same object in the whole process."""
        if cls._only is None:
            cls._only = cls()
        return cls._only

    @property
    def parent(self) -> "Run":
        return self

    def log(self, name: str, value: Any, description: str = "", step: Optional[int] = None) -> None:
        self._record(name, value)

    def log_list(self, name: str, value: List[Any], description: str = "") -> None:
        self._record(name, list(value))

    def log_row(self, name: str, description: Optional[str] = None, **kwargs: Any) -> None:
        self._record(name, kwargs)

    def log_table(self, name: str, value: Dict[str, Any], description: str = "") -> None:
        self._record(name, value)

    def tag(self, key: str, value: Optional[str] = None) -> None:
        self.tags[key] = "" if value is None else str(value)
        _logger.info("tag %s=%s", key, value)

    def set_tags(self, tags: Dict[str, str]) -> None:
        for key, value in tags.items():
            self.tag(key, value)

    def get_metrics(self) -> Dict[str, Any]:
        return dict(self._metrics)

    def get_tags(self) -> Dict[str, str]:
        return dict(self.tags)

    def flush(self, timeout_seconds: int = 300) -> None:
        """Nothing is held back."""

    def complete(self) -> None:
        """The job ends when its files are scored."""

    def _record(self, name: str, value: Any) -> None:
        # As the real one does: a name that is logged again becomes a list.
        if name in self._metrics:
            held = self._metrics[name]
            self._metrics[name] = [*held, value] if isinstance(held, list) else [held, value]
        else:
            self._metrics[name] = value
        _logger.info("metric %s=%s", name, json.dumps(value, default=str))
