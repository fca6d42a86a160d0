"""What a model's folder holds: the user's functions, the toolkit's defaults for those that are missing, and the model itself.

The user's code is `code/inference.py` (or `inference.py` at the top; `SAGEMAKER_PROGRAM` and `SAGEMAKER_SUBMIT_DIRECTORY` name
others) and may define any of

    model_fn(model_dir)                 -> model; default: a joblib or pickle file of a scikit-learn model
    input_fn(body, content_type)        -> data; body is text for JSON and CSV, otherwise bytes; default: `content.decode`
    predict_fn(data, model)             -> prediction; default: `model.predict`
    output_fn(prediction, accept)       -> body, or (body, content type); default: `content.encode`
    transform_fn(model, body, content_type, accept)     in place of the last three

each with a further parameter `context` if it wants one.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bannister.runtime.content import Unacceptable

#: Where the toolkit's containers have the artifact; a path below it means the artifact's folder.
CONTAINER_MODEL_DIR = "/opt/ml/model"
MODEL_FILES = ("model.joblib", "model.pkl", "model.pickle")
MODEL_SUFFIXES = (".joblib", ".pkl", ".pickle")

Function = Callable[..., Any]


class LoadError(Exception):
    """The folder cannot be served; the message says what is missing and where it was looked for."""


@dataclass(frozen=True)
class Artifact:
    """A loaded model with its functions; None: the default. Each function takes `context` as its last argument."""

    model: Any
    input_fn: Function | None
    predict_fn: Function | None
    output_fn: Function | None
    transform_fn: Function | None


def load(model_dir: Path, environment: Mapping[str, str], context: Any) -> Artifact:
    """Import the user's code, load the model.

    Raises:
        LoadError: Nothing there can be served.
        Exception: Whatever the user's code raises.
    """
    module = _user_module(model_dir, environment)
    model_fn = _function(module, "model_fn", 1)
    input_fn = _function(module, "input_fn", 2)
    predict_fn = _function(module, "predict_fn", 2)
    output_fn = _function(module, "output_fn", 2)
    transform_fn = _function(module, "transform_fn", 4)
    if transform_fn and (input_fn or predict_fn or output_fn):
        raise LoadError("transform_fn takes the place of input_fn, predict_fn and output_fn: define it or them.")
    if model_fn:
        model = model_fn(str(model_dir), context)
    else:
        model = _model_from_file(model_dir, required=not (predict_fn or transform_fn))
    return Artifact(model, input_fn, predict_fn, output_fn, transform_fn)


def predict(data: Any, model: Any) -> Any:
    """The default `predict_fn`: `model.predict` on rows.

    Raises:
        Unacceptable: 400, the data has not the form that the model was trained on.
    """
    return model.predict(_rows(data, model))


def _user_module(model_dir: Path, environment: Mapping[str, str]) -> ModuleType | None:
    program = environment.get("SAGEMAKER_PROGRAM") or "inference.py"
    submitted = _local(environment.get("SAGEMAKER_SUBMIT_DIRECTORY", ""), model_dir)
    folders = [folder for folder in (submitted, model_dir / "code", model_dir) if folder is not None]
    sys.path[:0] = [str(folder) for folder in (*folders[:-1], model_dir / "code" / "lib") if folder.is_dir()]
    for folder in folders:
        if (folder / program).is_file():
            return _import(folder / program)
    if environment.get("SAGEMAKER_PROGRAM"):
        raise LoadError(f"SAGEMAKER_PROGRAM is {program}, and none of {', '.join(map(str, folders))} has it.")
    return None


def _local(submit_directory: str, model_dir: Path) -> Path | None:
    """The folder meant, or None: an `s3://` address is where the SDK once took the code from, and the artifact has it too."""
    path = submit_directory.removeprefix("file://")
    if not path or "://" in path:
        return None
    if path == CONTAINER_MODEL_DIR or path.startswith(CONTAINER_MODEL_DIR + "/"):
        return model_dir / path[len(CONTAINER_MODEL_DIR) :].lstrip("/")
    return Path(path)


def _import(program: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(program.stem, program)
    if spec is None or spec.loader is None:
        raise LoadError(f"{program} is not a Python module.")
    module = importlib.util.module_from_spec(spec)
    # Under its own name, so that a model pickled with classes of this module finds them.
    sys.modules[program.stem] = module
    spec.loader.exec_module(module)
    return module


def _function(module: ModuleType | None, name: str, arguments: int) -> Function | None:
    function: Function | None = getattr(module, name, None)
    if function is None:
        return None
    if not callable(function):
        raise LoadError(f"{name} is not a function.")
    if _accepts(function, arguments + 1):
        return function
    if _accepts(function, arguments):
        return lambda *given: function(*given[:-1])
    raise LoadError(f"{name} must take {arguments} arguments, or {arguments + 1} with a context.")


def _accepts(function: Function, arguments: int) -> bool:
    try:
        inspect.signature(function).bind(*range(arguments))
    except TypeError:
        return False
    return True


def _model_from_file(model_dir: Path, *, required: bool) -> Any:
    file = _model_file(model_dir)
    if file is None:
        if required:
            raise LoadError(
                f"{model_dir} has neither code/inference.py with a model_fn nor a model file "
                f"({', '.join(MODEL_FILES)}, or one *.joblib)."
            )
        return None
    try:
        import joblib  # only such a model needs it
    except ImportError as error:
        raise LoadError(f"Loading {file.name} needs joblib in the model's environment: {error}.") from error
    try:
        model = joblib.load(file)
    except Exception as error:
        raise LoadError(f"{file.name} cannot be loaded: {type(error).__name__}: {error}") from error
    if required and not hasattr(model, "predict"):
        raise LoadError(f"{file.name} holds a {type(model).__name__}, which has no predict: define predict_fn.")
    return model


def _model_file(model_dir: Path) -> Path | None:
    for name in MODEL_FILES:
        if (model_dir / name).is_file():
            return model_dir / name
    found = sorted(path for path in model_dir.iterdir() if path.suffix in MODEL_SUFFIXES) if model_dir.is_dir() else []
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise LoadError(f"{model_dir} holds several models ({names}): call one model.joblib, or define model_fn.")
    return found[0] if found else None


def _rows(data: Any, model: Any) -> Any:
    if isinstance(data, dict):
        data = [data]
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        data = _frame(data, getattr(model, "feature_names_in_", None))
    if isinstance(data, np.ndarray):
        data = data.reshape(1, -1) if data.ndim < 2 else data
        expected = getattr(model, "n_features_in_", None)
        if expected is not None and data.shape[-1] != expected:
            raise Unacceptable(400, f"The model expects {expected} features a row, and the rows have {data.shape[-1]}.")
    return data


def _frame(rows: list[dict[str, Any]], names: Any) -> Any:
    """Named features: a table in the order of training, for pipelines that choose columns by name."""
    try:
        import pandas as pd  # a model trained on one brings it
    except ImportError as error:
        raise Unacceptable(400, "Rows of named features need pandas in the model's environment.") from error
    table = pd.DataFrame(rows)
    if names is None:
        return table
    missing = [name for name in names if name not in table]
    if missing:
        raise Unacceptable(400, f"The model's features {', '.join(missing)} are missing.")
    return table[list(names)]
