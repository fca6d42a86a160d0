"""The page on compatibility says what the code says, of every operation, and names tests and pages that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
from tests.compatibility.page import ALL_SERVICES, PAGE, ROOT, named_tests, page
from tests.compatibility.reading import input_of
from tests.compatibility.shown_by import GROUPS

from bannister.aws import deployments, runtime_errors
from bannister.aws.deviations import DEVIATIONS
from bannister.aws.s3.members import SUPPORTED
from bannister.aws.wire.models import service_model


def test_the_page_is_what_the_code_makes_of_it() -> None:
    assert PAGE.read_text() == page(), "run `make compatibility`, and look at what it changes"


@cache
def functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("test", sorted(set(named_tests())))
def test_every_test_that_it_names_exists(test: str) -> None:
    path, _, name = test.partition("::")
    assert (ROOT / path).exists(), path
    assert name in functions(ROOT / path)


def test_its_links_within_lead_to_headings() -> None:
    text = PAGE.read_text()
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", PAGE.read_text()))))
def test_its_links_lead_somewhere(target: str) -> None:
    assert (PAGE.parent / target).exists()


def test_every_operation_is_on_it() -> None:
    told = {(group.service, operation) for group in GROUPS for operation in group.operations}
    served = {(service.name, operation) for service in ALL_SERVICES.values() for operation in service.handlers}
    served |= {("bannister", operation) for operation in deployments.service(cast("Any", None)).handlers}
    served |= {("s3", name) for name in SUPPORTED if name in service_model("s3").operation_names}
    assert told == served
    assert all(shown for group in GROUPS for shown in group.operations.values())


@pytest.mark.parametrize("title", DEVIATIONS)
def test_rows_are_one_line_without_a_full_stop(title: str) -> None:
    for row in DEVIATIONS[title]:
        assert "\n" not in row.here + row.there
        assert not row.here.endswith(".")


@pytest.mark.parametrize("operation", ["InvokeEndpoint", "InvokeEndpointWithResponseStream"])
def test_what_an_invocation_refuses_is_what_the_proxy_is_told_to(operation: str) -> None:
    service = ALL_SERVICES["sagemaker-runtime"]
    shape: Any = input_of(service, operation)
    table = service.members[shape.name]
    classes = [*table.supported.split(), *table.ignored, *table.refused]
    assert sorted(classes) == sorted(shape.members)
    told = runtime_errors.runtime_texts("000000000000", 1).unsupported_headers
    headers = {shape.members[name].serialization["name"].lower() for name in table.refused}
    known = {member.serialization.get("name", "").lower() for member in shape.members.values()}
    assert headers == {header for header in told if header in known}
