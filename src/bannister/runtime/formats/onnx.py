"""ONNX files, run by onnxruntime.

A model with one input takes rows as any other does. One with several takes them by name: an object of arrays, or rows of named values.
One output is the prediction; several are an object by name, which only JSON can hold.

onnxruntime has threads of its own, which `OMP_NUM_THREADS` does not bound, as many as there are cores for each model. Here a prediction has as many as
other libraries have, one by default: that of its request.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bannister.runtime import content
from bannister.runtime.content import Unacceptable
from bannister.runtime.formats.loading import LoadError, brief, library, library_threads
from bannister.runtime.formats.rows import check_features, check_names
from bannister.runtime.formats.served import Served

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
#: In the order of preference, of those that this onnxruntime has.
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


def load(file: Path) -> Any:
    """Make a session.

    Raises:
        LoadError: The file cannot be read, or the library is missing.
    """
    onnxruntime = library("onnxruntime", file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = library_threads()
    options.inter_op_num_threads = 1
    # A thread that waits for the next prediction must not take time from other instances.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    available = onnxruntime.get_available_providers()
    try:
        return onnxruntime.InferenceSession(
            str(file), options, providers=[provider for provider in _PROVIDERS if provider in available]
        )
    except Exception as error:
        raise LoadError(
            f"{file.name} cannot be read by onnxruntime {onnxruntime.__version__} ({brief(error)}): if a newer one is needed, "
            "name that in code/requirements.txt, or export with a lower opset."
        ) from error


class Session(Served):
    """An onnxruntime session; safe to run in several threads."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self._inputs = {each.name: each for each in model.get_inputs()}
        self._outputs = [each.name for each in model.get_outputs()]

    def check(self) -> None:
        unknown = [f"{each.name} of type {each.type}" for each in self._inputs.values() if each.type not in _TYPES]
        if unknown:
            raise LoadError(
                f"The model's input {unknown[0]} cannot be made of a request: define predict_fn in code/inference.py."
            )

    def decode(self, body: bytes, content_type: str) -> Any:
        # One of several may be called `inputs`.
        return content.decode(body, content_type, self._inputs if len(self._inputs) > 1 else ())

    def predict(self, data: Any) -> Any:
        feed = {name: _tensor(values, self._inputs[name]) for name, values in self._by_name(data).items()}
        try:
            outputs = self.model.run(None, feed)
        except Exception as error:
            if type(error).__name__ == "InvalidArgument":  # shapes that do not go together
                raise Unacceptable(400, f"The model does not take such data: {brief(error)}.") from error
            raise
        return outputs[0] if len(outputs) == 1 else dict(zip(self._outputs, outputs))  # noqa: B905 - Python 3.9 has no `strict`

    def _by_name(self, data: Any) -> dict[str, Any]:
        names = list(self._inputs)
        if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
            for row in data:
                check_names(row, names)
            return {name: [row[name] for row in data] for name in names}
        if isinstance(data, dict):
            check_names(data, names)
            return {name: data[name] for name in names}
        if len(names) > 1:
            raise Unacceptable(
                400, f"The model has the inputs {', '.join(names)}: send a JSON object with an array for each."
            )
        return {names[0]: data}


def _tensor(values: Any, wanted: Any) -> Any:
    """An array of an input's type and number of dimensions.

    Raises:
        Unacceptable: 400, it cannot be made.
    """
    # As objects: an array of texts has for each the room of the longest, and a short body could ask for all the memory there is.
    given = values if isinstance(values, np.ndarray) else np.array(values, dtype=np.object_)
    array: Any
    try:
        array = given.astype(_TYPES[wanted.type])
        if array.dtype.kind in "iub" and not np.array_equal(array, given.astype(np.float64)):
            raise ValueError("a number is no such number")
        if array.dtype.kind == "O" and not all(isinstance(each, str) for each in array.flat):
            raise ValueError("not all are texts")
    except (TypeError, ValueError, OverflowError) as error:
        raise Unacceptable(400, f"The model's input {wanted.name} is a {wanted.type}: {error}") from error
    shape = wanted.shape
    if not shape:  # any
        return array
    if array.ndim == len(shape) - 1:
        # One row without its list; or, of rows with a single number each, that number.
        array = array.reshape(-1, 1) if shape[-1:] == [1] and array.ndim == 1 else array[np.newaxis]
    if array.ndim != len(shape):
        raise Unacceptable(
            400, f"The model's input {wanted.name} has {len(shape)} dimensions, and the data have {array.ndim}."
        )
    if len(shape) == 2 and isinstance(shape[1], int):
        check_features(array.shape[1], shape[1])
    return array
