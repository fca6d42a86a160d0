"""GetMetricData: metrics and expressions over them, labelled and in pages.

A page goes by time: it has the datapoints of all results that come next in the order of scanning, and its token says which was the last. So datapoints that arrive
between two pages shift nothing. CloudWatch gives no token where there are expressions; here every request can be paged to its end.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, TypeVar, TypeVarTuple

from bannister.domain.expression.evaluation import SERIES_MAX, Allowance, Scope, Value, evaluate
from bannister.domain.expression.label import Surroundings, check_label, is_dynamic, labelled, zone_of
from bannister.domain.expression.parser import ExpressionError
from bannister.domain.expression.queries import Expression, Queries, Query, checked, in_expression
from bannister.domain.expression.search import Search, finds, words_of
from bannister.domain.expression.series import Grid, Series, Source
from bannister.domain.expression.tree import Call
from bannister.domain.metric.aggregate import Aggregate, check_statistic, statistic
from bannister.domain.metric.identity import MetricIdentity
from bannister.errors import Invalid
from bannister.metrics.published import read_published
from bannister.operations.context import Context
from bannister.operations.metrics import LISTED_SECONDS, SHORT_PERIODS, floored_start, shown_at_their_age

#: AWS: datapoints of one page.
PAGE_DATAPOINTS_MAX: Final = 100_800
#: Periods that one request may read, over all its metrics; and datapoints of its statistics, of what its expressions compute, and of its results.
SLOTS_READ_MAX: Final = 500_000
SLOTS_COMPUTED_MAX: Final = 2_000_000
#: Words that the searches of one request may compare with metrics.
WORDS_COMPARED_MAX: Final = 2_000_000
#: A read counts as so many periods at least.
_SLOTS_OF_READ_MIN: Final = 50
#: Other requests and alarms get their turn after so many periods.
_SLOTS_PER_TURN: Final = 500
#: The period of what has none: a constant in a request without metrics.
_PERIOD_SECONDS_DEFAULT: Final = 60

_VALUE: Final = "InvalidParameterValueException"
_COMBINATION: Final = "InvalidParameterCombinationException"
_BAD_TOKEN: Final = "InvalidNextToken"

#: Of its own: instances start by what asyncio's own threads do, and no request may keep them waiting.
_THREADS: Final = ThreadPoolExecutor(2, thread_name_prefix="metric-data")
_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")

#: A datapoint's place in the order of scanning: its time (negated, if the newest come first), then the place of its result.
_Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class MetricStat:
    """A statistic of a metric, for each period."""

    metric: MetricIdentity
    statistic: str
    period_seconds: int
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class DataQuery:
    """One query: exactly one of `stat` and `expression` is given."""

    id: str
    stat: MetricStat | None = None
    expression: str | None = None
    label: str | None = None
    return_data: bool = True
    #: Of what an expression makes without a period of its own.
    period_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class DataRequest:
    """What is asked for, over which time: `start` is inclusive and rounded down, `end` exclusive."""

    queries: Sequence[DataQuery]
    start: float
    end: float
    newest_first: bool = True
    datapoints_max: int = PAGE_DATAPOINTS_MAX
    #: Of the times in labels: `+0130`.
    time_zone: str = "+0000"


@dataclass(frozen=True, slots=True)
class DataResult:
    """The datapoints of one series on this page, in the order of scanning."""

    id: str
    label: str
    points: Sequence[tuple[int, float]]
    #: No datapoint of it is left for another page.
    complete: bool


@dataclass(frozen=True, slots=True)
class DataPage:
    """One page; every page has all results, some of them empty."""

    results: Sequence[DataResult]
    token: str | None
    #: More metrics were found than a request can have; the rest was left out.
    cut: bool = False


async def get_metric_data(
    context: Context, request: DataRequest, *, token: str | None = None, region: str, account_id: str
) -> DataPage:
    """The datapoints of all queries whose results are asked for.

    Raises:
        Invalid: A query, the time range or the token is wrong, or more is asked for than a request can have.
        Unsupported: A statistic that CloudWatch has and Bannister has not.
    """
    queries = await _in_thread(_checked, request)
    around = Surroundings(context.clock.now(), region, account_id, zone_of(request.time_zone))
    after = None if token is None else _read_token(token, request)
    reading = _Reading(context, request, queries, around.now)
    values, cut = await reading.values()
    return await _in_thread(_answered, request, queries, values, around, after, reading.allowance, cut)


async def _in_thread(work: Callable[[*_Arguments], _T], *arguments: *_Arguments) -> _T:
    """All that goes over every query or datapoint, so that alarms do not wait for it."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work, *arguments)


