"""An instance: one running copy of a model server with its own address; and the group it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from bannister.domain.model import CONTRACT, Paths


class InstancePhase(StrEnum):
    """Where an instance is in its life."""

    #: Recorded, not yet started (waiting for its turn, or for its back-off to pass).
    PENDING = "pending"
    #: The process runs and has not yet answered `/ping`.
    STARTING = "starting"
    #: It answered `/ping` itself (or the path that its model has in its place).
    READY = "ready"
    #: It was ready and has stopped answering `/ping`, or its process ended and is being restarted.
    UNREADY = "unready"
    #: It is being stopped.
    STOPPING = "stopping"
    #: It was given up; `reason` says why. It is not restarted.
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """What the instances of one group run. Immutable: a new configuration is a new group."""

    #: Unique for ever, also after the endpoint is deleted and made again.
    id: str
    endpoint: str
    variant: str
    image: str
    #: The folder with the unpacked artifact (content addressed, never written to again); None: no artifact.
    artifact_dir: str | None
    environment: dict[str, str] = field(default_factory=dict)
    startup_timeout_seconds: float = 480.0
    #: Where its servers answer.
    paths: Paths = CONTRACT
    #: Its variant is a shadow: said in sentences, and no part of what runs.
    is_shadow: bool = field(default=False, compare=False)
    #: What its instances may use; None: all. Not compared, because groups of an earlier version were recorded without it.
    instance_type: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """What the present process of an instance, with all that it started, has used."""

    cpu_seconds: float
    #: Now.
    resident_bytes: int
    #: What it may use; None: all of the machine's.
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """What an instance backend observes of one instance."""

    id: str
    group: str
    phase: InstancePhase
    host: str | None = None
    port: int | None = None
    #: Why it failed or is unready, a sentence for people; for a failed start with the last lines of its log.
    reason: str | None = None
    #: How many times its process ended and was started again.
    restarts: int = 0
    #: How many of its processes ended that had answered `/ping`, and so may have had requests.
    deaths: int = 0
    started_at: float | None = None
    #: Its present process has answered `/ping`; one that has not has never had a request.
    answered: bool = False
    #: When its present process answered again after it had fallen silent; None: it never fell silent, or still is.
    silent_until: float | None = None
    #: Its group has more instances than it should: it takes no new request, finishes those it has, and is then evicted.
    draining: bool = False
    #: It is shown as ready, and the answer to its last ping is late, or did not come: soon it answers, or is unready.
    overdue: bool = False
    #: What its present process says against itself, as sentences; it serves all the same.
    warnings: tuple[str, ...] = ()

    @property
    def address(self) -> str | None:
        """`host:port`, as the proxies and the access log name it."""
        return f"{self.host}:{self.port}" if self.host is not None and self.port is not None else None
