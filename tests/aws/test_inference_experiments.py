"""Inference experiments as unmodified boto3 meets them: over HTTP, through the gateway, every answer checked against AWS's model."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.validate import ParamValidator
from tests.aws.listening import listening
from tests.domain.deployment.worlds import fleet
from tests.experimenter.driving import Driver, SetClock

from bannister.aws import sagemaker
from bannister.aws.gateway import Gateway
from bannister.aws.wire import validate
from bannister.aws.wire.models import operation_model
from bannister.clock import SystemClock
from bannister.domain.endpoint import Endpoint
from bannister.domain.model import Container, Model
from bannister.ids import SeededIds
from bannister.metrics.memory import MemoryMetrics
from bannister.objects.memory import MemoryObjects
from bannister.operations.context import Context
from bannister.settings import Settings
from bannister.state.memory import MemoryState
from bannister.state.store import Put
from bannister.state.tables import ENDPOINTS, EXPERIMENTS, MODELS

NOW = 1_800_000_000.0
START = datetime.fromtimestamp(NOW, tz=UTC)


def variant(name: str, model: str, count: int = 1) -> dict[str, Any]:
    return {
        "ModelName": model,
        "VariantName": name,
        "InfrastructureConfig": {
            "InfrastructureType": "RealTimeInference",
            "RealTimeInferenceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": count},
        },
    }


def mode(percent: int = 100) -> dict[str, Any]:
    return {
        "SourceModelVariantName": "AllTraffic",
        "ShadowModelVariants": [{"ShadowModelVariantName": "Shadow-01", "SamplingPercentage": percent}],
    }


ASKED: dict[str, Any] = {
    "Name": "Flights-Shadow",
    "Type": "ShadowMode",
    "RoleArn": "arn:aws:iam::111111111111:role/role",
    "EndpointName": "e",
    "ModelVariants": [variant("AllTraffic", "model-v1", 2), variant("Shadow-01", "candidate")],
    "ShadowModeConfig": mode(),
}
STORAGE = {
    "Destination": "s3://captured/flights/",
    "KmsKey": "key",
    "ContentType": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
}


class Door:
    """boto3, and what happens behind the door."""

    def __init__(self, client: Any, driver: Driver, clock: SetClock) -> None:
        self.client = client
        self.driver = driver
        self.clock = clock

    def call(self, operation: str, **params: Any) -> dict[str, Any]:
        """The answer, which has all that AWS's model requires, and nothing that it does not know."""
        method = "".join(f"_{one.lower()}" if one.isupper() else one for one in operation).lstrip("_")
        answer = dict(getattr(self.client, method)(**params))
        answer.pop("ResponseMetadata")
        model = operation_model("sagemaker", operation)
        assert model is not None
        report = ParamValidator().validate(answer, model.output_shape)
        assert not report.has_errors(), report.generate_report()
        assert validate.violations(model.output_shape, _in_wire_types(answer)) is None
        return answer

    def refused(self, operation: str, **params: Any) -> tuple[str, str]:
        """Code and message."""
        with pytest.raises(self.client.exceptions.ClientError) as refused:
            self.call(operation, **params)
        error = refused.value.response["Error"]
        return error["Code"], error["Message"]


