"""What errors are called on the wire."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bannister.aws.wire import fault
from bannister.aws.wire.fault import TABLES, Place
from bannister.aws.wire.models import SIGNING_NAMES, TARGET_PREFIXES, service_model
from bannister.aws.wire.validate import violations
from bannister.errors import (
    AlreadyExists,
    BannisterError,
    Busy,
    Invalid,
    NotFound,
    Refused,
    Resource,
)

PLACE = Place("eu-central-1", "123456789012")


def tree(root: type[BannisterError] = BannisterError) -> Iterator[type[BannisterError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def example(kind: type[BannisterError]) -> BannisterError:
    if issubclass(kind, NotFound | AlreadyExists | Busy) or kind.__name__ == "_AboutResource":
        return kind(Resource.ENDPOINT, "Flights")
    return kind("A sentence.")


@pytest.mark.parametrize("kind", list(tree()), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("service", TABLES)
def test_every_error_has_a_fault_in_every_service(service: str, kind: type[BannisterError]) -> None:
    found = fault.of_error(service, example(kind), PLACE)
    assert found.code
    assert found.query_code
    assert len(found.message) > 5
    if issubclass(kind, Refused):
        assert 400 <= found.status < 500, "the caller can mend it"
    elif kind is BannisterError:
        assert found.status == 500
    else:
        assert found.status in (400, 409, 429, 503)


@pytest.mark.parametrize(
    ("code", "shape", "query_code", "status"),
    [
        ("InvalidParameterCombination", "InvalidParameterCombinationException", "InvalidParameterCombination", 400),
        (
            "InvalidParameterCombinationException",
            "InvalidParameterCombinationException",
            "InvalidParameterCombination",
            400,
        ),
        ("MissingParameter", "MissingRequiredParameterException", "MissingParameter", 400),
        ("ValidationError", "ValidationException", "ValidationError", 400),
        ("LimitExceeded", "LimitExceededFault", "LimitExceeded", 400),
        ("InvalidNextToken", "InvalidNextToken", "InvalidNextToken", 400),
        ("ResourceNotFound", "ResourceNotFound", "ResourceNotFound", 404),
        ("SomethingElse", "InvalidParameterValueException", "InvalidParameterValue", 400),
    ],
)
def test_a_code_that_the_error_names_is_looked_up_in_the_model(
    code: str, shape: str, query_code: str, status: int
) -> None:
    found = fault.of_error("cloudwatch", Invalid("No.", code=code), PLACE)
    assert (found.code, found.query_code, found.status, found.message) == (shape, query_code, status, "No.")


def test_an_error_about_another_services_resource_keeps_its_own_sentence() -> None:
    found = fault.of_error("sagemaker", NotFound(Resource.ALARM, "errors"), PLACE)
    assert (found.code, found.message) == ("ValidationException", 'Could not find alarm "errors".')


def test_missing_parameters_of_cloudwatch_are_named_as_it_names_them() -> None:
    shape = service_model("cloudwatch").operation_model("PutMetricData").input_shape
    broken = violations(shape, {"MetricData": [{"MetricName": "m"}, {}]})
    assert broken is not None
    found = fault.of_violations("cloudwatch", broken)
    assert found.query_code == "MissingParameter"
    assert found.message == (
        "The parameter Namespace is required. The parameter MetricData.member.2.MetricName is required."
    )


def test_what_selects_a_service_is_what_the_models_say() -> None:
    for prefix, service in TARGET_PREFIXES.items():
        assert service_model(service).metadata["targetPrefix"] == prefix
    for name, service in SIGNING_NAMES.items():
        model = service_model(service)
        assert model.metadata.get("signingName", model.metadata["endpointPrefix"]) == name
