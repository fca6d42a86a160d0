"""The value of a tree: a number, a series or an array of series.

Whoever evaluates gives the values of the ids, the metrics in their order, what SEARCH found, and the grid for what has none of its own (TIME_SERIES). The
tree must have passed `kinds.kind_of`; then only the size of what it computes can stop it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from bannister.domain.expression import functions
from bannister.domain.expression.functions import Slot, Slots
from bannister.domain.expression.parser import ExpressionError
from bannister.domain.expression.series import Grid, Series, common_grid
from bannister.domain.expression.tree import Array, Call, Minus, Node, Number, Power, Reference, Row, Text, Word

#: Series of one array.
SERIES_MAX: Final = 500

Value = Slot | Series | tuple[Series, ...]


@dataclass(slots=True)
class Allowance:
    """How many more slots may be computed: what bounds the time and the memory of a request."""

    slots: int


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression can refer to."""

    #: By id, of metrics and of expressions evaluated before.
    values: Mapping[str, Value]
    #: The ids that are metrics, in the order of the request.
    metrics: Sequence[str]
    #: The grid of what has none of its own.
    grid: Grid
    allowance: Allowance
    #: By call of SEARCH.
    found: Mapping[Call, tuple[Series, ...]] = field(default_factory=dict)
    #: Only what may be computed at most is of interest: no series is left out for its values.
    estimating: bool = False


def evaluate(tree: Node, scope: Scope) -> Value:
    """The value of a well-typed expression.

    Raises:
        ExpressionError: It computes more than the allowance, or an array has too many series.
    """
    return _Evaluation(scope).value(tree)


