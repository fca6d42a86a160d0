"""`GET /metrics` at the door: a Prometheus server's when it is unsigned, a bucket's when it is signed for S3."""

from pathlib import Path
from typing import Any

import pytest

from bannister.aws.gateway import Gateway
from bannister.clock import SystemClock
from bannister.errors import Unavailable
from bannister.ids import RandomIds
from bannister.settings import Settings

SIGNED = (b"authorization", b"AWS4-HMAC-SHA256 Credential=A/20261128/us-east-1/s3/aws4_request, Signature=0")


async def answered(path: Path, scrape: Any, *headers: tuple[bytes, bytes]) -> tuple[int, bytes]:
    async def objects_app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"objects"})

    async def serves() -> str | None:
        return None

    gateway = Gateway(Settings(path), RandomIds(), SystemClock(), [], objects_app, serves, scrape=scrape)
    scope = {"type": "http", "method": "GET", "path": "/metrics", "query_string": b""}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await gateway({**scope, "headers": [(b"host", b"localhost"), *headers]}, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def scrape(accept: str) -> tuple[str, bytes]:
    return "text/plain", f"accepts {accept}".encode()


async def unreadable(_accept: str) -> tuple[str, bytes]:
    raise Unavailable("The state file does not answer.")


async def test_unsigned_it_is_the_scrape(tmp_path: Path) -> None:
    assert await answered(tmp_path, scrape, (b"accept", b"x/y")) == (200, b"accepts x/y")


async def test_signed_it_is_a_bucket(tmp_path: Path) -> None:
    assert await answered(tmp_path, scrape, SIGNED) == (404, b"objects")


async def test_a_state_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    status, text = await answered(tmp_path, unreadable)
    assert status == 503
    assert b"does not answer" in text


@pytest.mark.parametrize("name", [b"evil.example"])
async def test_pages_of_others_get_nothing(tmp_path: Path, name: bytes) -> None:
    assert (await answered(tmp_path, scrape, (b"origin", b"http://" + name)))[0] == 403
