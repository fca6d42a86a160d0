"""What SageMaker would tell EventBridge: shapes, and the events of whole stories, change by change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.domain.deployment.worlds import CANARY, deployment, fleet, observation

from bannister.deployer import scaling as scaling_loop
from bannister.deployer.loop import _settled
from bannister.domain.deployment.deployment import Phase
from bannister.domain.deployment.machine import Event, Noticed, advance
from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing
from bannister.domain.deployment.progress import blue_progress
from bannister.domain.endpoint import Endpoint
from bannister.domain.endpoint_event import DetailType, changes, event
from bannister.domain.scaling import Desired, Scaling, ScalingPhase, fleet_of, rescaled
from bannister.domain.scaling import Noticed as ScalingNoticed
from bannister.domain.scaling import advance as advance_scaling

AT_REST = Endpoint("Flights", 1000.25, 1000.25, blue=fleet("v1"), tags=(("team", "air"),))
READY = {"e.AllTraffic.v1": 2, "e.AllTraffic.v2": 1}
STATE, STAGE = DetailType.ENDPOINT, DetailType.DEPLOYMENT


def line(body: dict[str, Any]) -> str:
    """`status` of a state change; `status | green's variant status message` of a deployment's."""
    detail = body["detail"]
    if body["detail-type"] == STATE:
        return str(detail["EndpointStatus"])
    pending = detail.get("PendingDeploymentSummary", {}).get("ProductionVariants", ())
    said = [
        f"{one['Status']} {one['StatusMessage']}"
        for variant in (*detail["ProductionVariants"], *pending)
        for one in variant.get("VariantStatus", ())
    ]
    return f"{detail['EndpointStatus']} | {'; '.join(said)}"


def story(states: Sequence[Endpoint | None]) -> list[str]:
    """The events of an endpoint's states, one after the other, as lines."""
    found = []
    for at, (before, after) in enumerate(zip((None, *states), states, strict=False)):
        found += [line(body) for body in changes(before, after, float(at), READY)]
    return found


def deployed(endpoint: Endpoint, events: Sequence[Event], reason: str = "So it is.") -> list[Endpoint]:
    """The endpoint, and what it is after each decision of its deployment."""
    states = [endpoint]
    for number, noticed in enumerate(events):
        running, seen = states[-1].deployment, observation(2000.0 + number)
        assert running is not None
        states.append(_settled(states[-1], advance(running, Noticed(noticed, reason), seen), seen.now))
    return states


UPDATING = replace(AT_REST, deployment=deployment())
TO_THE_FIRST_BAKE = [Event.GREEN_READY, Event.SPLIT_ACKNOWLEDGED]


def test_a_canary_that_completes() -> None:
    events = [*TO_THE_FIRST_BAKE, Event.STEP_BAKED, Event.SPLIT_ACKNOWLEDGED, Event.LAST_STEP_BAKED, Event.BLUE_GONE]
    assert story([AT_REST, *deployed(UPDATING, events)]) == [
        "IN_SERVICE",
        "UPDATING",
        "UPDATING | Creating Launching 2 instance(s).",
        "UPDATING | ActivatingTraffic Activating traffic on canary capacity of 1 instance(s).",
        "UPDATING | Baking Baking for 30 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity of 1 instance(s).",
        "UPDATING | ActivatingTraffic Activating traffic on full capacity of 2 instance(s).",
        "UPDATING | Baking Baking for 20 seconds (TerminationWaitInSeconds) with traffic enabled on full capacity of 2 instance(s).",
        "UPDATING | Deleting Terminating 2 instance(s).",
        "IN_SERVICE",
        "IN_SERVICE | ",
    ]


def test_a_canary_that_rolls_back() -> None:
    states = deployed(UPDATING, [*TO_THE_FIRST_BAKE, Event.STOPPED, Event.BLUE_RESTORED, Event.GREEN_GONE], "It rang.")
    assert story([AT_REST, *states])[4:] == [
        "UPDATING | Baking Baking for 30 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity of 1 instance(s).",
        "ROLLING_BACK",
        "ROLLING_BACK | Deleting Terminating 2 instance(s).",
        "ROLLING_BACK | Deleting Terminating 2 instance(s).",
        "IN_SERVICE",
        "IN_SERVICE | ",
    ]
    last, _ = changes(states[-2], states[-1], 1.0, READY)
    assert last["detail"]["EndpointConfigName"] == "v1"
    assert last["detail"]["FailureReason"] == 'The update to "v2" was rolled back to "v1". It rang.'


def creating() -> Endpoint:
    policy = DeploymentPolicy(given=False)
    return Endpoint("Flights", 1.0, 1.0, deployment=replace(deployment(policy, creation=True)), requested_config="v2")


