"""The product with one rule broken, to see that the simulation notices: `python -m tests.simulation.mutants NAME`.

Each mutation is made in a process of its own, by replacing an entry of a table, a function of a module, or a part of the control plane.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from tests.simulation import capture as simulated_capture
from tests.simulation.plane import ControlPlane, Ended, GatedDiscovery, Parts
from tests.simulation.simulate import simulate
from tests.simulation.situations import SITUATIONS, scripts
from tests.simulation.story import Script

from bannister.announcer.loop import Announcer
from bannister.capture.assembly import Role
from bannister.capture.early import EarlyExchanges
from bannister.capture.pairing import Pair, Pairing
from bannister.capture.untold import Accounting, Missing
from bannister.collector import instructing
from bannister.deployer import loop as deployer_loop
from bannister.deployer import observe
from bannister.deployer import scaling as scaling_loop
from bannister.deployer.loop import Deployer
from bannister.deployer.observe import Observer
from bannister.domain import routing, scaling
from bannister.domain.alarm.alarm import AlarmRule, AlarmValue
from bannister.domain.alarm.certainty import Foreseen
from bannister.domain.capture.exchange import Exchange
from bannister.domain.capture.instructions import ComparedGroups, Instructions
from bannister.domain.comparison.report import Directive, Greeting, Pending
from bannister.domain.deployment import admission, construction, machine
from bannister.domain.deployment.deployment import Deployment, Phase
from bannister.domain.deployment.machine import Event, Noticed
from bannister.domain.deployment.observation import AlarmObservation, Observation
from bannister.domain.deployment.plan import Step
from bannister.domain.deployment.policy import DeploymentPolicy, Routing
from bannister.domain.endpoint import Endpoint
from bannister.domain.event_delivery import EventDelivery
from bannister.domain.fleet import Fleet
from bannister.domain.instance import GroupSpec, Instance, InstancePhase
from bannister.domain.metric.summary import Report
from bannister.domain.scaling import Scaling, ScalingPhase
from bannister.domain.traffic import TRAFFIC_PARTS, Split
from bannister.envoy.discovery import Discovery
from bannister.evaluator import assessment, watched, windows
from bannister.instances import memory
from bannister.instances.groups import GroupedInstances
from bannister.instances.host import InstanceRecord
from bannister.instances.life import Life
from bannister.metrics.feed import CaptureFeed
from bannister.metrics.memory import MemoryMetrics
from bannister.publisher import places, planning
from bannister.publisher import publisher as publisher_module
from bannister.publisher.planning import Publication
from bannister.publisher.publisher import Publisher
from bannister.state import endpoint_change
from bannister.state.store import Entry, Row
from bannister.supervisor import loop as supervisor_loop
from bannister.supervisor.loop import Supervisor
from bannister.telemetry.skipped import SkippedCopies

#: Each situation is tried with so many seeds.
SITUATION_SEEDS = 3


def _dropped_transition() -> Parts:
    table: Any = machine.TRANSITIONS[Phase.BAKING]
    del table[Event.STOPPED]
    return Parts()


def _unacknowledged_bake() -> Parts:
    _rules()[Phase.SHIFTING] = lambda deployment, seen: Noticed(Event.SPLIT_ACKNOWLEDGED, "Surely.")
    return Parts()


def _evidence_taken_for_granted() -> Parts:
    honest = machine._bake_over

    def over(deployment: Deployment, seen: Observation) -> Noticed | None:
        return honest(deployment, replace(seen, green_requests=None))

    _rules()[Phase.BAKING] = over
    return Parts()


def _wishes_unheard() -> Parts:
    machine._asked_to_stop = lambda seen: None
    return Parts()


def _warnings_unheard() -> Parts:
    deployer_loop.heard = lambda deployment, seen: None
    return Parts()


def _warnings_of_every_instance() -> Parts:
    honest = machine.heard

    def heard(deployment: Deployment, seen: Observation) -> Deployment | None:
        """Hears again what it has heard when another instance says it."""
        known = deployment.model_warnings
        found = honest(replace(deployment, model_warnings=()), seen)
        more = found is not None and sum(group.ready for group in seen.green) > len(known)
        return replace(found, model_warnings=(*known, *found.model_warnings)) if found and more else None

    deployer_loop.heard = heard
    return Parts()


def _way_back_waits_for_streams() -> Parts:
    honest = machine._green_shed

    def shed(deployment: Deployment, seen: Observation) -> Noticed | None:
        groups = [[replace(one, leaving=0) for one in fleet] for fleet in (seen.green, seen.blue)]
        return honest(deployment, replace(seen, green=tuple(groups[0]), blue=tuple(groups[1])))

    _rules()[Phase.SHEDDING] = shed
    return Parts()


def _deaths_unnoticed() -> Parts:
    """Starting green is looked after, and what serves while a batch starts is not: only the number of those that are ready is."""
    honest = machine._green_failed

    def failed(deployment: Deployment, seen: Observation) -> str | None:
        green = tuple(replace(one, unready=0, deaths=0) for one in seen.green)
        return honest(deployment, replace(seen, green=green))

    machine._green_failed = failed
    return Parts()


def _bakes_of_blue() -> Parts:
    machine.has_its_share = lambda seen: True
    return Parts()


def _bake_without_evaluation() -> Parts:
    honest = machine._bake_over

    def over(deployment: Deployment, seen: Observation) -> Noticed | None:
        alarms = tuple(replace(alarm, evaluated_until=float("inf")) for alarm in seen.alarms)
        return honest(deployment, replace(seen, alarms=alarms))

    _rules()[Phase.BAKING] = over
    return Parts()


def _standing_still_passed_by() -> Parts:
    """Only one that is taken for unready counts."""
    machine.overdue = lambda _seen: 0
    return Parts()


def _short_bake() -> Parts:
    honest = machine.bake_deadline

    def deadline(deployment: Deployment, covered_since: float | None) -> float | None:
        over = honest(deployment, covered_since)
        return None if over is None else over - 1

    machine.bake_deadline = deadline
    return Parts()


def _present_state_of_alarms() -> Parts:
    def tripped(deployment: Deployment, seen: Observation) -> str | None:
        ringing = [alarm.name for alarm in seen.alarms if alarm.value in (AlarmValue.ALARM, None)]
        return f"{ringing} is in ALARM." if ringing and deployment.step >= 0 else None

    machine._tripped = tripped
    return Parts()


def _first_shift_under_alarm() -> Parts:
    def ready(deployment: Deployment, seen: Observation) -> Noticed | None:
        if any(group.ready < group.wanted for group in seen.green):
            return None
        event = Event.ALARMS_CLEAR if deployment.phase is Phase.HELD else Event.GREEN_READY
        return Noticed(event, "Green is ready.")

    _rules()[Phase.PROVISIONING] = _rules()[Phase.HELD] = ready
    return Parts()


def _green_goes_at_once() -> Parts:
    _rules()[Phase.ROLLING_BACK] = lambda deployment, seen: Noticed(Event.BLUE_RESTORED, "Surely.")
    return Parts()


def _first_shift_before_green_is_ready() -> Parts:
    _rules()[Phase.PROVISIONING] = lambda deployment, seen: Noticed(Event.GREEN_READY, "Surely.")
    return Parts()


def _traffic_before_proxies_see_capacity() -> Parts:
    planning.may_take_traffic = lambda membership, rotation, proxies: True
    return Parts()


def _silent_ones_leave() -> Parts:
    honest = planning._ready_addresses

    def ready(instances: Iterable[Instance]) -> dict[str, tuple[str, ...]]:
        return honest([replace(one, answered=False) for one in instances])

    planning._ready_addresses = ready
    return Parts()


def _blue_goes_in_the_bake() -> Parts:
    routing.wants_blue = lambda deployment: deployment.phase in (Phase.PROVISIONING, Phase.SHIFTING)
    return Parts()


def _shadow_stops_a_deployment() -> Parts:
    machine._production = lambda seen: seen.green
    return Parts()


def _green_shadow_is_fed_at_once() -> Parts:
    def fed(endpoint: Endpoint) -> Fleet | None:
        running = endpoint.deployment
        return endpoint.blue if running is None else running.green

    routing.fed_fleet = fed
    return Parts()


def _copies_for_nobody() -> Parts:
    honest = planning.next_publication

    def following(plans: Any, instances: Any, published: Publication, proxies: Any) -> Publication:
        found = honest(plans, instances, published, proxies)
        mirrors = {plan.endpoint: plan.mirrors for plan in plans if plan.mirrors and plan.endpoint in found.weights}
        return replace(found, mirrors=mirrors)

    publisher_module.next_publication = following
    return Parts()


def _hop_goes_with_the_mirror() -> Parts:
    planning._hops = lambda plans, rotation, published, mirrors: tuple(
        replace(one, parts=0) for some in mirrors.values() for one in some
    )
    return Parts()


def _places_never_given_back() -> Parts:
    honest = places.next_places

    def following(wanted: Any, seen: Any, *given: Any) -> dict[str, int]:
        found = honest(wanted, seen, *given)
        return {name: count for name, count in found.items() if name not in seen or count > seen[name].places}

    places.next_places = following
    return Parts()


def _places_beyond_the_room() -> Parts:
    """What is under way beyond the places of its hop is not counted."""
    honest = places.next_places

    def following(wanted: Any, seen: Any, *given: Any) -> dict[str, int]:
        return honest(wanted, {name: replace(one, under_way=0) for name, one in seen.items()}, *given)

    places.next_places = following
    return Parts()


def _all_for_the_first() -> Parts:
    honest = places.shares

    def most(hops: Any, settings: Any, room: int | None = None) -> dict[str, int]:
        return honest(hops, replace(settings, shadow_bytes_max=1 << 40))

    places.shares = most
    return Parts()


def _places_whatever_production_holds() -> Parts:
    places.room_in = lambda copies, settings: settings.shadow_bytes_max
    return Parts()


def _told_of_whatever_production_holds() -> Parts:
    async def nothing(*_: object) -> None: ...

    places.Places._observe = nothing  # type: ignore[assignment]
    return Parts()


def _never_told_of_again() -> Parts:
    honest = places.Places._observe

    async def only_off(sharing: Any, node: str, admin: Any, copies: Any) -> None:
        if copies.observes:
            await honest(sharing, node, admin, copies)

    places.Places._observe = only_off  # type: ignore[method-assign]
    return Parts()


class _Taking(Publisher):
    """Begins with what no endpoint asks for yet."""

    async def _share_places_repeatedly(self) -> None:
        await self._places.look(self._server.proxies(), ())
        await super()._share_places_repeatedly()


def _skipped_copies_counted_anew() -> Parts:
    honest = SkippedCopies.go_on_from
    SkippedCopies.go_on_from = lambda skipped, account: honest(skipped, None)  # type: ignore[method-assign]
    return Parts()


def _skipped_copies_forgotten() -> Parts:
    """What a telemetry that ended had counted and not told."""
    honest = SkippedCopies.go_on_from

    def go_on(skipped: SkippedCopies, account: Any) -> dict[str, int]:
        honest(skipped, account)
        return {}

    SkippedCopies.go_on_from = go_on  # type: ignore[method-assign]
    return Parts()


def _all_in_a_shadows_time() -> Parts:
    honest = supervisor_loop._wanted

    def wanted(endpoints: Any) -> Any:
        found = honest(endpoints)
        return replace(found, shadows=frozenset(found.groups))

    supervisor_loop._wanted = wanted
    return Parts()


def _lost_composites() -> Parts:
    honest = assessment.cascade

    def alone(alarms: Any, states: Any, at: float, arn_of: Any) -> list[Any]:
        return [change for change in honest(alarms, states, at, arn_of) if change.after.name in states]

    assessment.cascade = alone
    return Parts()


def _composites_of_composites_forgotten() -> Parts:
    honest = assessment.cascade

    def shallow(alarms: Any, states: Any, at: float, arn_of: Any) -> list[Any]:
        changes = honest(alarms, states, at, arn_of)
        return [one for one in changes if one.after.name in states or {*states} & {*one.after.composite.children}]

    assessment.cascade = shallow
    return Parts()


class _Careless(Publisher):
    """Says that nothing routes to anybody."""

    def unrouted(self, group: str) -> bool:
        return True


class _Impatient(Publisher):
    """Says that nothing is in flight."""

    async def active_requests(self, group: str) -> int:
        return 0


class _Sparing(Publisher):
    """Says that no proxy sends anything to one that drains."""

    def spared(self, group: str, address: str) -> bool:
        return True


class _Curt(Publisher):
    """Says that nothing is in flight on one that drains."""

    async def active_requests_on(self, group: str, address: str) -> int:
        return 0


class _Hasty(Publisher):
    """Asks only those who answer in time."""

    async def _active_with_lapsed(self, group: str, address: str | None = None) -> int:
        return 0


class _Forgetful(Supervisor):
    """Takes one that answers again for one that was never silent."""

    def _may_have_more(self, one: Instance) -> bool:
        return one.phase is InstancePhase.UNREADY


class _Oblivious(Supervisor):
    """Takes one that is silent for one that no request is left on: no proxy counts any."""

    def _may_have_more(self, one: Instance) -> bool:
        return one.phase is not InstancePhase.UNREADY and super()._may_have_more(one)


def _proxies_to_come_back_forgotten() -> Parts:
    """A new control plane waits for those that have come back, and for no others."""
    honest = Discovery.__init__

    def make(discovery: Discovery, lease_seconds: float, clock: Any, expected: Iterable[str] = ()) -> None:
        honest(discovery, lease_seconds, clock)

    Discovery.__init__ = make  # type: ignore[method-assign]
    return Parts()


def _all_of_green_waited_for_while_blue_retires() -> Parts:
    """Green's traffic waits until all of it is seen healthy, though there is nobody else to have it."""
    honest = routing.plan_of

    def plan(endpoint: Endpoint, *rules: Any) -> routing.RoutePlan:
        found, running = honest(endpoint, *rules), endpoint.deployment
        if running is None or running.phase is not Phase.RETIRING:
            return found
        whole = tuple(replace(one, required=one.in_rotation) for one in found.memberships)
        return replace(found, memberships=whole)

    routing.plan_of = plan
    return Parts()


