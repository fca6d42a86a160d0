"""What passes between the door and the translation of one operation: plain, parsed and checked values.

A handler never sees bytes, headers or HTTP. It is given a `Call` whose parameters have been checked against every constraint of
botocore's model, and gives back the members of the operation's output shape. It refuses by raising one of
`bannister.errors`; the door alone turns that into AWS's code, status and text.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bannister.aws.members import Tables


@dataclass(frozen=True, slots=True)
class Call:
    """One request for one operation.

    In `params` the names are AWS's (`EndpointName`). Members that the client left out are absent. Timestamps are `float` seconds
    since the epoch, blobs are `bytes`, everything else is as in JSON. Members unknown to the model are gone.
    """

    #: The service's name in botocore, e.g. `sagemaker`.
    service: str
    operation: str
    params: dict[str, Any]
    request_id: str
    region: str
    account_id: str


#: Performs one operation. The answer holds the members of the output shape, in the same types as `Call.params`
#: (timestamps also as `int`); a member that is None is left out.
Handler = Callable[[Call], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Service:
    """One AWS service that the door speaks, and the operations of it that Bannister supports."""

    #: The name in botocore: `sagemaker`, `cloudwatch`.
    name: str
    handlers: Mapping[str, Handler]
    #: What becomes of each member of the operations' inputs.
    members: Tables = field(default_factory=dict)
    #: By operation: the longest body of a request in bytes, decompressed; of those not named: `Settings.request_body_bytes_max`.
    body_bytes_max: Mapping[str, int] = field(default_factory=dict)
