"""Exchanges for tests, and answers that hypothesis makes."""

import io
import json
from typing import Any

import numpy as np
from hypothesis import strategies as st

from bannister.domain.capture.exchange import Exchange, Message
from bannister.domain.comparison.compare import Comparison, compare
from bannister.domain.comparison.rules import Rules

JSON, LINES, CSV, NPY = "application/json", "application/jsonlines", "text/csv", "application/x-npy"
MEDIA = (JSON, LINES, CSV, NPY, "text/plain", "application/vnd.x+json; charset=utf-8", "", None)


def exchange(
    body: bytes | None,
    media: str | None = JSON,
    *,
    status: int | None = 200,
    latency_us: int = 1000,
    request_id: str = "r",
    request: bytes = b'{"x": 1}',
) -> Exchange:
    response = None if body is None else Message(body, media)
    return Exchange(request_id, "e", "g", 100.0, 101.0, Message(request, JSON), response, status, latency_us)


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=True)
    return file.getvalue()


def against(old: bytes, new: bytes, media: str | None = JSON, **rules: Any) -> Comparison:
    return compare(exchange(old, media), exchange(new, media), Rules(**rules))


def of_json(old: Any, new: Any, **rules: Any) -> Comparison:
    return against(json.dumps(old).encode(), json.dumps(new).encode(), **rules)


def lines(*values: Any) -> bytes:
    return b"\n".join(json.dumps(value).encode() for value in values)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner, max_size=5),
    max_leaves=20,
)
