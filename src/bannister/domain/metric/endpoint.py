"""The endpoint metrics of `AWS/SageMaker`, derived from the one-second summaries of instances.

SageMaker sends one datum for every request to each metric, also a zero for each request that had no error. So the SampleCount of an error
metric is the number of invocations and its Average the error rate. Every metric exists under two sets of dimensions: endpoint and variant,
where the old and the new fleet of a deployment add up; and endpoint, variant and configuration, which tells the fleets apart.

A shadow has all of these, over the copies that it was sent, and `Skipped` in `/bannister/Shadow`: one datum for every copy that was to be made, 1 for one that was
not because a bound was reached. So its Sum is the number of skipped copies and its Average their share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from bannister.domain.fleet import Group
from bannister.domain.metric import sketch as sketches
from bannister.domain.metric.aggregate import Aggregate, of_sketch
from bannister.domain.metric.identity import SAGEMAKER_NAMESPACE, SHADOW_NAMESPACE, MetricIdentity, identity
from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Summary

#: Every endpoint metric and its unit.
ENDPOINT_METRICS: dict[str, str] = {
    "Invocation4XXErrors": "None",
    "Invocation5XXErrors": "None",
    "InvocationModelErrors": "None",
    "Invocations": "None",
    "InvocationsPerInstance": "None",
    "ModelLatency": "Microseconds",
    "OverheadLatency": "Microseconds",
}

#: What only a shadow has, in `SHADOW_NAMESPACE`.
SHADOW_METRICS: dict[str, str] = {"Skipped": "Count"}

_BY_NAMESPACE = {SAGEMAKER_NAMESPACE: ENDPOINT_METRICS, SHADOW_NAMESPACE: SHADOW_METRICS}

_ERRORS: dict[str, Callable[[Summary], int]] = {
    "Invocation4XXErrors": lambda summary: summary.errors_4xx,
    "Invocation5XXErrors": lambda summary: summary.errors_5xx,
    "InvocationModelErrors": lambda summary: summary.model_errors,
}
_LATENCIES: dict[str, Callable[[Summary], Sketch | None]] = {
    "ModelLatency": lambda summary: summary.model_latency,
    "OverheadLatency": lambda summary: summary.overhead_latency,
}
#: Those that are measured, not counted.
LATENCIES = frozenset(_LATENCIES)


def endpoint_metric(name: str, summaries: Sequence[Summary], instance_count: int) -> Aggregate | None:
    """One endpoint metric over summaries of one group; None: no data.

    Args:
        name: One of `ENDPOINT_METRICS` or `SHADOW_METRICS`.
        summaries: Any seconds of any of the group's instances.
        instance_count: How many instances share those of the group's invocations for which that was not noted (`Summary.shared_by`).
    """
    if name in SHADOW_METRICS:
        skipped = sum(one.skipped for one in summaries)
        asked = skipped + sum(one.copies for one in summaries)
        return zeros_and_ones(asked, skipped, SHADOW_METRICS[name]) if asked > 0 else None
    unit = ENDPOINT_METRICS[name]
    if name in _LATENCIES:
        parts = [part for one in summaries if (part := _LATENCIES[name](one)) is not None]
        return of_sketch(sketches.merge(parts), unit) if parts else None
    invocations = sum(one.invocations for one in summaries)
    if invocations <= 0:
        return None
    if name in _ERRORS:
        return zeros_and_ones(invocations, sum(map(_ERRORS[name], summaries)), unit)
    if name == "InvocationsPerInstance":
        return of_sketch(_shares(summaries, instance_count), unit)
    return of_sketch(Sketch.constant(1.0, invocations), unit)


def _shares(summaries: Sequence[Summary], instance_count: int) -> Sketch:
    """AWS: the value of each request is 1 divided by the number of instances that there were at the time."""
    counts: Counter[int] = Counter()
    for one in summaries:
        counts.update(one.shared_by)
        counts[instance_count] += one.invocations - sum(one.shared_by.values())
    parts = [Sketch.constant(1 / max(instances, 1), number) for instances, number in counts.items() if number > 0]
    return parts[0] if len(parts) == 1 else sketches.merge(parts)


def zeros_and_ones(count: int, ones: int, unit: str) -> Aggregate:
    """Samples that are each 0 or 1: the sum counts the ones, the average is their share."""
    if ones == 0:
        return of_sketch(Sketch.constant(0.0, count), unit)
    if ones >= count:
        return of_sketch(Sketch.constant(1.0, count), unit)
    return of_sketch(Sketch.zeros_and_ones(count - ones, ones), unit)


def endpoint_identities(
    endpoint: str, variant: str, config_name: str, *, names: Sequence[str] = tuple(ENDPOINT_METRICS)
) -> list[MetricIdentity]:
    """The metrics of one group, under both sets of dimensions."""
    both = {"EndpointName": endpoint, "VariantName": variant}
    with_config = both | {"EndpointConfigName": config_name}
    return [
        identity(SHADOW_NAMESPACE if name in SHADOW_METRICS else SAGEMAKER_NAMESPACE, name, dimensions)
        for name in names
        for dimensions in (both, with_config)
    ]


def group_metric(name: str, group: Group) -> MetricIdentity:
    """One metric of a group; of it alone where it is read with `group`, for another fleet may have the same configuration."""
    _, with_config = endpoint_identities(group.endpoint, group.variant, group.config_name, names=(name,))
    return with_config


def endpoint_of(metric: MetricIdentity) -> tuple[str, str, str | None] | None:
    """Endpoint, variant and configuration (None: all) of an endpoint metric; None: it is not one."""
    if metric.name not in _BY_NAMESPACE.get(metric.namespace, ()):
        return None
    return variant_of(metric)


def variant_of(metric: MetricIdentity) -> tuple[str, str, str | None] | None:
    """Endpoint, variant and configuration (None: all) that a metric's dimensions name; None: they are others."""
    match metric.dimensions:
        case (("EndpointName", endpoint), ("VariantName", variant)):
            return endpoint, variant, None
        case (("EndpointConfigName", config_name), ("EndpointName", endpoint), ("VariantName", variant)):
            return endpoint, variant, config_name
        case _:
            return None
