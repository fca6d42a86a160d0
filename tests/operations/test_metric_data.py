"""GetMetricData as an operation on the in-memory store."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bannister.domain.metric.aggregate import of_values
from bannister.domain.metric.endpoint import endpoint_identities
from bannister.domain.metric.identity import identity
from bannister.domain.metric.summary import Report, Summary
from bannister.errors import Invalid
from bannister.ids import SeededIds
from bannister.metrics.memory import MemoryMetrics
from bannister.metrics.store import Datum, GroupDimensions
from bannister.objects.memory import MemoryObjects
from bannister.operations import metric_data
from bannister.operations.context import Context
from bannister.operations.metric_data import DataPage, DataQuery, DataRequest, MetricStat, get_metric_data
from bannister.operations.metrics import StatisticsRequest, get_metric_statistics
from bannister.settings import Settings, Timing
from bannister.state.memory import MemoryState

#: A whole hour.
NOW = 1_795_406_400
ORDERS = identity("shop", "orders", {"country": "de"})
FRENCH = identity("shop", "orders", {"country": "fr"})
VISITS = identity("shop", "visits")


class HandClock:
    time = float(NOW)

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
async def context(tmp_path: Path) -> Context:
    world, clock = Settings(tmp_path), HandClock()
    context = Context(
        state=MemoryState(),
        metrics=MemoryMetrics(world),
        objects=MemoryObjects(world.object_bytes_max),
        clock=clock,
        ids=SeededIds(1),
        settings=world,
        image_refusal=lambda image: None,
        ready_instances=dict,
    )
    samples = [(ORDERS, -240, [1.0, 3.0]), (ORDERS, -120, [5.0]), (FRENCH, -180, [2.0]), (VISITS, -240, [10.0])]
    await context.metrics.put(
        [Datum(metric, NOW + seconds, of_values(values, unit="Count")) for metric, seconds, values in samples]
    )
    return context


def stat(name: str, metric: Any = ORDERS, statistic: str = "Sum", period: int = 60, **more: Any) -> DataQuery:
    unit = more.pop("unit", None)
    return DataQuery(name, MetricStat(metric, statistic, period, unit), **more)


def request(*queries: DataQuery, **changes: Any) -> DataRequest:
    values: dict[str, Any] = {"start": NOW - 300, "end": NOW, "newest_first": False, **changes}
    return DataRequest(queries, **values)


async def asked(context: Context, *queries: DataQuery, token: str | None = None, **changes: Any) -> DataPage:
    return await get_metric_data(
        context, request(*queries, **changes), token=token, region="us-east-1", account_id="000000000000"
    )


async def test_metrics_and_what_expressions_make_of_them(context: Context) -> None:
    page = await asked(
        context,
        stat("de"),
        stat("visits", VISITS, return_data=False),
        DataQuery("rate", expression="de / visits"),
        DataQuery("filled", expression="FILL(de, 0)"),
    )
    assert [(one.id, one.label, list(one.points), one.complete) for one in page.results] == [
        ("de", "orders", [(NOW - 240, 4.0), (NOW - 120, 5.0)], True),
        ("rate", "rate", [(NOW - 240, 0.4)], True),
        ("filled", "filled", [(NOW - 60 * n, v) for n, v in [(5, 0.0), (4, 4.0), (3, 0.0), (2, 5.0), (1, 0.0)]], True),
    ]
    assert (page.token, page.cut) == (None, False)


@pytest.mark.parametrize(
    ("timing", "period", "expected"),
    [
        (Timing.BANNISTER, 60, [(0, 60.0), (60, 60.0), (120, 30.0)]),
        (Timing.AWS, 60, [(0, 60.0), (60, 60.0)]),
        (Timing.BANNISTER, 300, [(0, 150.0)]),
        (Timing.AWS, 300, [(0, 120.0)]),
        (Timing.BANNISTER, 30, [(30 * index, 30.0) for index in range(5)]),
        (Timing.AWS, 30, [(0, 60.0), (60, 60.0)]),
        (Timing.AWS, 1, [(0, 60.0), (60, 60.0)]),
    ],
)
async def test_endpoint_metrics_are_seen_as_they_are_published(
    context: Context, timing: Timing, period: int, expected: list[tuple[int, float]]
) -> None:
    """One request a second for two and a half minutes, and a metric of one's own, which is there at once."""
    context = replace(context, settings=replace(context.settings, timing=timing))
    await context.metrics.register(GroupDimensions("g", "e", "v", "c", 1))
    seconds = tuple(Summary("g", "i:1", NOW + second, 1) for second in range(150))
    await context.metrics.record(Report("run", 1, None, None, seconds))
    await context.metrics.put([Datum(VISITS, NOW + 149, of_values([7.0], unit="Count"))])
    invocations, _ = endpoint_identities("e", "v", "c", names=("Invocations",))
    assert isinstance(context.clock, HandClock)
    context.clock.time = NOW + 150.0
    span = {"start": NOW, "end": NOW + 300}
    page = await asked(context, stat("all", invocations, period=period), stat("own", VISITS), **span)
    assert [(at - NOW, value) for at, value in page.results[0].points] == expected
    assert [value for _, value in page.results[1].points] == [7.0]
    request = StatisticsRequest(invocations, NOW, NOW + 300, period, ("Sum",))
    points = await get_metric_statistics(context, request)
    assert [(point.at - NOW, point.statistics["Sum"]) for point in points] == expected


