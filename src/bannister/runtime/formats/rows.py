"""Decoded data as rows of numbers, for models that take nothing else."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from bannister.runtime.content import Unacceptable


def table(data: Any, features: int | None, names: Sequence[str] | None) -> Any:
    """A table of numbers with a row for each prediction; one row may come without its list, rows of named features in any order.

    Raises:
        Unacceptable: 400, these are no rows of `features` numbers each.
    """
    if isinstance(data, dict):
        data = [data]
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        data = _by_name(data, names)
    if not isinstance(data, np.ndarray) or data.dtype.kind not in "biuf":
        raise Unacceptable(400, "The model takes rows of numbers.")
    data = at_least_one_row(data)
    if data.ndim != 2:
        raise Unacceptable(400, f"The model takes rows of numbers, and the data have {data.ndim} dimensions.")
    check_features(data.shape[1], features)
    return data


def at_least_one_row(data: Any) -> Any:
    """Without a dimension for rows, it is one."""
    return data.reshape(1, -1) if data.ndim < 2 else data


def check_features(given: int, expected: int | None) -> None:
    """Refuse rows of another length than the model was trained with.

    Raises:
        Unacceptable: 400.
    """
    if expected is not None and given != expected:
        raise Unacceptable(400, f"The model expects {expected} features a row, and the rows have {given}.")


def check_names(row: Container[str], names: Sequence[str]) -> None:
    """Refuse a row that lacks a feature.

    Raises:
        Unacceptable: 400.
    """
    lacking = [name for name in names if name not in row]
    if lacking:
        raise Unacceptable(400, f"The model's features {', '.join(lacking)} are missing.")


def _by_name(rows: list[dict[str, Any]], names: Sequence[str] | None) -> Any:
    if not names:
        raise Unacceptable(400, "The model knows no names of features: send rows of numbers.")
    for row in rows:
        check_names(row, names)
    try:
        return np.array([[row[name] for name in names] for row in rows], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise Unacceptable(400, f"The model takes numbers: {error}") from error
