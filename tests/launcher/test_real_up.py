"""`bannister up` with everything real: Envoy, telemetry and the control plane."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest

from bannister.launcher.processes import Identity, is_alive, marked
from bannister.launcher.record import Record

pytestmark = pytest.mark.real

BANNISTER = Path(sys.executable).with_name("bannister")
PATIENCE_SECONDS = 60.0

Start = Callable[[], "subprocess.Popen[str]"]


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"gave up waiting until {what}"
        time.sleep(0.02)


def of(data_dir: Path) -> list[Identity]:
    """Every process of a data directory."""
    return marked(f"BANNISTER_DATA_DIR={data_dir}", any_of=("BANNISTER_PART", "BANNISTER_INSTANCE"))


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


@pytest.fixture
def start(data_dir: Path, port: int) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start_one() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [BANNISTER, "up", "--port", str(port), "--data-dir", str(data_dir)],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == f"ready http://127.0.0.1:{port}\n"
        return process

    yield start_one
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    for left in of(data_dir):
        os.kill(left.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_answers_and_a_stop_leaves_nothing(start: Start, data_dir: Path, port: int, number: int) -> None:
    process = start()
    assert answers(port)
    wait_until(lambda: len(of(data_dir)) == 4, "all parts run")
    process.send_signal(number)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert of(data_dir) == []
    assert list((data_dir / "run").iterdir()) == []


def test_a_stop_answers_what_still_comes_or_says_that_it_does_not(start: Start, port: int) -> None:
    process = start()
    serve_a_model(port)  # which takes a moment to stop, while Envoy still lets requests to the API in
    process.send_signal(signal.SIGTERM)
    seen = set()
    while process.poll() is None:
        api = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            api.request("POST", "/", b"{}", {"X-Amz-Target": "SageMaker.ListEndpoints"})
            answer = api.getresponse()
            seen.add((answer.status, json.loads(answer.read()).get("__type")))
        except OSError:
            pass  # Envoy has ended, too
        finally:
            api.close()
    assert seen <= {(200, None), (503, "ServiceUnavailable")}


@pytest.mark.parametrize("name", ["control plane", "telemetry", "capture", "Envoy"])
def test_each_part_comes_back_when_it_is_killed(start: Start, data_dir: Path, port: int, name: str) -> None:
    process = start()
    record = Record(data_dir / "run" / "processes.json")
    wait_until(lambda: name in record.read(), f"{name} runs")
    before = record.read()[name]
    os.kill(before.pid, signal.SIGKILL)
    wait_until(lambda: record.read().get(name) not in (None, before), f"{name} runs again")
    wait_until(lambda: answers(port), "the server answers again")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert of(data_dir) == []


def test_a_new_up_after_the_launcher_was_killed(start: Start, data_dir: Path, port: int) -> None:
    killed = start()
    # One that was killed before it had written down what it started has that ended by the next one.
    record = Record(data_dir / "run" / "processes.json")
    wait_until(lambda: len(record.read()) == 4, "all parts run and are written down")
    left = of(data_dir)
    killed.kill()
    killed.wait()
    assert answers(port)
    after = start()
    assert answers(port)
    assert of(data_dir) == left, "all were taken over"
    after.send_signal(signal.SIGTERM)
    assert after.wait(PATIENCE_SECONDS) == 0
    assert of(data_dir) == []


def test_instances_outlive_a_killed_launcher(start: Start, data_dir: Path, port: int) -> None:
    killed = start()
    invoke = serve_a_model(port)
    instance = marked(f"BANNISTER_DATA_DIR={data_dir}", any_of=("BANNISTER_INSTANCE",))
    assert len(instance) == 1
    killed.kill()
    killed.wait()
    assert invoke() == b"42"

    after = start()
    wait_until(lambda: invoke() == b"42", "the adopted instance answers")
    assert is_alive(instance[0])
    assert marked(f"BANNISTER_DATA_DIR={data_dir}", any_of=("BANNISTER_INSTANCE",)) == instance
    after.send_signal(signal.SIGTERM)
    assert after.wait(PATIENCE_SECONDS) == 0
    assert of(data_dir) == []


def serve_a_model(port: int) -> Callable[[], bytes]:
    """Create an endpoint whose one instance answers 42; returns how to ask it."""
    options: Any = {
        "endpoint_url": f"http://127.0.0.1:{port}",
        "region_name": "us-east-1",
        "aws_access_key_id": "any",
        "aws_secret_access_key": "any",
    }
    code = b"def model_fn(d):\n    return 42\n\ndef predict_fn(data, model):\n    return model\n"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        entry = tarfile.TarInfo("code/inference.py")
        entry.size = len(code)
        tar.addfile(entry, io.BytesIO(code))
    s3, sagemaker = boto3.client("s3", **options), boto3.client("sagemaker", **options)
    runtime = boto3.client("sagemaker-runtime", **options)
    s3.create_bucket(Bucket="models")
    s3.put_object(Bucket="models", Key="m.tar.gz", Body=archive.getvalue())
    container = {"Image": "bannister/python", "ModelDataUrl": "s3://models/m.tar.gz"}
    variant = {"VariantName": "main", "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_model(ModelName="m", PrimaryContainer=container)
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="e", WaiterConfig={"Delay": 1})

    def invoke() -> bytes:
        try:
            answer = runtime.invoke_endpoint(EndpointName="e", ContentType="application/json", Body=b"[1]")
        except botocore.exceptions.ClientError as error:
            return str(error).encode()
        body: bytes = answer["Body"].read()
        return body.strip()

    return invoke
