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

from bannister.aws.wire import values
from bannister.aws.wire.answer import Answer
from bannister.aws.wire.fault import Fault, query_error_header, type_name
from bannister.aws.wire.values import Malformed, mistyped

if TYPE_CHECKING:
    from botocore.model import OperationModel, ServiceModel, Shape

#: The protocol's name in botocore's models.
PROTOCOL = "json"


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
    return values.incoming(shape, document, _read)


def _read(shape: Shape, found: Any, path: str) -> Any:
    match shape.type_name, found:
        case "float" | "double", "NaN" | "Infinity" | "-Infinity":
            return float(found)
        case "timestamp", (int() | float() | str()) if not isinstance(found, bool):
            return _timestamp(shape, found, path)
        case "blob", str():
            return _blob(shape, found, path)
        case _:
            return values.plain(shape, found, path)


def _timestamp(shape: Shape, found: float | str, path: str) -> float:
    """Seconds since the epoch; AWS also accepts ISO 8601 with a time zone, and so UTC where there is none."""
    try:
        if isinstance(found, str):
            moment = datetime.fromisoformat(found)
            found = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise mistyped(shape, found, path) from None
    return values.seconds(shape, found, path)


def _blob(shape: Shape, found: str, path: str) -> bytes:
    try:
        return base64.b64decode(found, validate=True)
    except (binascii.Error, ValueError):
        raise mistyped(shape, found, path) from None


# --- out


def render(operation: OperationModel, output: Mapping[str, Any], request_id: str) -> Answer:
    """The answer to a request that succeeded. An operation without an output shape answers with an empty body.

    Raises:
        ValueError: The output has a member that the shape has not, or of another type: a mistake of the handler.
    """
    shape = operation.output_shape
    body = b"" if shape is None else msgspec.json.encode(values.outgoing(shape, output, operation.name, _write))
    return Answer(200, body, content_type(operation.service_model))


def render_fault(model: ServiceModel | None, fault: Fault, request_id: str, *, query_mode: bool) -> Answer:
    """The answer to a request that was refused or failed."""
    body = msgspec.json.encode({"__type": type_name(model, fault), "message": fault.message})
    return Answer(fault.status, body, content_type(model), query_error_header(model, fault, query_mode=query_mode))


def content_type(model: ServiceModel | None) -> str:
    return "application/json" if model is None else f"application/x-amz-json-{model.metadata['jsonVersion']}"


def _write(kind: str, value: Any) -> Any:
    match kind:
        case "blob":
            return base64.b64encode(value).decode("ascii")
        case "float" | "double" if not math.isfinite(value):
            return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
        case _:
            return value
