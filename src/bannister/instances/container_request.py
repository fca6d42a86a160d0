"""What an engine is asked to make of an instance: a container as SageMaker would run it, within what its type has. Pure: settings in, a document out.

Limits are the kernel's here, set by the engine, which may write control groups where we may not: memory beyond which it ends the container (swap does not add to it), and
time on as many cores as the type has vCPUs. Priority is its share of the processor (`CpuShares`), which says what niceness says: 1024 is what a container has by default, and each
step of niceness is a quarter less, as the kernel's own table has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bannister.domain.instance import GroupSpec
from bannister.domain.instance_type import Allowance, allowance, gib, size_of
from bannister.instances.images import CONTAINER_MODEL_DIR, CONTAINER_PORT, RunCommand

ADDRESS: Final = "127.0.0.1"
LABEL_DATA_DIR: Final = "bannister.data-dir"
LABEL_INSTANCE: Final = "bannister.instance"
LABEL_EPOCH: Final = "bannister.epoch"
#: Of the processor, as Docker counts it: what a container has that says nothing.
WHOLE_SHARES: Final = 1024
#: The engine's own copy of what a container prints; ours is the instance's log.
_ENGINE_LOG_SIZE: Final = "16m"
#: When memory runs out a shadow is ended before production, as if it used half of all memory more than it does.
_SHADOW_OOM_SCORE: Final = 500


@dataclass(frozen=True, slots=True)
class Capability:
    """What the machine of an engine has for containers, and what the engine can limit."""

    cores: int | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """One container that is wanted."""

    spec: GroupSpec
    run: RunCommand
    instance: str
    #: By its id.
    image: str
    #: On this machine.
    port: int
    data_dir: str
    epoch: int
    limits: Allowance
    niceness: int


def capability(info: Mapping[str, Any]) -> Capability:
    """From what an engine says of itself (`GET /info`). What it cannot limit, for want of a control group, counts as not there."""
    cores, memory = info.get("NCPU"), info.get("MemTotal")
    return Capability(
        cores if isinstance(cores, int) and cores > 0 and info.get("CpuCfsQuota", True) else None,
        memory if isinstance(memory, int) and memory > 0 and info.get("MemoryLimit", True) else None,
    )


def limits_of(instance_type: str | None, machine: Capability) -> Allowance:
    """What limits a container of a type on the engine's machine."""
    return allowance(instance_type, machine.cores, machine.memory_bytes)


def told(instance_type: str | None, limits: Allowance) -> str:
    """What is enforced, as a sentence; empty: nothing."""
    if instance_type is not None and size_of(instance_type) is None:
        return f"Nothing limits this instance: what {instance_type} has is not known here."
    parts = [] if limits.cores is None else [f"{limits.cores} core(s)"]
    parts += [] if limits.memory_bytes is None else [f"{gib(limits.memory_bytes)} of memory"]
    return f"This instance has {' and '.join(parts)}, as {instance_type}." if parts else ""


def shares(niceness: int) -> int:
    """The share of the processor that a niceness stands for."""
    return max(round(WHOLE_SHARES / 1.25**niceness), 2)  # the least that there is


def definition(order: Order) -> dict[str, Any]:
    """The body of `POST /containers/create`."""
    spec = order.spec
    environment = {**order.run.environment, **spec.environment, "SAGEMAKER_BIND_TO_PORT": str(CONTAINER_PORT)}
    mounts = (
        []
        if spec.artifact_dir is None
        else [{"Type": "bind", "Source": spec.artifact_dir, "Target": CONTAINER_MODEL_DIR, "ReadOnly": True}]
    )
    port = f"{CONTAINER_PORT}/tcp"
    return {
        "Image": order.image,
        "Cmd": order.run.arguments(),
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": {
            LABEL_DATA_DIR: order.data_dir,
            LABEL_INSTANCE: order.instance,
            LABEL_EPOCH: str(order.epoch),
        },
        "ExposedPorts": {port: {}},
        "HostConfig": {
            "Mounts": mounts,
            "PortBindings": {port: [{"HostIp": ADDRESS, "HostPort": str(order.port)}]},
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": _ENGINE_LOG_SIZE}},
            **_bounds(order),
        },
    }


def _bounds(order: Order) -> dict[str, int]:
    found: dict[str, int] = {}
    if order.limits.memory_bytes is not None:
        found |= {"Memory": order.limits.memory_bytes, "MemorySwap": order.limits.memory_bytes}
    if order.limits.cores is not None:
        found["NanoCpus"] = order.limits.cores * 10**9
    if order.niceness > 0:
        found["CpuShares"] = shares(order.niceness)
    if order.spec.is_shadow:
        found["OomScoreAdj"] = _SHADOW_OOM_SCORE
    return found
