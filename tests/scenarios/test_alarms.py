"""Alarms of a real server, from datapoints that a client puts: AWS's tables cell by cell, composites and expressions in deployments, addresses that are told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from tests.domain.alarm.test_judgement import AWS_TABLES, M_OF_N, MODES, OPERATORS
from tests.scenarios.world import World, wait_for

from bannister.domain.alarm.alarm import AlarmValue

pytestmark = pytest.mark.real

PERIOD = 60
VALUES = {"0": 1.0, "X": 9.0}


@pytest.fixture
def cloudwatch(world: World, cloudwatch_at: Callable[[str], Any]) -> Any:
    """A client, once for each protocol that it may speak."""
    return cloudwatch_at(world.server.url)


class Table:
    """Metrics with a picture each, alarms on them, and the states that these must come to."""

    def __init__(self, cloudwatch: Any) -> None:
        self._cloudwatch = cloudwatch
        # The middle of each period, so that the picture holds for half a minute before and after.
        self._now = time.time() - PERIOD / 2
        self._namespace = f"tables/{time.time_ns()}"
        self._metrics: dict[str, list[float | None]] = {}
        self.expected: dict[str, str] = {}
        #: A state set by hand, which the alarm keeps.
        self.kept: dict[str, str] = {}

    def metric(self, values: list[float | None]) -> str:
        name = f"m{len(self._metrics)}"
        self._metrics[name] = values
        return name

    def send(self) -> None:
        data = [
            {
                "MetricName": name,
                "Value": value,
                "Timestamp": datetime.fromtimestamp(self._now - PERIOD * age, tz=UTC),
                "StorageResolution": 1,
            }
            for name, values in self._metrics.items()
            for age, value in enumerate(reversed(values))
            if value is not None
        ]
        self._cloudwatch.put_metric_data(Namespace=self._namespace, MetricData=data)

    def alarm(self, metric: str, expected: AlarmValue | None, **members: Any) -> None:
        """None: it keeps its state, whichever that is. Of two alarms one is in ALARM and one is OK, so that no state that it might be given passes for its own."""
        if expected is not None:
            self.expected[self._put(metric, members)] = expected.value
            return
        for state in ("ALARM", "OK"):
            name = self._put(metric, members)
            self._cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="kept")
            self.kept[name] = state

    def _put(self, metric: str, members: dict[str, Any]) -> str:
        name = f"table-{len(self.expected) + len(self.kept)}"
        self._cloudwatch.put_metric_alarm(
            AlarmName=name,
            **{
                "Namespace": self._namespace,
                "MetricName": metric,
                "Statistic": "Average",
                "Period": PERIOD,
                "Threshold": 5.0,
                "ComparisonOperator": "GreaterThanThreshold",
                **members,
            },
        )
        return name

    def states(self) -> dict[str, str]:
        pages = self._cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix="table-")
        alarms = [one for page in pages for one in page["MetricAlarms"]]
        unevaluated = "Unchecked: Initial alarm creation"
        return {one["AlarmName"]: one["StateValue"] for one in alarms if one["StateReason"] != unevaluated}

    def check(self) -> None:
        wait_for("every alarm evaluated", lambda: len(self.states()) == len(self.expected) + len(self.kept), 20)
        wait_for("the states of the tables", lambda: self.states() == self.expected | self.kept, 20)
        for name in [*self.expected, *self.kept]:
            self._cloudwatch.delete_alarms(AlarmNames=[name])


def test_awss_tables_from_put_metric_data(cloudwatch: Any) -> None:
    table = Table(cloudwatch)
    metrics = {}
    for n, m, picture, *row in AWS_TABLES:
        metric = metrics[picture] = metrics.get(picture) or table.metric([VALUES.get(mark) for mark in picture.split()])
        for mode, expected in zip(MODES, row, strict=True):
            table.alarm(metric, expected, EvaluationPeriods=n, DatapointsToAlarm=m, TreatMissingData=mode.value)
    assert (len(table.expected), len(table.kept)) == (37, 2 * 3)
    table.send()
    table.check()


def test_m_of_n_and_every_operator_from_put_metric_data(cloudwatch: Any) -> None:
    table = Table(cloudwatch)
    for n, m, picture, expected in M_OF_N:
        metric = table.metric([VALUES.get(mark) for mark in picture.split()])
        table.alarm(metric, expected, EvaluationPeriods=n, DatapointsToAlarm=m)
    for operator, row in OPERATORS.items():
        for value, expected in zip((4.999, 5.0, 5.001), row, strict=True):
            table.alarm(table.metric([value]), expected, EvaluationPeriods=1, ComparisonOperator=operator.value)
    table.send()
    table.check()


class Hook:
    """An address on this machine, which answers with the statuses that a test puts here."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.told.append(json.loads(body))
                self.send_response(hook.statuses.pop(0) if hook.statuses else 200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(30)
        self._server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    try:
        yield made
    finally:
        made.close()


def test_an_address_is_told_of_a_composites_transition(cloudwatch: Any, hook: Hook, wire: str) -> None:
    loud, quiet = f"loud over {wire}", f"quiet over {wire}"
    hook.statuses = [503]
    cloudwatch.put_metric_alarm(
        AlarmName=quiet,
        Namespace="hooks",
        MetricName="m",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="ignore",
    )
    cloudwatch.put_composite_alarm(AlarmName=loud, AlarmRule=f"ALARM({quiet})", AlarmActions=[hook.url])
    cloudwatch.set_alarm_state(AlarmName=quiet, StateValue="ALARM", StateReason="a drill")
    # The first attempt is answered 503, so it comes a second time.
    wait_for("told", lambda: len(hook.told) == 2, 20)
    event = hook.told[1]
    assert event == hook.told[0]
    assert event["detail-type"] == "CloudWatch Alarm State Change"
    assert event["resources"] == ["arn:aws:cloudwatch:us-east-1:000000000000:alarm:" + loud]
    assert (event["detail"]["previousState"]["value"], event["detail"]["state"]["value"]) == ("OK", "ALARM")
    assert event["detail"]["configuration"] == {"alarmRule": f"ALARM({quiet})"}

    def acted() -> list[dict[str, Any]]:
        found = cloudwatch.describe_alarm_history(
            AlarmName=loud, AlarmTypes=["CompositeAlarm"], HistoryItemType="Action"
        )
        return list(found["AlarmHistoryItems"])

    (item,) = wait_for("in the history", acted, 20)
    assert item["HistorySummary"] == f"Successfully executed action {hook.url}"
    assert json.loads(item["HistoryData"])["attempts"] == 2
    cloudwatch.delete_alarms(AlarmNames=[loud, quiet])


def test_a_composite_over_an_expression_rolls_a_deployment_back(world: World) -> None:
    good, bad = world.config("composite-1", instances=1), world.config("composite-2", instances=1, FAIL="1")
    endpoint = world.endpoint("composite", good)

    def query(id_: str, metric: str) -> dict[str, Any]:
        dimensions = {"EndpointName": endpoint, "VariantName": "AllTraffic", "EndpointConfigName": bad}
        return {
            "Id": id_,
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/SageMaker",
                    "MetricName": metric,
                    "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
                },
                "Period": 10,
                "Stat": "Sum",
            },
            "ReturnData": False,
        }

    world.cloudwatch.put_metric_alarm(
        AlarmName="percent-failed",
        Metrics=[
            query("failed", "Invocation5XXErrors"),
            query("all", "Invocations"),
            {"Id": "percent", "Expression": "100 * failed / all", "ReturnData": True},
        ],
        EvaluationPeriods=1,
        Threshold=20,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    world.cloudwatch.put_composite_alarm(AlarmName="unwell", AlarmRule="ALARM(percent-failed) OR FALSE")
    routing = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
    world.update(endpoint, bad, routing=routing, alarms=("unwell",), termination_wait=120)
    settled: dict[str, Any] = {}

    def rolled_back() -> bool:
        for _ in range(5):
            try:
                world.invoke(endpoint)
            except world.runtime.exceptions.ModelError:
                continue
        settled.update(world.describe(endpoint))
        return settled["EndpointStatus"] == "InService"

    wait_for("rolled back", rolled_back, 90)
    assert settled["EndpointConfigName"] == good
    assert "unwell" in settled["FailureReason"]
    assert "percent-failed transitioned to ALARM" in settled["FailureReason"]
    world.cloudwatch.delete_alarms(AlarmNames=["unwell", "percent-failed"])
