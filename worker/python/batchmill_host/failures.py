"""Failures as the protocol carries them, and tracebacks that begin in user code."""

import os
import traceback
from types import TracebackType
from typing import Optional

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


def name_exception(error: BaseException) -> str:
    """``Type: text``, as the last line of a traceback has it; the text may fail, it is user code."""
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be had: __str__ raised)"
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def user_traceback(error: BaseException) -> str:
    """The traceback without our own frames above those of user code."""
    tb: Optional[TracebackType] = error.__traceback__
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
        tb = tb.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, tb))
    except Exception:
        return "".join(traceback.format_tb(tb)) + name_exception(error) + "\n"


def user_failure(code: str, error: BaseException) -> HostFailure:
    """A failure that user code raised."""
    return HostFailure(code, name_exception(error), user_traceback(error))