def _checked(request: DataRequest) -> Queries:
    if request.start >= request.end:
        raise Invalid("The parameter StartTime must be less than the parameter EndTime.", code=_COMBINATION)
    if not 1 <= request.datapoints_max <= PAGE_DATAPOINTS_MAX:
        raise Invalid(f"The parameter MaxDatapoints must be between 1 and {PAGE_DATAPOINTS_MAX}.", code=_VALUE)
    for place, query in enumerate(request.queries, start=1):
        where = f"MetricDataQueries.member.{place}"
        if (query.stat is None) == (query.expression is None):
            raise Invalid(
                f"Exactly one of the parameters {where}.MetricStat and {where}.Expression must be specified.",
                code=_COMBINATION,
            )
        if query.label is not None:
            check_label(query.label)
        if query.period_seconds is not None:
            _check_period(query.period_seconds, f"{where}.Period")
        if query.stat is not None:
            _check_period(query.stat.period_seconds, f"{where}.MetricStat.Period")
            check_statistic(query.stat.statistic)
    return checked([Query(one.id, one.expression, one.return_data) for one in request.queries])


def _check_period(seconds: int, where: str) -> None:
    if seconds not in SHORT_PERIODS and (seconds < 60 or seconds % 60):
        raise Invalid(
            f"The parameter {where} must be 1, 5, 10, 20, 30 or a multiple of 60, not {seconds}.", code=_VALUE
        )


def _answered(
    request: DataRequest,
    queries: Queries,
    values: Mapping[str, Value],
    around: Surroundings,
    after: _Place | None,
    allowance: Allowance,
    cut: bool,
) -> DataPage:
    asked = {query.id: query.label for query in request.queries}
    found = [(name, one) for name in queries.returned for one in _series(values[name])]
    for _, one in found[:SERIES_MAX]:
        _use(allowance, len(one.values))
    shown = [
        (name, _label(asked[name], one, name, around, alone=isinstance(values[name], Series)), one)
        for name, one in found[:SERIES_MAX]
    ]
    return _page(request, shown, after, cut=cut or len(found) > SERIES_MAX)


def _use(allowance: Allowance, slots: int) -> None:
    if slots > allowance.slots:
        raise Invalid(
            f"The statistics, expressions and results of the request have more than {SLOTS_COMPUTED_MAX:,} datapoints in all. You may reduce "
            "them by increasing Period, decreasing the time range, or asking for fewer results at once.",
            code=_COMBINATION,
        )
    allowance.slots -= slots


def _series(value: Value) -> tuple[Series, ...]:
    if isinstance(value, Series):
        return (value,)
    return value if isinstance(value, tuple) else ()


def _label(asked: str | None, series: Series, name: str, around: Surroundings, *, alone: bool) -> str:
    """CloudWatch: a metric is called by its name, and each series of an array by the expression's label and its own."""
    default = series.label or name
    if asked is None:
        return default
    if is_dynamic(asked) or alone:
        return labelled(asked, series, default, around)
    return f"{asked} {series.label}".strip()


# --- reading and computing


