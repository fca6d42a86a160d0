"""What was read once and kept is what would be read now, whatever was added in between, and late."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from tests.evaluator.test_loop import START, World
from tests.metrics.test_conformance import report

from bannister.clock import SystemClock
from bannister.domain.alarm.alarm import AlarmRule, Comparison
from bannister.domain.metric.aggregate import of_values
from bannister.domain.metric.endpoint import endpoint_identities
from bannister.domain.metric.identity import identity
from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Summary
from bannister.evaluator import readings as readings_module
from bannister.evaluator.readings import RANGE_SECONDS_MAX, Readings, Series, series_of
from bannister.evaluator.windows import Windows
from bannister.metrics import window
from bannister.metrics.memory import MemoryMetrics
from bannister.metrics.sqlite import SqliteMetrics
from bannister.metrics.store import Datum, GroupDimensions, MetricStore
from bannister.settings import Settings

LOSS = identity("Mine", "Loss", {})
SECONDS = 150


def rule(metric_name: str, statistic: str, period: int, periods: int) -> AlarmRule:
    metric = LOSS
    if metric_name != "Loss":
        metric, _ = endpoint_identities("e", "v", "c", names=(metric_name,))
    return AlarmRule(metric, statistic, period, periods, periods, 1.0, Comparison.GREATER)


RULES = [
    rule("Invocations", "Sum", 10, 3),
    rule("Invocation5XXErrors", "Average", 60, 1),
    rule("InvocationsPerInstance", "Sum", 10, 1),
    rule("ModelLatency", "p90", 10, 2),
    rule("Loss", "Maximum", 10, 2),
    rule("Loss", "SampleCount", 1, 5),
]


def group(name: str, instances: int) -> GroupDimensions:
    return GroupDimensions(name, "e", "v", f"c-{name}", instances)


def summary(chance: random.Random, second: int) -> Summary:
    invocations = chance.randrange(1, 9)
    latency = Sketch.of([chance.randrange(1, 10_000) for _ in range(invocations)])
    return Summary(chance.choice("ab"), "i:1", second, invocations, errors_5xx=invocations // 2, model_latency=latency)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_it_is_as_if_each_evaluation_read_all(
    tmp_path: Path, kind: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:  # nobody knows of some what was added to them
        monkeypatch.setattr(window, "ADDITIONS_MAX", 2)
    chance, settings = random.Random(seed), Settings(tmp_path)
    store: MetricStore = MemoryMetrics(settings) if kind == "memory" else SqliteMetrics(settings, SystemClock())
    await store.register(group("a", 1))
    readings, first, numbers = Readings(), int(SystemClock().now()) - SECONDS, iter(range(1, 10_000))
    read, needed = 0, 0
    for end in range(first, first + SECONDS):
        at = end - 1 if chance.random() < 0.9 else end - chance.randrange(2, 100)
        match chance.randrange(6):
            case 0:
                pass
            case 1:
                await store.put([Datum(LOSS, at + chance.random(), of_values([chance.random()]))])
            case 2:
                await store.put([Datum(identity("Mine", str(end), {}), float(at), of_values([1.0]))])
            case _:
                await store.record(report(next(numbers), summary(chance, at)))
        if chance.random() < 0.05:
            await store.register(group(chance.choice("ab"), chance.randrange(1, 4)))
        store.judged_until(end)
        kept, fresh = Windows(store, readings, end, None), Windows(store, Readings(), end, None)
        for one in RULES:
            assert await kept.slots(one) == await fresh.slots(one), (end - first, one)
        read += sum(periods for _, _, periods, _ in kept._read)
        needed += sum(periods for _, _, periods, _ in fresh._read)
    assert read < needed * 0.8, (
        f"{read} of {needed} periods were read: what is late ends what is known, and nothing else does"
    )
    await store.close()


def test_what_no_alarm_looks_at_is_forgotten() -> None:
    readings = Readings()
    for one in RULES:
        for series in series_of(one):
            readings.of(series)
    assert len(readings) == len(RULES)
    readings.keep(RULES[:2])
    assert len(readings) == 2


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings_module, "READINGS_BYTES_MAX", 3 * 60 * 24)
    readings = Readings()
    series = [Series(identity("Mine", str(index), {}), None, "Sum", 10, 6) for index in range(5)]
    assert [readings.of(one) is not None for one in series] == [True, True, True, False, False]
    assert readings.of(series[0]) is not None
    readings.keep([AlarmRule(series[0].metric, "Sum", 10, 4, 4, 1.0, Comparison.GREATER)])
    assert [readings.of(one) is not None for one in series] == [True, True, True, False, False], "there is room again"


async def test_after_the_clock_was_set_back_periods_are_kept_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.put(metric=LOSS, statistic="Sum", period_seconds=10)
    read = 0

    async def counted(*args: Any, **options: Any) -> Any:
        nonlocal read
        read += args[3]
        return await MemoryMetrics.read(world.metrics, *args, **options)

    world.metrics.read = counted  # type: ignore[method-assign]

    async def seconds(begin: int) -> int:
        nonlocal read
        read = 0
        for at in range(begin, begin + 30):
            await world.metrics.put([Datum(LOSS, at + 0.5, of_values([0.0]))])
            await world.take(at + 1.3)
        return read

    fresh = await seconds(START)
    await world.take(START + 40_000.3)
    assert await seconds(START + 31) <= fresh


def test_long_ranges_are_not_kept() -> None:
    readings = Readings()
    assert readings.of(Series(LOSS, None, "Sum", RANGE_SECONDS_MAX // 10, 11)) is None
    assert readings.of(Series(LOSS, None, "Sum", RANGE_SECONDS_MAX // 10, 10)) is not None
    assert len(readings) == 1