def _instances_touched_by_whoever_wakes() -> Parts:
    """Instances, their records and the announcer have no fence."""

    def fence(plane: ControlPlane) -> None:
        if plane.world.acts(plane):
            raise Ended

    ControlPlane.fence = fence  # type: ignore[method-assign]
    return Parts()


def _proxies_told_by_whoever_wakes() -> Parts:
    """The way to the proxies has no fence."""

    async def let_through(_: GatedDiscovery) -> None: ...

    GatedDiscovery._pass_fence = let_through  # type: ignore[method-assign]
    return Parts()


def _one_period_is_certain() -> Parts:
    honest = windows.foreseen

    def foreseen(rule: AlarmRule, *known: Any) -> Foreseen | None:
        return honest(replace(rule, datapoints_to_alarm=1), *known)

    windows.foreseen = foreseen
    return Parts()


def _blind_expressions() -> Parts:
    honest = windows.values
    windows.values = lambda *known: [None for _ in honest(*known)]
    return Parts()


def _weights_before_capacity() -> Parts:
    honest = scaling_loop.notice

    def notice(one: Scaling, seen: Any) -> Any:
        if one.phase is ScalingPhase.GROWING:
            return scaling.Noticed(ScalingPhase.WEIGHING, "Surely.")
        return honest(one, seen)

    scaling_loop.notice = notice
    return Parts()


