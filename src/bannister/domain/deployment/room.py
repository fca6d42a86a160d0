"""Whether green fits into the machine beside blue: said before it starts, from what blue's instances use now.

What a new version will use is not known. The best estimate is what an instance of the same variant uses that runs; where none does (at a creation, or for a new
variant), it is as much as its instance type lets it use. So this warns, and refuses nothing: nobody knows for certain before it was tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from bannister.domain.deployment.capacity import left, whole
from bannister.domain.deployment.plan import Step
from bannister.domain.fleet import Fleet, Group
from bannister.domain.instance_type import gib


class ShortageKind(StrEnum):
    """What is wrong."""

    #: By what blue's instances use.
    DOES_NOT_FIT = "green does not fit beside blue"
    #: By what instance types allow.
    MAY_NOT_FIT = "green may not fit into memory"
    #: Of a change of counts: by what those of the same variant use, or by what their types allow.
    NO_ROOM_TO_GROW = "more instances may not fit into memory"


@dataclass(frozen=True, slots=True)
class Shortage:
    """Memory that a deployment will miss, and what to do about it; each whole sentences."""

    kind: ShortageKind
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class MachineMemory:
    """The memory of the machine that instances run on, in bytes."""

    total: int
    #: Can be used without anything being swapped out.
    available: int
    #: By group: what the largest of its running instances uses.
    used: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Need:
    """What one instance of a green group takes."""

    group: Group
    bytes: int
    measured: bool


def shortage(
    blue: Fleet | None,
    green: Fleet,
    steps: Sequence[Step],
    memory: MachineMemory,
    allowed: Mapping[str, int],
    *,
    rolling: bool,
) -> Shortage | None:
    """What a deployment will miss; None: it fits, as far as is known.

    Args:
        blue: None: nothing is in production yet.
        green: What is to be started.
        steps: The deployment's.
        memory: Of the machine, as it is now.
        allowed: By green group, the bytes that its instance type lets an instance use; one that is not limited has none.
        rolling: Green replaces blue batch by batch.
    """
    needs = [need for group in green.all_groups if (need := _need(group, blue, memory, allowed)) is not None]
    more = _more_at_once(needs, blue, green, steps, memory) if rolling and blue is not None else _all(needs)
    if more <= memory.available:
        return None
    count = sum(need.group.instance_count for need in needs)
    free = f"{gib(memory.available)} of this machine's {gib(memory.total)} are free"
    batches = "smaller batches" if rolling else "a RollingUpdatePolicy, which replaces instances batch by batch"
    way_out = f"Free memory, ask for fewer instances, or use {batches}." if blue is not None else (
        "Free memory, or ask for fewer instances."
    )  # fmt: skip
    if blue is not None and all(need.measured for need in needs):
        each = ", ".join(f"{gib(need.bytes)} for each of {need.group.variant}" for need in needs)
        return Shortage(
            ShortageKind.DOES_NOT_FIT,
            f"Green needs {gib(more)} beside blue, if its instances use what blue's use now ({each}), and {free}.",
            f"Instances may be ended for want of memory, also those in production. {way_out}",
        )
    each = ", ".join(
        f"{gib(need.bytes)} for each of {need.group.variant}"
        + (f" as {need.group.instance_type}" if not need.measured else "")
        for need in needs
    )
    return Shortage(
        ShortageKind.MAY_NOT_FIT,
        f"Green's {count} instance(s) may use {gib(more)} more than is used now ({each}), and {free}.",
        f"If they use less, all is well; otherwise instances may be ended for want of memory. {way_out}",
    )


def shortage_of_more(before: Fleet, after: Fleet, memory: MachineMemory, allowed: Mapping[str, int]) -> Shortage | None:
    """What a change of instance counts will miss; None: it fits, as far as is known, or nothing is added.

    Args:
        before: What runs.
        after: The same groups with other counts. What is too many goes only when what was added is there.
        memory: Of the machine, as it is now.
        allowed: By group, the bytes that its instance type lets an instance use; one that is not limited has none.
    """
    counts = {group.id: group.instance_count for group in before.all_groups}
    grown = [
        replace(group, instance_count=group.instance_count - counts.get(group.id, 0))
        for group in after.all_groups
        if group.instance_count > counts.get(group.id, 0)
    ]
    needs = [need for group in grown if (need := _need(group, before, memory, allowed)) is not None]
    more = _all(needs)
    if more <= memory.available:
        return None
    each = ", ".join(
        f"{need.group.instance_count} of {need.group.variant} with {gib(need.bytes)} each"
        + (f" as {need.group.instance_type}" if not need.measured else ", as those that run")
        for need in needs
    )
    return Shortage(
        ShortageKind.NO_ROOM_TO_GROW,
        f"The instances that are added may use {gib(more)} more than is used now ({each}), and {gib(memory.available)} of this machine's "
        f"{gib(memory.total)} are free.",
        "Instances may be ended for want of memory, also those in production. Free memory, or ask for fewer instances.",
    )


def _need(group: Group, blue: Fleet | None, memory: MachineMemory, allowed: Mapping[str, int]) -> _Need | None:
    """None: nobody can say."""
    of_variant = [one.id for one in (blue.all_groups if blue is not None else ()) if one.variant == group.variant]
    measured = [memory.used[name] for name in of_variant if name in memory.used]
    if measured:
        return _Need(group, max(measured), measured=True)
    if group.id in allowed:
        return _Need(group, allowed[group.id], measured=False)
    # A new variant with no limit, as the shadow of an experiment is: likely another version of what production runs.
    others = [memory.used[one.id] for one in (blue.groups if blue is not None else ()) if one.id in memory.used]
    return _Need(group, max(others), measured=True) if others else None


def _all(needs: Sequence[_Need]) -> int:
    return sum(need.bytes * need.group.instance_count for need in needs)


def _more_at_once(
    needs: Sequence[_Need], blue: Fleet, green: Fleet, steps: Sequence[Step], memory: MachineMemory
) -> int:
    """Of a rolling update: at most so much more than now, when a batch has been started and what it replaces still runs."""
    most, before = 0, None
    for step in steps:
        more = 0
        for need in needs:
            split = step.split.of(need.group.variant)
            if need.group not in green.groups or split is None:  # a shadow is there as a whole from the beginning
                more += need.bytes * need.group.instance_count
            else:
                more += need.bytes * split.green_instances
                more -= _given_back(need.group, blue, before, memory)
        most, before = max(most, more), step
    return most


def _given_back(group: Group, blue: Fleet, before: Step | None, memory: MachineMemory) -> int:
    """What blue's instances used that have gone by then."""
    reached = None if before is None else before.split.of(group.variant)
    if reached is None:
        return 0
    count = whole(blue.groups, group.variant)
    gone = count - left(count, reached.green_instances, group.instance_count)
    used = [memory.used.get(one.id, 0) for one in blue.groups if one.variant == group.variant]
    return gone * min(used, default=0)
