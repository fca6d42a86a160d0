"""States and their texts, in CloudWatch's forms."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bannister.domain.alarm.alarm import AlarmRule, AlarmState, AlarmValue, Comparison, MissingData
from bannister.domain.alarm.evaluation import evaluate, initial_state
from bannister.domain.alarm.judgement import Datapoint, range_periods
from bannister.domain.metric.identity import MetricIdentity

#: 2026-11-23T04:10:00Z
FOUR_TEN = 1795407000.0


def rule(periods: int = 1, to_alarm: int | None = None, **changes: object) -> AlarmRule:
    values: dict[str, object] = {
        "metric": MetricIdentity("N", "m"),
        "statistic": "Average",
        "period_seconds": 60,
        "evaluation_periods": periods,
        "datapoints_to_alarm": to_alarm or periods,
        "threshold": 5.0,
        "comparison": Comparison.GREATER,
    }
    return AlarmRule(**{**values, **changes})  # type: ignore[arg-type]


def slots(*values: float | None) -> list[Datapoint | None]:
    """Oldest first; the newest period begins at ten past four."""
    first = FOUR_TEN - 60 * (len(values) - 1)
    return [None if value is None else Datapoint(first + 60 * i, value, 2) for i, value in enumerate(values)]


def reason(watched: AlarmRule, *values: float | None) -> str:
    return evaluate(watched, slots(*values), initial_state(0), FOUR_TEN + 60).reason


def test_one_breaching_datapoint() -> None:
    assert reason(rule(), None, None, 7.25) == (
        "Threshold Crossed: 1 out of the last 1 datapoints [7.25 (23/11/26 04:10:00)] was greater than the threshold (5.0) "
        "(minimum 1 datapoint for OK -> ALARM transition)."
    )


def test_one_datapoint_within_the_threshold() -> None:
    assert reason(rule(), None, None, 0.0) == (
        "Threshold Crossed: 1 out of the last 1 datapoints [0.0 (23/11/26 04:10:00)] was not greater than the threshold (5.0) "
        "(minimum 1 datapoint for ALARM -> OK transition)."
    )


def test_several_datapoints() -> None:
    watched = rule(3, 2, comparison=Comparison.LESS_OR_EQUAL)
    assert reason(watched, None, None, 4.0, 6.0, 5.0) == (
        "Threshold Crossed: 2 out of the last 3 datapoints [5.0 (23/11/26 04:10:00), 4.0 (23/11/26 04:08:00)] were less than or "
        "equal to the threshold (5.0) (minimum 2 datapoints for OK -> ALARM transition)."
    )
    assert reason(watched, None, None, 4.0, 6.0, 6.0).endswith("(minimum 2 datapoints for ALARM -> OK transition).")


@pytest.mark.parametrize(
    ("mode", "periods", "values", "expected"),
    [
        (MissingData.MISSING, 1, [None] * 3, "Insufficient Data: 1 datapoint was unknown."),
        (MissingData.MISSING, 3, [None] * 5, "Insufficient Data: 3 datapoints were unknown."),
        (
            MissingData.NOT_BREACHING,
            1,
            [None] * 3,
            "Threshold Crossed: no datapoints were received for 1 period and 1 missing datapoint was treated as [NonBreaching].",
        ),
        (
            MissingData.BREACHING,
            3,
            [None] * 5,
            "Threshold Crossed: no datapoints were received for 3 periods and 3 missing datapoints were treated as [Breaching].",
        ),
        (
            MissingData.BREACHING,
            3,
            [None, None, None, None, 9.0],
            "Threshold Crossed: 1 out of the last 3 datapoints [9.0 (23/11/26 04:10:00)] was greater than the threshold (5.0) and "
            "2 missing datapoints were treated as [Breaching] (minimum 3 datapoints for OK -> ALARM transition).",
        ),
        (
            MissingData.NOT_BREACHING,
            3,
            [None, None, None, None, 9.0],
            "Threshold Crossed: 2 missing datapoints were treated as [NonBreaching] "
            "(minimum 1 datapoint for ALARM -> OK transition).",
        ),
        (
            MissingData.MISSING,
            3,
            [None, None, 9.0, None, None],
            "Threshold Crossed: 1 out of the last 3 datapoints [9.0 (23/11/26 04:08:00)] was greater than the threshold (5.0) and "
            "no other was received in the evaluation range of 5 periods (minimum 3 datapoints for OK -> ALARM transition).",
        ),
        (
            MissingData.MISSING,
            3,
            [None, None, None, None, 9.0],
            "Threshold Crossed: only 1 out of the last 3 datapoints [9.0 (23/11/26 04:10:00)] was greater than the threshold (5.0) "
            "(minimum 1 datapoint for ALARM -> OK transition).",
        ),
    ],
)
def test_missing_datapoints_in_words(mode, periods, values, expected) -> None:
    assert reason(rule(periods, missing_data=mode), *values) == expected


def test_reason_data() -> None:
    watched = rule(2, 1, statistic="p99", unit="Microseconds")
    state = evaluate(watched, slots(None, None, 3.0, 7.25), initial_state(0), FOUR_TEN + 60.0125)
    assert json.loads(state.reason_data or "") == {
        "version": "1.0",
        "queryDate": "2026-11-23T04:11:00.012+0000",
        "startDate": "2026-11-23T04:09:00.000+0000",
        "unit": "Microseconds",
        "statistic": "p99",
        "period": 60,
        "recentDatapoints": [3.0, 7.25],
        "threshold": 5.0,
        "evaluatedDatapoints": [
            {"timestamp": "2026-11-23T04:10:00.000+0000", "sampleCount": 2, "value": 7.25},
            {"timestamp": "2026-11-23T04:09:00.000+0000", "sampleCount": 2, "value": 3.0},
        ],
    }


def test_a_transition_has_a_time_and_staying_is_not_written() -> None:
    tripped = evaluate(rule(), slots(None, None, 9.0), initial_state(0), FOUR_TEN)
    assert (tripped.value, tripped.updated_at, tripped.transitioned_at) == (AlarmValue.ALARM, FOUR_TEN, FOUR_TEN)
    assert evaluate(rule(), slots(None, 9.0, 8.0), tripped, FOUR_TEN + 1) is tripped


def test_keeping_a_state_is_not_written() -> None:
    state = AlarmState(AlarmValue.ALARM, "set by hand", None, 1.0, 1.0)
    assert evaluate(rule(missing_data=MissingData.IGNORE), slots(None, None, None), state, FOUR_TEN) is state


def test_the_first_evaluation_replaces_the_reason_of_a_new_alarm() -> None:
    state = evaluate(rule(), slots(None, None, None), initial_state(5.0), FOUR_TEN)
    assert state.value is AlarmValue.INSUFFICIENT_DATA
    assert (state.updated_at, state.transitioned_at) == (FOUR_TEN, 5.0)
    assert evaluate(rule(), slots(None, None, None), state, FOUR_TEN + 1) is state


@given(
    st.integers(1, 200),
    st.data(),
    st.sampled_from(MissingData),
    st.floats(-1e100, 1e100),
)
def test_texts_stay_within_what_cloudwatch_prints(periods, data, mode, threshold) -> None:
    watched = replace(rule(periods), missing_data=mode, threshold=threshold)
    values = data.draw(
        st.lists(st.none() | st.floats(-1e300, 1e300), min_size=range_periods(watched), max_size=range_periods(watched))
    )
    state = evaluate(watched, slots(*values), initial_state(0), FOUR_TEN)
    assert len(state.reason) <= 1023
    assert state.reason_data is None or len(state.reason_data) <= 4000
