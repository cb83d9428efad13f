"""Answers imports of Azure's packages after everybody else has been asked."""

import importlib
import importlib.util
import logging
import os
import sys
import sysconfig
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Optional, Sequence

# Module that user code imports → module of this folder whose names it gets.
_MODULES = {
    "azureml_user": "azureml_user",
    "azureml_user.parallel_run": "azureml_user",
    "azureml": "azureml",
    "azureml.core": "azureml_core",
    "azureml.core.model": "azureml_core",
    "azureml.core.run": "azureml_core",
    "mlflow": "mlflow",
}
# What to install to have all of it.
_REAL_PACKAGES = {"azureml_user": "nothing: it exists in Azure only", "azureml": "azureml-core", "mlflow": "mlflow"}
_logger = logging.getLogger("batchmill")


class Circumstances:
    """Of this host; set before user code is loaded."""

    log_dir = ""
    process_name = "process000"


def offer(log_dir: str, process_name: str) -> None:
    """Puts the stand-ins behind all other ways to find a module."""
    Circumstances.log_dir = log_dir
    Circumstances.process_name = process_name
    sys.meta_path.append(_StandInFinder())  # type: ignore[arg-type]


class _StandInFinder:
    def find_spec(self, name: str, path: Optional[Sequence[str]] = None, target: Any = None) -> Optional[ModuleSpec]:
        root, _, below = name.partition(".")
        if root not in _REAL_PACKAGES or not _is_user_code_asking():
            return None
        if name in _MODULES:
            return ModuleSpec(name, _StandInLoader(), origin="stand-in of the scoring host", is_package=True)
        if below and _is_stand_in(sys.modules.get(root)):
            # Not the plain "no module named": the package seems to be there.
            raise ModuleNotFoundError(_lacking(name), name=root)
        return None


class _StandInLoader:
    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        root = name.partition(".")[0]
        source = importlib.import_module(f"batchmill_host.stand_ins.{_MODULES[name]}")
        for key in getattr(source, "__all__", ()):
            setattr(module, key, getattr(source, key))

        def refuse(key: str) -> Any:
            # Tools probe for names like __path__ and __wrapped__ everywhere; they want the plain answer.
            raise AttributeError(f"{name} has no {key}" if key.startswith("__") else _lacking(f"{name}.{key}"))

        setattr(module, "__getattr__", refuse)
        if name == root:
            _logger.warning("%s is not installed: a small stand-in of the scoring host takes its place", name)


def _lacking(what: str) -> str:
    root = what.partition(".")[0]
    return (
        f"{what} is not part of the scoring host's stand-in for {root}, which is used because {root} is not installed; "
        f"add {_REAL_PACKAGES[root]} to the environment"
    )


def _is_stand_in(module: Optional[ModuleType]) -> bool:
    return isinstance(getattr(module, "__loader__", None), _StandInLoader)


_LIBRARY_FOLDERS = tuple({path + os.sep for key, path in sysconfig.get_paths().items() if key.endswith("lib")})


def _is_user_code_asking() -> bool:
    """False for code of installed packages, which would take the stand-in for the whole."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if not (file.startswith("<frozen importlib") or file == __file__ or file == importlib.util.__file__ or file == importlib.__file__):
            return not file.startswith(_LIBRARY_FOLDERS) and "site-packages" + os.sep not in file
        frame = frame.f_back  # type: ignore[assignment]
    return True
