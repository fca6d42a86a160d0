"""Metric data as operations on the in-memory store."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bannister.domain.metric.aggregate import of_values
from bannister.domain.metric.identity import MetricIdentity, identity
from bannister.errors import Invalid
from bannister.ids import SeededIds
from bannister.metrics.memory import MemoryMetrics
from bannister.metrics.store import Datum
from bannister.objects.memory import MemoryObjects
from bannister.operations.context import Context
from bannister.operations.metrics import (
    MetricSelection,
    Sample,
    StatisticSet,
    StatisticsRequest,
    floored_start,
    get_metric_statistics,
    list_metrics,
    put_metric_data,
)
from bannister.settings import Settings
from bannister.state.memory import MemoryState

#: A whole hour.
NOW = 1_795_406_400.0
METRIC = identity("shop", "orders", {"country": "de"})


class HandClock:
    time = NOW

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
def context(tmp_path: Path) -> Context:
    settings, clock = Settings(tmp_path), HandClock()
    return Context(
        state=MemoryState(),
        metrics=MemoryMetrics(settings),
        objects=MemoryObjects(settings.object_bytes_max),
        clock=clock,
        ids=SeededIds(1),
        settings=settings,
        image_refusal=lambda image: None,
        ready_instances=dict,
    )


def request(**changes: object) -> StatisticsRequest:
    values: dict[str, object] = {"metric": METRIC, "start": NOW - 60, "end": NOW + 60, "period_seconds": 60}
    return StatisticsRequest(**{**values, **changes})  # type: ignore[arg-type]


async def test_data_of_before_there_were_units_stay_beside_those_that_have_some(context: Context) -> None:
    await context.metrics.put([Datum(METRIC, NOW - 60, of_values([7.0]), 60)])
    for unit, value in (("Count", 1.0), ("Seconds", 2.0)):
        await put_metric_data(context, [Sample(METRIC, NOW, value=value, unit=unit)])
    points = await get_metric_statistics(context, request(statistics=["Sum"]))
    assert [(one.at - NOW, one.unit, one.statistics["Sum"]) for one in points] == [
        (-60, None, 7.0),
        (0, "Seconds", 2.0),
        (0, "Count", 1.0),
    ]


async def test_values_come_back_as_statistics(context: Context) -> None:
    await put_metric_data(
        context,
        [
            Sample(METRIC, NOW - 1, value=7.0, unit="Count"),
            Sample(METRIC, NOW + 1, values=[1.0, 3.0], counts=[3, 1], unit="Count"),
            Sample(METRIC, None, statistics=StatisticSet(4, 40.0, 10.0, 10.0), unit="Count"),
        ],
    )
    everything = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
    before, after = await get_metric_statistics(context, request(statistics=everything))
    assert (before.at, before.unit) == (NOW - 60, "Count")
    assert set(before.statistics.values()) == {1.0, 7.0}
    assert after.statistics == {"SampleCount": 8, "Average": 46 / 8, "Sum": 46, "Minimum": 1, "Maximum": 10}
    (_, latest) = await get_metric_statistics(context, request(percentiles=("p50", "p90")))
    assert latest.percentiles == {"p50": 3.0, "p90": 10.0}


async def test_a_unit_is_matched_exactly(context: Context) -> None:
    await put_metric_data(context, [Sample(METRIC, NOW, value=1.0, unit="Count")])
    assert await get_metric_statistics(context, request(statistics=("Sum",), unit="Seconds")) == []
    assert len(await get_metric_statistics(context, request(statistics=("Sum",), unit="Count"))) == 1


async def test_what_is_put_without_a_unit_has_the_unit_none(context: Context) -> None:
    for place, form in enumerate(({"value": 1.0}, {"values": [1.0]}, {"statistics": StatisticSet(1, 1.0, 1.0, 1.0)})):
        await put_metric_data(context, [Sample(METRIC, NOW + place * 60, **form)])  # type: ignore[arg-type]
    asked = request(statistics=("Sum",), unit="None", start=NOW, end=NOW + 180)
    assert [point.unit for point in await get_metric_statistics(context, asked)] == ["None"] * 3


async def test_a_read_names_all_dimensions(context: Context) -> None:
    await put_metric_data(context, [Sample(METRIC, NOW, value=1.0)])
    assert await get_metric_statistics(context, request(metric=identity("shop", "orders"), statistics=("Sum",))) == []


def sample(**changes: object) -> Sample:
    return Sample(METRIC, **changes)  # type: ignore[arg-type]


REFUSED = [
    ([], "Missing", "MetricData"),
    ([sample(value=1.0)] * 1001, "Value", "1000"),
    ([sample()], "Missing", "member.1.Value"),
    (
        [Sample(identity("AWS/SageMaker", "Invocations"), value=-1.0)],
        "Value",
        "^The value AWS/ for parameter Namespace",
    ),
    ([Sample(identity("/bannister/Shadow", "Skipped"), value=-1.0)], "Value", "^The value /bannister/ for parameter"),
    ([sample(value=1.0), sample(value=1.0, values=[1.0])], "Combination", "member.2.Value.*mutually exclusive"),
    ([sample(value=1.0, counts=[1.0])], "Combination", "Counts"),
    ([sample(value=math.nan)], "Value", "NaN"),
    ([sample(values=[1.0, math.inf])], "Value", "Values.member.2"),
    ([sample(value=2.0**361)], "Value", "2\\^360"),
    ([sample(values=[])], "Value", "150"),
    ([sample(values=[1.0] * 151)], "Value", "150"),
    ([sample(values=[1.0, 2.0], counts=[1.0])], "Value", "same size"),
    ([sample(values=[1.0], counts=[0.0])], "Value", "greater than 0"),
    ([sample(statistics=StatisticSet(0, 1.0, 1.0, 1.0))], "Value", "SampleCount"),
    ([sample(statistics=StatisticSet(1, 1.0, 2.0, 1.0))], "Value", "Minimum"),
    ([sample(value=1.0, at=NOW - 15 * 86_400)], "Value", "Timestamp"),
    ([sample(value=1.0, at=NOW + 3 * 3600)], "Value", "Timestamp"),
    ([sample(value=1.0, resolution_seconds=30)], "Value", "StorageResolution"),
]


@pytest.mark.parametrize(("samples", "code", "says"), REFUSED)
async def test_one_wrong_sample_refuses_all(context: Context, samples, code, says) -> None:
    with pytest.raises(Invalid, match=says) as refused:
        await put_metric_data(context, samples)
    assert code in (refused.value.code or "")
    assert (await list_metrics(context, MetricSelection())).items == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"period_seconds": 15, "statistics": ("Sum",)}, "Period"),
        ({"period_seconds": 61, "statistics": ("Sum",)}, "Period"),
        ({"start": NOW + 60, "statistics": ("Sum",)}, "StartTime"),
        ({}, "Exactly one"),
        ({"statistics": ("Sum",), "percentiles": ("p99",)}, "Exactly one"),
        ({"start": NOW - 86_400, "statistics": ("Sum",), "end": NOW + 60}, "1,441 datapoints"),
        ({"percentiles": ("p101",)}, "p101"),
        ({"percentiles": ("p50", "Sum")}, "Sum belongs into Statistics"),
    ],
)
async def test_a_wrong_request_for_statistics(context: Context, changes, says) -> None:
    with pytest.raises(Invalid, match=says):
        await get_metric_statistics(context, request(**changes))


async def test_a_period_of_years_looks_for_nothing_that_is_to_come(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_metric_data(context, [Sample(METRIC, NOW + 7000, values=[1.0, 2.0])])
    honest, seconds = context.metrics.read, []

    async def read(metric, start, period_seconds, periods, *rest, **more):
        seconds.append(period_seconds * periods)
        return await honest(metric, start, period_seconds, periods, *rest, **more)

    monkeypatch.setattr(context.metrics, "read", read)
    [point] = await get_metric_statistics(context, request(period_seconds=2_147_483_640, statistics=("Sum",)))
    assert (point.at, point.statistics) == (NOW - 60, {"Sum": 3.0})
    assert sum(seconds) <= 3 * 3600


async def test_every_statistic_of_a_range_is_read(context: Context) -> None:
    await put_metric_data(context, [Sample(METRIC, NOW, values=[float(n) for n in range(1, 11)])])
    names = ("tm90", "TM(2:4)", "tc50", "TS(80%:)", "WM(10%:90%)", "IQM", "PR(:3)")
    [point] = await get_metric_statistics(context, request(percentiles=names))
    assert dict(point.percentiles) == pytest.approx(
        {"tm90": 5.0, "TM(2:4)": 3.5, "tc50": 5.0, "TS(80%:)": 19.0, "WM(10%:90%)": 5.4, "IQM": 5.5, "PR(:3)": 30.0}
    )


@pytest.mark.parametrize(
    ("start", "period", "floored"),
    [
        (NOW - 5.5, 1, NOW - 6),
        (NOW - 5.5, 10, NOW - 10),
        (NOW - 5.5, 60, NOW - 60),
        (NOW - 5.5, 300, NOW - 60),
        (NOW - 20 * 86_400 - 1, 60, NOW - 20 * 86_400 - 300),
        (NOW - 70 * 86_400 - 1, 60, NOW - 70 * 86_400 - 3600),
    ],
)
def test_where_the_first_period_begins(start, period, floored) -> None:
    assert floored_start(start, period, NOW) == floored


@given(st.floats(0, 1400), st.sampled_from([1, 5, 10, 20, 30, 60, 120]))
def test_the_first_period_holds_the_start_time(before, period) -> None:
    start = NOW - before
    assert start - max(period, 60) < floored_start(start, period, NOW) <= start


@pytest.mark.parametrize(
    ("age_seconds", "served"),
    [(3600, 1), (4 * 3600, 60), (14 * 86_400, 60), (16 * 86_400, 300), (64 * 86_400, 3600)],
)
async def test_the_period_that_old_data_need(context: Context, age_seconds: int, served: int) -> None:
    await put_metric_data(context, [Sample(METRIC, NOW, value=1.0, resolution_seconds=1)])
    context.clock.time = NOW + age_seconds  # type: ignore[attr-defined]
    await context.metrics.expire(context.clock.now())
    for period in (1, 10, 60, 300, 3600):
        asked = request(start=NOW, end=NOW + period, period_seconds=period, statistics=("Sum",))
        found = await get_metric_statistics(context, asked)
        assert [point.statistics["Sum"] for point in found] == ([] if period < served else [1.0]), period


@pytest.mark.parametrize("rolled_up", [False, True])
async def test_too_short_a_period_finds_nothing_whether_or_not_it_was_rolled_up(context: Context, rolled_up) -> None:
    await put_metric_data(context, [Sample(METRIC, NOW, value=1.0, resolution_seconds=1)])
    context.clock.time = NOW + 4 * 3600  # type: ignore[attr-defined]
    if rolled_up:
        await context.metrics.expire(context.clock.now())
    asked = request(start=NOW, end=NOW + 10, period_seconds=10, statistics=("Sum",))
    assert await get_metric_statistics(context, asked) == []


async def test_data_at_both_ends_of_what_may_be_put(context: Context) -> None:
    for at in (NOW - 14 * 86_400, NOW + 2 * 3600):
        await put_metric_data(context, [Sample(METRIC, at, value=2.0**360)])
        asked = request(start=at, end=at + 60, statistics=("Maximum",))
        [point] = await get_metric_statistics(context, asked)
        assert point.statistics == {"Maximum": 2.0**360}


async def test_listing_selects_by_name_and_dimension(context: Context) -> None:
    metrics = [
        identity("shop", "orders"),
        METRIC,
        identity("shop", "orders", {"country": "fr", "city": "Lyon"}),
        identity("ship", "speed"),
    ]
    await put_metric_data(context, [Sample(metric, NOW, value=1.0) for metric in metrics])

    async def listed(**selection: object) -> set[MetricIdentity]:
        page = await list_metrics(context, MetricSelection(**selection))  # type: ignore[arg-type]
        return set(page.items)

    assert await listed() == set(metrics)
    assert await listed(namespace="ship") == {metrics[3]}
    assert await listed(name="orders") == set(metrics[:3])
    assert await listed(dimensions=[("country", None)]) == set(metrics[1:3])
    assert await listed(dimensions=[("country", "fr")]) == {metrics[2]}
    assert await listed(dimensions=[("country", "fr"), ("planet", None)]) == set()


async def test_listing_forgets_what_is_old(context: Context) -> None:
    await put_metric_data(context, [Sample(METRIC, NOW - 4 * 3600, value=1.0)])
    assert (await list_metrics(context, MetricSelection())).items == (METRIC,)
    assert (await list_metrics(context, MetricSelection(recently_active=True))).items == ()


async def test_listing_pages(context: Context) -> None:
    names = [f"m{number:04d}" for number in range(750)]
    await put_metric_data(context, [Sample(identity("n", name), NOW, value=1.0) for name in names])
    first = await list_metrics(context, MetricSelection())
    second = await list_metrics(context, MetricSelection(), token=first.token)
    assert [metric.name for metric in (*first.items, *second.items)] == names
    assert (len(first.items), second.token) == (500, None)
