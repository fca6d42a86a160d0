"""The models' Java expressions, in Python."""

from __future__ import annotations

import warnings

import pytest

from bannister.aws.wire.models import service_model
from bannister.aws.wire.pattern import compiled

TAG = r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)"
NAME = "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"


@pytest.mark.parametrize("service", ["sagemaker", "sagemaker-runtime", "cloudwatch"])
def test_every_pattern_of_the_models_can_be_translated(service: str) -> None:
    model = service_model(service)
    patterns = {model.shape_for(name).metadata.get("pattern") for name in model.shape_names} - {None}
    assert len(patterns) > 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [pattern for pattern in patterns if compiled(pattern) is None] == []


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        (NAME, "flights-2", True),
        (NAME, "flights_2", False),
        (NAME, "flights\n", False),
        (NAME, "-flights", False),
        (r"^\d+$", "12", True),
        (r"^\d+$", "12\n", False),
        (r"^\d+$", "١٢", False),
        (TAG, "owner@team", True),
        (TAG, "Zoë 北京 Ⅷ", True),
        (TAG, "a\u00a0b", True),
        (TAG, "a#b", False),
        (TAG, "a€b", False),
        (r"[\p{L}\p{M}\p{S}\p{N}\p{P}]+", "a€#¿", True),
        (r"[\p{L}\p{M}\p{S}\p{N}\p{P}]+", "a b", False),
        (r"([\p{L}\p{Z}\p{N}_.:\/=+\-@]*)${1,128}", "key", True),
        (r"\A\S[\p{Print}]*\z", "id 1", True),
        (r"\A\S[\p{Print}]*\z", "id\t1", False),
        (r"\A\S[\p{Print}]*\z", "\u00e9", True),
        (r"\p{ASCII}*", "plain", True),
        (r"\p{ASCII}*", "pläin", False),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\t]*", "text\tand \U0001f6d1", True),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\t]*", "line\n", False),
    ],
)
def test_what_a_pattern_matches(pattern: str, value: str, matches: bool) -> None:
    expression = compiled(pattern)
    assert expression is not None
    assert expression.matches(value) is matches


def test_a_pattern_that_cannot_be_translated_accepts_everything() -> None:
    assert compiled("(") is None
    assert compiled(r"\p{Klingon}") is None
