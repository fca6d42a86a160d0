"""Small ONNX files, written field by field: the library that makes them takes more room than all other tests' libraries together."""

from __future__ import annotations

import struct
from collections.abc import Sequence

FLOAT, INT64, STRING = 1, 7, 8
#: What every onnxruntime of the last years reads.
_IR_VERSION, _OPSET = 8, 15


def model(
    inputs: dict[str, tuple[int, Sequence[int | str]]],
    outputs: dict[str, tuple[int, Sequence[int | str]]],
    nodes: Sequence[tuple[str, Sequence[str], Sequence[str]]],
    weights: dict[str, list[list[float]]] | None = None,
    ir_version: int = _IR_VERSION,
) -> bytes:
    """Inputs and outputs by name, each with its type and shape; nodes with their operator, inputs and outputs."""
    graph = b"".join(
        [
            *(_field(1, _node(*node)) for node in nodes),
            _field(2, "graph"),
            *(_field(5, _tensor(name, rows)) for name, rows in (weights or {}).items()),
            *(_field(11, _value(name, *each)) for name, each in inputs.items()),
            *(_field(12, _value(name, *each)) for name, each in outputs.items()),
        ]
    )
    opset = _field(1, "") + _field(2, _OPSET)
    return _field(1, ir_version) + _field(7, graph) + _field(8, opset)


def weighted_sum(**changes: int) -> bytes:
    """One input `x` of two features, one output `y`: a + 2 b."""
    return model(
        {"x": (FLOAT, ["rows", 2])},
        {"y": (FLOAT, ["rows", 1])},
        [("MatMul", ["x", "w"], ["y"])],
        {"w": [[1.0], [2.0]]},
        **changes,
    )


def _node(operator: str, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    return b"".join(
        [*(_field(1, name) for name in inputs), *(_field(2, name) for name in outputs), _field(4, operator)]
    )


def _tensor(name: str, rows: list[list[float]]) -> bytes:
    values = [value for row in rows for value in row]
    dimensions = _field(1, len(rows)) + _field(1, len(rows[0]))
    return dimensions + _field(2, FLOAT) + _field(8, name) + _field(9, struct.pack(f"<{len(values)}f", *values))


def _value(name: str, kind: int, shape: Sequence[int | str]) -> bytes:
    dimensions = b"".join(_field(1, _field(1 if isinstance(each, int) else 2, each)) for each in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, dimensions)))


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
