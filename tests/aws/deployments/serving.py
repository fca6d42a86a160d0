"""Our own service behind the real gateway, in a thread."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.aws.listening import listening

from bannister.aws import deployments
from bannister.aws.gateway import Gateway
from bannister.clock import SystemClock
from bannister.domain.deployment.deployment import Deployment
from bannister.domain.deployment.observation import Observation
from bannister.domain.endpoint import Endpoint
from bannister.ids import RandomIds
from bannister.metrics.memory import MemoryMetrics
from bannister.metrics.store import MetricStore
from bannister.objects.memory import MemoryObjects
from bannister.operations.context import Context
from bannister.settings import Settings
from bannister.state.store import State


async def nothing_here(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def waits_for_nothing() -> str | None:
    return None


async def nobody_observes(endpoint: Endpoint, deployment: Deployment) -> Observation:
    raise AssertionError("No deployment runs here.")


def context_of(
    path: Path,
    state: State,
    metrics: MetricStore | None = None,
    observe: Callable[[Endpoint, Deployment], Awaitable[Observation]] = nobody_observes,
) -> Context:
    settings = Settings(path)
    return Context(
        state=state,
        metrics=metrics if metrics is not None else MemoryMetrics(settings),
        objects=MemoryObjects(settings.object_bytes_max),
        clock=SystemClock(),
        ids=RandomIds(),
        settings=settings,
        image_refusal=lambda _: None,
        ready_instances=dict,
        observe=observe,
    )


@contextmanager
def served(context: Context, *others: ModuleType) -> Iterator[str]:
    """Where it answers; `others`: services of AWS's beside ours."""
    services = [one.service(context) for one in (deployments, *others)]
    gateway = Gateway(context.settings, context.ids, context.clock, services, nothing_here, waits_for_nothing)
    with listening(gateway) as port:
        yield f"http://127.0.0.1:{port}"
