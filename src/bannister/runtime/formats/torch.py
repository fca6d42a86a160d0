"""PyTorch: TorchScript files, those of `torch.export`, and modules that `model_fn` returns; answered as SageMaker's PyTorch container does.

That is: numbers in JSON and CSV become 32-bit floating-point tensors, an NPY array keeps its type; the module is called with the tensor, without gradients; a tensor that comes
out is the prediction. What is saved with `torch.save` is not run: a state_dict is weights without the model, and a pickled model runs only with the classes of its author.
"""

from __future__ import annotations

import contextlib
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from bannister.runtime import content
from bannister.runtime.content import NPY, Unacceptable, media_type
from bannister.runtime.formats.loading import LoadError, brief, library, library_threads
from bannister.runtime.formats.served import Served

#: Of a pickle in a file of `torch.save`, to find out what it holds.
_PICKLE_BYTES_MAX = 1 << 20
_REMEDY = "define model_fn in code/inference.py, or save the model as TorchScript, or with torch.export.save as .pt2"


def load(file: Path) -> Any:
    """Read a TorchScript file.

    Raises:
        LoadError: It is none, it cannot be read, or the library is missing.
    """
    if why := _why_not_script(file):
        raise LoadError(f"{file.name} {why}: {_REMEDY}.")
    torch = library("torch", file)
    try:
        model = torch.jit.load(str(file), map_location="cpu")
    except Exception as error:
        raise LoadError(
            f"{file.name} cannot be read by PyTorch {torch.__version__} ({brief(error)}): {_REMEDY}."
        ) from error
    return model.eval()


def load_exported(file: Path) -> Any:
    """Read a file of `torch.export.save`.

    Raises:
        LoadError: It cannot be read, or the library is missing.
    """
    torch = library("torch", file)
    try:
        return torch.export.load(str(file)).module()
    except Exception as error:
        raise LoadError(
            f"{file.name} cannot be read by PyTorch {torch.__version__} ({brief(error)}): {_REMEDY}."
        ) from error


class Module(Served):
    """A module; calls to it may run in several threads."""

    def bound_threads(self) -> None:
        import torch

        torch.set_num_threads(library_threads())
        # It can be set once, and only before it is used; code of the user's may have done either.
        with contextlib.suppress(RuntimeError):
            torch.set_num_interop_threads(1)

    def check(self) -> None:
        """It can be called, like every module."""

    def decode(self, body: bytes, content_type: str) -> Any:
        data = content.decode(body, content_type)
        if isinstance(data, np.ndarray) and media_type(content_type) != NPY:
            return data.astype(np.float32)
        return data

    def given(self, data: Any) -> Any:
        """A tensor; what is no array is given as it is."""
        import torch

        return torch.from_numpy(data) if isinstance(data, np.ndarray) else data

    def predict(self, data: Any) -> Any:
        import torch

        tensor = self.given(data)
        if not isinstance(tensor, torch.Tensor):
            raise Unacceptable(400, "The model takes an array of numbers.")
        first = next(iter(self.model.parameters()), None)
        with torch.no_grad():
            return _plain(self.model(tensor if first is None else tensor.to(first.device)))


def _plain(result: Any) -> Any:
    """Tensors, also those within, as arrays."""
    if isinstance(result, (list, tuple)):
        return [_plain(each) for each in result]
    if isinstance(result, dict):
        return {name: _plain(each) for name, each in result.items()}
    return result.detach().cpu().numpy() if hasattr(result, "detach") else result


def _why_not_script(file: Path) -> str | None:
    """What a file is instead of TorchScript, as the end of a sentence; nothing of it is run."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if any(name.endswith("/constants.pkl") for name in names):
                return None
            pickled = next((name for name in names if name.endswith("/data.pkl")), None)
            if pickled is None:
                return "is no file of PyTorch's"
            with archive.open(pickled) as stream:
                return _holds(stream.read(_PICKLE_BYTES_MAX))
    except (zipfile.BadZipFile, OSError):
        # Files of torch.save before PyTorch 1.6 are pickles; TorchScript was never anything but an archive.
        return "is no TorchScript"


def _holds(pickled: bytes) -> str:
    """By the first class that a pickle names."""
    with contextlib.suppress(ValueError, IndexError):
        for operation, argument, _ in pickletools.genops(pickled):
            if operation.name == "GLOBAL" and isinstance(argument, str):
                name = argument.replace(" ", ".")
                if name == "collections.OrderedDict" or name.startswith("torch._utils."):
                    return "is a state_dict, weights without the model"
                return f"is a pickled {name}"
    return "is a checkpoint, not a model"
