"""Models and endpoint configurations that could never run are refused, and listings go on only where they stopped."""

import math
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bannister.clock import SystemClock
from bannister.domain.deployment.admission import Retention
from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing
from bannister.domain.endpoint import Variant
from bannister.domain.model import CONTRACT, SUBMIT_DIRECTORY_VARIABLE, Container, Paths
from bannister.errors import Invalid, NotFound
from bannister.ids import SeededIds
from bannister.metrics.memory import MemoryMetrics
from bannister.objects.memory import MemoryObjects
from bannister.operations.context import Context
from bannister.operations.endpoint_configs import create_endpoint_config
from bannister.operations.endpoints import create_endpoint, describe_endpoint, update_endpoint
from bannister.operations.listing import ListRequest
from bannister.operations.models import create_model, describe_model, list_models
from bannister.settings import Settings
from bannister.state.memory import MemoryState
from bannister.state.store import Put
from bannister.state.tables import ENDPOINTS, MODELS


@pytest.fixture
def context(tmp_path: Path) -> Context:
    settings = Settings(tmp_path)
    return Context(
        state=MemoryState(),
        metrics=MemoryMetrics(settings),
        objects=MemoryObjects(settings.object_bytes_max),
        clock=SystemClock(),
        ids=SeededIds(1),
        settings=settings,
        image_refusal=lambda image: None,
        ready_instances=dict,
    )


async def models(context: Context, *names: str) -> None:
    for name in names:
        await create_model(context, name, Container("bannister/python"))


async def test_an_update_without_a_policy_does_not_forget_the_one_to_retain(context: Context) -> None:
    guarded = DeploymentPolicy(wait_seconds=7)
    await models(context, "m")
    for name in ("c1", "c2"):
        await create_endpoint_config(context, name, [Variant("a", "m", 1)])
    await create_endpoint(context, "e", "c1", guarded)
    await comes_into_service(context, "e")
    await update_endpoint(context, "e", "c2")
    await comes_into_service(context, "e")
    assert (await describe_endpoint(context, "e")).last_policy == guarded
    retained = await update_endpoint(context, "e", "c1", retention=Retention(policy=True))
    assert retained.deployment is not None
    assert retained.deployment.policy == guarded


async def test_a_policy_that_no_update_could_use_is_refused_at_creation(context: Context) -> None:
    await models(context, "m")
    await create_endpoint_config(context, "c1", [Variant("a", "m", 1)])
    canary = DeploymentPolicy(Routing.CANARY, CapacitySize(CapacityType.CAPACITY_PERCENT, 80))
    with pytest.raises(Invalid, match="80 % is not allowed"):
        await create_endpoint(context, "e", "c1", canary)
    assert not await context.state.rows(ENDPOINTS)


async def comes_into_service(context: Context, name: str) -> None:
    row = await context.state.get(ENDPOINTS, name)
    assert row is not None
    assert row.value.deployment is not None
    served = replace(row.value, blue=row.value.deployment.green, deployment=None)
    await context.state.commit([Put(ENDPOINTS, name, served, row.revision)])


@pytest.mark.parametrize("weight", [math.inf, math.nan, 1e300, -1.0])
async def test_a_weight_that_is_no_finite_number_of_32_bits_is_refused(context: Context, weight: float) -> None:
    await models(context, "m")
    with pytest.raises(Invalid, match='InitialVariantWeight of variant "a"'):
        await create_endpoint_config(context, "c", [Variant("a", "m", 1, weight), Variant("b", "m", 1)])


async def test_an_environment_that_no_process_can_have_is_refused(context: Context) -> None:
    with pytest.raises(Invalid, match="The value of KEY in Environment has a NUL"):
        await create_model(context, "m", Container("bannister/python", environment={"KEY": "a\0b"}))


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("{", "Line 1 of BANNISTER_WARMUP is no warm-up request: "),
        ('{"body": [1]}\n{"body": "a,b"}', "Line 2 of BANNISTER_WARMUP is no warm-up request: give its content_type."),
        ('{"body": [1], "count": 1001}', "BANNISTER_WARMUP has 1001 warm-up requests; it may have 1000."),
    ],
)
async def test_warm_up_requests_that_are_none_are_refused(context: Context, lines: str, says: str) -> None:
    container = Container("bannister/python", environment={"BANNISTER_WARMUP": lines})
    with pytest.raises(Invalid, match=re.escape(says)):
        await create_model(context, "m", container)
    with pytest.raises(NotFound):
        await describe_model(context, "m")
    for good in ("", '{"body": [1], "count": 1000}\n'):
        await create_model(context, f"m{len(good)}", replace(container, environment={"BANNISTER_WARMUP": good}))


@pytest.mark.parametrize(("given", "asked"), [("Name", "CreationTime"), ("CreationTime", "Name"), ("Name", "Status")])
async def test_a_token_is_good_for_the_order_it_was_given_for(context: Context, given: str, asked: str) -> None:
    await models(context, "a", "b", "c")
    token = (await list_models(context, ListRequest(sort_by=given, limit=1))).token
    following = await list_models(context, ListRequest(sort_by=given, limit=1, token=token))
    assert [model.name for model in following.items] == ["b"]
    with pytest.raises(Invalid, match="NextToken"):
        await list_models(context, ListRequest(sort_by=asked, limit=1, token=token))


async def test_code_in_an_archive_of_its_own_must_be_there(context: Context) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b""

    await context.objects.create_bucket("code", 0.0)
    await context.objects.put("code", "model", content(), 0.0)
    there = Container("i", "s3://code/model", {SUBMIT_DIRECTORY_VARIABLE: "s3://code/sourcedir"})
    assert there.code_url == "s3://code/sourcedir"
    with pytest.raises(Invalid, match="Could not find the code of SAGEMAKER_SUBMIT_DIRECTORY in Environment"):
        await create_model(context, "m", there)
    await context.objects.put("code", "sourcedir", content(), 0.0)
    await create_model(context, "m", there)
    for folder in ("/opt/ml/model/code", "file:///opt/ml/model/code", ""):
        assert replace(there, environment={SUBMIT_DIRECTORY_VARIABLE: folder}).code_url is None
    assert replace(there, artifact_url=None).code_url is None, "there is nothing that it could belong into"


async def test_a_model_keeps_the_paths_that_it_was_created_with(context: Context) -> None:
    rows = {"own": Paths("/health", "/predict")}
    context = replace(context, image_paths=lambda image: rows.get(image, CONTRACT))
    await create_model(context, "own", Container("own"))
    await create_model(context, "said", Container("own", environment={"BANNISTER_PING_PATH": "/up"}))
    await create_model(context, "plain", Container("bannister/python"))
    rows.clear()
    await create_endpoint_config(
        context, "c", [Variant("a", "own", 1), Variant("b", "said", 1), Variant("c", "plain", 1)]
    )
    endpoint = await create_endpoint(context, "e", "c")
    assert endpoint.deployment is not None
    groups = endpoint.deployment.green.groups
    assert [group.traits.paths for group in groups] == [
        Paths("/health", "/predict"),
        Paths("/up", "/predict"),
        CONTRACT,
    ]


async def test_a_model_whose_path_is_none_is_refused(context: Context) -> None:
    with pytest.raises(
        Invalid, match="BANNISTER_INVOCATIONS_PATH in Environment is 'predict'; it must be the path of a URL"
    ):
        await create_model(context, "m", Container("own", environment={"BANNISTER_INVOCATIONS_PATH": "predict"}))
    assert not await context.state.rows(MODELS)
