"""Early certainty against what the full evaluation says when the period has ended, over whatever may still come."""

import json
import math
from dataclasses import replace
from itertools import groupby, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bannister.domain.alarm.alarm import AlarmRule, AlarmValue, Comparison, MissingData
from bannister.domain.alarm.certainty import Foreseen, can_be_certain, foreseen, may_be_foreseen, seconds_needed
from bannister.domain.alarm.evaluation import evaluate, initial_state
from bannister.domain.alarm.judgement import Datapoint, judge, range_periods
from bannister.domain.metric.aggregate import Aggregate, merge, of_values, statistic
from bannister.domain.metric.endpoint import (
    ENDPOINT_METRICS,
    SHADOW_METRICS,
    endpoint_identities,
    endpoint_metric,
)
from bannister.domain.metric.identity import identity
from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Summary

ERRORS = identity("AWS/SageMaker", "Invocation5XXErrors", {"EndpointName": "e", "VariantName": "v"})
PER_INSTANCE = replace(ERRORS, name="InvocationsPerInstance")
MINE = identity("Mine", "balance")
GREATER, AT_LEAST, LESS, AT_MOST = (
    Comparison.GREATER,
    Comparison.GREATER_OR_EQUAL,
    Comparison.LESS,
    Comparison.LESS_OR_EQUAL,
)
ONE_WAY = [("Sum", GREATER), ("Sum", AT_LEAST), ("SampleCount", GREATER), ("Maximum", AT_LEAST), ("Minimum", AT_MOST)]

Seconds = dict[int, Aggregate]


def rule(statistic: str = "Sum", comparison: Comparison = GREATER, **changes: object) -> AlarmRule:
    values: dict[str, object] = {
        "metric": ERRORS,
        "period_seconds": 10,
        "evaluation_periods": 2,
        "datapoints_to_alarm": 2,
        "threshold": 5.0,
    }
    return AlarmRule(statistic=statistic, comparison=comparison, **{**values, **changes})  # type: ignore[arg-type]


def looked_ahead(one: AlarmRule, known: Seconds, until: int) -> Foreseen | None:
    """As the evaluator asks."""
    period = one.period_seconds
    around = [known[second] for second in range(until - period, until + period) if second in known]
    if not may_be_foreseen(one, merge(around) if around else None):
        return None
    start, count = seconds_needed(one, until)
    return foreseen(one, [known.get(second) for second in range(start, start + count)], until)


def slots(one: AlarmRule, known: Seconds, end: int) -> list[Datapoint | None]:
    found: list[Datapoint | None] = []
    for age in range(range_periods(one), 0, -1):
        begin = end - age * one.period_seconds
        parts = [known[second] for second in range(begin, begin + one.period_seconds) if second in known]
        value = statistic(merge(parts), one.statistic) if parts else None
        found.append(None if value is None else Datapoint(begin, value, merge(parts).count))
    return found


def burst(size: int) -> Aggregate:
    return of_values([1.0], [float(size)])


def test_two_bursts_are_an_alarm_before_the_boundary_comes_to_lie_between_them() -> None:
    known = {100: burst(6), 108: burst(6)}
    assert judge(rule(), slots(rule(), known, 109)).value is not AlarmValue.ALARM
    found = looked_ahead(rule(), known, 109)
    assert found is not None
    assert (found.at, found.seconds_early) == (111, 2)
    assert [point.start_at for point in found.breaching] == [101, 91]
    assert judge(rule(), slots(rule(), known, 111)).value is AlarmValue.ALARM


def test_a_second_that_is_not_final_counts_as_far_as_it_is_known() -> None:
    one = rule(evaluation_periods=1, datapoints_to_alarm=1)
    assert looked_ahead(one, {100: burst(6)}, 100) == Foreseen(101, 100, (Datapoint(91, 6.0, 6.0),))
    assert looked_ahead(one, {100: burst(5)}, 100) is None


@pytest.mark.parametrize(
    ("one", "certain"),
    [(rule(name, comparison), True) for name, comparison in ONE_WAY]
    + [
        (rule("Sum", LESS), False),
        (rule("Maximum", LESS), False),
        (rule("Minimum", GREATER), False),
        (rule("SampleCount", AT_MOST), False),
        (rule("Average"), False),
        (rule("p99"), False),
        (rule("Sum", metric=MINE), False),
        (rule("Maximum", metric=MINE), True),
        (rule("SampleCount", metric=MINE), True),
        (rule("Minimum", LESS, metric=MINE), True),
        (rule("Sum", period_seconds=3600), False),
        (rule("Sum", metric=PER_INSTANCE), True),
        (rule("Maximum", metric=PER_INSTANCE), True),
        (rule("Minimum", AT_MOST, metric=PER_INSTANCE), True),
        (rule("SampleCount", metric=PER_INSTANCE), True),
        (rule("Maximum", metric=replace(PER_INSTANCE, namespace="Mine")), True),
    ],
    ids=lambda value: (
        f"{value.metric.namespace} {value.metric.name} {value.statistic} {value.comparison} {value.period_seconds}"
        if isinstance(value, AlarmRule)
        else str(value)
    ),
)
def test_what_can_be_certain(one: AlarmRule, certain: bool) -> None:
    assert can_be_certain(one) is certain