def _no_draining() -> Parts:
    def end(self: Any, group: Any) -> None:
        members = self._wanted(group)
        for member in members[max(group.record.count, 0) :]:
            self._end(member)
        for _ in range(group.record.count - len(members)):
            self._add(group)

    GroupedInstances._keep_count = end  # type: ignore[method-assign]
    return Parts()


def _early_alarms_end_with_their_deployment() -> Parts:
    assessment.awaits_confirmation = lambda *_: False
    return Parts()


def _only_what_is_named_is_early() -> Parts:
    watched.led_to = lambda alarm_of, names: tuple(names)
    return Parts()


def _answers_of_like_requests() -> Parts:
    """Requests are told apart by all but the last digit."""
    honest = Pairing.add

    def add(pairing: Pairing, exchange: Exchange, role: Role, now: float) -> list[Pair]:
        return honest(pairing, replace(exchange, request_id=f"{exchange.request_id[:-1]}0"), role, now)

    Pairing.add = add  # type: ignore[method-assign]
    return Parts()


def _given_up_silently() -> Parts:
    honest = Pairing._give_up

    def give_up(pairing: Pairing, identity: str, *why: Any) -> None:
        before = pairing._alone.copy()
        honest(pairing, identity, *why)
        pairing._alone = before

    Pairing._give_up = give_up  # type: ignore[method-assign]
    return Parts()


