"""What stops a deployment: alarms however short, dead instances, artifacts and images that cannot run."""

import os
import signal
import time
from pathlib import Path

import pytest
from tests.scenarios.world import Load, Server, World, archive, wait_for

pytestmark = [pytest.mark.real, pytest.mark.slow]

#: An alarm with a period of 10 s sees only data of high resolution.
TROUBLE = [{"MetricName": "Trouble", "Value": 1.0, "StorageResolution": 1}]
CANARY = {"Type": "CANARY", "WaitIntervalInSeconds": 120, "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10}}


def baking(world: World, endpoint: str) -> bool:
    summary = world.describe(endpoint).get("PendingDeploymentSummary")
    return bool(summary) and summary["ProductionVariants"][0].get("VariantStatus", [{}])[0].get("Status") == "Baking"


def test_a_transition_set_and_reset_a_moment_later_rolls_back(world: World) -> None:
    endpoint = world.endpoint("blip", world.config("blip-old"))
    world.config("blip-new")
    alarm = world.error_alarm("blip-alarm", endpoint, "blip-new")
    world.update(endpoint, "blip-new", routing=CANARY, alarms=(alarm,))
    wait_for("baking", lambda: baking(world, endpoint))
    world.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="a rehearsal")
    world.cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="over")
    found = world.settled(endpoint)
    assert found["EndpointConfigName"] == "blip-old"
    assert "a rehearsal" in found["FailureReason"]


def test_an_alarm_in_alarm_holds_the_first_shift(world: World, record: Path) -> None:
    endpoint = world.endpoint("held", world.config("held-old"))
    world.config("held-new")
    world.cloudwatch.put_metric_alarm(
        AlarmName="held-alarm",
        Namespace="Mine",
        MetricName="Trouble",
        Statistic="Maximum",
        Period=10,
        EvaluationPeriods=1,
        Threshold=0.5,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    with Load(world.server, endpoint, record, rate=50) as load:
        world.cloudwatch.put_metric_data(Namespace="Mine", MetricData=TROUBLE)
        wait_for("ALARM", lambda: world.alarm("held-alarm")["StateValue"] == "ALARM")
        began = time.monotonic()
        world.update(
            endpoint, "held-new", routing={"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}, alarms=("held-alarm",)
        )

        def message() -> str:
            summary = world.describe(endpoint).get("PendingDeploymentSummary", {})
            return str(summary.get("ProductionVariants", [{}])[0].get("VariantStatus", ""))

        wait_for("it says what it waits for", lambda: "holds the first shift" in message())
        while True:
            answers = load.answers()
            if world.alarm("held-alarm")["StateValue"] != "ALARM":
                break
            assert all(one.version == "held-old" for one in answers), "answered before the alarm was seen in ALARM"
            if time.monotonic() - began < 3:
                world.cloudwatch.put_metric_data(Namespace="Mine", MetricData=TROUBLE)
            time.sleep(0.5)
        assert world.settled(endpoint)["EndpointConfigName"] == "held-new"
    load.nothing_lost()


def test_a_deleted_alarm_rolls_back(world: World) -> None:
    endpoint = world.endpoint("unguarded", world.config("unguarded-old"))
    world.config("unguarded-new")
    alarm = world.error_alarm("unguarded-alarm", endpoint, "unguarded-new")
    world.update(endpoint, "unguarded-new", routing=CANARY, alarms=(alarm,))
    wait_for("baking", lambda: baking(world, endpoint))
    world.cloudwatch.delete_alarms(AlarmNames=[alarm])
    found = world.settled(endpoint)
    assert found["EndpointConfigName"] == "unguarded-old"
    assert "was deleted" in found["FailureReason"]


def test_a_green_instance_that_dies_rolls_back(world: World) -> None:
    endpoint = world.endpoint("dying", world.config("dying-old"))
    world.config("dying-new")
    world.update(endpoint, "dying-new", routing=CANARY)
    wait_for("baking", lambda: baking(world, endpoint))

    def green_pid() -> int | None:
        answer = world.invoke(endpoint)
        return answer["pid"] if answer["version"] == "dying-new" else None

    os.kill(wait_for("an answer by green", green_pid), signal.SIGKILL)
    wait_for("Updating is over", lambda: world.describe(endpoint)["EndpointStatus"] == "InService")
    found = world.describe(endpoint)
    assert found["EndpointConfigName"] == "dying-old"
    assert "died" in found["FailureReason"]


@pytest.mark.parametrize(
    ("name", "files", "environment", "words"),
    [
        ("import-fails", {"code/inference.py": b"import a_module_nobody_has"}, {}, ["a_module_nobody_has"]),
        ("load-fails", None, {"BREAK_ON_LOAD": "on purpose"}, ["on purpose", "ping health check"]),
    ],
)
def test_a_model_that_cannot_start_fails_a_creation_and_rolls_back_an_update(
    world: World, name, files, environment, words
) -> None:
    world.model(name, files=files, **environment)
    world.config(name, model=name, instances=1)
    world.sagemaker.create_endpoint(EndpointName=f"{name}-created", EndpointConfigName=name)
    created = world.settled(f"{name}-created")
    assert created["EndpointStatus"] == "Failed"
    endpoint = world.endpoint(f"{name}-updated", world.config(f"{name}-sound", instances=1))
    world.update(endpoint, name, routing={"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0})
    updated = world.settled(endpoint)
    assert (updated["EndpointStatus"], updated["EndpointConfigName"]) == ("InService", f"{name}-sound")
    for word in words:
        assert word in created["FailureReason"]
        assert word in updated["FailureReason"]
    assert world.invoke(endpoint)["version"] == f"{name}-sound"


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("not-an-archive", b"this is not an archive", "archive"),
        ("outside", archive({"../outside.txt": b"x"}), "outside"),
    ],
)
def test_an_artifact_that_cannot_be_used_fails_with_the_reason(world: World, tmp_path, name, body, words) -> None:
    world.s3.put_object(Bucket="models", Key=name, Body=body)
    world.sagemaker.create_model(
        ModelName=name, PrimaryContainer={"Image": "bannister/python", "ModelDataUrl": f"s3://models/{name}"}
    )
    world.config(name, model=name)
    world.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    found = world.settled(name)
    assert found["EndpointStatus"] == "Failed"
    assert words in found["FailureReason"]
    assert not list(world.server.data_dir.rglob("outside.txt"))


def test_a_model_that_never_answers_ping_fails_with_its_log(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", startup_timeout_seconds_default=4)
    try:
        world = World(server)
        silent = b"import sys, time\nprint('waiting for nothing', file=sys.stderr, flush=True)\ntime.sleep(10000)\n"
        world.model("silent", files={"code/inference.py": silent})
        world.config("silent", model="silent", instances=1)
        world.sagemaker.create_endpoint(EndpointName="silent", EndpointConfigName="silent")
        found = world.settled("silent")
        assert found["EndpointStatus"] == "Failed"
        assert "waiting for nothing" in found["FailureReason"]
        assert "ping" in found["FailureReason"]
    finally:
        assert server.stop() == 0
        assert server.leftovers() == []
