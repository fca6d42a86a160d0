"""The call sequences of AWS's guardrail notebooks (canary, linear and rolling), with shorter waits.

Source: aws/amazon-sagemaker-examples, sm-deployment_guardrails_update_inference_endpoint_with_{canary_traffic_shifting,linear_traffic_shifting,rolling_deployment}. The sequence is AWS's;
the models, and the code below, are ours.
"""

import time

import pytest
from botocore.exceptions import ClientError
from tests.scenarios.world import IMAGE, INFERENCE, World, archive, wait_for

pytestmark = [pytest.mark.real, pytest.mark.slow]

CANARY = {"Type": "CANARY", "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1}, "WaitIntervalInSeconds": 12}
LINEAR = {"Type": "LINEAR", "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 33}, "WaitIntervalInSeconds": 5}


ROLLING = {"MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 33}, "WaitIntervalInSeconds": 12}
BLUE_GREEN = {"TerminationWaitInSeconds": 5, "MaximumExecutionTimeoutInSeconds": 1800}
POLICIES = {
    "canary": {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": CANARY, **BLUE_GREEN}},
    "linear": {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": LINEAR, **BLUE_GREEN}},
    "rolling": {"RollingUpdatePolicy": {**ROLLING, "MaximumExecutionTimeoutInSeconds": 1800}},
}


def alarm(world: World, name: str, endpoint: str, metric: str, statistic: str, threshold: float) -> None:
    world.cloudwatch.put_metric_alarm(
        AlarmName=name,
        AlarmDescription=f"Test {metric}",
        ActionsEnabled=False,
        Namespace="AWS/SageMaker",
        MetricName=metric,
        Statistic=statistic,
        Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "AllTraffic"}],
        Period=60,
        EvaluationPeriods=1,
        Threshold=threshold,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="notBreaching",
    )


def invoke_loop(world: World, endpoint: str, count: int) -> list[str]:
    answers = []
    for _ in range(count):
        try:
            reply = world.runtime.invoke_endpoint(EndpointName=endpoint, Body="1,2,3", ContentType="text/csv")
            answers.append(reply["Body"].read().decode())
        except ClientError as error:
            if error.response["Error"]["Code"] != "ModelError":
                raise
            answers.append("error")
    return answers


def invocations(world: World, endpoint: str, config: str | None) -> float:
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "AllTraffic"}]
    if config is not None:
        dimensions.append({"Name": "EndpointConfigName", "Value": config})
    points = world.cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="Invocations",
        StartTime=time.time() - 600,
        EndTime=time.time() + 60,
        Period=60,
        Statistics=["Sum"],
        Dimensions=dimensions,
    )["Datapoints"]
    return sum(point["Sum"] for point in points)


@pytest.mark.parametrize("name", POLICIES)
def test_the_guardrail_notebook(world: World, name: str) -> None:
    sagemaker, endpoint = world.sagemaker, f"notebook-{name}"
    versions = [f"{name}-{number}" for number in (1, 2, 3)]
    for version, fail in zip(versions, ("0", "1", "0"), strict=True):
        world.s3.put_object(
            Bucket="models", Key=f"{version}.tar.gz", Body=archive({"code/inference.py": INFERENCE.encode()})
        )
        sagemaker.create_model(
            ModelName=version,
            ExecutionRoleArn="arn:aws:iam::111111111111:role/role",
            Containers=[
                {
                    "Image": IMAGE,
                    "ModelDataUrl": f"s3://models/{version}.tar.gz",
                    "Environment": {"VERSION": version, "FAIL": fail},
                }
            ],
        )
        sagemaker.create_endpoint_config(
            EndpointConfigName=version,
            ProductionVariants=[
                {
                    "VariantName": "AllTraffic",
                    "ModelName": version,
                    "InstanceType": "ml.m5.xlarge",
                    "InitialInstanceCount": 3,
                }
            ],
        )
    good, bad, better = versions
    sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=good)
    world.settled(endpoint)
    assert {"version" in text for text in invoke_loop(world, endpoint, 50)} == {True}
    wait_for("50 invocations", lambda: invocations(world, endpoint, None) == 50)
    assert invocations(world, endpoint, good) == 50

    # The notebooks' error alarm needs 100 % errors over both fleets to fire; a person who wants to be guarded asks for less.
    errors, latency = f"{name}-errors", f"{name}-latency"
    alarm(world, errors, endpoint, "Invocation5XXErrors", "Average", 0.05)
    alarm(world, latency, endpoint, "ModelLatency", "Average", 10_000_000)
    wait_for("both OK", lambda: {one["StateValue"] for one in sagemaker_alarms(world, errors, latency)} == {"OK"})

    sagemaker.update_endpoint(
        EndpointName=endpoint,
        EndpointConfigName=bad,
        DeploymentConfig={
            **POLICIES[name],
            "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": errors}, {"AlarmName": latency}]},
        },
    )
    assert sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointStatus"] == "Updating"
    answers: list[str] = []
    while world.describe(endpoint)["EndpointStatus"] not in ("InService", "Failed"):
        answers += invoke_loop(world, endpoint, 20)
    found = world.describe(endpoint)
    assert "error" in answers
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", good)
    assert errors in found["FailureReason"]
    wait_for("the bad configuration's own series", lambda: invocations(world, endpoint, bad) > 0)

    # The errors must have left the alarm's minute before the next update is allowed to move traffic; it waits by itself.
    sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=better, RetainDeploymentConfig=True)
    while world.describe(endpoint)["EndpointStatus"] not in ("InService", "Failed"):
        assert "error" not in invoke_loop(world, endpoint, 20)
    found = world.describe(endpoint)
    assert found["EndpointConfigName"] == better
    last = found["LastDeploymentConfig"]
    assert {key: value for key, value in last.items() if key != "AutoRollbackConfiguration"} == POLICIES[name]
    assert set(invoke_loop(world, endpoint, 10)) != {"error"}

    sagemaker.delete_endpoint(EndpointName=endpoint)
    for version in versions:
        sagemaker.delete_endpoint_config(EndpointConfigName=version)
    for version in versions:
        sagemaker.delete_model(ModelName=version)
    world.cloudwatch.delete_alarms(AlarmNames=[errors, latency])


def sagemaker_alarms(world: World, *names: str) -> list[dict[str, object]]:
    return list(world.cloudwatch.describe_alarms(AlarmNames=list(names))["MetricAlarms"])
