"""Our own service as clients meet it: boto3 with the model from the package, against the gateway."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.loaders import Loader
from tests.aws.deployments.serving import context_of, served
from tests.domain.deployment.worlds import deployment, fleet, observation

from bannister.aws.wire.fault import TABLES
from bannister.aws.wire.models import OWN_MODELS, SIGNING_NAMES, TARGET_PREFIXES, service_model
from bannister.cli import service_model as cli_service_model
from bannister.cli.explain import _headline
from bannister.domain.alarm.alarm import AlarmRule, AlarmValue, Comparison
from bannister.domain.alarm.judgement import Datapoint
from bannister.domain.deployment.deployment import Deployment, Phase
from bannister.domain.deployment.observation import AlarmObservation, GroupObservation, Observation
from bannister.domain.deployment.outlook import DeploymentStatus, StepState
from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing
from bannister.domain.deployment.recorder import DECIDED, STARTED
from bannister.domain.endpoint import Endpoint
from bannister.domain.endpoint_event import DetailType
from bannister.domain.fleet import Fleet
from bannister.domain.metric.identity import identity
from bannister.operations.story import STORY
from bannister.state.endpoint_change import endpoint_change
from bannister.state.memory import MemoryState
from bannister.state.store import Put, Record
from bannister.state.tables import DEPLOYMENTS, ENDPOINTS

BAKING = replace(deployment(), phase=Phase.BAKING, step=0, baking_since=1090.0, phase_since=1090.0, alarms_seen=0)
RULE = AlarmRule(
    identity("AWS/SageMaker", "Invocation5XXErrors", {"EndpointName": "e"}),
    "Average",
    10,
    1,
    1,
    threshold=0.05,
    comparison=Comparison.GREATER,
)
ALARM = AlarmObservation(
    "errors", AlarmValue.OK, 1099.0, rule=RULE, datapoints=(None, Datapoint(1089.0, 0.01, 100.0)), reason="fine"
)


async def seen_now(endpoint: Endpoint, one: Deployment) -> Observation:
    return observation(
        1100.0,
        alarms=(ALARM,),
        green=(GroupObservation("e.AllTraffic.v2", 2, 2, 1, None, 100_000, 100_000),),
        blue=(GroupObservation("e.AllTraffic.v1", 2, 2, 0, None, 900_000, None),),
    )


def own_session() -> botocore.session.Session:
    session = botocore.session.Session()
    session.register_component("data_loader", Loader(extra_search_paths=[str(OWN_MODELS)]))
    return session


@pytest.fixture
def state() -> MemoryState:
    return MemoryState()


@pytest.fixture
def url(tmp_path: Path, state: MemoryState) -> Iterator[str]:
    with served(context_of(tmp_path, state, observe=seen_now)) as address:
        yield address


@pytest.fixture
def client(url: str) -> Any:
    session = boto3.Session(
        aws_access_key_id="any", aws_secret_access_key="any", region_name="us-east-1", botocore_session=own_session()
    )
    return session.client("bannister", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}))


async def put_running(state: MemoryState, one: Deployment = BAKING) -> None:
    endpoint = Endpoint("e", 0.0, 0.0, blue=fleet("v1"), deployment=one)
    await state.commit([Put(ENDPOINTS, "e", endpoint, 0)])


async def test_a_running_deployment_is_described_whole(client: Any, state: MemoryState) -> None:
    await put_running(state)
    found = client.describe_deployment(EndpointName="e")
    assert (found["Status"], found["Phase"], found["CurrentStep"]) == ("InProgress", "baking", 1)
    assert [(one["State"], one["GreenPercent"], one["BakeSeconds"]) for one in found["Steps"]] == [
        ("Current", 10.0, 30),
        ("ToCome", 100.0, 20),
    ]
    assert found["WaitsFor"]["Sentence"] == "Bakes at step 1 of 2."
    assert (found["WaitsFor"]["Until"] - found["ObservedTime"]).total_seconds() == 20
    assert found["Policy"]["StepValue"] == 10
    assert (found["Green"]["PercentAsked"], found["Green"]["PercentAcknowledged"]) == (10.0, 10.0)
    assert found["Blue"]["PercentAsked"] == 90.0
    assert "PercentAcknowledged" not in found["Blue"]
    (variant,) = found["Green"]["Variants"]
    assert (variant["InstancesReady"], variant["InstancesWanted"], variant["InstanceRestarts"]) == (2, 2, 1)
    assert variant["Figures"] == {"WindowSeconds": 60, "Requests": 0, "Errors": 0}
    (alarm,) = found["Alarms"]
    assert (alarm["State"], alarm["Value"], alarm["Threshold"]) == ("OK", 0.01, 0.05)
    assert alarm["Rule"] == "Average of Invocation5XXErrors over 10 s > 0.05 in 1 of 1 periods (missing data: missing)"
    assert len(alarm["Datapoints"]) == 1


async def test_after_a_failed_rollback_each_of_blues_variants_says_which_version_it_is(
    client: Any, state: MemoryState
) -> None:
    mixed = Fleet("v1", (*fleet("v1").groups, *fleet("v0").groups), 0.0)
    one = deployment(blue=mixed)
    await state.commit([Put(ENDPOINTS, "e", Endpoint("e", 0.0, 0.0, blue=mixed, deployment=one), 0)])
    found = client.describe_deployment(EndpointName="e")
    assert [one["EndpointConfigName"] for one in found["Blue"]["Variants"]] == ["v1", "v0"]
    assert [one["EndpointConfigName"] for one in found["Green"]["Variants"]] == ["v2"]


async def test_a_rolling_updates_batches_are_described_both_ways(client: Any, state: MemoryState) -> None:
    half, one = CapacitySize(CapacityType.CAPACITY_PERCENT, 50), CapacitySize(CapacityType.INSTANCE_COUNT, 1)
    await put_running(state, deployment(DeploymentPolicy(Routing.ROLLING, half, 30, rollback_step=one)))
    assert client.describe_deployment(EndpointName="e")["Policy"] == {
        "RoutingType": "ROLLING",
        "StepType": "CAPACITY_PERCENT",
        "StepValue": 50,
        "RollbackStepType": "INSTANCE_COUNT",
        "RollbackStepValue": 1,
        "WaitSeconds": 30,
        "TerminationWaitSeconds": 0,
        "AlarmNames": [],
    }


async def test_lists_come_by_pages(client: Any, state: MemoryState) -> None:
    for number in range(5):
        one = replace(deployment(), id=f"d{number}", phase=Phase.COMPLETED, started_at=float(number), ended_at=9.0)
        await state.commit([Put(DEPLOYMENTS, one.id, one, 0)])
    pages = client.get_paginator("list_deployments").paginate(PaginationConfig={"PageSize": 2})
    assert [one["DeploymentId"] for page in pages for one in page["Deployments"]] == ["d4", "d3", "d2", "d1", "d0"]
    assert client.list_deployments(StatusEquals="RolledBack")["Deployments"] == []
    client.get_waiter("deployment_completed").wait(DeploymentId="d3")


async def test_a_rollback_is_asked_for_and_told_by_the_decisions(client: Any, state: MemoryState) -> None:
    await put_running(state)
    answer = client.rollback_deployment(EndpointName="e", Reason="wrong in Denver")
    assert (answer["DeploymentId"], answer["BlueConfigName"], answer["Status"]) == ("d1", "v1", "InProgress")
    (told,) = client.list_decisions(DeploymentId="d1")["Decisions"]
    assert (told["Kind"], told["Reason"], told["PhaseBefore"]) == ("RollbackRequested", "wrong in Denver", "baking")
    assert json.loads(told["Evidence"])["reason"] == "wrong in Denver"
    assert client.describe_deployment(DeploymentId="d1")["RollbackRequested"] == "wrong in Denver"


async def test_a_decisions_share_is_that_of_all_variants_by_their_weights(client: Any, state: MemoryState) -> None:
    """One instance of green's two variants of 10 and 2: half of the small variant, a tenth of the large one."""
    await put_running(state)
    groups = [{"variant": "A", "weight": 9.0}, {"variant": "B", "weight": 1.0}]
    body = {"deployment": "d1", "from": "shifting", "to": "baking", "reason": "", "event": "split acknowledged"}
    split = {"green_percent": {"A": 10.0, "B": 50.0}, "before": {"green": {"groups": groups}}}
    await state.commit(records=[Record(1090.0, "endpoint/e", DECIDED, body | split)])
    (told,) = client.list_decisions(DeploymentId="d1")["Decisions"]
    assert told["GreenPercent"] == 14.0


