"""AWS's own tools, unmodified: the command line and SageMaker's SDK, with nothing but `AWS_ENDPOINT_URL`.

Their releases pin versions of boto3 and protobuf that are not ours, so they live in environments of their own. The tests find the command line
on the PATH or in `AWS_CLI`, and the SDK through `SAGEMAKER_SDK_PYTHON`, a Python with `sagemaker<3`; without one they are skipped.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.world import World, archive, wait_for

pytestmark = pytest.mark.real

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


class Cli:
    def __init__(self, world: World, program: str, folder: Path) -> None:
        self.program = program
        self.environment = environment(world)
        self.folder = folder

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.program, *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--output", "json"))

    @property
    def version(self) -> str:
        return self("--version").partition("/")[2].partition(".")[0]


@pytest.fixture
def aws(world: World, tmp_path: Path) -> Cli:
    program = os.environ.get("AWS_CLI") or shutil.which("aws")
    if program is None:
        pytest.skip("There is no AWS command line: install awscli, or name it with AWS_CLI.")
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


def test_logs_are_followed(world: World, aws: Cli, tmp_path: Path) -> None:
    if aws.version == "1":
        pytest.skip("`aws logs tail` is in version 2 of the command line only.")
    talking(world, "followed")
    with (tmp_path / "tailed").open("w") as out:
        tail = subprocess.Popen(
            [aws.program, "logs", "tail", GROUP.format("followed"), "--follow"], env=aws.environment, stdout=out
        )
    try:
        wait_for("both instances' first lines", lambda: (tmp_path / "tailed").read_text().count("loaded") == 2)
        world.invoke("followed", b'{"x": 77}')
        wait_for("what was asked meanwhile", lambda: "asked for 77" in (tmp_path / "tailed").read_text())
    finally:
        tail.send_signal(signal.SIGINT)
        tail.wait(30)


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


def test_sagemakers_sdk_deploys_updates_and_deletes(world: World, tmp_path: Path) -> None:
    python = os.environ.get("SAGEMAKER_SDK_PYTHON")
    if python is None:
        pytest.skip("SAGEMAKER_SDK_PYTHON names no Python that has sagemaker<3.")
    script = Path(__file__).with_name("sagemaker_sdk.py")
    done = subprocess.run(
        [python, "-W", "ignore", str(script), str(tmp_path)],
        env=environment(world) | {"SAGEMAKER_SUPPRESS_V2_WARNING": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr[-3000:])
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["role"] == "arn:aws:iam::000000000000:role/BannisterExecutionRole"
    assert found["bucket"] == "sagemaker-us-east-1-000000000000"
    assert found["answers"] == [{"version": "sdk-one"}, {"version": "sdk-two"}]
    assert (found["status"], found["config"]) == ("InService", "sdk-two")
    assert (found["listed"], found["text"]) == ([f"s3://{found['bucket']}/text/a.txt"], "hello")
