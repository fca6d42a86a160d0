"""A set of queries: metrics, and expressions over them and over each other.

`checked` finds what is wrong with a set before anything is read, and the order in which its expressions can be evaluated. `for_alarm` checks what an alarm's may
have besides; `alarm_slots` gives the values that the alarm judges.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bannister.domain.expression.evaluation import Allowance, Scope, Value, evaluate
from bannister.domain.expression.kinds import Kind, kind_of
from bannister.domain.expression.parser import ExpressionError, parse
from bannister.domain.expression.search import Search, search_of
from bannister.domain.expression.series import Grid, Series
from bannister.domain.expression.tree import Call, Node, nodes, references
from bannister.errors import Invalid

#: AWS's bounds on the queries of one request, on its searches (those of one graph), and on the queries of an alarm.
QUERIES_MAX: Final = 500
SEARCHES_MAX: Final = 100
ALARM_METRICS_MAX: Final = 10
ALARM_EXPRESSIONS_MAX: Final = 10

VALIDATION: Final = "ValidationException"
#: Slots that the expressions of an alarm may compute in one evaluation: hundreds of periods, tens of operators.
ALARM_SLOTS_MAX: Final = 1_000_000

_ID = re.compile(r"[a-z][a-zA-Z0-9_]*", re.ASCII)
_METRICS_INSIGHTS = re.compile(r"\s*SELECT\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Query:
    """One query as it was asked for: an expression, or (None) a metric that is read."""

    id: str
    expression: str | None = None
    #: Whether its result is asked for, or only what others make of it.
    return_data: bool = True
    #: Seconds. A metric's; an expression's, if it was given one.
    period_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that was read and checked."""

    id: str
    tree: Node
    kind: Kind
    return_data: bool
    period_seconds: int | None = None
    #: Every call of SEARCH in it.
    searches: tuple[tuple[Call, Search], ...] = ()


@dataclass(frozen=True, slots=True)
class Queries:
    """A set that was checked."""

    #: The ids of metrics, in the order of the request.
    metrics: tuple[str, ...]
    #: Each after those that it refers to.
    expressions: tuple[Expression, ...]
    #: The ids whose results are asked for, in the order of the request.
    returned: tuple[str, ...]


def checked(asked: Sequence[Query], *, queries_max: int = QUERIES_MAX) -> Queries:
    """A set of queries, its expressions parsed and typed.

    Raises:
        Invalid: An id is wrong or used twice, an expression cannot be read, does not fit what it refers to, or refers to itself.
    """
    _check_ids(asked, queries_max)
    trees = {query.id: _parsed(query.id, query.expression) for query in asked if query.expression is not None}
    metrics = tuple(query.id for query in asked if query.id not in trees)
    by_id = {query.id: query for query in asked}
    kinds: dict[str, Kind] = dict.fromkeys(metrics, Kind.SERIES)
    expressions = []
    for name in _ordered(trees, frozenset(by_id)):
        query = by_id[name]
        tree = trees[name]
        kind = kinds[name] = _kind(query, tree, kinds, frozenset(metrics))
        expressions.append(Expression(name, tree, kind, query.return_data, query.period_seconds, _searches(name, tree)))
    searches = sum(len(one.searches) for one in expressions)
    if searches > SEARCHES_MAX:
        raise Invalid(f"There are {searches} calls of SEARCH; {SEARCHES_MAX} are allowed.", code=VALIDATION)
    returned = tuple(query.id for query in asked if query.return_data)
    return Queries(metrics, tuple(expressions), returned)


def in_expression(name: str, error: ExpressionError) -> Invalid:
    """An error of an expression as CloudWatch words it."""
    return Invalid(f"Error in expression '{name}': {error}", code=VALIDATION)


def _check_ids(asked: Sequence[Query], queries_max: int) -> None:
    if not asked:
        raise Invalid("At least one query is needed.", code=VALIDATION)
    if len(asked) > queries_max:
        raise Invalid(f"There are {len(asked)} queries; {queries_max} are allowed.", code=VALIDATION)
    for query in asked:
        if _ID.fullmatch(query.id) is None:
            raise Invalid(
                f"The id '{query.id}' must begin with a lowercase letter, followed by letters, digits and underscores.",
                code=VALIDATION,
            )
    twice = [name for name, times in Counter(query.id for query in asked).items() if times > 1]
    if twice:
        raise Invalid(f"The id '{twice[0]}' is used by more than one query.", code=VALIDATION)


def _parsed(name: str, text: str) -> Node:
    if _METRICS_INSIGHTS.match(text) is not None:
        raise Invalid(
            f"Error in expression '{name}': Metrics Insights (SELECT …) is not supported; name the metrics, or use SEARCH where it may be (in GetMetricData).",
            code=VALIDATION,
        )
    try:
        return parse(text)
    except ExpressionError as error:
        raise in_expression(name, error) from None


def _ordered(trees: Mapping[str, Node], known: frozenset[str]) -> list[str]:
    """The expressions, each after those that it refers to."""
    waiting = {name: {one for one in references(tree) if one in trees} for name, tree in trees.items()}
    ordered: list[str] = []
    while waiting:
        ready = [name for name, needed in waiting.items() if not needed]
        if not ready:
            raise Invalid(_cycle(waiting), code=VALIDATION)
        ordered += ready
        for name in ready:
            del waiting[name]
        done = set(ready)
        for needed in waiting.values():
            needed -= done
    return ordered


