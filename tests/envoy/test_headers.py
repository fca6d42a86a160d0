"""The pattern of names that are not on a list."""

from __future__ import annotations

import re

import pytest

from bannister.envoy.resources.headers import not_for_the_caller, not_for_the_model, other_than

NAMES = ("a", "ab", "abc-d", "b.c", "x]y", "x^")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_the_list_does_not_match(name: str) -> None:
    assert re.fullmatch(other_than(NAMES), name) is None


@pytest.mark.parametrize(
    "name", ["", "abc", "abc-", "abc-de", "b", "bxc", "b.cc", "c", "x", "x]", "x\\y", "xx^", "abab"]
)
def test_every_other_does(name: str) -> None:
    assert re.fullmatch(other_than(NAMES), name)


@pytest.mark.parametrize("pattern", [not_for_the_model(), not_for_the_caller()], ids=["request", "answer"])
def test_neighbours_of_what_passes_do_not_pass(pattern: str) -> None:
    assert re.fullmatch(pattern, "content-type") is None
    for name in ("content-typ", "content-types", "xcontent-type", "content", "cookie", "x-amzn-sagemaker"):
        assert re.fullmatch(pattern, name), name
