"""REST-JSON: the protocol of the SageMaker runtime, as far as the control plane speaks it.

An operation is a method and a path, and its members are spread over path, headers, query and body. The error's code is in
`x-amzn-errortype`, its members are in a JSON body. Invocations themselves are the proxy's; what is answered here is what
the proxy does not route.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from bannister.aws.wire.answer import Answer
from bannister.aws.wire.fault import Fault
from bannister.domain.runtime_texts import Reply

if TYPE_CHECKING:
    from botocore.model import OperationModel

CONTENT_TYPE = "application/json"


def without_body(operation: OperationModel, in_path: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, Any]:
    """An operation's input as far as path and headers have it, all of it text; what is in the body is there and empty.

    Args:
        operation: Its members in headers are texts, which is so for those that are supported.
        in_path: By member.
        headers: By name in lower case.
    """
    found: dict[str, Any] = dict(in_path)
    shape = operation.input_shape
    for name, member in shape.members.items() if shape is not None else ():
        if member.serialization.get("location") == "header":
            value = headers.get(member.serialization["name"].lower())
            if value is not None:
                found[name] = value
        elif member.type_name == "blob":
            found[name] = b""
    return found


def render_reply(reply: Reply) -> Answer:
    """One of the runtime's finished texts."""
    return Answer(reply.status, reply.body.encode(), CONTENT_TYPE, {"x-amzn-errortype": reply.error_type})


def render_fault(fault: Fault) -> Answer:
    """The answer to a request that was refused or failed. Both spellings of `message` are read by some client."""
    body = msgspec.json.encode({"__type": fault.code, "message": fault.message, "Message": fault.message})
    return Answer(fault.status, body, CONTENT_TYPE, {"x-amzn-errortype": fault.code})
