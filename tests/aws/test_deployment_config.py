"""DeploymentConfig to a policy and back."""

from __future__ import annotations

import pytest

from bannister.aws.sagemaker.deployment_config import members_of, policy_of

ROLLING = {"MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1}, "WaitIntervalInSeconds": 60}
ALL_AT_ONCE = {"TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 60}}


@pytest.mark.parametrize(
    "policy", [{"RollingUpdatePolicy": ROLLING}, {"BlueGreenUpdatePolicy": ALL_AT_ONCE}, {}], ids=str
)
def test_an_alarm_given_twice_is_kept_once_where_it_was_first(policy: dict[str, object]) -> None:
    given = {"Alarms": [{"AlarmName": name} for name in ("b", "a", "b", "A", "a")]}
    kept = policy_of({**policy, "AutoRollbackConfiguration": given})
    assert kept.alarms == ("b", "a", "A")
    shown = members_of(kept)
    assert shown is not None
    assert shown["AutoRollbackConfiguration"] == {"Alarms": [{"AlarmName": name} for name in ("b", "a", "A")]}
