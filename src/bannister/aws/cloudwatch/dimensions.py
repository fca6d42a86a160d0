"""Metrics and their dimensions, as all CloudWatch operations spell them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from bannister.domain.metric.identity import MetricIdentity, identity
from bannister.errors import Invalid


def metric_identity(namespace: str, name: str, dimensions: list[dict[str, Any]] | None) -> MetricIdentity:
    """The identity of a metric from its members.

    Raises:
        Invalid: A dimension is named twice.
    """
    pairs = [(dimension["Name"], dimension["Value"]) for dimension in dimensions or []]
    twice = [dimension for dimension, times in Counter(name for name, _ in pairs).items() if times > 1]
    if twice:
        raise Invalid(f"The dimension {twice[0]} is given more than once.", code="InvalidParameterValueException")
    return identity(namespace, name, dict(pairs))


def dimension_members(metric: MetricIdentity) -> list[dict[str, str]]:
    """A metric's dimensions as Name and Value."""
    return [{"Name": name, "Value": value} for name, value in metric.dimensions]
