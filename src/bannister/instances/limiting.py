"""Limits of the instances of this machine: cores and memory, as their instance types have them (`bannister.domain.instance_type`).

*Cores.* A process is started on as many cores as its type has vCPUs, those that the fewest instances have been given, on different physical cores as far as there are (Linux: `sched_setaffinity`, which its children and
threads inherit). Libraries that start a thread for each core see only these.

*Memory.* What the processes of an instance use is looked at every second or so. One that uses more than its type has is ended, and the reason says so. The kernel's own
limits are not used. A control group can be written only where somebody gave us one. `RLIMIT_AS` and `RLIMIT_DATA` count what a process has reserved and not what it uses, and
each process for itself; what they deny becomes an error in the middle of a request, which the model takes for its own.

Elsewhere (macOS) nothing is enforced but the number of predictions that the built-in runtime makes at a time.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import Final

from bannister.domain.instance_type import allowance, gib, least_used, size_of
from bannister.instances import machine
from bannister.settings import Settings, Switch

#: Of what an instance may use; one that is being ended and grows beyond that is not waited for.
BEYOND: Final = 1.25


@dataclass(frozen=True, slots=True)
class Grant:
    """What one instance was given."""

    #: Empty: all.
    cores: tuple[int, ...] = ()
    #: None: no limit.
    memory_bytes: int | None = None
    instance_type: str | None = None
    #: What the instance is told, where its system limits nothing.
    environment: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """What is enforced, as a sentence; empty: nothing."""
        parts = []
        if self.cores:
            parts.append(f"{len(self.cores)} core(s), number {', '.join(map(str, self.cores))}")
        if self.memory_bytes is not None:
            parts.append(f"{gib(self.memory_bytes)} of memory")
        if self.instance_type is not None and size_of(self.instance_type) is None:
            return f"Nothing limits this instance: what {self.instance_type} has is not known here."
        return f"This instance has {' and '.join(parts)}, as {self.instance_type}." if parts else ""

    def exceeded(self, used_bytes: int) -> str | None:
        """Why an instance that uses so much is ended, without its subject; None: it may."""
        if self.memory_bytes is None or used_bytes <= self.memory_bytes:
            return None
        return f"used more memory than the {gib(self.memory_bytes)} of {self.instance_type} ({gib(used_bytes)})"


class Limiter:
    """Gives out the cores and the memory of this machine."""

    def __init__(self, settings: Settings) -> None:
        self._on = settings.instance_limits is Switch.ON
        self._cores = machine.cores()
        self._physical = machine.physical_cores(self._cores)
        self._memory = machine.memory_total()
        self._given: dict[str, tuple[int, ...]] = {}

    def grant(self, instance: str, instance_type: str | None) -> Grant:
        """What an instance gets that is about to be started."""
        if not self._on or instance_type is None:
            return Grant()
        may = allowance(instance_type, len(self._cores) or None, self._memory)
        cores: tuple[int, ...] = ()
        if may.cores is not None:
            uses = Counter(core for some in self._given.values() for core in some)
            cores = self._given[instance] = least_used(self._cores, uses, may.cores, self._physical)
        size = size_of(instance_type)
        told = (
            ()
            if self._cores or size is None
            else (("BANNISTER_RUNTIME_THREADS", str(min(size.vcpus, os.cpu_count() or 1))),)
        )
        return Grant(cores, may.memory_bytes, instance_type, told)

    def adopt(self, instance: str, grant: Grant) -> None:
        """One that was given this by an earlier process runs."""
        if grant.cores:
            self._given[instance] = grant.cores

    def give_back(self, instance: str) -> None:
        self._given.pop(instance, None)
