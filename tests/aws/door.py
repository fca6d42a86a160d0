"""The gateway on a port of this machine, with nothing behind it but what a test puts there."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.aws.listening import listening

from bannister.aws.call import Call, Service
from bannister.aws.gateway import Gateway
from bannister.clock import SystemClock
from bannister.ids import RandomIds
from bannister.settings import Settings

ACCOUNT = "000000000000"
BODY_BYTES_MAX = 64 * 1024


@dataclass
class Backend:
    """What stands behind the door: answers what a test puts here, and keeps what it was asked."""

    calls: list[Call] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    waits_for: str | None = None
    objects: list[tuple[str, str]] = field(default_factory=list)

    async def perform(self, call: Call) -> dict[str, Any]:
        self.calls.append(call)
        answer = self.answers.get(call.operation, {})
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def still_waits_for(self) -> str | None:
        return self.waits_for

    async def objects_app(self, scope: Any, receive: Any, send: Any) -> None:
        self.objects.append((scope["method"], scope["path"]))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


class Door:
    """The gateway on a port of this machine, and ways to knock."""

    def __init__(self, port: int, backend: Backend) -> None:
        self.port = port
        self.backend = backend
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = boto3.client(
                service,
                endpoint_url=f"http://127.0.0.1:{self.port}",
                region_name="us-east-1",
                aws_access_key_id="AKIDEXAMPLE",
                aws_secret_access_key="secret",
                config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
            )
        return self._clients[service]

    def request(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})  # an iterator is sent in chunks
            response = connection.getresponse()
            content = response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, content

    def operation(self, target: str, body: bytes, **headers: str) -> tuple[int, dict[str, str], dict[str, Any]]:
        status, found, content = self.request("POST", "/", body, {"X-Amz-Target": target, **headers})
        return status, found, json.loads(content) if content else {}


@contextmanager
def opened(services: Sequence[Service] | None = None) -> Iterator[Door]:
    """The door in a thread, on a port of its own; in front of the backend unless services are given."""
    backend = Backend()
    names = {
        "sagemaker": "CreateEndpointConfig CreateModel DescribeEndpoint DeleteEndpoint UpdateEndpoint ListEndpoints",
        "cloudwatch": "PutMetricAlarm PutMetricData DescribeAlarms SetAlarmState GetMetricStatistics",
    }
    pretended = [Service(name, dict.fromkeys(names[name].split(), backend.perform)) for name in names]
    bounds = Settings(Path("/nonexistent"), request_body_bytes_max=BODY_BYTES_MAX)
    gateway = Gateway(
        bounds,
        RandomIds(),
        SystemClock(),
        services or pretended,
        backend.objects_app,
        waits_for=backend.still_waits_for,
    )
    with listening(gateway) as port:
        yield Door(port, backend)


def code_and_text(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, str, int]:
    response = error.value.response
    return response["Error"]["Code"], response["Error"]["Message"], response["ResponseMetadata"]["HTTPStatusCode"]
