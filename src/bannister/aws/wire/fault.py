"""What each error is called on the wire: AWS's code, HTTP status and exact text, per service.

Clients match on these. SageMaker models almost none of its errors, so its texts are the API: `Could not find endpoint
"<arn>".` is how scripts tell that an endpoint is gone. CloudWatch models its errors with a code for each protocol.

One table per service names a code for every type of `bannister.errors`; a type without a row of its own takes the nearest
of its parents'.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bannister.aws.arn import arn
from bannister.aws.wire.models import service_model
from bannister.errors import (
    AlreadyExists,
    BannisterError,
    Busy,
    Conflict,
    Fenced,
    Invalid,
    NotFound,
    Refused,
    Resource,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from botocore.model import ServiceModel

    from bannister.aws.wire.validate import Violations

_INTERNAL = "An internal error occurred. The server's log has its cause, under this request id."


@dataclass(frozen=True, slots=True)
class Fault:
    """One error as a service calls it; how it is written down is the protocol's matter."""

    #: The name of the error's shape.
    code: str
    status: int
    message: str
    #: What the query protocol calls it; the code itself, for most.
    query_code: str = ""

    def __post_init__(self) -> None:
        if not self.query_code:
            object.__setattr__(self, "query_code", self.code)

    @property
    def blamed(self) -> str:
        """Whose mistake it is, as the query protocol says it."""
        return "Sender" if self.status < 500 else "Receiver"


@dataclass(frozen=True, slots=True)
class Place:
    """What ARNs in messages are made of."""

    region: str
    account_id: str


_LIST_INDEX = re.compile(r"\b(\d+)\.member\b")

#: A code and its HTTP status.
_Row = tuple[str, int]

_SAGEMAKER: Mapping[type[BannisterError], _Row] = {
    Refused: ("ValidationException", 400),
    Conflict: ("ConflictException", 400),
    Fenced: ("ServiceUnavailable", 503),
    Unavailable: ("ServiceUnavailable", 503),
    BannisterError: ("InternalFailure", 500),
}
_CLOUDWATCH: Mapping[type[BannisterError], _Row] = {
    NotFound: ("ResourceNotFound", 404),
    AlreadyExists: ("ResourceConflict", 409),
    Busy: ("ResourceConflict", 409),
    Refused: ("InvalidParameterValueException", 400),
    Conflict: ("ConcurrentModificationException", 429),
    Fenced: ("ServiceUnavailable", 503),
    Unavailable: ("ServiceUnavailable", 503),
    BannisterError: ("InternalServiceFault", 500),
}
_RUNTIME: Mapping[type[BannisterError], _Row] = {
    Refused: ("ValidationError", 400),
    Conflict: ("ServiceUnavailable", 503),
    Fenced: ("ServiceUnavailable", 503),
    Unavailable: ("ServiceUnavailable", 503),
    BannisterError: ("InternalFailure", 500),
}
_BANNISTER: Mapping[type[BannisterError], _Row] = {
    NotFound: ("ResourceNotFoundException", 404),
    Busy: ("ConflictException", 409),
    Refused: ("ValidationException", 400),
    Conflict: ("ConflictException", 409),
    Fenced: ("ServiceUnavailableException", 503),
    Unavailable: ("ServiceUnavailableException", 503),
    BannisterError: ("InternalServerException", 500),
}
_LOGS: Mapping[type[BannisterError], _Row] = {
    NotFound: ("ResourceNotFoundException", 400),
    AlreadyExists: ("ResourceAlreadyExistsException", 400),
    Busy: ("OperationAbortedException", 400),
    Refused: ("InvalidParameterException", 400),
    Conflict: ("OperationAbortedException", 400),
    Fenced: ("ServiceUnavailableException", 503),
    Unavailable: ("ServiceUnavailableException", 503),
    BannisterError: ("InternalFailure", 500),
}
_IAM: Mapping[type[BannisterError], _Row] = {
    NotFound: ("NoSuchEntity", 404),
    AlreadyExists: ("EntityAlreadyExists", 409),
    Busy: ("ConcurrentModification", 409),
    Refused: ("ValidationError", 400),
    Conflict: ("ConcurrentModification", 409),
    Fenced: ("ServiceUnavailable", 503),
    Unavailable: ("ServiceUnavailable", 503),
    BannisterError: ("InternalFailure", 500),
}
_STS: Mapping[type[BannisterError], _Row] = {
    Refused: ("ValidationError", 400),
    Conflict: ("ServiceUnavailable", 503),
    Fenced: ("ServiceUnavailable", 503),
    Unavailable: ("ServiceUnavailable", 503),
    BannisterError: ("InternalFailure", 500),
}
TABLES = {
    "sagemaker": _SAGEMAKER,
    "cloudwatch": _CLOUDWATCH,
    "logs": _LOGS,
    "iam": _IAM,
    "sts": _STS,
    "sagemaker-runtime": _RUNTIME,
    "bannister": _BANNISTER,
}

