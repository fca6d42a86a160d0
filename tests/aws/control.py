"""The whole control plane's door on in-memory stores, asked in this process: botocore writes the requests and reads the answers.

No loop runs: what is begun stays as it was begun. A clock that is set by hand tells the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import botocore.parsers
import botocore.serialize
from botocore.model import OperationModel
from botocore.validate import ParamValidator
from tests.domain.deployment.worlds import observation
from tests.operations.hand_clock import HandClock

from bannister.aws import cloudwatch, deployments, identity, logs, sagemaker
from bannister.aws.call import Service
from bannister.aws.gateway import Gateway
from bannister.aws.wire.models import operation_model, service_model
from bannister.clock import SystemClock
from bannister.domain.deployment.deployment import Deployment
from bannister.domain.deployment.observation import Observation
from bannister.domain.endpoint import Endpoint
from bannister.ids import SeededIds
from bannister.instances.memory import MemoryLogs, MemoryMachine
from bannister.metrics.memory import MemoryMetrics
from bannister.objects.memory import MemoryObjects
from bannister.operations.context import Context
from bannister.settings import Settings
from bannister.state.memory import MemoryState

SIGNING_NAMES = {
    "sagemaker": "sagemaker",
    "sagemaker-runtime": "sagemaker",
    "cloudwatch": "monitoring",
    "logs": "logs",
    "sts": "sts",
    "iam": "iam",
    "bannister": "bannister",
}
#: Of the services that do not speak JSON.
PROTOCOLS = {"sts": "query", "iam": "query"}


@dataclass(frozen=True)
class Reply:
    """One answer, as it came and as botocore reads it."""

    status: int
    headers: dict[str, str]
    body: bytes
    parsed: dict[str, Any]

    @property
    def code(self) -> str:
        """Of the error; empty: there is none."""
        return str(self.parsed.get("Error", {}).get("Code", ""))

    @property
    def message(self) -> str:
        return str(self.parsed.get("Error", {}).get("Message", ""))


class Control:
    def __init__(self, folder: Path) -> None:
        settings = Settings(folder)
        self.clock = HandClock()
        self.state = MemoryState()
        self.machine = MemoryMachine()
        self.context = Context(
            state=self.state,
            metrics=MemoryMetrics(settings),
            objects=MemoryObjects(settings.object_bytes_max),
            clock=self.clock,
            ids=SeededIds(1),
            settings=settings,
            image_refusal=lambda _: None,
            ready_instances=dict,
            observe=self._observe,
            logs=MemoryLogs(self.machine),
        )
        self.services: list[Service] = [
            *(one.service(self.context) for one in (sagemaker, cloudwatch, logs, deployments)),
            *identity.services(),
        ]
        self._gateway = Gateway(settings, SeededIds(2), SystemClock(), self.services, _nothing, _waits_for_nothing)

    async def _observe(self, _endpoint: Endpoint, _deployment: Deployment) -> Observation:
        return observation(self.clock.now())

    async def ask(self, service: str, operation: str, params: Mapping[str, Any] | bytes, protocol: str = "") -> Reply:
        """Perform an operation, whatever its parameters; bytes are the body as it is sent."""
        protocol = protocol or PROTOCOLS.get(service, "json")
        model = service_model(service).operation_model(operation)
        given = {} if isinstance(params, bytes) else params
        serializer = botocore.serialize.create_serializer(protocol, include_validation=False)
        request = serializer.serialize_to_request(given, model)
        body = params if isinstance(params, bytes) else request["body"]
        if isinstance(body, Mapping):
            body = urlencode(body)
        content = body.encode() if isinstance(body, str) else bytes(body)
        scope = f"Credential=AKID/20261123/us-east-1/{SIGNING_NAMES[service]}/aws4_request"
        headers = {**request["headers"], "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"}
        return await self.send(request["method"], request["url_path"], headers, content, model, protocol)

    async def send(
        self, method: str, path: str, headers: Mapping[str, str], content: bytes, model: OperationModel, protocol: str
    ) -> Reply:
        named = {"host": "localhost", "content-length": str(len(content)), **headers}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.lower().encode(), str(value).encode("latin-1")) for name, value in named.items()],
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(event: Any) -> None:
            sent.append(event)

        await self._gateway(scope, receive, send)
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        answer = {"status_code": sent[0]["status"], "headers": told, "body": sent[1]["body"]}
        parsed = botocore.parsers.create_parser(protocol).parse(answer, model.output_shape)
        return Reply(sent[0]["status"], told, sent[1]["body"], parsed)

    async def done(self, operation: str, service: str = "sagemaker", **params: Any) -> dict[str, Any]:
        """The answer to what must succeed; it has all that AWS's model requires."""
        reply = await self.ask(service, operation, params)
        assert reply.status == 200, reply.parsed
        model = operation_model(service, operation)
        assert model is not None
        found = {name: value for name, value in reply.parsed.items() if name != "ResponseMetadata"}
        if model.output_shape is not None:
            report = ParamValidator().validate(found, model.output_shape)
            assert not report.has_errors(), report.generate_report()
        return found

    async def refused(self, operation: str, service: str = "sagemaker", **params: Any) -> tuple[str, str]:
        """The code and the sentence of what must not succeed."""
        reply = await self.ask(service, operation, params)
        assert 400 <= reply.status < 500, reply.parsed
        return reply.code, reply.message


async def _nothing(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _waits_for_nothing() -> str | None:
    return None