async def test_the_newest_come_first_unless_asked_otherwise(context: Context) -> None:
    page = await asked(context, stat("de"), newest_first=True)
    assert list(page.results[0].points) == [(NOW - 120, 5.0), (NOW - 240, 4.0)]


async def test_statistics_units_and_periods(context: Context) -> None:
    page = await asked(
        context,
        stat("a", statistic="SampleCount"),
        stat("b", statistic="p50", period=300),
        stat("c", unit="Seconds"),
        stat("d", period=1),
        DataQuery("e", expression="PERIOD(b) + 0 * a"),
    )
    points = [list(one.points) for one in page.results]
    assert points[0] == [(NOW - 240, 2.0), (NOW - 120, 1.0)]
    assert points[1] == [(NOW - 300, 3.0)]
    assert points[2] == []
    assert points[3] == [(NOW - 240, 4.0), (NOW - 120, 5.0)]
    assert points[4] == [(NOW - 240, 300.0), (NOW - 120, 300.0)]


ROUNDED = [
    (60, -241, NOW - 300),
    (60, -240, NOW - 240),
    (10, -241, NOW - 250),
    (1, -241.5, NOW - 242),
    (300, -20 * 86_400 - 1, NOW - 20 * 86_400 - 300),
    (3600, -70 * 86_400 - 1, NOW - 70 * 86_400 - 3600),
]


@pytest.mark.parametrize(("period", "start", "first"), ROUNDED, ids=[str(n) for n in range(len(ROUNDED))])
async def test_the_start_is_rounded_down(context: Context, period: int, start: float, first: int) -> None:
    page = await asked(context, DataQuery("e", expression="TIME_SERIES(1)", period_seconds=period), start=NOW + start)
    times = [at for at, _ in page.results[0].points]
    assert times[0] == first
    assert times[1] - times[0] == period
    assert times[-1] < NOW


async def test_a_constant_takes_the_shortest_period_of_the_request(context: Context) -> None:
    page = await asked(context, stat("a", period=60), stat("b", period=10), DataQuery("e", expression="TIME_SERIES(7)"))
    assert len(page.results[2].points) == 30
    page = await asked(context, DataQuery("e", expression="TIME_SERIES(7)"))
    assert len(page.results[0].points) == 5


LABELS: list[tuple[str | None, str, list[str]]] = [
    (None, "METRICS()", ["orders", "orders", "visits"]),
    ("Filled:", "FILL(METRICS(), 0)", ["Filled: orders", "Filled: orders", "Filled: visits"]),
    (
        "${LABEL} ${PROP('Dim.country')}: ${SUM}",
        "FILL(METRICS(), 0)",
        ["orders de: 9", "orders fr: 2", "visits --: 10"],
    ),
    (None, "de * 2", ["e"]),
    ("twice", "de * 2", ["twice"]),
    ("${LABEL} ${LAST}", "de * 2", ["e 10"]),
    (None, "SEARCH('{shop,country} orders', 'Sum', 60)", ["de", "fr"]),
    (None, "SEARCH('shop', 'Sum', 60)", ["orders de", "orders fr", "visits"]),
    (None, "SEARCH('visits', 'Sum', 60)", ["visits"]),
    ("at", "SEARCH('{shop,country} orders', 'Sum', 60)", ["at de", "at fr"]),
]


