"""What loading a model needs, whatever its kind: the library, and a sentence where something is wrong."""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path
from typing import Any

#: Of what a library says, which may be pages: a log line of a FailureReason holds 300 characters, and the remedy comes last.
REASON_CHARACTERS_MAX = 100

#: What XGBoost (the time, and the place in its source) and onnxruntime (codes) begin their messages with.
_PREAMBLE = re.compile(r"^(\[\d\d:\d\d:\d\d\] \S+: |\[ONNXRuntimeError\] : \d+ : \w+ : )")

#: What to install for a module, where it is called otherwise.
_PACKAGES = {
    "sklearn": "scikit-learn",
    "cv2": "opencv-python",
    "PIL": "pillow",
    "yaml": "pyyaml",
}


class LoadError(Exception):
    """The folder cannot be served; the message says what is wrong with which file, and what to do."""


def library(module: str, file: Path) -> Any:
    """Import the library that a file needs.

    Raises:
        LoadError: It is not there, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing(error, file) from error
    except Exception as error:  # of a shared library that the machine lacks, above all
        raise LoadError(f"{file.name} needs {package_of(module)}, which cannot be imported: {brief(error)}.") from error


def missing(error: ModuleNotFoundError, file: Path) -> LoadError:
    """The sentence for a module that is not there."""
    module = error.name or str(error)
    if module.startswith("numpy._core"):
        return LoadError(
            f"{file.name} was pickled with numpy 2, and this Python has numpy {_numpy_version()}: name numpy>=2 in "
            "code/requirements.txt, or pickle the model again."
        )
    return LoadError(
        f"{file.name} needs {package_of(module)}, which {sys.executable} does not have: name it in code/requirements.txt, or "
        "another interpreter as `python` of the image's row in images.toml."
    )


def package_of(module: str) -> str:
    """What to install for a module."""
    name = module.partition(".")[0]
    return _PACKAGES.get(name, name)


def brief(error: BaseException) -> str:
    """An exception's type and the first line of its message, as part of a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = _PREAMBLE.sub("", lines[0]) if lines else ""
    if len(text) > REASON_CHARACTERS_MAX:
        text = text[:REASON_CHARACTERS_MAX].rstrip() + "…"
    return f"{type(error).__name__}: {text}".rstrip(".: ")


def library_threads() -> int:
    """Threads that a library may use for one prediction: what `OMP_NUM_THREADS` says to those that read it themselves.

    How many predictions run at a time is another matter, and decided elsewhere (`BANNISTER_RUNTIME_THREADS`).
    """
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return max(int(first), 1) if first.isdecimal() else 1


def _numpy_version() -> str:
    import numpy as np

    return np.__version__
