"""Every member of every operation's input: where it is, what the tables say of it, and a request that has it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from botocore.model import Shape
from tests.aws.drawn import ITEM, VALUE, Drawing, Path
from tests.aws.test_conformance import EXPERIMENT, LIKELY, NAMES
from tests.operations.hand_clock import NOW

from bannister.aws import cloudwatch, deployments, identity, logs, sagemaker
from bannister.aws.call import Service
from bannister.aws.members import Members, Tables
from bannister.aws.wire.models import service_model

ARTIFACT: Final = "s3://bucket/key"
_NAMES: Final = {
    **NAMES,
    "accountIdentifiers": ("000000000000",),
    "AccountId": ("000000000000",),
    "ModelDataUrl": (ARTIFACT,),
    "S3Uri": (ARTIFACT,),
    "EvaluateLowSampleCountPercentile": ("evaluate",),
}
_NOWHERE = cast("Any", None)  # no handler is called, so none needs its context
#: AWS's services whose inputs are read by members; our own service has no other model than ours.
SERVICES: Final[tuple[Service, ...]] = (
    sagemaker.service(_NOWHERE),
    cloudwatch.service(_NOWHERE),
    logs.service(_NOWHERE),
    *identity.services(),
)
#: Whose members are all supported.
OWN: Final = deployments.service(_NOWHERE)
OPERATIONS: Final = [(service, operation) for service in SERVICES for operation in service.handlers]


@dataclass(frozen=True)
class Site:
    """One member of a structure in an operation's input."""

    service: Service
    operation: str
    structure: str
    member: str
    shape: Shape
    path: Path

    @property
    def table(self) -> Members | None:
        return self.service.members.get(self.structure)

    def __str__(self) -> str:
        return f"{self.operation}.{'.'.join(self.path)}"


def input_of(service: Service, operation: str) -> Shape | None:
    shape: Shape | None = service_model(service.name).operation_model(operation).input_shape
    return shape


def structures(shape: Shape | None, path: Path = (), above: tuple[str, ...] = ()) -> Iterator[tuple[Path, Any]]:
    """Every structure in a shape, with where it is; one within itself is not entered again."""
    if shape is None or shape.name in above:
        return
    above = (*above, shape.name)
    match shape.type_name:
        case "structure":
            yield path, shape
            for name, member in shape.members.items():
                yield from structures(member, (*path, name), above)
        case "list":
            yield from structures(shape.member, (*path, ITEM), above)
        case "map":
            yield from structures(shape.value, (*path, VALUE), above)
        case _:
            pass


def sites(service: Service, operation: str) -> Iterator[Site]:
    """Every member of an operation's input whose structure has a table of its own, or should have: it is in none that is refused or without effect as a whole."""
    refused: list[Path] = []
    ignored: list[Path] = []
    for path, structure in structures(input_of(service, operation)):
        table = service.members.get(structure.name)
        settled = refused if table is not None else refused + ignored
        if any(path[: len(one)] == one for one in settled):
            continue
        for member, shape in structure.members.items():
            site = Site(service, operation, structure.name, member, shape, (*path, member))
            if table is not None and member in table.refused:
                refused.append(site.path)
            if table is not None and member in table.ignored:
                ignored.append(site.path)
            yield site


class Allowed(Drawing):
    """Good values that no table refuses."""

    def __init__(self, rng: random.Random, tables: Tables) -> None:
        super().__init__(rng, _NAMES, share=0.0)
        self._tables = tables

    def _structure(self, shape: Any, depth: int) -> dict[str, Any]:
        return {name: self.allowed(shape, name, value) for name, value in super()._structure(shape, depth).items()}

    def refuses(self, structure: Any, name: str) -> bool:
        return name in self._tables.get(structure.name, Members()).refused

    def allowed(self, structure: Any, name: str, value: Any) -> Any:
        """The value of a member; another one where it is refused."""
        refused = self._tables.get(structure.name, Members()).refused
        if f"{name}={value}" not in refused:
            return value
        return next(one for one in structure.members[name].metadata["enum"] if f"{name}={one}" not in refused)


