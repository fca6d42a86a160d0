"""From an answer's bytes to values that can be compared, by its content type.

JSON, JSON Lines and CSV become plain values; NPY becomes an array, never by unpickling; KServe's V2 answers become their outputs by
name. Everything else stays bytes. What a model answers is anybody's: reading is bounded and fails only as `Unreadable`.
"""

from __future__ import annotations

import ast
import csv
import json
import math
import re
import sys
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from bannister.domain.comparison import grid
from bannister.domain.comparison.grid import Beginning, Grid, Table

#: Longer bodies are compared as bytes.
READ_BYTES_MAX: Final = 4 * 1024 * 1024

#: Of CSV that is not all numbers, the rest is not read.
CSV_CELLS_MAX: Final = 100_000
#: Shorter CSV is read cell by cell: for few numbers, arrays cost more than they save.
_GRID_BYTES_MIN: Final = 512
#: Rows for each column from which on columns are read at once.
_COLUMN_ROWS_MIN: Final = 16
#: Longer cells are text.
_NUMBER_LENGTH_MAX: Final = 64

_JSON_LINES: Final = frozenset(
    {"application/jsonlines", "application/x-jsonlines", "application/jsonl", "application/x-ndjson"}
)
_CSV_LINE: Final = re.compile(r"[^\r\n]*(?:\r\n|[\r\n])|[^\r\n]+")
#: Digits after a leading zero are a code (`007`), not a number.
_WHOLE_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)", re.ASCII)
_NUMBER = re.compile(
    r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)(e[+-]?\d{1,6})?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE
)

_NPY_MAGIC: Final = b"\x93NUMPY"
_NPY_HEADER_BYTES_MAX: Final = 4096
#: Kinds of elements that are compared: truth values, whole numbers, floats, and text.
_NPY_KINDS: Final = "biufSU"

#: What V2 says of what an output is like.
_V2_FORM: Final = frozenset({"datatype", "shape"})
#: What V2 says of an answer as a whole; it names the version, so it differs between versions by nature.
_V2_ENVELOPE: Final = frozenset({"id", "model_name", "model_version", "parameters"})


class Unreadable(ValueError):
    """The body is not what its content type says; the sentence says why."""


def media_type(content_type: str | None) -> str | None:
    """A content type without its parameters; None: none was given."""
    if content_type is None:
        return None
    return content_type.partition(";")[0].strip().lower() or None


def read(body: bytes, media: str | None) -> Any:
    """Values of a body. Those of no known type are the bytes themselves.

    Raises:
        Unreadable: It is not what its type says.
    """
    if media is None or len(body) > READ_BYTES_MAX:
        return body
    if media in _JSON_LINES:
        return [_json(line) for line in body.splitlines() if line.strip()]
    if media == "application/json" or media.endswith("+json"):
        return _by_name(_json(body))
    if media == "text/csv":
        return _csv(body)
    if media == "application/x-npy":
        return _npy(body)
    return body


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # it may still be what others write as JSON: with NaN, or in UTF-16
    try:
        return json.loads(body)
    except RecursionError:
        raise Unreadable("is nested too deeply") from None
    except ValueError as error:  # bad JSON, bad UTF-8, a number of thousands of digits
        raise Unreadable(f"is not JSON ({str(error)[:80]})") from None


def _by_name(answer: Any) -> Any:
    """An answer of KServe's V2 protocol with its outputs as members; any other as it is."""
    if not isinstance(answer, dict) or not isinstance(answer.get("outputs"), list):
        return answer
    outputs = answer["outputs"]
    named = [one for one in outputs if isinstance(one, dict) and isinstance(one.get("name"), str) and "data" in one]
    by_name = {one["name"]: _flat(one) for one in named}
    if not outputs or len(by_name) < len(outputs):
        return answer
    rest = {name: value for name, value in answer.items() if name not in _V2_ENVELOPE}
    return rest | {"outputs": by_name}


class Form(str):
    """What a value is made like. Two that differ are no two values of the same kind."""

    __slots__ = ()


