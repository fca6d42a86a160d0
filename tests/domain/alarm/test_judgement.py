"""The rule of an alarm against AWS's own tables, and against a second, naive reading of it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bannister.domain.alarm.alarm import AlarmRule, AlarmValue, Comparison, MissingData
from bannister.domain.alarm.judgement import Datapoint, judge, range_periods, samples_needed
from bannister.domain.metric.identity import MetricIdentity

OK, ALARM, INSUFFICIENT, KEEP = AlarmValue.OK, AlarmValue.ALARM, AlarmValue.INSUFFICIENT_DATA, None


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


def slots(picture: str, samples: float = 1) -> list[Datapoint | None]:
    """`0` within the threshold, `X` breaching, `-` missing; oldest first."""
    marks = picture.split()
    values = {"0": 1.0, "X": 9.0}
    return [None if mark == "-" else Datapoint(60.0 * i, values[mark], samples) for i, mark in enumerate(marks)]


#: "Configuring how CloudWatch alarms treat missing data", both tables: missing, ignore, breaching, notBreaching.
AWS_TABLES = [
    (3, 3, "0 - X - X", OK, OK, OK, OK),
    (3, 3, "0 - - - -", OK, OK, OK, OK),
    (3, 3, "- - - - -", INSUFFICIENT, KEEP, ALARM, OK),
    (3, 3, "0 X X - X", ALARM, ALARM, ALARM, ALARM),
    (3, 3, "- - X - -", ALARM, KEEP, ALARM, OK),
    (3, 2, "0 - X - X", ALARM, ALARM, ALARM, ALARM),
    (3, 2, "0 0 X 0 X", ALARM, ALARM, ALARM, ALARM),
    (3, 2, "0 - X - -", OK, OK, ALARM, OK),
    (3, 2, "- - - - 0", OK, OK, ALARM, OK),
    (3, 2, "- - - X -", ALARM, KEEP, ALARM, OK),
]
MODES = (MissingData.MISSING, MissingData.IGNORE, MissingData.BREACHING, MissingData.NOT_BREACHING)
CELLS = [
    pytest.param(n, m, picture, mode, expected, id=f"{n},{m} {picture} {mode}")
    for n, m, picture, *row in AWS_TABLES
    for mode, expected in zip(MODES, row, strict=True)
]


def test_all_cells_are_there() -> None:
    assert len({cell.id for cell in CELLS}) == len(CELLS) == 40


@pytest.mark.parametrize(("n", "m", "picture", "mode", "expected"), CELLS)
def test_aws_tables(n, m, picture, mode, expected) -> None:
    assert judge(rule(n, m, missing_data=mode), slots(picture)).value is expected


#: M of N over the newest datapoints: N, M, oldest to newest, and the state.
M_OF_N = [
    (1, 1, "- - X", ALARM),
    (1, 1, "X X 0", OK),
    (1, 1, "X - -", ALARM),
    (5, 3, "0 0 X 0 X 0 X", ALARM),
    (5, 3, "X X X 0 0 X 0", OK),
    (5, 3, "X 0 X X 0 0 X", ALARM),
    (3, 3, "- - - - X", OK),
    (3, 3, "- - - X -", OK),
]
#: Every operator below, at and above the threshold.
OPERATORS = {
    Comparison.GREATER: (OK, OK, ALARM),
    Comparison.GREATER_OR_EQUAL: (OK, ALARM, ALARM),
    Comparison.LESS: (ALARM, OK, OK),
    Comparison.LESS_OR_EQUAL: (ALARM, ALARM, OK),
}


@pytest.mark.parametrize(("n", "m", "picture", "expected"), M_OF_N)
def test_m_of_n_over_the_newest_datapoints(n, m, picture, expected) -> None:
    assert len(slots(picture)) == range_periods(rule(n, m))
    assert judge(rule(n, m), slots(picture)).value is expected


@pytest.mark.parametrize("comparison", Comparison)
def test_every_operator(comparison) -> None:
    for value, expected in zip((4.999, 5.0, 5.001), OPERATORS[comparison], strict=True):
        slot = [None, None, Datapoint(0, value, 1)]
        assert judge(rule(comparison=comparison), slot).value is expected


@pytest.mark.parametrize(
    ("statistic", "needed"),
    [("p99", 1000), ("p99.9", 10_000), ("p50", 20), ("p10", 100), ("Average", 0), ("p0", math.inf)],
)
def test_samples_that_a_percentile_needs(statistic, needed) -> None:
    assert samples_needed(statistic) == needed


def test_a_percentile_of_too_few_samples_decides_nothing_if_asked_so() -> None:
    careful = rule(statistic="p99", ignore_low_samples=True)
    assert judge(careful, slots("- - X", samples=999)).value is KEEP
    assert judge(careful, slots("- - X", samples=1000)).value is ALARM
    assert judge(rule(statistic="p99"), slots("- - X", samples=1)).value is ALARM
    assert judge(careful, slots("- - -")).value is INSUFFICIENT


def naive(n: int, m: int, mode: MissingData, picture: str) -> AlarmValue | None:
    """The rule of the reference, read word by word over the marks."""
    newest_first = picture[::-1]
    real = newest_first.replace("-", "")
    if len(real) >= n:
        return ALARM if real[:n].count("X") >= m else OK
    b = real.count("X")
    if mode in (MissingData.BREACHING, MissingData.NOT_BREACHING):
        b += (n - len(real)) * (mode is MissingData.BREACHING)
        return ALARM if b >= m else OK
    keeps = mode is MissingData.IGNORE
    if real == "":
        return KEEP if keeps else INSUFFICIENT
    if b >= m:
        return ALARM
    if "0" not in real and newest_first.rindex("X") + 1 >= m:
        return KEEP if keeps else ALARM
    return OK


@given(st.data(), st.integers(1, 6), st.sampled_from(MODES))
def test_agrees_with_a_naive_reading(data, n, mode) -> None:
    m = data.draw(st.integers(1, n))
    picture = data.draw(st.text("0X-", min_size=n + 2, max_size=n + 2))
    judged = judge(rule(n, m, missing_data=mode), slots(" ".join(picture)))
    assert judged.value is naive(n, m, mode, picture)
    assert len(judged.recent) <= n


@given(st.text("0X-", min_size=5, max_size=5), st.integers(1, 3), st.sampled_from(MODES))
def test_one_more_breach_never_leads_away_from_alarm(picture, m, mode) -> None:
    """Turning a datapoint within the threshold into a breaching one cannot take an alarm out of ALARM."""
    watched = rule(3, m, missing_data=mode)
    if judge(watched, slots(" ".join(picture))).value is ALARM:
        worse = picture.replace("0", "X", 1)
        assert judge(watched, slots(" ".join(worse))).value is ALARM


@given(st.text("0X-", min_size=5, max_size=5), st.integers(1, 3), st.sampled_from(MODES))
def test_with_unseen_periods_only_what_is_certain_is_decided(picture, m, mode) -> None:
    """Whatever an unseen datapoint may have been, a state that was decided without it holds."""
    watched = rule(3, m, missing_data=mode)
    decided = judge(watched, slots(" ".join(picture)), unseen=True).value
    missing = max(0, 3 - len(picture.replace("-", "")))
    possible = {
        judge(
            watched,
            slots(" ".join(("-" * 5 + picture.replace("-", "") + breaching * "X" + "0" * (missing - breaching))[-5:])),
        ).value
        for breaching in range(missing + 1)
    }
    assert decided is (possible.pop() if len(possible) == 1 else None)
