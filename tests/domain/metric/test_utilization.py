"""How busy an instance is, from two looks at what it has used."""

import pytest
from tests.domain.deployment.worlds import fleet

from bannister.domain.instance import Usage
from bannister.domain.metric.identity import identity
from bannister.domain.metric.utilization import CPU, DISK, MEMORY, Look, Machine, identities, utilization

MACHINE = Machine(1000, 0.25)
BEFORE = Look(10.0, Usage(5.0, 900))


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        (BEFORE, Look(14.0, Usage(6.0, 500)), {CPU: 25.0, MEMORY: 50.0, DISK: 25.0}),
        (BEFORE, Look(14.0, Usage(13.0, 500)), {CPU: 200.0, MEMORY: 50.0, DISK: 25.0}),
        (None, Look(14.0, Usage(6.0, 500)), {MEMORY: 50.0, DISK: 25.0}),
        (BEFORE, Look(14.0, Usage(0.5, 500)), {MEMORY: 50.0, DISK: 25.0}),
        (BEFORE, Look(14.0, Usage(6.0, 150, 200)), {CPU: 25.0, MEMORY: 75.0, DISK: 25.0}),
        (BEFORE, Look(10.0, Usage(6.0, 500)), {MEMORY: 50.0, DISK: 25.0}),
    ],
    ids=["a quarter of a processor", "two processors", "seen first", "started anew", "with a limit", "no time passed"],
)
def test_an_instances_values(before: Look | None, now: Look, found: dict[str, float]) -> None:
    assert utilization(before, now, MACHINE) == found


def test_a_disk_that_cannot_be_read_is_in_no_metric() -> None:
    assert utilization(None, BEFORE, Machine(1000)) == {MEMORY: 90.0}


def test_both_sets_of_dimensions() -> None:
    (group,) = fleet("v2").groups
    both = {"EndpointName": group.endpoint, "VariantName": group.variant}
    assert list(identities(CPU, group)) == [
        identity("/aws/sagemaker/Endpoints", "CPUUtilization", both),
        identity("/aws/sagemaker/Endpoints", "CPUUtilization", both | {"EndpointConfigName": group.config_name}),
    ]
