"""What an expression yields, decided before it is evaluated: CloudWatch's typing rules.

S is a number, TS a time series, TS[] an array of time series.

    operator                        operands                                yields
    + - * / ^                       S S                                     S
                                    S TS, TS S, TS TS                       TS
                                    S TS[], TS[] S, TS TS[], TS[] TS        TS[]
    - (unary)                       S, TS, TS[]                             the same
    == != < <= > >= AND OR          S S                                     S
                                    S TS, TS S, TS TS                       TS
    [a, b]                          TS, TS[]                                TS[], flat

    function                        arguments                               yields
    ABS CEIL FLOOR LOG LOG10        TS, TS[]                                the same
    DIFF DIFF_TIME RATE RUNNING_SUM TS, TS[]                                the same
    SUM AVG MIN MAX STDDEV          TS                                      S
      DATAPOINT_COUNT               TS[]                                    TS
    FILL                            TS or TS[]; S, TS, REPEAT or LINEAR     as the first
    IF                              S or TS; S or TS; perhaps S or TS       TS: one at least is a TS
    METRICS                         nothing, or a text                      TS[]
    SEARCH                          text, text, perhaps a number            TS[]
    PERIOD                          the id of a metric                      S
    TIME_SERIES                     S                                       TS
    MINUTE HOUR DAY DATE            TS                                      TS
      MONTH YEAR EPOCH
    FIRST LAST                      TS[]                                    TS
    METRIC_COUNT                    TS[]                                    S
    REMOVE_EMPTY                    TS[]                                    TS[]
    SORT                            TS[]; AVG, MIN, MAX or SUM; ASC or      TS[]
                                    DESC; perhaps S
    SLICE                           TS[]; S; perhaps S                      TS[]

An array of one series is still an array.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Final

from bannister.domain.expression.parser import ExpressionError
from bannister.domain.expression.tree import (
    TRUTH_OPERATORS,
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
)


class Kind(StrEnum):
    """What a part of an expression yields, as CloudWatch's messages name it."""

    SCALAR = "Scalar"
    SERIES = "TimeSeries"
    ARRAY = "Array[TimeSeries]"
    #: Only ever arguments.
    TEXT = "String"
    WORD = "Keyword"


S, TS, ARRAY = Kind.SCALAR, Kind.SERIES, Kind.ARRAY

FILL_WORDS: Final = ("REPEAT", "LINEAR")
SORT_FUNCTIONS: Final = ("AVG", "MIN", "MAX", "SUM")
SORT_ORDERS: Final = ("ASC", "DESC")

_EACH: Final = frozenset({"ABS", "CEIL", "FLOOR", "LOG", "LOG10", "DIFF", "DIFF_TIME", "RATE", "RUNNING_SUM"})
_REDUCING: Final = frozenset({"SUM", "AVG", "MIN", "MAX", "STDDEV", "DATAPOINT_COUNT"})
_TIMES: Final = frozenset({"MINUTE", "HOUR", "DAY", "DATE", "MONTH", "YEAR", "EPOCH"})

#: By function: the signatures that it has, and what each yields.
_SIGNATURES: Final[Mapping[str, Mapping[tuple[Kind, ...], Kind]]] = {
    **{name: {(TS,): TS, (ARRAY,): ARRAY} for name in _EACH},
    **{name: {(TS,): S, (ARRAY,): TS} for name in _REDUCING},
    **{name: {(TS,): TS} for name in _TIMES},
    "FILL": {(filled, filler): filled for filled in (TS, ARRAY) for filler in (S, TS, Kind.WORD)},
    "IF": {
        signature: TS
        for signature in [
            *((condition, yes) for condition in (S, TS) for yes in (S, TS)),
            *((condition, yes, no) for condition in (S, TS) for yes in (S, TS) for no in (S, TS)),
        ]
        if TS in signature
    },
    "METRICS": {(): ARRAY, (Kind.TEXT,): ARRAY},
    "SEARCH": {(Kind.TEXT, Kind.TEXT): ARRAY, (Kind.TEXT, Kind.TEXT, S): ARRAY},
    "PERIOD": {(TS,): S},
    "TIME_SERIES": {(S,): TS},
    "FIRST": {(ARRAY,): TS},
    "LAST": {(ARRAY,): TS},
    "METRIC_COUNT": {(ARRAY,): S},
    "REMOVE_EMPTY": {(ARRAY,): ARRAY},
    "SORT": {(ARRAY, Kind.WORD, Kind.WORD): ARRAY, (ARRAY, Kind.WORD, Kind.WORD, S): ARRAY},
    "SLICE": {(ARRAY, S): ARRAY, (ARRAY, S, S): ARRAY},
}
FUNCTIONS: Final = frozenset(_SIGNATURES)
#: CloudWatch has them, and they need what is not here.
_ELSEWHERE: Final = frozenset(
    {"ANOMALY_DETECTION_BAND", "INSIGHT_RULE_METRIC", "SERVICE_QUOTA", "LAMBDA", "DB_PERF_INSIGHTS"}
)

