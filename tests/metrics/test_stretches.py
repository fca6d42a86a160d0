"""Ranges that reach beyond what is in memory: read again a second later they say what reading anew says, and cost little."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from bannister.domain.metric.aggregate import Aggregate, of_values, statistic
from bannister.domain.metric.endpoint import endpoint_identities
from bannister.domain.metric.identity import identity
from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Report, Summary
from bannister.metrics.sqlite import SqliteMetrics
from bannister.metrics.store import Datum, GroupDimensions
from bannister.metrics.stretches import SPANS, Look, Stretches
from bannister.settings import Settings

START = 1_795_407_003
OWN = identity("Mine", "Loss")
METRICS = [
    *endpoint_identities("e", "v", "c", names=("Invocations",))[:1],
    *endpoint_identities("e", "v", "c", names=("ModelLatency",))[:1],
    *endpoint_identities("e", "v", "c", names=("InvocationModelErrors",))[1:],
    OWN,
]


class HandClock:
    time = float(START)

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def store(tmp_path: Path, clock: HandClock) -> AsyncIterator[SqliteMetrics]:
    made = SqliteMetrics(Settings(data_dir=tmp_path), clock)
    await made.register(GroupDimensions("g", "e", "v", "c", 2))
    yield made
    await made.close()


class Traffic:
    """Requests of one group in each second that is asked for."""

    def __init__(self, store: SqliteMetrics, seed: int) -> None:
        self._store = store
        self._rng = random.Random(seed)
        self._sequence = 0

    async def give(self, *seconds: int, group: str = "g") -> None:
        self._sequence += 1
        summaries = tuple(self._summary(group, second) for second in seconds)
        await self._store.record(Report("r", self._sequence, None, None, summaries))

    def _summary(self, group: str, second: int) -> Summary:
        count = self._rng.randint(1, 30)
        latencies = Sketch.of([self._rng.randrange(10_000) for _ in range(count)])
        return Summary(group, "a:1", second, count, model_errors=self._rng.randint(0, count), model_latency=latencies)


def told(found: list[Aggregate | None]) -> list[object]:
    return [
        None if one is None else (one.count, round(one.sum, 6), one.minimum, one.maximum, statistic(one, "p90"))
        for one in found
    ]


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_kept_is_what_reading_anew_finds(store: SqliteMetrics, clock: HandClock, seed: int) -> None:
    """Through late data, data of users of any age, groups that come, housekeeping, and all that is kept being rolled up."""
    rng, traffic = random.Random(seed), Traffic(store, seed)
    await traffic.give(*range(START - 15_000, START, 23))
    checked = 0
    for turn in range(60):
        clock.time += rng.choice((1, 1, 1, 5, 40))
        end = int(clock.time)
        await traffic.give(end - 1)
        if rng.random() < 0.3:
            await traffic.give(end - rng.choice((700, 1300, 3000, 11_500)))
        if rng.random() < 0.5:
            at = end - rng.choice((0.75, 599.5, 601.25, 900.0, 4000.5))
            await store.put([Datum(OWN, at, of_values([float(rng.randrange(100))]), rng.choice((1, 60)))])
        if turn == 30:
            await store.register(GroupDimensions("h", "e", "v", "c", 1))
            await traffic.give(end - 1000, group="h")
        if turn == 40:
            await store.register(GroupDimensions("g", "e", "v", "c", 5))
        if rng.random() < 0.2:
            await store.expire(clock.time, {"g", "h"})
        for period, periods in rng.sample(((300, 5), (60, 20), (30, 40), (3600, 4), (77, 11)), 2):
            metric, start = rng.choice(METRICS), end - period * periods
            unit = rng.choice((None, None, "Microseconds"))
            kept = await store.read(metric, start, period, periods, unit, sliding=True)
            assert told(kept) == told(await store.read(metric, start, period, periods, unit))
            checked += sum(one is not None for one in kept)
    assert checked > 200


async def test_what_slides_on_reads_little_of_the_file(
    store: SqliteMetrics, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = Traffic(store, 1)
    await traffic.give(*range(START - 1600, START + 130))
    seconds_read: list[int] = []
    honest = store._read_file

    def counting(metric, start, period, periods, *rest):
        seconds_read.append(int(period * periods))
        return honest(metric, start, period, periods, *rest)

    monkeypatch.setattr(store, "_read_file", counting)
    for end in range(START, START + 120):
        clock.time = float(end)
        if end % 60 == 0:
            await store.expire(clock.time, {"g"})
        await store.read(METRICS[1], end - 1500, 300, 5, sliding=True)
        if end == START:
            assert sum(seconds_read) > 900
            seconds_read.clear()
    # What left the memory meanwhile, and the edges of periods; anew it would be 900 for each of them.
    assert sum(seconds_read) < 120 * 20
    assert len(seconds_read) < 120


async def test_what_was_rolled_up_is_read_again(store: SqliteMetrics, clock: HandClock) -> None:
    traffic = Traffic(store, 1)
    minute = (START - 9000) // 60 * 60
    await traffic.give(*range(minute, minute + 300))
    halves = minute + 30, 60, 3
    before = await store.read(METRICS[0], *halves, sliding=True)
    assert told(before) == told(await store.read(METRICS[0], *halves))
    clock.time += 2000.0
    await store.expire(clock.time, {"g"})
    after = await store.read(METRICS[0], *halves, sliding=True)
    assert told(after) != told(before)
    assert told(after) == told(await store.read(METRICS[0], *halves))


@pytest.mark.parametrize("turns", range(6))
async def test_housekeeping_in_the_middle_of_a_read_leaves_out_nothing(
    store: SqliteMetrics, clock: HandClock, turns: int
) -> None:
    """It moves the border between what is in memory and what is read from the file, on which a period may lie."""
    traffic = Traffic(store, 1)
    await traffic.give(*range(START - 1600, START))
    clock.time = float(START)
    await store.expire(clock.time, {"g"})
    clock.time += 60
    asked = METRICS[0], START - 850, 300, 2
    reading = asyncio.create_task(store.read(*asked, sliding=True))
    for _ in range(turns):
        await asyncio.sleep(0)
    await store.expire(clock.time, {"g"})
    assert told(await reading) == told(await store.read(*asked))


def test_much_that_is_kept_makes_forgetting_no_slower() -> None:
    """Of each metric's looks the newest second is kept as the oldest goes, every second, among a hundred thousand others."""
    kept, hashed = Stretches(bytes_max=500 * 5000), 0

    class Counted(Look):
        __slots__ = ()

        def __hash__(self) -> int:
            nonlocal hashed
            hashed += 1
            return super().__hash__()

    looks = [Counted(identity("N", str(index)), None, (1,)) for index in range(5)]

    def read(begin: int, span: int, count: int) -> list[Aggregate | None]:
        return [None] * count

    for begin in range(0, 11_000, 10):
        for look in looks:
            kept.read(look, (), begin + 1, begin + 9, 20_000, read)
    assert len(kept._kept) > 4900
    hashed = 0
    kept.read(looks[0], (), 11_001, 11_009, 20_000, read)
    assert len(kept._kept) <= 5000
    assert hashed < 1000


