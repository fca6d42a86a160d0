"""AWS's JSON protocols 1.0 (CloudWatch) and 1.1 (SageMaker): bytes to values of a shape, and back.

Both send every operation to `POST /`, name it in `X-Amz-Target` as `<service>.<operation>`, and carry the input and the
output as one JSON object. An error is an object with `__type` and `message`. A service that once spoke the query protocol
(`awsQueryCompatible`) had other error codes then; clients that say `x-amzn-query-mode: true` are told those as well, in
`x-amzn-query-error`, and show them as the code.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from bannister.aws.wire.answer import Answer
from bannister.aws.wire.fault import Fault
from bannister.aws.wire.validate import camel

if TYPE_CHECKING:
    from botocore.model import OperationModel, ServiceModel, Shape

_INTEGER_BITS = {"integer": 32, "long": 64}
_ARTICLES = {"string": "a String", "integer": "an Integer", "long": "a Long", "boolean": "a Boolean"}
#: The years 1 to 9999: what every consumer of a timestamp can hold.
_TIME_MIN, _TIME_MAX = -62_135_596_800.0, 253_402_300_799.0


class Malformed(Exception):
    """The body is not JSON, or a value in it has the wrong type. The message says which and where."""


# --- in


def parse(shape: Shape | None, body: bytes) -> dict[str, Any]:
    """An operation's input from a request's body.

    Timestamps become seconds since the epoch, blobs bytes. Members that are null or unknown to the model are left out.

    Raises:
        Malformed: It is not a JSON object, or a value has not the type that the model asks for.
    """
    try:
        document = msgspec.json.decode(body or b"{}")
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Malformed(f"The body is not valid JSON: {error}.") from None
    if not isinstance(document, dict):
        raise Malformed("The body must be a JSON object.")
    return _structure(shape, document, "") if shape is not None else {}


def _value(shape: Shape, found: Any, path: str) -> Any:
    match shape.type_name:
        case "structure":
            return _structure(shape, found, path)
        case "list":
            if not isinstance(found, list):
                raise _mistyped(shape, found, path)
            return [
                None if item is None else _value(shape.member, item, f"{path}.{index}.member")
                for index, item in enumerate(found, start=1)
            ]
        case "map":
            if not isinstance(found, dict):
                raise _mistyped(shape, found, path)
            return {
                key: None if item is None else _value(shape.value, item, f"{path}.{key}.member")
                for key, item in found.items()
            }
        case _:
            return _scalar(shape, found, path)


def _structure(shape: Shape, found: Any, path: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise _mistyped(shape, found, path)
    prefix = f"{path}." if path else ""
    return {
        name: _value(member, found[name], prefix + camel(name))
        for name, member in shape.members.items()
        if found.get(name) is not None
    }


def _scalar(shape: Shape, found: Any, path: str) -> Any:
    match shape.type_name, found:
        case "string" | "character", str():
            return found
        case "boolean", bool():
            return found
        case "integer" | "long", int() | float() if not isinstance(found, bool):
            return _whole_number(shape, found, path)
        case "float" | "double", int() | float() if not isinstance(found, bool):
            return _finite(shape, found, path)
        case "float" | "double", "NaN" | "Infinity" | "-Infinity":
            return float(found)
        case "timestamp", (int() | float() | str()) if not isinstance(found, bool):
            return _timestamp(shape, found, path)
        case "blob", str():
            return _blob(shape, found, path)
        case _:
            raise _mistyped(shape, found, path)


def _whole_number(shape: Shape, found: float, path: str) -> int:
    limit = 2 ** (_INTEGER_BITS[shape.type_name] - 1)
    if found != int(found) or not -limit <= found < limit:
        raise _mistyped(shape, found, path)
    return int(found)


def _finite(shape: Shape, found: float, path: str) -> float:
    try:
        return float(found)
    except OverflowError:
        raise _mistyped(shape, found, path) from None


def _timestamp(shape: Shape, found: float | str, path: str) -> float:
    """Seconds since the epoch; AWS also accepts ISO 8601 with a time zone, and so UTC where there is none."""
    try:
        if isinstance(found, str):
            moment = datetime.fromisoformat(found)
            found = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        seconds = float(found)
    except (ValueError, OverflowError):
        raise _mistyped(shape, found, path) from None
    if not _TIME_MIN <= seconds <= _TIME_MAX:
        raise _mistyped(shape, found, path)
    return seconds


def _blob(shape: Shape, found: str, path: str) -> bytes:
    try:
        return base64.b64decode(found, validate=True)
    except (binascii.Error, ValueError):
        raise _mistyped(shape, found, path) from None


def _mistyped(shape: Shape, found: Any, path: str) -> Malformed:
    where = f" at '{path}'" if path else ""
    match found:
        case dict():
            return Malformed(f"Start of structure or map found where not expected{where}.")
        case list():
            return Malformed(f"Start of list found where not expected{where}.")
        case bool():
            kind = f"{str(found).upper()}_VALUE"
        case str():
            kind = "STRING_VALUE"
        case _:
            kind = "NUMBER_VALUE"
    wanted = _ARTICLES.get(shape.type_name, f"a {shape.type_name.capitalize()}")
    return Malformed(f"{kind} can not be converted to {wanted}{where}.")


# --- out


def render(operation: OperationModel, output: Mapping[str, Any]) -> Answer:
    """The answer to a request that succeeded. An operation without an output shape answers with an empty body.

    Raises:
        ValueError: The output has a member that the shape has not, or of another type: a mistake of the handler.
    """
    shape = operation.output_shape
    body = b"" if shape is None else msgspec.json.encode(serialise(shape, output, operation.name))
    return Answer(200, body, content_type(operation.service_model))


def render_fault(model: ServiceModel, fault: Fault, *, query_mode: bool) -> Answer:
    """The answer to a request that was refused or failed."""
    compatible = "awsQueryCompatible" in model.metadata
    shape_name = f"com.amazonaws.{model.service_name}#{fault.code}" if compatible else fault.code
    headers = {}
    if compatible and query_mode:
        headers["x-amzn-query-error"] = f"{fault.query_code};{'Sender' if fault.status < 500 else 'Receiver'}"
    body = msgspec.json.encode({"__type": shape_name, "message": fault.message})
    return Answer(fault.status, body, content_type(model), headers)


def content_type(model: ServiceModel) -> str:
    return f"application/x-amz-json-{model.metadata['jsonVersion']}"


def serialise(shape: Shape, value: Any, path: str) -> Any:
    """A value of a shape as JSON has it. Members that are None are left out; timestamps keep milliseconds."""
    match shape.type_name:
        case "structure" if isinstance(value, Mapping):
            if unknown := [name for name in value if name not in shape.members]:
                raise ValueError(f"{path} has no member {', '.join(unknown)}")
            return {
                name: serialise(shape.members[name], item, f"{path}.{name}")
                for name, item in value.items()
                if item is not None
            }
        case "list" if isinstance(value, list | tuple):
            return [serialise(shape.member, item, path) for item in value]
        case "map" if isinstance(value, Mapping):
            return {str(key): serialise(shape.value, item, f"{path}.{key}") for key, item in value.items()}
        case "boolean" if isinstance(value, bool):
            return value
        case "string" | "character" if isinstance(value, str):
            return str(value)
        case "blob" if isinstance(value, bytes):
            return base64.b64encode(value).decode("ascii")
        case kind if isinstance(value, int | float) and not isinstance(value, bool):
            return _number(kind, value, path)
        case kind:
            raise ValueError(f"{path} must be a {kind}, not {type(value).__name__}")


def _number(kind: str, value: float, path: str) -> float | int | str:
    match kind:
        case "timestamp":
            return round(float(value), 3)
        case "integer" | "long" if value == int(value):
            return int(value)
        case "float" | "double" if math.isfinite(value):
            return float(value)
        case "float" | "double":
            return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
        case _:
            raise ValueError(f"{path} must be a {kind}, not {value!r}")
