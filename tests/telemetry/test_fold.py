from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bannister.domain.metric.summary import Summary
from bannister.reporting.coverage import Coverage
from bannister.telemetry.entry import Invocation
from bannister.telemetry.fold import Fold

GOOD = Invocation("g", "a:1", 100, 200, False, False, 0, 1000, 50)


def one(**changes: object) -> Invocation:
    return dataclasses.replace(GOOD, **changes)  # type: ignore[arg-type]


def folded(*invocations: Invocation) -> Summary:
    fold = Fold(30)
    for invocation in invocations:
        fold.add(invocation)
    [summary] = fold.take(101.0)
    return summary


def counts(summary: Summary) -> dict[str, int]:
    names = ("invocations", "errors_4xx", "errors_5xx", "model_errors", "unreachable", "abandoned", "retries", "late")
    return {name: getattr(summary, name) for name in names if getattr(summary, name)}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"status": 204}, {}),
        ({"status": 302}, {"model_errors": 1}),
        ({"status": 404}, {"model_errors": 1, "errors_4xx": 1}),
        ({"status": 503}, {"model_errors": 1, "errors_5xx": 1}),
        ({"status": None}, {"model_errors": 1}),
        ({"status": None, "unreachable": True}, {"model_errors": 1, "unreachable": 1}),
        ({"status": None, "abandoned": True}, {"abandoned": 1}),
        ({"status": 500, "abandoned": True}, {"abandoned": 1, "model_errors": 1, "errors_5xx": 1}),
        ({"retries": 2}, {"retries": 2}),
    ],
)
def test_outcomes(changes: dict[str, object], expected: dict[str, int]) -> None:
    assert counts(folded(one(**changes))) == {"invocations": 1, **expected}


def test_latencies_are_exact() -> None:
    unanswered = one(status=None, model_latency=None, overhead_latency=None)
    summary = folded(one(), one(model_latency=3000, overhead_latency=70), unanswered)
    assert summary.invocations == 3
    assert summary.model_latency is not None
    assert summary.overhead_latency is not None
    assert (summary.model_latency.count, summary.model_latency.sum) == (2, 4000)
    assert (summary.overhead_latency.minimum, summary.overhead_latency.maximum) == (50, 70)


def test_each_instance_and_second_has_its_own() -> None:
    fold = Fold(30)
    for invocation in (one(), one(address="b:1"), one(group="h"), one(second=99), one(), one(second=101)):
        fold.add(invocation)
    found = fold.take(101.9)
    assert [(s.second, s.group, s.address, s.invocations) for s in found] == [
        (99, "g", "a:1", 1),
        (100, "g", "a:1", 2),
        (100, "g", "b:1", 1),
        (100, "h", "a:1", 1),
    ]
    assert fold.take(101.9) == ()
    assert [s.second for s in fold.take(102.0)] == [101]


def test_nothing_is_given_out_before_it_is_final() -> None:
    fold = Fold(30)
    fold.add(one())
    assert fold.take(None) == ()
    assert fold.take(100.999) == ()
    assert len(fold.take(101.0)) == 1


def test_what_comes_after_its_second_was_final_is_late() -> None:
    fold = Fold(30)
    fold.add(one())
    assert [s.late for s in fold.take(101.0)] == [0]
    fold.add(one())
    fold.add(one(second=101))
    assert [(s.second, s.invocations, s.late) for s in fold.take(101.0)] == [(100, 1, 1)]
    assert [(s.second, s.late) for s in fold.take(102.0)] == [(101, 0)]


def test_open_seconds_are_bounded_while_the_watermark_stands() -> None:
    fold = Fold(open_seconds_max=3)
    for second in range(100, 106):
        fold.add(one(second=second))
    assert [(s.second, s.late) for s in fold.take(None)] == [(100, 0), (101, 0), (102, 0)]
    fold.add(one(second=100))
    assert [(s.second, s.late) for s in fold.take(None)] == [(100, 0)]
    assert [s.second for s in fold.take(200.0)] == [103, 104, 105]


def test_a_watermark_that_goes_back_opens_its_seconds_again() -> None:
    fold = Fold(30)
    fold.add(one(second=500))
    fold.add(one(second=501))
    assert [s.second for s in fold.take(501.0)] == [500]
    assert [s.second for s in fold.take(100.5)] == [501]
    fold.add(one(second=100))
    assert fold.take(100.5) == ()
    assert [(s.second, s.late) for s in fold.take(101.0)] == [(100, 0)]


STEPS = st.lists(
    st.tuples(
        st.floats(0.01, 1.5),  # until the next one
        st.sampled_from(["request", "request", "heartbeat", "broken", "report", "report"]),
        st.floats(0.0, 2.5),  # what it takes to be told of a request
    ),
    max_size=80,
)


@given(STEPS)
@settings(deadline=None)
def test_a_second_is_sent_when_it_and_the_margin_are_over_and_everything_is_sent_once(
    steps: list[tuple[float, str, float]],
) -> None:
    """Whatever comes when: requests, heartbeats, streams that break."""
    margin = 0.4
    coverage, fold = Coverage("r", margin), Fold(10_000)
    now, heard_at, given, sent, late = 1000.0, -1.0, 0, 0, 0
    pending: list[tuple[float, float]] = []
    for pause, what, delay in [*steps, (5.0, "request", 0.0), (5.0, "heartbeat", 0.0), (0.1, "report", 0.0)]:
        now += pause
        if what == "request":
            pending.append((now + delay, now))
            given += 1
        elif what == "heartbeat":
            coverage.heartbeat_seen("r", coverage.next_heartbeat(now, now), now)
            heard_at = now
        elif what == "broken":
            coverage.something_lost()
        else:
            for told_at, ended_at in [one for one in pending if one[0] <= now]:
                pending.remove((told_at, ended_at))
                fold.add(one(second=int(ended_at)))
            for summary in fold.take(coverage.watermark):
                assert summary.second + 1 <= heard_at - margin + 1e-9, "it is over, and a heartbeat after it was seen"
                sent += summary.invocations
                late += summary.late
    assert sent == given
    assert late <= sum(delay > margin for _, what, delay in steps if what == "request")