@pytest.mark.parametrize(("label", "expression", "labels"), LABELS, ids=[str(n) for n in range(len(LABELS))])
async def test_labels(context: Context, label: str | None, expression: str, labels: list[str]) -> None:
    metrics = [stat(name, one, return_data=False) for name, one in [("de", ORDERS), ("fr", FRENCH), ("v", VISITS)]]
    page = await asked(context, *metrics, DataQuery("e", expression=expression, label=label))
    assert [one.label for one in page.results] == labels
    assert {one.id for one in page.results} == {"e"}


async def test_labels_of_metrics_and_their_time_zone(context: Context) -> None:
    page = await asked(context, stat("de", label="${PROP('Stat')} ${LAST_TIME}"), stat("fr", FRENCH, label="f"),
        DataQuery("e", expression="FILL(METRICS(), 0)"), time_zone="+0130")  # fmt: skip
    assert [one.label for one in page.results] == ["Sum 2026-11-23T05:28:00+01:30", "f", "orders", "f"]


async def test_what_is_found_can_be_computed_with(context: Context) -> None:
    page = await asked(context, DataQuery("e", expression="SUM(SEARCH('{shop,country} orders', 'Sum', 60))"))
    assert list(page.results[0].points) == [(NOW - 240, 4.0), (NOW - 180, 2.0), (NOW - 120, 5.0)]
    page = await asked(context, DataQuery("e", expression="SUM(SEARCH('nothing', 'Sum'))", period_seconds=60))
    assert list(page.results[0].points) == []


async def test_what_is_too_much_to_find_is_cut_and_said(context: Context) -> None:
    many = [Datum(identity("many", f"m{n:03}"), NOW - 60.0, of_values([1.0])) for n in range(501)]
    await context.metrics.put(many)
    page = await asked(context, DataQuery("e", expression="SEARCH('{many}', 'Sum', 300)"))
    assert (len(page.results), page.cut) == (500, True)
    page = await asked(
        context, DataQuery("e", expression="METRIC_COUNT(SEARCH('{many}', 'Sum', 300)) + TIME_SERIES(0)")
    )
    assert [value for _, value in page.results[0].points] == [500.0] * 5
    assert page.cut


async def pages(context: Context, *queries: DataQuery, **changes: Any) -> list[DataPage]:
    found = [await asked(context, *queries, **changes)]
    while found[-1].token is not None:
        assert len(found) < 50, "the pages go on"
        found.append(await asked(context, *queries, token=found[-1].token, **changes))
    return found


@given(size=st.integers(1, 12), newest_first=st.booleans())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_pages_together_are_the_whole(context: Context, size: int, newest_first: bool) -> None:
    queries = [stat("de"), stat("none", VISITS, unit="Seconds"), DataQuery("e", expression="FILL(METRICS(), de)")]
    whole = await asked(context, *queries, newest_first=newest_first)
    found = await pages(context, *queries, newest_first=newest_first, datapoints_max=size)
    assert all(sum(len(one.points) for one in page.results) == size for page in found[:-1])
    together = [[point for page in found for point in page.results[place].points] for place in range(4)]
    assert together == [list(one.points) for one in whole.results]
    assert all(one.complete for one in found[-1].results)
    for place in range(4):
        completes = [page.results[place].complete for page in found]
        assert completes == sorted(completes), "once complete, nothing follows"
        after = [page.results[place].points for page in found][completes.index(True) + 1 :]
        assert not any(after)


async def test_what_arrives_between_pages_shifts_nothing(context: Context) -> None:
    first = await asked(context, stat("de"), newest_first=True, datapoints_max=1)
    await context.metrics.put([Datum(ORDERS, NOW - 10.0, of_values([7.0], unit="Count"))])
    second = await asked(context, stat("de"), newest_first=True, datapoints_max=1, token=first.token)
    assert [list(page.results[0].points) for page in (first, second)] == [[(NOW - 120, 5.0)], [(NOW - 240, 4.0)]]
    assert second.token is None


