"""REST-JSON: the protocol of the SageMaker runtime, as far as the control plane speaks it.

An operation is a method and a path, and its members are spread over path, headers, query and body. The error's code is in
`x-amzn-errortype`, its members are in a JSON body. Invocations themselves are the proxy's; what is answered here is what
the proxy does not route.
"""

from __future__ import annotations

import msgspec

from bannister.aws.wire.answer import Answer
from bannister.aws.wire.fault import Fault
from bannister.domain.runtime_texts import Reply

CONTENT_TYPE = "application/json"


def render_reply(reply: Reply) -> Answer:
    """One of the runtime's finished texts."""
    return Answer(reply.status, reply.body.encode(), CONTENT_TYPE, {"x-amzn-errortype": reply.error_type})


def render_fault(fault: Fault) -> Answer:
    """The answer to a request that was refused or failed. Both spellings of `message` are read by some client."""
    body = msgspec.json.encode({"__type": fault.code, "message": fault.message, "Message": fault.message})
    return Answer(fault.status, body, CONTENT_TYPE, {"x-amzn-errortype": fault.code})
