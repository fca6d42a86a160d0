"""A bake that is guarded by an alarm on compared answers, with the capture process as it should be, and stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.crashes.harm import decisions, part, stopped
from tests.scenarios.world import Server, World

pytestmark = [pytest.mark.real, pytest.mark.slow]

LINEAR = {
    "Type": "LINEAR",
    "WaitIntervalInSeconds": 3,
    "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 50},
}
BLIND_TIMEOUT_SECONDS = 6.0


def test_without_comparisons_a_bake_does_not_pass(tmp_path: Path) -> None:
    """The alarm takes missing data for good news, and nothing was ever compared: with a capture process that speaks that is quiet, with
    one that is silent it is blind.
    """
    server = Server(tmp_path / "data", blind_timeout_seconds=BLIND_TIMEOUT_SECONDS)
    try:
        world = World(server)
        endpoint = world.endpoint("compared", world.config("compared-1", instances=1))
        for name in ("compared-2", "compared-3"):
            world.config(name, instances=1)
        world.cloudwatch.put_metric_alarm(
            AlarmName="differs",
            Namespace="/bannister/Shadow",
            MetricName="Agreement",
            Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "Shadow"}],
            Statistic="Average",
            Period=10,
            EvaluationPeriods=1,
            Threshold=0.98,
            ComparisonOperator="LessThanThreshold",
            TreatMissingData="notBreaching",
        )
        world.update(endpoint, "compared-2", routing=LINEAR, alarms=("differs",))
        assert world.settled(endpoint)["EndpointConfigName"] == "compared-2"
        with stopped(part(server, "capture").pid):
            world.update(endpoint, "compared-3", routing=LINEAR, alarms=("differs",))
            found = world.settled(endpoint)
        assert found["EndpointConfigName"] == "compared-2"
        assert "No answers have been compared for" in found["FailureReason"]
        assert 'alarm "differs" cannot be judged' in found["FailureReason"]
        deployments = [one["deployment"] for one in decisions(server, endpoint)]
        last = [one for one in decisions(server, endpoint) if one["deployment"] == deployments[-1]]
        assert "baking → shifting" not in {one["from"] + " → " + one["to"] for one in last}
        assert world.invoke(endpoint)["version"] == "compared-2"
    finally:
        assert server.stop() == 0
    assert server.leftovers() == []