#: What a service calls an input that breaks its model; elsewhere it is ValidationException.
_VIOLATION_CODES: Mapping[str, str] = {
    "sagemaker-runtime": "ValidationError",
    "logs": "InvalidParameterException",
    "iam": "ValidationError",
    "sts": "ValidationError",
}

#: SageMaker models the errors of some resources, which are then no ValidationException.
_SAGEMAKER_MODELLED: Mapping[Resource, Mapping[type[BannisterError], str]] = {
    Resource.EXPERIMENT: {NotFound: "ResourceNotFound", AlreadyExists: "ResourceInUse", Busy: "ConflictException"}
}

#: SageMaker quotes its own resources by their ARN.
_QUOTED_BY_ARN = {Resource.MODEL, Resource.ENDPOINT_CONFIG, Resource.ENDPOINT, Resource.EXPERIMENT}
_ARN_SENTENCES: Mapping[type, str] = {
    NotFound: 'Could not find {kind} "{arn}".',
    AlreadyExists: 'Cannot create already existing {kind} "{arn}".',
    Busy: 'Cannot update in-progress {kind} "{arn}".',
}


def of_error(service: str, error: BannisterError, place: Place) -> Fault:
    """What a service calls an error that one of its operations raised."""
    code, status = next(TABLES[service][kind] for kind in type(error).__mro__ if kind in TABLES[service])
    if isinstance(error, Invalid) and error.code is not None and _has_shape(service, error.code):
        return _modelled(service, error.code, 400, str(error))
    if type(error) is BannisterError:
        return internal(service)
    if service == "sagemaker" and isinstance(error, NotFound | AlreadyExists | Busy):
        code = _SAGEMAKER_MODELLED.get(error.resource, {}).get(type(error), code)
    return _modelled(service, code, status, _message(service, error, place))


def internal(service: str) -> Fault:
    """Something went wrong that nobody planned for; the answer says nothing about it."""
    code, status = TABLES[service][BannisterError]
    return _modelled(service, code, status, _INTERNAL)


def of_violations(service: str, found: Violations) -> Fault:
    """The input breaks constraints of the model; all of them are named."""
    if service == "cloudwatch" and all(violation.missing for violation in found.listed):
        sentences = [f"The parameter {_query_name(violation.path)} is required." for violation in found.listed]
        return _modelled(service, "MissingRequiredParameterException", 400, " ".join(sentences))
    return _modelled(service, _VIOLATION_CODES.get(service, "ValidationException"), 400, found.message())


def malformed(message: str) -> Fault:
    """The body cannot be read, or a value in it has the wrong type."""
    return Fault("SerializationException", 400, message, query_code="MalformedInput")


def too_large(bytes_max: int, operation: str = "") -> Fault:
    """The body is over the limit; `operation`: the one whose own limit that is. Begins with CloudWatch's words."""
    of_operation = f", the most that {operation} takes, counted decompressed" if operation else ""
    text = f"Request size exceeded {bytes_max} bytes{of_operation}. Send less in one request."
    return Fault("RequestEntityTooLargeException", 413, text, query_code="RequestEntityTooLarge")


