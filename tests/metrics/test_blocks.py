"""What is read by merged stretches is what is read second by second."""

import random

from bannister.domain.metric.aggregate import statistic
from bannister.domain.metric.endpoint import endpoint_identities
from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Summary
from bannister.metrics.store import GroupDimensions
from bannister.metrics.window import MetricWindow

START = 1_795_407_003


def summary(rng: random.Random, second: int) -> Summary:
    values = [rng.randrange(1000) for _ in range(rng.randint(1, 30))]
    sketch = Sketch.of(values)
    return Summary("g", "a", second, len(values), model_latency=sketch, overhead_latency=sketch)


def window(summaries: list[Summary]) -> MetricWindow:
    made = MetricWindow(sliding=True)
    made.register(GroupDimensions("g", "e", "v", "c", 1))
    made.add(summaries)
    return made


def test_late_additions_and_forgotten_seconds_are_seen() -> None:
    rng = random.Random(7)
    (metric, _) = endpoint_identities("e", "v", "c", names=("ModelLatency",))
    added: list[Summary] = []
    long_lived = window(added)
    for turn in range(400):
        one = summary(rng, START + turn // 2 - rng.choice((0, 0, 0, 25)))
        added.append(one)
        long_lived.add([one])
        if turn == 300:
            long_lived.forget(START + 95)
            added = [each for each in added if each.second >= START + 95]
        start, period = START + turn // 2 - rng.randint(3, 120), rng.choice((1, 7, 10, 60))
        found = long_lived.read(metric, start, period, 3, None, period)
        afresh = [
            window([each for each in added if begin <= each.second < begin + period]).read(
                metric, begin, period, 1, None, period
            )[0]
            for begin in (start, start + period, start + 2 * period)
        ]
        for one_period, expected in zip(found, afresh, strict=True):
            assert (one_period is None) == (expected is None)
            if one_period is not None and expected is not None:
                assert one_period.count == expected.count
                assert statistic(one_period, "p90") == statistic(expected, "p90")
