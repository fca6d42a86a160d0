"""Content types: request bodies to data for `predict`, and predictions to response bodies.

| type | in | out |
| --- | --- | --- |
| `application/json` | any value; `{"instances": [...]}` and `{"inputs": [...]}` are unwrapped, unless a model has inputs of that name | any value |
| `application/jsonlines` | one value a line | one value a line |
| `text/csv` | rows of numbers, no header; an empty cell is missing (NaN) | rows |
| `application/x-npy` | an array; never a pickled one, which could run code | an array |

Lists of numbers become numpy arrays; anything else stays as JSON has it.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Collection
from typing import Any

import numpy as np

JSON = "application/json"
JSON_LINES = "application/jsonlines"
CSV = "text/csv"
NPY = "application/x-npy"

#: Of what a decoder says, which may repeat the body.
REASON_CHARACTERS_MAX = 500

SUPPORTED = (JSON, JSON_LINES, CSV, NPY)
_ALIASES = {
    "application/jsonlines": JSON_LINES,
    "application/x-jsonlines": JSON_LINES,
    "application/jsonl": JSON_LINES,
    "application/x-ndjson": JSON_LINES,
    "application/csv": CSV,
    "application/npy": NPY,
}

# A cell is bounded by its body. The standard library's limit holds for the whole process, so it is lifted once and for all.
csv.field_size_limit(sys.maxsize)


class Unacceptable(Exception):
    """The client's mistake; `status` is 400, 406 or 415 and the message says what to send instead."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def media_type(header: str) -> str:
    """The type without its parameters, by its usual name."""
    name = header.partition(";")[0].strip().lower()
    return _ALIASES.get(name, name)


def decode(body: bytes, content_type: str, names: Collection[str] = ()) -> Any:
    """Data from a request's body. `names`: of several inputs; a JSON object that has all of them is these inputs.

    Raises:
        Unacceptable: 415, no decoder for this type; 400, the body is not of this type.
    """
    kind = media_type(content_type)
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise Unacceptable(
            415,
            f"Content type {content_type!r} cannot be decoded. Send one of {', '.join(SUPPORTED)}, or define input_fn.",
        )
    try:
        return _decode_json(body, names) if kind == JSON else decoder(body)
    except Exception as error:  # whatever a body makes a decoder raise is the mistake of who sent it, never the model's
        reason = (str(error) or type(error).__name__)[:REASON_CHARACTERS_MAX]
        raise Unacceptable(400, f"The body is not valid {kind}: {reason}") from error


def encode(prediction: Any, content_type: str) -> bytes:
    """A prediction as a body of one of the supported types.

    Raises:
        Unacceptable: 406, this prediction has no form of this type, and has one as JSON, which the client can ask for.
        Exception: It has none at all, which is the model's mistake.
    """
    kind = media_type(content_type)
    try:
        return _ENCODERS[kind](prediction)
    except KeyError:
        raise Unacceptable(406, f"There is no encoder for {kind}. Accept one of {', '.join(SUPPORTED)}.") from None
    except (TypeError, ValueError, RecursionError) as error:
        _encode_json(prediction)
        raise Unacceptable(406, f"The prediction cannot be given as {kind}: {error}") from error


def negotiate(accept: str) -> str:
    """The supported type that the client likes best; JSON where it does not care.

    Raises:
        Unacceptable: 406, it likes none of them.
    """
    if not accept.strip():
        return JSON
    preferences = sorted(_preferences(accept), key=lambda preference: -preference[1])
    for wanted, quality in preferences:
        if quality <= 0:
            continue
        for offered in SUPPORTED:
            if wanted in (offered, "*/*") or (wanted.endswith("/*") and offered.startswith(wanted[:-1])):
                return offered
    raise Unacceptable(406, f"Accept {accept!r} names no type that can be given. Accept one of {', '.join(SUPPORTED)}.")


def _preferences(accept: str) -> list[tuple[str, float]]:
    found = []
    for entry in accept.split(","):
        quality = 1.0
        for parameter in entry.split(";")[1:]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        found.append((media_type(entry), quality))
    return found


def _decode_json(body: bytes, names: Collection[str] = ()) -> Any:
    value = json.loads(body)
    if isinstance(value, dict) and not (names and all(name in value for name in names)):
        for wrapper in ("instances", "inputs"):
            if wrapper in value:
                return _as_array(value[wrapper], may_hold_text=body.count(b'"') > 2)
    return _as_array(value, may_hold_text=b'"' in body)