def test_what_is_kept_is_bounded_and_what_was_looked_at_lately_stays() -> None:
    kept = Stretches(bytes_max=200_000)
    sketch = Sketch.of([value * 1.5 for value in range(400)])
    one = Aggregate(400.0, sketch.sum, sketch.minimum, sketch.maximum, sketch)
    asked: list[int] = []

    def read(begin: int, span: int, count: int) -> list[Aggregate | None]:
        asked.append(begin)
        return [one] * count

    looks = [Look(identity("N", str(index)), None, (1,)) for index in range(300)]
    for look in looks:
        kept.read(look, (), 600, 660, 10_000, read)
        kept.read(looks[0], (), 600, 660, 10_000, read)
    assert len(asked) == 300, "what is looked at all the time is read once"
    assert kept._bytes <= 200_000
    assert len(kept._groups) < 60
    assert len(kept._looks) < 60
    kept.forget(10_000)
    assert not kept._kept
    assert not kept._groups
    assert not kept._looks
    kept.read(looks[0], (), 600, 660, 10_000, read)
    assert len(asked) == 301
    kept.touch(looks[0].metric, 630.5)
    kept.read(looks[0], (), 600, 660, 10_000, read)
    assert len(asked) == 302


def test_lengths_nest() -> None:
    assert all(longer % shorter == 0 for shorter, longer in pairwise(SPANS))
