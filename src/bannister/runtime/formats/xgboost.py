"""XGBoost's Boosters, answered as SageMaker's XGBoost container does in its algorithm mode.

That is: CSV and libsvm in, and CSV out unless something else is accepted. Its CSV has all predictions on one line, `0.5,0.25`; those with
several numbers each are in brackets, `[0.1, 0.9],[0.8, 0.2]`. Scripts for such endpoints split at commas, so it is the same here.
JSON, JSON Lines and NPY, which that container does not take, are taken too. A Booster that stopped early predicts with its best iteration.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from bannister.runtime import content
from bannister.runtime.content import CSV, REASON_CHARACTERS_MAX, Unacceptable, media_type
from bannister.runtime.formats import versions
from bannister.runtime.formats.loading import LoadError, brief, library, library_threads
from bannister.runtime.formats.rows import table
from bannister.runtime.formats.served import Served

LIBSVM_TYPES = ("text/libsvm", "text/x-libsvm")
#: The first characters of a Booster in JSON: `{"learner": …, "version": …}`, in either order.
_BEGINNING_BYTES = 256


def recognises(file: Path) -> bool:
    """Whether a `.json` file is a Booster; most are something else."""
    with file.open("rb") as stream:
        beginning = b"".join(stream.read(_BEGINNING_BYTES).split())
    return beginning.startswith((b'{"learner":{', b'{"version":['))


def load(file: Path) -> Any:
    """Read a Booster's own file, in any of its formats and whatever its name.

    Raises:
        LoadError: It cannot be read, or the library is missing.
    """
    xgboost = library("xgboost", file)
    booster = xgboost.Booster()
    saved = bytearray(file.read_bytes())
    if not saved:  # XGBoost would abort the process
        raise LoadError(f"{file.name} is empty: save the model again with save_model.")
    try:
        # From memory the format is recognised by the content; by a file's name it would be guessed.
        booster.load_model(saved)
    except Exception as error:
        wrote = versions.written_by(file).get("xgboost")
        by = f", which XGBoost {wrote} wrote," if wrote else ""
        raise LoadError(
            f"{file.name}{by} cannot be read by XGBoost {xgboost.__version__} ({brief(error)}): if it is a model of another version, "
            f"pin xgboost=={wrote or '…'} in code/requirements.txt."
        ) from error
    return booster


class Boosted(Served):
    """A Booster. Predictions are made side by side by trees, and one after the other by linear models, which are not safe."""

    default_accept = CSV

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        kind = json.loads(model.save_config())["learner"]["gradient_booster"]["name"]
        self._turn = threading.Lock() if kind == "gblinear" else None
        best = model.attr("best_iteration")
        self._iterations = (0, int(best) + 1) if best is not None else (0, 0)

    @property
    def features(self) -> int | None:
        return int(self.model.num_features())

    def bound_threads(self) -> None:
        self.model.set_param({"nthread": library_threads()})

    def check(self) -> None:
        if os.environ.get("SAGEMAKER_INFERENCE_OUTPUT"):
            raise LoadError(
                "SAGEMAKER_INFERENCE_OUTPUT chooses columns of XGBoost's answers, which is not supported: remove it, or make the "
                "columns in predict_fn and output_fn of code/inference.py."
            )

    def decode(self, body: bytes, content_type: str) -> Any:
        if media_type(content_type) in LIBSVM_TYPES:
            return decode_libsvm(body)
        return content.decode(body, content_type)

    def given(self, data: Any) -> Any:
        """A DMatrix, as that container's `input_fn` makes; what is no table is given as it is."""
        if isinstance(data, np.ndarray) or hasattr(data, "indptr"):
            return self._matrix(data)
        return data

    def predict(self, data: Any) -> Any:
        matrix = (
            data if type(data).__name__ == "DMatrix" else None
        )  # an input_fn of the user's makes one, as in that container
        if matrix is None and self._turn is None:
            return self.model.inplace_predict(
                self._table(data), iteration_range=self._iterations, validate_features=False
            )
        with self._turn or contextlib.nullcontext():
            return self.model.predict(
                self._matrix(data) if matrix is None else matrix,
                iteration_range=self._iterations,
                validate_features=False,
            )

    def encode(self, prediction: Any, content_type: str) -> bytes:
        if media_type(content_type) == CSV:
            return ",".join(map(str, np.asarray(prediction).tolist())).encode()
        return content.encode(prediction, content_type)

    def _matrix(self, data: Any) -> Any:
        import xgboost

        return xgboost.DMatrix(self._table(data), nthread=library_threads())

    def _table(self, data: Any) -> Any:
        features = self.features
        if not hasattr(data, "indptr"):
            return table(data, features, self.model.feature_names)
        if features is None:
            return data
        if data.shape[1] > features:
            raise Unacceptable(
                400, f"The model has {features} features, from 0, and a row has number {data.shape[1] - 1}."
            )
        # The last features may be missing in every row.
        return type(data)((data.data, data.indices, data.indptr), shape=(data.shape[0], features))


def decode_libsvm(body: bytes) -> Any:
    """Rows of `label index:value …`, with or without the label, as a sparse table; a feature that is not named is missing.

    Raises:
        Unacceptable: 400, these are no such rows.
    """
    from scipy.sparse import csr_matrix  # XGBoost needs it, too

    values: list[float] = []
    columns: list[int] = []
    ends = [0]
    try:
        for number, line in enumerate(body.decode("utf-8").splitlines(), start=1):
            cells = line.split("#")[0].split()
            for cell in cells:
                index, colon, value = cell.partition(":")
                if colon:
                    columns.append(_index(index, number))
                    values.append(float(value))
            if cells:
                ends.append(len(values))
        if len(ends) == 1:
            raise ValueError("there is no row")
    except ValueError as error:
        raise Unacceptable(400, f"The body is not valid libsvm: {str(error)[:REASON_CHARACTERS_MAX]}") from error
    shape = (len(ends) - 1, max(columns, default=-1) + 1)
    return csr_matrix((np.array(values, np.float32), np.array(columns, np.int64), ends), shape=shape)


def _index(text: str, line: int) -> int:
    if not text.isdecimal() or int(text) >= 1 << 31:
        raise ValueError(f"line {line}: {text[:20]!r} is no number of a feature")
    return int(text)
