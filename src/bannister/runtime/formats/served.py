"""A loaded model, and what is done with it where the user's code does not say; this one for scikit-learn and whatever has a `predict`."""

from __future__ import annotations

from typing import Any

import numpy as np

from bannister.runtime import content
from bannister.runtime.content import Unacceptable
from bannister.runtime.formats.loading import LoadError
from bannister.runtime.formats.rows import at_least_one_row, check_features, check_names


class Served:
    """The defaults of the toolkit's functions for one model."""

    #: Answered where the client accepts anything, unless code of the user's makes the answer.
    default_accept = content.JSON

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def features(self) -> int | None:
        """How many numbers a row has; None: the model does not say."""
        count = getattr(self.model, "n_features_in_", None)
        return int(count) if count is not None else None

    def bound_threads(self) -> None:
        """Keep a model that was loaded by itself to the threads that `library_threads` allows."""

    def check(self) -> None:
        """Before the first request: whether `predict` can work at all.

        Raises:
            LoadError: It cannot; the user's code has to say how to predict.
        """
        if not hasattr(self.model, "predict"):
            kind = type(self.model).__name__
            raise LoadError(f"The model is a {kind}, which has no predict: define predict_fn in code/inference.py.")

    def decode(self, body: bytes, content_type: str) -> Any:
        """A request's body as what `predict` takes.

        Raises:
            Unacceptable: 415 or 400, as `content.decode`.
        """
        return content.decode(body, content_type)

    def given(self, data: Any) -> Any:
        """What `decode` gave, as a `predict_fn` of the user's gets it in SageMaker's container for such a model."""
        return data

    def predict(self, data: Any) -> Any:
        """A prediction for each row.

        Raises:
            Unacceptable: 400, the data have not the form that the model was trained on.
        """
        return self.model.predict(_rows(data, self.model))

    def encode(self, prediction: Any, content_type: str) -> bytes:
        """A prediction as a body.

        Raises:
            Unacceptable: 406, as `content.encode`.
        """
        return content.encode(prediction, content_type)


def _rows(data: Any, model: Any) -> Any:
    if isinstance(data, dict):
        data = [data]
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        data = _frame(data, getattr(model, "feature_names_in_", None))
    if isinstance(data, np.ndarray):
        data = at_least_one_row(data)
        check_features(data.shape[-1], getattr(model, "n_features_in_", None))
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
    check_names(table, names)
    return table[list(names)]