def _told_of_nobody() -> Parts:
    instructing.instructions_of = lambda endpoints: Instructions()
    return Parts()


def _told_of_no_pairs() -> Parts:
    honest = instructing.instructions_of
    instructing.instructions_of = lambda endpoints: replace(honest(endpoints), pairs=())
    return Parts()


def _told_once() -> Parts:
    """What was said stays said, whoever has begun anew at the other end since."""
    honest = CaptureFeed.__init__

    def make(feed: CaptureFeed, *given: Any) -> None:
        honest(feed, *given)
        feed._greet = lambda: Directive(Greeting(None))

    CaptureFeed.__init__ = make  # type: ignore[method-assign]
    return Parts()


def _shares_of_what_arrives() -> Parts:
    """The configured share of what arrives is written, whatever part of all requests that is."""
    honest = instructing.instructions_of

    def told(endpoints: Any) -> Instructions:
        found = honest(endpoints)
        percents = [one.capture.sampling_percent if one.capture is not None else 0 for one in found.groups]
        groups = [replace(one, written_share=share / 100) for one, share in zip(found.groups, percents, strict=True)]
        return replace(found, groups=tuple(groups))

    instructing.instructions_of = told
    return Parts()


def _all_that_arrives_is_written() -> Parts:
    simulated_capture.is_chosen = lambda request_id, share: True
    return Parts()


def _an_account_that_is_never_said() -> Parts:
    honest = CaptureFeed.__init__

    def make(feed: CaptureFeed, settings: Any, clock: Any, account: Any) -> None:
        honest(feed, settings, clock, lambda: None)

    CaptureFeed.__init__ = make  # type: ignore[method-assign]
    return Parts()


def _half_told_copies_forgotten() -> Parts:
    """Those of a process that was killed."""
    honest = Accounting.go_on_from

    def go_on(accounting: Accounting, account: Any) -> tuple[Pending, ...]:
        honest(accounting, account)
        return ()

    Accounting.go_on_from = go_on  # type: ignore[method-assign]
    return Parts()


def _half_told_copies_counted_at_every_greeting() -> Parts:
    honest = Accounting.go_on_from

    def go_on(accounting: Accounting, account: Any) -> tuple[Pending, ...]:
        honest(accounting, account)
        return account.pending if account is not None else ()

    Accounting.go_on_from = go_on  # type: ignore[method-assign]
    return Parts()