async def test_every_kind_of_entry_has_its_name_in_the_model_and_its_words(client: Any, state: MemoryState) -> None:
    await put_running(state)
    for number, kind in enumerate(sorted(STORY, key=lambda kind: kind != STARTED)):
        body = {"deployment": "d1", "from": "v1", "to": "v2", "reason": f"{number}", "wished": "now", "phase": "baking"}
        await state.commit(records=[Record(1090.0, "endpoint/e", kind, body)])
    told = client.list_decisions(DeploymentId="d1")["Decisions"]
    model = client.meta.service_model.shape_for("DecisionKind")
    assert {one["Kind"] for one in told} == set(model.enum)
    headlines = {
        _headline({"Event": "green ready", **one, "Evidence": json.loads(one["Evidence"]), "PhaseAfter": "baking"})[2]
        for one in told
    }
    assert len(headlines) == len(STORY)


async def test_events_are_listed_whole_and_by_pages(client: Any, state: MemoryState) -> None:
    for number in range(3):
        change = endpoint_change(None, Endpoint(f"E{number}", 1.0, 1.0, blue=fleet("v1")), 60.0, {})
        await state.commit([change.write], change.events)
    pages = client.get_paginator("list_events").paginate(PaginationConfig={"PageSize": 2})
    found = [one for page in pages for one in page["Events"]]
    assert [one["EndpointName"] for one in found] == ["E0", "E1", "E2"]
    event = json.loads(found[0]["Event"])
    assert (found[0]["EventId"], found[0]["DetailType"]) == (event["id"], event["detail-type"])
    assert event["resources"] == ["arn:aws:sagemaker:us-east-1:000000000000:endpoint/e0"]
    assert found[0]["EndpointStatus"] == event["detail"]["EndpointStatus"] == "IN_SERVICE"
    later = client.list_events(After=found[0]["Sequence"], EndpointName="E2")["Events"]
    assert [one["EventId"] for one in later] == [found[2]["EventId"]]
    assert client.describe_event_webhooks()["Webhooks"] == []
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.list_events(EndpointName="nope")


