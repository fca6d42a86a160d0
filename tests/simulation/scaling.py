"""Changes of weights and instance counts in simulated worlds: what is asked, and what must always be true of them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.simulation.shadow import VARIANT

from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet
from bannister.domain.scaling import Desired, fleet_of
from bannister.domain.traffic import apportion

if TYPE_CHECKING:
    from tests.simulation.world import World

#: An instance that drains may be ended with requests in flight after its time, which the control plane counts from its own start.
TOLERANCE_SECONDS = 1.0
#: That no instance of a group answers is known after so long, also to a control plane that has only just come up.
SILENCE_KNOWN_SECONDS_MAX = 8.0


class Scalings:
    """What is asked of endpoints that are at rest. A source of randomness of its own: worlds without scalings stay as they were."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"scalings of {seed}")

    def desired(self, fleet: Fleet) -> tuple[Desired, ...]:
        """Another size for some of the fleet's variants; often nothing."""
        rng = self.rng
        if rng.random() < 0.5:
            return ()
        production = Desired("a", rng.choice((None, 0.5, 2.0)), rng.choice((1, 2, 3, 4)))
        if others := [group.variant for group in fleet.groups if group.variant != production.variant]:
            if rng.random() < 0.2:
                production = Desired("a", 0.0, production.instance_count)
            second = Desired(others[0], rng.choice((None, 0.0, 0.5, 2.0)), rng.choice((1, 2, 3)))
            return rng.choice(((production,), (second,), (production, second)))
        if fleet.shadow is None or rng.random() < 0.5:
            return (production,)
        return (production, Desired(VARIANT, rng.choice((0.25, 1.0)), rng.choice((1, 2))))


class ScalingRules:
    """Part of the checker."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: Since when an instance is seen to drain.
        self._draining_since: dict[str, float] = {}
        #: By shadow's group: shares that it had before one was changed.
        self.earlier_shares: dict[str, set[int]] = {}

    def tick(self) -> None:
        for one in self._world.machine.remembered.instances:
            if one.draining:
                self._draining_since.setdefault(one.id, self._world.loop.time())

    def rewritten(self, before: Endpoint, after: Endpoint) -> bool:
        """Whether the write is one of a scaling, which may change what runs; it is held to the form of its phase."""
        old, new = before.scaling, after.scaling
        if old is None and new is None:
            return False
        if old is None:
            assert new is not None
            sound = new.before == before.blue and after.blue == fleet_of(new)
        elif new is None:
            kept = after.blue == old.before
            sound = after.blue == old.after or (kept and after.failure_reason is not None)
            self._world.counts["scalings"] += 1
            self._world.counts["scalings taken back"] += kept and after.failure_reason is not None
        else:
            sound = (old.before, old.after) == (new.before, new.after) and after.blue == fleet_of(new)
            self._grown(before, after)
        if before.blue is not None and before.blue.shadow is not None:
            shadow = before.blue.shadow
            self.earlier_shares.setdefault(shadow.group.id, set()).add(shadow.sampled_parts)
        if not sound:
            raise self._world.violated("13: what runs never changes", f"{after.name} is not what its scaling asks for.")
        return True

    def _grown(self, before: Endpoint, after: Endpoint) -> None:
        """When the weights change, what has grown is there."""
        assert before.blue is not None
        assert after.blue is not None
        assert before.scaling is not None
        weights = {group.id: group.weight for group in before.blue.groups}
        counts = {group.id: group.instance_count for group in before.scaling.before.groups}
        machine = self._world.machine
        for group in after.blue.groups:
            up = sum(machine.up(machine.address_of[one]) for one in machine.in_group(group.id))
            moved = weights[group.id] != group.weight and group.instance_count > counts[group.id]
            if moved and up < group.instance_count and not machine.ever_harmed(group.id):
                raise self._world.violated(
                    "2: capacity before traffic", f"{group.id} gets its new weight; {up} of its instances answer."
                )
        # Where it is taken back, what was comes again, whatever has happened to it meanwhile.
        if after.scaling is None or after.scaling.reason is None:
            self._answered(before.blue, after.blue)

    def _answered(self, before: Fleet, after: Fleet) -> None:
        """Who gets a larger share of the requests has somebody to answer them; that nobody is left may not be known for a moment."""
        machine = self._world.machine
        had, gets = (apportion([group.weight for group in fleet.groups]) for fleet in (before, after))
        for group, less, more in zip(after.groups, had, gets, strict=True):
            up = any(machine.up(machine.address_of[one]) for one in machine.in_group(group.id))
            if more > less and not up and self._world.checker.harmed_for(group.id) > SILENCE_KNOWN_SECONDS_MAX:
                raise self._world.violated(
                    "2: capacity before traffic", f"{group.id} gets a larger share, and no instance of it answers."
                )

    def may_stop(self, instance: str, wanted: int) -> bool:
        """Whether an instance of a wanted group may end: it drains, and without it there are as many as wanted."""
        machine = self._world.machine
        group = machine.group_of[instance]
        records = [one for one in machine.remembered.instances if one.group == group]
        surplus = next((one for one in records if one.id == instance), None)
        staying = [one for one in records if not one.draining and not one.stopping]
        never_asked = surplus is not None and not surplus.answered  # its present process was not
        return (never_asked or instance in self._draining_since or (surplus is not None and surplus.draining)) and len(
            staying
        ) >= wanted

    def overdue(self, instance: str, *, is_shadow: bool) -> bool:
        since, settings = self._draining_since.get(instance), self._world.settings
        given = settings.shadow_timeout_seconds if is_shadow else settings.drain_timeout_seconds
        return since is not None and self._world.loop.time() - since >= given - TOLERANCE_SECONDS
