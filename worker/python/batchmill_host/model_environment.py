"""What a saved MLflow model asks of its environment, against what this interpreter has."""

import importlib.metadata
import os
import re
from types import TracebackType
from typing import Dict, List, NamedTuple, Optional

# `name==1.2`, `name[extra]==1.2` of pip; `name=1.2` of conda; in a list of YAML or alone on a line.
_PINNED = re.compile(r"^\s*(?:-\s+)?([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*={1,3}\s*([0-9][^\s;#,]*)")
# Of requirements: what a pip line begins with, pinned or not.
_NAMED = re.compile(r"^\s*([A-Za-z0-9][^\s;#]*)")
# MLmodel names its library's version itself: `sklearn_version: 1.1.2`.
_FLAVOR_VERSION = re.compile(r"^\s+(sklearn|xgb|lgb|pytorch|keras|tensorflow|transformers|onnx)_version:\s*['\"]?([0-9][^\s'\"]*)")
_FLAVOR_PACKAGES = {"sklearn": "scikit-learn", "xgb": "xgboost", "lgb": "lightgbm", "pytorch": "torch"}
_MODULES = {"scikit-learn": "sklearn", "pillow": "PIL", "pyyaml": "yaml"}
# Neither of them is a library that a model was saved with.
_IGNORED = frozenset({"python", "pip"})


class Difference(NamedTuple):
    """One package: the version that the model was saved with, and the one that is here (None: none)."""

    package: str
    saved: str
    found: Optional[str]

    def text(self) -> str:
        return f"{self.package} {self.saved}, this environment has {self.found or 'none'}"


def wanted_packages(folder: str) -> List[str]:
    """Lines of requirements.txt, else the pinned packages of the other files."""
    lines = [match.group(1) for line in _lines(folder, "requirements.txt") for match in [_NAMED.match(line)] if match]
    return lines or [f"{name}=={version}" for name, version in _pinned(folder).items()]


def differences(folder: str) -> List[Difference]:
    """Packages whose major or minor version is another one here than the model was saved with.

    The model's own libraries first, as MLmodel names them; last those that are not here at all, which it may never use.
    """
    found = []
    for package, saved in _pinned(folder).items():
        here = _installed(package)
        if here is None or here.split(".")[:2] != saved.split(".")[:2]:
            found.append(Difference(package, saved, here))
    own = _flavor_versions(folder)
    return sorted(found, key=lambda difference: (difference.package not in own, difference.found is None))


def blamed(found: List[Difference], error: BaseException) -> List[Difference]:
    """Those whose code the traceback of ``error``, or of what caused it, goes through, or whose module it did not find."""
    return [difference for difference in found if _is_in(difference.package, error)]


def _is_in(package: str, error: BaseException) -> bool:
    module = _MODULES.get(package, package.replace("-", "_"))
    folder = os.sep + module + os.sep
    seen: Dict[int, BaseException] = {}
    at: Optional[BaseException] = error
    while at is not None and id(at) not in seen:
        seen[id(at)] = at
        if isinstance(at, ImportError) and at.name is not None and at.name.partition(".")[0] == module:
            return True
        tb: Optional[TracebackType] = at.__traceback__
        while tb is not None:
            if folder in tb.tb_frame.f_code.co_filename:
                return True
            tb = tb.tb_next
        # A name that the library does not have any more stands in the text only.
        if isinstance(at, AttributeError) and re.search(rf"'{re.escape(module)}['.]", str(at)):
            return True
        at = at.__cause__ or at.__context__
    return False


def _pinned(folder: str) -> Dict[str, str]:
    pinned: Dict[str, str] = {}
    for file in ("requirements.txt", "conda.yaml", "python_env.yaml"):
        for line in _lines(folder, file):
            match = _PINNED.match(line)
            if match:
                pinned.setdefault(_canonical(match.group(1)), match.group(2))
    for package, version in _flavor_versions(folder).items():
        pinned.setdefault(package, version)
    return {name: version for name, version in pinned.items() if name not in _IGNORED}


def _flavor_versions(folder: str) -> Dict[str, str]:
    matches = (_FLAVOR_VERSION.match(line) for line in _lines(folder, "MLmodel"))
    return {_FLAVOR_PACKAGES.get(match.group(1), match.group(1)): match.group(2) for match in matches if match}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _installed(package: str) -> Optional[str]:
    # The smaller distributions are the same library for what a model needs.
    for name in (package, *(("mlflow-skinny",) if package == "mlflow" else ()), f"{package}-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def _lines(folder: str, file: str) -> List[str]:
    try:
        with open(os.path.join(folder, file), encoding="utf-8", errors="replace") as text:
            return text.read().splitlines()
    except OSError:
        return []
