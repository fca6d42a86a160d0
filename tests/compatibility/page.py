"""Writes `docs/compatibility.md` from the tables in the code: `make compatibility`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.compatibility.reading import SERVICES, input_of, structures
from tests.compatibility.shown_by import GROUPS, S3, Group

from bannister.aws import deviations, runtime_errors
from bannister.aws.call import Service
from bannister.aws.deviations import Deviation
from bannister.aws.members import Members
from bannister.aws.s3 import members as s3
from bannister.aws.wire.models import service_model

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "compatibility.md"
#: How a service is called in words, and the sentence that begins its part.
SERVICE_NAMES: Final = {
    "sagemaker": "SageMaker",
    "sagemaker-runtime": "SageMaker runtime",
    "cloudwatch": "CloudWatch",
    "logs": "CloudWatch Logs",
    "sts": "STS",
    "iam": "IAM",
    "s3": "S3",
    "bannister": "Bannister's own service",
}
#: What holds of all operations, and the tests that show it.
EVERYWHERE: Final = (
    (
        "Every constraint of botocore's models is checked, and every violation named as AWS names it (S3 has checks of its own)",
        "tests/aws/test_conformance.py::test_every_constraint_that_is_broken_is_named_where_it_is",
    ),
    (
        "What is right survives every wire format: JSON, query (CloudWatch, STS, IAM) and CBOR (CloudWatch)",
        "tests/aws/test_conformance.py::test_what_is_right_survives_the_wire",
    ),
    (
        "No sequence of requests is a server error, and what is refused changes nothing (S3: the next two lines)",
        "tests/aws/test_conformance.py::test_no_sequence_of_requests_is_a_server_error",
    ),
    (
        "In S3, what is wrong with a header, an argument or a document is a 4xx with one of S3's codes, and changes nothing",
        "tests/aws/s3/test_conformance.py::test_a_wrong_value_is_no_fault_of_the_server_and_changes_nothing",
    ),
    (
        "In S3, a value that is none of an enumeration is refused, also of members without effect",
        "tests/aws/s3/test_conformance.py::test_a_value_that_s3_does_not_know_is_refused",
    ),
    (
        "Every member of every operation is supported, without effect or refused; none is dropped silently",
        "tests/compatibility/test_members.py::test_every_member_is_in_one_class",
    ),
    (
        "What a resource was created or updated with is described again, also what has no effect",
        "tests/compatibility/test_members.py::test_what_was_given_comes_back",
    ),
    (
        "Every supported member is asked for by the code that serves the operation",
        "tests/compatibility/test_members.py::test_every_supported_member_is_read",
    ),
    (
        "In S3, a request that is refused for a member leaves what is there as it was",
        "tests/compatibility/test_s3_members.py::test_what_is_refused_spares_what_is_there",
    ),
    (
        "What is refused is refused with a sentence that says what to do",
        "tests/compatibility/test_members.py::test_what_is_refused_is_refused_with_a_sentence",
    ),
    (
        "Every other operation is an `UnknownOperationException` (in S3 `NotImplemented`) that names those that are supported",
        "tests/aws/test_unserved.py::test_every_other_operation_is_refused_naming_those_that_are_supported",
    ),
    (
        "SageMaker's guardrail notebook runs unchanged",
        "tests/scenarios/test_notebooks.py::test_the_guardrail_notebook",
    ),
    (
        "Every paginator of boto3 whose operation is supported lists everything, in pages of any size",
        "tests/scenarios/test_paginators_and_waiters.py::test_pages_together_are_the_whole",
    ),
    (
        "Every waiter of boto3 whose operation is supported ends when it should, and says when it cannot",
        "tests/scenarios/test_paginators_and_waiters.py::test_what_is_waited_for_comes",
    ),
    (
        "The AWS command line deploys, calls, updates, waits and deletes",
        "tests/scenarios/test_aws_tools.py::test_an_endpoint_from_creation_to_deletion",
    ),
    (
        "Version 2 of SageMaker's SDK deploys, calls, updates and deletes, also models whose code is an archive of its own (SKLearnModel, XGBoostModel)",
        "tests/scenarios/test_aws_tools.py::test_sagemakers_sdk_deploys_updates_and_deletes",
    ),
    (
        "Version 3 of SageMaker's SDK deploys, calls, updates and deletes, also what ModelBuilder makes of an image and an artifact, with or without source_code",
        "tests/scenarios/test_aws_tools.py::test_version_3_of_the_sdk_deploys_updates_and_deletes",
    ),
)
_RUNTIME: Final = Service(
    "sagemaker-runtime",
    dict.fromkeys(["InvokeEndpoint", "InvokeEndpointWithResponseStream"], SERVICES[0].handlers["CreateModel"]),
    runtime_errors.MEMBERS,
)
#: With the runtime, whose members are headers.
ALL_SERVICES: Final = {service.name: service for service in (*SERVICES, _RUNTIME)}


def page() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def named_tests() -> Iterator[str]:
    """Every test that the page names."""
    yield from (test for _, test in EVERYWHERE)
    for group in GROUPS:
        for shown in group.operations.values():
            yield from shown
    for rows in deviations.DEVIATIONS.values():
        yield from (row.test for row in rows)


def _lines() -> Iterator[str]:
    count = sum(len(group.operations) for group in GROUPS)
    yield "# What works as on AWS, and what does not"
    yield ""
    yield "<!-- Made by `make compatibility` from the tables in the code. Do not edit it here: a test compares. -->"
    yield ""
    yield (
        f"Bannister speaks {count} operations of SageMaker, CloudWatch and the services around them. Requests are those of "
        "botocore's models, so boto3, the AWS command line and SageMaker's SDK work unmodified."
    )
    yield ""
    yield from _table(
        ("what works", "operations"),
        (
            (f"[{group.title}](#{_anchor(_title(group))})", ", ".join(f"`{name}`" for name in group.operations))
            for group in GROUPS
        ),
    )
    yield "The rest of this page: [what holds everywhere](#what-holds-everywhere), [the operations](#the-operations) with what is refused or has"
    yield "no effect in each, [where AWS is different](#where-aws-is-different), [where AWS does not say](#where-aws-does-not-say), and"
    yield "[every member](#every-member). Each line names a test that shows it."
    yield ""
    yield "## What holds everywhere"
    yield ""
    yield from _table(("", "shown by"), ((text, _test(test)) for text, test in EVERYWHERE))
    yield "## The operations"
    yield ""
    yield "Members that are not named do what AWS says."
    yield ""
    yield "- **No effect**: the member is accepted; what a resource has of it is stored and described as it was given (of objects in S3 it is not kept)."
    yield "- **Refused**: the request is refused with a sentence, because doing nothing would be missed."
    yield ""
    told: set[str] = set()
    for group in GROUPS:
        yield from _group(group, told)
    yield "## Where AWS is different"
    yield ""
    for title, rows in deviations.DEVIATIONS.items():
        yield from _deviations(title, [row for row in rows if row.there])
    yield "## Where AWS does not say"
    yield ""
    yield "AWS's documentation leaves these open, and this is so here."
    yield ""
    for title, rows in deviations.DEVIATIONS.items():
        yield from _deviations(title, [row for row in rows if not row.there])
    yield "## Every member"
    yield ""
    yield "Of requests, by structure of botocore's model. What lies within a member that is refused or has no effect is not listed again."
    yield ""
    for service in ALL_SERVICES.values():
        yield from _every_member(service)
    yield from _every_member_of_s3()


def _group(group: Group, told: set[str]) -> Iterator[str]:
    yield f"### {_title(group)}"
    yield ""
    yield from _table(
        ("operation", "shown by"),
        ((f"`{name}`", ", ".join(map(_test, shown))) for name, shown in group.operations.items()),
    )
    rows = list(_exceptions(group, told))
    if rows:
        yield from _table(("of", "members", "", "why"), rows)


def _title(group: Group) -> str:
    return f"{group.title} ({SERVICE_NAMES[group.service]})"


def _anchor(title: str) -> str:
    """As GitHub names a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _exceptions(group: Group, told: set[str]) -> Iterator[tuple[str, ...]]:
    """What is refused or has no effect in a group's operations, and was not told of another's."""
    if group.service == S3:
        yield from _exceptions_of_s3(group)
        return
    if group.service not in ALL_SERVICES:
        return
    service = ALL_SERVICES[group.service]
    for operation in group.operations:
        for name, title, table in _tables(service, operation):
            if f"{service.name} {name}" in told:
                continue
            told.add(f"{service.name} {name}")
            for word, reasons in (("no effect", table.ignored), ("refused", table.refused)):
                for why, members in _by_reason(reasons):
                    yield f"`{title}`", _names(members), word, why


