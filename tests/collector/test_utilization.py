"""How busy instances are is published for the variant, and for the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.domain.deployment.worlds import fleet

from bannister.clock import SystemClock
from bannister.collector.utilization import UtilizationCollector, this_machine
from bannister.domain.instance import GroupSpec, InstancePhase
from bannister.domain.metric.identity import MetricIdentity
from bannister.domain.metric.utilization import CPU, MEMORY, Machine, identities
from bannister.ids import RandomIds
from bannister.instances.memory import MemoryInstances
from bannister.metrics.memory import MemoryMetrics
from bannister.settings import Settings
from bannister.state.group_record import GroupRecord
from bannister.state.memory import MemoryState
from bannister.state.store import Put
from bannister.state.tables import GROUPS


async def test_every_instance_gives_a_value_in_both_sets_of_dimensions(tmp_path: Path) -> None:
    settings, clock, state = Settings(tmp_path), SystemClock(), MemoryState()
    metrics = MemoryMetrics(settings)
    instances = MemoryInstances(clock, RandomIds())
    await instances.start()
    (group,) = fleet("v2").groups
    await state.commit([Put(GROUPS, group.id, GroupRecord(group), 0)])
    for name in (group.id, "stranger"):
        await instances.ensure(GroupSpec(name, "e", "v", "image", None), 2, epoch=1)
    while any(one.phase is not InstancePhase.READY for one in instances.snapshot()):
        await instances.changed.wait_past(instances.changed.version)
    collector = UtilizationCollector(state, instances, metrics, clock, lambda: Machine(2**30, 0.5), 10.0)
    began = int(clock.now())

    async def read(metric: MetricIdentity) -> tuple[float, float] | None:
        (found,) = await metrics.read(metric, began, 60, 1, "Percent")
        return None if found is None else (found.count, found.maximum)

    await collector.look()
    for metric in identities(MEMORY, group):
        assert await read(metric) == (2, pytest.approx(6.25))
    for metric in identities(CPU, group):
        assert await read(metric) is None, "nothing is known before the second look"
    await collector.look()
    for metric in identities(CPU, group):
        found = await read(metric)
        assert found is not None
        assert found[0] == 2
        assert found[1] == pytest.approx(2.0, rel=0.5)
    await instances.close(stop_instances=True)


def test_this_machine_has_memory_and_a_disk(tmp_path: Path) -> None:
    machine = this_machine(tmp_path)
    assert machine.memory_bytes > 2**28
    assert machine.disk_share is not None
    assert 0 < machine.disk_share <= 1
    assert this_machine(tmp_path / "gone").disk_share is None