def unknown_operation(service: str, operation: str, supported: Iterable[str]) -> Fault:
    """AWS knows the operation and Bannister does not do it, or nobody here knows it: a client may be newer. `operation`: empty: none is named."""
    listed = ", ".join(sorted(supported)) or "none"
    if not operation:
        text = (
            f"The request names no operation of {service}. JSON names it in X-Amz-Target, "
            f"a form as its Action, RPC v2 at the end of the path. Bannister supports: {listed}."
        )
        return Fault("UnknownOperationException", 400, text, query_code="MissingAction")
    if operation in service_model(service).operation_names:
        text = f"Bannister does not support the operation {operation} of {service}. It supports: {listed}."
    else:
        text = f"There is no operation {operation!r} of {service}. Bannister supports: {listed}."
    return Fault("UnknownOperationException", 400, text, query_code="InvalidAction")


def unknown_version(service: str, version: str) -> Fault:
    """A form names another version of the service's API."""
    spoken = service_model(service).api_version
    text = f"There is no version {version!r} of the API of {service}; give Version={spoken}."
    return Fault("UnknownOperationException", 400, text, query_code="InvalidAction")


def unspoken_protocol(service: str, protocol: str) -> Fault:
    """The service exists, and never spoke the protocol of the request."""
    spoken = ", ".join(protocols(service_model(service)))
    text = f"The service {service} does not speak the protocol {protocol}. It speaks: {spoken}."
    return Fault("UnknownOperationException", 400, text, query_code="InvalidAction")


def protocols(model: ServiceModel) -> list[str]:
    """The names of the protocols that a service speaks."""
    return list(model.metadata.get("protocols") or [model.metadata["protocol"]])


def type_name(model: ServiceModel | None, fault: Fault) -> str:
    """What the error is called in `__type`: a service that once spoke the query protocol says the whole name of the shape."""
    if model is None or not _compatible(model):
        return fault.code
    return f"com.amazonaws.{model.service_name}#{fault.code}"


def query_error_header(model: ServiceModel | None, fault: Fault, *, query_mode: bool) -> dict[str, str]:
    """The header that tells a client in query mode what the query protocol calls the error."""
    if not (query_mode and _compatible(model)):
        return {}
    return {"x-amzn-query-error": f"{fault.query_code};{fault.blamed}"}


def _compatible(model: ServiceModel | None) -> bool:
    return model is not None and "awsQueryCompatible" in model.metadata


def _modelled(service: str, code: str, status: int, message: str) -> Fault:
    """A fault by the name of its shape or, failing that, its query code; what the model says of it wins over `status`."""
    shapes = service_model(service).error_shapes
    named = [shape for shape in shapes if shape.name == code]
    for shape in named or [shape for shape in shapes if shape.metadata.get("error", {}).get("code") == code]:
        modelled = shape.metadata.get("error", {})
        query_code = modelled.get("code", shape.name)
        return Fault(shape.name, modelled.get("httpStatusCode", status), message, query_code)
    return Fault(code, status, message)


def _has_shape(service: str, code: str) -> bool:
    """Whether a service has an error of this name, or query code; one that has not calls it what it calls any other refusal."""
    shapes = service_model(service).error_shapes
    return any(code in (shape.name, shape.metadata.get("error", {}).get("code")) for shape in shapes)


def _query_name(path: str) -> str:
    """`metricData.1.member.metricName` as CloudWatch's older messages spell it: `MetricData.member.1.MetricName`."""
    pieces = _LIST_INDEX.sub(r"member.\1", path).split(".")
    return ".".join(piece if piece == "member" else piece[:1].upper() + piece[1:] for piece in pieces)


def _message(service: str, error: BannisterError, place: Place) -> str:
    if (
        service == "sagemaker"
        and isinstance(error, NotFound | AlreadyExists | Busy)
        and error.resource in _QUOTED_BY_ARN
    ):
        quoted = arn(place.region, place.account_id, error.resource, error.name)
        kind = next(kind for kind in type(error).__mro__ if kind in _ARN_SENTENCES)
        return _ARN_SENTENCES[kind].format(kind=error.resource.value, arn=quoted)
    if service == "logs" and isinstance(error, NotFound):
        return f"The specified {error.resource.value} does not exist."
    return str(error) or "The request could not be served."
