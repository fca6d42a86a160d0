"""Rolling updates at a constant 200 requests a second without retries: nothing lost, and capacity stays within its bounds."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.world import INFERENCE, Load, World

pytestmark = [pytest.mark.real, pytest.mark.slow]

ONE = {"Type": "INSTANCE_COUNT", "Value": 1}
BY_ONE = {"MaximumBatchSize": ONE, "WaitIntervalInSeconds": 2}


@contextmanager
def counted(world: World, endpoint: str) -> Iterator[list[tuple[int, int]]]:
    """Ready instances of the old and the new fleet, as DescribeEndpoint says, looked at again and again."""
    found: list[tuple[int, int]] = []
    over = threading.Event()
    client = world.server.client("sagemaker")

    def look() -> None:
        while not over.wait(0.05):
            now = client.describe_endpoint(EndpointName=endpoint)
            fleets = (now, now.get("PendingDeploymentSummary", {}))
            found.append(
                tuple(  # type: ignore[arg-type]
                    sum(one["CurrentInstanceCount"] for one in fleet.get("ProductionVariants", [])) for fleet in fleets
                )
            )

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def instances_seen(found: list[tuple[int, int]]) -> set[int]:
    return {old + new for old, new in found}


def test_a_good_version_replaces_the_old_one_batch_by_batch(world: World, record: Path) -> None:
    endpoint = world.endpoint("rolled-out", world.config("rolling-old", instances=3))
    world.config("rolling-new", instances=3)
    alarm = world.error_alarm("rolling-good-errors", endpoint, "rolling-new")
    with Load(world.server, endpoint, record) as load, counted(world, endpoint) as counts:
        world.update(endpoint, "rolling-new", rolling=BY_ONE, alarms=(alarm,))
        found = world.settled(endpoint)
    answers = load.nothing_lost()
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "rolling-new")
    assert found["LastDeploymentConfig"]["RollingUpdatePolicy"]["MaximumBatchSize"] == ONE
    assert {3, 4} <= instances_seen(counts) <= {3, 4}, (
        "never fewer than the old capacity, never more than a batch above it"
    )
    last_old = max(one.began for one in answers if one.version == "rolling-old")
    assert all(one.version == "rolling-new" for one in answers if one.began > last_old)
    world.sagemaker.delete_endpoint(EndpointName=endpoint)


@pytest.mark.parametrize("back", [None, ONE], ids=["at once", "by one"])
def test_a_bad_version_goes_back_and_nothing_is_lost(world: World, record: Path, back: dict[str, Any] | None) -> None:
    name = "back-at-once" if back is None else "back-by-one"
    endpoint = world.endpoint(name, world.config(f"{name}-old", instances=3))
    world.config(f"{name}-bad", instances=3, FAIL="0.4")
    # Not in the first bake: the rollback has blue instances to bring back.
    alarm = world.error_alarm(f"{name}-errors", endpoint, f"{name}-bad", threshold=2.0)
    rolling = BY_ONE | ({} if back is None else {"RollbackMaximumBatchSize": back})
    with Load(world.server, endpoint, record) as load, counted(world, endpoint) as counts:
        world.update(endpoint, f"{name}-bad", rolling=rolling | {"WaitIntervalInSeconds": 4}, alarms=(alarm,))
        while (0, 3) not in counts and not any(new == 2 for _, new in counts):
            threading.Event().wait(0.05)
        world.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="A person saw enough.")
        found = world.settled(endpoint)
    answers = load.nothing_lost()
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", f"{name}-old")
    assert "A person saw enough." in found["FailureReason"]
    (variant,) = found["ProductionVariants"]
    assert variant["CurrentInstanceCount"] == 3
    assert min(instances_seen(counts)) == 3
    assert max(instances_seen(counts)) <= (4 if back is not None else 6)
    last_bad = max(one.began for one in answers if one.version == f"{name}-bad")
    assert all(one.version == f"{name}-old" for one in answers if one.began > last_bad)
    world.sagemaker.delete_endpoint(EndpointName=endpoint)


def test_a_rollback_that_fails_leaves_both_serving_and_an_update_leads_out(world: World, record: Path) -> None:
    gone = INFERENCE.replace('if os.environ.get("BREAK_ON_LOAD"):', 'if os.path.exists(os.environ["MARK"]):').replace(
        '"this model cannot be loaded: " + os.environ["BREAK_ON_LOAD"]', '"the licence has run out"'
    )
    mark = record.parent / "mark"
    world.model("stuck-old", files={"code/inference.py": gone.encode()}, MARK=str(mark))
    endpoint = world.endpoint("stuck", world.config("stuck-old", instances=3, model="stuck-old"))
    world.config("stuck-bad", instances=3)
    alarm = world.error_alarm("stuck-errors", endpoint, "stuck-bad", threshold=2.0)
    with Load(world.server, endpoint, record) as load, counted(world, endpoint) as counts:
        world.update(endpoint, "stuck-bad", rolling=BY_ONE | {"WaitIntervalInSeconds": 4}, alarms=(alarm,))
        while not any(new == 2 for _, new in counts):
            threading.Event().wait(0.05)
        mark.touch()
        world.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="A person saw enough.")
        found = world.settled(endpoint)
        assert found["EndpointStatus"] == "UpdateRollbackFailed", json.dumps(found, default=str)
        assert "the licence has run out" in found["FailureReason"]
        (variant,) = found["ProductionVariants"]
        assert variant["CurrentInstanceCount"] == 3, "both fleets, under the variant's name"
        world.config("stuck-way-out", instances=3)
        world.update(endpoint, "stuck-way-out", rolling=BY_ONE)
        found = world.settled(endpoint)
    load.nothing_lost()
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "stuck-way-out")
    assert "FailureReason" not in found
    world.sagemaker.delete_endpoint(EndpointName=endpoint)