def test_a_creation() -> None:
    events = [*TO_THE_FIRST_BAKE, Event.LAST_STEP_BAKED, Event.BLUE_GONE]
    assert story(deployed(creating(), events)) == [
        "CREATING",
        "CREATING | Creating Launching 2 instance(s).",
        "CREATING | ActivatingTraffic Activating traffic on full capacity of 2 instance(s).",
        "CREATING | Baking Baking for 0 seconds (TerminationWaitInSeconds) with traffic enabled on full capacity of 2 instance(s).",
        "CREATING | ",
        "IN_SERVICE",
        "IN_SERVICE | ",
    ]


def test_a_creation_that_fails_and_its_deletion() -> None:
    states = deployed(creating(), [Event.STOPPED, Event.BLUE_RESTORED, Event.GREEN_GONE], "It cannot start.")
    assert story([*states, replace(states[-1], deleting=True), None]) == [
        "CREATING",
        "CREATING | Creating Launching 2 instance(s).",
        "CREATING | Deleting Terminating 2 instance(s).",
        "CREATING | Deleting Terminating 2 instance(s).",
        "FAILED",
        "FAILED | ",
        "DELETING",
        "DELETED",
    ]
    (failed, _) = changes(states[-2], states[-1], 1.0, READY)
    assert failed["detail"]["FailureReason"] == "It cannot start."
    assert failed["detail"]["EndpointConfigName"] == "v2"


def scaled(desired: Desired, phases: Sequence[ScalingPhase], *, back: bool = False) -> list[Endpoint]:
    blue = AT_REST.blue
    assert blue is not None
    scaling = Scaling("s", blue, rescaled(blue, [desired], 10), 0.0, 60.0)
    states = [AT_REST, replace(AT_REST, blue=fleet_of(scaling), scaling=scaling)]
    for phase in phases:
        scaling = advance_scaling(scaling, ScalingNoticed(phase, "So it is.", back=back), 1.0)
        states.append(scaling_loop._settled(states[-1], scaling, 1.0))
    return states


PHASES = (ScalingPhase.WEIGHING, ScalingPhase.SHRINKING, ScalingPhase.ENDED)


@pytest.mark.parametrize(
    ("desired", "stages"),
    [
        (Desired("AllTraffic", instance_count=6), ["Updating Scaling out desired instance count to 6.", "", ""]),
        (Desired("AllTraffic", instance_count=1), ["", "", "Updating Scaling in desired instance count to 1."]),
        (Desired("AllTraffic", weight=2.5), ["", "Updating Changing desired weight to 2.5.", ""]),
    ],
    ids=["out", "in", "weight"],
)
def test_a_change_of_weights_and_counts(desired: Desired, stages: list[str]) -> None:
    assert story(scaled(desired, PHASES)) == [
        "IN_SERVICE",
        "UPDATING",
        *[f"UPDATING | {stage}" for stage in stages],
        "IN_SERVICE",
        "IN_SERVICE | ",
    ]


def test_weights_that_wait_for_an_instance_to_answer() -> None:
    blue = fleet("v1", variants=("a", "b"))
    scaling = Scaling("s", blue, rescaled(blue, [Desired("a", 0.0)], 10), 0.0, 60.0)
    scaled_ = replace(AT_REST, blue=fleet_of(scaling), scaling=scaling)
    waits = "No instance is ready; weights change when one is."
    for a, b, told in ((2, 0, [None, waits]), (0, 1, [None, None])):
        assert [one.message for one in blue_progress(scaled_, {"e.a.v1": a, "e.b.v1": b})] == told


def test_one_that_is_taken_back() -> None:
    states = scaled(Desired("AllTraffic", instance_count=6), (ScalingPhase.SHRINKING, ScalingPhase.ENDED), back=True)
    assert story(states)[2:] == [
        "UPDATING | Updating Scaling out desired instance count to 6.",
        "UPDATING | Updating Scaling in desired instance count to 2.",
        "IN_SERVICE",
        "IN_SERVICE | ",
    ]


ROLLING = replace(CANARY, routing=Routing.ROLLING, step=CapacitySize(CapacityType.INSTANCE_COUNT, 1))
BATCH = [Event.SPLIT_ACKNOWLEDGED, Event.BATCH_BAKED, Event.BATCH_RETIRED, Event.BATCH_READY]


def test_a_rolling_update() -> None:
    states = deployed(
        replace(AT_REST, deployment=deployment(ROLLING)),
        [Event.GREEN_READY, *BATCH, Event.SPLIT_ACKNOWLEDGED, Event.LAST_STEP_BAKED, Event.BLUE_GONE],
    )
    assert story([AT_REST, *states]) == [
        "IN_SERVICE",
        "UPDATING",
        "UPDATING | Creating Launching 1 instance(s).",
        "UPDATING | ActivatingTraffic Activating traffic on partial capacity of 1 instance(s).",
        "UPDATING | Baking Baking for 30 seconds (WaitIntervalInSeconds) with traffic enabled on partial capacity of 1 instance(s).",
        "UPDATING | Deleting Terminating 1 instance(s).",
        "UPDATING | Creating Launching 1 instance(s).",
        "UPDATING | ActivatingTraffic Activating traffic on full capacity of 2 instance(s).",
        "UPDATING | Baking Baking for 30 seconds (WaitIntervalInSeconds) with traffic enabled on full capacity of 2 instance(s).",
        "UPDATING | Deleting Terminating 1 instance(s).",
        "IN_SERVICE",
        "IN_SERVICE | ",
    ]


