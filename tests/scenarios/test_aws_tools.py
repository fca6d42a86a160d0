"""AWS's own tools, unmodified: the command line and SageMaker's SDK, with nothing but `AWS_ENDPOINT_URL`.

Their releases pin versions of boto3 and protobuf that are not ours, so they live in environments of their own, which `make aws-tools` fills. Others can be
named: the command line by `AWS_CLI` (or it is on the PATH), a Python with `sagemaker<3` by `SAGEMAKER_SDK_PYTHON`, one with `sagemaker>=3` by
`SAGEMAKER_SDK3_PYTHON`. What is not there is skipped.
"""

from __future__ import annotations

import filecmp
import json
import os
import pty
import shutil
import signal
import subprocess
import time
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.world import World, archive, wait_for

pytestmark = pytest.mark.real

#: Where `make aws-tools` installs.
INSTALLED = Path(__file__).parents[2] / ".aws-tools"
GROUP = "/aws/sagemaker/Endpoints/{}"
#: A model that says what it is asked.
TALKS = b"""
def model_fn(folder):
    print("loaded", flush=True)

def predict_fn(data, model):
    print("asked for", data["x"], flush=True)
    return data
"""


def environment(world: World) -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))}
    return mine | {
        "AWS_ENDPOINT_URL": world.server.url,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_PAGER": "",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def installed(variable: str, path: str) -> str | None:
    """The program that the variable names, or the one that `make aws-tools` has installed."""
    found = INSTALLED / path
    return os.environ.get(variable) or (str(found) if found.exists() else None)


class Cli:
    def __init__(self, world: World, program: str, folder: Path) -> None:
        self.program = program
        self.environment = environment(world)
        self.folder = folder

    def __call__(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def refused(self, *arguments: str) -> str:
        """What it says of what must not succeed."""
        done = self.run(*arguments)
        assert done.returncode not in (0, 1), (arguments, done.stdout, done.stderr)
        return done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--output", "json"))

    @property
    def version(self) -> str:
        return self("--version").partition("/")[2].partition(".")[0]


@pytest.fixture
def aws(world: World, tmp_path: Path) -> Cli:
    program = installed("AWS_CLI", "cli/bin/aws") or shutil.which("aws")
    if program is None:
        pytest.skip("There is no AWS command line: `make aws-tools` installs it, AWS_CLI names another.")
    return Cli(world, program, tmp_path)


def talking(world: World, name: str) -> None:
    """An endpoint whose instances print what they are asked."""
    world.config(name, instances=2, model=world.model(name, files={"code/inference.py": TALKS}))
    world.endpoint(name, name)


# --- the command line


def test_files_there_and_back(aws: Cli, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(20 * 1024 * 1024))
    for number in range(3):
        (tmp_path / "tree" / "a b").mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / "a b" / f"{number}").write_text(str(number))
    aws("s3", "mb", "s3://cli")
    aws("s3", "cp", "big", "s3://cli/dir/big")
    aws("s3", "cp", "s3://cli/dir/big", "s3://cli/copy")
    aws("s3", "mv", "s3://cli/copy", "s3://cli/moved")
    aws("s3", "cp", "s3://cli/moved", "back")
    assert filecmp.cmp(big, tmp_path / "back", shallow=False)
    aws("s3", "sync", "tree", "s3://cli/tree")
    assert aws("s3", "sync", "tree", "s3://cli/tree") == "", "nothing has changed"
    aws("s3", "sync", "s3://cli/tree", "again")
    assert [file.read_text() for file in sorted((tmp_path / "again" / "a b").iterdir())] == ["0", "1", "2"]
    (tmp_path / "tree" / "a b" / "1").unlink()
    assert "delete: s3://cli/tree/a b/1" in aws("s3", "sync", "tree", "s3://cli/tree", "--delete")
    listed = [line.split(maxsplit=3)[3] for line in aws("s3", "ls", "s3://cli", "--recursive").splitlines()]
    assert listed == ["dir/big", "moved", "tree/a b/0", "tree/a b/2"]
    assert aws("s3", "ls", "s3://cli").split()[:2] == ["PRE", "dir/"]
    aws("s3", "rb", "s3://cli", "--force")
    assert "cli" not in aws("s3", "ls").split()


PROFILES = """
[profile all]
region = eu-west-1
aws_access_key_id = any
aws_secret_access_key = any
endpoint_url = {url}
[profile some]
region = us-east-1
aws_access_key_id = any
aws_secret_access_key = any
services = here
[services here]
sagemaker =
  endpoint_url = {url}
s3 =
  endpoint_url = {url}
"""


def test_profiles_and_variables_of_one_service_say_where_it_is(world: World, aws: Cli, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(PROFILES.format(url=world.server.url))
    url = aws.environment.pop("AWS_ENDPOINT_URL")
    aws.environment["AWS_CONFIG_FILE"] = "config"
    world.model("profiled")
    named = ("sagemaker", "list-models", "--name-contains", "profiled", "--query", "Models[].ModelName")
    for profile in ("all", "some"):
        assert aws.json(*named, "--profile", profile) == ["profiled"]
        assert "models" in aws("s3", "ls", "--profile", profile)
    assert aws.json("sts", "get-caller-identity", "--profile", "all")["Account"] == "000000000000"
    aws.environment["AWS_ENDPOINT_URL_SAGEMAKER"] = url
    assert aws.json(*named) == ["profiled"]
    assert aws.json(*named, "--no-sign-request") == ["profiled"]


def test_parts_conditions_and_addresses_of_objects(aws: Cli, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("0123456789")
    aws("s3", "mb", "s3://cli-parts")
    given = ("--content-type", "text/plain", "--metadata", "a=b", "--acl", "public-read", "--sse", "AES256")
    aws("s3", "cp", "text", "s3://cli-parts/text", *given)
    head = aws.json("s3api", "head-object", "--bucket", "cli-parts", "--key", "text")
    assert (head["ContentType"], head["Metadata"], head["ContentLength"]) == ("text/plain", {"a": "b"}, 10)
    get = ("s3api", "get-object", "--bucket", "cli-parts", "--key", "text")
    assert aws.json(*get, "--range", "bytes=2-4", "part")["ContentRange"] == "bytes 2-4/10"
    assert (tmp_path / "part").read_text() == "234"
    assert "(InvalidRange)" in aws.refused(*get, "--range", "bytes=10-", "part")
    assert "(304)" in aws.refused(*get, "--if-none-match", head["ETag"], "part")
    assert "(PreconditionFailed)" in aws.refused(*get, "--if-match", '"other"', "part")
    assert "(NotImplemented)" in aws.refused(*get, "--part-number", "1", "part")
    assert aws("s3", "cp", "s3://cli-parts/text", "-", "--no-sign-request") == "0123456789"
    address = aws("s3", "presign", "s3://cli-parts/text").strip()
    with urllib.request.urlopen(address, timeout=30) as answer:
        assert (answer.read(), answer.headers["Content-Type"]) == (b"0123456789", "text/plain")
    aws("s3api", "wait", "object-exists", "--bucket", "cli-parts", "--key", "text")
    assert "(404)" in aws.refused("s3api", "head-object", "--bucket", "cli-parts", "--key", "nope")
    assert "(NoSuchKey)" in aws.refused("s3api", "get-object", "--bucket", "cli-parts", "--key", "nope", "part")
    assert "(NoSuchBucket)" in aws.refused("s3api", "list-objects-v2", "--bucket", "cli-nope")
    assert "(BucketNotEmpty)" in aws.refused("s3api", "delete-bucket", "--bucket", "cli-parts")
    assert "(NotImplemented)" in aws.refused("s3api", "list-object-versions", "--bucket", "cli-parts")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("sagemaker describe-endpoint --endpoint-name nope", "(ValidationException)"),
        ("sagemaker list-models --sort-by Size", "Member must satisfy enum value set: [Name, CreationTime]"),
        ("sagemaker wait endpoint-in-service --endpoint-name nope", "Waiter EndpointInService failed"),
        ("sagemaker list-training-jobs", "does not support the operation ListTrainingJobs"),
        ("sagemaker-runtime invoke-endpoint --endpoint-name nope --body e30= out", "Endpoint nope of account"),
        ("sagemaker-runtime invoke-endpoint-async --endpoint-name e --input-location s3://a/b", "InvokeEndpointAsync"),
        ("cloudwatch put-dashboard --dashboard-name d --dashboard-body {}", "(InvalidAction)"),
        ("logs filter-log-events --log-group-name nope", "(ResourceNotFoundException)"),
        ("logs create-log-group --log-group-name x", "does not support the operation CreateLogGroup"),
        ("iam list-roles", "(InvalidAction)"),
        ("ecr describe-repositories", "It speaks: bannister, cloudwatch"),
        ("application-autoscaling describe-scalable-targets --service-namespace sagemaker", "It speaks: bannister"),
        ("sns list-topics", "does not speak the service 'sns'"),
    ],
)
def test_what_cannot_be_is_said_in_the_form_that_the_command_line_shows(aws: Cli, command: str, says: str) -> None:
    assert says in aws.refused(*command.split())


def test_who_calls(aws: Cli) -> None:
    found = aws.json("sts", "get-caller-identity")
    assert found["Account"] == "000000000000"
    role = aws.json("iam", "get-role", "--role-name", found["Arn"].split("/")[1])["Role"]
    assert role["Arn"] == "arn:aws:iam::000000000000:role/BannisterExecutionRole"


def test_an_endpoint_from_creation_to_deletion(world: World, aws: Cli, tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(archive({"code/inference.py": TALKS}))
    aws("s3", "cp", "model.tar.gz", "s3://models/cli/model.tar.gz")
    container = {"Image": "bannister/python", "ModelDataUrl": "s3://models/cli/model.tar.gz"}
    aws("sagemaker", "create-model", "--model-name", "cli", "--primary-container", json.dumps(container))
    for name in ("cli-1", "cli-2"):
        variant = "VariantName=main,ModelName=cli,InitialInstanceCount=2,InstanceType=ml.m5.large"
        aws("sagemaker", "create-endpoint-config", "--endpoint-config-name", name, "--production-variants", variant)
    aws("sagemaker", "create-endpoint", "--endpoint-name", "cli", "--endpoint-config-name", "cli-1")
    world.settled("cli")
    aws("sagemaker", "wait", "endpoint-in-service", "--endpoint-name", "cli")
    (tmp_path / "body").write_text('{"x": 1}')
    invoke = ("--endpoint-name", "cli", "--content-type", "application/json", "--body", "fileb://body", "answer")
    assert aws.json("sagemaker-runtime", "invoke-endpoint", *invoke)["InvokedProductionVariant"] == "main"
    assert json.loads((tmp_path / "answer").read_text()) == {"x": 1}
    canary = {"Type": "CANARY", "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1}, "WaitIntervalInSeconds": 1}
    policy = json.dumps({"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": canary}})
    update = ("--endpoint-name", "cli", "--endpoint-config-name", "cli-2", "--deployment-config", policy)
    aws("sagemaker", "update-endpoint", *update)
    assert world.settled("cli")["EndpointConfigName"] == "cli-2"
    listed = aws.json("sagemaker", "list-endpoint-configs", "--name-contains", "cli-", "--page-size", "1")
    assert len(listed["EndpointConfigs"]) == 2
    aws("sagemaker", "delete-endpoint", "--endpoint-name", "cli")
    wait_for(
        "the endpoint is gone",
        lambda: not aws.json("sagemaker", "list-endpoints", "--name-contains", "cli")["Endpoints"],
    )
    aws("sagemaker", "wait", "endpoint-deleted", "--endpoint-name", "cli")


def test_lists_come_in_pages_and_answers_are_queried(world: World, aws: Cli) -> None:
    names = [f"listed-{number}" for number in range(3)]
    for name in names:
        world.model(name)
    asked = ("sagemaker", "list-models", "--name-contains", "listed-", "--sort-by", "Name", "--sort-order", "Ascending")
    assert aws(*asked, "--page-size", "1", "--query", "Models[].ModelName", "--output", "text").split() == names
    first = aws.json(*asked, "--max-items", "2")
    rest = aws.json(*asked, "--starting-token", first["NextToken"])
    assert [one["ModelName"] for one in first["Models"] + rest["Models"]] == names
    assert "NextToken" not in rest
    assert "listed-1" in aws(*asked, "--output", "table")


def test_alarms_and_metrics(aws: Cli) -> None:
    orders = ("--namespace", "cli", "--metric-name", "orders")
    store = ("--dimensions", "Store=a,Kind=b")
    began = datetime.now(UTC) - timedelta(minutes=5)
    put = ("cloudwatch", "put-metric-data", *orders, *store, "--unit", "Count")
    aws(*put, "--value", "3")
    aws(*put, "--statistic-values", "Sum=11,Minimum=2,Maximum=5,SampleCount=3")
    (listed,) = aws.json("cloudwatch", "list-metrics", *orders, "--dimensions", "Name=Store,Value=a")["Metrics"]
    dimensions = [{"Name": "Store", "Value": "a"}, {"Name": "Kind", "Value": "b"}]
    assert sorted(listed["Dimensions"], key=lambda one: one["Name"]) == sorted(dimensions, key=lambda one: one["Name"])
    span = ("--start-time", began.isoformat(), "--end-time", (began + timedelta(minutes=10)).isoformat())
    metric = {"Namespace": "cli", "MetricName": "orders", "Dimensions": dimensions}
    queries = [
        {"Id": "m1", "MetricStat": {"Metric": metric, "Period": 300, "Stat": "Sum"}, "ReturnData": False},
        {"Id": "twice", "Expression": "m1 * 2"},
    ]
    data = ("cloudwatch", "get-metric-data", *span, "--metric-data-queries", json.dumps(queries))
    assert sum(aws.json(*data, "--query", "MetricDataResults[0].Values")) == 28.0

    def alarm(name: str, field: str) -> str:
        query = f"MetricAlarms[?AlarmName=='{name}'].{field}"
        return aws("cloudwatch", "describe-alarms", "--query", query, "--output", "text").strip()

    watch = ("--statistic", "Maximum", "--period", "60", "--evaluation-periods", "1", "--threshold", "4", *orders)
    watch += (
        "--comparison-operator",
        "GreaterThanThreshold",
        "--dimensions",
        "Name=Store,Value=a",
        "Name=Kind,Value=b",
    )
    aws("cloudwatch", "put-metric-alarm", "--alarm-name", "cli orders", *watch, "--unit", "Count")
    aws("cloudwatch", "put-composite-alarm", "--alarm-name", "cli all", "--alarm-rule", 'ALARM("cli orders")')
    aws("cloudwatch", "wait", "alarm-exists", "--alarm-names", "cli orders")
    aws("cloudwatch", "wait", "composite-alarm-exists", "--alarm-names", "cli all", "--alarm-types", "CompositeAlarm")
    wait_for("the alarm", lambda: alarm("cli orders", "StateValue") == "ALARM")
    assert "5.0" in alarm("cli orders", "StateReason")
    aws("cloudwatch", "set-alarm-state", "--alarm-name", "cli orders", "--state-value", "OK", "--state-reason", "seen")
    history = (
        "cloudwatch",
        "describe-alarm-history",
        "--alarm-name",
        "cli orders",
        "--history-item-type",
        "StateUpdate",
    )
    summaries = aws.json(*history, "--query", "AlarmHistoryItems[].HistorySummary")
    assert "Alarm updated from ALARM to OK" in summaries
    aws("cloudwatch", "wait", "alarm-exists", "--alarm-names", "cli orders")
    aws("cloudwatch", "delete-alarms", "--alarm-names", "cli all")
    aws("cloudwatch", "delete-alarms", "--alarm-names", "cli orders")
    assert alarm("cli orders", "AlarmName") == ""


def test_logs_are_read(world: World, aws: Cli) -> None:
    talking(world, "talks")
    group = ("--log-group-name", GROUP.format("talks"))
    for number in range(5):
        world.invoke("talks", json.dumps({"x": number}).encode())
    assert GROUP.format("talks") in [
        one["logGroupName"] for one in aws.json("logs", "describe-log-groups")["logGroups"]
    ]
    streams = aws.json("logs", "describe-log-streams", *group, "--order-by", "LastEventTime")["logStreams"]
    assert len(streams) == 2
    assert all(one["logStreamName"].startswith("AllTraffic/") for one in streams)
    found = aws.json("logs", "filter-log-events", *group, "--filter-pattern", '"asked for"', "--page-size", "2")[
        "events"
    ]
    assert sorted(event["message"] for event in found) == [f"asked for {number}" for number in range(5)]
    assert [event["timestamp"] for event in found] == sorted(event["timestamp"] for event in found)
    assert abs(found[-1]["timestamp"] / 1000 - time.time()) < 30
    stream = ("--log-stream-name", streams[0]["logStreamName"], "--start-from-head")
    assert "loaded" in [event["message"] for event in aws.json("logs", "get-log-events", *group, *stream)["events"]]


def test_logs_are_followed(world: World, aws: Cli) -> None:
    if aws.version == "1":
        pytest.skip("`aws logs tail` is in version 2 of the command line only.")
    talking(world, "followed")
    shown, terminal = pty.openpty()  # to a file the command line writes a block at a time
    command = [aws.program, "logs", "tail", GROUP.format("followed"), "--follow"]
    tail = subprocess.Popen(command, env=aws.environment, stdout=terminal)
    os.set_blocking(shown, False)
    printed = ""

    def lines_with(text: str) -> int:
        nonlocal printed
        with suppress(BlockingIOError):
            while piece := os.read(shown, 65536):
                printed += piece.decode()
        return printed.count(text)

    try:
        wait_for("both instances' first lines", lambda: lines_with("loaded") == 2)
        world.invoke("followed", b'{"x": 77}')
        wait_for("what was asked meanwhile", lambda: lines_with("asked for 77"))
    finally:
        tail.send_signal(signal.SIGINT)
        tail.wait(30)
        os.close(shown)
        os.close(terminal)
    recent = ("--since", "5m", "--format", "short", "--filter-pattern", "asked")
    (line,) = aws("logs", "tail", GROUP.format("followed"), *recent).splitlines()
    assert line.endswith(" asked for 77")


def test_following_as_the_command_line_does_it(world: World) -> None:
    """The calls of `aws logs tail --follow`, where version 2 of the command line is not there to make them."""
    talking(world, "watched")
    client, seen, since = world.server.client("logs"), dict[str, str](), 0

    def follow() -> list[str]:
        nonlocal since
        for page in client.get_paginator("filter_log_events").paginate(
            logGroupName=GROUP.format("watched"), startTime=since, interleaved=True
        ):
            for event in page["events"]:
                assert event["timestamp"] >= since
                seen.setdefault(event["eventId"], event["message"])
                since = max(since, event["timestamp"])
        return list(seen.values())

    for number in range(20):
        world.invoke("watched", json.dumps({"x": number}).encode())
        if number % 3 == 0:
            follow()
    wait_for("all lines", lambda: f"asked for {number}" in follow())
    assert sorted(text for text in seen.values() if text.startswith("asked")) == sorted(
        f"asked for {number}" for number in range(20)
    )
    world.sagemaker.delete_endpoint(EndpointName="watched")
    wait_for("it is gone", lambda: not world.sagemaker.list_endpoints(NameContains="watched")["Endpoints"])
    assert len(follow()) >= 22, "the logs of instances that are gone can still be read"


# --- SageMaker's SDK


def run_script(world: World, python: str | None, script: str, folder: Path) -> dict[str, Any]:
    """What the script's last line says."""
    if python is None:
        pytest.skip("This version of SageMaker's SDK is not installed: `make aws-tools` does.")
    done = subprocess.run(
        [python, "-W", "ignore", str(Path(__file__).with_name(script)), str(folder)],
        env=environment(world) | {"SAGEMAKER_SUPPRESS_V2_WARNING": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr[-3000:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_sagemakers_sdk_deploys_updates_and_deletes(world: World, tmp_path: Path) -> None:
    python = installed("SAGEMAKER_SDK_PYTHON", "sdk-2/bin/python")
    found = run_script(world, python, "sagemaker_sdk.py", tmp_path)
    assert found["role"] == "arn:aws:iam::000000000000:role/BannisterExecutionRole"
    assert found["bucket"] == "sagemaker-us-east-1-000000000000"
    assert [each["version"] for each in found["answers"]] == ["sdk-one", "sdk-two", "sdk-one"]
    assert (found["status"], found["config"]) == ("InService", "sdk-two")
    assert (found["copied"], found["tags"]) == (["InService", 1], ["b"])
    assert (found["listed"], found["text"]) == ([f"s3://{found['bucket']}/text/a.txt"], "hello")
    assert found["files"] == ["code", "word.txt"], "the code's archive is unpacked beside what the model's holds"


def test_version_3_of_the_sdk_deploys_updates_and_deletes(world: World, tmp_path: Path) -> None:
    python = installed("SAGEMAKER_SDK3_PYTHON", "sdk-3/bin/python")
    found = run_script(world, python, "sagemaker_sdk3.py", tmp_path)
    assert found["role"] == "arn:aws:iam::000000000000:role/BannisterExecutionRole"
    assert found["bucket"] == "sagemaker-us-east-1-000000000000"
    assert found["answers"] == [{"variant": "main", "version": f"sdk3-{name}", "x": 1} for name in ("one", "two")]
    assert found["built"] == [
        {"variant": "AllTraffic", "version": "sdk3-built-plain", "x": 1},
        {"variant": "AllTraffic", "version": "sdk3-built-coded", "built": 1},
    ]
    assert (found["updating"], found["status"], found["config"]) == ("Updating", "InService", "sdk3-two")
    assert (found["alarms"], found["tags"]) == (["sdk3-errors"], ["a"])
    assert found["capacity"] == [1, 2.0]
    assert (found["endpoints"], found["configurations"], found["models"], found["left"]) == (
        ["sdk3"],
        ["sdk3-one", "sdk3-two"],
        ["sdk3-one", "sdk3-two"],
        [],
    )
    assert found["gone"].startswith("Could not find endpoint")
    assert (found["listed"], found["text"]) == ([f"s3://{found['bucket']}/text/a.txt"], "hello")