def _unheard_and_forgotten() -> Parts:
    """Exchanges that a process was being told of when it was killed."""
    honest = Missing.added

    def added(missing: Missing, there: int, came: int) -> int:
        honest(missing, there, came)
        return 0

    Missing.added = added  # type: ignore[method-assign]
    return Parts()


def _noise_is_not_compared() -> Parts:
    honest = instructing.instructions_of

    def told(endpoints: Any) -> Instructions:
        found = honest(endpoints)
        return replace(found, pairs=tuple(one for one in found.pairs if not one.noise))

    instructing.instructions_of = told
    return Parts()


def _nobody_waits_to_be_named() -> Parts:
    EarlyExchanges.keep = lambda exchanges, one: False  # type: ignore[method-assign]
    return Parts()


def _left_and_forgotten() -> Parts:
    honest = Pairing.follow

    def follow(pairing: Pairing, pairs: Iterable[ComparedGroups]) -> None:
        pairing._compared = {}
        honest(pairing, pairs)

    Pairing.follow = follow  # type: ignore[method-assign]
    return Parts()


def _slow_answers_given_up() -> Parts:
    Pairing._is_awaited = lambda pairing, identity, waiting: False  # type: ignore[method-assign]
    return Parts()


def _unsaid_rollbacks() -> Parts:
    honest = endpoint_change.changes

    def changes(*given: Any) -> list[dict[str, Any]]:
        return [one for one in honest(*given) if one["detail"]["EndpointStatus"] != "ROLLING_BACK"]

    endpoint_change.changes = changes
    return Parts()


def _events_said_twice() -> Parts:
    honest = endpoint_change.changes
    endpoint_change.changes = lambda *given: 2 * honest(*given)
    return Parts()


class _Premature(Announcer):
    """Writes down that an address was told before it is."""

    async def _tell(self, row: Row[EventDelivery], entry: Entry) -> Row[EventDelivery]:
        row = await self._write(row, replace(row.value, position=entry.sequence))
        return await super()._tell(row, entry)


class _Skipping(Announcer):
    """Goes on after the first attempt, and says nothing."""

    async def _give_up(self, row: Row[EventDelivery], entries: Sequence[Entry], *_: Any) -> Row[EventDelivery]:
        return await self._write(row, replace(row.value, position=entries[-1].sequence))


def _attempted_once() -> Parts:
    return Parts(
        announcer=lambda state, clock, settings, *rest: _Skipping(
            state, clock, replace(settings, webhook_attempts_max=1), *rest
        )
    )


def _retention_forgotten() -> Parts:
    admission._retained = lambda variant, group, retention: variant
    return Parts()


def _batch_of_one_variant() -> Parts:
    """Only the first variant's instances are waited for before a batch gets traffic."""
    honest = machine._green_grown
    _rules()[Phase.GROWING] = lambda deployment, seen: honest(deployment, replace(seen, green=seen.green[:1]))
    return Parts()


def _shares_for_nobody() -> Parts:
    scaling.gaining = lambda one: frozenset()
    return Parts()


def _cold_instances() -> Parts:
    async def none(_: Life) -> None:
        return None

    broken: Any = Life
    broken._warm_up = none
    return Parts()


def _installing_is_starting() -> Parts:
    honest = memory._MemoryHost.prepare

    async def prepare(host: Any, record: InstanceRecord, spec: GroupSpec, waits: Callable[[str], None]) -> None:
        def begun(why: str) -> None:
            record.first_started_at = host._clock.now()
            waits(why)

        await honest(host, record, spec, begun)

    memory._MemoryHost.prepare = prepare
    return Parts()


def _twice_the_share() -> Parts:
    """Green gets twice what was asked, in the proxies and in whatever asks what was asked."""
    honest = routing.asked_split

    def asked(deployment: Deployment) -> Split:
        split = honest(deployment)
        if deployment.rolling or split.all_blue or split.all_green:
            return split
        doubled = [replace(one, green_parts=min(2 * one.green_parts, TRAFFIC_PARTS - 1)) for one in split.variants]
        return replace(split, variants=tuple(doubled))

    routing.asked_split = asked
    return Parts()


def _ladder_with_a_rung_too_few() -> Parts:
    """A linear update goes from its first step to everything."""
    honest = construction.steps

    def steps(policy: DeploymentPolicy, counts: Any) -> tuple[Step, ...]:
        found = honest(policy, counts)
        return (found[0], found[-1]) if policy.routing is Routing.LINEAR else found

    construction.steps = steps
    return Parts()


def _a_batch_ahead() -> Parts:
    """A rolling update's traffic is that of the next batch, as soon as it is there."""
    honest = routing.asked_split

    def asked(deployment: Deployment) -> Split:
        if deployment.rolling and not deployment.retreat and deployment.phase is Phase.GROWING:
            return deployment.steps[deployment.step + 1].split
        return honest(deployment)

    routing.asked_split = asked
    return Parts()


