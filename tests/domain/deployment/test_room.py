"""Whether green fits beside blue, by what is measured and by what types allow."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.domain.deployment.worlds import fleet

from bannister.domain.deployment.plan import steps
from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing
from bannister.domain.deployment.room import MachineMemory, Shortage, ShortageKind, shortage
from bannister.domain.fleet import Fleet, Shadow
from bannister.domain.instance_type import GIB

BLUE, GREEN = "e.AllTraffic.v1", "e.AllTraffic.v2"


def found(
    available_gib: float,
    *,
    used_gib: float | None = None,
    allowed_gib: float | None = None,
    batch: int | None = None,
    blue: Fleet | None = fleet("v1", instances=4),  # noqa: B008  # it is immutable
    green: Fleet = fleet("v2", instances=4),  # noqa: B008
) -> Shortage | None:
    """Of a machine of 64 GiB; `batch`: instances of a rolling update's."""
    size = CapacitySize(CapacityType.INSTANCE_COUNT, batch) if batch is not None else None
    policy = DeploymentPolicy(Routing.ROLLING if batch is not None else Routing.ALL_AT_ONCE, size)
    return shortage(
        blue,
        green,
        steps(policy, {group.variant: group.instance_count for group in green.groups}),
        MachineMemory(64 * GIB, int(available_gib * GIB), {} if used_gib is None else {BLUE: int(used_gib * GIB)}),
        {} if allowed_gib is None else {group.id: int(allowed_gib * GIB) for group in green.all_groups},
        rolling=batch is not None,
    )


def test_green_that_does_not_fit() -> None:
    short = found(11.5, used_gib=3)
    assert short == Shortage(
        ShortageKind.DOES_NOT_FIT,
        "Green needs 12 GiB beside blue, if its instances use what blue's use now (3 GiB for each of AllTraffic), and "
        "11.5 GiB of this machine's 64 GiB are free.",
        "Instances may be ended for want of memory, also those in production. Free memory, ask for fewer instances, or use "
        "a RollingUpdatePolicy, which replaces instances batch by batch.",
    )
    assert found(12, used_gib=3) is None


def test_what_is_measured_counts_and_not_what_the_type_allows() -> None:
    assert found(12, used_gib=3, allowed_gib=8) is None


def test_a_creation_is_measured_by_its_types() -> None:
    green = fleet("v2", instances=2)
    green = replace(green, groups=(replace(green.groups[0], instance_type="ml.m5.large"),))
    short = found(15, allowed_gib=8, blue=None, green=green)
    assert short == Shortage(
        ShortageKind.MAY_NOT_FIT,
        "Green's 2 instance(s) may use 16 GiB more than is used now (8 GiB for each of AllTraffic as ml.m5.large), and 15 GiB of "
        "this machine's 64 GiB are free.",
        "If they use less, all is well; otherwise instances may be ended for want of memory. Free memory, or ask for fewer instances.",
    )
    assert found(16, allowed_gib=8, blue=None, green=green) is None
    assert found(0, blue=None, green=green) is None, "nobody can say"


def test_a_shadow_counts() -> None:
    green = fleet("v2", instances=4)
    green = replace(green, shadow=Shadow(replace(green.groups[0], id="e.next.v2", variant="next", instance_count=1), 1))
    short = found(12, used_gib=3, allowed_gib=2, green=green)
    assert short is not None
    assert short.kind is ShortageKind.MAY_NOT_FIT
    assert "may use 14 GiB more" in short.reason


@pytest.mark.parametrize(("batch", "needed_gib"), [(1, 3), (2, 6)])
def test_a_rolling_update_needs_room_for_one_batch(batch: int, needed_gib: float) -> None:
    assert found(needed_gib, used_gib=3, batch=batch) is None
    short = found(needed_gib - 0.1, used_gib=3, batch=batch)
    assert short is not None
    assert short.kind is ShortageKind.DOES_NOT_FIT
    assert short.remedy.endswith("ask for fewer instances, or use smaller batches.")


def test_of_what_blue_gives_back_nobody_knows_before_it_is_measured() -> None:
    assert found(32, allowed_gib=8, batch=1) is None
    short = found(31, allowed_gib=8, batch=1)
    assert short is not None
    assert short.kind is ShortageKind.MAY_NOT_FIT
    assert "may use 32 GiB more" in short.reason