def _decode_json_lines(body: bytes) -> Any:
    rows = [json.loads(line) for line in body.splitlines() if line.strip()]
    return _as_array(rows, may_hold_text=b'"' in body)


def _decode_csv(body: bytes) -> Any:
    rows = []
    lines = io.StringIO(body.decode("utf-8-sig"), newline=None)  # None: a line may also end in \r\n, or in \r alone
    for number, cells in enumerate(csv.reader(lines), start=1):
        if not cells:
            continue
        try:
            rows.append([float(cell) if cell.strip() else math.nan for cell in cells])
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if len(cells) != len(rows[0]):
            raise ValueError(f"line {number} has {len(cells)} cells, the first line {len(rows[0])}")
    if not rows:
        raise ValueError("there is no row")
    return np.array(rows, dtype=np.float64)


def _decode_npy(body: bytes) -> Any:
    # Not with np.load: it also opens archives and pickles, and makes room for as much as the header says.
    stream = io.BytesIO(body)
    major, minor = np.lib.format.read_magic(stream)
    read_header = _NPY_HEADERS.get((major, minor))
    if read_header is None:
        raise ValueError(f"it has version {major}.{minor} of the format; send version 1.0 or 2.0")
    shape, is_fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects; send numbers")
    if any(isinstance(length, bool) or length < 0 for length in shape):
        raise ValueError(f"its shape is {shape}")
    begin = stream.tell()
    size = math.prod(shape) * dtype.itemsize
    if size > len(body) - begin or not dtype.itemsize:
        raise ValueError(f"its header announces {size} bytes of data of type {dtype}, and it has {len(body) - begin}")
    given = np.ndarray(shape, dtype, body, begin, order="F" if is_fortran else "C")
    return given.copy(order="K")  # a model may write to it


def _as_array(value: Any, *, may_hold_text: bool) -> Any:
    """Lists of numbers as an array, with null as NaN; everything else as it is."""
    # An array of texts has for each the room of the longest: a short body could ask for all the memory there is.
    if not isinstance(value, list) or (may_hold_text and not _is_numbers(value)):
        return value
    try:
        array = np.array(value)
        if array.dtype == object:
            array = array.astype(np.float64)
    except (ValueError, TypeError):  # rows of different lengths, objects, text among numbers
        return value
    return array if array.dtype.kind in "biuf" else value


def _is_numbers(value: list[Any]) -> bool:
    kinds = set(map(type, value))
    return kinds <= _NUMBERS or (kinds == {list} and all(map(_is_numbers, value)))


def _encode_json(prediction: Any) -> bytes:
    try:
        return json.dumps(prediction, default=_plain, allow_nan=False).encode()
    except ValueError:
        # JSON has no NaN and no infinity, and a parser may refuse the whole answer for one of them.
        return json.dumps(_finite(json.loads(json.dumps(prediction, default=_plain)))).encode()


def _encode_json_lines(prediction: Any) -> bytes:
    rows = _plain_rows(prediction)
    return b"".join(_encode_json(row) + b"\n" for row in rows)


def _encode_csv(prediction: Any) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in _plain_rows(prediction):
        if isinstance(row, dict) or (isinstance(row, list) and any(isinstance(cell, (list, dict)) for cell in row)):
            raise ValueError("it has more than rows and columns")
        writer.writerow(row if isinstance(row, list) else [row])
    return out.getvalue().encode()


def _encode_npy(prediction: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(prediction), allow_pickle=False)
    return out.getvalue()


def _plain_rows(prediction: Any) -> list[Any]:
    plain = json.loads(json.dumps(prediction, default=_plain))
    return plain if isinstance(plain, list) else [plain]


def _plain(value: Any) -> Any:
    """What `json` does not know: numpy's and pandas's values, tuples within them, sets, bytes."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "to_dict"):
        return value.to_dict(orient="records")
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


_NUMBERS = {int, float, bool, type(None)}
# Version 3.0 is for fields whose names are not Latin, and has no public reader.
_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_DECODERS = {JSON: _decode_json, JSON_LINES: _decode_json_lines, CSV: _decode_csv, NPY: _decode_npy}
_ENCODERS = {JSON: _encode_json, JSON_LINES: _encode_json_lines, CSV: _encode_csv, NPY: _encode_npy}
