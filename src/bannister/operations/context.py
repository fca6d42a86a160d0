"""What every operation may use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bannister.clock import Clock
from bannister.domain.deployment.deployment import Deployment
from bannister.domain.deployment.observation import Limits, Observation
from bannister.domain.deployment.room import MachineMemory
from bannister.domain.endpoint import Endpoint
from bannister.domain.model import CONTRACT, Paths
from bannister.errors import Unavailable
from bannister.ids import Ids
from bannister.instances.logs import InstanceLogs, NoLogs
from bannister.metrics.store import MetricStore
from bannister.objects.store import ObjectStore
from bannister.settings import Settings
from bannister.state.store import State


async def _nobody_observes(endpoint: Endpoint, deployment: Deployment) -> Observation:
    raise Unavailable(f'Nobody observes deployment "{deployment.id}" of "{endpoint.name}" here.')


async def _nobody_looks() -> MachineMemory | None:
    return None


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of the world that operations read and write; built once by `bannister.app`."""

    state: State
    metrics: MetricStore
    objects: ObjectStore
    clock: Clock
    ids: Ids
    settings: Settings
    #: Why nobody can run an image, as a sentence; None: it can be run.
    image_refusal: Callable[[str], str | None]
    #: Ready instances by group, as observed now.
    ready_instances: Callable[[], dict[str, int]]
    #: What keeps instances of a group from starting, as a sentence; None: nothing.
    waits_for: Callable[[str], str | None] = lambda _group: None
    #: Raises `Unavailable` while the disk is full: nothing new is let in.
    check_room: Callable[[], None] = lambda: None
    #: What the deployer would decide a running deployment's next step on now.
    observe: Callable[[Endpoint, Deployment], Awaitable[Observation]] = _nobody_observes
    #: The deployer's.
    limits: Limits = field(default_factory=Limits)
    #: What memory there is, and what instances use of it; None: not known.
    memory: Callable[[], Awaitable[MachineMemory | None]] = _nobody_looks
    #: What instances print.
    logs: InstanceLogs = field(default_factory=NoLogs)
    #: Why captured records do not get into a bucket, as a sentence; None: they do.
    delivery_trouble: Callable[[str], str | None] = lambda _bucket: None
    #: Why a proxy makes no copies for shadows though it should, as a sentence; None: all do.
    copies_trouble: Callable[[], str | None] = lambda: None
    #: Where the servers of an image that can be run answer, if their models say nothing else.
    image_paths: Callable[[str], Paths] = lambda _image: CONTRACT
    #: Held while an endpoint's name is looked for and taken. One control plane acts at a time, so a lock of this process is enough.
    naming: asyncio.Lock = field(default_factory=asyncio.Lock)
