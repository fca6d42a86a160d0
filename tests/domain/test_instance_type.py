"""Instance types: AWS's figures, and what of them limits an instance here."""

from __future__ import annotations

import pytest

from bannister.aws.wire.models import service_model
from bannister.domain.instance_type import GIB, Allowance, allowance, gib, least_used, size_of

#: As AWS publishes them: vCPUs and GiB.
PUBLISHED = {
    "ml.t2.medium": (2, 4),
    "ml.m4.10xlarge": (40, 160),
    "ml.m5.large": (2, 8),
    "ml.m5.24xlarge": (96, 384),
    "ml.c4.large": (2, 3.75),
    "ml.c4.8xlarge": (36, 60),
    "ml.c5.xlarge": (4, 8),
    "ml.c5.9xlarge": (36, 72),
    "ml.c5.18xlarge": (72, 144),
    "ml.c6i.32xlarge": (128, 256),
    "ml.m6i.4xlarge": (16, 64),
    "ml.m7i.48xlarge": (192, 768),
    "ml.c8g.medium": (1, 2),
    "ml.r5.large": (2, 16),
    "ml.r7i.2xlarge": (8, 64),
    "ml.g4dn.xlarge": (4, 16),
    "ml.g4dn.12xlarge": (48, 192),
    "ml.g5.48xlarge": (192, 768),
    "ml.g6e.48xlarge": (192, 1536),
    "ml.inf1.6xlarge": (24, 48),
    "ml.inf2.24xlarge": (96, 384),
    "ml.trn1.32xlarge": (128, 512),
    "ml.p3.2xlarge": (8, 61),
    "ml.p4d.24xlarge": (96, 1152),
    "ml.p6-b200.48xlarge": (192, 2048),
}
#: Families of which no figures were found.
UNKNOWN = ("ml.g7.", "ml.g7e.", "ml.p6-b300.", "ml.p6e-gb200.")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_type_has_what_aws_publishes(name: str) -> None:
    size = size_of(name)
    assert size is not None
    assert (size.vcpus, size.memory_bytes / GIB) == PUBLISHED[name]


def test_every_type_that_sagemaker_takes_is_known_or_said_to_be_unknown() -> None:
    types = service_model("sagemaker").shape_for("ProductionVariantInstanceType").metadata["enum"]
    assert {one for one in types if size_of(one) is None} == {one for one in types if one.startswith(UNKNOWN)}


@pytest.mark.parametrize("name", ["ml.z9.large", "ml.m5.huge", "", "ml.", "m5"])
def test_what_is_no_type_has_no_size(name: str) -> None:
    assert size_of(name) is None


@pytest.mark.parametrize(
    ("name", "cores", "memory_gib", "expected"),
    [
        ("ml.t2.medium", 8, 16, Allowance(2, 4 * GIB)),
        ("ml.m5.large", 2, 24, Allowance(None, 8 * GIB)),
        ("ml.m5.large", 8, 8, Allowance(2, None)),
        ("ml.m5.24xlarge", 8, 16, Allowance()),
        ("ml.t2.medium", None, None, Allowance()),
        ("ml.z9.large", 8, 16, Allowance()),
        (None, 8, 16, Allowance()),
    ],
)
def test_only_what_the_machine_has_more_of_is_limited(
    name: str | None, cores: int | None, memory_gib: int | None, expected: Allowance
) -> None:
    assert allowance(name, cores, None if memory_gib is None else memory_gib * GIB) == expected


def test_cores_that_few_have_been_given_come_first() -> None:
    assert least_used((0, 1, 2, 3), {}, 2) == (0, 1)
    assert least_used((0, 1, 2, 3), {0: 1, 1: 1}, 2) == (2, 3)
    assert least_used((4, 5, 6), {4: 2, 5: 1, 6: 1}, 2) == (5, 6)
    assert least_used((0, 1), {0: 1}, 2) == (0, 1)


#: Two threads of each core, numbered as kernels do: side by side, and in two halves.
SIDE_BY_SIDE = {core: core // 2 * 2 for core in range(8)}
IN_HALVES = {core: core % 4 for core in range(8)}


@pytest.mark.parametrize(
    ("physical", "uses", "count", "expected"),
    [
        (SIDE_BY_SIDE, {}, 2, (0, 2)),
        (SIDE_BY_SIDE, {0: 1, 2: 1}, 2, (4, 6)),
        (SIDE_BY_SIDE, {0: 1, 2: 1, 4: 1, 6: 1}, 2, (1, 3)),
        (SIDE_BY_SIDE, {0: 1}, 7, (1, 2, 3, 4, 5, 6, 7)),
        (SIDE_BY_SIDE, {0: 1, 1: 1}, 3, (2, 4, 6)),
        (SIDE_BY_SIDE, {}, 6, (0, 1, 2, 3, 4, 6)),
        (IN_HALVES, {}, 4, (0, 1, 2, 3)),
        (IN_HALVES, {0: 1}, 2, (1, 2)),
        (IN_HALVES, {0: 1, 1: 1, 2: 1, 3: 1}, 1, (4,)),
        (IN_HALVES, {0: 1, 1: 1, 2: 1, 3: 1, 5: 1, 6: 1, 7: 1}, 1, (4,)),
        ({1: 0}, {}, 2, (0, 2)),
    ],
)
def test_cores_are_spread_over_physical_ones(
    physical: dict[int, int], uses: dict[int, int], count: int, expected: tuple[int, ...]
) -> None:
    assert least_used(range(8), uses, count, physical) == expected


def test_instances_that_come_one_after_the_other_are_spread_evenly() -> None:
    uses: dict[int, int] = {}
    for _ in range(8):
        for core in least_used(range(8), uses, 2, SIDE_BY_SIDE):
            uses[core] = uses.get(core, 0) + 1
    assert uses == dict.fromkeys(range(8), 2)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 MiB"), (200 * 1024**2, "200 MiB"), (15 * GIB // 4, "3.75 GiB"), (1152 * GIB, "1152 GiB")],
)
def test_bytes_as_people_read_them(count: int, text: str) -> None:
    assert gib(count) == text
