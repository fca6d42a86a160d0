"""Every supported operation of every service, with values made from botocore's shapes: what is right survives the wire, what is wrong is a 4xx that the model knows,
and nothing is a 5xx.

Everything that one fault can be is tried by each run. What is drawn at random is some of it: `make conformance` draws 5,000 worlds instead of a few.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlencode

import botocore.parsers
import botocore.serialize
import pytest
from botocore.model import OperationModel, Shape
from botocore.validate import ParamValidator
from tests.aws.control import PROTOCOLS, Control, Reply
from tests.aws.drawn import (
    CONSTRAINTS,
    ITEM,
    VALUE,
    Drawing,
    Fault,
    Wrong,
    as_form,
    as_json,
    faults,
    sites,
    spoilt,
    with_site,
)
from tests.aws.wire.drawing import ours
from tests.experimenter.driving import Driver
from tests.operations.hand_clock import NOW

from bannister.aws import cloudwatch, deployments, identity, logs, sagemaker
from bannister.aws.wire import json as json_wire
from bannister.aws.wire import query, rpc_v2_cbor
from bannister.aws.wire.models import service_model
from bannister.aws.wire.protocol import Wire
from bannister.aws.wire.validate import violations
from bannister.instances.host import InstanceRecord
from bannister.state.store import Put
from bannister.state.tables import ENDPOINTS

WORLDS: Final = int(os.environ.get("CONFORMANCE", "24"))
REQUESTS_OF_A_WORLD: Final = 60
ROUND_TRIPS: Final = 5 if WORLDS < 1000 else 200

#: Good requests of an operation until one is performed: they name what there is, and what there is not.
ATTEMPTS: Final = 60

NOWHERE = cast("Any", None)  # no handler is called, so none needs its context
OPERATIONS: Final = [
    (service.name, operation)
    for service in (
        *(one.service(NOWHERE) for one in (sagemaker, cloudwatch, logs, deployments)),
        *identity.services(),
    )
    for operation in sorted(service.handlers)
]
EACH = pytest.mark.parametrize(("service", "operation"), OPERATIONS, ids=[f"{one}.{two}" for one, two in OPERATIONS])
#: What a service may say that its model does not list: AWS's common errors.
COMMON: Final = {
    "sagemaker": {"ValidationException", "SerializationException"},
    "bannister": {"ValidationException", "SerializationException"},
    "cloudwatch": {"ValidationException", "SerializationException", "InvalidParameterValueException"},
    "logs": {"SerializationException"},
    "sts": {"ValidationError"},
    "iam": {"ValidationError"},
}
#: What a service says of an input that breaks its model.
BROKEN: Final = {
    "sagemaker": {"ValidationException"},
    "bannister": {"ValidationException"},
    "cloudwatch": {"ValidationException", "MissingRequiredParameterException"},
    "logs": {"InvalidParameterException"},
    "sts": {"ValidationError"},
    "iam": {"ValidationError"},
}
#: What must have been asked of SageMaker before an operation can be performed.
BEFORE: Final = {
    **dict.fromkeys(("RollbackDeployment", "DescribeDeployment", "ListDecisions"), "UpdateEndpoint"),
    "StopInferenceExperiment": "StartInferenceExperiment",
}
#: What exists goes, also when something else that was named does not exist.
PARTIAL: Final = {"DeleteAlarms"}
PLACE: Final = "us-east-1:000000000000"
GROUP: Final = "/aws/sagemaker/Endpoints/e"


def model_of(service: str, operation: str) -> OperationModel:
    return service_model(service).operation_model(operation)


# --- round trips


WIRES: Final[dict[str, Wire]] = {"json": json_wire, "query": query, "smithy-rpc-v2-cbor": rpc_v2_cbor}
SPOKEN: Final = [
    (service, operation, wire)
    for service, operation in OPERATIONS
    for wire in (WIRES if service == "cloudwatch" else [PROTOCOLS.get(service, "json")])
]


@pytest.mark.parametrize(("service", "operation", "wire"), SPOKEN, ids=[".".join(one) for one in SPOKEN])
def test_what_is_right_survives_the_wire(service: str, operation: str, wire: str) -> None:
    model, rng = model_of(service, operation), random.Random(f"{service}.{operation}")
    serializer = botocore.serialize.create_serializer(wire, include_validation=False)
    parser = botocore.parsers.create_parser(wire)
    for _ in range(ROUND_TRIPS):
        drawing = Drawing(rng, share=rng.choice((0.2, 0.5, 0.9)))
        if model.input_shape is not None:
            given = whole(drawing.value(model.input_shape), wire)
            body = serializer.serialize_to_request(given, model)["body"]
            received = WIRES[wire].parse(model.input_shape, _bytes(body))
            assert received == ours(given)
            if wire == "json":
                assert violations(model.input_shape, received) is None
        if model.output_shape is not None:
            told = whole(drawing.value(model.output_shape), wire)
            answer = WIRES[wire].render(model, ours(told), "id")
            read = parser.parse(
                {"status_code": 200, "headers": {"content-type": answer.content_type}, "body": answer.body},
                model.output_shape,
            )
            read.pop("ResponseMetadata", None)
            assert ours(read) == ours(told)


def whole(value: Any, wire: str) -> Any:
    """Without what a form or XML cannot say: that a list, map or structure is there, and empty."""
    if wire != "query":
        return value
    match value:
        case dict():
            kept = {key: whole(item, wire) for key, item in value.items()}
            return {key: item for key, item in kept.items() if item not in ({}, [])}
        case list():
            return [kept for kept in (whole(item, wire) for item in value) if kept not in ({}, [])]
        case _:
            return value


def body_of(service: str, operation: str, value: Any) -> bytes:
    """A request as its service reads it, wrong as it may be."""
    if service not in PROTOCOLS:
        return as_json(value)
    return as_form({"Action": operation, "Version": service_model(service).api_version}, value)


def sayable(site: Shape, fault: Fault) -> bool:
    """Whether a form can say it: what is null in a list is not there at all, and a list in the place of a structure is one with an unknown member."""
    if fault.wrong is Wrong.NULL:
        return fault.path[-1] not in (ITEM, VALUE)
    if fault.wrong is Wrong.TYPE:
        return isinstance(fault.value, dict) or (isinstance(fault.value, list) and site.type_name != "structure")
    return True


def _bytes(body: Any) -> bytes:
    if isinstance(body, dict):
        return urlencode(body).encode()
    return body.encode() if isinstance(body, str) else bytes(body)


# --- one thing wrong at a time


@pytest.fixture
async def control(tmp_path: Path) -> Control:
    return await world(tmp_path)


def all_faults(service: str, operation: str) -> Iterator[tuple[Any, Fault]]:
    shape, rng = model_of(service, operation).input_shape, random.Random(f"{service}.{operation}")
    if shape is None:
        return
    for path, site in sites(shape):
        base = with_site(shape, path, rng, NAMES)
        assert violations(shape, ours(base)) is None, (path, base)
        for fault in faults(shape, path, site, base, rng):
            if service not in PROTOCOLS or sayable(site, fault):
                yield base, fault


@EACH
async def test_every_constraint_that_is_broken_is_named_where_it_is(
    control: Control, service: str, operation: str
) -> None:
    for base, fault in all_faults(service, operation):
        if fault.wrong not in CONSTRAINTS:
            continue
        reply = await control.ask(service, operation, body_of(service, operation, spoilt(base, fault)))
        assert reply.status == 400, (fault, reply)
        code = reply.parsed["Error"].get("QueryErrorCode", reply.code)
        assert code in BROKEN[service], (fault, reply)
        if code == "MissingRequiredParameterException":
            assert fault.wrong in (Wrong.MISSING, Wrong.NULL)
            continue
        assert "validation error" in reply.message
        assert f"at '{fault.told}' failed to satisfy constraint: " in reply.message, (fault, reply.message)


@pytest.mark.parametrize("operation", ["InvokeEndpoint", "InvokeEndpointWithResponseStream"])
async def test_every_constraint_of_an_invocation_is_named_where_it_is(control: Control, operation: str) -> None:
    """Of an endpoint without a route, which is what arrives here."""
    shape = model_of("sagemaker-runtime", operation).input_shape
    assert shape is not None
    checked = set()
    for base, fault in all_faults("sagemaker-runtime", operation):
        if fault.wrong not in CONSTRAINTS or not isinstance(fault.value, str) or not fault.value.isascii():
            continue
        if fault.value.strip() != fault.value or not fault.value:
            continue  # no header says so
        reply = await control.ask("sagemaker-runtime", operation, spoilt(base, fault), "rest-json")
        assert (reply.status, reply.code) == (400, "ValidationError"), (fault, reply)
        assert f"at '{fault.told}' failed to satisfy constraint: " in reply.message, (fault, reply.message)
        checked.add(fault.path[0])
    assert checked == set(shape.members) - {"Body"}


@EACH
async def test_a_value_of_another_type_is_refused(control: Control, service: str, operation: str) -> None:
    for base, fault in all_faults(service, operation):
        if fault.wrong is Wrong.TYPE:
            reply = await control.ask(service, operation, body_of(service, operation, spoilt(base, fault)))
            assert reply.status == 400, (fault, reply)
            assert reply.code in ("SerializationException", "MalformedInput"), (fault, reply)


@EACH
async def test_whatever_else_is_odd_is_no_fault_of_the_server(control: Control, service: str, operation: str) -> None:
    for base, fault in all_faults(service, operation):
        if fault.wrong in (Wrong.HUGE, Wrong.ODD, Wrong.UNKNOWN, Wrong.UNION):
            await sound(control, service, operation, body_of(service, operation, spoilt(base, fault)), fault)


# --- what is right


@EACH
async def test_what_is_right_is_performed(control: Control, service: str, operation: str) -> None:
    """So that a refusal in the other tests is one of what is wrong in a request, and not of all requests."""
    shape, rng = model_of(service, operation).input_shape, random.Random(f"{service}.{operation}")
    assert shape is not None
    driver = Driver(control.state, control.clock, control.context.ids, control.context.settings)
    refusals = []
    for _ in range(ATTEMPTS):
        likely = LIKELY.get(operation)
        drawing = Drawing(rng, NAMES, share=0.0)
        given = drawing.value(shape) if likely is None else drawing.like(shape, likely)
        reply = await sound(control, service, operation, given, "it is right")
        if reply.status == 200:
            return
        refusals.append(reply.message)
        await driver.settle()
        await settle(control, "e")
        if before := BEFORE.get(operation):
            await control.ask("sagemaker", before, LIKELY[before])
    raise AssertionError(refusals)


# --- worlds


#: Names that stand for something in a world, and some that do not.
NAMES: Final[dict[str, tuple[str, ...]]] = {
    "ModelName": ("m", "m2", "nope"),
    "EndpointConfigName": ("c", "c2", "shadowed", "queued", "nope"),
    "EndpointName": ("e", "e", "creating", "fresh", "nope"),
    "Name": ("x", "y", "EndpointName", "nope"),
    "VariantName": ("v", "w"),
    "SourceModelVariantName": ("v",),
    "ShadowModelVariantName": ("w",),
    "ModelVariantActions": ("v", "w"),
    "Image": ("i",),
    "DestinationS3Uri": ("s3://captured/e",),
    "Destination": ("s3://captured/e",),
    "AlarmName": ("a", "b", "nope"),
    "AlarmNames": ("a", "b", "nope"),
    "AlarmRule": ("ALARM(a)", 'OK("a") AND NOT ALARM(b)', "FALSE", "ALARM(", "ALARM(nope)"),
    "Namespace": ("N", "AWS/SageMaker"),
    "MetricName": ("M", "ModelLatency", "InvocationModelErrors"),
    "Expression": ("m1 * 2", "SUM(METRICS())", "m1 / 0", "FILL(m1, 0)", "(" * 40, "IF(m1 > 1, m2, 0)"),
    "Id": ("m1", "m2", "e1"),
    "Statistic": ("Average", "SampleCount"),
    "Stat": ("Average", "p99", "TM(1%:99%)", "IQM", "nope"),
    "ExtendedStatistic": ("p99", "tm90", "PR(:10)", "p101"),
    "ResourceArn": tuple(
        f"arn:aws:sagemaker:{PLACE}:{name}"
        for name in ("model/m", "endpoint-config/c", "endpoint/e", "inference-experiment/x", "endpoint/nope", "app/a")
    ),
    "ResourceARN": (f"arn:aws:cloudwatch:{PLACE}:alarm:a", f"arn:aws:cloudwatch:{PLACE}:alarm:nope", "nope"),
    "DeploymentId": ("nope",),
    "NextToken": ("nope", "W10="),
    "nextToken": ("nope", "W10=", "f/0", "b/9", "f/" + "9" * 18),
    "logGroupName": (GROUP, GROUP, "nope"),
    "logGroupIdentifier": (GROUP, f"arn:aws:logs:{PLACE}:log-group:{GROUP}", "arn:nope"),
    "logStreamName": ("v/0a", "v/0a", "nope"),
    "logStreamNames": ("v/0a", "nope"),
    "filterPattern": ("hello", '"a phrase" -no', "?one ?two", "{ $.x = 1 }", '"open', "%x%"),
    "RoleName": ("role",),
    "PolicySourceArn": ("arn:aws:iam::000000000000:role/r", "arn:aws:iam::000000000000:user/nobody-here"),
    "ActionNames": ("sagemaker:InvokeEndpoint", "s3:*", "nothing"),
}


VARIANT: Final = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 2, "InstanceType": "ml.m5.large"}
SHADOW: Final = {**VARIANT, "VariantName": "w", "ModelName": "m2"}
CANARY: Final = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "WaitIntervalInSeconds": 60,
            "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 50},
        },
        "TerminationWaitInSeconds": 60,
        "MaximumExecutionTimeoutInSeconds": 3600,
    },
    "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]},
}
ALARM: Final = {
    "AlarmName": "a",
    "Namespace": "N",
    "MetricName": "M",
    "Dimensions": [],
    "Statistic": "Average",
    "Period": 60,
    "EvaluationPeriods": 2,
    "DatapointsToAlarm": 1,
    "Threshold": 1.0,
    "ComparisonOperator": "GreaterThanThreshold",
    "TreatMissingData": "notBreaching",
    "Tags": [{"Key": "team", "Value": "flights"}],
}
METRIC: Final = {"Namespace": "N", "MetricName": "M", "Dimensions": []}
SINCE, UNTIL = (datetime.fromtimestamp(NOW + seconds, UTC) for seconds in (-3600, 3600))


def experiment_variant(name: str, model: str, instances: int = 2) -> dict[str, Any]:
    real_time = {"InstanceType": "ml.m5.large", "InstanceCount": instances}
    infrastructure = {"InfrastructureType": "RealTimeInference", "RealTimeInferenceConfig": real_time}
    return {"VariantName": name, "ModelName": model, "InfrastructureConfig": infrastructure}


EXPERIMENT: Final = {
    "Name": "y",
    "Type": "ShadowMode",
    "RoleArn": "arn:aws:iam::000000000000:role/r",
    "EndpointName": "e",
    "ModelVariants": [experiment_variant("v", "m"), experiment_variant("w", "m2")],
    "ShadowModeConfig": {
        "SourceModelVariantName": "v",
        "ShadowModelVariants": [{"ShadowModelVariantName": "w", "SamplingPercentage": 50}],
    },
    "DataStorageConfig": {"Destination": "s3://captured/e"},
}
#: Requests that succeed in a world, of operations that seldom do with values at random.
LIKELY: Final[dict[str, dict[str, Any]]] = {
    "CreateModel": {"ModelName": "fresh", "PrimaryContainer": {"Image": "i", "Environment": {"A": "b"}}},
    "CreateEndpointConfig": {
        "EndpointConfigName": "fresh",
        "ProductionVariants": [VARIANT],
        "ShadowProductionVariants": [SHADOW],
        "DataCaptureConfig": {
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": "s3://captured/e",
            "CaptureOptions": [{"CaptureMode": "Input"}],
        },
    },
    "CreateEndpoint": {"EndpointName": "fresh", "EndpointConfigName": "shadowed", "DeploymentConfig": CANARY},
    "UpdateEndpoint": {"EndpointName": "e", "EndpointConfigName": "c2", "DeploymentConfig": CANARY},
    "UpdateEndpointWeightsAndCapacities": {
        "EndpointName": "e",
        "DesiredWeightsAndCapacities": [{"VariantName": "v", "DesiredInstanceCount": 3, "DesiredWeight": 0.5}],
    },
    "CreateInferenceExperiment": {**EXPERIMENT, "EndpointName": "fresh"},
    "UpdateInferenceExperiment": {"Name": "x", "ShadowModeConfig": EXPERIMENT["ShadowModeConfig"]},
    "StopInferenceExperiment": {"Name": "x", "ModelVariantActions": {"w": "Promote"}, "DesiredState": "Completed"},
    **{f"{verb}InferenceExperiment": {"Name": "x"} for verb in ("Start", "Describe", "Delete")},
    "PutMetricAlarm": ALARM,
    "PutCompositeAlarm": {"AlarmName": "b", "AlarmRule": "ALARM(a)", "ActionsEnabled": True},
    "PutMetricData": {
        "Namespace": "N",
        "MetricData": [{"MetricName": "M", "Values": [1.0, 2.0], "Counts": [1.0, 2.0], "Unit": "Seconds"}],
    },
    "GetMetricStatistics": {**METRIC, "StartTime": SINCE, "EndTime": UNTIL, "Period": 60, "Statistics": ["Average"]},
    "GetMetricData": {
        "StartTime": SINCE,
        "EndTime": UNTIL,
        "MetricDataQueries": [
            {"Id": "m1", "MetricStat": {"Metric": METRIC, "Period": 60, "Stat": "Average"}},
            {"Id": "e1", "Expression": "m1 * 2"},
        ],
    },
    "DescribeDeployment": {"EndpointName": "e"},
    "ListDecisions": {"EndpointName": "e"},
    "RollbackDeployment": {"EndpointName": "e", "Reason": "because"},
    "DescribeShadowReport": {"EndpointName": "shadowing"},
    "SetAlarmState": {"AlarmName": "a", "StateValue": "ALARM", "StateReason": "because"},
    "DescribeLogGroups": {"logGroupNamePrefix": "/aws"},
    "DescribeLogStreams": {"logGroupName": GROUP, "orderBy": "LastEventTime"},
    "GetLogEvents": {"logGroupName": GROUP, "logStreamName": "v/0a", "startFromHead": True, "limit": 10},
    "FilterLogEvents": {"logGroupName": GROUP, "filterPattern": "hello", "interleaved": True},
    "GetRole": {"RoleName": "role"},
    "SimulatePrincipalPolicy": {
        "PolicySourceArn": NAMES["PolicySourceArn"][0],
        "ActionNames": ["sagemaker:InvokeEndpoint", "s3:GetObject"],
        "MaxItems": 1,
    },
    "AddTags": {"ResourceArn": NAMES["ResourceArn"][0], "Tags": [{"Key": "team", "Value": "flights"}]},
}


async def world(folder: Path) -> Control:
    """One of everything, so that requests get far."""
    made = Control(folder)
    for name in ("m", "m2"):
        await made.done("CreateModel", ModelName=name, PrimaryContainer={"Image": "i"})
    for name, more in {
        "c": {},
        "c2": {"ProductionVariants": [{**VARIANT, "ModelName": "m2"}]},
        "shadowed": {"ShadowProductionVariants": [SHADOW]},
        "queued": {"AsyncInferenceConfig": {"OutputConfig": {}}},
    }.items():
        await made.done("CreateEndpointConfig", **{"EndpointConfigName": name, "ProductionVariants": [VARIANT], **more})
    for endpoint, config in (("e", "c"), ("shadowing", "shadowed")):
        await made.done("CreateEndpoint", EndpointName=endpoint, EndpointConfigName=config)
        await settle(made, endpoint)
    await made.done("CreateEndpoint", EndpointName="creating", EndpointConfigName="c2")
    schedule = {"StartTime": UNTIL}
    await made.done("CreateInferenceExperiment", **{**EXPERIMENT, "Name": "x", "Schedule": schedule})
    await made.done("PutMetricAlarm", "cloudwatch", **ALARM)
    await made.done("PutCompositeAlarm", "cloudwatch", AlarmName="b", AlarmRule="ALARM(a)")
    await made.done("PutMetricData", "cloudwatch", Namespace="N", MetricData=[{"MetricName": "M", "Value": 1.0}])
    made.machine.remembered.instances.append(InstanceRecord("0a", "g", 0, "e", "v", first_started_at=NOW - 60))
    for seconds in range(3):
        made.machine.print("0a", f"hello {seconds}", NOW - 30 + seconds)
    return made


async def settle(made: Control, endpoint: str) -> None:
    """What changes it completes, as a deployer would have it."""
    row = await made.context.state.get(ENDPOINTS, endpoint)
    if row is None:
        return
    deployment, scaling = row.value.deployment, row.value.scaling
    if deployment is not None:
        settled = replace(row.value, blue=deployment.green, deployment=None)
    elif scaling is not None:
        settled = replace(row.value, blue=scaling.after, scaling=None)
    else:
        return
    await made.context.state.commit([Put(ENDPOINTS, endpoint, settled, row.revision)])


async def sound(made: Control, service: str, operation: str, params: Any, why: Any, protocol: str = "") -> Reply:
    """Ask, and check whatever must be true of every answer."""
    model, state = model_of(service, operation), made.state
    before = dict(state._medium.writes)
    reply = await made.ask(service, operation, params, protocol)
    if reply.status == 200:
        found = {name: value for name, value in reply.parsed.items() if name != "ResponseMetadata"}
        if model.output_shape is not None:
            report = ParamValidator().validate(found, model.output_shape)
            assert not report.has_errors(), (why, report.generate_report())
            broken = violations(model.output_shape, ours(found))
            assert broken is None, (why, broken)
        return reply
    assert 400 <= reply.status < 500, (service, operation, params, why, reply)
    assert reply.message.strip(), (why, reply)
    known = {shape.name for shape in service_model(service).error_shapes} | COMMON[service]
    codes = {shape.metadata.get("error", {}).get("code") for shape in service_model(service).error_shapes}
    assert reply.code in known | codes | {"MalformedInput"}, (why, reply)
    if operation not in PARTIAL:
        assert state._medium.writes == before, (why, "it was refused, and something was written")
    return reply


@pytest.mark.parametrize("number", range(WORLDS))
async def test_no_sequence_of_requests_is_a_server_error(tmp_path: Path, number: int) -> None:
    rng = random.Random(number)
    made = await world(tmp_path)
    names = {name: list(texts) for name, texts in NAMES.items()}
    driver = Driver(made.state, made.clock, made.context.ids, made.context.settings)
    for _ in range(REQUESTS_OF_A_WORLD):
        service, operation = rng.choice(OPERATIONS)
        shape = model_of(service, operation).input_shape
        assert shape is not None
        drawing = Drawing(rng, names, share=rng.choice((0.1, 0.3, 0.7)))
        likely = LIKELY.get(operation) if rng.random() < 0.7 else None
        given = drawing.value(shape) if likely is None else drawing.like(shape, likely)
        wrongs: list[Fault] = []
        if rng.random() < 0.3:
            path, site = rng.choice(list(sites(shape)))
            given = with_site(shape, path, rng, names)
            wrongs = [one for one in faults(shape, path, site, given, rng) if one.wrong is not Wrong.TYPE]
            wrongs = wrongs and [rng.choice(wrongs)]
        for one in wrongs:
            given = spoilt(given, one)
        protocol = rng.choice(list(WIRES)) if service == "cloudwatch" and not wrongs else ""
        params = body_of(service, operation, given) if wrongs else given
        reply = await sound(made, service, operation, params, (number, wrongs), protocol)
        for name in ("NextToken", "nextToken", "nextForwardToken", "nextBackwardToken"):
            if isinstance(token := reply.parsed.get(name), str):
                names["NextToken" if name == "NextToken" else "nextToken"].append(token)
        made.clock.time += rng.choice((0.0, 0.0, 0.4, 30.0, 3600.0))
        if rng.random() < 0.1:
            await settle(made, rng.choice(("e", "creating", "fresh")))
        if rng.random() < 0.2:
            await driver.settle()