def test_a_rolling_update_on_its_way_back() -> None:
    """Blue, of which a batch has gone, is started again."""
    events = [Event.GREEN_READY, *BATCH, Event.STOPPED, Event.BLUE_SHORT, Event.GREEN_SHED, Event.BATCH_RESTORED]
    states = deployed(replace(AT_REST, deployment=deployment(ROLLING)), events)
    assert story([AT_REST, *states])[8:] == [
        "ROLLING_BACK",
        "ROLLING_BACK | Deleting Terminating 2 instance(s).",
        "ROLLING_BACK | Deleting Terminating 2 instance(s).",
        "ROLLING_BACK | Creating Launching 1 instance(s).; Deleting Terminating 2 instance(s).",
        "ROLLING_BACK | Deleting Terminating 2 instance(s).",
    ]


def test_nothing_happened() -> None:
    """Neither tags, nor a wish to stop, nor a name for what runs are changes of a state."""
    asked = replace(UPDATING, tags=(), deployment=replace(deployment(), stop_requested="Please."))
    assert changes(UPDATING, asked, 1.0, READY) == []
    assert changes(None, None, 1.0, READY) == []
    assert changes(AT_REST, replace(AT_REST, experiment="x"), 1.0, READY) == []


def test_the_shape_of_a_deployments_event() -> None:
    """As the guide's example has it, member by member."""
    baking = replace(deployment(), phase=Phase.BAKING, step=0, phase_since=1090.5)
    (body,) = changes(UPDATING, replace(UPDATING, deployment=baking), 1090.5, READY)
    found = event(17, 1090.5, body, "eu-west-1", "123456789012")
    arn = "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/flights"
    identifier = found.pop("id")
    assert [len(part) for part in identifier.split("-")] == [8, 4, 4, 4, 12]
    assert found == {
        "version": "0",
        "detail-type": "SageMaker Endpoint Deployment State Change",
        "source": "aws.sagemaker",
        "account": "123456789012",
        "time": "1970-01-01T00:18:10Z",
        "region": "eu-west-1",
        "resources": [arn],
        "detail": {
            "EndpointName": "Flights",
            "EndpointArn": arn,
            "EndpointConfigName": "v1",
            "ProductionVariants": [
                {
                    "VariantName": "AllTraffic",
                    "CurrentWeight": 0.9,
                    "DesiredWeight": 1.0,
                    "CurrentInstanceCount": 2,
                    "DesiredInstanceCount": 2,
                }
            ],
            "EndpointStatus": "UPDATING",
            "CreationTime": 1000250,
            "LastModifiedTime": 1000250,
            "Tags": {"team": "air"},
            "PendingDeploymentSummary": {
                "EndpointConfigName": "v2",
                "StartTime": 1000000,
                "ProductionVariants": [
                    {
                        "VariantName": "AllTraffic",
                        "CurrentWeight": 0.1,
                        "DesiredWeight": 1.0,
                        "CurrentInstanceCount": 1,
                        "DesiredInstanceCount": 2,
                        "VariantStatus": [
                            {
                                "Status": "Baking",
                                "StatusMessage": "Baking for 30 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity of 1 instance(s).",
                                "StartTime": 1090500,
                            }
                        ],
                    }
                ],
            },
        },
    }
    assert json.loads(json.dumps(body)) == body


def test_who_does_not_see_instances_does_not_count_them() -> None:
    for body in changes(AT_REST, UPDATING, 1.0, None):
        assert "CurrentInstanceCount" not in json.dumps(body)
    assert "PendingDeploymentSummary" not in changes(AT_REST, UPDATING, 1.0, None)[0]["detail"]


def test_an_id_is_that_of_a_place_and_time() -> None:
    (body,) = changes(None, AT_REST, 1.0, READY)

    def identifier(*place: Any) -> str:
        return str(event(*place)["id"])

    here = identifier(7, 1.5, body, "us-east-1", "1")
    assert identifier(7, 1.5, body, "us-east-1", "1") == here
    others = [(8, 1.5, body, "us-east-1", "1"), (7, 1.6, body, "us-east-1", "1"), (7, 1.5, body, "us-east-2", "1")]
    assert len({here, *[identifier(*one) for one in others]}) == 4
