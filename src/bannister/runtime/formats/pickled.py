"""joblib and pickle files, and what becomes of one that another version of a library pickled.

A pickle is a library's insides, which change between versions. What is certain ends the start, with both versions where the file tells them: a file that
cannot be loaded, and a model that loads and lacks something of its own when it predicts. A difference that may do no harm is a warning in the log.
"""

from __future__ import annotations

import importlib.util
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from bannister.runtime.formats import versions
from bannister.runtime.formats.loading import LoadError, brief, missing, package_of
from bannister.runtime.formats.served import Served

#: Whose pickles are known to change.
LIBRARIES = ("sklearn", "xgboost", "lightgbm")


def is_pickle(file: Path) -> bool:
    """Whether a file without a telling name is a pickle of protocol 2 or later."""
    with file.open("rb") as stream:
        return stream.read(1) == pickle.PROTO


def load(file: Path) -> Any:
    """Load a pickled model.

    Raises:
        LoadError: It cannot be loaded, or a library is missing.
    """
    read = _reader(file)
    try:
        return read(file)
    except ModuleNotFoundError as error:
        if _is_there(error):
            raise _unreadable(file, error) from error
        raise missing(error, file) from error
    except Exception as error:
        raise _unreadable(file, error) from error


def try_out(served: Served, file: Path) -> None:
    """Predict one row of zeros, for what a model of another version lacks is found no sooner.

    Only that counts: zeros may be no sensible row, so whatever else goes wrong proves nothing.

    Raises:
        LoadError: The model lacks something of its own.
    """
    if served.features is None:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            served.predict(np.zeros((1, served.features)))
    except AttributeError as error:
        library = type(getattr(error, "obj", None)).__module__.partition(".")[0]  # Python 3.9 does not say
        if library in LIBRARIES:
            by, here = _versions(file, library)
            raise LoadError(
                f"{file.name} was pickled by {by}, and cannot predict with {here} ({brief(error)}): {_remedy(file, library)}."
            ) from error
    except Exception:  # noqa: BLE001 - see above
        pass


def _reader(file: Path) -> Any:
    try:
        return importlib.import_module("joblib").load
    except ImportError as error:
        if file.suffix == ".joblib":
            raise LoadError(
                f"{file.name} needs joblib, which this Python does not have: name it in code/requirements.txt ({error})."
            ) from error
    return _unpickled


def _unpickled(file: Path) -> Any:
    with file.open("rb") as stream:
        return pickle.load(stream)


def _is_there(error: ModuleNotFoundError) -> bool:
    """Whether it is a part of a library that is missing, and not the library: versions differ in their parts."""
    name = error.name or ""
    return (
        "." in name and not name.startswith("numpy.") and importlib.util.find_spec(name.partition(".")[0]) is not None
    )


def _unreadable(file: Path, error: Exception) -> LoadError:
    for library, wrote in versions.written_by(file).items():
        if versions.imported(library) not in (None, wrote):
            by, here = _versions(file, library)
            return LoadError(
                f"{file.name} was pickled by {by}, and cannot be loaded by {here} ({brief(error)}): {_remedy(file, library)}."
            )
    if isinstance(error, AttributeError):  # "Can't get attribute 'Scaler' on <module '__main__' …>"
        return LoadError(
            f"{file.name} cannot be loaded: {brief(error)}. Its classes must be importable: put them into a module in code/, and "
            "pickle the model from there."
        )
    return LoadError(
        f"{file.name} cannot be loaded: {brief(error)}. It is damaged, or other versions of its libraries pickled it: pin those "
        "in code/requirements.txt."
    )


def _versions(file: Path, library: str) -> tuple[str, str]:
    wrote, here = versions.written_by(file).get(library), versions.imported(library)
    name = package_of(library)
    return (f"{name} {wrote}" if wrote else f"another {name}"), str(here)


def _remedy(file: Path, library: str) -> str:
    wrote = versions.written_by(file).get(library)
    return f"pin {package_of(library)}=={wrote or '…'} in code/requirements.txt, or pickle the model again"
