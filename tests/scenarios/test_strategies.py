"""Each strategy, success and rollback, at a constant 200 requests a second without retries: nothing lost."""

from pathlib import Path

import pytest
from tests.scenarios.world import Load, World

pytestmark = [pytest.mark.real, pytest.mark.slow]

WAIT = 3

STRATEGIES = {
    "all-at-once": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0},
    "canary-percent": {
        "Type": "CANARY",
        "WaitIntervalInSeconds": WAIT,
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
    },
    "canary-count": {
        "Type": "CANARY",
        "WaitIntervalInSeconds": WAIT,
        "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1},
    },
    "linear-percent": {
        "Type": "LINEAR",
        "WaitIntervalInSeconds": WAIT,
        "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 33},
    },
    "linear-count": {
        "Type": "LINEAR",
        "WaitIntervalInSeconds": WAIT,
        "LinearStepSize": {"Type": "INSTANCE_COUNT", "Value": 1},
    },
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_good_version_replaces_the_old_one(world: World, record: Path, strategy: str) -> None:
    old, new = f"{strategy}-old", f"{strategy}-new"
    endpoint = world.endpoint(f"{strategy}-good", world.config(old))
    world.config(new)
    alarm = world.error_alarm(f"{strategy}-good-errors", endpoint, new)
    with Load(world.server, endpoint, record) as load:
        world.update(endpoint, new, routing=STRATEGIES[strategy], alarms=(alarm,), termination_wait=WAIT)
        found = world.settled(endpoint)
    answers = load.nothing_lost()
    assert found["EndpointConfigName"] == new
    assert "FailureReason" not in found
    assert {one.version for one in answers} == {old, new}
    last_old = max(one.began for one in answers if one.version == old)
    assert all(one.version == new for one in answers if one.began > last_old)
    world.sagemaker.delete_endpoint(EndpointName=endpoint)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_bad_version_is_rolled_back(world: World, record: Path, strategy: str) -> None:
    old, bad = f"{strategy}-sound", f"{strategy}-bad"
    endpoint = world.endpoint(f"{strategy}-rolled", world.config(old))
    world.config(bad, FAIL="0.3")
    alarm = world.error_alarm(f"{strategy}-errors", endpoint, bad)
    with Load(world.server, endpoint, record) as load:
        world.update(endpoint, bad, routing=STRATEGIES[strategy], alarms=(alarm,), termination_wait=30)
        found = world.settled(endpoint)
    answers = load.nothing_lost()
    assert found["EndpointStatus"] == "InService"
    assert found["EndpointConfigName"] == old
    assert f'"{alarm}"' in found["FailureReason"]
    assert "greater than the threshold (0.05)" in found["FailureReason"]
    bad_answers = [one for one in answers if one.version == bad]
    assert any(one.status == 424 for one in bad_answers), "the bad version did answer callers"
    last_bad = max(one.began for one in bad_answers)
    assert all(one.version == old for one in answers if one.began > last_bad)
    world.sagemaker.delete_endpoint(EndpointName=endpoint)
