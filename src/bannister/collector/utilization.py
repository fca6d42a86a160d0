"""Publishes how busy instances are, once in a while, as metrics like any other."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from bannister.clock import Clock
from bannister.collector.looking import look_repeatedly
from bannister.domain.metric.aggregate import of_values
from bannister.domain.metric.utilization import UNIT, Look, Machine, identities, utilization
from bannister.instances.backend import InstanceBackend
from bannister.instances.machine import memory_total
from bannister.metrics.store import Datum, MetricStore
from bannister.state.store import State
from bannister.state.tables import GROUPS


def this_machine(data_dir: Path) -> Machine:
    """Blocks for a moment."""
    memory = memory_total() or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        disk = shutil.disk_usage(data_dir)
    except OSError:
        return Machine(memory)
    return Machine(memory, disk.used / disk.total)


class UtilizationCollector:
    """For one event loop. What cannot be read or stored is in no metric: a look that fails is made up for by none."""

    def __init__(
        self,
        state: State,
        instances: InstanceBackend,
        metrics: MetricStore,
        clock: Clock,
        machine: Callable[[], Machine],
        interval_seconds: float,
    ) -> None:
        self._state = state
        self._instances = instances
        self._metrics = metrics
        self._clock = clock
        self._machine = machine
        self._interval_seconds = interval_seconds
        self._looks: dict[str, Look] = {}

    async def run(self) -> None:
        """Until cancelled, or fenced by another process."""
        await look_repeatedly(self.look, self._interval_seconds, "How busy instances are")

    async def look(self) -> None:
        """Look at every instance that runs, and publish."""
        usage = await self._instances.usage()
        at, now = self._clock.monotonic(), self._clock.now()
        before, self._looks = self._looks, {name: Look(at, one) for name, one in usage.items()}
        groups = {row.key: row.value.group for row in await self._state.rows(GROUPS)}
        machine = await asyncio.to_thread(self._machine)
        data = [
            Datum(metric, now, of_values([value], unit=UNIT))
            for one in self._instances.snapshot()
            if one.id in self._looks and one.group in groups
            for name, value in utilization(before.get(one.id), self._looks[one.id], machine).items()
            for metric in identities(name, groups[one.group])
        ]
        if data:
            await self._metrics.put(data)
