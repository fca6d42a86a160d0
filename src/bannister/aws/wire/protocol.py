"""What one wire format is to the gateway. Modules are its implementations: `json`, `query`, `rpc_v2_cbor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from bannister.aws.wire.answer import Answer
from bannister.aws.wire.fault import Fault

if TYPE_CHECKING:
    from botocore.model import OperationModel, ServiceModel, Shape


class Wire(Protocol):
    """Bytes to the values of `bannister.aws.call.Call`, and values and faults to an `Answer`."""

    @property
    def PROTOCOL(self) -> str:  # noqa: N802 (a module's constant)
        """The protocol's name in botocore's models."""

    def parse(self, shape: Shape | None, body: bytes) -> dict[str, Any]:
        """An operation's input from a request's body. Timestamps become seconds since the epoch, blobs bytes.

        Raises:
            Malformed: It cannot be read, or a value has not the type that the model asks for.
        """

    def render(self, operation: OperationModel, output: Mapping[str, Any], request_id: str) -> Answer:
        """The answer to a request that succeeded.

        Raises:
            ValueError: The output has a member that the shape has not, or of another type: a mistake of the handler.
        """

    def render_fault(self, model: ServiceModel | None, fault: Fault, request_id: str, *, query_mode: bool) -> Answer:
        """The answer to a request that was refused or failed; no model: it is of no service that is spoken here.

        `query_mode` (`x-amzn-query-mode`): the client also wants the code that the query protocol had for the error.
        """
