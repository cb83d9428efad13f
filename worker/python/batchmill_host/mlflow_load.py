"""Loads a saved MLflow model; when that fails, says what its environment lacks.

@source Azure ML batch endpoints, MLflow models without a scoring script: only the pyfunc flavor
"""

import logging
import os
import sys
from typing import Any, List, Optional

from batchmill_host.failures import HostFailure, name_exception, user_traceback
from batchmill_host.model_environment import Difference, blamed, differences, wanted_packages

INVALID = "MODEL_INVALID"
_PACKAGES_SHOWN = 12
_logger = logging.getLogger("batchmill")


def find_model(path: Optional[str]) -> str:
    """The folder with the file MLmodel: ``path``, or the one folder in it that has one. MODEL_INVALID otherwise."""
    if path is None:
        raise HostFailure(INVALID, "an MLflow model is wanted, and the deployment names no model")
    if os.path.isfile(os.path.join(path, "MLmodel")):
        return path
    entries = sorted(os.listdir(path)) if os.path.isdir(path) else []
    found = [entry for entry in entries if os.path.isfile(os.path.join(path, entry, "MLmodel"))]
    if len(found) == 1:
        return os.path.join(path, found[0])
    has = f"MLmodel is in {', '.join(found)}" if found else f"there is {', '.join(entries[:10]) or 'nothing'}"
    raise HostFailure(INVALID, f"{os.path.basename(path)} must hold one MLflow model, a folder with a file MLmodel; {has}")


def load_model(folder: str) -> Any:
    """The model of ``folder`` as MLflow's pyfunc flavor gives it. MODEL_INVALID when it cannot be had."""
    try:
        import mlflow.pyfunc
    except ImportError as error:
        raise HostFailure(INVALID, _lacks(folder, error, "MLflow"), user_traceback(error)) from None
    found = differences(folder)
    if found:
        _logger.warning("the model was saved with %s%s", found[0].text(), _others(found))
    try:
        # Warnings of its own are about the same differences, one block of text for each host.
        return mlflow.pyfunc.load_model(folder, suppress_warnings=True)
    except BaseException as error:
        raise load_failure(folder, error) from None


def load_failure(folder: str, error: BaseException) -> HostFailure:
    """MODEL_INVALID, with the versions that differ when they are likely to be the reason."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return HostFailure(INVALID, _lacks(folder, error, "the model"), user_traceback(error))
    # Libraries in C add a stack of their own to the text; the detail has all of it.
    message = f"the model cannot be loaded: {name_exception(error).splitlines()[0]}"
    found = differences(folder)
    guilty = blamed(found, error) or found[:3]
    if guilty:
        message += f"\n{mismatch_text(guilty)}"
    return HostFailure(INVALID, message, user_traceback(error))


def mismatch_text(found: List[Difference]) -> str:
    """A sentence for each package."""
    said = "; ".join(f"the model was saved with {difference.text()}" for difference in found)
    return f"{said}. Score it in the environment that it was saved in, or save it again"


def _lacks(folder: str, error: ImportError, who: str) -> str:
    # The standard text is not enough: people look at the model, and it is the interpreter.
    asked = wanted_packages(folder)
    shown = ", ".join(asked[:_PACKAGES_SHOWN]) + (f" and {len(asked) - _PACKAGES_SHOWN} more" if len(asked) > _PACKAGES_SHOWN else "")
    wants = f"the model's own environment asks for {shown}" if asked else "the model does not say which packages it needs"
    version = ".".join(str(part) for part in sys.version_info[:3])
    missing = repr(error.name) if error.name else name_exception(error)
    return f"{who} needs the Python module {missing}, which {sys.executable} (Python {version}) does not have; {wants}"


def _others(found: List[Difference]) -> str:
    return f" (packages that differ: {len(found)})" if len(found) > 1 else ""
