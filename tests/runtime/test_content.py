"""Each content type both ways, without a process."""

from __future__ import annotations

import contextlib
import io
import json
import math
import tracemalloc

import numpy as np
import pytest

from bannister.runtime.content import (
    CSV,
    JSON,
    JSON_LINES,
    NPY,
    REASON_CHARACTERS_MAX,
    Unacceptable,
    decode,
    encode,
    negotiate,
)

ROWS = np.array([[1.0, 2.5], [3.0, 4.0]])


def npy(array: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=allow_pickle)
    return out.getvalue()


def npy_with_header(header: str, data: bytes = b"", major: int = 1) -> bytes:
    return (
        b"\x93NUMPY"
        + bytes([major, 0])
        + len(header).to_bytes(2 if major == 1 else 4, "little")
        + header.encode()
        + data
    )


def npy_of_shape(shape: str, kind: str = "<f8") -> bytes:
    return npy_with_header(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}", bytes(16))


def npz(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, array)
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
        (b"1,2.5\r3,4\r", "text/csv"),
        (b"1,2.5\n3," + b"0" * 200_000 + b"4\n", "text/csv"),
        (npy(ROWS), "application/x-npy"),
        (npy(np.asfortranarray(ROWS)), "application/x-npy"),
        (npy_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2)}", ROWS.tobytes(), major=2), NPY),
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


@pytest.mark.parametrize("body", ['["{}"{}]', '{{"instances": ["{}"{}]}}', '{{"inputs": [[1], ["{}"{}]]}}'])
def test_one_long_text_takes_no_room_for_each_short_one(body: str) -> None:
    tracemalloc.start()
    try:
        data = decode(body.format("x" * 10_000, ', "y"' * 1000).encode(), JSON)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(data, list)
    assert most < 1_000_000  # numpy would take 40 MB


def test_numbers_beside_text_that_is_not_theirs_are_an_array() -> None:
    assert decode(b'{"signature_name": "x", "instances": [[1, null], [2, 3.5]]}', JSON).shape == (2, 2)
    assert decode(b'{"inputs": [true]}', JSON).tolist() == [True]


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
        (b"1,\0\n", CSV),
        (b"x" * 200_000, CSV),
        (b"[" + b"9" * 400 + b", null]", JSON),
        (b"[" + b"9" * 5000 + b"]", JSON),
        (b"", NPY),
        (b"PK\x03\x04", NPY),
        (npz(ROWS), NPY),
        (npy_of_shape("(1000000000000,)"), NPY),
        (npy_of_shape("(1000000000000,)", "|S0"), NPY),
        (npy_of_shape("(3,)"), NPY),
        (npy_of_shape("(-1, -2)"), NPY),
        (npy_of_shape("(True,)"), NPY),
        (npy_of_shape("(" + "9" * 30 + ",)"), NPY),
        (npy_of_shape("(" + "1," * 70 + ")"), NPY),
        (npy_of_shape("(2,"), NPY),
        (npy_of_shape("(2,)", "|O"), NPY),
        (npy_of_shape("(2,)", "nothing"), NPY),
        (npy_with_header("{'descr': '<f8', 'shape': ("), NPY),
        (npy_with_header("{" * 9000), NPY),
        (npy_with_header("{}", major=3), NPY),
        (b"nothing of the kind", NPY),
        (npy(ROWS)[:-3], NPY),
        (npy(np.array([{"a": 1}], dtype=object), allow_pickle=True), NPY),
    ],
)
def test_a_body_that_is_not_of_its_type_is_the_clients_mistake(body: bytes, content_type: str) -> None:
    with pytest.raises(Unacceptable) as refused:
        decode(body, content_type)
    assert refused.value.status == 400
    assert str(refused.value).startswith(f"The body is not valid {content_type}: ")
    assert 0 < len(str(refused.value).partition(": ")[2]) <= REASON_CHARACTERS_MAX


def test_any_cut_and_any_changed_byte_of_an_array_is_read_or_refused() -> None:
    whole = npy(ROWS)
    damaged = [whole[:length] for length in range(len(whole))]
    damaged += [
        whole[:place] + bytes([byte]) + whole[place + 1 :] for place in range(130) for byte in b"\0'(),:9L[]{}\xff"
    ]
    sizes = set()
    for body in damaged:
        with contextlib.suppress(Unacceptable):
            sizes.add(decode(body, NPY).nbytes)
    assert max(sizes) <= len(whole)


def test_a_model_may_write_to_its_rows() -> None:
    body = npy(ROWS)
    decode(body, NPY)[0, 0] = 7
    assert decode(body, NPY).tolist() == ROWS.tolist()


def test_an_array_without_rows_is_one() -> None:
    assert decode(npy(np.zeros((0, 3))), NPY).shape == (0, 3)
    assert decode(npy(np.array(2.0)), NPY).shape == ()


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
    [({"a": 1}, CSV), (np.zeros((2, 2, 2)), CSV), (np.array([{}], dtype=object), NPY)],
)
def test_a_prediction_without_such_a_form_is_not_acceptable(prediction: object, content_type: str) -> None:
    with pytest.raises(Unacceptable) as refused:
        encode(prediction, content_type)
    assert refused.value.status == 406


@pytest.mark.parametrize("content_type", [JSON, JSON_LINES, CSV, NPY])
@pytest.mark.parametrize("prediction", [object(), {np.int64(1): 0.5}, [b"x", object()]])
def test_a_prediction_without_any_form_is_the_models_mistake(prediction: object, content_type: str) -> None:
    with pytest.raises(TypeError):
        encode(prediction, content_type)


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