def _cycle(waiting: Mapping[str, set[str]]) -> str:
    """A sentence about one cycle of expressions that wait for each other."""
    name = min(waiting)
    path = [name]
    while (name := min(waiting[name])) not in path:
        path.append(name)
    circle = " -> ".join([*path[path.index(name) :], name])
    return f"Error in expression '{name}': It refers to itself: {circle}"


def _kind(query: Query, tree: Node, kinds: Mapping[str, Kind], metrics: frozenset[str]) -> Kind:
    try:
        kind = kind_of(tree, kinds, metrics)
        if kind in (Kind.SERIES, Kind.ARRAY):
            return kind
        if kind is Kind.SCALAR and not query.return_data:
            return kind
        raise ExpressionError(
            f"It yields {kind}; the result of an expression must be a time series or an array of time series", 0
        )
    except ExpressionError as error:
        raise in_expression(query.id, error) from None


def _searches(name: str, tree: Node) -> tuple[tuple[Call, Search], ...]:
    asked = [node for node in nodes(tree) if isinstance(node, Call) and node.function == "SEARCH"]
    try:
        return tuple((call, search_of(call)) for call in asked)
    except ExpressionError as error:
        raise in_expression(name, error) from None


# --- alarms


def for_alarm(asked: Sequence[Query]) -> Queries:
    """The queries of an alarm: at most ten metrics, one period for all, exactly one result, which is one series; no SEARCH.

    Raises:
        Invalid: They are not such, or as in `checked`.
    """
    queries = checked(asked)
    if len(queries.returned) != 1:
        raise Invalid("Exactly one element of the metrics list should return data.", code=VALIDATION)
    if not queries.metrics:
        raise Invalid("The metrics list must contain at least one metric.", code=VALIDATION)
    if len(queries.metrics) > ALARM_METRICS_MAX or len(queries.expressions) > ALARM_EXPRESSIONS_MAX:
        raise Invalid(
            f"The metrics list contains {len(queries.metrics)} metrics and {len(queries.expressions)} expressions; an alarm can have "
            f"{ALARM_METRICS_MAX} metrics and {ALARM_EXPRESSIONS_MAX} expressions.",
            code=VALIDATION,
        )
    periods = {query.period_seconds for query in asked if query.period_seconds is not None}
    if len(periods) > 1:
        listed = ", ".join(map(str, sorted(periods)))
        raise Invalid(f"All elements of the metrics list must have the same Period, not {listed}.", code=VALIDATION)
    for expression in queries.expressions:
        if expression.searches:
            raise Invalid(
                f"Error in expression '{expression.id}': SEARCH is not supported on Metric Alarms.", code=VALIDATION
            )
        if expression.return_data and expression.kind is not Kind.SERIES:
            raise Invalid(
                f"Error in expression '{expression.id}': It yields {expression.kind}; an alarm watches a single time series.",
                code=VALIDATION,
            )
    return queries


def alarm_slots(
    queries: Queries, slots: Mapping[str, Sequence[float | None]], *, start: int, period_seconds: int
) -> list[float | None]:
    """The values of the result of an alarm's queries: one for each period, None for no datapoint.

    Args:
        queries: As `for_alarm` gave them.
        slots: By metric id, one value or None for each period, oldest first; all of one length.
        start: When the oldest period begins, in epoch seconds.
        period_seconds: The period of all.

    Raises:
        Invalid: The expressions compute more than `ALARM_SLOTS_MAX` datapoints.
    """
    grid = Grid(start, period_seconds, len(slots[queries.metrics[0]]))
    values: dict[str, Value] = {name: Series(grid, tuple(slots[name]), name) for name in queries.metrics}
    return _alarm_slots(queries, grid, values, Allowance(ALARM_SLOTS_MAX))


def check_alarm_slots(queries: Queries, periods: int) -> None:
    """Whether an evaluation over so many periods computes no more than an alarm may.

    Raises:
        Invalid: It computes more.
    """
    grid, allowance = Grid(0, 60, 1), Allowance(ALARM_SLOTS_MAX)
    values: dict[str, Value] = {name: Series(grid, (None,), name) for name in queries.metrics}
    _alarm_slots(queries, grid, values, allowance, estimating=True)
    slots = (ALARM_SLOTS_MAX - allowance.slots) * periods
    if slots > ALARM_SLOTS_MAX:
        raise Invalid(
            f"The expressions compute {slots:,} datapoints for each evaluation, over {periods:,} periods; an alarm may compute {ALARM_SLOTS_MAX:,}: "
            "use simpler expressions, a longer Period or fewer EvaluationPeriods.",
            code=VALIDATION,
        )


def _alarm_slots(
    queries: Queries, grid: Grid, values: dict[str, Value], allowance: Allowance, *, estimating: bool = False
) -> list[float | None]:
    for expression in queries.expressions:
        scope = Scope(values, queries.metrics, grid, allowance, estimating=estimating)
        try:
            values[expression.id] = evaluate(expression.tree, scope)
        except ExpressionError as error:
            raise in_expression(expression.id, error) from None
    (returned,) = queries.returned
    result = values[returned]
    if not isinstance(result, Series):
        raise TypeError("An alarm's result is a series: `for_alarm` was not asked.")
    return list(result.values)
