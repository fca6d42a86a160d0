"""Whether green fits beside blue, by what is measured and by what types allow."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.domain.deployment.worlds import fleet

from bannister.domain.deployment.plan import steps
from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing
from bannister.domain.deployment.room import MachineMemory, Shortage, ShortageKind, shortage, shortage_of_more
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


def test_a_shadow_of_which_nobody_can_say_counts_as_production_does() -> None:
    green = fleet("v2", instances=4)
    green = replace(green, shadow=Shadow(replace(green.groups[0], id="e.next.v2", variant="next", instance_count=2), 1))
    short = found(12, used_gib=3, green=green)
    assert short is not None
    assert short.kind is ShortageKind.DOES_NOT_FIT
    assert "Green needs 18 GiB beside blue" in short.reason


def more(
    available_gib: float, counts: tuple[int, int], used_gib: float | None, allowed_gib: float | None
) -> Shortage | None:
    before = fleet("v1", instances=counts[0])
    before = replace(before, groups=(replace(before.groups[0], instance_type="ml.m5.large"),))
    after = replace(before, groups=(replace(before.groups[0], instance_count=counts[1]),))
    used = {} if used_gib is None else {BLUE: int(used_gib * GIB)}
    allowed = {} if allowed_gib is None else {BLUE: int(allowed_gib * GIB)}
    return shortage_of_more(before, after, MachineMemory(64 * GIB, int(available_gib * GIB), used), allowed)


@pytest.mark.parametrize(
    ("counts", "used_gib", "allowed_gib", "needed_gib"),
    [((4, 6), 3, 8, 6), ((4, 6), None, 8, 16), ((4, 6), None, None, 0), ((6, 4), 3, 8, 0), ((4, 4), 3, 8, 0)],
)
def test_of_a_change_of_counts_only_what_is_added_needs_room(
    counts: tuple[int, int], used_gib: float | None, allowed_gib: float | None, needed_gib: float
) -> None:
    assert more(needed_gib, counts, used_gib, allowed_gib) is None
    if needed_gib:
        assert more(needed_gib - 0.1, counts, used_gib, allowed_gib) is not None
    else:
        assert more(0, counts, used_gib, allowed_gib) is None


def test_a_change_of_counts_that_does_not_fit_says_by_what() -> None:
    assert more(5, (4, 6), 3, None) == Shortage(
        ShortageKind.NO_ROOM_TO_GROW,
        "The instances that are added may use 6 GiB more than is used now (2 of AllTraffic with 3 GiB each, as those that run), and 5 GiB of "
        "this machine's 64 GiB are free.",
        "Instances may be ended for want of memory, also those in production. Free memory, or ask for fewer instances.",
    )
    by_type = more(5, (4, 6), None, 8)
    assert by_type is not None
    assert "(2 of AllTraffic with 8 GiB each as ml.m5.large)" in by_type.reason


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
