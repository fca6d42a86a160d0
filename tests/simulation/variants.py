"""Endpoints with two production variants in simulated worlds, updates that keep what an endpoint has, and what must be true of these."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

from bannister.domain.deployment.admission import Retention
from bannister.domain.fleet import Fleet
from bannister.instances.memory import Behaviour
from bannister.state.store import Record

if TYPE_CHECKING:
    from tests.simulation.world import World

#: The second one; the first is `a`, which alarms watch.
SECOND = "b"
#: Another one, to which an update without a policy may change.
ANOTHER = "c"


class Variants:
    """Which endpoints have a second variant, and what updates keep. A source of randomness of its own: worlds without stay as they were."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"variants of {seed}")
        #: Its model comes up and answers, whatever the seed says.
        self.always_sound = False

    def others(self) -> bool:
        """Whether the next update changes which variants there are, which only one without a policy may."""
        return not self.always_sound and self.rng.random() < 0.2

    def second(self, present: Fleet | None, *, another: bool) -> str | None:
        """The second variant of the next version; None: it has none. `present`: what runs; None: nothing yet."""
        if present is None:
            return SECOND if self.always_sound or self.rng.random() < 0.7 else None
        now = next((group.variant for group in present.groups if group.variant != "a"), None)
        return self.rng.choice([one for one in (None, SECOND, ANOTHER) if one != now]) if another else now

    def size(self) -> tuple[int, float]:
        """Instances and weight of a version's second variant."""
        return self.rng.choice((1, 2, 2, 3)), self.rng.choice((0.0, 0.5, 1.0, 3.0))

    def behaviour(self, *, sound: bool) -> tuple[Behaviour, float]:
        """How its model behaves, and its error rate."""
        rng = self.rng
        kinds = ("well",) * 5 if sound or self.always_sound else ("well",) * 5 + ("slow", "errors", "never", "dies")
        match rng.choice(kinds):
            case "slow":
                return Behaviour(ready_after_seconds=3 + rng.random() * 2), 0.0
            case "errors":
                return Behaviour(ready_after_seconds=rng.random()), 1.0
            case "never":
                return Behaviour(ready_after_seconds=None), 0.0
            case "dies":
                return Behaviour(ready_after_seconds=0.2, ends_after_seconds=3 + rng.random() * 10), 0.0
            case _:
                return Behaviour(ready_after_seconds=rng.random() * 2), 0.0

    def retention(self) -> Retention | None:
        """What the next update keeps; None: nothing."""
        rng = self.rng
        if rng.random() < 0.5:
            return None
        return Retention(rng.random() < 0.8, rng.random() < 0.3, rng.random() < 0.3)


class RetentionRules:
    """Part of the checker."""

    def __init__(self, world: World) -> None:
        self._world = world

    def started(self, record: Record) -> None:
        """An update has begun: what it was to keep, it keeps."""
        asked: dict[str, Any] = record.body.get("asked", {}).get("retention", {})
        if not asked.get("variant_properties"):
            return
        name = record.subject.removeprefix("endpoint/")
        running = self._world.checker.endpoints[name].deployment
        assert running is not None
        assert running.blue is not None
        kept = 0
        for green in running.green.groups:
            before = [one for one in running.blue.groups if one.variant == green.variant]
            if not before:
                continue
            counts, weights = sum(one.instance_count for one in before), sum(one.weight for one in before)
            if not asked["except_instance_count"] and green.instance_count != counts:
                self._violated(f"{green.id} has {green.instance_count} instances; there were {counts}.")
            if not asked["except_weight"] and not math.isclose(green.weight, weights):
                self._violated(f"{green.id} has the weight {green.weight}; it was {weights}.")
            kept += 1
        self._world.counts["updates that keep what there was"] += kept > 0

    def _violated(self, what: str) -> None:
        raise self._world.violated("23: an update keeps what it is to keep", what)
