"""Members that would change what is served are refused with a sentence, never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bannister.aws.call import Call
from bannister.aws.sagemaker import service
from bannister.clock import SystemClock
from bannister.errors import Refused
from bannister.ids import SeededIds
from bannister.metrics.memory import MemoryMetrics
from bannister.objects.memory import MemoryObjects
from bannister.operations.context import Context
from bannister.settings import Settings
from bannister.state.memory import MemoryState

CONTAINER = {"Image": "bannister/python"}
VARIANT = {"VariantName": "main", "ModelName": "m", "InitialInstanceCount": 1}


class SageMaker:
    """The operations without a door: parameters in, members out."""

    def __init__(self, context: Context) -> None:
        self._handlers = service(context).handlers

    async def perform(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        call = Call("sagemaker", operation, dict(params), "request", "us-east-1", "000000000000")
        return await self._handlers[operation](call)


@pytest.fixture
async def sagemaker(tmp_path: Path) -> SageMaker:
    settings = Settings(tmp_path)
    context = Context(
        state=MemoryState(),
        metrics=MemoryMetrics(settings),
        objects=MemoryObjects(settings.object_bytes_max),
        clock=SystemClock(),
        ids=SeededIds(1),
        settings=settings,
        image_refusal=lambda image: None,
        ready_instances=dict,
    )
    made = SageMaker(context)
    await made.perform("CreateModel", {"ModelName": "m", "PrimaryContainer": CONTAINER})
    return made


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"Mode": "MultiModel"}, "Mode MultiModel is not supported"),
        ({"ModelPackageName": "p"}, "ModelPackageName is not supported"),
        ({"AdditionalModelDataSources": [{"ChannelName": "a"}]}, "AdditionalModelDataSources is not supported"),
    ],
)
async def test_containers_that_cannot_be_run(sagemaker: SageMaker, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(Refused, match=says):
        await sagemaker.perform("CreateModel", {"ModelName": "n", "PrimaryContainer": CONTAINER | changes})
    assert len((await sagemaker.perform("ListModels", {}))["Models"]) == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"ManagedInstanceScaling": {"Status": "ENABLED"}},
            r"^ManagedInstanceScaling is only supported for inference component endpoints\.$",
        ),
        (
            {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}},
            'Variant "main" has a ServerlessConfig and InitialInstanceCount; give one or the other',
        ),
    ],
)
async def test_variants_that_cannot_be_served(sagemaker: SageMaker, changes: dict[str, Any], says: str) -> None:
    given = {"EndpointConfigName": "c", "ProductionVariants": [VARIANT | changes]}
    with pytest.raises(Refused, match=says):
        await sagemaker.perform("CreateEndpointConfig", given)


async def test_a_routing_strategy_is_stored_and_described(sagemaker: SageMaker) -> None:
    variants = [
        {**VARIANT, "VariantName": strategy.lower()[:6], "RoutingConfig": {"RoutingStrategy": strategy}}
        for strategy in ("RANDOM", "LEAST_OUTSTANDING_REQUESTS")
    ]
    await sagemaker.perform(
        "CreateEndpointConfig", {"EndpointConfigName": "c", "ProductionVariants": [*variants, VARIANT]}
    )
    described = await sagemaker.perform("DescribeEndpointConfig", {"EndpointConfigName": "c"})
    found = [one["RoutingConfig"] for one in described["ProductionVariants"]]
    assert found == [*(one["RoutingConfig"] for one in variants), None]
    await sagemaker.perform("CreateEndpoint", {"EndpointName": "e", "EndpointConfigName": "c"})
    pending = (await sagemaker.perform("DescribeEndpoint", {"EndpointName": "e"}))["PendingDeploymentSummary"]
    assert [one["RoutingConfig"] for one in pending["ProductionVariants"]] == found


@pytest.mark.parametrize(
    "config",
    [
        {"RoutingStrategy": "KV_AWARE"},
        {"RoutingStrategy": "PREFIX_AWARE", "PrefixAwareRoutingConfig": {"PrefixLength": 1, "ConcurrencyThreshold": 1}},
        {"RoutingStrategy": "RANDOM", "PrefixAwareRoutingConfig": {"PrefixLength": 1, "ConcurrencyThreshold": 1}},
    ],
    ids=["by cache", "by prefix", "a prefix that is not used"],
)
async def test_routing_by_content_is_refused(sagemaker: SageMaker, config: dict[str, Any]) -> None:
    variants = [{**VARIANT, "RoutingConfig": config}]
    with pytest.raises(Refused, match="can be LEAST_OUTSTANDING_REQUESTS or RANDOM"):
        await sagemaker.perform("CreateEndpointConfig", {"EndpointConfigName": "c", "ProductionVariants": variants})


async def test_an_empty_member_is_refused_like_a_full_one(sagemaker: SageMaker) -> None:
    given = {"EndpointConfigName": "c", "ProductionVariants": [VARIANT], "ExplainerConfig": {}}
    with pytest.raises(Refused, match="ExplainerConfig cannot be used"):
        await sagemaker.perform("CreateEndpointConfig", given)
