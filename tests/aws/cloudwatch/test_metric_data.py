"""GetMetricData as boto3 meets it, over HTTP and through the gateway, in each protocol; and every example of docs/metric-math.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.aws.cloudwatch.serving import served

pytestmark = pytest.mark.real

PAGE = (Path(__file__).parents[3] / "docs" / "metric-math.md").read_text()
MINUTE = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=10)
SPAN = {"StartTime": MINUTE, "EndTime": MINUTE + timedelta(minutes=10)}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("data")) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str, cloudwatch_at: Callable[[str], Any]) -> Any:
    client = cloudwatch_at(url)
    if client.list_metrics(Namespace="app")["Metrics"]:
        return client  # put over another protocol
    client.put_metric_data(
        Namespace="app",
        MetricData=[
            {"MetricName": name, "Timestamp": MINUTE + timedelta(minutes=n), "Value": float(value), "Unit": "Count"}
            for name, values in (("requests", range(10)), ("errors", [1, 1, 1, 3]))
            for n, value in enumerate(values)
        ],
    )
    return client


def stat(name: str, metric: str, **more: Any) -> dict[str, Any]:
    what = {"Namespace": "app", "MetricName": metric}
    return {"Id": name, "MetricStat": {"Metric": what, "Stat": "Sum", "Period": 60}, **more}


RATE = {"Id": "rate", "Expression": "errors / requests", "Label": "${LABEL}: ${MAX}"}
QUERIES = [stat("errors", "errors"), stat("requests", "requests", ReturnData=False), RATE]


def test_metrics_and_expressions(client: Any) -> None:
    answer = client.get_metric_data(MetricDataQueries=QUERIES, **SPAN, ScanBy="TimestampAscending")
    assert (answer["Messages"], answer.get("NextToken")) == ([], None)
    errors, rate = answer["MetricDataResults"]
    assert errors == {
        "Id": "errors",
        "Label": "errors",
        "Timestamps": [MINUTE + timedelta(minutes=n) for n in range(4)],
        "Values": [1, 1, 1, 3],
        "StatusCode": "Complete",
    }
    assert (rate["Id"], rate["Label"]) == ("rate", "rate: 1")
    assert rate["Values"] == [1, 0.5, 1, 0, 0, 0, 0, 0, 0]
    assert rate["Timestamps"][0] == MINUTE + timedelta(minutes=1)
    newest = client.get_metric_data(MetricDataQueries=QUERIES, **SPAN)["MetricDataResults"][1]
    assert newest["Values"] == rate["Values"][::-1]


def test_the_paginator_of_boto3_gets_everything_in_order(client: Any) -> None:
    pages = list(
        client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=QUERIES, **SPAN, PaginationConfig={"PageSize": 5}
        )
    )
    assert [sum(len(one["Values"]) for one in page["MetricDataResults"]) for page in pages] == [5, 5, 3]
    assert [page["MetricDataResults"][1]["StatusCode"] for page in pages] == ["PartialData", "PartialData", "Complete"]
    values = [value for page in pages for value in page["MetricDataResults"][1]["Values"]]
    assert values == [0, 0, 0, 0, 0, 0, 1, 0.5, 1]


WRONG: list[tuple[list[dict[str, Any]], dict[str, Any], str, str]] = [
    ([{"Id": "e1", "Expression": "1 +"}], {}, "ValidationError", "Error in expression 'e1': Invalid syntax at character 4"),
    ([{"Id": "e1", "Expression": "FOO(e1)"}], {}, "ValidationError", "Error in expression 'e1'"),
    ([{"Id": "e1", "Expression": "x" * 2049}], {}, "ValidationError", "length less than or equal to 2048"),
    ([{"Id": "E1", "Expression": "1"}], {}, "ValidationError", "must begin with a lowercase letter"),
    ([{"Id": "e1", "Expression": "SELECT AVG(x) FROM y"}], {}, "ValidationError", "Metrics Insights"),
    ([{"Id": "e1"}], {}, "InvalidParameterCombination", "Exactly one of"),
    ([stat("m1", "errors", AccountId="123456789012")], {}, "InvalidParameterValue", "AccountId"),
    ([{"Id": "m1", "MetricStat": {"Metric": {"MetricName": "m"}, "Period": 60, "Stat": "Sum"}}], {}, "MissingParameter", "Namespace"),
    ([stat("m1", "errors")] * 2, {}, "ValidationError", "used by more than one query"),
    ([stat(f"m{n}", "errors") for n in range(501)], {}, "ValidationError", "501 queries; 500 are allowed"),
    ([], {}, "ValidationError", "At least one query"),
    (QUERIES, {"NextToken": "?"}, "InvalidNextToken", "NextToken"),
    (QUERIES, {"MaxDatapoints": 100_801}, "InvalidParameterValue", "MaxDatapoints"),
    (QUERIES, {"ScanBy": "Sideways"}, "ValidationError", "TimestampDescending"),
    (QUERIES, {"LabelOptions": {"Timezone": "CET"}}, "ValidationError", "Timezone"),
    (QUERIES, {"EndTime": MINUTE}, "InvalidParameterCombination", "StartTime"),
    (QUERIES, {"StartTime": datetime(1000, 1, 1, tzinfo=UTC)}, "InvalidParameterCombination", "500,000 periods"),
    ([{"Id": "e1", "Expression": "YEAR(TIME_SERIES(1))", "Period": 86_400}], {"EndTime": datetime(9999, 12, 31, tzinfo=UTC)}, "ValidationError", "too many"),
]  # fmt: skip


@pytest.mark.parametrize(("queries", "changes", "code", "says"), WRONG, ids=[str(n) for n in range(len(WRONG))])
def test_wrong_requests(
    client: Any, queries: list[dict[str, Any]], changes: dict[str, Any], code: str, says: str
) -> None:
    with pytest.raises(ClientError) as found:
        client.get_metric_data(MetricDataQueries=queries, **{**SPAN, **changes})
    response = found.value.response
    assert response["Error"]["Code"] == code
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert says in response["Error"]["Message"]


def test_the_examples_of_the_documentation_say_what_it_says(url: str) -> None:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    program = "\n".join(text for language, text in blocks if language == "python")
    said = "".join(text for language, text in blocks if not language)
    environment = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "a", "AWS_DEFAULT_REGION": "us-east-1"}
    answer = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | environment | {"AWS_ENDPOINT_URL": url},
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == said
