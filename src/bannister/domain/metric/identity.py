"""Which metric: namespace, name and the whole set of dimensions, as in CloudWatch."""

from __future__ import annotations

from dataclasses import dataclass

#: The namespace of endpoint metrics.
SAGEMAKER_NAMESPACE = "AWS/SageMaker"
#: The namespace of what only shadows have.
SHADOW_NAMESPACE = "/bannister/Shadow"


@dataclass(frozen=True, slots=True)
class MetricIdentity:
    """Two metrics with different dimensions are different metrics; nothing rolls up (AWS)."""

    namespace: str
    name: str
    #: (name, value) pairs, sorted by name: see `identity`.
    dimensions: tuple[tuple[str, str], ...] = ()


def identity(namespace: str, name: str, dimensions: dict[str, str] | None = None) -> MetricIdentity:
    """The identity of a metric, its dimensions in the one order that makes equal sets equal."""
    return MetricIdentity(namespace, name, tuple(sorted((dimensions or {}).items())))