async def test_errors_are_those_of_the_model(client: Any, state: MemoryState) -> None:
    with pytest.raises(client.exceptions.ResourceNotFoundException, match='Could not find endpoint "nope"'):
        client.describe_deployment(EndpointName="nope")
    with pytest.raises(client.exceptions.ValidationException, match="either"):
        client.describe_deployment()
    await put_running(state, replace(BAKING, phase=Phase.RETIRING, step=1))
    with pytest.raises(client.exceptions.ConflictException, match="being retired") as conflict:
        client.rollback_deployment(EndpointName="e", Reason="too late")
    assert conflict.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409


@pytest.mark.parametrize("reason", ["two\nlines", "x" * 513])
async def test_a_reason_is_one_line(client: Any, state: MemoryState, reason: str) -> None:
    await put_running(state)
    with pytest.raises(client.exceptions.ValidationException, match="reason"):
        client.rollback_deployment(EndpointName="e", Reason=reason)


async def test_no_credentials_are_needed(url: str) -> None:
    config = Config(signature_version=UNSIGNED)
    client = own_session().create_client("bannister", region_name="us-east-1", endpoint_url=url, config=config)
    assert client.list_deployments()["Deployments"] == []


def test_boto3_finds_the_model_after_the_documented_step(url: str) -> None:
    """AWS_DATA_PATH=$(bannister service-model), in a process of its own."""
    bannister = Path(sys.executable).with_name("bannister")
    path = subprocess.run([bannister, "service-model"], capture_output=True, text=True, check=True).stdout.strip()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
        "AWS_DATA_PATH": path,
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    code = 'import boto3; print(boto3.client("bannister").list_deployments()["Deployments"])'
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert (answer.stdout, answer.stderr) == ("[]\n", "")


class Seen(Exception):
    """Instead of sending the request."""


def test_without_an_address_it_asks_this_machine_and_never_aws() -> None:
    config = Config(signature_version=UNSIGNED)
    client = own_session().create_client("bannister", region_name="eu-west-1", config=config)

    def look(request: Any, **_: Any) -> None:
        raise Seen(request.url)

    client.meta.events.register("before-send.bannister", look)
    with pytest.raises(Seen, match=r"^http://127\.0\.0\.1:3594/$"):
        client.list_deployments()


def test_the_model_says_what_the_code_says() -> None:
    model = service_model("bannister")
    assert TARGET_PREFIXES[model.metadata["targetPrefix"]] == SIGNING_NAMES[model.signing_name] == "bannister"
    assert cli_service_model.OWN_MODELS == OWN_MODELS
    assert model.shape_for("DeploymentStatus").enum == [one.value for one in DeploymentStatus]
    assert model.shape_for("DeploymentPhase").enum == [one.value for one in Phase]
    assert model.shape_for("StepState").enum == [one.value for one in StepState]
    assert model.shape_for("EventDetailType").enum == [one.value for one in DetailType]
    assert model.shape_for("RoutingType").enum == [one.value for one in Routing]
    assert model.shape_for("CapacityType").enum == [one.value for one in CapacityType]
    named = {shape.name for shape in model.error_shapes}
    assert {code for code, _ in TABLES["bannister"].values()} <= named
