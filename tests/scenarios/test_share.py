"""Green's share is what was asked, counted."""

import math
from pathlib import Path

import pytest
from tests.scenarios.world import Load, World, wait_for

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.mark.parametrize(("percent", "instances"), [(5, 1), (10, 2), (50, 1)])
def test_greens_share_over_2000_requests_is_within_three_standard_deviations(
    world: World, record: Path, percent: int, instances: int
) -> None:
    name = f"share-{percent}-{instances}"
    endpoint = world.endpoint(name, world.config(f"{name}-old", instances=instances))
    world.config(f"{name}-new", instances=instances)
    routing = {
        "Type": "CANARY",
        "WaitIntervalInSeconds": 3600,
        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": percent},
    }
    world.cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace="None",
        MetricName="None",
        Statistic="Sum",
        Period=10,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    world.sagemaker.update_endpoint(
        EndpointName=endpoint,
        EndpointConfigName=f"{name}-new",
        DeploymentConfig={
            "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing},
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name}]},
        },
    )

    def baking() -> bool:
        (variant,) = world.describe(endpoint)["PendingDeploymentSummary"]["ProductionVariants"]
        return bool(variant["VariantStatus"][0]["Status"] == "Baking")

    wait_for("baking", baking)
    with Load(world.server, endpoint, record, rate=300) as load:
        wait_for("2,000 answers", lambda: len(load.answers()) >= 2000)
    answers = load.nothing_lost()
    green = sum(one.version == f"{name}-new" for one in answers)
    expected = len(answers) * percent / 100
    deviation = math.sqrt(len(answers) * percent / 100 * (1 - percent / 100))
    assert abs(green - expected) <= 3 * deviation, (
        f"{green} of {len(answers)}, expected {expected} ± {3 * deviation:.0f}"
    )
    world.cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="enough")
    assert world.settled(endpoint)["EndpointConfigName"] == f"{name}-old"
