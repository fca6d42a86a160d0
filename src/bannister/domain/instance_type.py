"""Instance types: the cores and the memory that an instance of a type has, and what of that limits it on a given machine.

The figures are those that AWS publishes for EC2 ("Amazon EC2 instance types", https://docs.aws.amazon.com/ec2/latest/instancetypes/); SageMaker's type
`ml.NAME` is an EC2 instance of type `NAME`. In most families a size is a number of vCPUs, and memory grows with it.

A type that has more than the machine limits nothing: whoever rehearses `ml.m5.24xlarge` on a laptop gets all of the laptop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

GIB: Final = 1024**3

_VCPUS: Final[Mapping[str, int]] = {
    "medium": 1,
    "large": 2,
    "xlarge": 4,
    "2xlarge": 8,
    "4xlarge": 16,
    "6xlarge": 24,
    "8xlarge": 32,
    "9xlarge": 36,
    "10xlarge": 40,
    "12xlarge": 48,
    "16xlarge": 64,
    "18xlarge": 72,
    "24xlarge": 96,
    "32xlarge": 128,
    "48xlarge": 192,
}
#: By GiB of memory for each vCPU: the families in which that and `_VCPUS` hold for every size.
_FAMILIES: Final[Mapping[int, str]] = {
    2: "c5 c5d c6g c6gd c6gn c6i c6in c7g c7i c8g inf1",
    4: "m4 m5 m5d m6g m6gd m6i m7i m8g g4dn g5 g6 inf2 trn1 trn1n",
    8: "r5 r5d r6g r6gd r6i r7gd r7i r8g g6e",
}
_GIB_PER_VCPU: Final = {family: gib for gib, families in _FAMILIES.items() for family in families.split()}
#: All others: vCPUs and GiB.
_OTHERS: Final[Mapping[str, tuple[int, float]]] = {
    "t2.medium": (2, 4),
    "t2.large": (2, 8),
    "t2.xlarge": (4, 16),
    "t2.2xlarge": (8, 32),
    "c4.large": (2, 3.75),
    "c4.xlarge": (4, 7.5),
    "c4.2xlarge": (8, 15),
    "c4.4xlarge": (16, 30),
    "c4.8xlarge": (36, 60),
    "p2.xlarge": (4, 61),
    "p2.8xlarge": (32, 488),
    "p2.16xlarge": (64, 732),
    "p3.2xlarge": (8, 61),
    "p3.8xlarge": (32, 244),
    "p3.16xlarge": (64, 488),
    "p4d.24xlarge": (96, 1152),
    "p4de.24xlarge": (96, 1152),
    "p5.4xlarge": (16, 256),
    "p5.48xlarge": (192, 2048),
    "p5e.48xlarge": (192, 2048),
    "p5en.48xlarge": (192, 2048),
    "p6-b200.48xlarge": (192, 2048),
    "dl1.24xlarge": (96, 768),
    "trn2.48xlarge": (192, 2048),
}


@dataclass(frozen=True, slots=True)
class Size:
    """What an instance of a type has."""

    vcpus: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """What an instance may use of a machine; None: as much as there is."""

    cores: int | None = None
    memory_bytes: int | None = None


def size_of(instance_type: str) -> Size | None:
    """What a type has, such as `ml.m5.large`; None: its figures are not known."""
    name = instance_type.removeprefix("ml.")
    if name in _OTHERS:
        vcpus, gib = _OTHERS[name]
        return Size(vcpus, int(gib * GIB))
    family, _, size = name.partition(".")
    per_vcpu, found = _GIB_PER_VCPU.get(family), _VCPUS.get(size)
    return None if per_vcpu is None or found is None else Size(found, found * per_vcpu * GIB)


def allowance(instance_type: str | None, cores: int | None, memory_bytes: int | None) -> Allowance:
    """What limits an instance of a type on a machine: whatever the machine has more of.

    Args:
        instance_type: None: nobody named one.
        cores: That the machine has for instances; None: they cannot be given out here.
        memory_bytes: That the machine has; None: not known, or nobody can look at what an instance uses.
    """
    size = None if instance_type is None else size_of(instance_type)
    if size is None:
        return Allowance()
    return Allowance(
        size.vcpus if cores is not None and size.vcpus < cores else None,
        size.memory_bytes if memory_bytes is not None and size.memory_bytes < memory_bytes else None,
    )


def least_used(
    cores: Sequence[int], uses: Mapping[int, int], count: int, physical: Mapping[int, int] | None = None
) -> tuple[int, ...]:
    """So many cores, those that the fewest instances have been given, and among these those whose physical core is shared by the fewest.

    Args:
        cores: To choose from, as the system counts them.
        uses: How many instances have been given each.
        count: How many to choose.
        physical: The physical core of each: two threads of one are slower than two cores. One that is not named is one by itself.
    """
    of = {core: core if physical is None else physical.get(core, core) for core in cores}
    load: Counter[int] = Counter()
    for core in cores:
        load[of[core]] += uses.get(core, 0)
    chosen: list[int] = []
    left = set(cores)
    while left and len(chosen) < count:
        core = min(left, key=lambda one: (uses.get(one, 0), load[of[one]], one))
        left.remove(core)
        chosen.append(core)
        load[of[core]] += 1
    return tuple(sorted(chosen))


def gib(count: int) -> str:
    """A number of bytes as people read it: `3.75 GiB`, `200 MiB`."""
    if count < GIB:
        return f"{count / 1024**2:.0f} MiB"
    return f"{count / GIB:.3g} GiB" if count < 1000 * GIB else f"{count / GIB:.0f} GiB"
