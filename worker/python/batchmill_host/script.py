"""Loads the user's scoring script and calls its functions.

@source Azure ML batch scoring-script contract: init(), run(mini_batch[, mini_batch_context]), shutdown()
"""

import importlib.util
import inspect
import os
import sys
from types import ModuleType
from typing import Any, Callable, Dict, List, Optional, Sequence

from batchmill_host.failures import HostFailure, advice, name_exception, user_failure, user_traceback
from batchmill_host.mini_batch import MiniBatch

INVALID = "SCRIPT_INVALID"


class MiniBatchContext:
    """Second argument of a run() that takes two.

    @source Azure ML parallel jobs: partition_key_value is what scripts read; the others only ever serve as names
    """

    __slots__ = ("mini_batch_id", "minibatch_index", "ordinal", "partition_key_value")

    def __init__(self, batch: MiniBatch) -> None:
        self.ordinal = batch.first
        self.minibatch_index = batch.first
        self.mini_batch_id = str(batch.first)
        # Files are not partitioned by keys here; a script that looks finds none.
        self.partition_key_value: Dict[str, str] = {}


class Script:
    """A loaded script. Loading runs the module's top level, not init()."""

    def __init__(self, code_dir: Optional[str], script: str) -> None:
        if code_dir is None:
            raise HostFailure(INVALID, f"the script {script} needs a code folder, and the deployment names none")
        self._path = os.path.join(code_dir, script)
        self._module = _load(code_dir, self._path, script)
        self._run = self._function("run", is_required=True)
        self._takes_context = _takes_context(self._run, script)

    def init(self) -> None:
        """Calls init() if there is one."""
        self._call_optional("init")

    def shutdown(self) -> None:
        """Calls shutdown() if there is one."""
        self._call_optional("shutdown")

    def run(self, paths: List[str], batch: MiniBatch) -> Any:
        """What run() returns. Anything that it raises, SystemExit included, is SCORER_FAILED."""
        try:
            return self._run(paths, MiniBatchContext(batch)) if self._takes_context else self._run(paths)
        except BaseException as error:
            raise user_failure("SCORER_FAILED", error) from None

    def _call_optional(self, name: str) -> None:
        function = self._function(name, is_required=False)
        if function is None:
            return
        try:
            function()
        except BaseException as error:
            raise user_failure("SCORER_INIT_FAILED", error) from None

    def _function(self, name: str, is_required: bool) -> Any:
        found = getattr(self._module, name, None)
        if callable(found):
            return found
        if not is_required and found is None:
            return None
        own = [
            key
            for key, value in vars(self._module).items()
            if inspect.isfunction(value) and value.__module__ == self._module.__name__
        ]
        has = f"it has {', '.join(own)}" if own else "it has no functions"
        wrong = "" if found is None else f" ({name} is a {type(found).__name__})"
        raise HostFailure(
            INVALID, f"{os.path.basename(self._path)} must define {name}(){wrong}; {has}"
        )


def _load(code_dir: str, path: str, script: str) -> ModuleType:
    source = _read(code_dir, path, script)
    sys.path.insert(0, code_dir)
    if os.path.dirname(path) != code_dir:
        sys.path.insert(1, os.path.dirname(path))
    stem = os.path.splitext(os.path.basename(path))[0]
    # A script called like a module that is loaded already (json.py, score of a library) must not replace it.
    name = stem if stem not in sys.modules else stem + "__script"
    try:
        code = compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise _syntax_failure(error, path) from None
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise HostFailure(INVALID, f"{script} is no Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    # Registered, so that objects of its classes can be pickled for a process pool of the script's own.
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)
    except SyntaxError as error:
        raise _syntax_failure(error, path) from None
    except BaseException as error:
        raise _import_failure(error, script) from None
    return module


def _read(code_dir: str, path: str, script: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        names = sorted(name for name in _list(code_dir) if name.endswith(".py"))
        has = ", ".join(names[:10]) if names else "no .py file"
        raise HostFailure(
            INVALID, f"the script {script} cannot be read ({error.strerror}); the code folder has {has}"
        ) from None


def _list(folder: str) -> Sequence[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return ()


def _syntax_failure(error: Exception, path: str) -> HostFailure:
    """File, line, text and caret, as Python prints them."""
    file = os.path.basename(getattr(error, "filename", None) or path)
    line = getattr(error, "lineno", None)
    where = f"{file} line {line}" if line else file
    message = f"{where}: {getattr(error, 'msg', None) or name_exception(error)}"
    text = getattr(error, "text", None)
    if text:
        shown = text.rstrip("\n").expandtabs(1)
        message += f"\n    {shown.lstrip()}"
        column = (getattr(error, "offset", None) or 0) - 1 - (len(shown) - len(shown.lstrip()))
        if column >= 0:
            message += f"\n    {' ' * column}^"
    return HostFailure(INVALID, message, user_traceback(error))


def _import_failure(error: BaseException, script: str) -> HostFailure:
    message = f"loading {script} raised {name_exception(error)}{advice(error)}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        message = (
            f"{script} needs the Python module {error.name!r}, which {sys.executable} (Python {_python()}) does not have: "
            f"install it there, list it in the conda_file of the environment, add it to the code folder, "
            f"or choose another interpreter with --python"
        )
    return HostFailure(INVALID, message, user_traceback(error))


def _python() -> str:
    return ".".join(str(part) for part in sys.version_info[:3])


def _takes_context(run: Callable[..., Any], script: str) -> bool:
    """True when run() asks for a second argument. One that has a default is the script's own, unless it is named so."""
    try:
        parameters = list(inspect.signature(run).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    is_variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    keyword_only = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if len(required) > 2 or keyword_only or not (positional or is_variadic):
        raise HostFailure(
            INVALID,
            f"{script}: run{inspect.signature(run)} cannot be called; it must take run(mini_batch) "
            f"or run(mini_batch, mini_batch_context)",
        )
    return len(required) == 2 or (len(positional) >= 2 and positional[1].name == "mini_batch_context")
