"""What the demo asks of SageMaker and CloudWatch: the same calls, with the same arguments, that it would make on AWS."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boto3

from bannister.demo.training import Version

ENDPOINT = "flights"
VARIANT = "AllTraffic"
SHADOW = "Shadow"
BUCKET = "flights"
INSTANCES = 2
#: AWS's own image of scikit-learn: Bannister runs it with the built-in Python runtime.
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
ROLE = "arn:aws:iam::000000000000:role/flights"

CANARY_PERCENT = 20
BAKE_SECONDS = 15
TERMINATION_WAIT_SECONDS = 8
#: More failed requests than this in ten seconds trip the error alarm. A number and not a share: of the first few requests
#: of a canary a single failure is a large share, and one failure is no reason to take a version back.
ERRORS_MAX = 5.0
#: A 99th percentile above this, twice in a row, trips the latency alarm; the models need a few milliseconds.
P99_MICROSECONDS_MAX = 1_000_000.0
#: A larger share of the answers of a minute that say another label than v2 trips the alarm on a shadow. A share and not a number, for a busy machine
#: compares fewer; and of the first few answers a single one is a large share, so fewer than 200 count as 200.
DISAGREEING_PERCENT_MAX = 10.0
DISAGREEING_PERCENT = "100 * differing / IF(compared > 200, compared, 200)"
#: Two models' probabilities are never the same; that they are near is enough. Labels must be the same.
PROBABILITY_TOLERANCE = 0.5
#: Versions that are put beside v2 as its shadow.
SHADOWS = ("v4", "v5")

POLL_SECONDS = 0.2

Description = dict[str, Any]


class TookTooLong(Exception):
    """The endpoint did not come to rest in time."""


class FlightsEndpoint:
    """The endpoint, its models and its alarms, through boto3."""

    def __init__(self, url: str) -> None:
        session = boto3.Session(aws_access_key_id="demo", aws_secret_access_key="demo", region_name="us-east-1")
        self._s3 = session.client("s3", endpoint_url=url)
        self._sagemaker = session.client("sagemaker", endpoint_url=url)
        self._cloudwatch = session.client("cloudwatch", endpoint_url=url)
        self._bannister = session.client("bannister", endpoint_url=url)
        self.invocations_url = f"{url}/endpoints/{ENDPOINT}/invocations"

    def release(self, versions: list[Version]) -> None:
        """Upload the artifacts; create a model and an endpoint configuration for each."""
        self._s3.create_bucket(Bucket=BUCKET)
        for version in versions:
            key = f"{version.name}/model.tar.gz"
            self._s3.put_object(Bucket=BUCKET, Key=key, Body=version.artifact)
            self._sagemaker.create_model(
                ModelName=config_name(version.name),
                PrimaryContainer={"Image": IMAGE, "ModelDataUrl": f"s3://{BUCKET}/{key}"},
                ExecutionRoleArn=ROLE,
            )
            self._sagemaker.create_endpoint_config(
                EndpointConfigName=config_name(version.name),
                ProductionVariants=[_variant(VARIANT, version.name, INSTANCES)],
            )
        for shadow in SHADOWS:
            self._sagemaker.create_endpoint_config(
                EndpointConfigName=shadow_config_name(shadow),
                ProductionVariants=[_variant(VARIANT, "v2", INSTANCES)],
                # Of the same weight as production: every request is copied to it.
                ShadowProductionVariants=[_variant(SHADOW, shadow, 1)],
            )

    def create(self, version: str) -> None:
        self._sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName=config_name(version))

    def guard(self, version: str) -> list[str]:
        """Put the two alarms that watch this version's fleet and no other; their names."""
        watched = {
            "Namespace": "AWS/SageMaker",
            "Dimensions": [
                {"Name": "EndpointName", "Value": ENDPOINT},
                {"Name": "VariantName", "Value": VARIANT},
                {"Name": "EndpointConfigName", "Value": config_name(version)},
            ],
            "Period": 10,
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
        }
        self._cloudwatch.put_metric_alarm(
            AlarmName=error_alarm(version),
            MetricName="Invocation5XXErrors",
            Statistic="Sum",
            Threshold=ERRORS_MAX,
            EvaluationPeriods=1,
            **watched,
        )
        self._cloudwatch.put_metric_alarm(
            AlarmName=latency_alarm(version),
            MetricName="ModelLatency",
            ExtendedStatistic="p99",
            Threshold=P99_MICROSECONDS_MAX,
            EvaluationPeriods=2,
            **watched,
        )
        return [error_alarm(version), latency_alarm(version)]

    def update(self, version: str, alarms: list[str]) -> None:
        """Ask for the new version behind a canary."""
        self._sagemaker.update_endpoint(
            EndpointName=ENDPOINT,
            EndpointConfigName=config_name(version),
            DeploymentConfig={
                "BlueGreenUpdatePolicy": {
                    "TrafficRoutingConfiguration": {
                        "Type": "CANARY",
                        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": CANARY_PERCENT},
                        "WaitIntervalInSeconds": BAKE_SECONDS,
                    },
                    "TerminationWaitInSeconds": TERMINATION_WAIT_SECONDS,
                    "MaximumExecutionTimeoutInSeconds": 600,
                },
                "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]},
            },
        )

    def deployment_to(self, version: str) -> str:
        """The id of the newest deployment that brings in a version."""
        pages = self._bannister.get_paginator("list_deployments").paginate(EndpointName=ENDPOINT)
        found = [one for page in pages for one in page["Deployments"] if one["GreenConfigName"] == config_name(version)]
        return str(max(found, key=lambda one: one["StartTime"])["DeploymentId"])

    # --- shadows

    def compare_labels(self) -> None:
        """What counts as the same answer: the same label. The version is named in each answer, and always differs."""
        self._bannister.put_comparison_rules(
            EndpointName=ENDPOINT,
            Rules={"IgnoredPaths": ["$.version"], "AbsoluteTolerance": PROBABILITY_TOLERANCE},
        )

    def shadow(self, version: str) -> None:
        """Put a version beside v2: a plain update."""
        self._sagemaker.update_endpoint(EndpointName=ENDPOINT, EndpointConfigName=shadow_config_name(version))

    def guard_shadow(self, version: str) -> None:
        """An ordinary alarm, on how often the shadow's answers differ from production's."""
        disagreements = {
            "Namespace": "/bannister/Shadow",
            "MetricName": "Disagreements",
            "Dimensions": [
                {"Name": "EndpointName", "Value": ENDPOINT},
                {"Name": "VariantName", "Value": SHADOW},
                {"Name": "EndpointConfigName", "Value": shadow_config_name(version)},
            ],
        }
        read = [("differing", "Sum"), ("compared", "SampleCount")]
        self._cloudwatch.put_metric_alarm(
            AlarmName=disagreement_alarm(version),
            Metrics=[
                {"Id": "percent", "Expression": DISAGREEING_PERCENT, "Label": "disagreeing answers, %"},
                *(
                    {
                        "Id": name,
                        "MetricStat": {"Metric": disagreements, "Period": 60, "Stat": statistic},
                        "ReturnData": False,
                    }
                    for name, statistic in read
                ),
            ],
            EvaluationPeriods=1,
            Threshold=DISAGREEING_PERCENT_MAX,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="ignore",
        )

    def in_alarm(self, alarm: str) -> bool:
        found = self._cloudwatch.describe_alarms(AlarmNames=[alarm], StateValue="ALARM")
        return bool(found["MetricAlarms"])

    def shadow_report(self) -> dict[str, Any]:
        """What is known of the present shadow's answers."""
        found: dict[str, Any] = self._bannister.describe_shadow_report(EndpointName=ENDPOINT)
        return found

    def agreement(self) -> tuple[int, float]:
        """How many answers were compared, and the share of them that agreed."""
        agreement = self.shadow_report().get("Agreement") or {}
        return agreement.get("Pairs", 0), agreement.get("Rate", 0.0)

    # --- looking

    def wait_settled(self, timeout_seconds: float, watch: Callable[[Description], None]) -> Description:
        """Look at the endpoint until it is in service again, showing each look to `watch`.

        Raises:
            TookTooLong: It is still changing.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            description: Description = self._sagemaker.describe_endpoint(EndpointName=ENDPOINT)
            watch(description)
            if description["EndpointStatus"] in ("InService", "Failed"):
                return description
            if time.monotonic() > deadline:
                raise TookTooLong(
                    f"The endpoint is still {description['EndpointStatus']} after {timeout_seconds:.0f} s: {description}"
                )
            time.sleep(POLL_SECONDS)

    def tripped_at(self, alarm: str) -> float | None:
        """When the alarm first went to ALARM, in seconds since the epoch; None: it never did."""
        found = self._cloudwatch.describe_alarm_history(
            AlarmName=alarm, HistoryItemType="StateUpdate", ScanBy="TimestampAscending"
        )
        for item in found["AlarmHistoryItems"]:
            if item["HistorySummary"].endswith("to ALARM"):
                moment: float = item["Timestamp"].timestamp()
                return moment
        return None


def config_name(version: str) -> str:
    """The name of a version's model and of its endpoint configuration."""
    return f"flights-{version}"