def _in_wire_types(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _in_wire_types(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_in_wire_types(item) for item in value]
    return value.timestamp() if isinstance(value, datetime) else value


async def nothing_here(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def waits_for_nothing() -> str | None:
    return None


@pytest.fixture(scope="module")
def session() -> Any:
    return boto3.Session(aws_access_key_id="any", aws_secret_access_key="any", region_name="us-east-1")


@pytest.fixture
async def door(tmp_path: Path, session: Any) -> Iterator[Door]:  # type: ignore[misc]
    settings, clock, ids, state = Settings(tmp_path), SetClock(NOW), SeededIds(1), MemoryState()
    context = Context(
        state=state,
        metrics=MemoryMetrics(settings),
        objects=MemoryObjects(settings.object_bytes_max),
        clock=clock,
        ids=ids,
        settings=settings,
        image_refusal=lambda _: None,
        ready_instances=dict,
    )
    models = [Model(name, Container("bannister/python"), 0.0) for name in ("model-v1", "candidate")]
    await state.commit([Put(MODELS, one.name, one, 0) for one in models])
    await state.commit([Put(ENDPOINTS, "e", Endpoint("e", 0.0, 0.0, blue=fleet("v1")), 0)])
    gateway = Gateway(settings, ids, SystemClock(), [sagemaker.service(context)], nothing_here, waits_for_nothing)
    with listening(gateway) as port:
        client = session.client(
            "sagemaker",
            endpoint_url=f"http://127.0.0.1:{port}",
            config=Config(retries={"total_max_attempts": 1}),
        )
        yield Door(client, Driver(state, clock, ids, settings), clock)


async def test_the_life_of_an_experiment(door: Door) -> None:
    arn = "arn:aws:sagemaker:us-east-1:000000000000:inference-experiment/flights-shadow"
    created = door.call(
        "CreateInferenceExperiment", **ASKED, DataStorageConfig=STORAGE, Description="words", KmsKey="volume"
    )
    assert created == {"InferenceExperimentArn": arn}
    found = door.call("DescribeInferenceExperiment", Name="Flights-Shadow")
    assert (found["Arn"], found["Status"], found["Type"]) == (arn, "Creating", "ShadowMode")
    assert found["Schedule"] == {"StartTime": START, "EndTime": START + timedelta(days=7)}
    assert found["DataStorageConfig"] == STORAGE
    assert (found["Description"], found["KmsKey"], found["RoleArn"]) == ("words", "volume", ASKED["RoleArn"])
    assert found["ShadowModeConfig"] == mode()
    assert found["EndpointMetadata"] == {
        "EndpointName": "e",
        "EndpointConfigName": "v1",
        "EndpointStatus": "InService",
    }
    statuses = [(one["VariantName"], one.pop("Status")) for one in found["ModelVariants"]]
    assert statuses == [("AllTraffic", "InService"), ("Shadow-01", "Creating")]
    assert found["ModelVariants"] == ASKED["ModelVariants"]

    await door.driver.settle()
    found = door.call("DescribeInferenceExperiment", Name="Flights-Shadow")
    assert (found["Status"], found["EndpointMetadata"]["EndpointStatus"]) == ("Starting", "Updating")
    assert [one["Status"] for one in found["ModelVariants"]] == ["Updating", "Creating"]
    await door.driver.complete("e")
    found = door.call("DescribeInferenceExperiment", Name="Flights-Shadow")
    assert found["Status"] == "Running"
    config = door.call("DescribeEndpointConfig", EndpointConfigName=found["EndpointMetadata"]["EndpointConfigName"])
    assert config["ShadowProductionVariants"][0]["InitialVariantWeight"] == 1.0
    endpoint = door.call("DescribeEndpoint", EndpointName="e")
    assert [one["VariantName"] for one in endpoint["ShadowProductionVariants"]] == ["Shadow-01"]

    door.call("UpdateInferenceExperiment", Name="Flights-Shadow", ShadowModeConfig=mode(20))
    assert door.call("DescribeInferenceExperiment", Name="Flights-Shadow")["Status"] == "Updating"
    await door.driver.settle()
    assert door.call("DescribeInferenceExperiment", Name="Flights-Shadow")["ShadowModeConfig"] == mode(20)

    door.clock.at += 60
    stopped = door.call(
        "StopInferenceExperiment",
        Name="Flights-Shadow",
        ModelVariantActions={"Shadow-01": "Promote", "AllTraffic": "Remove"},
        DesiredState="Completed",
        Reason="it is better",
    )
    assert stopped == {"InferenceExperimentArn": arn}
    await door.driver.settle()
    await door.driver.complete("e")
    found = door.call("DescribeInferenceExperiment", Name="Flights-Shadow")
    assert (found["Status"], found["StatusReason"]) == ("Completed", "it is better")
    assert found["CompletionTime"] == START + timedelta(seconds=60)
    assert [one["Status"] for one in found["ModelVariants"]] == ["Deleted", "InService"]
    assert door.call("DeleteInferenceExperiment", Name="Flights-Shadow") == {"InferenceExperimentArn": arn}
    code, message = door.refused("DescribeInferenceExperiment", Name="Flights-Shadow")
    assert (code, message) == ("ResourceNotFound", f'Could not find inference experiment "{arn}".')


async def test_listing_filters_sorts_and_pages(door: Door) -> None:
    for number in range(4):
        door.clock.at = NOW + 10 * number
        door.call("CreateInferenceExperiment", **(ASKED | {"Name": f"x{number}", "EndpointName": f"new{number}"}))
    door.call("StopInferenceExperiment", Name="x2", ModelVariantActions={"Shadow-01": "Remove"}, Reason="why")
    await door.driver.settle()
    pages = door.client.get_paginator("list_inference_experiments").paginate(PaginationConfig={"PageSize": 3})
    assert [one["Name"] for page in pages for one in page["InferenceExperiments"]] == ["x3", "x2", "x1", "x0"]

    def names(**params: Any) -> list[str]:
        return [one["Name"] for one in door.call("ListInferenceExperiments", **params)["InferenceExperiments"]]

    assert names(SortBy="Name", SortOrder="Ascending", MaxResults=2) == ["x0", "x1"]
    assert names(SortBy="Status", SortOrder="Ascending")[0] == "x2"
    assert names(StatusEquals="Cancelled", Type="ShadowMode") == ["x2"]
    assert names(NameContains="X1") == ["x1"]
    assert names(CreationTimeAfter=START + timedelta(seconds=20)) == ["x3", "x2"]
    assert names(CreationTimeBefore=START + timedelta(seconds=10)) == ["x0"]
    assert names(LastModifiedTimeBefore=START + timedelta(seconds=1)) == []
    (one,) = door.call("ListInferenceExperiments", StatusEquals="Cancelled")["InferenceExperiments"]
    assert (one["StatusReason"], one["Type"]) == ("why", "ShadowMode")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"Name": "no_underscore"}, "Member must satisfy regular expression pattern"),
        ({"ShadowModeConfig": mode(101)}, "less than or equal to 100"),
        ({"ShadowModeConfig": mode(-1)}, "it must be 0 to 100"),
        ({"Type": "Other"}, "enum value set"),
        ({"ModelVariants": [variant("Shadow-01", "candidate")]}, "ModelVariants must describe"),
        ({"ModelVariants": [variant("AllTraffic", "model-v1"), variant("b", "candidate")]}, '"Shadow-01", each once'),
        (
            {"DataStorageConfig": {"Destination": "https://x/y"}},
            "Destination is https://x/y; captured records are written to",
        ),
        ({"DataStorageConfig": {"Destination": "s3://Bad_Bucket/x"}}, "Destination is s3://Bad_Bucket/x. "),
        ({"DataStorageConfig": {"Destination": "s3://[x/y"}}, "Destination is s3://[x/y. "),
        ({"Schedule": {"EndTime": START + timedelta(minutes=5)}}, "would run for 300 seconds"),
    ],
)
async def test_bad_input_changes_nothing(door: Door, changes: dict[str, Any], says: str) -> None:
    code, message = door.refused("CreateInferenceExperiment", **(ASKED | changes))
    assert code == "ValidationException"
    assert says in message
    assert await door.driver.state.rows(EXPERIMENTS) == []


