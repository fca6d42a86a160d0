"""An endpoint's shadow in one line: is it there, what does it get, and how does it do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bannister.cli import words
from bannister.cli.client import Server
from bannister.clock import SystemClock

WINDOW_SECONDS: Final = 60


def shadow_of(server: Server, described: dict[str, Any]) -> dict[str, Any] | None:
    """What there is to say of the shadow of a described endpoint; None: it has none."""
    if not described.get("ShadowProductionVariants"):
        return None
    (shadow,) = described["ShadowProductionVariants"]
    production = described["ProductionVariants"][0]["DesiredWeight"]

    def points(metric: str, namespace: str = "AWS/SageMaker", **statistics: object) -> list[dict[str, Any]]:
        now = datetime.fromtimestamp(SystemClock().now(), UTC)
        names = {
            "EndpointName": described["EndpointName"],
            "VariantName": shadow["VariantName"],
            "EndpointConfigName": described["EndpointConfigName"],
        }
        answer = server.ask(
            "cloudwatch",
            "get_metric_statistics",
            Namespace=namespace,
            MetricName=metric,
            Dimensions=[{"Name": name, "Value": value} for name, value in names.items()],
            StartTime=now - timedelta(seconds=WINDOW_SECONDS),
            EndTime=now,
            Period=WINDOW_SECONDS,
            **statistics,
        )
        return list(answer["Datapoints"])

    errors = points("InvocationModelErrors", Statistics=["Sum", "SampleCount"])
    latencies = [one["ExtendedStatistics"]["p99"] for one in points("ModelLatency", ExtendedStatistics=["p99"])]
    skipped = points("Skipped", "/bannister/Shadow", Statistics=["Sum"])
    requests = int(sum(one["SampleCount"] for one in errors))
    return {
        "VariantName": shadow["VariantName"],
        "InstancesReady": shadow["CurrentInstanceCount"],
        "InstancesWanted": shadow["DesiredInstanceCount"],
        "PercentCopied": min(100.0, 100 * shadow["CurrentWeight"] / production) if production else 0.0,
        "Requests": requests,
        "ErrorPercent": 100 * sum(one["Sum"] for one in errors) / requests if requests else None,
        "P99Milliseconds": max(latencies) / 1000 if latencies else None,
        "Skipped": int(sum(one["Sum"] for one in skipped)),
    }


def shadow_line(found: dict[str, Any]) -> str:
    """`Shadow-01, 1 of 1 ready, 50 % copied: 1,204 requests, 0.2 % errors, p99 12 ms, 0 skipped`."""
    errors = f"{words.percent(found['ErrorPercent'])} errors, " if found["ErrorPercent"] is not None else ""
    return (
        f"{found['VariantName']}, {found['InstancesReady']} of {found['InstancesWanted']} ready, "
        f"{words.percent(found['PercentCopied'])} copied: {found['Requests']:,} requests, {errors}"
        f"p99 {words.milliseconds(found['P99Milliseconds'])}, {found['Skipped']:,} skipped"
    )
