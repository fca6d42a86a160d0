"""A shadow as the demo has it: v4 answers like v2 but for flights that left late, a fifth of them; made through the real comparison."""

import json
import random

from bannister.domain.capture.exchange import Exchange, Message
from bannister.domain.comparison.compare import compare
from bannister.domain.comparison.record import ShadowRecord
from bannister.domain.comparison.report import CaptureCount, Counted, GroupTally, Unpaired
from bannister.domain.comparison.rules import Rules
from bannister.domain.comparison.tally import Tally, merge

RULES = Rules(ignored_paths=("$.version",), minimum=0.0, maximum=1.0, noise_parts=50_000)
GROUP, PRODUCTION = "flights.Shadow.flights-2", "flights.AllTraffic.flights-2"
PAIRS = 412


def exchange(number: int, group: str, answer: object, latency_us: int, at: float) -> Exchange:
    request = {"carrier": "UA", "dep_delay": number % 90, "dest": "DEN", "origin": "EWR"}
    return Exchange(
        f"{number:08x}-0000-4000-8000-000000000000",
        "flights",
        group,
        at,
        at + latency_us / 1e6,
        Message(json.dumps(request).encode(), "application/json"),
        Message(json.dumps(answer).encode(), "application/json"),
        200,
        latency_us,
    )


def answer(probability: float, version: str) -> dict[str, object]:
    return {"late": probability > 0.5, "probability": round(probability, 4), "version": version}


def tallies(start: int, pairs: int = PAIRS, seconds: int = 182) -> list[GroupTally]:
    """One for each second."""
    draws = random.Random(4)
    by_second: dict[int, list[Tally]] = {}
    for number in range(pairs):
        second = start + number * seconds // pairs
        late = draws.random() < 0.25
        old = draws.uniform(0.55, 0.99) if late else draws.betavariate(1, 8) * 0.5
        new = old if not late or draws.random() < 0.2 else draws.uniform(0.02, 0.45)
        took = int(draws.lognormvariate(8.0, 0.4))
        production = exchange(number, PRODUCTION, answer(old, "v2"), took, second)
        shadow = exchange(number, GROUP, answer(new, "v4"), took + int(draws.gauss(180, 400)), second)
        by_second.setdefault(second, []).append(Tally.of(production, shadow, compare(production, shadow, RULES), RULES))
    return [
        GroupTally("flights", GROUP, PRODUCTION, at, noise=False, tally=merge(all_)) for at, all_ in by_second.items()
    ]


def records(start: int, *, noise: bool = True) -> list[ShadowRecord]:
    """The shadow's, and the noise floor's."""
    found = tallies(start)
    tally = merge([*(one.tally for one in found), Tally.of_unpaired({Unpaired.NO_SHADOW: 3, Unpaired.INCOMPLETE: 1})])
    shadow = ShadowRecord(
        "flights",
        GROUP,
        PRODUCTION,
        noise=False,
        since=start,
        until=start + 182,
        tally=tally,
        variant="Shadow",
        config_name="flights-2",
        model="v4",
        production_variant="AllTraffic",
        production_config_name="flights-2",
        production_model="v2",
        counts=(
            CaptureCount(GROUP, Counted.CAPTURED, 415),
            CaptureCount(GROUP, Counted.DROPPED, 2, "the disk is full"),
        ),
    )
    own = ShadowRecord(
        "flights",
        PRODUCTION,
        PRODUCTION,
        noise=True,
        since=start,
        until=start + 182,
        tally=Tally(pairs=200, agreeing=200),
    )
    return [shadow, own] if noise else [shadow]
