"""10,000 alarms over 1,000 endpoints of which 100 have traffic: what one second costs, and how long a breach takes.

`make bench-alarms` measures the whole; the tests measure a tenth of it.
"""

import asyncio
import os
import random
import resource
import statistics
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from pathlib import Path

import pytest
from tests.domain.deployment.worlds import CANARY, deployment

from bannister import garbage
from bannister.clock import SystemClock
from bannister.domain.alarm.alarm import Alarm, AlarmRule, AlarmState, AlarmValue, Comparison, MissingData
from bannister.domain.deployment.deployment import Phase
from bannister.domain.endpoint import Endpoint
from bannister.domain.metric.endpoint import endpoint_identities
from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Report, Summary
from bannister.evaluator.loop import Evaluator
from bannister.metrics.sqlite import SqliteMetrics
from bannister.metrics.store import GroupDimensions
from bannister.settings import Settings
from bannister.state.sqlite import SqliteState
from bannister.state.store import Put, State
from bannister.state.tables import ALARMS, ENDPOINTS

WHOLE = os.environ.get("BENCH_ALARMS") == "whole"
ENDPOINT_COUNT = 1000 if WHOLE else 100
BUSY = ENDPOINT_COUNT // 10
#: Until every period in a range was the newest one once, at the latest.
WARM_UP_PASSES = 60
PASSES = 20 if WHOLE else 5
#: Of history before the first pass: the longest evaluation range.
HISTORY_SECONDS = 320
INSTANCES = 2
REQUESTS = 20
#: Seconds with endpoints that fail: one more in each of the first, the guarded one from the beginning.
FAILING_PASSES = 25
FAILING = range(1, 10)
#: Above every threshold, µs.
TOO_LONG = 2_000_000_000

#: What is watched on each endpoint: metric, statistic, period, N, M, threshold, comparison, missing data.
RULES = [
    ("Invocation5XXErrors", "Sum", 60, 1, 1, 1e6, Comparison.GREATER, MissingData.NOT_BREACHING),
    ("Invocation5XXErrors", "Average", 60, 3, 2, 0.5, Comparison.GREATER_OR_EQUAL, MissingData.MISSING),
    ("Invocation4XXErrors", "Sum", 10, 3, 3, 1e6, Comparison.GREATER, MissingData.MISSING),
    ("InvocationModelErrors", "Average", 10, 2, 2, 0.5, Comparison.GREATER, MissingData.IGNORE),
    ("Invocations", "Sum", 60, 1, 1, 1e9, Comparison.GREATER, MissingData.NOT_BREACHING),
    ("InvocationsPerInstance", "Sum", 60, 2, 1, 1e9, Comparison.GREATER, MissingData.MISSING),
    ("ModelLatency", "p99", 60, 3, 3, 1e9, Comparison.GREATER, MissingData.NOT_BREACHING),
    ("ModelLatency", "p50", 10, 3, 2, 1e9, Comparison.GREATER, MissingData.MISSING),
    ("OverheadLatency", "p90", 60, 1, 1, 1e9, Comparison.GREATER, MissingData.MISSING),
    ("ModelLatency", "Maximum", 60, 1, 1, 1e9, Comparison.GREATER, MissingData.NOT_BREACHING),
]
#: Those that the failing endpoints' data trip, of each; the second is the last of all in the order of names.
TRIPPING = ("InvocationModelErrors-Average", "OverheadLatency-p90")
#: Named by a running deployment.
GUARDING = "InvocationModelErrors-Average-e0"


class NoFeed:
    """Reports are handed over by the test."""

    def __aiter__(self):
        raise AssertionError

    async def acknowledge(self, report: Report) -> None:
        pass


def alarm_of(endpoint: int, index: int, now: float) -> Alarm:
    name, statistic, period, periods, to_alarm, threshold, comparison, missing = RULES[index]
    metrics = endpoint_identities(f"e{endpoint}", "v", "c", names=(name,))
    rule = AlarmRule(
        metrics[index % 2], statistic, period, periods, to_alarm, threshold, comparison, missing_data=missing
    )
    quiet = endpoint >= BUSY and missing is not MissingData.NOT_BREACHING
    value = AlarmValue.INSUFFICIENT_DATA if quiet else AlarmValue.OK
    # Evaluated before: a new alarm's first evaluation writes its reason, and 10,000 writes are not what a second costs.
    return Alarm(f"{name}-{statistic}-e{endpoint}", rule, AlarmState(value, "Evaluated.", None, now, now), now)


