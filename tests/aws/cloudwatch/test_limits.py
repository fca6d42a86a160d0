"""How long a body may be, on the wire and decompressed; and that a long one keeps no other request waiting."""

from __future__ import annotations

import asyncio
import gc
import gzip
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.aws.cloudwatch.serving import gateway_over, served
from tests.aws.test_wires import read, written

from bannister.aws.gateway import Gateway
from bannister.clock import SystemClock
from bannister.metrics.sqlite import SqliteMetrics
from bannister.settings import Settings

MEGABYTE = 1024 * 1024
#: What another request may wait, in the interpreter's time: that does not depend on what else the machine does.
WAIT_SECONDS_MAX = 0.05


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("data")) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str, cloudwatch_at: Callable[[str], Any]) -> Any:
    return cloudwatch_at(url)


def padding(wire: str, operation: str, params: Callable[[str], dict[str, Any]], size: int) -> str:
    """The text that makes a request's body exactly this long, in bytes."""
    text = "x" * (size * 3 // 4)
    return text + "x" * (size - len(written(wire, operation, params(text))[1]))


def alarm(text: str) -> dict[str, Any]:
    return {
        "AlarmName": "a",
        "EvaluationPeriods": 1,
        "ComparisonOperator": "LessThanThreshold",
        "AlarmDescription": text,
    }


def data(text: str) -> dict[str, Any]:
    return {"Namespace": "n", "MetricData": [{"MetricName": "m", "Value": 1.0}, {"MetricName": "m", "Unit": text}]}


def queries(text: str) -> dict[str, Any]:
    return {"MetricDataQueries": [{"Id": "m", "Expression": text}], "StartTime": 0, "EndTime": 60}


LIMITS = [
    ("PutMetricAlarm", "put_metric_alarm", alarm, 120 * 1024),
    ("PutMetricData", "put_metric_data", data, MEGABYTE),
    ("GetMetricData", "get_metric_data", queries, 600 * 1024),
]


@pytest.mark.real
@pytest.mark.parametrize(("operation", "method", "params", "limit"), LIMITS, ids=[row[0] for row in LIMITS])
def test_a_body_may_be_as_long_as_aws_says(
    client: Any, wire: str, operation: str, method: str, params: Callable[[str], dict[str, Any]], limit: int
) -> None:
    text = padding(wire, operation, params, limit + 1)
    # Those of PutMetricData are sent compressed, to some kilobytes.
    with pytest.raises(ClientError) as raised:
        getattr(client, method)(**params(text))
    error = raised.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert error["Error"]["Code"] == "RequestEntityTooLarge"
    assert error["Error"]["Message"].startswith(f"Request size exceeded {limit} bytes, the most that {operation} takes")
    # One byte less is read, and refused for what it says.
    with pytest.raises(ClientError) as raised:
        getattr(client, method)(**params(text[:-1]))
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def asked(gateway: Gateway, path: str, body: bytes, headers: dict[str, str]) -> Any:
    """A call of the gateway, without a server; gives status, headers and body."""
    encoded = [(name.encode(), value.encode()) for name, value in {"host": "localhost", **headers}.items()]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": encoded}
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event: Any) -> None:
        sent.append(event)

    async def ask() -> tuple[int, dict[str, str], bytes]:
        await gateway(scope, receive, send)
        answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], answered, sent[1]["body"]

    return ask()


DIMENSIONS = [{"Name": f"dimension{place}", "Value": "value"} for place in range(8)]
#: By name: data of one metric, how many metrics at most, and the status of the answer.
LONG: dict[str, tuple[Callable[[int], dict[str, Any]], int, int]] = {
    "metrics with dimensions": (lambda n: {"MetricName": f"m{n}", "Value": n, "Dimensions": DIMENSIONS}, 1000, 200),
    "many values": (lambda n: {"MetricName": f"m{n}", "Values": list(range(150)), "Counts": [2] * 150}, 1000, 200),
    "more values than may be": (lambda n: {"MetricName": "m", "Values": [1] * 1000}, 1000, 400),
    "empty names": (lambda n: {"MetricName": ""}, 100_000, 400),
}


def long_request(wire: str, one: Callable[[int], dict[str, Any]], count_max: int) -> tuple[str, bytes, dict[str, str]]:
    """As many metrics as fit into a megabyte."""
    empty, few = (
        len(
            written(
                wire, "PutMetricData", {"Namespace": "n", "MetricData": [one(n) for n in range(1000, 1000 + count)]}
            )[1]
        )
        for count in (1, 101)
    )
    count = min(count_max, int(0.85 * 100 * (MEGABYTE - empty) / (few - empty)))
    return written(wire, "PutMetricData", {"Namespace": "n", "MetricData": [one(n) for n in range(count)]})


@pytest.fixture
def settled() -> Iterator[None]:
    """As in the control plane, garbage is not looked for in what was loaded at the start; here that is all that tests have loaded."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.alone
@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("kind", LONG)
async def test_a_long_body_keeps_no_other_request_waiting(tmp_path: Path, wire: str, kind: str) -> None:
    settings = Settings(tmp_path)
    gateway = gateway_over(settings, SqliteMetrics(settings, SystemClock()))
    one, count_max, status = LONG[kind]
    path, body, headers = long_request(wire, one, count_max)
    assert 100_000 < len(body) <= MEGABYTE
    short = written(wire, "PutMetricData", {"Namespace": "n", "MetricData": [{"MetricName": "m", "Values": [1, 2]}]})
    assert (await asked(gateway, *short))[0] == 200  # what is loaded on first use is loaded
    compressed = gzip.compress(body)
    describe = written(wire, "DescribeAlarms", {})
    waits: list[float] = []

    async def look() -> None:
        while True:
            before = time.process_time()
            assert (await asked(gateway, *describe))[0] == 200
            await asyncio.sleep(0.001)
            waits.append(time.process_time() - before)

    looking = asyncio.create_task(look())
    await asyncio.sleep(0.01)
    headers["content-encoding"] = "gzip"
    began = time.process_time()
    answer = await asked(gateway, path, compressed, headers)
    took = time.process_time() - began
    await asyncio.sleep(0.01)
    assert not looking.done()
    looking.cancel()
    assert answer[0] == status, read(wire, answer)
    assert max(waits) < min(WAIT_SECONDS_MAX, took / 2), "where the machine is quick, nobody waits for all of it either"