def _exceptions_of_s3(group: Group) -> Iterator[tuple[str, ...]]:
    used = {
        member
        for operation in group.operations
        for member in service_model("s3").operation_model(operation).input_shape.members
        if member not in s3.SUPPORTED[operation].split()
    }
    for word, reasons in (("no effect", s3.IGNORED), ("refused", _refused_in_s3())):
        for why, members in _by_reason({name: why for name, why in reasons.items() if name in used}):
            yield "requests", _names(members), word, why
    if "DeleteObjects" in group.operations:
        for why, members in _by_reason(s3.REFUSED_OF_DELETIONS):
            yield "`ObjectIdentifier`", _names(members), "refused", why


def _refused_in_s3() -> Mapping[str, str]:
    return {**dict(s3.REFUSED_HEADERS.values()), **s3.REFUSED_IN_QUERY}


def _tables(service: Service, operation: str) -> Iterator[tuple[str, str, Members]]:
    """The structures of an operation's input that have a row: name, name for readers, row."""
    for path, shape in _structures(service, operation):
        if shape.name in service.members:
            yield shape.name, shape.name if path else operation, service.members[shape.name]


def _structures(service: Service, operation: str) -> Iterator[tuple[Any, Any]]:
    refused = {
        (name, member) for name, table in service.members.items() for member in table.refused if "=" not in member
    }
    owners: dict[Any, str] = {}
    for path, shape in structures(input_of(service, operation)):
        owners[path] = shape.name
        steps = [(owners.get(path[:index]), path[index]) for index in range(len(path))]
        if not any(step in refused for step in steps):
            yield path, shape


