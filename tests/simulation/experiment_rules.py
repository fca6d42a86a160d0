"""What must always be true of inference experiments, looked at from outside: part of the checker.

It remembers by itself what an endpoint ran when an experiment took hold of it, and never asks the experiment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bannister.domain.deployment.construction import same_but_instances
from bannister.domain.endpoint import Endpoint
from bannister.domain.experiment.experiment import ENDED, Ending, Experiment, Status
from bannister.domain.fleet import Fleet, sampled_parts

if TYPE_CHECKING:
    from tests.simulation.world import World

#: An experiment that was stopped, or is past its end, has ended this long afterwards while nothing is disturbed: its deployments may be tried and
#: rolled back several times.
ENDING_SECONDS_MAX = 400.0

RESTORED = "6: an experiment restores exactly what was"
HELD = "E1: nobody else changes an endpoint under an experiment"
ONE = "E2: one experiment at a time has an endpoint"
TRUTHFUL = "8: an experiment's outcome is truthful"
ENDS = "15: every experiment ends"


class ExperimentRules:
    """Asserts at every commit that writes an experiment or an endpoint, and at every tick."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.experiments: dict[str, Experiment] = {}
        #: By endpoint: what it ran when an experiment took hold of it; None: it did not exist.
        self._found: dict[str, Fleet | None] = {}
        #: By shadow's group: the shares of requests that were to be copied to it.
        self.earlier_shares: dict[str, set[int]] = {}
        #: Since when, in virtual time, an experiment should be ending.
        self._ending_since: dict[str, float] = {}

    def experiment_written(self, name: str, after: Experiment | None) -> None:
        if after is None:
            del self.experiments[name]
            return
        before = self.experiments.get(name)
        self.experiments[name] = after
        active = [
            one.name for one in self.experiments.values() if one.endpoint == after.endpoint and one.status not in ENDED
        ]
        if len(active) > 1:
            raise self._world.violated(ONE, f"{after.endpoint} has {active}.")
        if after.status in ENDED and before is not None and before.status not in ENDED:
            self._world.counts[f"experiments {after.status.value.lower()}"] += 1
            if after.status is Status.CANCELLED and not after.reason and after.stop is None:
                raise self._world.violated(TRUTHFUL, f"{name} is Cancelled without a reason.")

    def endpoint_written(self, before: Endpoint | None, after: Endpoint | None) -> None:
        holder = before.experiment if before is not None else None
        if holder is not None and before is not None and before.blue is not None and before.blue.shadow is not None:
            shadow = before.blue.shadow
            self.earlier_shares.setdefault(shadow.group.id, set()).add(shadow.sampled_parts)
        if after is None:
            if holder is not None:
                raise self._world.violated(HELD, f"{before} was removed.")
            return
        if holder is None and after.experiment is not None:
            self._found[after.name] = before.blue if before is not None else None
        if after.experiment is not None:
            self._check_held(after)
        if holder is not None and after.experiment != holder:
            self._released(after, holder)

    def may_rewrite(self, before: Endpoint, after: Endpoint) -> bool:
        """A fleet in production never changes, but for what an experiment does to its shadow, and to capture when it gives up."""
        if before.experiment is None or before.blue is None or after.blue is None:
            return False
        return before.blue.groups == after.blue.groups

    def _check_held(self, endpoint: Endpoint) -> None:
        if endpoint.deleting:
            raise self._world.violated(HELD, f"{endpoint.name} is being deleted under {endpoint.experiment}.")
        experiment = self.experiments.get(endpoint.experiment or "")
        if experiment is None:
            raise self._world.violated(HELD, f"{endpoint.name} is held by {endpoint.experiment}, which does not exist.")
        running = endpoint.deployment
        if running is not None and running.id not in (experiment.begun, experiment.ending):
            raise self._world.violated(HELD, f"{endpoint.name} has deployment {running.id} under {experiment.name}.")

    def committed(self) -> None:
        """After a whole commit: what a running experiment copies is what it says."""
        for one in self.experiments.values():
            endpoint = self._world.checker.endpoints.get(one.endpoint)
            if one.status is not Status.RUNNING or endpoint is None or endpoint.experiment != one.name:
                continue
            shadow = endpoint.blue.shadow if endpoint.blue is not None else None
            copied, asked = shadow.sampled_parts if shadow else None, sampled_parts(one.sampling_percent, 100)
            if copied != asked:
                raise self._world.violated("12: sampling is as asked", f"{one.name}: {copied} of {asked} parts.")

    def _released(self, endpoint: Endpoint, holder: str) -> None:
        experiment, found = self.experiments[holder], self._found.pop(endpoint.name)
        what = f"{holder} ({experiment.status.value}, {experiment.stop}, {experiment.reason}) leaves {endpoint.blue}, found {found}."
        if experiment.status not in ENDED:
            raise self._world.violated(TRUTHFUL, what)
        if endpoint.blue is None:
            if found is not None or experiment.status is Status.COMPLETED:
                raise self._world.violated(RESTORED, what)
            return
        restored = found is not None and same_but_instances(endpoint.blue, found)
        ending = experiment.stop.ending if experiment.stop is not None else Ending.RESTORE
        captured = endpoint.blue.capture == (found.capture if found is not None else None)
        kept = found is None or endpoint.blue.groups[0].container == found.groups[0].container
        if ending is Ending.PROMOTE:
            right = captured and [group.variant for group in endpoint.blue.all_groups] == [experiment.shadow.name]
        elif ending is Ending.RETAIN:
            right = endpoint.blue.shadow is not None and kept
        elif experiment.failure is not None or found is None:
            # The worst that may be left: production, as it was in the experiment, captured as before, and no shadow.
            right = kept and captured and endpoint.blue.shadow is None
        else:
            right = restored
        if not right:
            raise self._world.violated(RESTORED, what)
        if experiment.failure is not None and experiment.status is Status.COMPLETED:
            raise self._world.violated(TRUTHFUL, what)
        self._world.counts["endpoints restored" if restored else "endpoints left otherwise"] += 1

    def tick(self, calm: bool) -> None:
        now, wall = self._world.loop.time(), self._world.clock.now()
        for name, one in self.experiments.items():
            should_end = one.status is Status.STOPPING or (one.status not in ENDED and wall >= one.ends_at)
            if not calm or not should_end:
                self._ending_since.pop(name, None)
            elif now - self._ending_since.setdefault(name, now) > ENDING_SECONDS_MAX:
                raise self._world.violated(ENDS, f"{name} is {one.status.value} since {one.status_since}.")

    def unsettled(self) -> tuple[str, str] | None:
        """At the end, when all is quiet: the rule that does not hold yet, and how it is; None: nothing."""
        for one in self.experiments.values():
            if one.status not in ENDED:
                return ENDS, f"{one.name} is {one.status.value}."
        if self._found:
            return ENDS, f"Still held: {sorted(self._found)}"
        return None
