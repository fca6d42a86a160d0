"""Sets of queries: ids, cycles, what is returned; what an alarm may have, and what it is given to judge."""

import pytest

from bannister.domain.expression.evaluation import Allowance
from bannister.domain.expression.kinds import Kind
from bannister.domain.expression.queries import (
    QUERIES_MAX,
    Query,
    _alarm_slots,
    alarm_slots,
    check_alarm_slots,
    checked,
    for_alarm,
)
from bannister.domain.expression.series import Grid, Series
from bannister.errors import Invalid


def metric(name: str, *, returned: bool = False, period: int = 60) -> Query:
    return Query(name, None, returned, period)


def expression(name: str, text: str, *, returned: bool = True, period: int | None = None) -> Query:
    return Query(name, text, returned, period)


def test_expressions_are_ordered_after_what_they_use() -> None:
    found = checked([expression("c", "b+1"), expression("b", "a+m1"), metric("m1"), expression("a", "SUM(METRICS())")])
    assert [one.id for one in found.expressions] == ["a", "b", "c"]
    assert found.metrics == ("m1",)
    assert found.returned == ("c", "b", "a")
    assert {one.kind for one in found.expressions} == {Kind.SERIES}


def test_a_number_may_be_used_and_not_returned() -> None:
    found = checked([metric("m1"), expression("mean", "AVG(m1)", returned=False), expression("e", "m1 - mean")])
    assert [one.kind for one in found.expressions] == [Kind.SCALAR, Kind.SERIES]


WRONG: list[tuple[list[Query], str]] = [
    ([], "At least one query is needed"),
    ([metric(f"m{n}") for n in range(QUERIES_MAX + 1)], "There are 501 queries; 500 are allowed"),
    ([metric("M1")], "The id 'M1' must begin with a lowercase letter"),
    ([metric("m-1")], "The id 'm-1' must begin"),
    ([metric("m1\n")], "must begin"),
    ([metric("m1"), metric("m1")], "The id 'm1' is used by more than one query"),
    ([expression("e1", "m9")], "Error in expression 'e1': The id 'm9' is not the id of any query of this request"),
    ([expression("e1", "1 +")], "Error in expression 'e1': Invalid syntax at character 4"),
    ([metric("m1"), expression("e1", "ANOMALY_DETECTOR(m1)")], "Error in expression 'e1': Function 'ANOMALY_DETECTOR' not found"),
    ([expression("e1", "e1 + 1")], "Error in expression 'e1': It refers to itself: e1 -> e1"),
    ([expression("a", "b"), expression("b", "c"), expression("c", "b")], "'b': It refers to itself: b -> c -> b"),
    ([metric("m1"), expression("e1", "AVG(m1)")], "'e1': It yields Scalar; the result of an expression must be a time series"),
    ([expression("e1", "5")], "It yields Scalar"),
    ([expression("e1", "'x'", returned=False)], "It yields String"),
    ([expression("e1", "SELECT AVG(x) FROM y")], r"Error in expression 'e1': Metrics Insights \(SELECT …\) is not supported"),
    ([expression("e1", "SEARCH('(', 'Sum', 60)")], "Error in expression 'e1': Invalid syntax in SEARCH at character 8"),
    ([expression(f"e{n}", "SEARCH('a', 'Sum', 60)") for n in range(101)], "There are 101 calls of SEARCH; 100 are allowed"),
    ([expression("e1", "SEARCH('a', 'Foo', 60)")], "Foo is not a statistic"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "reason"), WRONG, ids=[str(n) for n in range(len(WRONG))])
