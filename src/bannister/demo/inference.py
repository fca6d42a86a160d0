"""Serves one version of the flight model: one flight as JSON in, whether it will land late out.

This file goes into every artifact as `code/inference.py`, where the built-in runtime finds it. It runs in the instance, not in the demo.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import sklearn


def model_fn(model_dir: str) -> dict[str, Any]:
    """The release that `training` saved."""
    # The checks are made for whole tables; for one row they cost as much as the prediction.
    sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
    release: dict[str, Any] = joblib.load(Path(model_dir) / "model.joblib")
    # The first prediction imports and allocates; no caller should wait for that.
    release["classifier"].predict_proba(np.zeros((1, len(release["features"]))))
    return release


def predict_fn(flight: dict[str, Any], release: dict[str, Any]) -> dict[str, Any]:
    """How likely the flight lands late, and which version says so."""
    row = np.array([[_value(name, flight, release) for name in release["features"]]], dtype=np.float64)
    probability = float(release["classifier"].predict_proba(row)[0, 1])
    return {"late": probability > 0.5, "probability": round(probability, 4), "version": release["version"]}


def _value(name: str, flight: dict[str, Any], release: dict[str, Any]) -> Any:
    if name in release["codes"]:
        return release["codes"][name].get(flight[name], -1)
    if name == "plane_age":
        # v3's mistake: training joined flights with the aircraft register, and the join dropped flights of unregistered
        # aircraft. Nobody noticed that live traffic has them.
        return flight["year"] - release["plane_years"][flight["tailnum"]]
    return flight[name]