_WATCHED: Final = {"MetricStat": {"Metric": {"Namespace": "N", "MetricName": "M"}, "Period": 60, "Stat": "Average"}}
_RULE: Final = {"EvaluationPeriods": 1, "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold"}
_ROLLING: Final = {
    "RollingUpdatePolicy": {
        "MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1},
        "WaitIntervalInSeconds": 60,
    }
}
_LINEAR: Final = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "LINEAR",
            "WaitIntervalInSeconds": 60,
            "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 50},
        }
    }
}
#: Requests that succeed, besides those of the conformance test.
_OTHERS: Final[Mapping[str, list[Mapping[str, Any]]]] = {
    "PutMetricAlarm": [
        {"AlarmName": "a", "Metrics": [{"Id": "m1", **_WATCHED}], **_RULE},
        {
            "AlarmName": "a",
            "Metrics": [
                {"Id": "e1", "Expression": "m1 * 1", "Period": 60},
                {"Id": "m1", **_WATCHED, "ReturnData": False},
            ],
            **_RULE,
        },
        {"AlarmName": "a", "Namespace": "N", "MetricName": "M", "ExtendedStatistic": "p99", "Period": 60, **_RULE},
    ],
    "PutCompositeAlarm": [
        {
            "AlarmName": "b",
            "AlarmRule": "ALARM(a)",
            "ActionsSuppressor": "a",
            "ActionsSuppressorWaitPeriod": 60,
            "ActionsSuppressorExtensionPeriod": 60,
        }
    ],
    **{
        operation: [{**LIKELY[operation], "DeploymentConfig": policy} for policy in (_ROLLING, _LINEAR)]
        for operation in ("CreateEndpoint", "UpdateEndpoint")
    },
    "UpdateInferenceExperiment": [{"Name": "x", "ModelVariants": EXPERIMENT["ModelVariants"]}],
    "CreateModel": [{"ModelName": "fresh", "Containers": [{"Image": "i"}]}],
    "CreateEndpointConfig": [
        {
            "EndpointConfigName": "fresh",
            "ProductionVariants": [
                {
                    "VariantName": "v",
                    "ModelName": "m",
                    "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 2},
                }
            ],
        }
    ],
}


def bases(operation: str) -> list[Mapping[str, Any] | None]:
    """What to add a member to; None: the least that the model requires."""
    return [LIKELY.get(operation), None, *_OTHERS.get(operation, [])]


def request_with(site: Site, rng: random.Random, base: Mapping[str, Any] | None, value: Any = None) -> dict[str, Any]:
    """The base, and in addition the member; with the value, if there is one."""
    shape = input_of(site.service, site.operation)
    assert shape is not None
    drawing = Allowed(rng, site.service.members)
    made: dict[str, Any] = _with(shape, site.path, base if base is not None else drawing.value(shape), drawing, value)
    return made


def _with(shape: Any, path: Path, base: Any, drawing: Allowed, value: Any) -> Any:
    if not path:
        return value if value is not None else base
    step, rest = path[0], path[1:]
    if step == ITEM:
        return [_with(shape.member, rest, base[0] if base else drawing.value(shape.member), drawing, value), *base[1:]]
    if step == VALUE:
        key = next(iter(base), "k")
        found = base.get(key) if base else None
        return {**base, key: _with(shape.value, rest, found or drawing.value(shape.value), drawing, value)}
    if shape.metadata.get("union"):
        base = {}
    member = shape.members[step]
    inner = (
        base[step] if step in base else drawing.allowed(shape, step, (_least if rest else _some)(member, drawing, step))
    )
    return {**base, step: _with(member, rest, inner, drawing, value)}


def _least(shape: Any, drawing: Allowed, member: str) -> Any:
    return drawing.value(shape, member)


def _some(shape: Any, drawing: Allowed, member: str) -> Any:
    """A value of the shape that is not empty, if it can be otherwise."""
    match shape.type_name:
        case "list":
            return [_some(shape.member, drawing, member) for _ in range(max(1, shape.metadata.get("min", 1)))]
        case "boolean":
            return True
        case "timestamp":
            return datetime.fromtimestamp(NOW + 2 * 24 * 3600, UTC)
        case "structure" if not shape.required_members:
            names = [name for name in shape.members if not drawing.refuses(shape, name)]
            return {name: drawing.allowed(shape, name, _some(shape.members[name], drawing, name)) for name in names[:1]}
        case _:
            return drawing.value(shape, member)


class Seen(dict[str, Any]):
    """A structure that notes which of its members are asked for by name; those in it as well."""

    def __init__(self, shape: Any, value: Mapping[str, Any], noted: set[tuple[str, str]]) -> None:
        super().__init__(
            {name: _seen(shape.members[name], item, noted) for name, item in value.items() if name in shape.members}
        )
        self._name, self._noted = shape.name, noted

    def _note(self, key: object) -> None:
        self._noted.add((self._name, str(key)))

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._note(key)
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._note(key)
        return super().get(key, default)


def _seen(shape: Any, value: Any, noted: set[tuple[str, str]]) -> Any:
    match shape.type_name:
        case "structure":
            return Seen(shape, value, noted)
        case "list":
            return [_seen(shape.member, item, noted) for item in value]
        case "map":
            return {key: _seen(shape.value, item, noted) for key, item in value.items()}
        case _:
            return value