def summaries(rng: random.Random, second: int, failing: Collection[int] = ()) -> list[Summary]:
    found = []
    for endpoint in range(BUSY):
        for instance in range(INSTANCES):
            bad = endpoint in failing
            errors = REQUESTS if bad else 0
            latency = [rng.randrange(1_000, 300_000) for _ in range(REQUESTS)]
            found.append(
                Summary(
                    f"g{endpoint}",
                    f"127.0.0.1:{instance}",
                    second,
                    REQUESTS,
                    errors_5xx=errors,
                    model_errors=errors,
                    model_latency=Sketch.of(latency),
                    overhead_latency=Sketch.of([TOO_LONG if bad else value // 100 for value in latency]),
                )
            )
    return found


async def after_every_write(state: State, look: Callable[[], Awaitable[None]]) -> None:
    version = state.changed.version
    while True:
        version = await state.changed.wait_past(version)
        await look()


@pytest.mark.real
@pytest.mark.alone
async def test_ten_alarms_on_each_endpoint(tmp_path: Path) -> None:
    memory_before = resident_bytes()
    garbage.begin()  # as the product does at its start
    settings, clock, rng = Settings(tmp_path), SystemClock(), random.Random(1)
    state, metrics = SqliteState(tmp_path / "state.db"), SqliteMetrics(settings, clock)
    evaluator = Evaluator(state, metrics, NoFeed(), clock, settings)
    now = int(time.time())
    for endpoint in range(ENDPOINT_COUNT):
        await metrics.register(GroupDimensions(f"g{endpoint}", f"e{endpoint}", "v", "c", INSTANCES))
    for endpoint in range(ENDPOINT_COUNT):
        alarms = [alarm_of(endpoint, index, now - HISTORY_SECONDS) for index in range(len(RULES))]
        await state.commit([Put(ALARMS, alarm.name, alarm, 0) for alarm in alarms])

    # The endpoint that will fail is being deployed, and that alarm guards it.
    guarded = replace(deployment(replace(CANARY, alarms=(GUARDING,))), phase=Phase.BAKING)
    await state.commit([Put(ENDPOINTS, "e0", Endpoint("e0", 0.0, 0.0, deployment=guarded), 0)])
    sequence = 0

    async def take(watermark: float | None, found: list[Summary]) -> None:
        nonlocal sequence
        for first in range(0, len(found), 100):
            last = first + 100 >= len(found)
            sequence += 1
            await evaluator.take(
                Report("run", sequence, watermark if last else None, now - 1000.0, tuple(found[first : first + 100]))
            )

    for second in range(now - HISTORY_SECONDS, now):
        await take(None, summaries(rng, second))
    await take(now, [])  # every alarm's first evaluation, and its state written
    costs = []
    begin = now + WARM_UP_PASSES
    for second in range(now, begin + PASSES):
        found = summaries(rng, second)
        cpu = time.process_time()
        await take(second + 1, found)
        costs.append(time.process_time() - cpu)
    cold, costs = costs[:WARM_UP_PASSES], costs[WARM_UP_PASSES:]
    expected = {f"{rule}-e{0 if number == 0 else BUSY - number}" for number in (0, *FAILING) for rule in TRIPPING}
    # By alarm, from when its last summary was handed over.
    waits: dict[str, float] = {}
    handed_over = time.monotonic()

    async def look() -> None:
        for name in expected - waits.keys():
            row = await state.get(ALARMS, name)
            if row is not None and row.value.state.value is AlarmValue.ALARM:
                waits.setdefault(name, time.monotonic() - handed_over)

    watching = asyncio.create_task(after_every_write(state, look))
    for passed in range(FAILING_PASSES):
        # Those in the order of names that come last: they are judged last.
        failing = {0, *(BUSY - number for number in FAILING if number <= passed)}
        second = begin + PASSES + passed
        found = summaries(rng, second, failing)
        handed_over = time.monotonic()
        await take(second + 1, found)
        await look()  # at the latest now, so that nothing is measured from the next one
    watching.cancel()
    swept = time.monotonic()
    garbage.sweep()
    swept = time.monotonic() - swept
    guarding = waits.pop(GUARDING)
    memory = resident_bytes()
    print(
        f"\n{ENDPOINT_COUNT * len(RULES)} alarms: a pass takes {sum(costs) / len(costs):.3f} s of CPU (most {max(costs):.3f}; "
        f"in the first minute {sum(cold) / len(cold):.3f}); "
        f"from the last summary to ALARM {guarding * 1000:.0f} ms where a deployment waits for it, and for {len(waits)} others {statistics.median(waits.values()) * 1000:.0f}, at most {max(waits.values()) * 1000:.0f}; {memory >> 20} MiB ({memory - memory_before >> 20} more than before). "
        f"To look for garbage, once in {settings.housekeeping_interval_seconds:.0f} s, takes {swept * 1000:.0f} ms."
    )
    tripped = {row.key for row in await state.rows(ALARMS) if row.value.state.value is AlarmValue.ALARM}
    assert tripped == expected == {GUARDING, *waits}
    share = ENDPOINT_COUNT / 1000
    assert sorted(costs)[len(costs) // 2] < max(1.0 * share, 0.2)
    assert sorted(costs)[len(costs) * 9 // 10] < max(1.0 * share, 0.3)
    assert guarding < 0.25
    assert max(waits.values()) < 0.25, "alarms with data wait for those before them"
    # Of the 500 MiB in all, the interpreter with its imports has 70; what other tests left in this process is not counted.
    assert memory - memory_before < 430 << 20
    await metrics.close()
    await state.close()


def resident_bytes() -> int:
    try:
        fields = Path("/proc/self/statm").read_text().split()
    except OSError:  # not Linux: the most that it ever was
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(fields[1]) * resource.getpagesize()
