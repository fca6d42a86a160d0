"""A real server, real models and real traffic, in the words of the field."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from tests.scenarios.recorder import check_decisions

IMAGE = "bannister/python"
BANNISTER = Path(sys.executable).with_name("bannister")

#: A model whose behaviour is set by its environment.
INFERENCE = """
import os, random, time

def model_fn(model_dir):
    if os.environ.get("BREAK_ON_LOAD"):
        raise RuntimeError("this model cannot be loaded: " + os.environ["BREAK_ON_LOAD"])
    return os.environ["VERSION"]

def predict_fn(data, model):
    if "BEGUN" in os.environ:
        # One file for each process; what was written is still there after a SIGKILL.
        with open(os.path.join(os.environ["BEGUN"], str(os.getpid())), "a") as begun:
            begun.write(str(data["x"]) + "\\n")
    if random.random() < float(os.environ.get("FAIL", "0")):
        raise ValueError("version " + model + " fails")
    time.sleep(float(os.environ.get("SLEEP", "0")))
    if isinstance(data, dict) and data.get("exit"):
        os._exit(3)
    return {"version": model, "pid": os.getpid()}
"""


def wait_for(what: str, found: Callable[[], Any], timeout_seconds: float = 60.0) -> Any:
    """Poll until `found` gives something true."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {timeout_seconds} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def archive(files: dict[str, bytes]) -> bytes:
    """A model.tar.gz."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


class Server:
    """`bannister up`, as a user starts it."""

    def __init__(self, data_dir: Path, **settings: object) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self._environment = os.environ | {f"BANNISTER_{name.upper()}": str(value) for name, value in settings.items()}
        self.process: subprocess.Popen[str] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [str(BANNISTER), "up", "--port", str(self.port), "--data-dir", str(self.data_dir)]
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.data_dir / "up.log").open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env=self._environment, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line == f"ready {self.url}\n", (line, (self.data_dir / "up.log").read_text())

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(60)
        check_decisions(self.data_dir)
        return code

    def client(self, service: str, **config: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=70, **config),
        )

    def leftovers(self) -> list[str]:
        """Command lines of processes that carry this data directory in their environment."""
        found = []
        marker = f"BANNISTER_DATA_DIR={self.data_dir}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if marker in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(f"{folder.name} {(folder / 'cmdline').read_bytes()!r}")
            except OSError:
                continue
        return found


class World:
    """A user's view of one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.sagemaker = server.client("sagemaker")
        self.runtime = server.client("sagemaker-runtime")
        self.cloudwatch = server.client("cloudwatch")
        self.s3 = server.client("s3")
        self.s3.create_bucket(Bucket="models")

    # --- Given ------------------------------------------------------------------------------------

    def model(self, name: str, *, files: dict[str, bytes] | None = None, image: str = IMAGE, **environment: str) -> str:
        key = f"{name}/model.tar.gz"
        self.s3.put_object(
            Bucket="models",
            Key=key,
            Body=archive(files if files is not None else {"code/inference.py": INFERENCE.encode()}),
        )
        self.sagemaker.create_model(
            ModelName=name,
            PrimaryContainer={
                "Image": image,
                "ModelDataUrl": f"s3://models/{key}",
                "Environment": {"VERSION": name, **environment},
            },
        )
        return name

    def config(self, name: str, *, instances: int = 2, model: str | None = None, **environment: str) -> str:
        """A configuration with one variant, of a model of the same name unless one is given."""
        if model is None:
            model = self.model(name, **environment)
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": "AllTraffic",
                    "ModelName": model,
                    "InitialInstanceCount": instances,
                    "InstanceType": "ml.m5.large",
                }
            ],
        )
        return name

    def endpoint(self, name: str, config: str) -> str:
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        self.settled(name)
        assert self.describe(name)["EndpointStatus"] == "InService", self.describe(name)
        return name

    def error_alarm(self, name: str, endpoint: str, config: str, *, period: int = 10, threshold: float = 0.05) -> str:
        """On green's error rate."""
        self.cloudwatch.put_metric_alarm(
            AlarmName=name,
            Namespace="AWS/SageMaker",
            MetricName="Invocation5XXErrors",
            Dimensions=[
                {"Name": "EndpointName", "Value": endpoint},
                {"Name": "VariantName", "Value": "AllTraffic"},
                {"Name": "EndpointConfigName", "Value": config},
            ],
            Statistic="Average",
            Period=period,
            EvaluationPeriods=1,
            Threshold=threshold,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="notBreaching",
            ActionsEnabled=False,
        )
        wait_for(f"{name} OK", lambda: self.alarm(name)["StateValue"] == "OK")
        return name

    # --- When -------------------------------------------------------------------------------------

    def update(
        self,
        endpoint: str,
        config: str,
        *,
        routing: dict[str, Any] | None = None,
        rolling: dict[str, Any] | None = None,
        alarms: tuple[str, ...] = (),
        termination_wait: int = 0,
    ) -> None:
        self.sagemaker.update_endpoint(
            EndpointName=endpoint,
            EndpointConfigName=config,
            DeploymentConfig={
                **(
                    {"RollingUpdatePolicy": {**rolling, "MaximumExecutionTimeoutInSeconds": 600}}
                    if rolling is not None
                    else {
                        "BlueGreenUpdatePolicy": {
                            "TrafficRoutingConfiguration": routing,
                            "TerminationWaitInSeconds": termination_wait,
                            "MaximumExecutionTimeoutInSeconds": 600,
                        }
                    }
                ),
                **(
                    {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]}}
                    if alarms
                    else {}
                ),
            },
        )

    # --- Then -------------------------------------------------------------------------------------

    def describe(self, endpoint: str) -> dict[str, Any]:
        return dict(self.sagemaker.describe_endpoint(EndpointName=endpoint))

    def alarm(self, name: str) -> dict[str, Any]:
        return dict(self.cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0])

    def settled(self, endpoint: str, timeout_seconds: float = 120.0) -> dict[str, Any]:
        """The description once nothing is in progress any more."""

        def found() -> dict[str, Any] | None:
            now = self.describe(endpoint)
            return now if now["EndpointStatus"] in ("InService", "Failed", "UpdateRollbackFailed") else None

        return dict(wait_for(f"{endpoint} settled", found, timeout_seconds))

    def invoke(self, endpoint: str, body: bytes = b'{"x": 1}', **members: Any) -> dict[str, Any]:
        answer = self.runtime.invoke_endpoint(
            EndpointName=endpoint, ContentType="application/json", Body=body, **members
        )
        return dict(json.loads(answer["Body"].read()))