class _Reading:
    """The values of one request's queries."""

    def __init__(self, context: Context, request: DataRequest, queries: Queries, now: float) -> None:
        self._context = context
        self._request = request
        self._queries = queries
        self._now = now
        self._slots_left = SLOTS_READ_MAX
        self.allowance = Allowance(SLOTS_COMPUTED_MAX)
        self._words_left = WORDS_COMPARED_MAX
        self._aggregates: dict[tuple[MetricIdentity, Grid, str | None], list[Aggregate | None]] = {}
        self._statistics: dict[tuple[object, str], tuple[float | None, ...]] = {}
        self._known: Sequence[MetricIdentity] | None = None
        self._cut = False

    async def values(self) -> tuple[dict[str, Value], bool]:
        """By id; and whether a search found too much."""
        by_id = {query.id: query for query in self._request.queries}
        stats = {name: query.stat for name, query in by_id.items() if query.stat is not None}
        values: dict[str, Value] = {}
        for name, stat in stats.items():
            values[name] = await self._read(stat, label=_own_label(by_id[name].label, stat.metric.name))
        periods = [stat.period_seconds for stat in stats.values()]
        for expression in self._queries.expressions:
            query = by_id[expression.id]
            period = query.period_seconds or min(periods, default=_PERIOD_SECONDS_DEFAULT)
            found = await self._searched(expression, query.period_seconds)
            scope = Scope(values, self._queries.metrics, self._grid(period), self.allowance, found)
            value = await _in_thread(_evaluated, expression, scope)
            if isinstance(value, Series):
                value = replace(value, label=_own_label(query.label, expression.id))
            values[expression.id] = value
        return values, self._cut

    def _grid(self, period: int) -> Grid:
        start = int(floored_start(self._request.start, period, self._now))
        return Grid(start, period, math.ceil((self._request.end - start) / period))

    async def _read(self, stat: MetricStat, *, label: str) -> Series:
        grid = self._grid(stat.period_seconds)
        key = (stat.metric, grid, stat.unit)
        if key not in self._aggregates:
            self._aggregates[key] = await self._aggregated(stat, grid)
        which = key, stat.statistic
        if which not in self._statistics:
            _use(self.allowance, grid.count)
            self._statistics[which] = await _in_thread(_statistics, self._aggregates[key], stat.statistic)
        return Series(grid, self._statistics[which], label, Source(stat.metric, stat.statistic, stat.period_seconds))

    async def _aggregated(self, stat: MetricStat, grid: Grid) -> list[Aggregate | None]:
        slots = max(grid.count, _SLOTS_OF_READ_MIN)
        if slots > self._slots_left:
            raise Invalid(
                f"The queries cover more than {SLOTS_READ_MAX:,} periods in all. You may reduce them by increasing Period, decreasing the "
                "time range, or asking for fewer metrics at once.",
                code=_COMBINATION,
            )
        self._slots_left -= slots
        found: list[Aggregate | None] = []
        for first in range(0, grid.count, _SLOTS_PER_TURN):
            count = min(_SLOTS_PER_TURN, grid.count - first)
            begin = grid.start + first * grid.period_seconds
            metrics, timing = self._context.metrics, self._context.settings.timing
            period = grid.period_seconds
            read = await read_published(metrics, timing, stat.metric, begin, period, count, stat.unit, self._now)
            found += shown_at_their_age(read, begin, period, self._now, self._context.settings)
            await asyncio.sleep(0)
        return found

    async def _searched(self, expression: Expression, period: int | None) -> Mapping[Call, tuple[Series, ...]]:
        """What each SEARCH of an expression finds, among the metrics that had data lately."""
        if not expression.searches:
            return {}
        if self._known is None:
            self._known = await self._context.metrics.metrics(since=self._now - LISTED_SECONDS)
        found = {}
        for call, search in expression.searches:
            seconds = search.period_seconds or period
            if seconds is None:
                raise Invalid(
                    f"Error in expression '{expression.id}': SEARCH needs a period, as its third argument or as Period of the query",
                    code="ValidationException",
                )
            _check_period(seconds, "Period of SEARCH")
            found[call] = await self._found(self._known, search, seconds)
        return found

    async def _found(self, known: Sequence[MetricIdentity], search: Search, period: int) -> tuple[Series, ...]:
        self._words_left -= words_of(search) * len(known)
        if self._words_left < 0:
            raise Invalid(
                f"The searches of the request compare more than {WORDS_COMPARED_MAX:,} words with the {len(known):,} metrics that there are. You may "
                "reduce them by searching for fewer words, or in fewer searches at once.",
                code=_COMBINATION,
            )
        metrics = await _in_thread(_matching, search, known)
        self._cut = self._cut or len(metrics) > SERIES_MAX
        metrics = metrics[:SERIES_MAX]
        labels = _distinguishing(metrics)
        return tuple(
            [
                await self._read(MetricStat(metric, search.statistic, period), label=label)
                for metric, label in zip(metrics, labels, strict=True)
            ]
        )