async def test_errors_have_the_codes_of_the_model(door: Door) -> None:
    door.call("CreateInferenceExperiment", **ASKED)
    assert door.refused("CreateInferenceExperiment", **ASKED)[0] == "ResourceInUse"
    assert door.refused("CreateInferenceExperiment", **(ASKED | {"Name": "other"}))[0] == "ResourceInUse"
    assert door.refused("DeleteInferenceExperiment", Name="Flights-Shadow")[0] == "ConflictException"
    assert door.refused("StartInferenceExperiment", Name="Flights-Shadow")[0] == "ConflictException"
    assert door.refused("UpdateInferenceExperiment", Name="Flights-Shadow")[0] == "ConflictException"
    remove = {"ModelVariantActions": {"Shadow-01": "Remove"}}
    for operation, more in (("Start", {}), ("Update", {}), ("Delete", {}), ("Stop", remove)):
        assert door.refused(f"{operation}InferenceExperiment", Name="nope", **more)[0] == "ResourceNotFound"
    await door.driver.settle()
    await door.driver.complete("e")
    code, message = door.refused("DeleteEndpoint", EndpointName="e")
    assert code == "ValidationException"
    assert "StopInferenceExperiment" in message
    with pytest.raises(door.client.exceptions.ResourceInUse):
        door.client.create_inference_experiment(**ASKED)