def shadow_config_name(version: str) -> str:
    """The endpoint configuration of v2 with this version as its shadow."""
    return f"flights-v2-shadow-{version}"


def disagreement_alarm(version: str) -> str:
    return f"flights-{version}-disagreements"


def error_alarm(version: str) -> str:
    return f"flights-{version}-errors"


def latency_alarm(version: str) -> str:
    return f"flights-{version}-p99"


@dataclass(frozen=True, slots=True)
class Green:
    """The fleet that a running update brings in, as DescribeEndpoint tells it."""

    #: What it is doing, in the endpoint's own words.
    activity: str
    #: The share of the traffic that is asked for it, from 0 to 1.
    share: float


def green(description: Description) -> Green | None:
    """The new fleet; None: no update is running."""
    pending = description.get("PendingDeploymentSummary") or {}
    for variant in pending.get("ProductionVariants", []):
        for status in variant.get("VariantStatus", []):
            message = status.get("StatusMessage") or status["Status"]
            # "Baking for 15 seconds (WaitIntervalInSeconds) with traffic ..." is more than a line holds.
            return Green(message.split(" (")[0].rstrip("."), variant["CurrentWeight"] / variant["DesiredWeight"])
    return None


def _variant(name: str, version: str, instances: int) -> dict[str, Any]:
    return {
        "VariantName": name,
        "ModelName": config_name(version),
        "InitialInstanceCount": instances,
        "InstanceType": "ml.m5.large",
        "InitialVariantWeight": 1.0,
    }
