"""CloudWatch behind the gateway and uvicorn, on the in-memory stores and a loopback port of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.aws.listening import listening

from bannister.aws import cloudwatch
from bannister.aws.gateway import Gateway
from bannister.clock import SystemClock
from bannister.ids import RandomIds
from bannister.metrics.memory import MemoryMetrics
from bannister.metrics.store import MetricStore
from bannister.objects.memory import MemoryObjects
from bannister.operations.context import Context
from bannister.settings import Settings
from bannister.state.memory import MemoryState


async def nothing_here(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def waits_for_nothing() -> str | None:
    return None


def gateway_over(settings: Settings, metrics: MetricStore) -> Gateway:
    """The gateway with CloudWatch behind it, and an empty state."""
    clock, ids = SystemClock(), RandomIds()
    context = Context(
        state=MemoryState(),
        metrics=metrics,
        objects=MemoryObjects(settings.object_bytes_max),
        clock=clock,
        ids=ids,
        settings=settings,
        image_refusal=lambda image: None,
        ready_instances=dict,
    )
    return Gateway(settings, ids, clock, [cloudwatch.service(context)], nothing_here, waits_for_nothing)


@contextmanager
def served(data_dir: Path) -> Iterator[str]:
    """Its address."""
    settings = Settings(data_dir)
    gateway = gateway_over(settings, MemoryMetrics(settings))
    with listening(gateway) as port:
        yield f"http://127.0.0.1:{port}"
