"""Alarms on expressions: what is accepted, and how they read."""

from __future__ import annotations

import json

import pytest

from bannister.domain.alarm.alarm import AlarmQuery, AlarmRule, AlarmValue
from bannister.domain.alarm.definition import Definition, rule_of
from bannister.domain.alarm.evaluation import evaluate, initial_state
from bannister.domain.alarm.expression import values
from bannister.domain.alarm.judgement import Datapoint
from bannister.domain.alarm.summary import summary
from bannister.domain.metric.identity import identity
from bannister.errors import Invalid, Refused

ERRORS, REQUESTS = identity("N", "Errors", {"e": "1"}), identity("N", "Requests", {"e": "1"})
M1 = AlarmQuery("m1", ERRORS, "Sum", period_seconds=60, return_data=False)
M2 = AlarmQuery("m2", REQUESTS, "Sum", period_seconds=60, return_data=False)
RATE = AlarmQuery("rate", expression="100 * m1 / m2")


def asked(*queries: AlarmQuery, **more: object) -> Definition:
    given: dict[str, object] = {"evaluation_periods": 1, "threshold": 5.0, "comparison": "GreaterThanThreshold", **more}
    return Definition(None, queries, **given)  # type: ignore[arg-type]


def test_a_rule_has_the_period_of_its_metrics() -> None:
    rule = rule_of(asked(M1, M2, RATE))
    assert (rule.metric, rule.period_seconds, rule.metrics) == (None, 60, (ERRORS, REQUESTS))
    assert summary(rule) == (
        "100 * m1 / m2 (m1: Sum of Errors, m2: Sum of Requests) over 60 s > 5 in 1 of 1 periods (missing data: missing)"
    )


def test_a_metric_alone_may_be_the_result() -> None:
    rule = rule_of(asked(AlarmQuery("m1", ERRORS, "p99", period_seconds=10)))
    assert summary(rule).startswith("p99 of Errors over 10 s")


def test_it_is_judged_as_any_metric_and_reads_so() -> None:
    rule: AlarmRule = rule_of(asked(M1, M2, RATE))
    state = evaluate(rule, [None, None, Datapoint(1795407000.0, 7.25, 4)], initial_state(0), 1795407060.0)
    assert state.value is AlarmValue.ALARM
    assert state.reason.startswith(
        "Threshold Crossed: 1 out of the last 1 datapoints [7.25 (23/11/26 04:10:00)] was greater"
    )
    assert "statistic" not in json.loads(state.reason_data or "")


def test_the_values_of_its_periods() -> None:
    found = values((M1, M2, RATE), {"m1": [1.0, None, 0.0], "m2": [10.0, 10.0, None]}, 0, 60)
    assert found[:2] == [10.0, 0.0]
    assert found[2] is None  # nothing was asked of it: no rate


@pytest.mark.parametrize(
    ("definition", "code", "says"),
    [
        (asked(M1, M2), "ValidationException", "Exactly one element of the metrics list should return data."),
        (asked(M1, RATE), "ValidationException", "'m2'"),
        (asked(M1, M2, RATE, AlarmQuery("b", expression="m1")), "ValidationException", "Exactly one element"),
        (asked(AlarmQuery("e", expression="1")), "ValidationException", "Error in expression 'e'"),
        (asked(M1, AlarmQuery("e", expression="m1 +")), "ValidationException", "Error in expression 'e'"),
        (
            asked(M1, AlarmQuery("e", expression="SEARCH('{N} x', 'Sum')")),
            "ValidationException",
            "SEARCH is not supported",
        ),
        (asked(M1, AlarmQuery("e", expression="SELECT AVG(x) FROM N")), "ValidationException", "Metrics Insights"),
        (asked(M1, AlarmQuery("e", expression="ANOMALY_DETECTION_BAND(m1)")), "ValidationException", "not supported"),
        (
            asked(
                M1,
                AlarmQuery("m3", REQUESTS, "Sum", period_seconds=30, return_data=False),
                AlarmQuery("e", expression="m1/m3"),
            ),
            "ValidationException",
            "same Period",
        ),
        (
            asked(*(AlarmQuery(f"m{n}", ERRORS, "Sum", period_seconds=60, return_data=n == 0) for n in range(11))),
            "ValidationException",
            "11 metrics",
        ),
        (asked(AlarmQuery("m1", ERRORS, "Sum", period_seconds=15)), "ValidationException", "Period must be"),
        (asked(AlarmQuery("m1", ERRORS, "Much", period_seconds=60)), "ValidationException", "Much"),
        (asked(AlarmQuery("m1")), "InvalidParameterCombinationException", "exactly one of MetricStat and Expression"),
        (asked(M1, M2, RATE, statistic="Sum"), "InvalidParameterCombinationException", "With Metrics, none of"),
        (asked(M1, M2, RATE, period_seconds=60), "InvalidParameterCombinationException", "With Metrics, none of"),
        (asked(M1, M2, RATE, low_samples="ignore"), "InvalidParameterCombinationException", "percentile"),
        (asked(M1, M2, RATE, threshold=None), "MissingRequiredParameterException", "Threshold"),
        (asked(M1, M2, RATE, datapoints_to_alarm=2), "ValidationException", "DatapointsToAlarm"),
    ],
)
def test_what_is_refused(definition: Definition, code: str, says: str) -> None:
    with pytest.raises(Refused) as refused:
        rule_of(definition)
    assert isinstance(refused.value, Invalid)
    assert refused.value.code == code
    assert says in str(refused.value)
