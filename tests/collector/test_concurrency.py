"""How many requests are under way is published for each instance, for the variant and for the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.domain.deployment.worlds import fleet

from bannister.clock import SystemClock
from bannister.collector.concurrency import ConcurrencyCollector
from bannister.domain.metric.concurrency import identities
from bannister.domain.metric.identity import identity
from bannister.metrics.memory import MemoryMetrics
from bannister.settings import Settings
from bannister.state.group_record import GroupRecord
from bannister.state.memory import MemoryState
from bannister.state.store import Put
from bannister.state.tables import GROUPS

#: What the proxies say at each look.
Look = Mapping[str, Mapping[str, int]] | None


class Proxies:
    def __init__(self, *looks: Look) -> None:
        self._looks = list(looks)

    def in_flight(self) -> Look:
        return self._looks.pop(0)


async def test_every_instance_gives_a_value_at_each_look(tmp_path: Path) -> None:
    clock, state, metrics = SystemClock(), MemoryState(), MemoryMetrics(Settings(tmp_path))
    (group,) = fleet("v2").groups
    await state.commit([Put(GROUPS, group.id, GroupRecord(group), 0)])
    began = int(clock.now())
    proxies = Proxies(
        {group.id: {"a:1": 3, "b:1": 0}, "stranger": {"c:1": 9}}, None, {group.id: {}}, {group.id: {"a:1": 1}}
    )
    collector = ConcurrencyCollector(state, proxies, metrics, clock)
    for _ in range(4):
        await collector.look()
    for metric in identities(group):
        (found,) = await metrics.read(metric, began, 60, 1, "None")
        assert found is not None
        assert (found.count, found.minimum, found.maximum, found.sum) == (3, 0, 3, 4)
    short = {"EndpointName": "e", "VariantName": "AllTraffic"}
    assert identities(group) == [
        identity("AWS/SageMaker", "ConcurrentRequestsPerModel", short),
        identity("AWS/SageMaker", "ConcurrentRequestsPerModel", {**short, "EndpointConfigName": "v2"}),
    ]


@pytest.mark.parametrize("period", [10, 20, 30, 60])
async def test_it_is_of_a_high_resolution(tmp_path: Path, period: int) -> None:
    clock, state, metrics = SystemClock(), MemoryState(), MemoryMetrics(Settings(tmp_path))
    (group,) = fleet("v2").groups
    await state.commit([Put(GROUPS, group.id, GroupRecord(group), 0)])
    began = int(clock.now())
    await ConcurrencyCollector(state, Proxies({group.id: {"a:1": 2}}), metrics, clock).look()
    found = await metrics.read(identities(group)[0], began, period, 2)
    assert sum(one.count for one in found if one is not None) == 1
