"""How many instances each fleet has while a rolling update replaces one by the other, batch by batch.

Forwards, step i has green instances g(1), g(2), …, N, and traffic follows: green's share is g/N. Blue has all its M instances until the first batch has baked;
then as many as its share needs, ceil(M * (1 - g/N)), and so on. So the endpoint never has less than its old capacity, and never more than one batch above it.

Backwards, the same in batches of RollbackMaximumBatchSize: traffic goes back to what blue has left at once, green sheds what it no longer needs, blue gets a
batch of new instances, and traffic follows.

Source: RollingUpdatePolicy in the API reference, and "Use rolling deployments" in the guide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bannister.domain.deployment.policy import CapacitySize, CapacityType
from bannister.domain.fleet import Group
from bannister.domain.traffic import TRAFFIC_PARTS, VariantSplit


@dataclass(frozen=True, slots=True)
class Retreat:
    """How far a rolling update has come on its way back, for one variant."""

    variant: str
    #: Blue instances that take traffic; its share follows from them.
    blue: int
    #: Green instances that still exist.
    green: int


def batch(size: CapacitySize | None, whole: int) -> int:
    """Instances of one batch out of `whole`; no size: all at once."""
    if size is None:
        return whole
    if size.type is CapacityType.CAPACITY_PERCENT:
        return min(whole, max(1, _part(whole, size.value, 100)))
    return min(whole, size.value)


def left(blue_whole: int, green: int, green_whole: int) -> int:
    """Blue instances, of `blue_whole`, that are needed beside `green` of `green_whole` green ones; and the other way round."""
    return _part(blue_whole, green_whole - green, green_whole)


def split_beside(variant: str, blue: int, blue_whole: int, green: int) -> VariantSplit:
    """The split in which blue's share is that of its instances."""
    parts = round(TRAFFIC_PARTS * (blue_whole - blue) / blue_whole)
    return VariantSplit(variant, parts, green if parts > 0 else 0)


def whole(groups: Sequence[Group], variant: str) -> int:
    """The instances of a variant. After a rollback that failed it has groups of two configurations."""
    return sum(group.instance_count for group in groups if group.variant == variant)


def allotted(groups: Sequence[Group], variant: str, count: int) -> dict[str, int]:
    """So many instances of a variant, by group.

    Where there are several groups each has its part, and keeps one instance for as long as any has: its share of the traffic follows the split, as theirs does.
    """
    of_variant = [group for group in groups if group.variant == variant]
    all_of_them = sum(group.instance_count for group in of_variant)
    return {group.id: _part(group.instance_count, count, all_of_them) for group in of_variant}


def _part(whole: int, numerator: int, denominator: int) -> int:
    """So many of `whole`, rounded up, without a float that could be a millionth too large."""
    return -(-whole * numerator // denominator)