@pytest.mark.parametrize("name", [*ENDPOINT_METRICS, *SHADOW_METRICS])
@pytest.mark.parametrize(("statistic_name", "comparison"), ONE_WAY)
def test_no_later_request_and_no_other_number_of_instances_takes_back_what_is_certain_of_endpoint_metrics(
    name: str, statistic_name: str, comparison: Comparison
) -> None:
    metric, *_ = endpoint_identities("e", "v", "c", names=(name,))
    if not can_be_certain(rule(statistic_name, comparison, metric=metric)):
        return
    way = 1 if comparison in (GREATER, AT_LEAST) else -1
    quick, slow = Sketch.of([1.0, 2.0]), Sketch.of([900.0])
    summaries = [
        Summary("g", "a", 1, 2, errors_5xx=2, model_latency=quick, overhead_latency=slow, copies=1, skipped=1),
        Summary("g", "b", 2, 1, errors_4xx=1, model_errors=1, model_latency=slow, overhead_latency=quick, copies=3),
        Summary("g", "a", 3, 9, model_latency=Sketch.constant(7.0, 9), skipped=2),
    ]
    summaries = [replace(one, shared_by={number + 1: one.invocations}) for number, one in enumerate(summaries)]
    for order in permutations(summaries):
        for before, after in product((1, 2, 5), repeat=2):
            reached = -math.inf
            for known in range(1, 4):
                for instances in (before, after):
                    found = endpoint_metric(name, order[:known], instances)
                    value = None if found is None else statistic(found, statistic_name)
                    if value is not None:
                        assert value * way >= reached
                        reached = value * way


def test_the_reason_says_that_it_was_decided_early() -> None:
    ahead = looked_ahead(rule(), {100: burst(6), 108: burst(6)}, 109)
    after = evaluate(rule(), [None] * 4, initial_state(0), 109.7, ahead=ahead)
    assert after.value is AlarmValue.ALARM
    assert after.reason.startswith("Threshold Crossed: 2 out of the last 2 datapoints [6.0 (")
    assert after.reason.endswith(
        "Decided 2 seconds before the period ends (01/01/70 00:01:51): until then Sum can only grow."
    )
    assert json.loads(after.reason_data or "")["decidedEarly"] == {
        "knownUntil": "1970-01-01T00:01:49.000+0000",
        "periodEnd": "1970-01-01T00:01:51.000+0000",
    }
    assert evaluate(rule(), [None] * 4, after, 110.7, ahead=ahead) is after  # until it has come, nothing is written


@st.composite
def worlds(draw: st.DrawFn) -> tuple[AlarmRule, list[tuple[int, Aggregate]], int]:
    """A rule, everything that ever comes (by second, in the order of arrival), and how many of it are known."""
    name, comparison = draw(st.sampled_from(ONE_WAY))
    periods = draw(st.integers(1, 4))
    one = rule(
        name,
        comparison,
        period_seconds=draw(st.integers(1, 6)),
        evaluation_periods=periods,
        datapoints_to_alarm=draw(st.integers(1, periods)),
        threshold=float(draw(st.integers(0, 5))),
        missing_data=draw(st.sampled_from(MissingData)),
    )
    samples = st.builds(
        lambda value, count: of_values([float(value)], [float(count)]), st.integers(0, 6), st.integers(1, 3)
    )
    arrivals = draw(st.lists(st.tuples(st.integers(60, 100), samples), max_size=25))
    return one, arrivals, draw(st.integers(0, len(arrivals)))


def summed(arrivals: list[tuple[int, Aggregate]]) -> Seconds:
    ordered = sorted(arrivals, key=lambda arrival: arrival[0])
    return {
        second: merge([part for _, part in same]) for second, same in groupby(ordered, key=lambda arrival: arrival[0])
    }


@given(worlds(), st.integers(85, 95), st.booleans())
def test_what_is_certain_comes_true_whatever_comes(world, until: int, blind: bool) -> None:
    one, arrivals, known = world
    found = looked_ahead(one, summed(arrivals[:known]), until)
    if found is None:
        return
    assert until < found.at <= until + one.period_seconds
    # What comes afterwards belongs to any second, also to one that was final: later than it should.
    assert judge(one, slots(one, summed(arrivals), found.at), unseen=blind).value is AlarmValue.ALARM


@given(worlds(), st.integers(85, 95))
def test_what_is_certain_stays_so_until_it_comes_true(world, until: int) -> None:
    one, arrivals, known = world
    found = looked_ahead(one, summed(arrivals[:known]), until)
    for second in range(until + 1, found.at if found is not None else 0):
        assert looked_ahead(one, summed(arrivals), second) is not None


@given(worlds(), st.integers(85, 95))
def test_an_evaluation_that_the_known_part_decides_is_foreseen(world, until: int) -> None:
    """The other way round: with nothing to come, the next ALARM within a period is foreseen, if its newest period is one that breaches."""
    one, arrivals, _ = world
    seconds = summed([(second, part) for second, part in arrivals if second < until])
    newest_breaches = False
    for end in range(until + 1, until + one.period_seconds + 1):
        found = slots(one, seconds, end)
        newest = judge(rule(**_of_one(one)), found[-1:]).value if found[-1] is not None else None
        counted = [judge(rule(**_of_one(one)), [slot]).value for slot in found[2:] if slot is not None]
        if newest is AlarmValue.ALARM and counted.count(AlarmValue.ALARM) >= one.datapoints_to_alarm:
            newest_breaches = True
    assert (looked_ahead(one, seconds, until) is not None) is newest_breaches


def _of_one(one: AlarmRule) -> dict[str, object]:
    return {"statistic": one.statistic, "comparison": one.comparison, "threshold": one.threshold} | {
        "evaluation_periods": 1,
        "datapoints_to_alarm": 1,
    }
