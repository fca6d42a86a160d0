"""Each content type both ways, without a process."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest

from bannister.runtime.content import CSV, JSON, JSON_LINES, NPY, Unacceptable, decode, encode, negotiate

ROWS = np.array([[1.0, 2.5], [3.0, 4.0]])


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=allow_pickle)
    return out.getvalue()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"[[1, 2.5], [3, 4]]", "application/json"),
        (b'{"instances": [[1, 2.5], [3, 4]]}', "application/json; charset=utf-8"),
        (b'{"inputs": [[1, 2.5], [3, 4]]}', "Application/JSON"),
        (b"[1, 2.5]\n\n[3, 4]\n", "application/jsonlines"),
        (b"[1, 2.5]\r\n[3, 4]", "application/x-ndjson"),
        (b"1,2.5\n3,4\n", "text/csv"),
        (b'\xef\xbb\xbf"1", 2.5\r\n3,4', "text/csv; header=absent"),
        (npy(ROWS), "application/x-npy"),
    ],
)
def test_rows_of_numbers_become_an_array(body: bytes, content_type: str) -> None:
    data = decode(body, content_type)
    assert isinstance(data, np.ndarray)
    assert data.tolist() == ROWS.tolist()


@pytest.mark.parametrize("content_type", [JSON, JSON_LINES, CSV, NPY])
def test_what_is_encoded_decodes_to_the_same(content_type: str) -> None:
    assert decode(encode(ROWS, content_type), content_type).tolist() == ROWS.tolist()


def test_what_is_not_rows_of_numbers_stays_as_json_has_it() -> None:
    assert decode(b'{"age": 3, "carrier": "UA"}', JSON) == {"age": 3, "carrier": "UA"}
    assert decode(b'["a", "b"]', JSON) == ["a", "b"]
    assert decode(b"[[1], [2, 3]]", JSON) == [[1], [2, 3]]
    assert decode(b'[1, "2"]', JSON) == [1, "2"]
    assert decode(b"7", JSON) == 7


def test_missing_numbers_are_nan() -> None:
    assert math.isnan(decode(b"[[1, null]]", JSON)[0, 1])
    assert math.isnan(decode(b"1,\n", CSV)[0, 1])


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"[1, 2", JSON),
        (b"", JSON),
        (b"\xff", JSON),
        (b"[" * 100_000, JSON),
        (b"{}\n{", JSON_LINES),
        (b"1,x\n", CSV),
        (b"1,2\n3\n", CSV),
        (b"", CSV),
        (b"nothing of the kind", NPY),
        (npy(ROWS)[:-3], NPY),
        (npy(np.array([{"a": 1}], dtype=object), allow_pickle=True), NPY),
    ],
)
def test_a_body_that_is_not_of_its_type_is_the_clients_mistake(body: bytes, content_type: str) -> None:
    with pytest.raises(Unacceptable) as refused:
        decode(body, content_type)
    assert refused.value.status == 400
    assert content_type in str(refused.value)


def test_an_unknown_type_is_refused_with_what_is_supported() -> None:
    with pytest.raises(Unacceptable, match="text/csv") as refused:
        decode(b"", "image/png")
    assert refused.value.status == 415


@pytest.mark.parametrize(
    ("prediction", "content_type", "body"),
    [
        (np.array([0, 1]), JSON, b"[0, 1]"),
        (np.float64(0.5), JSON, b"0.5"),
        ({"label": np.bool_(True), "scores": np.array([0.5])}, JSON, b'{"label": true, "scores": [0.5]}'),
        ([1.0, math.nan, -math.inf], JSON, b"[1.0, null, null]"),
        (np.array([[1, 2], [3, 4]]), JSON_LINES, b"[1, 2]\n[3, 4]\n"),
        ([{"a": 1}], JSON_LINES, b'{"a": 1}\n'),
        (np.array([0, 1]), CSV, b"0\n1\n"),
        (np.array([[1, 2], [3, 4]]), CSV, b"1,2\n3,4\n"),
        (["on, time"], CSV, b'"on, time"\n'),
    ],
)
def test_predictions_as_bodies(prediction: object, content_type: str, body: bytes) -> None:
    assert encode(prediction, content_type) == body


@pytest.mark.parametrize(
    ("prediction", "content_type"),
    [(object(), JSON), ({"a": 1}, CSV), (np.zeros((2, 2, 2)), CSV), (np.array([{}], dtype=object), NPY)],
)
def test_a_prediction_without_such_a_form_is_not_acceptable(prediction: object, content_type: str) -> None:
    with pytest.raises(Unacceptable) as refused:
        encode(prediction, content_type)
    assert refused.value.status == 406


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("text/csv", CSV),
        ("text/*", CSV),
        ("text/html, application/x-npy;q=0.5, */*;q=0.1", NPY),
        ("application/json;q=0.2, text/csv;q=0.9", CSV),
        ("application/jsonl", JSON_LINES),
    ],
)
def test_the_type_the_client_likes_best(accept: str, chosen: str) -> None:
    assert negotiate(accept) == chosen


@pytest.mark.parametrize("accept", ["text/html", "text/csv;q=0", "image/*"])
def test_a_client_that_likes_none_is_told(accept: str) -> None:
    with pytest.raises(Unacceptable) as refused:
        negotiate(accept)
    assert refused.value.status == 406


def test_json_is_what_other_parsers_read() -> None:
    assert json.loads(encode({"a": {"b": [math.inf]}}, JSON)) == {"a": {"b": [None]}}