def _silence_that_stops_nothing() -> Parts:
    machine._blind = lambda deployment, seen, limits: None
    return Parts()


def _silence_that_is_not_told() -> Parts:
    honest = machine._blind
    machine._blind = lambda *known: "It did not work." if honest(*known) else None
    return Parts()


def _held_for_ever() -> Parts:
    honest = machine._too_late
    machine._too_late = lambda deployment, *known: honest(replace(deployment, phase=Phase.BAKING), *known)
    return Parts()


def _gone_and_waited_for() -> Parts:
    Discovery.proxies = lambda discovery: tuple(discovery._proxies.values())  # type: ignore[method-assign]
    return Parts()


def _covered_since_the_restart() -> Parts:
    """What the control plane before has seen of a bake does not count."""
    honest = Observer._covered_since

    def since(observer: Observer, *, compared: bool) -> float | None:
        found = honest(observer, compared=compared)
        return None if found is None else max(found, observer._watched_since)

    Observer._covered_since = since  # type: ignore[method-assign]
    return Parts()


class _Restarting(Deployer):
    """Lets a bake begin when its control plane did."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._began_at = self.observer._clock.now()

    async def _turn(self, row: Row[Endpoint]) -> bool:
        running = row.value.deployment
        if running is not None and running.baking_since is not None and running.baking_since < self._began_at:
            row = replace(row, value=replace(row.value, deployment=replace(running, baking_since=self._began_at)))
        return await super()._turn(row)


def _reports_stored_again() -> Parts:
    honest = MemoryMetrics.record

    async def record(metrics: MemoryMetrics, report: Any) -> bool:
        is_new = await honest(metrics, report)
        if not is_new and isinstance(report, Report):
            metrics._windows[0].add([replace(one, skipped=0) for one in report.summaries])
        return is_new

    MemoryMetrics.record = record  # type: ignore[method-assign]
    return Parts()


def _part_of_a_report_dropped() -> Parts:
    """Of each report that has several summaries, the last one is not stored."""
    honest = MemoryMetrics.record

    async def record(metrics: MemoryMetrics, report: Any) -> bool:
        if isinstance(report, Report) and len(report.summaries) > 1:
            *kept, last = report.summaries
            report = replace(report, summaries=(*kept, replace(last, invocations=0, errors_5xx=0)))
        return await honest(metrics, report)

    MemoryMetrics.record = record  # type: ignore[method-assign]
    return Parts()


def _seen_otherwise(change: Callable[[AlarmObservation], AlarmObservation]) -> Callable[[], Parts]:
    """Alarms as the deployer sees them."""

    def mutate() -> Parts:
        honest = Observer._alarm

        async def alarm(observer: Observer, deployment: Deployment, name: str) -> AlarmObservation:
            return change(await honest(observer, deployment, name))

        Observer._alarm = alarm  # type: ignore[method-assign]
        return Parts()

    return mutate


def _acknowledged_unseen() -> Parts:
    honest = observe._group
    observe._group = lambda *given, **more: replace(honest(*given, **more), acknowledged_parts=0)
    return Parts()


def _recorded_otherwise() -> Parts:
    """A record has the facts of a while ago."""
    honest = deployer_loop.evidence

    def evidence(before: Any, after: Any, noticed: Any, seen: Observation, *more: Any) -> dict[str, Any]:
        return honest(before, after, noticed, replace(seen, now=seen.now - 60), *more)

    deployer_loop.evidence = evidence
    return Parts()


def _named_by_weight() -> Parts:
    honest = routing._shares
    routing._shares = lambda groups: [replace(one, of_named=one.of_all) for one in honest(groups)]
    return Parts()


#: By name: what breaks the rule, and the world that noticed it last: a situation or a seed. It is tried first; where it notices nothing any more, the others are.
MUTANTS: dict[str, tuple[Callable[[], Parts], str | int]] = {
    "a dropped transition": (_dropped_transition, "failing under an alarm"),
    "a skipped acknowledgement": (_unacknowledged_bake, "held by an alarm"),
    "a rollback that was asked for forgotten": (_wishes_unheard, "stopped by a person"),
    "what models say against themselves forgotten": (_warnings_unheard, "held by an alarm"),
    "what models say against themselves said by each instance": (_warnings_of_every_instance, "slow to start"),
    "a way back that waits until streams have ended": (
        _way_back_waits_for_streams,
        "back batch by batch under a long request",
    ),
    "an instance of green that died unnoticed": (_deaths_unnoticed, "green dies while its next batch starts"),
    "a bake that is over while blue has green's share": (_bakes_of_blue, "a proxy leaves with the control plane"),
    "who names a variant shared out by weight": (_named_by_weight, "variants kept by an update"),
    "a bake that ignores what was evaluated": (_bake_without_evaluation, "held by an alarm"),
    "a bake without evidence that does not say so": (_evidence_taken_for_granted, "slow to start"),
    "a bake that is too short": (_short_bake, "held by an alarm"),
    "alarms read by their present state": (_present_state_of_alarms, "an instant in alarm"),
    "an early alarm that the end does not confirm": (_one_period_is_certain, "failing under a count"),
    "an early alarm that ends with its deployment": (_early_alarms_end_with_their_deployment, "failing under a count"),
    "alarms beneath a composite decided late": (
        _only_what_is_named_is_early,
        "failing under a count beneath a composite",
    ),
    "an expression without a value": (_blind_expressions, "failing under an expression"),
    "a first shift under an alarm": (_first_shift_under_alarm, "held by an alarm"),
    "a first shift before green is ready": (_first_shift_before_green_is_ready, "held by an alarm"),
    "traffic before the proxies see capacity": (_traffic_before_proxies_see_capacity, "held by an alarm"),
    "a rollback that removes green at once": (_green_goes_at_once, "failing under an alarm"),
    "the last ones taken from the proxies when they are silent": (_silent_ones_leave, "the only one hangs"),
    "blue removed while green bakes": (_blue_goes_in_the_bake, "held by an alarm"),
    "a shadow that stops a deployment": (_shadow_stops_a_deployment, "with a shadow that dies"),
    "green's shadow fed with blue's requests": (_green_shadow_is_fed_at_once, "with a shadow that dies"),
    "copies for a shadow that is not there": (_copies_for_nobody, "with a shadow that dies"),
    "answers of like requests paired": (_answers_of_like_requests, "with a shadow that dies"),
    "answers given up silently": (_given_up_silently, "shadows in one room"),
    "a capture process that is told of no group": (_told_of_nobody, "with a shadow that dies"),
    "a capture process that is told of no pairs": (_told_of_no_pairs, "with a shadow that dies"),
    "a capture process that is told once": (_told_once, "a shadow whose captures are killed"),
    "a share of what arrives written in place of the configured one": (
        _shares_of_what_arrives,
        "a shadow whose captures are killed",
    ),
    "all that arrives written": (_all_that_arrives_is_written, "a shadow whose captures are killed"),
    "an account of captured traffic that is never said": (
        _an_account_that_is_never_said,
        "a shadow whose captures are killed",
    ),
    "half told copies of a killed process forgotten": (
        _half_told_copies_forgotten,
        "a shadow whose captures are killed",
    ),
    "half told copies counted at every greeting": (_half_told_copies_counted_at_every_greeting, "shadows in one room"),
    "what a killed process was being told of forgotten": (_unheard_and_forgotten, "shadows in one room"),
    "a noise floor that is not compared": (_noise_is_not_compared, 5),
    "answers that do not wait for their group to be named": (
        _nobody_waits_to_be_named,
        "a shadow whose captures are killed",
    ),
    "answers for a shadow that is left forgotten": (_left_and_forgotten, "shadows in one room"),
    "answers that are slow given up": (_slow_answers_given_up, "shadows in one room"),
    "the way of copies removed with them": (_hop_goes_with_the_mirror, "with a shadow that dies"),
    "places for copies that are never given back": (_places_never_given_back, "with a shadow that dies"),
    "places for copies beyond the room": (_places_beyond_the_room, "shadows in one room"),
    "all places for the first": (_all_for_the_first, "shadows in one room"),
    "places for copies whatever production holds": (_places_whatever_production_holds, "shadows in one room"),
    "exchanges told of whatever production holds": (_told_of_whatever_production_holds, "shadows in one room"),
    "exchanges that are never told of again": (_never_told_of_again, 6),
    "a new control plane that takes places away": (lambda: Parts(publisher=_Taking), "shadows in one room"),
    "skipped copies counted anew by a new telemetry": (_skipped_copies_counted_anew, "shadows in one room"),
    "skipped copies forgotten that were still to be told": (_skipped_copies_forgotten, "shadows in one room"),
    "production's requests in flight given a shadow's time": (_all_in_a_shadows_time, "held by an alarm"),
    "transitions of composite alarms lost": (_lost_composites, "failing under a count beneath a composite"),
    "composites over composites forgotten": (
        _composites_of_composites_forgotten,
        "failing under a count beneath a composite",
    ),
    "rollbacks of which there is no event": (_unsaid_rollbacks, "failing under an alarm"),
    "events that are there twice": (_events_said_twice, "held by an alarm"),
    "addresses taken for told before they are": (lambda: Parts(announcer=_Premature), 5),
    "events given up silently": (_attempted_once, 3),
    "instances stopped with requests in flight": (lambda: Parts(publisher=_Impatient), "held by an alarm"),
    "requests of a proxy that is late forgotten": (lambda: Parts(publisher=_Hasty), "counted by one that lapsed"),
    "green without traffic while blue retires": (
        _all_of_green_waited_for_while_blue_retires,
        "replaced while blue retires",
    ),
    "proxies that have not come back forgotten": (_proxies_to_come_back_forgotten, "replaced while blue retires"),
    "requests of one that is silent forgotten": (lambda: Parts(supervisor=_Oblivious), "silent while it drains"),
    "requests of one that was silent forgotten": (lambda: Parts(supervisor=_Forgetful), "silent before a restart"),
    "instances stopped while they are routed to": (lambda: Parts(publisher=_Careless), "deleted while it serves"),
    "an instance too many stopped while it is routed to": (
        lambda: Parts(publisher=_Sparing),
        "made larger and smaller while it serves",
    ),
    "an instance too many stopped with requests in flight": (
        lambda: Parts(publisher=_Curt),
        "made larger and smaller while it serves",
    ),
    "weights before what has grown is ready": (_weights_before_capacity, "made larger and smaller while it serves"),
    "a smaller group stopped at once": (_no_draining, "made larger and smaller while it serves"),
    "instances that are not warm yet": (_cold_instances, 7),
    "instances that stand still passed by": (_standing_still_passed_by, "green stands still in a bake"),
    "instances touched by a control plane that was replaced": (
        _instances_touched_by_whoever_wakes,
        "woken while instances start",
    ),
    "proxies told by a control plane that was replaced": (_proxies_told_by_whoever_wakes, "woken when it was replaced"),
    "a larger share for a variant of which nobody answers": (_shares_for_nobody, "variants of which one is silent"),
    "what an update is to keep forgotten": (_retention_forgotten, "variants kept by an update"),
    "a batch of which only one variant is waited for": (_batch_of_one_variant, "variants of which one is slower"),
    "green given twice its share": (_twice_the_share, "stopped by a person"),
    "a linear update with a step too few": (_ladder_with_a_rung_too_few, "a proxy that never comes back"),
    "a batch that gets its traffic while it starts": (_a_batch_ahead, "variants of which one is slower"),
    "silence that stops nothing": (_silence_that_stops_nothing, "silence in a bake"),
    "silence that is not told": (_silence_that_is_not_told, "silence in a bake"),
    "an alarm that holds for ever": (_held_for_ever, "held by an alarm"),
    "a proxy that is gone waited for": (_gone_and_waited_for, "a proxy that never comes back"),
    "a bake that each control plane begins anew": (
        lambda: Parts(deployer=_Restarting),
        "a proxy that comes back later",
    ),
    "telemetry that covers nothing from before the control plane": (
        _covered_since_the_restart,
        "control planes that end in a bake",
    ),
    "reports stored again when they come again": (_reports_stored_again, "reports that come again"),
    "a part of each report dropped": (_part_of_a_report_dropped, "held by an alarm"),
    "decisions that show no datapoints": (
        _seen_otherwise(lambda seen: replace(seen, datapoints=())),
        "failing under an alarm",
    ),
    "decisions that show no rules": (
        _seen_otherwise(lambda seen: replace(seen, rule=None, composite_rule=None)),
        "held by an alarm",
    ),
    "decisions that show nothing acknowledged": (_acknowledged_unseen, "held by an alarm"),
    "records of other facts than those decided on": (_recorded_otherwise, "held by an alarm"),
    "a start-up timeout that begins before what is needed is installed": (
        _installing_is_starting,
        "requirements to install",
    ),
}


def _rules() -> dict[Phase, Callable[[Deployment, Observation], Noticed | None]]:
    rules: Any = machine._RULES
    return rules


def _worlds(likely: str | int, seeds: int) -> Iterator[tuple[str, int, Script | None]]:
    """What to try, in this order: the world that noticed it last, each situation undisturbed, each with faults, then worlds from seeds."""
    if isinstance(likely, int):
        yield f"seed {likely}", likely, None
    for situations in ((likely,) if isinstance(likely, str) else (), SITUATIONS):
        for disturbed, said in ((False, ""), (True, ", with faults")):
            for seed in range(1, SITUATION_SEEDS + 1):
                for name in situations:
                    yield f'"{name}"{said}, seed {seed}', seed, scripts(name)[disturbed]
    for seed in range(1, seeds + 1):
        yield f"seed {seed}", seed, None


def noticed(name: str, seeds: int) -> str:
    """Break a rule, for the rest of this process, and say which world noticed it, and by which property; an empty text: none did."""
    break_it, likely = MUTANTS[name]
    parts = break_it()
    for world, seed, script in _worlds(likely, seeds):
        try:
            simulate(seed, script, parts=parts)
        except AssertionError as error:
            return f"{world}: {str(error).splitlines()[0]}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=MUTANTS)
    parser.add_argument("--seeds", type=int, default=60)
    arguments = parser.parse_args()
    world = noticed(arguments.name, arguments.seeds)
    print(f"caught by {world}" if world else f"not caught by {arguments.seeds} seeds")
    return 0 if world else 1


if __name__ == "__main__":
    raise SystemExit(main())
