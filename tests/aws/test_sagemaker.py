"""Members that would change what is served are refused with a sentence, never ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.aws.control import Control

CONTAINER = {"Image": "bannister/python"}
SOURCE = {"S3Uri": "s3://b/k", "S3DataType": "S3Object", "CompressionType": "Gzip"}
VARIANT = {"VariantName": "main", "ModelName": "m", "InitialInstanceCount": 1}


@pytest.fixture
async def sagemaker(tmp_path: Path) -> Control:
    made = Control(tmp_path)
    await made.done("CreateModel", ModelName="m", PrimaryContainer=CONTAINER)
    return made


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"Mode": "MultiModel"}, "Mode MultiModel cannot be used: create one model per artifact"),
        ({"ModelPackageName": "p"}, "ModelPackageName cannot be used: there are no model packages"),
        (
            {"AdditionalModelDataSources": [{"ChannelName": "a", "S3DataSource": SOURCE}]},
            "AdditionalModelDataSources cannot be used: put everything",
        ),
    ],
)
async def test_containers_that_cannot_be_run(sagemaker: Control, changes: dict[str, Any], says: str) -> None:
    _, message = await sagemaker.refused("CreateModel", ModelName="n", PrimaryContainer=CONTAINER | changes)
    assert says in message
    assert (
        len(
            (
                await sagemaker.done(
                    "ListModels",
                )
            )["Models"]
        )
        == 1
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"ManagedInstanceScaling": {"Status": "ENABLED"}},
            "ManagedInstanceScaling is only supported for inference component endpoints.",
        ),
        (
            {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}},
            'Variant "main" has a ServerlessConfig and InitialInstanceCount; give one or the other',
        ),
    ],
)
async def test_variants_that_cannot_be_served(sagemaker: Control, changes: dict[str, Any], says: str) -> None:
    given = {"EndpointConfigName": "c", "ProductionVariants": [VARIANT | changes]}
    _, message = await sagemaker.refused("CreateEndpointConfig", **given)
    assert says in message


async def test_a_routing_strategy_is_stored_and_described(sagemaker: Control) -> None:
    variants = [
        {**VARIANT, "VariantName": strategy.lower()[:5], "RoutingConfig": {"RoutingStrategy": strategy}}
        for strategy in ("RANDOM", "LEAST_OUTSTANDING_REQUESTS")
    ]
    await sagemaker.done("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[*variants, VARIANT])
    described = await sagemaker.done("DescribeEndpointConfig", EndpointConfigName="c")
    found = [one.get("RoutingConfig") for one in described["ProductionVariants"]]
    assert found == [*(one["RoutingConfig"] for one in variants), None]
    await sagemaker.done("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    pending = (await sagemaker.done("DescribeEndpoint", EndpointName="e"))["PendingDeploymentSummary"]
    assert [one.get("RoutingConfig") for one in pending["ProductionVariants"]] == found


@pytest.mark.parametrize(
    "config",
    [
        {"RoutingStrategy": "KV_AWARE"},
        {
            "RoutingStrategy": "PREFIX_AWARE",
            "PrefixAwareRoutingConfig": {"PrefixLength": 1024, "ConcurrencyThreshold": 10},
        },
        {"RoutingStrategy": "RANDOM", "PrefixAwareRoutingConfig": {"PrefixLength": 1024, "ConcurrencyThreshold": 10}},
    ],
    ids=["by cache", "by prefix", "a prefix that is not used"],
)
async def test_routing_by_content_is_refused(sagemaker: Control, config: dict[str, Any]) -> None:
    variants = [{**VARIANT, "RoutingConfig": config}]
    _, message = await sagemaker.refused("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=variants)
    assert "give LEAST_OUTSTANDING_REQUESTS or RANDOM" in message


async def test_an_empty_member_is_refused_like_a_full_one(sagemaker: Control) -> None:
    given = {"EndpointConfigName": "c", "ProductionVariants": [VARIANT], "ExplainerConfig": {}}
    _, message = await sagemaker.refused("CreateEndpointConfig", **given)
    assert "ExplainerConfig cannot be used" in message
