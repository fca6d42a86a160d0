"""Data capture through boto3 on a real server: what is asked for, what is written, where, and what is said when it cannot be."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.scenarios.world import IMAGE, Load, Server, World, archive, wait_for

from bannister.launcher.record import Record

pytestmark = pytest.mark.real

ECHO = b"""
def model_fn(model_dir):
    return None

def input_fn(body, content_type):
    return body

def predict_fn(data, model):
    return data

def output_fn(prediction, accept):
    return prediction, accept
"""

KEY = re.compile(r"^captures/here/(?P<endpoint>[^/]+)/(?P<variant>[^/]+)/\d{4}/\d\d/\d\d/\d\d/[^/]+\.jsonl$")


@pytest.fixture
def world(tmp_path: Path) -> Any:
    server = Server(tmp_path / "data", capture_file_seconds_max=0.5, capture_delivery_seconds=0.2)
    world = World(server)
    world.s3.create_bucket(Bucket="captured")
    try:
        yield world
    finally:
        server.stop()
    assert server.leftovers() == []


def capture(**members: Any) -> dict[str, Any]:
    return {
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": "s3://captured/captures/here",
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        **members,
    }


def variant(name: str, weight: float = 1.0) -> dict[str, Any]:
    return {
        "VariantName": name,
        "ModelName": "echo",
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
        "InitialVariantWeight": weight,
    }


def serving(world: World, name: str, data_capture: dict[str, Any], **members: Any) -> str:
    """An endpoint that answers what it is asked."""
    key = "echo/model.tar.gz"
    world.s3.put_object(Bucket="models", Key=key, Body=archive({"code/inference.py": ECHO}))
    if not world.sagemaker.list_models(NameContains="echo")["Models"]:
        world.sagemaker.create_model(
            ModelName="echo", PrimaryContainer={"Image": IMAGE, "ModelDataUrl": f"s3://models/{key}"}
        )
    world.sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[variant("AllTraffic")],
        DataCaptureConfig=data_capture,
        **members,
    )
    world.endpoint(name, name)
    log = world.server.data_dir / "logs" / "capture.log"
    wait_for("capture knows the group", lambda: log.exists() and f"{name}.AllTraffic" in log.read_text())
    return name


def invoke(world: World, endpoint: str, body: bytes, content_type: str, **members: Any) -> bytes:
    answer = world.runtime.invoke_endpoint(
        EndpointName=endpoint, Body=body, ContentType=content_type, Accept=content_type, **members
    )
    return bytes(answer["Body"].read())


def records(world: World, endpoint: str, variant: str = "AllTraffic") -> list[dict[str, Any]]:
    found = []
    pages = world.s3.get_paginator("list_objects_v2").paginate(
        Bucket="captured", Prefix=f"captures/here/{endpoint}/{variant}/"
    )
    for page in pages:
        for item in page.get("Contents", []):
            assert KEY.match(item["Key"]), item["Key"]
            body = world.s3.get_object(Bucket="captured", Key=item["Key"])["Body"].read()
            found += [json.loads(line) for line in body.splitlines()]
    return found


def total(world: World, name: str, endpoint: str, variant: str = "AllTraffic") -> float:
    of_variant = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
    return summed(world, "/bannister/Capture", name, of_variant)


def unmade(world: World, endpoint: str) -> float:
    """Copies that were skipped, and exchanges that were not told of and so have no endpoint: a busy machine has some, and says how many."""
    of_shadow = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "Shadow"}]
    pages = world.cloudwatch.get_paginator("list_metrics").paginate(
        Namespace="/bannister/Capture", MetricName="Dropped"
    )
    untold = [one["Dimensions"] for page in pages for one in page["Metrics"] if len(one["Dimensions"]) == 1]
    dropped = sum(summed(world, "/bannister/Capture", "Dropped", dimensions) for dimensions in untold)
    return dropped + summed(world, "/bannister/Shadow", "Skipped", of_shadow)


def summed(world: World, namespace: str, name: str, dimensions: list[dict[str, str]]) -> float:
    now = datetime.now(UTC)
    points = world.cloudwatch.get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=dimensions,
        StartTime=now - timedelta(minutes=10),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=["Sum"],
    )["Datapoints"]
    return float(sum(point["Sum"] for point in points))


def test_what_is_captured_is_described_and_written_as_on_aws(world: World) -> None:
    types = {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]}
    endpoint = serving(world, "all", capture(CaptureContentTypeHeader=types))
    config = world.sagemaker.describe_endpoint_config(EndpointConfigName=endpoint)["DataCaptureConfig"]
    assert config == {"EnableCapture": True, **capture(CaptureContentTypeHeader=types)}
    assert world.describe(endpoint)["DataCaptureConfig"] == {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 100,
        "DestinationS3Uri": "s3://captured/captures/here",
        "KmsKeyId": "",
    }
    began = datetime.now(UTC).replace(microsecond=0)
    invoke(world, endpoint, b"1,2\n", "text/csv; charset=utf-8", InferenceId="mine", CustomAttributes="c=1")
    invoke(world, endpoint, b'{"a": "\xc3\xa9"}', "application/json")
    invoke(world, endpoint, b"\x93NUMPY\xff", "application/x-npy")
    wait_for("three records", lambda: len(records(world, endpoint)) == 3)
    written = {one["captureData"]["endpointInput"]["encoding"]: one for one in records(world, endpoint)}
    csv = written["CSV"]
    identity, at = csv["eventMetadata"].pop("eventId"), csv["eventMetadata"].pop("inferenceTime")
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", identity)
    assert began <= datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) <= datetime.now(UTC)
    assert csv == {
        "captureData": {
            "endpointInput": {
                "observedContentType": "text/csv; charset=utf-8",
                "mode": "INPUT",
                "data": "1,2\n",
                "encoding": "CSV",
            },
            "endpointOutput": {
                "observedContentType": csv["captureData"]["endpointOutput"]["observedContentType"],
                "mode": "OUTPUT",
                "data": "1,2\n",
                "encoding": "CSV",
            },
        },
        "eventMetadata": {"inferenceId": "mine", "customAttributes": ["c=1"]},
        "eventVersion": "0",
    }
    assert written["JSON"]["captureData"]["endpointInput"]["data"] == '{"a": "\u00e9"}'
    assert base64.b64decode(written["BASE64"]["captureData"]["endpointOutput"]["data"]) == b"\x93NUMPY\xff"
    wait_for("the counts", lambda: total(world, "Written", endpoint) == 3)
    assert total(world, "Captured", endpoint) == 3


def test_without_content_types_everything_is_base64_and_one_side_may_be_left_out(world: World) -> None:
    endpoint = serving(world, "output", capture(CaptureOptions=[{"CaptureMode": "Output"}]))
    invoke(world, endpoint, b"[1]", "application/json")
    [record] = wait_for("a record", lambda: records(world, endpoint))
    assert record["captureData"].keys() == {"endpointOutput"}
    assert record["captureData"]["endpointOutput"]["encoding"] == "BASE64"


def test_the_sampled_share_is_written_of_production_and_shadow_alike(world: World) -> None:
    endpoint = serving(
        world,
        "sampled",
        capture(InitialSamplingPercentage=30),
        ShadowProductionVariants=[variant("Shadow", 1.0)],
    )
    wait_for("copies are made", lambda: invoke(world, endpoint, b"0", "text/plain") and _copies(world, endpoint))
    requests = 2000
    bodies = [str(number).encode() for number in range(1, requests + 1)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda body: invoke(world, endpoint, body, "text/plain"), bodies))

    def sent(variant: str) -> dict[str, bytes]:
        found = {
            one["eventMetadata"]["eventId"]: base64.b64decode(one["captureData"]["endpointInput"]["data"])
            for one in records(world, endpoint, variant)
        }
        return {identity: body for identity, body in found.items() if body != b"0"}

    def counted() -> bool:
        return total(world, "Captured", endpoint, "Shadow") + unmade(world, endpoint) >= requests * 0.98

    wait_for("all is counted", counted)
    wait_for("all is delivered", lambda: not list((world.server.data_dir / "capture").iterdir()))
    production, shadow = sent("AllTraffic"), sent("Shadow")
    sigma = (requests * 0.3 * 0.7) ** 0.5
    assert abs(len(production) - 0.3 * requests) < 3 * sigma
    together = production.keys() & shadow.keys()
    assert len(together) + unmade(world, endpoint) >= 0.98 * max(len(production), len(shadow)), (
        "both sides of a request are written together"
    )
    assert all(production[identity] == shadow[identity] for identity in together)
    assert max(Counter(production.values()).values()) == 1, "none is written twice"


def _copies(world: World, endpoint: str) -> bool:
    return bool(total(world, "Captured", endpoint, "Shadow"))


def test_a_missing_bucket_is_said_and_nothing_is_lost(world: World) -> None:
    endpoint = serving(world, "nowhere", capture(DestinationS3Uri="s3://absent/captures/here"))
    invoke(world, endpoint, b"[1]", "application/json")
    wait_for("it is said", lambda: world.describe(endpoint)["DataCaptureConfig"]["CaptureStatus"] == "Stopped")
    log = (world.server.data_dir / "logs" / "control.log").read_text()
    assert log.count("the bucket absent does not exist; create it, or name another one") == 1
    world.s3.create_bucket(Bucket="absent")
    wait_for("it is delivered", lambda: world.describe(endpoint)["DataCaptureConfig"]["CaptureStatus"] == "Started")
    listed = world.s3.list_objects_v2(Bucket="absent")
    assert listed["KeyCount"] == 1


@pytest.mark.parametrize("url", ["https://captured/x", "s3://Not_A_Bucket/x", "s3://ab/x"])
def test_a_destination_that_is_none_is_refused_with_a_sentence(world: World, url: str) -> None:
    world.model("echo")
    with pytest.raises(ClientError, match="DestinationS3Uri is") as refused:
        world.sagemaker.create_endpoint_config(
            EndpointConfigName="c",
            ProductionVariants=[variant("AllTraffic")],
            DataCaptureConfig=capture(DestinationS3Uri=url),
        )
    assert refused.value.response["Error"]["Code"] == "ValidationException"


def test_switched_off_it_is_described_and_writes_nothing(world: World) -> None:
    world.model("echo", files={"code/inference.py": ECHO})
    world.sagemaker.create_endpoint_config(
        EndpointConfigName="off",
        ProductionVariants=[variant("AllTraffic")],
        DataCaptureConfig=capture(EnableCapture=False),
    )
    world.endpoint("off", "off")
    invoke(world, "off", b"[1]", "application/json")
    found = world.describe("off")["DataCaptureConfig"]
    assert (found["EnableCapture"], found["CaptureStatus"]) == (False, "Stopped")
    assert total(world, "Captured", "off") == 0


def test_capture_and_control_plane_killed_under_load_lose_no_request_and_no_written_record(world: World) -> None:
    config = world.config("v1", instances=1)
    world.sagemaker.create_endpoint_config(
        EndpointConfigName="captured",
        ProductionVariants=[{**variant("AllTraffic"), "ModelName": config}],
        DataCaptureConfig=capture(),
    )
    endpoint = world.endpoint("loaded", "captured")
    processes = Record(world.server.data_dir / "run" / "processes.json")
    with Load(world.server, endpoint, world.server.data_dir / "load.jsonl", rate=100) as load:
        for victim in ("capture", "control plane", "capture"):
            before = wait_for(f"{victim} runs", lambda victim=victim: processes.read().get(victim))
            wait_for("some are written", lambda: _spooled(world) or _delivered(world, endpoint))
            os.kill(before.pid, signal.SIGKILL)
            wait_for(
                f"{victim} runs again",
                lambda victim=victim, before=before: processes.read().get(victim) not in (None, before),
            )
            count = len(load.answers())
            wait_for("requests go on", lambda count=count: len(load.answers()) > count + 100)
        frozen = wait_for("capture runs", lambda: processes.read().get("capture"))
        os.kill(frozen.pid, signal.SIGSTOP)
        count = len(load.answers())
        wait_for("requests go on", lambda: len(load.answers()) > count + 200)
        os.kill(frozen.pid, signal.SIGCONT)
        count = len(load.answers())
        wait_for("requests go on", lambda: len(load.answers()) > count + 200)
    answers = load.nothing_lost()
    wait_for("all is delivered", lambda: not list((world.server.data_dir / "capture").iterdir()))
    ids = [one["eventMetadata"]["eventId"] for one in records(world, endpoint)]
    assert len(ids) == len(set(ids)), "a record was delivered twice"
    assert max(total(world, "Written", endpoint), 50) <= len(ids) <= len(answers)


def _spooled(world: World) -> int:
    return sum(path.stat().st_size for path in (world.server.data_dir / "capture").glob("*.open"))


def _delivered(world: World, endpoint: str) -> bool:
    try:
        return bool(records(world, endpoint))
    except ClientError:  # the control plane is away
        return False
