from __future__ import annotations

import pytest

from bannister.domain.metric.aggregate import statistic
from bannister.domain.metric.endpoint import ENDPOINT_METRICS, endpoint_identities, endpoint_metric, endpoint_of
from bannister.domain.metric.identity import identity
from bannister.domain.metric.retention import merged_summary
from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Summary

SUMMARIES = [
    Summary("g", "a:1", 100, 6, errors_5xx=1, model_errors=2, model_latency=Sketch.of([10, 20, 30, 40, 50])),
    Summary("g", "b:1", 100, 4, errors_4xx=1, model_errors=1, model_latency=Sketch.of([60, 70, 80, 90])),
]


@pytest.mark.parametrize(
    ("name", "count", "total"),
    [
        ("Invocations", 10, 10),
        ("InvocationsPerInstance", 10, 5),
        ("Invocation4XXErrors", 10, 1),
        ("Invocation5XXErrors", 10, 1),
        ("InvocationModelErrors", 10, 3),
        ("ModelLatency", 9, 450),
    ],
)
def test_one_datum_for_each_request(name: str, count: int, total: float) -> None:
    aggregate = endpoint_metric(name, SUMMARIES, instance_count=2)
    assert aggregate is not None
    assert (aggregate.count, aggregate.sum, aggregate.unit) == (count, total, ENDPOINT_METRICS[name])


def test_invocations_per_instance_are_of_the_instances_of_their_time_as_far_as_it_was_noted() -> None:
    noted = [Summary("g", "a", 1, 6, shared_by={3: 6}), Summary("g", "a", 2, 4, shared_by={2: 3, 4: 1})]
    unnoted = Summary("g", "a", 3, 5)
    aggregate = endpoint_metric("InvocationsPerInstance", [*noted, unnoted], 1)
    assert aggregate is not None
    assert (aggregate.count, aggregate.sum) == (15, pytest.approx(6 / 3 + 3 / 2 + 1 / 4 + 5))
    assert (aggregate.minimum, aggregate.maximum) == (0.25, 1)
    rolled_up = endpoint_metric("InvocationsPerInstance", [merged_summary([*noted, unnoted], 0)], 1)
    assert rolled_up is not None
    assert (rolled_up.count, rolled_up.sum) == (aggregate.count, pytest.approx(aggregate.sum))


def test_the_average_of_an_error_metric_is_the_error_rate() -> None:
    aggregate = endpoint_metric("InvocationModelErrors", SUMMARIES, 2)
    assert aggregate is not None
    names = ("Average", "Minimum", "Maximum", "p50", "p70", "p71")
    assert [statistic(aggregate, name) for name in names] == [0.3, 0, 1, 0, 0, 1]


def test_without_errors_zeros_are_sent_and_with_only_errors_ones() -> None:
    good = endpoint_metric("Invocation5XXErrors", [Summary("g", "a", 1, 5)], 1)
    bad = endpoint_metric("Invocation5XXErrors", [Summary("g", "a", 1, 5, errors_5xx=5)], 1)
    assert good is not None
    assert bad is not None
    assert (good.count, good.sum, good.maximum) == (5, 0, 0)
    assert (bad.count, bad.sum, bad.minimum) == (5, 5, 1)


def test_no_answer_has_no_latency() -> None:
    unanswered = [Summary("g", "", 1, 3, model_errors=3, unreachable=3)]
    assert endpoint_metric("ModelLatency", unanswered, 1) is None
    assert endpoint_metric("OverheadLatency", SUMMARIES, 1) is None
    assert endpoint_metric("Invocations", [], 1) is None


def test_latency_percentiles_are_of_single_requests() -> None:
    aggregate = endpoint_metric("ModelLatency", SUMMARIES, 2)
    assert aggregate is not None
    assert statistic(aggregate, "p50") == 50
    assert statistic(aggregate, "p99") == 90


def test_both_sets_of_dimensions() -> None:
    found = endpoint_identities("e", "v", "c")
    assert len(found) == len(set(found)) == 2 * len(ENDPOINT_METRICS)
    assert {endpoint_of(one) for one in found} == {("e", "v", None), ("e", "v", "c")}


@pytest.mark.parametrize(
    ("namespace", "name", "dimensions"),
    [
        ("AWS/SageMaker", "Invocations", {"EndpointName": "e"}),
        ("AWS/SageMaker", "Invocations", {}),
        ("AWS/SageMaker", "Invocations", {"EndpointName": "e", "VariantName": "v", "X": "y"}),
        ("AWS/SageMaker", "CPUUtilization", {"EndpointName": "e", "VariantName": "v"}),
        ("Mine", "Invocations", {"EndpointName": "e", "VariantName": "v"}),
    ],
)
def test_other_metrics_are_no_endpoint_metrics(namespace: str, name: str, dimensions: dict[str, str]) -> None:
    assert endpoint_of(identity(namespace, name, dimensions)) is None