@dataclass(frozen=True)
class Answer:
    """One line of the load's record."""

    #: Counted from 0; it is what the request says: `{"x": number}`.
    number: int
    began: float
    ended: float
    status: int | None
    #: The version that answered, also where it answered with an error.
    version: str | None
    lost: str | None


class Load:
    """Constant traffic from a separate process, from `with` to its end."""

    def __init__(self, server: Server, endpoint: str, record: Path, *, rate: float = 200.0) -> None:
        self._command = [
            sys.executable,
            str(Path(__file__).with_name("load.py")),
            str(server.port),
            endpoint,
            str(rate),
            str(record),
        ]
        self._record = record

    def __enter__(self) -> Load:
        self._process = subprocess.Popen(self._command)
        wait_for("the first answers", lambda: self._record.exists() and len(self.answers()) > 20)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        assert self._process.wait(90) == 0

    def answers(self) -> list[Answer]:
        *lines, _unfinished = self._record.read_text().split("\n")  # the load is still writing
        return [_answer(json.loads(line)) for line in lines]

    def nothing_lost(self) -> list[Answer]:
        """All answers, after checking that each is complete and that each error is the model's own."""
        answers = self.answers()
        lost = [one for one in answers if one.lost is not None]
        assert not lost, f"{len(lost)} of {len(answers)} requests lost, the first: {lost[:3]}"
        return answers


def _answer(line: dict[str, Any]) -> Answer:
    lost, version = line.get("lost"), None
    if lost is None:
        body = json.loads(line["body"])
        if line["status"] == 200:
            version = body["version"]
        elif line["status"] == 424 and body.get("OriginalStatusCode") == 500 and " fails" in body["OriginalMessage"]:
            version = body["OriginalMessage"].split("version ")[1].split(" fails")[0]
        else:
            lost = f"{line['status']}: {line['body'][:300]}"
    return Answer(line["number"], line["began"], line["ended"], line.get("status"), version, lost)
