"""What a model's folder holds: the user's functions, the toolkit's defaults for those that are missing, and the model itself.

The user's code is `code/inference.py` (or `inference.py` at the top; `SAGEMAKER_PROGRAM` and `SAGEMAKER_SUBMIT_DIRECTORY` name
others) and may define any of

    model_fn(model_dir)                 -> model; default: the model file that is there (`formats`)
    input_fn(body, content_type)        -> data; body is text for JSON and CSV, otherwise bytes
    predict_fn(data, model)             -> prediction
    output_fn(prediction, accept)       -> body, or (body, content type)
    transform_fn(model, body, content_type, accept)     in place of the last three

each with a further parameter `context` if it wants one. What is done where one is missing depends on the kind of the model (`formats.served`).
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

from bannister.runtime import content
from bannister.runtime.formats import finding, pickled
from bannister.runtime.formats.finding import Loaded
from bannister.runtime.formats.loading import LoadError
from bannister.runtime.formats.served import Served

#: Where the toolkit's containers have the artifact; a path below it means the artifact's folder.
CONTAINER_MODEL_DIR = "/opt/ml/model"

Function = Callable[..., Any]


@dataclass(frozen=True)
class Artifact:
    """A loaded model with the user's functions; None: the default. Each function takes `context` as its last argument."""

    served: Served
    input_fn: Function | None
    predict_fn: Function | None
    output_fn: Function | None
    transform_fn: Function | None
    #: What may be wrong with the model, for its user to see; sentences.
    warnings: tuple[str, ...] = ()

    @property
    def model(self) -> Any:
        return self.served.model

    @property
    def default_accept(self) -> str:
        """The content type of an answer to a client that accepts anything."""
        return content.JSON if self._answers_itself() else self.served.default_accept

    def decode(self, body: bytes, content_type: str) -> Any:
        """The default `input_fn`.

        Raises:
            Unacceptable: The body cannot be decoded.
        """
        data = self.served.decode(body, content_type)
        return self.served.given(data) if self.predict_fn else data

    def predict(self, data: Any) -> Any:
        """The default `predict_fn`.

        Raises:
            Unacceptable: 400, the data have not the form that the model was trained on.
        """
        return self.served.predict(data)

    def encode(self, prediction: Any, content_type: str) -> bytes:
        """The default `output_fn`.

        Raises:
            Unacceptable: 406, this prediction has no form of this type.
        """
        encode = content.encode if self._answers_itself() else self.served.encode
        return encode(prediction, content_type)

    def _answers_itself(self) -> bool:
        """Whether code of the user's makes the answers, and not the model as it is."""
        return bool(self.predict_fn or self.output_fn or self.transform_fn)


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
    predicts_itself = predict_fn or transform_fn
    loaded = None if model_fn else _model_from_file(model_dir, required=not predicts_itself)
    served = finding.serve(model_fn(str(model_dir), context) if model_fn else loaded and loaded.model)
    if loaded:
        served.bound_threads()
    if not predicts_itself:
        served.check()
        if loaded and loaded.doubtful:
            pickled.try_out(served, loaded.file)
    return Artifact(served, input_fn, predict_fn, output_fn, transform_fn, loaded.warnings if loaded else ())


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
    """The folder meant, or None: what an `s3://` address names is in the artifact's folder `code` by now."""
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


def _model_from_file(model_dir: Path, *, required: bool) -> Loaded | None:
    try:
        loaded = finding.load(model_dir)
    except LoadError as error:
        if required:
            raise
        print(f"WARNING: {error} The user's code gets no model.")  # its files are its own affair
        return None
    if loaded is None and required:
        raise LoadError(
            "The artifact has neither code/inference.py with a model_fn nor a model file "
            f"({finding.known_files()}): {model_dir}."
        )
    return loaded
