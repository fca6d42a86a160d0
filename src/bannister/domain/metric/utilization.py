"""How busy a variant's instances are, as SageMaker's instance metrics say it.

Every instance gives one value at each look, of its processor time since the look before and of its memory now. AWS publishes them in this namespace for
endpoint and variant; as with endpoint metrics they are here for the configuration too, which tells green from blue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bannister.domain.fleet import Group
from bannister.domain.instance import Usage
from bannister.domain.metric.identity import MetricIdentity, identity

#: AWS's.
INSTANCE_NAMESPACE: Final = "/aws/sagemaker/Endpoints"
CPU: Final = "CPUUtilization"
MEMORY: Final = "MemoryUtilization"
DISK: Final = "DiskUtilization"
UNIT: Final = "Percent"


@dataclass(frozen=True, slots=True)
class Look:
    """What one instance had used at a moment."""

    #: Seconds of a clock that nobody sets.
    at: float
    usage: Usage


@dataclass(frozen=True, slots=True)
class Machine:
    """What instances share."""

    memory_bytes: int
    #: Of the disk with the data directory, 0 to 1; None: it cannot be read.
    disk_share: float | None = None


def utilization(before: Look | None, now: Look, machine: Machine) -> dict[str, float]:
    """One instance's values, in percent: of one processor for `CPU` (so that two of them are 200), of what it may use for `MEMORY`, of the whole for `DISK`.

    How much processor time it took is not known of one that is looked at for the first time (`before` None), nor of one whose process was started anew since.
    """
    found = {MEMORY: 100 * now.usage.resident_bytes / (now.usage.memory_bytes or machine.memory_bytes)}
    if machine.disk_share is not None:
        found[DISK] = 100 * machine.disk_share
    used = None if before is None else now.usage.cpu_seconds - before.usage.cpu_seconds
    if before is not None and used is not None and used >= 0 and now.at > before.at:
        found[CPU] = 100 * used / (now.at - before.at)
    return found


def identities(name: str, group: Group) -> Iterator[MetricIdentity]:
    """Where one value of a group is published."""
    both = {"EndpointName": group.endpoint, "VariantName": group.variant}
    for dimensions in (both, both | {"EndpointConfigName": group.config_name}):
        yield identity(INSTANCE_NAMESPACE, name, dimensions)
