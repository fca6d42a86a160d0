"""LightGBM's Boosters: its text files, and those that were pickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bannister.runtime.formats.loading import LoadError, brief, library
from bannister.runtime.formats.rows import table
from bannister.runtime.formats.served import Served

_BEGINNING_BYTES = 256


def recognises(file: Path) -> bool:
    """Whether a `.txt` file is a Booster; most are something else."""
    with file.open("rb") as stream:
        lines = stream.read(_BEGINNING_BYTES).split()
    return lines[:1] == [b"tree"] and any(line.startswith(b"version=") for line in lines[1:])


def load(file: Path) -> Any:
    """Read a Booster's text file.

    Raises:
        LoadError: It cannot be read, or the library is missing.
    """
    lightgbm = library("lightgbm", file)
    if not recognises(file):  # the library would end the process, or make a model without trees
        raise LoadError(f"{file.name} is no text file of LightGBM's: save the Booster with save_model.")
    try:
        return lightgbm.Booster(model_file=str(file))
    except Exception as error:
        raise LoadError(
            f"{file.name} cannot be read by LightGBM {lightgbm.__version__} ({brief(error)}): save the model again."
        ) from error


class Boosted(Served):
    """A Booster, which takes rows of numbers; it predicts with its best iteration by itself."""

    @property
    def features(self) -> int | None:
        return int(self.model.num_feature())

    def predict(self, data: Any) -> Any:
        return self.model.predict(table(data, self.features, self.model.feature_name()))