def token_of(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode()


@pytest.mark.parametrize(
    "token", ["?", "", "ü", token_of(5), token_of([1, 2]), token_of([1, 2, 3]), token_of([None, 2, 3])]
)
async def test_tokens_of_nobody(context: Context, token: str) -> None:
    with pytest.raises(Invalid, match="NextToken") as caught:
        await asked(context, stat("de"), token=token)
    assert caught.value.code == "InvalidNextToken"


async def test_a_token_continues_its_own_request_alone(context: Context) -> None:
    first = await asked(context, stat("de"), datapoints_max=1)
    with pytest.raises(Invalid, match="belongs to another request"):
        await asked(context, stat("de", FRENCH), datapoints_max=1, token=first.token)


WRONG: list[tuple[list[DataQuery], dict[str, Any], str]] = [
    ([stat("m")], {"start": NOW, "end": NOW}, "StartTime must be less than"),
    ([stat("m")], {"datapoints_max": 0}, "MaxDatapoints must be between 1 and 100800"),
    ([stat("m")], {"datapoints_max": 100_801}, "MaxDatapoints must be"),
    ([stat("m")], {"time_zone": "CET"}, "The Timezone 'CET'"),
    ([stat("m", period=7)], {}, r"MetricDataQueries.member.1.MetricStat.Period must be"),
    ([stat("m", statistic="Mean")], {}, "Mean is not a statistic"),
    ([stat("a"), DataQuery("m")], {}, r"Exactly one of the parameters MetricDataQueries.member.2.MetricStat"),
    ([stat("m", expression="m")], {}, "Exactly one of"),
    ([DataQuery("e", expression="TIME_SERIES(1)", period_seconds=90)], {}, "member.1.Period must be"),
    ([DataQuery("e", expression="m")], {}, "Error in expression 'e': The id 'm'"),
    ([DataQuery("e", expression="SEARCH('a', 'Sum')")], {}, "Error in expression 'e': SEARCH needs a period"),
    ([DataQuery("e", expression="SEARCH('a', 'Sum', 7)")], {}, "Period of SEARCH must be"),
    ([stat("m", label="${MAX}" * 7)], {}, "7 dynamic values"),
    ([stat("m", period=1)], {"start": NOW - 500_001}, "cover more than 500,000 periods in all"),
    ([stat(f"m{n}", (ORDERS, FRENCH)[n], period=1) for n in range(2)], {"start": NOW - 300_000}, "more than 500,000"),
    ([DataQuery("e", expression="TIME_SERIES(1)", period_seconds=1)], {"start": 0}, "Error in expression 'e': It computes too many"),
    ([DataQuery(f"e{n}", expression="TIME_SERIES(1)", period_seconds=1) for n in range(3)], {"start": NOW - 800_000}, "Error in expression 'e2'"),
]  # fmt: skip


@pytest.mark.parametrize(("queries", "changes", "reason"), WRONG, ids=[str(n) for n in range(len(WRONG))])
async def test_wrong_requests(context: Context, queries: list[DataQuery], changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        await asked(context, *queries, **changes)


async def test_statistics_of_one_metric_are_read_once(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_data, "SLOTS_READ_MAX", 50)
    page = await asked(context, stat("a"), stat("b", statistic="Maximum"))
    assert [value for one in page.results for _, value in one.points] == [4.0, 5.0, 3.0, 5.0]
    with pytest.raises(Invalid, match="cover more than 50 periods"):
        await asked(context, stat("a"), stat("b", FRENCH))


async def test_what_a_request_may_compute_has_one_bound(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every statistic, what expressions compute, and every result that is shown, also the same one again."""
    monkeypatch.setattr(metric_data, "SLOTS_COMPUTED_MAX", 20)
    for queries in (
        [stat("a"), stat("b")],  # five of a statistic, shown twice
        [stat("a"), stat("b", statistic="Maximum")],
        [stat("a", return_data=False), DataQuery("e", expression="[a, a, a]")],
    ):
        assert len((await asked(context, *queries)).results) == len(queries) + (queries[-1].expression is not None)
        with pytest.raises(Invalid, match="more than 20 datapoints in all"):
            await asked(context, *queries, stat("c"), stat("d", statistic="Minimum"))


async def test_searches_may_compare_so_many_words(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_data, "WORDS_COMPARED_MAX", 6)
    searches = [
        DataQuery(name, expression=f"SEARCH('{words}', 'Sum', 60)")
        for name, words in zip("ab", ("orders OR visits", "de"), strict=True)
    ]
    assert len((await asked(context, searches[0])).results) == 3
    with pytest.raises(Invalid, match="more than 6 words with the 3 metrics"):
        await asked(context, *searches)