def _flat(output: dict[str, Any]) -> dict[str, Any]:
    """V2 allows data nested as its shape, or flat; both say the same. Another datatype or shape is another structure."""
    data = output["data"]
    while isinstance(data, list) and data and all(isinstance(one, list) for one in data):
        data = [value for row in data for value in row]
    told = {name: value for name, value in output.items() if name != "name"}
    forms = {name: Form(_told(told[name])) for name in _V2_FORM & told.keys()}
    return told | forms | {"data": data}


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _csv(body: bytes) -> list[list[Any]] | Grid | Table | Beginning:
    if len(body) >= _GRID_BYTES_MIN:
        numbers = grid.of_csv(body)
        if numbers is not None:
            return numbers
    rows: list[list[str]] = []
    taken = cells = 0

    def lines() -> Iterator[str]:
        # A quoted cell may hold line breaks, and `splitlines` would break at characters that end no line of CSV.
        nonlocal taken
        for line in _CSV_LINE.finditer(text):
            taken = line.end()
            yield line[0]

    try:
        text = body.decode("utf-8-sig")
        for row in csv.reader(lines()):
            rows.append(row)
            cells += len(row) or 1
            if cells >= CSV_CELLS_MAX:
                break
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8") from None
    except csv.Error as error:
        raise Unreadable(f"is not CSV ({error})") from None
    rest = text[taken:].strip("\r\n")
    if rest:
        return Beginning(_cells(rows), rest)
    # An empty line at the end is how the writer ended; one between others is a row in which nothing was answered.
    while rows and not rows[-1]:
        rows.pop()
    return _cells(rows)


def _cells(rows: list[list[str]]) -> list[list[Any]] | Table:
    width = len(rows[0]) if rows else 0
    if width and len(rows) >= max(_COLUMN_ROWS_MIN, width) and set(map(len, rows)) == {width}:
        columns = [list(column) for column in zip(*rows, strict=True)]
        return Table([grid.of_cells(column) or _column([_cell(cell) for cell in column]) for column in columns])
    return [[_cell(cell) for cell in row] for row in rows]


def _column(cells: list[Any]) -> Grid | list[Any]:
    return grid.of_numbers(cells) or cells


def _cell(text: str) -> str | int | float:
    text = text.strip()
    if len(text) > _NUMBER_LENGTH_MAX:
        return text
    if _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _npy(body: bytes) -> Any:
    import numpy as np

    if body[:6] != _NPY_MAGIC or len(body) < 12:
        raise Unreadable("is not NPY (it does not begin as NPY does)")
    width = 2 if body[6] == 1 else 4
    length = int.from_bytes(body[8 : 8 + width], "little")
    begin = 8 + width
    if body[6] not in (1, 2, 3) or length > _NPY_HEADER_BYTES_MAX or begin + length > len(body):
        raise Unreadable("is not NPY (its header is not one)")
    try:
        header = ast.literal_eval(body[begin : begin + length].decode("utf-8").strip())
        descr, shape, fortran = header["descr"], header["shape"], header["fortran_order"]
        kind = np.dtype(descr) if isinstance(descr, str) else None
        sound = isinstance(shape, tuple) and all(type(one) is int and one >= 0 for one in shape)
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        raise Unreadable("is not NPY (its header cannot be read)") from None
    if kind is None or kind.kind not in _NPY_KINDS or kind.itemsize == 0 or (kind.kind == "f" and kind.itemsize > 8):
        raise Unreadable(f"holds elements of type {str(descr)[:40]}, which are not compared")
    if not sound or len(shape) > 32 or math.prod(shape) * kind.itemsize != len(body) - begin - length:
        raise Unreadable("is not NPY (its shape is not that of its data)")
    try:
        flat = np.frombuffer(body[begin + length :], kind) if begin + length < len(body) else np.empty(0, kind)
        if kind.kind == "U" and (flat.view(kind.byteorder.replace("|", "=") + "u4") > sys.maxunicode).any():
            raise Unreadable("holds text with characters that are none")
        return flat.reshape(shape, order="F" if fortran else "C")
    except Unreadable:
        raise
    except ValueError:  # a shape of nothing that is larger than an array can be
        raise Unreadable("is not NPY (its shape is too large)") from None
