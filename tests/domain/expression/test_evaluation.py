"""What expressions yield: kinds, values and missing data, by AWS's documentation ("Using math expressions with CloudWatch metrics")."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bannister.domain.expression.evaluation import Allowance, Scope, Value, evaluate
from bannister.domain.expression.kinds import Kind, kind_of
from bannister.domain.expression.parser import ExpressionError, parse
from bannister.domain.expression.series import Grid, Series, common_grid
from bannister.domain.expression.tree import (
    LEVELS,
    Array,
    Call,
    Minus,
    Node,
    Number,
    Power,
    Reference,
    Row,
    Text,
    Word,
    show,
)

#: Monday, 23 November 2026, 09:58 UTC.
START = 1_795_427_880
_ = None

Row_ = list[float | None]


def evaluated(
    expression: str, rows: Mapping[str, Sequence[float | None]], *, period: int = 60, allowance: int = 10_000
) -> Value:
    tree = parse(expression)
    kinds = {**dict.fromkeys(rows, Kind.SERIES)}
    kind = kind_of(tree, kinds, rows.keys())
    count = len(next(iter(rows.values()), [0] * 5))
    grid = Grid(START, period, count)
    values = {name: Series(grid, tuple(row), label=name) for name, row in rows.items()}
    value = evaluate(tree, Scope(values, tuple(rows), grid, Allowance(allowance)))
    assert fits(value, kind)
    return value


def fits(value: Value, kind: Kind) -> bool:
    if kind is Kind.SERIES:
        return isinstance(value, Series)
    if kind is Kind.ARRAY:
        return isinstance(value, tuple)
    return value is None or isinstance(value, float | int)


def plain(value: Value) -> object:
    if isinstance(value, Series):
        return list(value.values)
    if isinstance(value, tuple):
        return [list(one.values) for one in value]
    return value


M1: Row_ = [30, 20, 0, 0]
M2: Row_ = [20, _, 20, _]
GAPS: Row_ = [_, 10, _, _, 40, _]

VALUES: list[tuple[str, dict[str, Row_], object]] = [
    # AWS's table of comparison and logical operators
    ("m1 < m2", {"m1": M1, "m2": M2}, [0, 0, 1, 0]),
    ("m1 >= 30", {"m1": M1}, [1, 0, 0, 0]),
    ("m1 > 15 AND m2 > 15", {"m1": M1, "m2": M2}, [1, 0, 0, 0]),
    ("m1 > 15 && m2 > 15", {"m1": M1, "m2": M2}, [1, 0, 0, 0]),
    ("m1 > 15 || m2 > 15", {"m1": M1, "m2": M2}, [1, 1, 1, 0]),
    ("m1 == m2", {"m1": [1, _, _, 0], "m2": [1, 2, _, _]}, [1, 0, _, 1]),
    ("m1 != m2", {"m1": [1, _, _, 0], "m2": [1, 2, _, _]}, [0, 1, _, 0]),
    ("m1 <= 1", {"m1": [1, 2, _, 0]}, [1, 0, _, 1]),
    # missing values count as 0 between two series, and stay missing with a number
    ("m1 + m2", {"m1": M1, "m2": M2}, [50, 20, 20, 0]),
    ("m1 - m2", {"m1": [1, _, _], "m2": [_, 2, _]}, [1, -2, _]),
    ("m1 * m2", {"m1": [3, _, 2], "m2": [2, 2, _]}, [6, 0, 0]),
    ("5 * m1", {"m1": [1, _, 3]}, [5, _, 15]),
    ("m1 - 1", {"m1": [1, _, 3]}, [0, _, 2]),
    ("10 - m1", {"m1": [1, _, 3]}, [9, _, 7]),
    ("-m1", {"m1": [1, _, -3]}, [-1, _, 3]),
    ("-5*m1", {"m1": [1, _, -3]}, [-5, _, 15]),
    # a division by zero, a root of a negative number or an overflow is no datapoint
    ("m1 / m2", {"m1": [6, 6, 6, _], "m2": [3, 0, _, 2]}, [2, _, _, 0]),
    ("100 / m1", {"m1": [4, 0, _]}, [25, _, _]),
    ("m1 / 0", {"m1": [4, 0, _]}, [_, _, _]),
    ("m1 * (1/0)", {"m1": [4, 0, _]}, [_, _, _]),
    ("m1 ^ 2", {"m1": [3, -2, _]}, [9, 4, _]),
    ("m1 ^ 0.5", {"m1": [9, -4, _]}, [3, _, _]),
    ("m1 ^ 1000", {"m1": [10, 1, 0]}, [_, 1, 0]),
    ("m1 * m1", {"m1": [1e200, 1, _]}, [_, 1, _]),
    # arrays
    ("[m1, m2] * 2", {"m1": [1, _], "m2": [_, 3]}, [[2, _], [_, 6]]),
    ("100 / [m1, m2]", {"m1": [4, 5], "m2": [0, 10]}, [[25, 20], [_, 10]]),
    ("SUM(100/[m1, m2])", {"m1": [4, 5], "m2": [0, 10]}, [25, 30]),
    ("AVG([m1,m2]/m3)", {"m1": [4, 6], "m2": [2, 2], "m3": [2, 2]}, [1.5, 2]),
    ("m3 - [m1, m2]", {"m1": [4, 6], "m2": [2, 2], "m3": [2, _]}, [[-2, -6], [0, -2]]),
    ("-[m1, m2]", {"m1": [4], "m2": [2]}, [[-4], [-2]]),
    ("METRICS()/100", {"m1": [400], "m2": [200]}, [[4], [2]]),
    ('METRICS("err")', {"err1": [4], "m2": [2], "my_err": [1]}, [[4], [1]]),
    ("SUM([METRICS('4xx'), METRICS('5xx')])", {"e4xx": [4], "e5xx": [2], "all": [100]}, [6]),
    ("SUM(METRICS('errors'))/SUM(METRICS('requests'))*100", {"errors1": [1], "requests1": [4]}, [25]),
    # reductions: of a series a number, of an array a series
    ("m1 - AVG(m1)", {"m1": [1, 2, 3]}, [-1, 0, 1]),
    ("SUM(m1)", {"m1": [1, _, 3]}, 4),
    ("AVG(m1)", {"m1": [1, _, 5]}, 2),
    ("SUM(m1) / DATAPOINT_COUNT(m1)", {"m1": [1, _, 5]}, 3),
    ("MIN(m1)", {"m1": [1, _, 5]}, 1),
    ("MAX(m1)", {"m1": [-1, _, -5]}, -1),
    ("STDDEV(m1)", {"m1": [2, 4, 4, 4, 5, 5, 7, 9, _]}, 2),
    ("MIN(m1)", {"m1": [_, _]}, _),
    ("SUM(m1)", {"m1": [_, _]}, 0),
    ("DATAPOINT_COUNT(m1)", {"m1": [_, 4]}, 1),
    ("SUM([m1, m2])", {"m1": [1, _, _], "m2": [2, 3, _]}, [3, 3, _]),
    ("AVG([m1, m2])", {"m1": [1, _, _], "m2": [2, 3, _]}, [1.5, 1.5, _]),
    ("MIN([m1, m2])", {"m1": [1, _, _], "m2": [2, 3, _]}, [1, 3, _]),
    ("MAX([m1, m2])", {"m1": [1, _, _], "m2": [2, -3, _]}, [2, -3, _]),
    ("STDDEV([m1, m2])", {"m1": [1, _], "m2": [3, 5]}, [1, 0]),
    ("DATAPOINT_COUNT([m1, m2])", {"m1": [1, _, _], "m2": [2, 3, _]}, [2, 1, _]),
    ("MAX(METRICS())", {"m1": [1], "m2": [2]}, [2]),
    ("MAX(m1)/m1", {"m1": [4, 2, 0]}, [1, 2, _]),
    ("m1/METRIC_COUNT(METRICS())", {"m1": [4], "m2": [2]}, [2]),
    ("m1/PERIOD(m1)", {"m1": [120, _]}, [2, _]),
    ("PERIOD(m1)/60", {"m1": [120]}, 1),
    # of each datapoint
    ("ABS(m1-m2)", {"m1": [1, 5], "m2": [3, 2]}, [2, 3]),
    ("MIN(ABS([m1, m2]))", {"m1": [-1, 5], "m2": [3, -2]}, [1, 2]),
    ("CEIL(m1)", {"m1": [1.2, -1.2, _]}, [2, -1, _]),
    ("FLOOR(m1)", {"m1": [1.2, -1.2, _]}, [1, -2, _]),
    ("LOG10(m1)", {"m1": [100, 0, -1]}, [2, _, _]),
    ("LOG(m1)", {"m1": [1]}, [0]),
    # along a series
    ("DIFF(m1)", {"m1": [1, 4, _, 2]}, [_, 3, _, -2]),
    ("DIFF_TIME(m1)", {"m1": [1, 4, _, 2]}, [_, 60, _, 120]),
    ("RATE(m1)", {"m1": [0, 60, _, 180]}, [_, 1, _, 1]),
    ("RATE([m1, m2])", {"m1": [0, 60], "m2": [60, 0]}, [[_, 1], [_, -1]]),
    ("RUNNING_SUM(m1)", {"m1": [1, _, 2, 3]}, [1, _, 3, 6]),
    ("RUNNING_SUM([m1,m2])", {"m1": [1, 2], "m2": [_, 2]}, [[1, 3], [_, 2]]),
    # FILL
    ("FILL(m1, 0)", {"m1": GAPS}, [0, 10, 0, 0, 40, 0]),
    ("FILL(m1, -1)", {"m1": [_, 2]}, [-1, 2]),
    ("FILL(m1, REPEAT)", {"m1": GAPS}, [_, 10, 10, 10, 40, 40]),
    ("FILL(m1, LINEAR)", {"m1": GAPS}, [_, 10, 20, 30, 40, _]),
    ("FILL(m1, MIN(m1))", {"m1": GAPS}, [10, 10, 10, 10, 40, 10]),
    ("FILL(METRICS(), m1)", {"m1": [1, 2], "m2": [_, 3]}, [[1, 2], [1, 3]]),
    ("FILL(METRICS(), 0)", {"m1": [_, 2], "m2": [_, 3]}, [[0, 2], [0, 3]]),
    ("FILL(METRICS(), LINEAR)", {"m1": [1, _, 2]}, [[1, 1.5, 2]]),
    ("FILL(m1, 0) / m2", {"m1": [_, 2], "m2": [4, 4]}, [0, 0.5]),
    # IF: AWS's three tables
    (
        "IF(m1, m2, m3)",
        {"m1": [1, 1, 0, 0, _], "m2": [30, _, 0, 0, 30], "m3": [0, 0, 20, _, 20]},
        [30, 0, 20, _, _],
    ),
    ("IF(m1, 5, m3)", {"m1": [1, 1, 0, 0, _], "m3": [0, 0, 20, _, 20]}, [5, 5, 20, _, _]),
    ("IF(m1, m2, 5)", {"m1": [1, 1, 0, 0, _], "m2": [30, _, 0, 0, 30]}, [30, 0, 5, 5, _]),
    ("IF(m1, m2)", {"m1": [1, -1, 0, _], "m2": [30, 4, 5, 6]}, [30, 4, _, _]),
    ("IF(1, m2, m3)", {"m2": [1, _], "m3": [3, 4]}, [1, _]),
    ("IF(0, m2, m3)", {"m2": [1, _], "m3": [3, 4]}, [3, 4]),
    ("IF(0, m2)", {"m2": [1, 2]}, [_, _]),
    ("IF(m1<400, m1)", {"m1": [300, 500, _]}, [300, _, _]),
    ("IF(m1<400, 10, 2)", {"m1": [300, 500, _]}, [10, 2, _]),
    ("IF(FIRST(SORT(METRICS(), AVG, DESC))>100, 1, 0)", {"m1": [300, 50], "m2": [1, 1]}, [1, 0]),
    # series out of nothing, and of time
    ("TIME_SERIES(10)", {"m1": [1, _]}, [10, 10]),
    ("TIME_SERIES(MAX(m1))", {"m1": [1, 7]}, [7, 7]),
    ("MINUTE(m1)", {"m1": [_, 1, 1]}, [58, 59, 0]),
    ("HOUR(m1)", {"m1": [_, 1, 1]}, [9, 9, 10]),
    ("DAY(m1)", {"m1": [_]}, [1]),
    ("DATE(m1)", {"m1": [_]}, [23]),
    ("MONTH(m1)", {"m1": [_]}, [11]),
    ("YEAR(m1)", {"m1": [_]}, [2026]),
    ("EPOCH(m1)", {"m1": [_]}, [START]),
    ("IF(DAY(m1)<6, m1)", {"m1": [4, _]}, [4, 0]),
    # choosing from arrays
    ("FIRST([m1, m2])", {"m1": [1], "m2": [2]}, [1]),
    ("LAST([m1, m2])", {"m1": [1], "m2": [2]}, [2]),
    ("FIRST(METRICS('none'))", {"m1": [1, 2]}, [_, _]),
    ("SUM(METRICS('none'))", {"m1": [1, 2]}, [_, _]),
    ("REMOVE_EMPTY(METRICS())", {"m1": [_, _], "m2": [_, 2]}, [[_, 2]]),
    ("SORT(METRICS(), MAX, ASC)", {"m1": [5], "m2": [_], "m3": [2]}, [[2], [5], [_]]),
    ("SORT(METRICS(), SUM, DESC, 2)", {"m1": [5], "m2": [7], "m3": [9]}, [[9], [7]]),
    ("SLICE(METRICS(), 1)", {"m1": [5], "m2": [7], "m3": [9]}, [[7], [9]]),
    ("SLICE(SORT(METRICS(), SUM, DESC), 0, 1)", {"m1": [5], "m2": [7]}, [[7]]),
]


@pytest.mark.parametrize(
    ("expression", "rows", "expected"), VALUES, ids=[f"{n} {row[0]}" for n, row in enumerate(VALUES)]
)
def test_values(expression: str, rows: dict[str, Row_], expected: object) -> None:
    found = plain(evaluated(expression, rows))
    assert same(found, expected), found


def same(found: object, expected: object) -> bool:
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found is None if expected is None else found == pytest.approx(expected)


KINDS = [
    ("5", Kind.SCALAR),
    ("m1", Kind.SERIES),
    ("s", Kind.SCALAR),
    ("arr", Kind.ARRAY),
    ("[m1]", Kind.ARRAY),
    ("[arr, m1]", Kind.ARRAY),
    ("5 + 5", Kind.SCALAR),
    ("5 > 4", Kind.SCALAR),
    ("m1 + 5", Kind.SERIES),
    ("m1 > s", Kind.SERIES),
    ("m1 ^ m1", Kind.SERIES),
    ("arr / m1", Kind.ARRAY),
    ("2 * arr", Kind.ARRAY),
    ("SUM(m1)", Kind.SCALAR),
    ("SUM(arr)", Kind.SERIES),
    ("SUM(METRICS())", Kind.SERIES),
    ("SEARCH('x', 'Sum', 60)", Kind.ARRAY),
    ("SEARCH('x', 'Sum')", Kind.ARRAY),
    ("IF(m1, 1, 0)", Kind.SERIES),
    ("TIME_SERIES(SUM(m1))", Kind.SERIES),
]


IDS = {"m1": Kind.SERIES, "e1": Kind.SERIES, "arr": Kind.ARRAY, "s": Kind.SCALAR}


@pytest.mark.parametrize(("expression", "kind"), KINDS, ids=[text for text, _kind in KINDS])
def test_kinds(expression: str, kind: Kind) -> None:
    assert kind_of(parse(expression), IDS, {"m1"}) is kind


WRONG = [
    ("m2", 0, "The id 'm2' is not the id of any query of this request"),
    ("FOO(m1)", 0, "Function 'FOO' not found"),
    ("ANOMALY_DETECTION_BAND(m1)", 0, "Function 'ANOMALY_DETECTION_BAND' is not supported"),
    ("arr + arr", 6, r"Unsupported operand type\(s\) for \+: '\[Array\[TimeSeries\], Array\[TimeSeries\]\]'"),
    ("arr > 1", 6, r"Unsupported operand type\(s\) for >: '\[Array\[TimeSeries\], Scalar\]'"),
    ("arr AND m1", 8, "Unsupported operand"),
    ("m1 + 'x'", 5, r"Unsupported operand type\(s\) for \+: '\[TimeSeries, String\]'"),
    ("-'x'", 0, "Unsupported operand"),
    ("-REPEAT", 0, "Keyword"),
    ("SUM(5)", 0, r"Unsupported operand type\(s\) for SUM: '\[Scalar\]'"),
    ("SUM(m1, m1)", 0, r"'\[TimeSeries, TimeSeries\]'"),
    ("SUM()", 0, r"for SUM: '\[\]'"),
    ("[m1, 5]", 5, r"for \[\]: '\[Scalar\]'"),
    ("IF(1, 2, 3)", 0, "for IF"),
    ("IF(arr, 1, 2)", 0, "for IF"),
    ("FILL(m1, ASC)", 9, "FILL takes REPEAT or LINEAR there, not ASC"),
    ("FILL(m1)", 0, "for FILL"),
    ("FILL(5, 1)", 0, "for FILL"),
    ("SORT(arr, STDDEV, ASC)", 10, "SORT takes AVG or MIN or MAX or SUM there"),
    ("SORT(arr, AVG, UP)", 15, "SORT takes ASC or DESC there"),
    ("PERIOD(e1)", 7, "PERIOD takes the id of a metric, not an expression"),
    ("PERIOD(m1+1)", 9, "PERIOD takes the id of a metric"),
    ("TIME_SERIES(m1)", 0, "for TIME_SERIES"),
    ("FIRST(m1)", 0, "for FIRST"),
    ("METRICS(m1)", 0, "for METRICS"),
    ("SEARCH('x', 'Sum', s)", 0, "SEARCH takes its period as a plain number"),
    ("SEARCH(m1, 'Sum', 60)", 0, "for SEARCH"),
]


@pytest.mark.parametrize(("expression", "position", "reason"), WRONG, ids=[row[0] for row in WRONG])
def test_what_does_not_fit_is_refused_with_its_place(expression: str, position: int, reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason) as caught:
        kind_of(parse(expression), IDS, {"m1"})
    if not expression.startswith("PERIOD(m1"):
        assert caught.value.position == position


def test_series_of_two_periods_meet_at_the_times_of_both() -> None:
    minutes = Series(Grid(0, 60, 4), (1, 2, 3, 4), "minutes")
    pairs = Series(Grid(0, 120, 2), (10, None), "pairs")
    scope = Scope({"m": minutes, "p": pairs}, ("m", "p"), Grid(0, 60, 4), Allowance(100))
    assert evaluate(parse("m + p"), scope) == Series(Grid(0, 60, 4), (11, 2, 3, 4))
    assert evaluate(parse("SUM([m, p])"), scope) == Series(Grid(0, 60, 4), (11, 2, 3, 4))
    assert evaluate(parse("FILL(p, m)"), scope) == Series(Grid(0, 120, 2), (10, 3))


GRIDS = [
    ([Grid(0, 60, 3)], Grid(0, 60, 3)),
    ([Grid(0, 60, 3), Grid(0, 120, 2)], Grid(0, 60, 3)),
    ([Grid(0, 20, 3), Grid(0, 30, 2)], Grid(0, 10, 5)),
    ([Grid(0, 60, 2), Grid(30, 60, 2)], Grid(0, 30, 4)),
    ([Grid(300, 300, 1), Grid(0, 300, 1)], Grid(0, 300, 2)),
]


@pytest.mark.parametrize(("grids", "common"), GRIDS, ids=[str(n) for n in range(len(GRIDS))])
def test_common_grids(grids: list[Grid], common: Grid) -> None:
    assert common_grid(grids) == common


def test_members_of_an_array_keep_their_label() -> None:
    value = evaluated("FILL(100 * METRICS() / m3, 0)", {"m1": [1], "m2": [2], "m3": [4]})
    assert isinstance(value, tuple)
    assert [one.label for one in value] == ["m1", "m2", "m3"]


def test_work_is_bounded() -> None:
    rows: dict[str, Row_] = {"m1": [1.0] * 10}
    assert plain(evaluated("m1+1+1", rows, allowance=20)) == [3.0] * 10
    with pytest.raises(ExpressionError, match="computes too many datapoints"):
        evaluated("m1+1+1+1", rows, allowance=29)


# --- well-typed trees never fail

SLOTS = st.lists(st.one_of(st.none(), st.floats(-1e300, 1e300), st.sampled_from([0.0, 1.0])), min_size=6, max_size=6)

SCALARS = st.deferred(
    lambda: st.one_of(
        st.floats(0, 1e300).map(Number),
        st.builds(Call, st.sampled_from(["SUM", "AVG", "MIN", "MAX", "STDDEV", "DATAPOINT_COUNT"]), st.tuples(SERIES)),
        st.builds(Power, SCALARS, SCALARS),
        st.builds(Call, st.just("METRIC_COUNT"), st.tuples(ARRAYS)),
        st.just(Call("PERIOD", (Reference("m1"),))),
        rows(SCALARS, SCALARS),
    )
)
SERIES = st.deferred(
    lambda: st.one_of(
        st.sampled_from([Reference("m1"), Reference("m2"), Reference("m3")]),
        SERIES.map(Minus),
        rows(SERIES, st.one_of(SCALARS, SERIES)),
        rows(SCALARS, SERIES),
        st.builds(
            Call,
            st.sampled_from(["ABS", "CEIL", "FLOOR", "LOG", "DIFF", "DIFF_TIME", "RATE", "RUNNING_SUM", "HOUR"]),
            st.tuples(SERIES),
        ),
        st.builds(Call, st.sampled_from(["SUM", "AVG", "MIN", "MAX", "STDDEV", "FIRST", "LAST"]), st.tuples(ARRAYS)),
        st.builds(Call, st.just("FILL"), st.tuples(SERIES, FILLERS)),
        st.builds(Call, st.just("IF"), st.tuples(SERIES, st.one_of(SCALARS, SERIES), st.one_of(SCALARS, SERIES))),
        st.builds(Call, st.just("IF"), st.tuples(SCALARS, SERIES)),
        st.builds(Call, st.just("TIME_SERIES"), st.tuples(SCALARS)),
    )
)
ARRAYS = st.deferred(
    lambda: st.one_of(
        st.lists(st.one_of(SERIES, ARRAYS), min_size=1, max_size=2).map(tuple).map(Array),
        st.just(Call("METRICS", (Text("m"),))),
        st.builds(Call, st.just("FILL"), st.tuples(ARRAYS, FILLERS)),
        st.builds(Call, st.just("SORT"), st.tuples(ARRAYS, st.just(Word("MIN")), st.just(Word("DESC")), SCALARS)),
        st.builds(Call, st.just("SLICE"), st.tuples(ARRAYS, SCALARS, SCALARS)),
        st.builds(Call, st.just("REMOVE_EMPTY"), st.tuples(ARRAYS)),
    )
)
FILLERS = st.deferred(lambda: st.one_of(st.sampled_from([Word("REPEAT"), Word("LINEAR")]), SCALARS, SERIES))


def rows(left: st.SearchStrategy[Node], right: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    operators = [operator for level in LEVELS for operator in level]
    return st.builds(
        lambda first, operator, second: Row(first, ((operator, second),)), left, st.sampled_from(operators), right
    )


@given(st.one_of(SCALARS, SERIES, ARRAYS), SLOTS, SLOTS, SLOTS)
def test_what_is_well_typed_is_evaluated_to_finite_values_of_its_kind(
    tree: Node, first: Row_, second: Row_, third: Row_
) -> None:
    metrics = ("m1", "m2", "m3")
    kind = kind_of(tree, dict.fromkeys(metrics, Kind.SERIES), metrics)
    grids = [Grid(START, 60, 6), Grid(START, 60, 6), Grid(START + 30, 20, 6)]
    values = {
        name: Series(grid, tuple(row), name)
        for name, grid, row in zip(metrics, grids, [first, second, third], strict=True)
    }
    value = evaluate(tree, Scope(values, metrics, grids[0], Allowance(10**9)))
    assert fits(value, kind), show(tree)
    for one in value if isinstance(value, tuple) else (value,):
        slots = one.values if isinstance(one, Series) else (one,)
        assert all(slot is None or abs(slot) < float("inf") for slot in slots)
