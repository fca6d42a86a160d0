"""What every metric store promises (`bannister.metrics.store`)."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bannister.clock import SystemClock
from bannister.domain.comparison.report import Account, CaptureCount, ComparisonReport, Counted, GroupTally
from bannister.domain.comparison.tally import Tally
from bannister.domain.metric.aggregate import Aggregate, of_statistics, of_values, statistic
from bannister.domain.metric.identity import SHADOW_NAMESPACE, MetricIdentity, identity
from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Report, SkippedAccount, Summary
from bannister.errors import Invalid
from bannister.metrics.memory import MemoryMetrics
from bannister.metrics.sqlite import SqliteMetrics
from bannister.metrics.store import Datum, GroupDimensions, MetricStore
from bannister.settings import Settings

#: The present, and a time that a store with a cache of the newest minutes must read from its file.
NOW = float(int(SystemClock().now()))
DEFAULTS = Settings(data_dir=Path())
AGES = {"recent": NOW - 60, "older": NOW - 7200}

BLUE = GroupDimensions("g-blue", "e", "v", "config-1", 2)
GREEN = GroupDimensions("g-green", "e", "v", "config-2", 1)


#: Makes a store with the defaults of all settings but those that are given.
Opening = Callable[..., MetricStore]


@pytest.fixture(params=["memory", "sqlite"])
async def opening(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opening]:
    made: list[MetricStore] = []

    def one(**changes: Any) -> MetricStore:
        settings = dataclasses.replace(Settings(data_dir=tmp_path), **changes)
        made.append(MemoryMetrics(settings) if request.param == "memory" else SqliteMetrics(settings, SystemClock()))
        return made[-1]

    yield one
    for store in made:
        await store.close()


@pytest.fixture
def store(opening: Opening) -> MetricStore:
    return opening()


@pytest.fixture(params=AGES)
def start(request: pytest.FixtureRequest) -> int:
    return int(AGES[request.param])


def endpoint_metric(name: str, config_name: str | None = None) -> MetricIdentity:
    config = {"EndpointConfigName": config_name} if config_name else {}
    return identity("AWS/SageMaker", name, {"EndpointName": "e", "VariantName": "v", **config})


def report(sequence: int, *summaries: Summary, run: str = "r") -> Report:
    return Report(run, sequence, None, None, summaries)


def sums(found: list[Aggregate | None]) -> list[float | None]:
    return [None if one is None else one.sum for one in found]


async def test_summaries_are_read_as_endpoint_metrics(store: MetricStore, start: int) -> None:
    await store.register(BLUE)
    await store.record(
        report(
            1,
            Summary("g-blue", "a:1", start, 3, errors_5xx=1, model_latency=Sketch.of([10, 20])),
            Summary("g-blue", "b:1", start, 1, model_latency=Sketch.of([30])),
            Summary("g-blue", "a:1", start + 2, 4),
        )
    )
    read = await store.read(endpoint_metric("Invocations"), start, 1, 4)
    assert sums(read) == [4, None, 4, None]
    [errors] = await store.read(endpoint_metric("Invocation5XXErrors"), start, 10, 1)
    assert errors is not None
    assert (statistic(errors, "Average"), errors.count) == (1 / 8, 8)
    [latency] = await store.read(endpoint_metric("ModelLatency"), start, 10, 1)
    assert latency is not None
    assert (statistic(latency, "p50"), statistic(latency, "p99"), latency.unit) == (20, 30, "Microseconds")


async def test_both_fleets_add_up_unless_the_configuration_is_named(store: MetricStore, start: int) -> None:
    await store.register(BLUE)
    await store.register(GREEN)
    await store.register(GREEN)
    await store.record(report(1, Summary("g-blue", "a:1", start, 3), Summary("g-green", "b:1", start, 5)))
    assert sums(await store.read(endpoint_metric("Invocations"), start, 1, 1)) == [8]
    assert sums(await store.read(endpoint_metric("Invocations", "config-1"), start, 1, 1)) == [3]
    assert sums(await store.read(endpoint_metric("Invocations", "config-2"), start, 1, 1)) == [5]
    assert sums(await store.read(endpoint_metric("Invocations", "config-3"), start, 1, 1)) == [None]
    assert sums(await store.read(endpoint_metric("InvocationsPerInstance"), start, 1, 1)) == [3 / 2 + 5]


async def test_of_two_fleets_with_the_same_configuration_one_can_be_read_alone(store: MetricStore, start: int) -> None:
    await store.register(BLUE)
    await store.register(dataclasses.replace(GREEN, config_name=BLUE.config_name))
    await store.record(report(1, Summary("g-blue", "a:1", start, 3), Summary("g-green", "b:1", start, 5)))
    await store.put([Datum(endpoint_metric("Invocations", "config-1"), start, of_values([9.0]), 1)])
    config = endpoint_metric("Invocations", "config-1")
    assert sums(await store.read(config, start, 60, 1)) == [17]
    assert sums(await store.read(config, start, 60, 1, group="g-blue")) == [3]
    assert sums(await store.read(config, start, 60, 1, group="g-green", sliding=True)) == [5]
    assert sums(await store.read(config, start, 60, 1, group="g-other")) == [None]
    # Longer than what is read in one turn.
    assert sums(await store.read(config, start - 86_400, 90_000, 1, group="g-green")) == [5]


async def test_what_an_instance_got_is_of_the_instances_that_there_were(store: MetricStore, start: int) -> None:
    await store.register(BLUE)
    await store.record(report(1, Summary("g-blue", "a:1", start, 12), Summary("g-blue", "b:1", start, 8)))
    await store.register(dataclasses.replace(BLUE, instance_count=4))
    await store.record(report(2, Summary("g-blue", "a:1", start + 1, 12)))
    await store.record(report(3, Summary("g-blue", "b:1", start, 4)))  # it came late
    await store.register(dataclasses.replace(BLUE, instance_count=1))
    per_instance = endpoint_metric("InvocationsPerInstance")
    assert sums(await store.read(per_instance, start, 1, 2)) == [20 / 2 + 4 / 4, 12 / 4]
    (both,) = await store.read(per_instance, start, 2, 1)
    assert both is not None
    assert (both.count, both.minimum, both.maximum) == (36, 1 / 4, 1 / 2)


async def test_a_group_registered_later_is_readable_from_its_beginning(store: MetricStore, start: int) -> None:
    await store.record(report(1, Summary("g-blue", "a:1", start, 3)))
    assert sums(await store.read(endpoint_metric("Invocations"), start, 1, 1)) == [None]
    await store.register(BLUE)
    assert sums(await store.read(endpoint_metric("Invocations"), start, 1, 1)) == [3]


async def test_a_report_counts_once(store: MetricStore, start: int) -> None:
    await store.register(BLUE)
    one = Summary("g-blue", "a:1", start, 1)
    assert await store.record(report(1, one))
    assert await store.record(report(2))
    assert not await store.record(report(1, one))
    assert not await store.record(report(2))
    assert await store.record(report(4, one))
    assert await store.record(report(1, one, run="another"))
    assert sums(await store.read(endpoint_metric("Invocations"), start, 1, 1)) == [3]


async def test_late_summaries_add_to_their_second(store: MetricStore, start: int) -> None:
    await store.register(BLUE)
    await store.record(report(1, Summary("g-blue", "a:1", start, 3)))
    await store.record(report(2, Summary("g-blue", "a:1", start, 1, late=1)))
    assert sums(await store.read(endpoint_metric("Invocations"), start, 1, 1)) == [4]


async def test_stretches_begin_inclusive_and_end_exclusive(store: MetricStore, start: int) -> None:
    await store.register(BLUE)
    for second in range(6):
        await store.record(report(second + 1, Summary("g-blue", "a:1", start + second, 10**second)))
    metric = endpoint_metric("Invocations")
    assert sums(await store.read(metric, start, 3, 2)) == [111, 111_000]
    assert sums(await store.read(metric, start + 1, 2, 2)) == [110, 11_000]
    assert sums(await store.read(metric, start + 0.5, 1, 2)) == [10, 100]
    assert sums(await store.read(metric, start - 20, 10, 4)) == [None, None, 111_111, None]


async def test_data_of_users(store: MetricStore, start: int) -> None:
    mine = identity("Mine", "Loss", {"B": "2", "A": "1"})
    await store.put(
        [
            Datum(mine, start + 0.25, of_values([1, 2], unit="Count")),
            Datum(mine, start + 9.75, of_values([3], unit="Count")),
            Datum(mine, start + 10.0, of_statistics(5, 50, 0, 20, "Count")),
            Datum(mine, start + 9.75, of_values([100], unit="Seconds")),
            Datum(identity("Mine", "Loss", {"A": "1"}), start, of_values([1000])),
        ]
    )
    assert sums(await store.read(mine, start, 10, 3)) == [106, 50, None]
    first, second, _ = await store.read(mine, start, 10, 3, unit="Count")
    assert first is not None
    assert second is not None
    assert (first.sum, statistic(first, "p99"), first.unit) == (6, 3, "Count")
    assert statistic(second, "p99") is None
    assert sums(await store.read(mine, start, 10, 1, unit="Percent")) == [None]


async def test_the_unit_of_endpoint_metrics_is_matched_too(store: MetricStore, start: int) -> None:
    await store.register(BLUE)
    await store.record(report(1, Summary("g-blue", "a:1", start, 3)))
    assert sums(await store.read(endpoint_metric("Invocations"), start, 1, 1, unit="None")) == [3]
    assert sums(await store.read(endpoint_metric("Invocations"), start, 1, 1, unit="Count")) == [None]


async def test_users_may_add_to_an_endpoint_metric(store: MetricStore, start: int) -> None:
    await store.register(BLUE)
    await store.record(report(1, Summary("g-blue", "a:1", start, 3)))
    await store.put([Datum(endpoint_metric("Invocations"), float(start), of_values([1]))])
    assert sums(await store.read(endpoint_metric("Invocations"), start, 1, 1)) == [4]


async def test_metrics_with_data_are_listed_in_order(store: MetricStore, start: int) -> None:
    await store.register(BLUE)
    await store.register(GREEN)
    mine = identity("Mine", "Loss")
    await store.put([Datum(mine, start + 5.0, of_values([1]))])
    await store.record(report(1, Summary("g-blue", "a:1", start, 3)))
    found = await store.metrics(since=start)
    assert found == sorted(found, key=lambda one: (one.namespace, one.name, one.dimensions))
    assert found[-1] == mine
    assert endpoint_metric("Invocations") in found
    assert endpoint_metric("Invocations", "config-1") in found
    assert endpoint_metric("Invocations", "config-2") not in found
    assert not any(one.name.endswith("Latency") for one in found)
    answered = Summary("g-blue", "a:1", start + 1, 1, model_latency=Sketch.of([1]))
    await store.record(report(2, answered))
    assert endpoint_metric("ModelLatency") in await store.metrics(since=start)
    assert await store.metrics(since=start + 2) == [mine]
    assert await store.metrics(since=start + 6) == []


@pytest.mark.parametrize("ago", [0, 3600], ids=["in memory", "in the file"])
async def test_a_shadows_own_metric_is_listed_where_there_were_copies_to_be_made(
    store: MetricStore, start: int, ago: int
) -> None:
    await store.register(BLUE)
    await store.register(GREEN)
    await store.record(report(1, Summary("g-blue", "a:1", start, 3), Summary("g-green", "", start, 0, skipped=2)))
    both = {"EndpointName": GREEN.endpoint, "VariantName": GREEN.variant}
    skipped = [
        identity(SHADOW_NAMESPACE, "Skipped", dimensions)
        for dimensions in (both, both | {"EndpointConfigName": GREEN.config_name})
    ]
    found = await store.metrics(since=start - ago)
    assert {one for one in found if one.namespace == SHADOW_NAMESPACE} == set(skipped)
    assert sums(await store.read(skipped[0], start, 1, 1)) == [2]


async def test_what_is_past_its_retention_is_forgotten(store: MetricStore, tmp_path: Path) -> None:
    end = NOW - Settings(data_dir=tmp_path).metric_hour_retention_seconds
    mine = identity("Mine", "Loss")
    await store.register(BLUE)
    hour = end // 3600 * 3600
    times = (hour - 10, hour + 7200 + 2, NOW - 2)
    for sequence, at in enumerate(times, 1):
        await store.record(report(sequence, Summary("g-blue", "a:1", int(at), 1)))
    await store.put([Datum(mine, at, of_values([1])) for at in times])
    await store.expire(NOW)
    for metric in (endpoint_metric("Invocations"), mine):
        assert sums(await store.read(metric, hour - 3600, 3600, 4)) == [None, None, None, 1]
        assert sums(await store.read(metric, NOW - 10, 10, 1)) == [1]
    assert not await store.record(report(3)), "which reports were stored is remembered"


async def test_old_data_are_read_with_longer_periods_only(store: MetricStore) -> None:
    mine = identity("Mine", "Loss")
    await store.register(BLUE)
    begin = NOW // 3600 * 3600 - 5 * 3600
    for sequence in range(1, 61):
        second = int(begin) + sequence - 1
        summary = Summary("g-blue", f"a:{sequence % 2}", second, 2, errors_5xx=1, model_latency=Sketch.of([sequence]))
        await store.record(report(sequence, summary))
        await store.record(compared(sequence, tallied(second, pairs=2, agreeing=1)))
        await store.put([Datum(mine, second + 0.5, of_values([sequence], unit=("A", "B")[sequence % 2]))])
    metrics = [endpoint_metric(name) for name in ("Invocations", "Invocation5XXErrors", "ModelLatency")]
    metrics += [shadow_metric("Agreement"), mine]
    before = [await store.read(metric, begin, 60, 2) for metric in metrics]
    for _ in range(2):
        await store.expire(NOW)
    assert [await store.read(metric, begin, 60, 2) for metric in metrics] == before
    assert [one.count for [one, _] in before if one is not None] == [120, 120, 60, 120, 60]
    for metric in metrics:
        assert await store.read(metric, begin, 30, 4) == [None] * 4, "kept by the minute"
    assert sums(await store.read(mine, begin, 60, 1, unit="A")) == [sum(range(2, 61, 2))]
    await store.put([Datum(mine, begin + 30, of_values([0.5], unit="A"))])
    await store.expire(NOW)
    assert sums(await store.read(mine, begin, 60, 1, unit="A")) == [sum(range(2, 61, 2)) + 0.5], "what comes late"


async def test_standard_resolution_is_read_from_a_minute_on(store: MetricStore, start: int) -> None:
    mine = identity("Mine", "Loss")
    begin = start // 60 * 60
    await store.put([Datum(mine, begin + 7.0, of_values([3]), 60), Datum(mine, begin + 7.0, of_values([1]))])
    assert sums(await store.read(mine, begin, 60, 1)) == [4]
    assert sums(await store.read(mine, begin, 10, 2)) == [1, None]
    assert sums(await store.read(mine, begin, 10, 2, shown_to_seconds=60)) == [4, None]


async def test_new_metrics_beyond_the_bound_are_refused(opening: Opening) -> None:
    store = opening(metrics_max=3)
    named = [identity("Mine", str(number)) for number in range(5)]
    await store.put([Datum(metric, NOW, of_values([1])) for metric in named[:3]])
    with pytest.raises(Invalid, match="3 metrics") as refused:
        await store.put([Datum(metric, NOW, of_values([1])) for metric in (named[0], named[4])])
    assert refused.value.code == "LimitExceededException"
    await store.put([Datum(named[0], NOW, of_values([1]))])
    assert sums(await store.read(named[0], NOW - 1, 10, 1)) == [2], (
        "nothing of the refused request, and known ones go on"
    )
    await store.expire(NOW + 456 * 86_400)
    await store.put([Datum(named[4], NOW, of_values([1]))])


async def test_a_group_is_forgotten_with_its_last_data_unless_it_lives(opening: Opening) -> None:
    retention = DEFAULTS.metric_retention_seconds
    store = opening(
        metric_minute_retention_seconds=retention,
        metric_five_minute_retention_seconds=retention,
        metric_hour_retention_seconds=retention,
    )
    idle = GroupDimensions("g-idle", "e", "v", "config-3", 1)
    for group in (BLUE, GREEN, idle):
        await store.register(group)
    await store.record(report(1, Summary("g-blue", "a:1", int(NOW), 1), Summary("g-green", "a:1", int(NOW), 1)))
    later, latest = NOW + retention - 5, NOW + 2 * retention
    for now in (NOW, NOW + 60, later):
        await store.expire(now, {"g-idle"})
        assert sums(await store.read(endpoint_metric("Invocations"), NOW, 10, 1)) == [2], "both have data"
    await store.record(report(2, Summary("g-blue", "a:1", int(later), 1)))
    await store.expire(later + 60, {"g-idle"})
    await store.expire(latest - 600, {"g-idle"})
    for sequence, group in enumerate(("g-blue", "g-green", "g-idle"), 3):
        await store.record(report(sequence, Summary(group, "a:1", int(latest - 300), 1)))
    found = {
        name: sums(await store.read(endpoint_metric("Invocations", name), latest - 310, 20, 1))
        for name in ("config-1", "config-2", "config-3")
    }
    assert found == {"config-1": [1], "config-2": [None], "config-3": [1]}


async def test_of_too_many_past_groups_those_that_ended_first_are_forgotten(opening: Opening) -> None:
    store = opening(metric_groups_max=2)
    for number in range(5):
        await store.register(GroupDimensions(f"g{number}", "e", "v", f"config-{number}", 1))
        second = int(NOW) - 600 + (number * 7) % 5 * 60
        await store.record(report(number + 1, Summary(f"g{number}", "a:1", second, 1)))
    await store.expire(NOW, {"g0"})
    await store.expire(NOW + 4 * 3600, {"g0"})
    begin = NOW // 3600 * 3600 - 3600
    found = [await store.read(endpoint_metric("Invocations", f"config-{n}"), begin, 7200, 1) for n in range(5)]
    assert [sums(one) for one in found] == [[1], [None], [1], [None], [1]]


async def test_an_unknown_metric_has_no_data(store: MetricStore, start: int) -> None:
    assert await store.read(identity("Mine", "Nothing"), start, 60, 3) == [None, None, None]
    assert await store.metrics(since=0) == []


# --- compared answers


def shadow_metric(name: str, config_name: str | None = None) -> MetricIdentity:
    config = {"EndpointConfigName": config_name} if config_name else {}
    return identity("/bannister/Shadow", name, {"EndpointName": "e", "VariantName": "v", **config})


def compared(sequence: int, *tallies: GroupTally, run: str = "c") -> ComparisonReport:
    return ComparisonReport(run, sequence, None, None, tallies)


def tallied(second: int, group: str = "g-blue", *, noise: bool = False, **counts: Any) -> GroupTally:
    return GroupTally("e", group, "g-production", second, noise=noise, tally=Tally(**counts))


async def test_tallies_are_read_as_shadow_metrics(store: MetricStore, start: int) -> None:
    await store.register(BLUE)
    await store.register(GREEN)
    late = Tally.of_unpaired({"late": 3}).unpaired
    await store.record(
        compared(
            1,
            tallied(start, pairs=8, agreeing=6, structural=1, invalid=2, partial=3, numeric=Sketch.of([0.0, 0.5])),
            tallied(start + 1, pairs=1, agreeing=1, unpaired=late, slower=Sketch.of([10]), faster=Sketch.of([4, 6])),
            tallied(start, "g-green", pairs=2, agreeing=0),
            tallied(start, noise=True, pairs=5, agreeing=4),
        )
    )

    async def read(name: str, statistic_name: str, config_name: str | None = "config-1") -> float | None:
        [found] = await store.read(shadow_metric(name, config_name), start, 10, 1)
        return None if found is None else statistic(found, statistic_name)

    assert [await read("Agreement", name) for name in ("Average", "Sum", "SampleCount")] == [7 / 9, 7, 9]
    assert await read("Agreement", "SampleCount", None) == 11
    assert [await read("Disagreements", name) for name in ("Sum", "Average")] == [2, 2 / 9]
    assert await read("StructuralDifferences", "Sum") == 1
    assert await read("InvalidOutputs", "Average") == 2 / 9
    assert [await read("PartlyCompared", name) for name in ("Sum", "SampleCount")] == [3, 9]
    assert await read("NumericDifference", "p100") == 0.5
    assert await read("Pairs", "Sum") == 9
    assert [await read("Unpaired", name) for name in ("Sum", "Average")] == [3, 3 / 12]
    names = ("SampleCount", "Sum", "Minimum", "Maximum", "p50")
    assert [await read("LatencyDifference", name) for name in names] == [3, 0, -6, 10, None]
    assert [await read("NoiseAgreement", name) for name in ("Average", "SampleCount")] == [0.8, 5]
    assert await read("NoiseNumericDifference", "Sum") is None
    assert await store.read(endpoint_metric("Agreement"), start, 10, 1) == [None]


async def test_a_report_of_tallies_counts_once(store: MetricStore, start: int) -> None:
    await store.register(BLUE)
    first = compared(1, tallied(start, pairs=8, agreeing=6))
    assert await store.record(first)
    assert not await store.record(first)
    assert await store.record(compared(1, tallied(start, pairs=1, agreeing=1), run="another"))
    [found] = await store.read(shadow_metric("Pairs"), start, 10, 1)
    assert found is not None
    assert found.sum == 9


async def test_shadow_metrics_are_listed_and_expire_as_summaries_do(store: MetricStore, start: int) -> None:
    await store.register(BLUE)
    await store.record(compared(1, tallied(start, pairs=1, agreeing=1)))
    listed = await store.metrics(since=start)
    assert shadow_metric("Agreement") in listed
    assert shadow_metric("Agreement", "config-1") in listed
    assert shadow_metric("NumericDifference") not in listed
    await store.expire(start + 455 * 86_400.0 + 3601)
    assert await store.metrics(since=0) == []


async def test_a_group_of_which_only_tallies_are_known_is_kept_with_them(store: MetricStore) -> None:
    """A shadow whose answers were all taken from captured exchanges, or whose summaries were lost."""
    await store.register(BLUE)
    await store.record(compared(1, tallied(int(NOW), pairs=3, agreeing=1)))
    await store.expire(NOW)
    latest = NOW + DEFAULTS.metric_retention_seconds + 7200
    await store.record(compared(2, tallied(int(latest), pairs=1, agreeing=1)))
    await store.expire(latest)
    assert sums(await store.read(shadow_metric("Pairs"), latest, 1, 1)) == [1], "it was asked about data of now"
    await store.expire(latest + 3600)
    hour = NOW // 3600 * 3600
    assert sums(await store.read(shadow_metric("Pairs"), hour, 3600, 1)) == [3]
    await store.expire(latest + 456 * 86_400.0)
    await store.record(compared(3, tallied(int(latest), pairs=3, agreeing=1)))
    assert sums(await store.read(shadow_metric("Pairs"), latest, 1, 1)) == [None], "it went with its last data"


async def test_groups_with_tallies_alone_end_with_those(opening: Opening) -> None:
    store = opening(metric_groups_max=1)
    for group, second in ((BLUE, NOW - 300), (GREEN, NOW - 600)):
        await store.register(group)
        await store.record(compared(int(NOW - second), tallied(int(second), group.group, pairs=3), run=group.group))
        await store.record(
            report(int(NOW - second), Summary("g-green", "a:1", int(NOW) - 900, 1), run=group.group + "s")
        )
    await store.expire(NOW)
    await store.expire(NOW + 4 * 3600)
    begin = NOW // 3600 * 3600 - 3600
    found = [await store.read(shadow_metric("Pairs", name), begin, 7200, 1) for name in ("config-1", "config-2")]
    assert [sums(one) for one in found] == [[3], [None]]


async def test_what_became_of_captured_exchanges_is_read_as_counts(store: MetricStore, start: int) -> None:
    counts = (
        CaptureCount("g", Counted.CAPTURED, 5, "", "e", "v", start),
        CaptureCount("g", Counted.DROPPED, 2, "the spool is full", "e", "v", start),
        CaptureCount("", Counted.DROPPED, 3, "capture was busy", second=start),
    )
    told = ComparisonReport("run of capture", 1, None, None, (), counts)
    assert await store.record(told) is True
    assert await store.record(told) is False
    variant = {"EndpointName": "e", "VariantName": "v"}
    for name, dimensions, total in (
        ("Captured", variant, 5.0),
        ("Dropped", variant, 2.0),
        ("Dropped", {**variant, "Reason": "the spool is full"}, 2.0),
        ("Dropped", {"Reason": "capture was busy"}, 3.0),
        ("Dropped", {}, 3.0),
    ):
        metric = identity("/bannister/Capture", name, dimensions)
        assert sums(await store.read(metric, float(start), 1.0, 1)) == [total], (name, dimensions)


async def test_the_newest_account_of_capture_is_kept_with_its_report(store: MetricStore) -> None:
    assert store.capture_account is None
    accounts = [Account(NOW, {"busy": number}, unopened=0, streams=number) for number in range(2)]
    for sequence, account in enumerate([*accounts, None]):
        await store.record(ComparisonReport("run of capture", sequence + 1, None, None, account=account))
    assert store.capture_account == accounts[1]
    await store.record(ComparisonReport("run of capture", 2, None, None, account=accounts[0]))
    assert store.capture_account == accounts[1], "a report that comes again counts once"


async def test_the_newest_account_of_skipped_copies_is_kept_with_its_report(store: MetricStore) -> None:
    assert store.skipped_account is None
    accounts = [SkippedAccount(NOW, {"a": number}, {"g": 1}) for number in range(2)]
    for sequence, account in enumerate([*accounts, None]):
        await store.record(Report("run of telemetry", sequence + 1, None, None, account=account))
    assert store.skipped_account == accounts[1]
    await store.record(Report("run of telemetry", 2, None, None, account=accounts[0]))
    assert store.skipped_account == accounts[1], "a report that comes again counts once"
    assert store.capture_account is None
