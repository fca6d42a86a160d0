"""Smithy RPC v2 over CBOR: what the newer SDKs (Java, Go, .NET, Kotlin, Swift, C++) speak to CloudWatch.

An operation is `POST …/service/<service>/operation/<operation>` with the header `smithy-protocol: rpc-v2-cbor`, which the answer
repeats. Input and output are one map each; an operation without output answers with no body and no content type. An error is a
map with `__type` and `message`; the codes of the query protocol are told as in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from bannister.aws.wire import cbor, values
from bannister.aws.wire.answer import Answer
from bannister.aws.wire.fault import Fault, query_error_header, type_name

if TYPE_CHECKING:
    from botocore.model import OperationModel, ServiceModel, Shape

#: The protocol's name in botocore's models.
PROTOCOL: Final = "smithy-rpc-v2-cbor"
CONTENT_TYPE: Final = "application/cbor"
#: The header of requests and answers, and its value.
HEADER: Final = "smithy-protocol"
HEADER_VALUE: Final = "rpc-v2-cbor"


def parse(shape: Shape | None, body: bytes) -> dict[str, Any]:
    """An operation's input from a request's body; no body is an empty map.

    Raises:
        Malformed: It is not a CBOR map, or a value has not the type that the model asks for.
    """
    return values.incoming(shape, cbor.decode(body) if body else {}, _read)


def render(operation: OperationModel, output: Mapping[str, Any], request_id: str) -> Answer:
    """The answer to a request that succeeded.

    Raises:
        ValueError: The output has a member that the shape has not, or of another type: a mistake of the handler.
    """
    shape = operation.output_shape
    if shape is None:
        return Answer(200, b"", "", {HEADER: HEADER_VALUE})
    body = cbor.encode(values.outgoing(shape, output, operation.name, _write))
    return Answer(200, body, CONTENT_TYPE, {HEADER: HEADER_VALUE})


def render_fault(model: ServiceModel | None, fault: Fault, request_id: str, *, query_mode: bool) -> Answer:
    """The answer to a request that was refused or failed."""
    body = cbor.encode({"__type": type_name(model, fault), "message": fault.message})
    headers = {HEADER: HEADER_VALUE, **query_error_header(model, fault, query_mode=query_mode)}
    return Answer(fault.status, body, CONTENT_TYPE, headers)


def _read(shape: Shape, found: Any, path: str) -> Any:
    match shape.type_name, found:
        case "timestamp", cbor.Epoch():
            return values.seconds(shape, found.seconds, path)
        case "blob", bytes():
            return found
        case _:
            return values.plain(shape, found, path)


def _write(kind: str, value: Any) -> Any:
    return cbor.Epoch(value) if kind == "timestamp" else value
