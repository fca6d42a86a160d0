"""The checker: it looks at the proxies, the machine and the durable medium from outside, and knows what must always be true.

Numbers in front of the rules are those of the property list (docs/simulation.md). It never asks the control plane anything.

What a fault itself breaks is not held against anybody: a group whose instance was killed is *harmed* until it is whole again in every proxy, and a
proxy that was away for longer than its lease, or that came back empty, is *astray* until it routes as the endpoints ask.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
from tests.simulation.composites import CompositeRules
from tests.simulation.counted import CountRules
from tests.simulation.experiment_rules import ExperimentRules
from tests.simulation.listeners import EventRules
from tests.simulation.recorded import RecordRules
from tests.simulation.room import RoomRules
from tests.simulation.scaling import ScalingRules
from tests.simulation.shadow import ShadowRules
from tests.simulation.share import ShareRules
from tests.simulation.timers import TimerRules
from tests.simulation.variants import RetentionRules

from bannister.domain.alarm.alarm import AlarmValue
from bannister.domain.comparison.rules import Rules
from bannister.domain.deployment.capacity import batch, whole
from bannister.domain.deployment.deployment import STOPPABLE, Deployment, Phase
from bannister.domain.deployment.machine import Event
from bannister.domain.deployment.recorder import DECIDED, STARTED
from bannister.domain.deployment.targets import wanted_instances as wanted_of
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet
from bannister.domain.routing import Membership, Plans, RoutePlan, Weight, wanted_instances
from bannister.domain.traffic import TRAFFIC_PARTS
from bannister.envoy.memory import MemoryProxy
from bannister.envoy.resources.names import ROUTE_TABLE
from bannister.envoy.snapshot import Snapshot
from bannister.state.group_record import GroupRecord
from bannister.state.store import Put, Record, Remove, Table
from bannister.state.tables import ALARMS, COMPARISON_RULES, ENDPOINTS, EXPERIMENTS, GROUPS

if TYPE_CHECKING:
    from tests.simulation.plane import ControlPlane
    from tests.simulation.world import World

#: Where nobody put others.
RULES = Rules()
#: From an alarm's transition to all traffic on blue, while nothing is disturbed.
ROLLBACK_SECONDS_MAX = 2.0
#: What green no longer needs on a rolling update's way back has begun to leave this long after it was decided, while nothing is disturbed.
SHEDDING_SECONDS_MAX = 2.0
#: So long after an instance of green died nothing is decided any more that does not know of it.
DEATH_KNOWN_SECONDS_MAX = 1.0
#: A deployment ends this long after its time is over (rolling back, draining, stopping), while nothing is disturbed.
ENDING_SECONDS_MAX = 60.0
#: After the first shift, and before blue begins to retire.
GUARDED = STOPPABLE - {Phase.PROVISIONING, Phase.HELD}
#: A scaling that is out of time is taken back, and drained, this long after.
SCALING_SECONDS_MAX = 60.0
#: Whatever was disturbed serves again this long after the disturbances stopped.
HEALING_SECONDS_MAX = 30.0
#: The reason with which somebody sets an alarm to OK.
SET_BY_HAND = "Over."
#: A start that misses its time-out by less than this may or may not: it is asked now and then.
START_SECONDS = 0.5
#: What a ping that is asked for now says is known, and acted on, after this long.
ANSWER_SECONDS_MAX = 1.0


@dataclass
class Watched:
    """What the checker remembers of a deployment."""

    deployment: Deployment
    began: Endpoint
    #: The journal's position at the first shift; None: not yet.
    shifted_at_sequence: int | None = None
    #: When the present bake began, in virtual time, and the jumps of the wall clock until then.
    baking_since: float = 0.0
    jumps: int = 0
    tripped_at: float | None = None
    #: When blue was last seen to lack instances on its way back.
    short_at: float = 0.0
    phase_times: dict[Phase, float] = field(default_factory=dict)
    #: By variant: instances of blue beyond its size that were on their way out when the deployment began, after a rollback that had failed.
    surplus: dict[str, int] = field(default_factory=dict)
    #: When the first of green's processes ended by itself that had answered, after the first shift.
    died_at: float | None = None


class Checker:
    """Asserts at every commit, every effect and every tick."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.endpoints: dict[str, Endpoint] = {}
        self.experiments = ExperimentRules(world)
        self.watched: dict[str, Watched] = {}
        self._plans = Plans()
        self._entries = 0
        #: By table and key: bytes of the medium, and what they say.
        self._values: dict[tuple[str, str], tuple[bytes, Any]] = {}
        self._harmed: dict[str, float] = {}
        self._astray: dict[str, float] = {}
        #: Proxies that may leave a response unanswered for longer than their lease, at any time.
        self.slow: dict[str, None] = {}
        #: Proxies that refuse whatever they are sent.
        self.refusing: dict[str, None] = {}
        #: Proxies that have left and never come back.
        self.gone: dict[str, None] = {}
        self._away_since: dict[str, float] = {}
        #: By group: since when its record says that it is to go away.
        self._retiring_since: dict[str, float] = {}
        #: Groups that endpoints have, or had, as shadows.
        self._shadow_groups: set[str] = set()
        #: Endpoints that were reachable through a proxy once.
        self._served: dict[str, None] = {}
        #: What models said against themselves, as the journal has it: deployment, variant and text.
        self._warned: dict[tuple[str, str, str], None] = {}
        self.jumps = 0
        self.calm_since = 0.0
        self.outcomes: dict[str, Phase] = {}
        #: ALARMs before the end of their period.
        self.decided_early = 0
        self._shadows = ShadowRules(world)
        self._shares = ShareRules(world)
        self._timers = TimerRules(world)
        self._records = RecordRules(world)
        self.counts = CountRules(world)
        self.room = RoomRules(world)
        self._composites = CompositeRules(world)
        self.scalings = ScalingRules(world)
        self._retention = RetentionRules(world)
        self.events = EventRules(world)

    # --- told by the world

    def harmed(self, group: str) -> None:
        self._harmed[group] = self._world.loop.time()

    def harmed_for(self, group: str) -> float:
        """How long ago a fault hit an instance of it last, in seconds; never, or it has healed: for ever."""
        return self._world.loop.time() - self._harmed.get(group, -math.inf)

    def is_harmed(self, group: str) -> bool:
        """A fault has hit an instance of it, and it is not whole again."""
        return group in self._harmed

    def away_for(self, node: str) -> float:
        """For how long a proxy has had no control plane, in seconds."""
        now = self._world.loop.time()
        return now - self._away_since.get(node, now)

    def died(self, instance: str, group: str) -> None:
        """A program has ended by itself, or used too much."""
        record = next((one for one in self._world.machine.remembered.instances if one.id == instance), None)
        if record is None or not record.answered or record.draining or record.stopping:
            return
        for watched in self.watched.values():
            green = [one.id for one in watched.deployment.green.groups]
            if watched.shifted_at_sequence is not None and watched.deployment.phase in GUARDED and group in green:
                watched.died_at = watched.died_at or self._world.loop.time()

    def astray(self, node: str) -> None:
        self._astray[node] = self._world.loop.time()

    def acted(self, what: str) -> None:
        """Something acts on the machine, or tells a proxy something."""
        if not self._world.current_epoch_context:
            raise self._world.violated("5: one control plane at a time", f"A replaced control plane did: {what}")

    def committed(self, plane: int, writes: Sequence[Put[Any] | Remove], records: Sequence[Record]) -> None:
        if self._world.loop.over:
            return
        if not self._world.current_epoch_context:
            raise self._world.violated(
                "5: one control plane at a time", f"Control plane {plane} wrote after it was replaced."
            )
        self._check_journal()
        for write in writes:
            if write.table.name == EXPERIMENTS.name:
                self.experiments.experiment_written(write.key, self.read(EXPERIMENTS, write.key))
        for write in writes:
            if write.table.name == GROUPS.name:
                self._group_written(write.key)
        names = [write.key for write in writes if write.table.name == ENDPOINTS.name]
        before = [self.endpoints.get(name) for name in names]
        for name in names:
            self._endpoint_written(name)
        self.events.committed(
            [(one, self.endpoints.get(name)) for one, name in zip(before, names, strict=True)], records
        )
        self.experiments.committed()
        if self._world.composites is not None and any(write.table.name == ALARMS.name for write in writes):
            self._composites.committed(self._all(ALARMS), records)
        for record in records:
            self._recorded(plane, record)

    def _group_written(self, group: str) -> None:
        record: GroupRecord | None = self.read(GROUPS, group)
        if record is None or record.retiring_since is None:
            self._retiring_since.pop(group, None)
        else:
            self._retiring_since.setdefault(group, self._world.loop.time())

    def _recorded(self, plane: int, record: Record) -> None:
        if record.kind == STARTED:
            self._retention.started(record)
        if record.kind == DECIDED:
            self._evidence_said(record)
            self._records.decided(plane, record)
        for one in record.body.get("model_warnings", ()):
            self._model_warned(record.body["deployment"], one["variant"], one["text"])
        if record.kind == "alarm.transitioned" and record.body.get("to") == AlarmValue.ALARM.value:
            self._alarm_tripped(record.subject.removeprefix("alarm/"))
            self._decided_early(record)
        if record.kind == "alarm.transitioned":
            self._stood_until_confirmed(record)
            self._records.transitioned(plane, record)

    def published(self, plane: ControlPlane, snapshot: Snapshot) -> None:
        """A control plane hands out routes: where a share grows, the proxies already reach who takes it."""
        if not self._world.current_epoch_context:
            return
        self.room.published(plane, snapshot)
        if ROUTE_TABLE in snapshot.withheld:
            return
        self._shadows.published(snapshot)
        for group in self._world.machine.remembered.groups:
            cluster = snapshot.clusters.get(group.spec.id)
            if cluster is not None and cluster.body.paths != group.spec.paths:
                raise self._world.violated(
                    "9: no request is lost",
                    f"{group.spec.id} answers at {group.spec.paths}, and is asked at {cluster.body.paths}.",
                )
        for name, forwarding in snapshot.routes[ROUTE_TABLE].about.items():
            endpoint, weights = self.endpoints.get(name), forwarding.weights
            self._shares.look("The control plane", name, weights)
            plan = self._plans.of(endpoint) if endpoint is not None else None
            if plan is None or plan.weights != weights:
                continue  # it may be what was asked a moment ago, or what can be had
            for one in plan.memberships:
                self._reached(name, one, weights)

    def _reached(self, endpoint: str, membership: Membership, weights: Sequence[Weight]) -> None:
        group, needed = membership.group, min(membership.required, membership.in_rotation)
        if needed == 0 or self._world.machine.ever_harmed(group):
            return
        for proxy in self.proxies():
            grows = _parts(weights, group) > _parts(proxy.weights(endpoint), group)
            if grows and len(proxy.reachable(group)) < needed:
                raise self._world.violated(
                    "2: capacity before traffic",
                    f"{endpoint}: {group} is to get more traffic; {proxy.node} reaches {proxy.reachable(group)} of {needed}.",
                )

    def stopping(self, instance: str) -> None:
        """An instance is asked to end."""
        if self._world.loop.over:
            return
        machine, group = self._world.machine, self._world.machine.group_of[instance]
        address = machine.address_of[instance]
        for endpoint in self.endpoints.values():
            wanted = wanted_instances(endpoint).get(group)
            if wanted is not None and not self.scalings.may_stop(instance, wanted):
                raise self._world.violated(
                    "10: blue is not stopped early", f"{instance} of {group} ends and is wanted."
                )
        for proxy in self.proxies():
            routed = {one.group for weights in proxy.routes().values() for one in weights if one.takes_any}
            if group in routed and address in proxy.reachable(group) and instance not in machine.harmed:
                raise self._world.violated(
                    "9: no request is lost", f"{instance} of {group} ends while {proxy.node} routes to it."
                )
        for proxy in self._countable(group):
            overdue = self._overdue(group, are_counted=proxy.counted(address) > 0) or self.scalings.overdue(
                instance, is_shadow=group in self._shadow_groups
            )
            if proxy.in_flight(address) and not overdue:
                raise self._world.violated(
                    "10: draining",
                    f"{instance} of {group} ends with {proxy.in_flight(address)} requests in flight, before the time to drain is over.",
                )

    def tick(self) -> None:
        self._recover()
        self.scalings.tick()
        for proxy in self.proxies():
            self._check_routes(proxy)
        self._shadows.tick(self.proxies(), self.endpoints)
        self.room.tick(self.proxies())
        self._check_served()
        self._check_batches()
        self._check_ends()
        self._timers.tick()
        self._shares.tick()
        self.experiments.tick(self._world.calm)

    # --- the durable medium

    def read(self, table: Table[Any], key: str) -> Any:
        """A value as its bytes have it; each is read once by the checker itself."""
        found = self._world.medium.rows.get((table.name, key))
        if found is None:
            self._values.pop((table.name, key), None)
            return None
        known = self._values.get((table.name, key))
        if known is None or known[0] is not found[0]:
            known = self._values[table.name, key] = found[0], msgspec.json.decode(found[0], type=table.type)
        return known[1]

    def comparison_rules(self, endpoint: str) -> Rules:
        """By which its answers are compared."""
        found: Rules | None = self.read(COMPARISON_RULES, endpoint)
        return found if found is not None else RULES

    def _all(self, table: Table[Any]) -> list[Any]:
        return [self.read(table, key) for name, key in self._world.medium.rows if name == table.name]

    def _check_journal(self) -> None:
        entries = self._world.medium.entries
        if len(entries) < self._entries:
            raise self._world.violated("13: the journal is append-only", "Entries are gone.")
        for index in range(self._entries, len(entries)):
            if entries[index].sequence != index + 1:
                raise self._world.violated("13: the journal has no gap", f"Entry {index + 1} is {entries[index]}.")
        self._entries = len(entries)

    def _endpoint_written(self, name: str) -> None:
        before, after = self.endpoints.get(name), self.read(ENDPOINTS, name)
        self.experiments.endpoint_written(before, after)
        if after is None:
            self.endpoints.pop(name, None)
            self._served.pop(name, None)
            return
        self.endpoints[name] = after
        running = after.deployment
        fleets = (after.blue,) if running is None else (after.blue, running.blue, running.green)
        self._shadow_groups.update(one.shadow.group.id for one in fleets if one is not None and one.shadow is not None)
        if running is not None and running.id not in self.watched:
            began = before if before is not None else after
            self.watched[running.id] = Watched(running, began, surplus=self._surplus(running.blue))
        if before is None:
            return
        promoted = before.deployment is not None and after.blue == before.deployment.green
        scaled = self.scalings.rewritten(before, after)
        mixed = before.deployment is not None and before.deployment.phase is Phase.RESTORING
        changed = None not in (before.blue, after.blue) and before.blue != after.blue
        changed = changed and not promoted and not scaled and not mixed
        if changed and not self.experiments.may_rewrite(before, after):
            raise self._world.violated("13: what runs never changes", f"Blue of {name} was rewritten.")
        if before.deployment is not None and running is None:
            self._ended(before, after)
        elif before.deployment is not None and running is not None:
            self._moved(before, before.deployment, after, running)

    def _surplus(self, blue: Fleet | None) -> dict[str, int]:
        if blue is None or not blue.mixed:
            return {}
        surplus = Counter[str]()
        for group in blue.groups:
            surplus[group.variant] += max(len(self._world.machine.in_group(group.id)) - group.instance_count, 0)
        return surplus

    # --- deployments

    def _moved(self, before: Endpoint, old: Deployment, after: Endpoint, new: Deployment) -> None:
        if (old.blue, old.green, old.policy, old.steps) != (new.blue, new.green, new.policy, new.steps):
            raise self._world.violated("13: what runs never changes", f"Deployment {new.id} was rewritten.")
        watched = self.watched[new.id]
        self._wished(watched, old, new)
        if old.phase is new.phase:
            return
        watched.deployment = new
        watched.phase_times[new.phase] = self._world.loop.time()
        forwards = new.phase in GUARDED or new.phase is Phase.RETIRING
        since = self._world.loop.time() - watched.died_at if watched.died_at is not None else 0.0
        if forwards and since > DEATH_KNOWN_SECONDS_MAX:
            raise self._world.violated(
                "8: the outcome is truthful", f"{new.id} goes on {since:.1f} s after an instance of green died."
            )
        match new.phase:
            case Phase.SHIFTING:
                if new.step == 0:
                    self._first_shift(watched, new)
                if new.step == 0 or new.rolling:
                    self._capacity(new)
            case Phase.BAKING:
                self._acknowledged(before, "11: a bake starts when every proxy has the split")
                watched.baking_since, watched.jumps = self._world.loop.time(), self.jumps
            case Phase.ROLLING_BACK:
                self._shadows.rolls_back(new)
            case Phase.REMOVING:
                self._acknowledged(before, "9: green goes after every proxy has left it")
        if old.phase is Phase.BAKING and new.phase in (Phase.SHIFTING, Phase.SHRINKING, Phase.RETIRING):
            self._baked(watched, old, new)

    def _wished(self, watched: Watched, old: Deployment, new: Deployment) -> None:
        """What somebody asked for in time is done, as quickly as if an alarm had tripped."""
        if old.stop_requested is None and new.stop_requested is not None:
            self._world.counts["rollbacks asked for"] += 1
            watched.tripped_at = watched.tripped_at or self._world.loop.time()
        goes_on = new.phase in STOPPABLE | {Phase.RETIRING} and new.phase is not old.phase
        if old.stop_requested is not None and (goes_on or new.stop_requested != old.stop_requested):
            raise self._world.violated(
                "24: a rollback that was asked for begins", f"{new.id} goes on from {old.phase} to {new.phase}."
            )

    def _first_shift(self, watched: Watched, deployment: Deployment) -> None:
        for name in deployment.policy.alarms:
            alarm = self.read(ALARMS, name)
            if alarm is None or alarm.state.value is AlarmValue.ALARM:
                raise self._world.violated("7: no traffic moves while an alarm is in ALARM", f"{deployment.id}: {name}")
        self._warnings_known(deployment)
        watched.shifted_at_sequence = self._world.medium.sequence

    def _model_warned(self, deployment: str, variant: str, text: str) -> None:
        if (deployment, variant, text) in self._warned:
            raise self._world.violated("22: what a model says is recorded once", f"{deployment}: {text}")
        self._warned[deployment, variant, text] = None

    def _warnings_known(self, deployment: Deployment) -> None:
        """Before traffic moves, what green's models say against themselves is recorded, and nothing else."""
        green = deployment.green.all_groups
        behaviours = [(one.variant, self._world.models[one.container.image].behaviour) for one in green]
        said = {(variant, text) for variant, one in behaviours if one is not None for text in one.warnings}
        kept = [(one.variant, one.text) for one in deployment.model_warnings]
        journaled = {(variant, text) for name, variant, text in self._warned if name == deployment.id}
        if sorted(kept) != sorted(said) or journaled != said:
            raise self._world.violated(
                "22: what a model says is recorded before traffic moves",
                f"{deployment.id}: {said} was said, {kept} is kept, {journaled} is in the journal.",
            )

    def _capacity(self, deployment: Deployment) -> None:
        machine, wanted = self._world.machine, wanted_of(deployment)
        for group in deployment.green.groups:
            up = sum(machine.up(machine.address_of[one]) for one in machine.in_group(group.id))
            if up < wanted[group.id] and not machine.ever_harmed(group.id):
                raise self._world.violated(
                    "2: capacity before traffic", f"{deployment.id} shifts to {group.id}; {up} of its instances answer."
                )

    def _baked(self, watched: Watched, old: Deployment, new: Deployment) -> None:
        bake = old.steps[old.step].bake_seconds
        took = self._world.loop.time() - watched.baking_since
        if watched.jumps == self.jumps and took < bake - 0.001:
            raise self._world.violated("10: a bake lasts", f"{old.id} baked for {took:.2f} of {bake} seconds.")
        if old.policy.alarms and old.baking_since is not None:
            deadline = old.baking_since + bake
            if self._world.telemetry.told_until < math.ceil(deadline):
                raise self._world.violated(
                    "19: blind is not quiet", f"{old.id} passed a bake that telemetry has not seen to its end."
                )
        self._shares.baked(old)
        since = watched.shifted_at_sequence
        if since is None:
            raise self._world.violated("7: alarms are watched", f"{old.id} baked without a first shift.")
        for entry in self._world.medium.entries[since:]:
            name = entry.subject.removeprefix("alarm/")
            if name in old.policy.alarms and entry.subject != name:
                tripped = entry.kind == "alarm.transitioned" and entry.body["to"] == AlarmValue.ALARM.value
                if tripped or entry.kind == "alarm.deleted":
                    raise self._world.violated(
                        "7: any transition to ALARM rolls back", f"{old.id} went on after {entry}."
                    )
        self._check_answers(old)
        if new.phase is Phase.RETIRING:
            self._check_evidence(old)

    def _check_answers(self, deployment: Deployment) -> None:
        """Nobody whom the control plane can know to stand still passes a bake: it has been asked since, and had its time to answer."""
        world, now = self._world, self._world.loop.time()
        known = world.settings.health_check_interval_seconds + ANSWER_SECONDS_MAX
        if world.plane is None or now - world.plane.up_at < known:
            return
        draining = {one.id for one in world.machine.remembered.instances if one.draining}
        for group in deployment.green.groups:
            for instance, since in world.machine.silent_in(group.id).items():
                if now - since > known and instance not in draining:
                    raise world.violated(
                        "8: a version that stands still passes no bake",
                        f"{deployment.id} went on, and {instance} of green has not answered for {now - since:.1f} s.",
                    )

    def _check_evidence(self, deployment: Deployment) -> None:
        """A version that failed every request, under an alarm that counts them, cannot have passed."""
        if not deployment.policy.alarms or deployment.steps[-1].bake_seconds < 12:
            return
        if any(self._set_to_ok(name) for name in deployment.policy.alarms):
            return
        for group in deployment.green.groups:
            model = self._world.models[group.container.image]
            over = (deployment.baking_since or 0.0) + deployment.steps[-1].bake_seconds
            told = [second for second in self._world.telemetry.errors_told.get(group.id, ()) if second + 1 <= over]
            # Alarms watch the first variant.
            if model.error_rate >= 1.0 and told and group.variant == "a":
                raise self._world.violated(
                    "8: the outcome is truthful", f"{deployment.id} passed; all its answers were errors."
                )

    def _set_to_ok(self, name: str) -> bool:
        """A composite alarm that somebody set to OK stays so until an alarm beneath it changes, as on AWS; one in ALARM may have nothing to change."""
        alarm = self.read(ALARMS, name)
        if alarm is None or alarm.composite is None or alarm.state.value is not AlarmValue.OK:
            return False
        entries = self._world.medium.entries
        changes = [one for one in entries if one.kind == "alarm.transitioned" and one.subject == f"alarm/{name}"]
        return bool(changes) and changes[-1].body["reason"] == SET_BY_HAND

    def _evidence_said(self, record: Record) -> None:
        """A bake in which telemetry saw no request to green passed without evidence, and says so; no other does."""
        body, before = record.body, record.body["before"]
        bake = before["steps"][before["step"]]["bake_seconds"]
        if body["from"] != Phase.BAKING.value or body["event"] == Event.STOPPED.value or not bake or not before["blue"]:
            return
        since = before["baking_since"]
        if before["policy"]["alarms"]:
            since = max(since, body["observation"]["covered_since"])
        began, over = math.floor(since), math.ceil(record.at)

        def seen(groups: list[dict[str, Any]]) -> int:
            told = [self._world.metrics.requests[one["id"]] for one in groups]
            return sum(count for one in told for second, count in one.items() if began <= second < over)

        green = seen(before["green"]["groups"])
        same = before["blue"]["config_name"] == before["green"]["config_name"]  # and so the metric is
        said = "without evidence" in body["reason"]
        self._world.counts["bakes without evidence"] += said
        if said != (green == 0) and not (same and not said):
            raise self._world.violated(
                "8: a bake without evidence says so", f"{body['deployment']}, {green} requests in it: {body['reason']}"
            )

    def _ended(self, before: Endpoint, after: Endpoint) -> None:
        deployment = before.deployment
        assert deployment is not None
        watched = self.watched[deployment.id]
        if after.blue is not None and after.blue == deployment.green:
            if deployment.phase is not Phase.RETIRING:
                raise self._world.violated(
                    "8: the outcome is truthful", f"{deployment.id} completed from {deployment.phase}."
                )
            self.outcomes[deployment.id] = Phase.COMPLETED
            return
        if after.blue is not None and after.blue.mixed and deployment.phase is Phase.RESTORING and after.failure_reason:
            self._world.counts["rollbacks failed"] += 1
            self.outcomes[deployment.id] = Phase.ROLLBACK_FAILED
            return
        if deployment.phase is not Phase.REMOVING or not after.failure_reason:
            raise self._world.violated(
                "8: the outcome is truthful", f"{deployment.id} ended from {deployment.phase} without a reason."
            )
        if after.blue != watched.began.blue:
            raise self._world.violated("6: rollback restores exactly what was", f"{deployment.id}: {after.blue}")
        self.outcomes[deployment.id] = Phase.ROLLED_BACK

    def _alarm_tripped(self, name: str) -> None:
        for watched in self.watched.values():
            if name in watched.deployment.policy.alarms and watched.deployment.phase in GUARDED:
                watched.tripped_at = watched.tripped_at or self._world.loop.time()

    def _decided_early(self, record: Record) -> None:
        """An ALARM before its period has ended is one that the period's end confirms, whatever comes until then."""
        early = json.loads(record.body.get("reason_data") or "{}").get("decidedEarly")
        alarm = self.read(ALARMS, record.subject.removeprefix("alarm/"))
        if early is None or alarm is None:
            return
        rule = alarm.rule
        self.decided_early += 1
        assert (rule.statistic, rule.threshold) == (
            "Sum",
            0.5,
        )  # one error is enough, so seconds with errors say it all
        end = int(datetime.strptime(early["periodEnd"], "%Y-%m-%dT%H:%M:%S.%f%z").timestamp())
        config = dict(rule.metric.dimensions)["EndpointConfigName"]
        fleets = [fleet for one in self.watched.values() for fleet in (one.deployment.blue, one.deployment.green)]
        groups = {
            group.id for fleet in fleets if fleet is not None for group in fleet.groups if fleet.config_name == config
        }
        told = [second for group in groups for second in self._world.telemetry.errors_told.get(group, ())]
        ages = {math.ceil((end - second) / rule.period_seconds) for second in told if second < end}
        breaching = [age for age in ages if age <= rule.evaluation_periods]
        if len(breaching) < rule.datapoints_to_alarm:
            raise self._world.violated(
                "19: what is decided early comes true",
                f"{alarm.name} went to ALARM for {end}, when {len(breaching)} of its periods breach.",
            )

    def _stood_until_confirmed(self, record: Record) -> None:
        """An ALARM before its period has ended stands until then, whatever became of the deployment that it was decided early for."""
        early = json.loads(record.body.get("from_reason_data") or "{}").get("decidedEarly")
        until = record.body.get("evaluated_until")
        alarm = self.read(ALARMS, record.subject.removeprefix("alarm/"))
        if early is None or until is None or alarm is None:
            return
        end = datetime.strptime(early["periodEnd"], "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()
        # Of a clock that was set back by more than a period it cannot wait for that end.
        if until < end <= until + alarm.rule.period_seconds:
            raise self._world.violated(
                "19: what is decided early stands", f"{record.subject} left ALARM at {until}, before {early}."
            )

    def _acknowledged(self, endpoint: Endpoint, rule: str) -> None:
        plan = self._plans.of(endpoint)
        for proxy in self.proxies():
            if not self._stand_for(proxy.weights(endpoint.name), plan):
                raise self._world.violated(
                    rule, f"{proxy.node} routes {proxy.weights(endpoint.name)}, asked was {plan.weights}."
                )
        self._shares.acknowledged(endpoint)

    def _stand_for(self, weights: Sequence[Weight], plan: RoutePlan) -> bool:
        """Whether they are what was asked; or, where groups of one variant answer for each other, what those do of it that no fault has hit."""
        if not plan.shared or {one.group for one in plan.weights} != {one.group for one in weights}:
            return tuple(weights) == plan.weights
        return all(self._stand_for_by(part, weights, plan) for part in (attrgetter("parts"), attrgetter("named_parts")))

    def _stand_for_by(self, part: Callable[[Weight], int], weights: Sequence[Weight], plan: RoutePlan) -> bool:
        asked = {one.group: part(one) for one in plan.weights}
        able = {one.variant for one in plan.weights if part(one) > 0 and not self.is_harmed(one.group)}
        given: Counter[str] = Counter()
        for one in weights:
            wanted, has = asked[one.group], part(one)
            given[one.variant] += has - wanted
            if self.is_harmed(one.group):
                continue
            if has < wanted or (has > 0 and wanted == 0 and one.variant in able):
                return False
        return not any(given.values())

    # --- the proxies

    def proxies(self) -> Iterator[MemoryProxy]:
        """Those that run and are not astray."""
        for node, proxy in self._world.network.proxies.items():
            if proxy.running and node not in self._astray:
                yield proxy

    def _countable(self, group: str) -> Iterator[MemoryProxy]:
        """Those whose requests in flight on a group can be known and will end: they get it no new ones, and can be asked."""
        asked = list(self.proxies())
        for proxy in self._world.network.proxies.values():
            routed = any(one.group == group for weights in proxy.routes().values() for one in weights if one.takes_any)
            if proxy in asked or (proxy.running and proxy.heard and not routed):
                yield proxy

    def _check_routes(self, proxy: MemoryProxy) -> None:
        up = self._world.machine.up
        for name, forwarding in proxy.forwardings().items():
            weights = forwarding.weights
            total = sum([one.parts for one in weights])
            if total != TRAFFIC_PARTS:
                raise self._world.violated("1: weights add up to the whole", f"{proxy.node}, {name}: {weights}")
            for variant in {one.variant for one in weights}:
                if sum([one.named_parts for one in weights if one.variant == variant]) != TRAFFIC_PARTS:
                    raise self._world.violated("1: weights add up to the whole", f"{proxy.node}, {name}: {weights}")
            for one in weights:
                if one.takes_any and not any(map(up, proxy.reachable(one.group))):
                    self._lost(proxy, name, one.group)
                if one.takes_any and not proxy.knows(one.group):
                    raise self._world.violated(
                        "3: routes name only known clusters", f"{proxy.node}, {name}: {one.group}"
                    )
            self._served.setdefault(name)
            self._shares.look(proxy.node, name, weights)

    def _lost(self, proxy: MemoryProxy, endpoint: str, group: str) -> None:
        if group in self._harmed:
            return
        raise self._world.violated(
            "9: no request is lost", f"{proxy.node} routes {endpoint} to {group}, where no instance answers."
        )

    def _check_served(self) -> None:
        for name, endpoint in self.endpoints.items():
            if endpoint.blue is None or endpoint.deleting or name not in self._served:
                continue
            for proxy in self.proxies():
                if not proxy.weights(name):
                    raise self._world.violated("9: no request is lost", f"{proxy.node} has no route for {name}.")

    def _check_batches(self) -> None:
        """A rolling update never has more than one batch above the larger of its fleets."""
        machine = self._world.machine
        for endpoint in self.endpoints.values():
            running = endpoint.deployment
            if running is None or not running.rolling or running.blue is None or running.phase is Phase.RETIRING:
                continue
            for variant, count in running.instance_counts.items():
                old = whole(running.blue.groups, variant)
                largest = max(batch(running.policy.step, count), batch(running.policy.rollback_step, old))
                groups = [one.id for one in (*running.blue.groups, *running.green.groups) if one.variant == variant]
                # On the way back what leaves is not waited for.
                leaving = [
                    one.id for one in machine.remembered.instances if running.retreat and (one.draining or one.stopping)
                ]
                exist = sum(instance not in leaving for group in groups for instance in machine.in_group(group))
                several = len(groups) - 2  # of a mixed fleet each group keeps one
                several += self.watched[running.id].surplus.get(variant, 0)
                if exist > max(old, count) + largest + several:
                    raise self._world.violated(
                        "20: a rolling update keeps to its batches",
                        f"{running.id} has {exist} instances of {variant}: {old} to {count} by {largest} at most.",
                    )

    def _recover(self) -> None:
        """Note who went astray, and who is well again."""
        world, now = self._world, self._world.loop.time()
        for node, proxy in world.network.proxies.items():
            if proxy.connected:
                self._away_since.pop(node, None)
            elif now - self._away_since.setdefault(node, now) > world.settings.proxy_lease_seconds - 1.0:
                self._astray.setdefault(node, now)
            on_time = proxy.connected and node not in self.slow and not proxy.owes_answers
            if node in self._astray and on_time and self._right(proxy):
                del self._astray[node]
        for group in list(self._harmed):
            if self._whole(group) and not self._world.machine.is_strained(group):
                del self._harmed[group]

    def _right(self, proxy: MemoryProxy) -> bool:
        """It routes as the endpoints ask, and reaches somebody."""
        if any(name not in self.endpoints or self.endpoints[name].deleting for name in proxy.routes()):
            return False  # it has yet to hear that an endpoint goes
        for name, endpoint in self.endpoints.items():
            weights = self._plans.of(endpoint).weights
            if not any(one.parts for one in weights):
                continue
            if proxy.weights(name) != weights:
                return False
            for one in weights:
                if one.takes_any and one.group not in self._harmed and not proxy.reachable(one.group):
                    return False
        return True

    def _whole(self, group: str) -> bool:
        machine = self._world.machine
        wanted = next(
            (
                found[group]
                for found in (wanted_instances(endpoint) for endpoint in self.endpoints.values())
                if group in found
            ),
            None,
        )
        if wanted is None:
            # Deleted, and a proxy that does not take what it is sent may still route to it.
            proxies = [proxy for proxy in self._world.network.proxies.values() if proxy.running]
            return not any(
                one.group == group and one.takes_any
                for proxy in proxies
                for weights in proxy.routes().values()
                for one in weights
            )
        drains = {one.id for one in machine.remembered.instances if one.draining}
        stay = {machine.address_of[one] for one in machine.in_group(group) if one not in drains}
        # Not whole yet, if there are enough: one hangs, of which nobody knows, and the others are to go; or a proxy
        # reaches only one that is about to leave its list, because the control plane still takes it for silent.
        return (
            len(stay) >= wanted
            and all(map(machine.up, stay))
            and all(
                stay <= set(proxy.reachable(group)) or not proxy.knows(group)
                for proxy in self._world.network.proxies.values()
                if proxy.running
            )
        )

    def _overdue(self, group: str, *, are_counted: bool) -> bool:
        settings = self._world.settings
        given = settings.stream_drain_timeout_seconds if are_counted else settings.drain_timeout_seconds
        since = self._retiring_since.get(group)
        if since is None:
            return False
        if group in self._shadow_groups:
            given = settings.shadow_timeout_seconds
        return self._world.loop.time() >= since + given

    # --- liveness

    def _check_ends(self) -> None:
        if not self._world.calm:
            return
        now, wall = self._world.loop.time(), self._world.clock.now()
        for endpoint in self.endpoints.values():
            deployment, scaling = endpoint.deployment, endpoint.scaling
            if scaling is not None and min(wall - scaling.deadline_at, now - self.calm_since) > SCALING_SECONDS_MAX:
                raise self._world.violated("15: every scaling ends", f"{endpoint.name} is {scaling.phase}.")
            if deployment is None:
                continue
            over = max(deployment.deadline_at - wall, 0.0)
            if over == 0.0 and min(wall - deployment.deadline_at, now - self.calm_since) > ENDING_SECONDS_MAX:
                raise self._world.violated("15: every deployment ends", f"{deployment.id} is {deployment.phase}.")
            watched = self.watched[deployment.id]
            shedding_since = max(watched.phase_times.get(Phase.SHEDDING, 0.0), self.calm_since)
            if deployment.phase is Phase.SHEDDING and now - shedding_since > SHEDDING_SECONDS_MAX:
                raise self._world.violated(
                    "16: from ALARM to blue", f"{deployment.id} waits for what leaves for {now - shedding_since:.1f} s."
                )
            if watched.tripped_at is not None and watched.tripped_at > self.calm_since:
                self._check_rollback(endpoint, deployment, watched)

    def _check_rollback(self, endpoint: Endpoint, deployment: Deployment, watched: Watched) -> None:
        now, blue = self._world.loop.time(), () if deployment.blue is None else deployment.blue.groups
        if any(one.blue < whole(blue, one.variant) for one in deployment.retreat):
            watched.short_at = now  # the rest of a rolling update goes back as blue gets its instances
        begins = max(watched.tripped_at or 0.0, watched.short_at)
        plane = self._world.plane
        if plane is not None and deployment.retreat and plane.number > 1:
            # A new control plane first looks for the instances that its predecessor has just ended.
            begins = max(begins, min(plane.up_at + self._world.settings.proxy_adoption_seconds, now))
        seconds = now - begins
        if seconds <= ROLLBACK_SECONDS_MAX:
            return
        green = {group.id for group in deployment.green.groups}
        for proxy in self.proxies():
            if any(one.group in green and one.takes_any for one in proxy.weights(endpoint.name)):
                raise self._world.violated(
                    "16: from ALARM to blue", f"{proxy.node} still routes to green after {seconds:.1f} s."
                )

    def settled(self) -> None:
        """At the end, when all is quiet: what exists is exactly what is wanted."""
        found = self.unsettled()
        if found is not None:
            raise self._world.violated(*found)
        self._shadows.settled()
        self.room.settled()
        self.events.settled()
        self.counts.settled()
        self._records.settled()

    def unsettled(self) -> tuple[str, str] | None:
        """What is not yet as it must be in the end: the rule, and how it is; None: nothing."""
        if self._world.plane is None:
            return "15: when faults stop, a control plane acts", "It is still to be started again."
        found = self.experiments.unsettled() or self._shadows.unsettled(self.endpoints)
        found = found or self.room.unsettled() or self.events.unsettled()
        if found is not None:
            return found
        wanted = {group: count for one in self.endpoints.values() for group, count in wanted_instances(one).items()}
        machine = self._world.machine
        running = {machine.group_of[instance] for instance in machine.running}
        if running - wanted.keys():
            return "15: what is not wanted goes", f"Still running: {sorted(running - wanted.keys())}"
        for group, count in wanted.items():
            if len(machine.in_group(group)) > count:
                return "15: what is not wanted goes", f"{group}: {machine.in_group(group)}, wanted are {count}."
        for name, endpoint in self.endpoints.items():
            if endpoint.changing:
                return "15: every deployment ends", f"{name} is not at rest."
            for proxy in self._world.network.proxies.values():
                if (
                    proxy.running
                    and endpoint.blue is not None
                    and proxy.weights(name) != self._plans.of(endpoint).weights
                ):
                    return "6: rollback restores exactly what was", f"{proxy.node}, {name}: {proxy.weights(name)}"
                if proxy.running and (wrong := self._shares.wrong(proxy, endpoint)) is not None:
                    return "11: green's share is what was asked", wrong
        harmed = [group for group in self._harmed if not self._starts_too_slowly(group)]
        astray = [node for node in self._astray if node not in self.gone]
        if astray or harmed:
            return "9: what was disturbed heals", f"{astray}, {harmed}"
        return None

    def _starts_too_slowly(self, group: str) -> bool:
        """It needs longer than it may, and serves because new control planes gave its first start more time: what of it ends does not come back."""
        world = self._world
        behaviour = world.models[world.image_of[group]].behaviour
        if behaviour is None or behaviour.ready_after_seconds is None or behaviour.warm_after_seconds is None:
            return False
        needed = behaviour.ready_after_seconds + behaviour.warm_after_seconds
        return needed > world.settings.startup_timeout_seconds_default - START_SECONDS


def _parts(weights: Sequence[Weight], group: str) -> int:
    return sum(one.parts for one in weights if one.group == group)