def test_wrong_sets(asked: list[Query], reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        checked(asked)


ERRORS, REQUESTS = metric("errors"), metric("requests")
RATE = expression("rate", "100 * errors / requests")

WRONG_FOR_ALARMS: list[tuple[list[Query], str]] = [
    ([metric("m1")], "Exactly one element of the metrics list should return data."),
    ([metric("m1", returned=True), expression("e", "m1")], "Exactly one element of the metrics list should return data."),
    ([expression("e", "TIME_SERIES(1)")], "must contain at least one metric"),
    ([*(metric(f"m{n}") for n in range(11)), expression("e", "m1")], "contains 11 metrics and 1 expressions; an alarm can have 10"),
    ([ERRORS, metric("requests", period=300), RATE], "must have the same Period, not 60, 300"),
    ([metric("m1"), expression("e", "m1+1", period=300)], "must have the same Period, not 60, 300"),
    ([metric("m1"), expression("e", "SUM(SEARCH('x', 'Sum', 60)) + m1")], "Error in expression 'e': SEARCH is not supported on Metric Alarms"),
    ([metric("m1"), expression("e", "METRICS()")], r"It yields Array\[TimeSeries\]; an alarm watches a single time series"),
    ([metric("m1"), expression("e", "m1 +")], "Error in expression 'e': Invalid syntax"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "reason"), WRONG_FOR_ALARMS, ids=[str(n) for n in range(len(WRONG_FOR_ALARMS))])
def test_what_no_alarm_may_have(asked: list[Query], reason: str) -> None:
    with pytest.raises(Invalid, match=reason) as caught:
        for_alarm(asked)
    assert caught.value.code == "ValidationException"


def test_the_slots_of_an_alarm() -> None:
    queries = for_alarm([RATE, ERRORS, REQUESTS])
    slots = {"errors": [1, None, 2, 0, None], "requests": [4, 5, None, 0, None]}
    assert alarm_slots(queries, slots, start=0, period_seconds=60) == [25, 0, None, None, None]


def test_an_alarm_on_a_metric_alone_has_its_slots() -> None:
    queries = for_alarm([metric("m1", returned=True)])
    assert alarm_slots(queries, {"m1": [1, None]}, start=0, period_seconds=10) == [1, None]


def test_an_alarm_through_several_expressions_and_the_time() -> None:
    queries = for_alarm(
        [
            metric("m1"),
            expression("top", "MAX(m1)", returned=False),
            expression("share", "FILL(m1, 0) / top", returned=False),
            expression("late", "IF(MINUTE(m1) >= 1, share, 0 - 1) / PERIOD(m1)"),
        ]
    )
    assert alarm_slots(queries, {"m1": [2, 4, None]}, start=0, period_seconds=60) == [-1 / 60, 1 / 60, 0]


TERMS = [
    "SUM(REMOVE_EMPTY(METRICS()))",
    "SUM(SLICE(METRICS(), 0, SUM(m0)))",
    "SUM(SORT(METRICS(), SUM, ASC, SUM(m0)))",
    "FIRST(REMOVE_EMPTY(METRICS()))",
    "LAST(SLICE(METRICS(), 0, SUM(m0)))",
    "IF(METRIC_COUNT(REMOVE_EMPTY(METRICS())) - 10, 0, m0)",
]


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("value", [None, 0.0, 1.0, 10.0])
def test_no_data_make_an_alarm_compute_more_than_is_estimated(term: str, value: float | None) -> None:
    """Else it would be taken, and never evaluated."""
    names = [f"m{number}" for number in range(10)]
    queries = for_alarm([*map(metric, names), expression("e", "+".join([term] * 20))])
    grid = Grid(0, 60, 50)
    estimated, used = Allowance(10**9), Allowance(10**9)
    _alarm_slots(queries, grid, {name: Series(grid, (None,) * 50, name) for name in names}, estimated, estimating=True)
    slots = {name: [value if name != "m1" else None] * 50 for name in names}
    _alarm_slots(queries, grid, {name: Series(grid, tuple(slots[name]), name) for name in names}, used)
    assert used.slots >= estimated.slots


def test_an_alarm_that_may_compute_too_much_is_refused_whatever_its_data() -> None:
    queries = for_alarm([*[metric(f"m{n}") for n in range(10)], expression("e", "+".join(TERMS[:1] * 20))])
    check_alarm_slots(queries, 1000)
    with pytest.raises(Invalid, match="an alarm may compute"):
        check_alarm_slots(queries, 8640)
    assert (
        len(alarm_slots(queries, {name: [1.0] * 1000 for name in queries.metrics}, start=0, period_seconds=10)) == 1000
    )
