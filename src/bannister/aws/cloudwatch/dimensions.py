"""Metrics and their dimensions, as all CloudWatch operations spell them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from bannister.domain.metric.identity import MetricIdentity, identity
from bannister.errors import Invalid


def metric_identity(namespace: str, name: str, dimensions: list[dict[str, Any]] | None) -> MetricIdentity:
    """The identity of a metric from its members.

    Raises:
        Invalid: A dimension is named twice; or the namespace, or a dimension's name or value, is not what botocore's model cannot say: ASCII without control
            characters, with more than white space, and of a name the first character no colon.
    """
    _check_text("Namespace", namespace)
    if not name.isprintable():
        raise _wrong("MetricName", name, "contains control characters; write it without them")
    for place, dimension in enumerate(dimensions or [], start=1):
        _check_text(f"Dimensions.member.{place}.Name", dimension["Name"])
        _check_text(f"Dimensions.member.{place}.Value", dimension["Value"])
        if dimension["Name"].startswith(":"):
            raise _wrong(f"Dimensions.member.{place}.Name", dimension["Name"], "must not begin with a colon")
    pairs = [(dimension["Name"], dimension["Value"]) for dimension in dimensions or []]
    twice = [dimension for dimension, times in Counter(name for name, _ in pairs).items() if times > 1]
    if twice:
        raise Invalid(f"The dimension {twice[0]} is given more than once.", code="InvalidParameterValueException")
    return identity(namespace, name, dict(pairs))


def _check_text(where: str, text: str) -> None:
    if not text.isascii():
        raise _wrong(where, text, "contains non-ASCII characters; write it without them")
    if not text.isprintable():
        raise _wrong(where, text, "contains control characters; write it without them")
    if text.isspace():
        raise _wrong(where, text, "must have at least one character that is not white space")


def _wrong(where: str, text: str, what: str) -> Invalid:
    return Invalid(f"The value {text!r} for parameter {where} {what}.", code="InvalidParameterValueException")


def dimension_members(metric: MetricIdentity) -> list[dict[str, str]]:
    """A metric's dimensions as Name and Value."""
    return [{"Name": name, "Value": value} for name, value in metric.dimensions]