#: By position, the words that a function takes there.
_WORDS: Final[Mapping[str, Mapping[int, Collection[str]]]] = {
    "FILL": {1: FILL_WORDS},
    "SORT": {1: SORT_FUNCTIONS, 2: SORT_ORDERS},
}

_ARITHMETIC: Final[Mapping[tuple[Kind, Kind], Kind]] = {
    (S, S): S,
    (S, TS): TS,
    (TS, S): TS,
    (TS, TS): TS,
    (S, ARRAY): ARRAY,
    (ARRAY, S): ARRAY,
    (TS, ARRAY): ARRAY,
    (ARRAY, TS): ARRAY,
}


def kind_of(tree: Node, ids: Mapping[str, Kind], metrics: Collection[str]) -> Kind:
    """What an expression yields.

    Args:
        tree: The expression.
        ids: What each query that it may refer to yields.
        metrics: Those of them that are metrics and no expressions.

    Raises:
        ExpressionError: It refers to an unknown id, or applies something to what it cannot be applied to.
    """
    return _Kinds(ids, metrics).of(tree)


class _Kinds:
    def __init__(self, ids: Mapping[str, Kind], metrics: Collection[str]) -> None:
        self._ids = ids
        self._metrics = metrics

    def of(self, node: Node) -> Kind:
        match node:
            case Number():
                return S
            case Text():
                return Kind.TEXT
            case Word():
                return Kind.WORD
            case Reference():
                return self._reference(node)
            case Array(items):
                return self._array(node, [self.of(item) for item in items])
            case Minus(operand):
                return _operated("-", S, self.of(operand), node)
            case Power(base, exponent):
                return _operated("^", self.of(base), self.of(exponent), node)
            case Row(first, rest):
                kind = self.of(first)
                for operator, operand in rest:
                    kind = _operated(operator, kind, self.of(operand), operand)
                return kind
            case Call():
                return self._call(node)

    def _reference(self, node: Reference) -> Kind:
        if node.id not in self._ids:
            raise ExpressionError(f"The id '{node.id}' is not the id of any query of this request", node.at)
        return self._ids[node.id]

    def _array(self, node: Array, kinds: Sequence[Kind]) -> Kind:
        for item, kind in zip(node.items, kinds, strict=True):
            if kind not in (TS, ARRAY):
                raise _unsupported("[]", [kind], item)
        return ARRAY

    def _call(self, node: Call) -> Kind:
        if node.function in _ELSEWHERE:
            raise ExpressionError(f"Function '{node.function}' is not supported by Bannister", node.at)
        if node.function not in _SIGNATURES:
            raise ExpressionError(f"Function '{node.function}' not found", node.at)
        kinds = tuple(self.of(argument) for argument in node.arguments)
        found = _SIGNATURES[node.function].get(kinds)
        if found is None:
            raise _unsupported(node.function, kinds, node)
        for place, words in _WORDS.get(node.function, {}).items():
            argument = node.arguments[place]
            if isinstance(argument, Word) and argument.name not in words:
                raise ExpressionError(
                    f"{node.function} takes {' or '.join(words)} there, not {argument.name}", argument.at
                )
        self._check_metric(node)
        return found

    def _check_metric(self, node: Call) -> None:
        if node.function == "PERIOD":
            (argument,) = node.arguments
            if not (isinstance(argument, Reference) and argument.id in self._metrics):
                raise ExpressionError("PERIOD takes the id of a metric, not an expression", argument.at)
        if node.function == "SEARCH" and not all(isinstance(one, Text | Number) for one in node.arguments):
            raise ExpressionError("SEARCH takes its period as a plain number of seconds", node.at)


def _operated(operator: str, left: Kind, right: Kind, node: Node) -> Kind:
    kind = _ARITHMETIC.get((left, right))
    if kind is None or (kind is ARRAY and operator in TRUTH_OPERATORS):
        raise _unsupported(operator, [left, right], node)
    return kind


def _unsupported(what: str, kinds: Sequence[Kind], node: Node) -> ExpressionError:
    return ExpressionError(f"Unsupported operand type(s) for {what}: '[{', '.join(kinds)}]'", node.at)
