"""Copies that the proxy did not make: from its counters to the metric."""

from bannister.domain.metric.aggregate import statistic
from bannister.domain.metric.endpoint import endpoint_metric
from bannister.domain.metric.identity import SHADOW_NAMESPACE, identity
from bannister.metrics.store import GroupDimensions
from bannister.metrics.window import MetricWindow
from bannister.reporting.counters import _unchunked
from bannister.telemetry.entry import Invocation
from bannister.telemetry.fold import Fold
from bannister.telemetry.skipped import SkippedCopies

BOTH = {"EndpointName": "e", "VariantName": "Shadow"}


def counters(small: int, large: int = 0, pending: int = 0) -> str:
    return (
        f"cluster.shadow/e.Shadow.d1/large.upstream_rq_active_overflow: {large}\n"
        f"cluster.shadow/e.Shadow.d1/large.upstream_rq_pending_overflow: 0\n"
        f"cluster.shadow/e.Shadow.d1/small.upstream_rq_active_overflow: {small}\n"
        f"cluster.shadow/e.Shadow.d1/small.upstream_rq_pending_overflow: {pending}\n"
        "cluster.shadow/e.Shadow.d1/small.upstream_rq_retry_overflow: 77\n"
        "cluster.noise/e.AllTraffic.d1/small.upstream_rq_active_overflow: 99\n"
    )


def test_what_was_added_since_the_last_look_is_counted_by_group():
    skipped = SkippedCopies()
    assert skipped.added(counters(5)) == {}, "nobody knows which part of the first look is new"
    assert skipped.added(counters(5)) == {}
    assert skipped.added(counters(8, large=2, pending=1)) == {"e.Shadow.d1": 6}


def test_a_way_that_is_new_counts_from_zero_and_so_does_a_proxy_that_was_started_again():
    skipped = SkippedCopies()
    skipped.added("")
    assert skipped.added(counters(3)) == {"e.Shadow.d1": 3}
    assert skipped.added(counters(2)) == {"e.Shadow.d1": 2}


def test_lines_are_whole_wherever_the_answer_was_cut():
    assert _unchunked(b"3\r\nabc\r\n2\r\nd\n\r\n0\r\n\r\n") == b"abcd\n"


def copy(second: int = 100) -> Invocation:
    return Invocation("g", "a:1", second, 200, False, False, 0, 10, 1, copy=True)


def test_the_metric_has_a_datum_for_every_copy_that_was_to_be_made():
    fold = Fold(open_seconds_max=30)
    for _ in range(6):
        fold.add(copy())
    fold.skip("g", 100, 2)
    summaries = fold.take(200.0)
    window = MetricWindow()
    window.register(GroupDimensions("g", "e", "Shadow", "c", 1))
    window.add(summaries)
    for dimensions in (BOTH, BOTH | {"EndpointConfigName": "c"}):
        metric = identity(SHADOW_NAMESPACE, "Skipped", dimensions)
        (found,) = window.read(metric, 100.0, 1.0, 1, None, 1.0)
        assert found is not None
        assert (statistic(found, "Sum"), statistic(found, "SampleCount")) == (2.0, 8.0)
        assert metric in window.metrics(0.0)
    (invocations,) = window.read(identity("AWS/SageMaker", "Invocations", BOTH), 100.0, 1.0, 1, None, 1.0)
    assert invocations is not None
    assert statistic(invocations, "Sum") == 6.0, "what was not copied is no invocation"


def test_a_group_that_is_no_shadow_has_no_such_metric():
    window = MetricWindow()
    window.register(GroupDimensions("g", "e", "Shadow", "c", 1))
    fold = Fold(open_seconds_max=30)
    fold.add(Invocation("g", "a:1", 100, 200, False, False, 0, 10, 1))
    summaries = fold.take(200.0)
    window.add(summaries)
    assert endpoint_metric("Skipped", summaries, 1) is None
    assert not [metric for metric in window.metrics(0.0) if metric.namespace == SHADOW_NAMESPACE]
