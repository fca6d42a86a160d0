"""What an instance backend promises.

The backend owns starting, restarting and placement; the control plane owns traffic. An instance's `ready` is the backend's word that the
instance itself (not a stranger on its port) answered `/ping`; the proxies' own health check is the second word.

Every backend passes `tests/instances/test_conformance.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from bannister.domain.instance import GroupSpec, Instance, Usage
from bannister.signals import Signal


class InstanceBackend(Protocol):
    """Runs groups of instances. For one event loop; methods may be called concurrently and may be retried.

    Writes carry the epoch of the process that may act; one lower than the highest seen raises `Fenced` and changes nothing.
    """

    @property
    def changed(self) -> Signal:
        """Announced whenever `snapshot` would answer something new."""
        ...

    async def ensure(self, spec: GroupSpec, count: int, epoch: int) -> None:
        """Create the group or scale it to `count`; idempotent, returns at once. A group's spec never changes.

        Scaling down stops nothing that may have requests: the instances that are too many (those that are not ready first, then the newest) are
        shown as draining, for good, and are there until they are evicted. An instance that has failed is not replaced until it is evicted.
        """
        ...

    async def remove(self, group: str, epoch: int) -> None:
        """Stop all instances of the group (SIGTERM, grace, SIGKILL) and forget it; returns at once. Unknown: nothing."""
        ...

    async def evict(self, instance: str, epoch: int) -> None:
        """Stop one instance and replace it if its group is to keep its count. Unknown: nothing."""
        ...

    def snapshot(self) -> tuple[Instance, ...]:
        """All instances that exist, also those adopted from an earlier process; stopping ones until they are gone."""
        ...

    async def usage(self) -> Mapping[str, Usage]:
        """What each instance that runs has used, by id; those of which nobody can tell are left out."""
        ...

    async def log_tail(self, instance: str, lines: int) -> list[str]:
        """The last lines that the instance printed, also shortly after it is gone; unknown: none."""
        ...

    async def start(self) -> None:
        """Adopt what an earlier process left running, end what it should not have left; then `snapshot` is true."""
        ...

    async def close(self, *, stop_instances: bool) -> None:
        """Stop observing; with `stop_instances`, stop all of them first and wait until they are gone."""
        ...
