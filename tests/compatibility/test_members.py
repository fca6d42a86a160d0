"""Every member of botocore's model of every supported operation does what it says, is given back, or is refused: no member is dropped without a word."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest
from tests.aws.control import Control
from tests.aws.test_conformance import VARIANT, settle, world
from tests.aws.wire.drawing import ours
from tests.compatibility.reading import (
    OPERATIONS,
    OWN,
    SERVICES,
    Seen,
    Site,
    bases,
    input_of,
    request_with,
    sites,
    structures,
)
from tests.experimenter.driving import Driver

from bannister.aws.call import Call, Service
from bannister.aws.wire.models import service_model

EACH = pytest.mark.parametrize(
    ("service", "operation"), OPERATIONS, ids=[f"{service.name}.{operation}" for service, operation in OPERATIONS]
)
RESERVATION: Final = "arn:aws:sagemaker:us-east-1:000000000000:training-plan/p"
SITES: Final = [site for service, operation in OPERATIONS for site in sites(service, operation)]


def classes(site: Site) -> list[str]:
    table = site.table
    if table is None:
        return []
    names = {"supported": table.supported.split(), "ignored": table.ignored, "refused": table.refused}
    return [name for name, members in names.items() if site.member in members]


@EACH
def test_every_member_is_in_one_class(service: Service, operation: str) -> None:
    """A member that a new botocore brings is in none, until somebody has decided."""
    wrong = {str(site): classes(site) for site in sites(service, operation) if len(classes(site)) != 1}
    assert not wrong


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_the_tables_name_nothing_that_the_model_has_not(service: Service) -> None:
    found: dict[str, Any] = {
        shape.name: shape for operation in service.handlers for _, shape in structures(input_of(service, operation))
    }
    for name, table in service.members.items():
        members = found[name].members
        assert not {*table.supported.split(), *table.ignored} - set(members), name
        for refused in table.refused:
            member, _, value = refused.partition("=")
            assert member in members, (name, refused)
            assert not value or value in members[member].metadata["enum"], (name, refused)


# --- what does what it says


def one_value(site: Site) -> bool:
    """There is but one value that is not refused, so nothing depends on it."""
    assert site.table is not None
    values = site.shape.metadata.get("enum", [])
    return len([value for value in values if f"{site.member}={value}" not in site.table.refused]) == 1


@EACH
async def test_every_supported_member_is_read(tmp_path: Path, service: Service, operation: str) -> None:
    shape, noted, rng = input_of(service, operation), set[tuple[str, str]](), random.Random(operation)
    wanted = [site for site in sites(service, operation) if classes(site) == ["supported"] and not one_value(site)]
    for site, base in product(wanted, bases(operation)):
        control = await world(tmp_path)
        handlers = {one.name: one.handlers for one in control.services}
        handler = handlers.get(service.name, service.handlers)[operation]
        params = Seen(shape, ours(request_with(site, rng, base)), noted)
        with suppress(Exception):  # what else the request lacks is not the question here
            await handler(Call(service.name, operation, params, "request", "us-east-1", "000000000000"))
    assert not {str(site) for site in wanted if (site.structure, site.member) not in noted}


@pytest.mark.parametrize("operation", [one for one in sorted(OWN.handlers) if input_of(OWN, one).members])
async def test_every_member_of_our_own_operations_is_read(tmp_path: Path, operation: str) -> None:
    noted, rng = set[tuple[str, str]](), random.Random(operation)
    wanted = list(sites(OWN, operation))
    for site, base in product(wanted, bases(operation)):
        control = await world(tmp_path)
        (handler,) = (one.handlers[operation] for one in control.services if one.name == OWN.name)
        params = Seen(input_of(OWN, operation), ours(request_with(site, rng, base)), noted)
        with suppress(Exception):  # as above
            await handler(Call(OWN.name, operation, params, "request", "us-east-1", "000000000000"))
    assert wanted
    assert not {str(site) for site in wanted if (site.structure, site.member) not in noted}


# --- what is refused


REFUSED: Final = [
    (site, refused, value)
    for site in SITES
    if site.table is not None and site.service.name in ("sagemaker", "cloudwatch")
    for refused in site.table.refused
    for member, _, value in (refused.partition("="),)
    if member == site.member
]


@pytest.mark.parametrize(
    ("site", "refused", "value"), REFUSED, ids=[f"{site}{value and '='}{value}" for site, _, value in REFUSED]
)
async def test_what_is_refused_is_refused_with_a_sentence(tmp_path: Path, site: Site, refused: str, value: str) -> None:
    control = await world(tmp_path)
    before = dict(control.state._medium.writes)
    assert site.table is not None
    reply = await control.ask(
        site.service.name, site.operation, request_with(site, random.Random(0), bases(site.operation)[0], value or None)
    )
    assert reply.status == 400, reply
    assert site.member in reply.message
    assert site.table.refused[refused] in reply.message
    assert control.state._medium.writes == before


async def test_members_that_ask_for_nothing_are_not_refused(control: Control) -> None:
    quiet = {"EnableEnhancedMetrics": False, "MetricPublishFrequencyInSeconds": 60}
    given = {"EndpointConfigName": "c", "ProductionVariants": [VARIANT], "MetricsConfig": quiet}
    await control.done("CreateEndpointConfig", **given)
    assert (await control.done("DescribeEndpointConfig", EndpointConfigName="c"))["MetricsConfig"] == quiet


# --- what comes back


@dataclass(frozen=True)
class Described:
    """Where what a request gave is seen again."""

    operation: str
    params: Mapping[str, Any]
    #: The part of the answer.
    answer: tuple[str, ...] = ()
    #: The part of the request.
    request: tuple[str, ...] = ()


_COMPOSITE: Final = {"AlarmNames": ["b"], "AlarmTypes": ["CompositeAlarm"]}
DESCRIBED: Final[Mapping[str, Described]] = {
    "CreateModel": Described("DescribeModel", {"ModelName": "fresh"}),
    "CreateEndpointConfig": Described("DescribeEndpointConfig", {"EndpointConfigName": "fresh"}),
    "CreateEndpoint": Described(
        "DescribeEndpoint", {"EndpointName": "fresh"}, ("LastDeploymentConfig",), ("DeploymentConfig",)
    ),
    "UpdateEndpoint": Described(
        "DescribeEndpoint", {"EndpointName": "e"}, ("LastDeploymentConfig",), ("DeploymentConfig",)
    ),
    "CreateInferenceExperiment": Described("DescribeInferenceExperiment", {"Name": "y"}),
    "UpdateInferenceExperiment": Described("DescribeInferenceExperiment", {"Name": "x"}),
    "PutMetricAlarm": Described("DescribeAlarms", {"AlarmNames": ["a"]}, ("MetricAlarms", "[]")),
    "PutCompositeAlarm": Described("DescribeAlarms", _COMPOSITE, ("CompositeAlarms", "[]")),
}


def shown(shape: Any, given: Any, described: Any) -> bool:
    """Whether a description has all that was given and that AWS describes."""
    match given:
        case dict() if shape.type_name == "structure":
            return isinstance(described, dict) and all(
                name in described and shown(shape.members[name], value, described[name])
                for name, value in given.items()
                if name in shape.members
            )
        case list() if shape.member.name == "Dimension":  # their order means nothing
            return {str(one) for one in given} == {str(one) for one in described}
        case list():
            same = isinstance(described, list) and len(described) == len(given)
            return same and all(shown(shape.member, one, other) for one, other in zip(given, described, strict=True))
        case _:
            return bool(given == described)


#: AWS: a serverless variant has no shadow.
NEVER: Final = {"CreateEndpointConfig.ShadowProductionVariants.[].ServerlessConfig"}
CREATED: Final = [
    site
    for site in SITES
    if (told := DESCRIBED.get(site.operation)) is not None
    and site.path[: len(told.request)] == told.request
    and "refused" not in classes(site)
    and str(site) not in NEVER
]


@pytest.mark.parametrize("site", CREATED, ids=str)
async def test_what_was_given_comes_back(tmp_path: Path, site: Site) -> None:
    """With every member in turn, with and without effect, as far as AWS describes it."""
    told = DESCRIBED[site.operation]
    refusals = []
    for base in bases(site.operation):
        if base is None:
            continue
        control = await world(tmp_path)
        await Driver(control.state, control.clock, control.context.ids, control.context.settings).settle()
        await control.context.objects.create_bucket("bucket", control.clock.now())
        await control.context.objects.put("bucket", "key", _bytes(), control.clock.now())
        given = request_with(site, random.Random(0), base)
        reply = await control.ask(site.service.name, site.operation, given)
        if reply.status != 200:
            refusals.append(reply.message)
            continue
        described: Any = await control.done(told.operation, site.service.name, **told.params)
        shape: Any = service_model(site.service.name).operation_model(told.operation).output_shape
        for step in told.request:
            given = given[step]
        for step in told.answer:
            described, shape = (described[0], shape.member) if step == "[]" else (described[step], shape.members[step])
        assert shown(shape, given, described), (given, described)
        return
    raise AssertionError(refusals)


async def _bytes() -> AsyncIterator[bytes]:
    yield b"model"


# --- what is different from AWS


async def test_an_instance_type_need_not_be_given(control: Control) -> None:
    variant = {name: value for name, value in VARIANT.items() if name != "InstanceType"}
    await control.done("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[variant])
    (found,) = (await control.done("DescribeEndpointConfig", EndpointConfigName="c"))["ProductionVariants"]
    assert found["InstanceType"] == "ml.m5.large"


async def test_what_an_endpoint_says_of_what_it_runs(tmp_path: Path) -> None:
    control = await world(tmp_path)
    variant = {**VARIANT, "CapacityReservationConfig": {"MlReservationArn": RESERVATION}}
    more = {"MetricsConfig": {"MetricPublishFrequencyInSeconds": 60}}
    await control.done("CreateEndpointConfig", EndpointConfigName="said", ProductionVariants=[variant], **more)
    await control.done("CreateEndpoint", EndpointName="fresh", EndpointConfigName="said")
    await settle(control, "fresh")
    described = await control.done("DescribeEndpoint", EndpointName="fresh")
    assert "MetricsConfig" not in described
    (found,) = described["ProductionVariants"]
    assert "CapacityReservationConfig" not in found
    assert found["DeployedImages"] == [{"SpecifiedImage": "i", "ResolvedImage": "i"}]
    config = await control.done("DescribeEndpointConfig", EndpointConfigName="said")
    assert config["MetricsConfig"] == more["MetricsConfig"]
    assert config["ProductionVariants"][0]["CapacityReservationConfig"] == variant["CapacityReservationConfig"]


@pytest.mark.parametrize(
    ("operation", "given", "says"),
    [
        (
            "CreateModel",
            {"ModelName": "n", "Containers": [{"Image": "i"}, {"Image": "i"}]},
            "inference pipelines are not supported",
        ),
        (
            "CreateModel",
            {
                "ModelName": "n",
                "PrimaryContainer": {"Image": "i", "ModelDataUrl": "https://b.s3.us-east-1.amazonaws.com/k"},
            },
            "is not an s3://bucket/key URL",
        ),
        (
            "CreateEndpointConfig",
            {"EndpointConfigName": "n", "ProductionVariants": [{"VariantName": "v", "InitialInstanceCount": 1}]},
            "inference components are not supported",
        ),
        (
            "UpdateEndpointWeightsAndCapacities",
            {"EndpointName": "e", "DesiredWeightsAndCapacities": [{"VariantName": "v", "DesiredInstanceCount": 0}]},
            "DesiredInstanceCount",
        ),
    ],
)
async def test_what_aws_has_and_is_not_here(tmp_path: Path, operation: str, given: dict[str, Any], says: str) -> None:
    control = await world(tmp_path)
    before = dict(control.state._medium.writes)
    _, message = await control.refused(operation, **given)
    assert says in message
    assert control.state._medium.writes == before
