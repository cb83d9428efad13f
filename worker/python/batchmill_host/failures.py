"""Failures as the protocol carries them, and tracebacks that begin in user code."""

import os
import sys
import traceback
from typing import NamedTuple, Set

_OWN_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep
MESSAGE_CHARS_MAX = 4_000
DETAIL_CHARS_MAX = 16_384


class HostFailure(Exception):
    """What the worker node is told. ``code`` is one of docs/errors.md."""

    def __init__(self, code: str, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message[:MESSAGE_CHARS_MAX]
        self.detail = detail[-DETAIL_CHARS_MAX:]


class FileFailure(NamedTuple):
    """One file that could not be scored although its mini-batch could; ``index`` is its place there."""

    index: int
    code: str
    message: str


def name_exception(error: BaseException) -> str:
    """``Type: text``, as the last line of a traceback has it; the text may fail, it is user code."""
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be had: __str__ raised)"
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def user_traceback(error: BaseException) -> str:
    """The traceback without our own frames above those of user code, in each exception of the chain."""
    try:
        told = traceback.TracebackException(type(error), error, error.__traceback__)
        _cut_own_frames(told, set())
        return "".join(told.format())
    except Exception:
        return "".join(traceback.format_tb(error.__traceback__)) + name_exception(error) + "\n"


def _cut_own_frames(told: traceback.TracebackException, seen: Set[int]) -> None:
    if id(told) in seen:
        return
    seen.add(id(told))
    while told.stack and told.stack[0].filename.startswith(_OWN_FOLDER):
        del told.stack[0]
    # An exception group has its members beside the chain.
    for other in (told.__cause__, told.__context__, *(getattr(told, "exceptions", None) or ())):
        if other is not None:
            _cut_own_frames(other, seen)


def user_failure(code: str, error: BaseException) -> HostFailure:
    """A failure that user code raised."""
    return HostFailure(code, name_exception(error) + advice(error), user_traceback(error))


def advice(error: BaseException) -> str:
    """What to do about mistakes whose exception alone does not say it: "; …", or nothing."""
    if _is_without_model(error):
        return "; AZUREML_MODEL_DIR is not set because the deployment has no model: give model in its YAML, or --model PATH"
    if isinstance(error, SystemExit) and _passed_through(error, "argparse"):
        return (
            "; argparse refused the arguments of this process and has said why in the stderr log. Read them with "
            "parse_known_args(), and give none of your own required=True: settings are environment_variables"
        )
    if isinstance(error, ImportError) and "no known parent package" in str(error):
        return "; the script is in no package, and its folder is on sys.path: write import x instead of from . import x"
    return ""


def _is_without_model(error: BaseException) -> bool:
    return (
        "AZUREML_MODEL_DIR" not in os.environ
        and isinstance(error, (KeyError, TypeError, AttributeError))
        and "AZUREML_MODEL_DIR" in user_traceback(error)
    )


def _passed_through(error: BaseException, module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and any(
        frame.f_code.co_filename == file for frame, _ in traceback.walk_tb(error.__traceback__)
    )