def _matching(search: Search, known: Sequence[MetricIdentity]) -> list[MetricIdentity]:
    return [metric for metric in known if finds(search, metric)]


def _statistics(aggregates: Sequence[Aggregate | None], name: str) -> tuple[float | None, ...]:
    found = [None if one is None else statistic(one, name) for one in aggregates]
    return tuple([None if value is None else float(value) for value in found])


def _own_label(asked: str | None, default: str) -> str:
    """What a series is called in an array: the values of a dynamic label are only known at the end."""
    return default if asked is None or is_dynamic(asked) else asked


def _evaluated(expression: Expression, scope: Scope) -> Value:
    try:
        return evaluate(expression.tree, scope)
    except ExpressionError as error:
        raise in_expression(expression.id, error) from None


def _distinguishing(metrics: Sequence[MetricIdentity]) -> list[str]:
    """Of each metric what tells it from the others: its namespace, name and dimension values, as far as they differ; its name, if nothing does."""
    features = [{"": one.namespace, "\0": one.name, **dict(one.dimensions)} for one in metrics]
    keys = dict.fromkeys(key for feature in features for key in feature)
    differing = [key for key in keys if len({feature.get(key) for feature in features}) > 1]
    return [
        " ".join(feature[key] for key in differing if key in feature) or one.name
        for feature, one in zip(features, metrics, strict=True)
    ]


# --- pages


def _page(
    request: DataRequest, shown: Sequence[tuple[str, str, Series]], after: _Place | None, *, cut: bool
) -> DataPage:
    sign = -1 if request.newest_first else 1
    ahead = sorted(place for place in _places(shown, sign) if after is None or place > after)
    given = ahead[: request.datapoints_max]
    left = {place for _, place in ahead[request.datapoints_max :]}
    times: list[list[int]] = [[] for _ in shown]
    for at, place in given:
        times[place].append(sign * at)
    results = []
    for place, (name, label, one) in enumerate(shown):
        value_at = dict(one.points())
        points = [(at, value_at[at]) for at in times[place]]
        results.append(DataResult(name, label, points, place not in left))
    return DataPage(results, _write_token(given[-1], request) if left else None, cut)


def _places(shown: Sequence[tuple[str, str, Series]], sign: int) -> Iterator[_Place]:
    for place, (_, _, one) in enumerate(shown):
        for at, _ in one.points():
            yield sign * at, place


def _fingerprint(request: DataRequest) -> int:
    """Tells one request from another: a token continues the request that it was given for."""
    queries = [repr(query) for query in request.queries]
    return zlib.crc32(json.dumps([queries, request.start, request.end, request.newest_first]).encode())


def _write_token(place: _Place, request: DataRequest) -> str:
    return base64.urlsafe_b64encode(json.dumps([*place, _fingerprint(request)]).encode()).decode()


def _read_token(token: str, request: DataRequest) -> _Place:
    try:
        at, place, fingerprint = json.loads(base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error):
        raise Invalid(
            "NextToken is not one that this operation gave; start again without it.", code=_BAD_TOKEN
        ) from None
    if fingerprint != _fingerprint(request) or not (isinstance(at, int) and isinstance(place, int)):
        raise Invalid("NextToken belongs to another request; repeat the request that gave it.", code=_BAD_TOKEN)
    return at, place