class _Evaluation:
    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def value(self, node: Node) -> Value:
        match node:
            case Number(number):
                return number
            case Reference(name):
                return self._scope.values[name]
            case Array(items):
                return self._array(node, [self.value(item) for item in items])
            case Minus(operand):
                return self._operated("-", 0.0, self.value(operand), node)
            case Power(base, exponent):
                return self._operated("^", self.value(base), self.value(exponent), node)
            case Row(first, rest):
                value = self.value(first)
                for operator, operand in rest:
                    value = self._operated(operator, value, self.value(operand), operand)
                return value
            case Call():
                return self._call(node)
            case Text() | Word():
                raise ExpressionError("Invalid syntax: a text or a keyword is not a value", node.at)

    def _array(self, node: Node, items: Sequence[Value]) -> tuple[Series, ...]:
        series = tuple(one for item in items for one in _many(item))
        if len(series) > SERIES_MAX:
            raise ExpressionError(f"An array has {len(series)} series; {SERIES_MAX} are allowed", node.at)
        return series

    # --- operators

    def _operated(self, operator: str, left: Value, right: Value, node: Node) -> Value:
        if isinstance(left, tuple):
            return tuple(self._between(operator, one, right, node, kept=one) for one in left)
        if isinstance(right, tuple):
            return tuple(self._between(operator, left, one, node, kept=one) for one in right)
        if isinstance(left, Series) or isinstance(right, Series):
            return self._between(operator, left, right, node, kept=None)
        return functions.number_with_number(operator, left, right)

    def _between(self, operator: str, left: Value, right: Value, node: Node, *, kept: Series | None) -> Series:
        """An operator of which one side at least is a series; `kept` is the one of an array whose label stays."""
        if isinstance(left, Series) and isinstance(right, Series):
            grid = common_grid([left.grid, right.grid])
            self._use(grid.count, node)
            result = Series(grid, tuple(functions.series_with_series(operator, left.on(grid), right.on(grid))))
            return replace(result, label=kept.label, source=kept.source) if kept is not None else result
        series, number = (left, right) if isinstance(left, Series) else (right, left)
        if not isinstance(series, Series) or isinstance(number, Series | tuple):
            raise ExpressionError(f"Unsupported operand type(s) for {operator}", node.at)
        self._use(series.grid.count, node)
        if number is None:
            return series.with_values([None] * len(series.values))
        operation = functions.OPERATIONS[operator]
        if isinstance(left, Series):
            return series.with_values(functions.each(lambda slot: operation(slot, number), series.values))
        return series.with_values(functions.each(lambda slot: operation(number, slot), series.values))

    # --- functions

    def _call(self, node: Call) -> Value:
        name = node.function
        match name:
            case "METRICS":
                return self._metrics(node)
            case "SEARCH":
                return self._scope.found[node]
            case "FILL":
                return self._fill(node)
            case "SORT":
                return self._sorted(node)
            case _:
                arguments = [self.value(argument) for argument in node.arguments]
        if name == "IF":
            return self._chosen(arguments, node)
        if name == "TIME_SERIES":
            return self._constant(_number(arguments[0]), self._scope.grid, node)
        if name == "SLICE":
            return self._sliced(arguments)
        return self._of_one(node, arguments[0])

    def _of_one(self, node: Call, argument: Value) -> Value:
        name = node.function
        if name in functions.EACH or name in _ALONG:
            if isinstance(argument, tuple):
                return tuple(self._along(name, one, node) for one in argument)
            return self._along(name, _one(argument), node)
        if name in _REDUCING:
            return self._reduced(name, argument, node)
        if name == "PERIOD":
            return float(_one(argument).grid.period_seconds)
        if name == "METRIC_COUNT":
            return float(len(_many(argument)))
        if name == "REMOVE_EMPTY":
            kept = _many(argument)
            return kept if self._scope.estimating else tuple(filter(_has_data, kept))
        if name in ("FIRST", "LAST"):
            array = _many(argument)
            place = 0 if name == "FIRST" else -1
            if array and self._scope.estimating:
                self._use(self._scope.grid.count, node)
            return array[place] if array else self._constant(None, self._scope.grid, node)
        series = _one(argument)
        self._use(series.grid.count, node)
        return series.with_values([functions.part_of_time(name, at) for at in series.grid.times()])

    def _metrics(self, node: Call) -> tuple[Series, ...]:
        wanted = node.arguments[0].value if node.arguments and isinstance(node.arguments[0], Text) else ""
        values = [self._scope.values[name] for name in self._scope.metrics if wanted in name]
        return self._array(node, values)

    def _along(self, name: str, series: Series, node: Node) -> Series:
        self._use(series.grid.count, node)
        if name in functions.EACH:
            return series.with_values(functions.each(functions.EACH[name], series.values))
        if name == "RUNNING_SUM":
            return series.with_values(functions.running_sum(series.values))
        return series.with_values(functions.differences(name, series.values, series.grid.period_seconds))

    def _reduced(self, name: str, argument: Value, node: Node) -> Value:
        if isinstance(argument, Series):
            self._use(argument.grid.count, node)
            return functions.reduced(name, argument.values)
        grid, rows = self._aligned(_many(argument), node)
        return Series(grid, tuple(functions.reduced_across(name, rows)) if rows else (None,) * grid.count)

    def _fill(self, node: Call) -> Value:
        filled = self.value(node.arguments[0])
        how: Callable[[Series], Slots]
        match node.arguments[1]:
            case Word("REPEAT"):
                how = lambda series: functions.repeated(series.values)  # noqa: E731
            case Word():
                how = lambda series: functions.interpolated(series.values)  # noqa: E731
            case other:
                filler = self.value(other)
                how = lambda series: functions.filled(series.values, self._fillers(series, filler))  # noqa: E731
        if isinstance(filled, tuple):
            return tuple(self._filled(one, how, node) for one in filled)
        return self._filled(_one(filled), how, node)

    def _filled(self, series: Series, how: Callable[[Series], Slots], node: Node) -> Series:
        self._use(series.grid.count, node)
        return series.with_values(how(series))

    def _fillers(self, series: Series, filler: Value) -> Slots:
        if not isinstance(filler, Series):
            return [_number(filler)] * series.grid.count
        at = dict(filler.points())
        return [at.get(time) for time in series.grid.times()]

    def _chosen(self, arguments: Sequence[Value], node: Node) -> Series:
        condition, yes = arguments[:2]
        no = arguments[2] if len(arguments) > 2 else None
        if not isinstance(condition, Series):
            taken = None if condition is None else yes if condition != 0 else no
            given = [one for one in (yes, no) if isinstance(one, Series)]
            if self._scope.estimating:
                return self._constant(None, given[0].grid, node)
            return taken if isinstance(taken, Series) else self._constant(_number(taken), given[0].grid, node)
        grid = common_grid([one.grid for one in arguments if isinstance(one, Series)])
        self._use(grid.count, node)
        rows = [
            one.on(grid) if isinstance(one, Series) else (_number(one),) * grid.count for one in (condition, yes, no)
        ]
        return Series(grid, tuple(functions.chosen(*rows)))

    def _sorted(self, node: Call) -> tuple[Series, ...]:
        series = _many(self.value(node.arguments[0]))
        by, order = (argument.name for argument in node.arguments[1:3] if isinstance(argument, Word))
        limit = _place(_number(self.value(node.arguments[3]))) if len(node.arguments) > 3 else len(series)
        self._use(sum(one.grid.count for one in series), node)
        valued = [(functions.reduced(by, one.values), one) for one in series]
        some = [(value, one) for value, one in valued if value is not None]
        some.sort(key=lambda pair: pair[0], reverse=order == "DESC")
        empty = [one for value, one in valued if value is None]
        return tuple([one for _, one in some] + empty)[: None if self._scope.estimating else limit]

    def _sliced(self, arguments: Sequence[Value]) -> tuple[Series, ...]:
        first, *end = (_place(_number(argument)) for argument in arguments[1:])
        series = _many(arguments[0])
        if self._scope.estimating:
            return series
        return series[first : end[0]] if end else series[first:]

    def _constant(self, number: Slot, grid: Grid, node: Node) -> Series:
        self._use(grid.count, node)
        return Series(grid, (number,) * grid.count)

    def _aligned(self, series: Sequence[Series], node: Node) -> tuple[Grid, list[Slots]]:
        if not series:
            return self._scope.grid, []
        grid = common_grid([one.grid for one in series])
        self._use(grid.count * len(series), node)
        return grid, [one.on(grid) for one in series]

    def _use(self, slots: int, node: Node) -> None:
        if slots > self._scope.allowance.slots:
            raise ExpressionError(
                "It computes too many datapoints; use longer periods, a shorter time or fewer metrics", node.at
            )
        self._scope.allowance.slots -= slots


_ALONG: Final = frozenset({"DIFF", "DIFF_TIME", "RATE", "RUNNING_SUM"})
_REDUCING: Final = frozenset({"SUM", "AVG", "MIN", "MAX", "STDDEV", "DATAPOINT_COUNT"})


def _has_data(series: Series) -> bool:
    return any(value is not None for value in series.values)


def _many(value: Value) -> tuple[Series, ...]:
    if isinstance(value, tuple):
        return value
    return (_one(value),)


def _one(value: Value) -> Series:
    if not isinstance(value, Series):
        raise TypeError("A series is expected: the tree was not checked.")
    return value


def _number(value: Value) -> Slot:
    if isinstance(value, Series | tuple):
        raise TypeError("A number is expected: the tree was not checked.")
    return value


def _place(number: Slot) -> int:
    return min(max(int(number or 0), 0), SERIES_MAX)