def _deviations(title: str, rows: list[Deviation]) -> Iterator[str]:
    if not rows:
        return
    open_ = not rows[0].there
    yield f"### {title}{': open' if open_ else ''}"
    yield ""
    head = ("here", "why", "shown by") if open_ else ("here", "on AWS", "why", "shown by")
    lines = []
    for row in rows:
        why = f"[{Path(row.page).stem}]({row.page})" if row.page else ""
        lines.append((row.here, *(() if open_ else (row.there,)), why, _test(row.test)))
    yield from _table(head, lines)


def _every_member(service: Service) -> Iterator[str]:
    told: set[str] = set()
    rows = []
    for operation in service.handlers:
        for name, title, table in _tables(service, operation):
            if name not in told:
                told.add(name)
                rows.append((f"`{title}`", *_classes(table.supported.split(), table.ignored, table.refused)))
    yield f"### {SERVICE_NAMES[service.name]}: members"
    yield ""
    yield from _table(("structure", "supported", "no effect", "refused"), rows)


def _every_member_of_s3() -> Iterator[str]:
    rows = []
    model = service_model("s3")
    for name, supported in s3.SUPPORTED.items():
        operation = name in model.operation_names
        shape: Any = model.operation_model(name).input_shape if operation else model.shape_for(name)
        others = [member for member in shape.members if member not in supported.split()]
        reasons = _refused_in_s3() if operation else s3.REFUSED_OF_DELETIONS
        ignored = [member for member in others if operation and member in s3.IGNORED]
        refused = [member for member in others if member in reasons and member not in ignored]
        rows.append((f"`{name}`", *_classes(supported.split(), ignored, refused)))
    yield "### S3: members"
    yield ""
    yield from _table(("structure", "supported", "no effect", "refused"), rows)


def _classes(supported: Iterable[str], ignored: Iterable[str], refused: Iterable[str]) -> tuple[str, str, str]:
    return _names(supported), _names(ignored), _names(refused)


def _by_reason(reasons: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    found: dict[str, list[str]] = defaultdict(list)
    for member, why in reasons.items():
        found[why].append(member)
    yield from found.items()


def _names(members: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in members)


def _test(test: str) -> str:
    path, _, name = test.partition("::")
    return f"[{name.removeprefix('test_')}](../{path})"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


if __name__ == "__main__":
    PAGE.write_text(page())
