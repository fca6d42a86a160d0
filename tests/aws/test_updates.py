"""Updates of endpoints on the wire: what is kept, what is refused, and what is described of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.aws.control import Control
from tests.aws.test_conformance import CANARY, EXPERIMENT, VARIANT, experiment_variant, settle, world

from bannister.state.tables import ENDPOINTS

INF1 = {**VARIANT, "InstanceType": "ml.inf1.xlarge"}


@pytest.fixture
async def control(tmp_path: Path) -> Control:
    return await world(tmp_path)


async def test_an_update_without_guardrails_says_so_and_keeps_the_policy_that_was_given(control: Control) -> None:
    await control.done("CreateEndpointConfig", EndpointConfigName="inferentia", ProductionVariants=[INF1])
    await control.done("UpdateEndpoint", EndpointName="e", EndpointConfigName="inferentia", DeploymentConfig=CANARY)
    described = await control.done("DescribeEndpoint", EndpointName="e")
    assert described["LastDeploymentConfig"] == CANARY
    found = await control.done("DescribeDeployment", "bannister", EndpointName="e")
    assert [(one["GreenPercent"], one["BakeSeconds"]) for one in found["Steps"]] == [(100.0, 0)]
    assert found["Policy"]["AlarmNames"] == ["a"]
    warning = found["Warnings"][0]
    assert (warning["VariantName"], warning["Kind"]) == ("v", "guardrails do not apply")
    assert "of type ml.inf1.xlarge, which AWS excludes from deployment guardrails" in warning["Reason"]
    await settle(control, "e")
    # What is retained is what was given: it guards again once no instance is excluded, neither of those that go nor of those that come.
    for config, bakes in (("c", [0]), ("c2", [60, 60])):
        await control.done("UpdateEndpoint", EndpointName="e", EndpointConfigName=config, RetainDeploymentConfig=True)
        found = await control.done("DescribeDeployment", "bannister", EndpointName="e")
        assert [one["BakeSeconds"] for one in found["Steps"]] == bakes
        assert [one["Kind"] for one in found["Warnings"]].count("guardrails do not apply") == (bakes == [0])
        await settle(control, "e")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"RetainDeploymentConfig": True}, 'Endpoint "e" has no deployment configuration to retain'),
        (
            {"RetainDeploymentConfig": True, "DeploymentConfig": CANARY},
            "DeploymentConfig or RetainDeploymentConfig=true",
        ),
    ],
    ids=["nothing to retain", "two at once"],
)
async def test_what_cannot_be_retained(control: Control, given: dict[str, Any], says: str) -> None:
    before = dict(control.state._medium.writes)
    code, message = await control.refused("UpdateEndpoint", EndpointName="e", EndpointConfigName="c2", **given)
    assert code == "ValidationException"
    assert says in message
    assert control.state._medium.writes == before


@pytest.mark.parametrize(
    ("operation", "given", "member"),
    [
        (
            "CreateEndpointConfig",
            {"EndpointConfigName": "many", "ProductionVariants": [{**VARIANT, "InitialInstanceCount": 65}]},
            "InitialInstanceCount",
        ),
        (
            "UpdateEndpointWeightsAndCapacities",
            {"EndpointName": "e", "DesiredWeightsAndCapacities": [{"VariantName": "v", "DesiredInstanceCount": 65}]},
            "DesiredInstanceCount",
        ),
        (
            "CreateInferenceExperiment",
            {
                **EXPERIMENT,
                "EndpointName": "fresh",
                "ModelVariants": [experiment_variant("v", "m", 65), experiment_variant("w", "m2")],
            },
            "InstanceCount",
        ),
    ],
    ids=["configuration", "capacity", "experiment"],
)
async def test_more_instances_than_there_may_be_are_a_limit_that_is_exceeded(
    control: Control, operation: str, given: dict[str, Any], member: str
) -> None:
    before = dict(control.state._medium.writes)
    assert await control.refused(operation, **given) == (
        "ResourceLimitExceeded",
        f'{member} of variant "v" is 65; the setting instances_per_variant_max allows 64.',
    )
    assert control.state._medium.writes == before


async def test_an_update_to_the_configuration_in_use_brings_new_instances_of_it(control: Control) -> None:
    async def groups() -> set[str]:
        row = await control.context.state.get(ENDPOINTS, "e")
        assert row is not None
        assert row.value.blue is not None
        return {group.id for group in row.value.blue.groups}

    before = await groups()
    await control.done("UpdateEndpoint", EndpointName="e", EndpointConfigName="c")
    described = await control.done("DescribeEndpoint", EndpointName="e")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("Updating", "c")
    assert described["PendingDeploymentSummary"]["EndpointConfigName"] == "c"
    await settle(control, "e")
    assert not before & await groups()
