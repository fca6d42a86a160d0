"""Keeps every proxy at what the endpoints ask for, and says what has been acknowledged.

Level-triggered: whenever a plan, an instance, a proxy or its view of an instance changes, one turn decides from all of them what the
proxies should have (`planning`), makes the snapshot (`building`) and hands it to the discovery server, which sends what is new. A
deployer asks by writing state; it learns the outcome by asking `acknowledged` whenever `changed` is announced.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from bannister.clock import Clock
from bannister.domain.fleet import Traits
from bannister.domain.instance import Instance
from bannister.domain.routing import Forwarding, Mirror, RoutePlan, Weight
from bannister.domain.runtime_texts import RuntimeTexts
from bannister.envoy.discovery import Proxy
from bannister.envoy.resources.names import ROUTE_TABLE
from bannister.envoy.resources.routes import clusters_named, groups_named
from bannister.envoy.snapshot import Inconsistent, Kind, Snapshot
from bannister.errors import Unavailable
from bannister.publisher.building import EnvoyMessages, Messages, SnapshotBuilder
from bannister.publisher.held import Held
from bannister.publisher.places import Admin as PlacesAdmin
from bannister.publisher.places import Places
from bannister.publisher.planning import ProxyView, Publication, next_publication
from bannister.publisher.sight import Admin as SightAdmin
from bannister.publisher.sight import Sight, spares
from bannister.settings import Settings
from bannister.signals import Signal, wait_any

log = logging.getLogger(__name__)

#: A proxy's threads know a new setting within this.
_THREADS_FOLLOW_SECONDS: Final = 0.1


class Admin(SightAdmin, PlacesAdmin, Protocol):
    """What is asked of one proxy."""


class Instances(Protocol):
    """What the publisher reads of an instance backend."""

    @property
    def changed(self) -> Signal: ...

    def snapshot(self) -> tuple[Instance, ...]: ...


class Server(Protocol):
    """Hands snapshots to the proxies: `bannister.envoy.ads` to real ones, `bannister.envoy.memory` to pretended ones."""

    @property
    def changed(self) -> Signal:
        """Announced whenever a proxy comes, goes or answers."""
        ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def publish(self, snapshot: Snapshot) -> None:
        """Raises `Inconsistent` where it must not reach a proxy."""
        ...

    def proxies(self) -> tuple[Proxy, ...]:
        """The registered ones."""
        ...

    def lapsed(self) -> tuple[Proxy, ...]:
        """Those that are connected, though their lease has lapsed."""
        ...


#: How long a proxy whose lease has lapsed is waited for when it is asked for its requests in flight.
LAPSED_ANSWER_SECONDS_MAX: Final = 0.5

_NOBODY: frozenset[str] = frozenset()
_NO_ROUTE = Forwarding()
_NO_TRAITS: Mapping[str, Traits] = {}


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """A registered proxy, for people."""

    node: str
    connected: bool
    #: Why it refused what it was last sent, by kind of resource; empty: it did not.
    refusals: dict[str, str]


class Publisher:
    """The only writer to the proxies. `run` it as a task; `ask` it as often as plans change."""

    def __init__(
        self,
        settings: Settings,
        instances: Instances,
        texts: RuntimeTexts,
        clock: Clock,
        server: Server,
        admin_of: Callable[[str], Admin],
        messages: Messages | None = None,
    ) -> None:
        """`messages`: what makes the proxies' messages; None: Envoy's."""
        self._settings = settings
        self._instances = instances
        self._clock = clock
        self._server = server
        self._sight = Sight(admin_of)
        self._places = Places(admin_of, settings, clock)
        self._builder = SnapshotBuilder(messages or EnvoyMessages(settings, texts))
        self._plans: tuple[RoutePlan, ...] | None = None
        self._traits: Mapping[str, Traits] = _NO_TRAITS
        self._published = Publication()
        #: The groups that it has as clusters.
        self._clusters: frozenset[str] = frozenset()
        #: Clusters that the published routes name.
        self._named: frozenset[str] = frozenset()
        #: Since when proxies can come.
        self._started_at = clock.monotonic()
        #: Everything that serves was seen once since this process started.
        self._adopted = False
        #: Since when the published routes do not name a group, and since when no proxy's do.
        self._withdrawn_at: dict[str, float] = {}
        self._unrouted_since: dict[str, float] = {}
        #: By group that is unrouted, and proxy: what it has held since.
        self._held: dict[str, dict[str, Held]] = {}
        #: The same for instances that drain, by group and address: since when the published lists spare them, and since when every proxy's do.
        self._listed_draining_at: dict[tuple[str, str], float] = {}
        self._spared_since: dict[tuple[str, str], float] = {}
        self._asked = Signal()
        self._looked = Signal()
        self._republished = Signal()
        #: Announced where hops come or go, where capturing begins or ends, and when something is published for the first time.
        self._copied_anew = Signal()
        #: The facts at the last turn that decided something; the same facts again change nothing.
        self._decided_from: object = None
        #: What the answers to the questions below followed from when `changed` was last announced.
        self._answered_from: object = None
        self._changed = Signal()

    @property
    def changed(self) -> Signal:
        """Announced whenever one of the questions below may have a new answer, but for `serving` and requests in flight."""
        return self._changed

    def ask(self, plans: Sequence[RoutePlan], traits: Mapping[str, Traits] = _NO_TRAITS) -> None:
        """What the proxies should do from now on: the plans of all endpoints that exist.

        Args:
            plans: Of all endpoints.
            traits: Of the groups that are out of the ordinary, as long as there are instances of them; they never change for a group.
        """
        self._traits = traits
        if tuple(plans) != self._plans:
            self._plans = tuple(plans)
            self._asked.announce()

    # --- questions

    def acknowledged(self, plan: RoutePlan) -> bool:
        """Every registered proxy (and there is one) has acknowledged exactly this plan's weights, and nothing else is on its way.

        Of copies for a shadow, none is made but those that the plan asks for. That one is missing, because its shadow is not there, holds up nothing; nor does noise.
        """
        asked, standing_for = self._published.borne.get(plan.endpoint, ((), ()))
        stands = asked == plan.weights and _bear_more(asked, standing_for) <= plan.returning_to
        weights = standing_for if stands else plan.weights
        wanted = weights if groups_named(weights) else ()
        if self._published.weights.get(plan.endpoint, ()) != wanted:
            return False
        proxies = self._server.proxies()
        return bool(proxies) and all(_holds(proxy, plan.endpoint, wanted, plan.mirrors) for proxy in proxies)

    def acknowledged_weights(self, endpoint: str) -> tuple[Weight, ...] | None:
        """The weights that every registered proxy has acknowledged for an endpoint; None: there is no proxy, or they differ."""
        tables = [proxy.held(Kind.ROUTES, ROUTE_TABLE) for proxy in self._server.proxies()]
        held = [None if table is None else table.about.get(endpoint, _NO_ROUTE).weights for table in tables]
        return held[0] if held and all(one == held[0] for one in held) else None

    def mirrored(self, group: str) -> bool:
        """Every registered proxy (and there is one) has acknowledged routes that copy requests to this shadow, and has places for copies."""
        proxies = self._server.proxies()
        return bool(proxies) and all(self._copies_to(proxy, group) for proxy in proxies)

    def _copies_to(self, proxy: Proxy, group: str) -> bool:
        table = proxy.held(Kind.ROUTES, ROUTE_TABLE)
        mirrors = [] if table is None else [one for each in table.about.values() for one in each.mirrors]
        return any(one.group == group and not one.noise and self._places.open(proxy.node, one) for one in mirrors)

    def serving(self, group: str) -> bool:
        """Every registered proxy has acknowledged and sees healthy at least one instance of the group."""
        views = self._views()
        return bool(views) and all(view.healthy.get(group) for view in views)

    def healthy(self, group: str) -> int:
        """How many instances of the group every registered proxy has acknowledged and sees healthy."""
        return min((len(view.healthy.get(group, _NOBODY)) for view in self._views()), default=0)

    def unrouted(self, group: str) -> bool:
        """No route of any registered proxy names the group, and their threads have had the time to notice."""
        if self._plans is None or not all(proxy.known(Kind.ROUTES) for proxy in self._server.proxies()):
            return False
        if group not in self._published.rotation:
            return True  # not even a cluster is left
        since = self._unrouted_since.get(group)
        return since is not None and self._has_settled(group, since) and group not in self._routed()

    def spared(self, group: str, address: str) -> bool:
        """No registered proxy sends this instance, which drains, anything new, and their threads have had the time to notice."""
        since = self._spared_since.get((group, address))
        return since is not None and self._have_followed(self._listed_draining_at.get((group, address), since), since)

    async def active_requests_on(self, group: str, address: str) -> int:
        """Requests in flight on one instance, as `active_requests`; those that wait for a connection, and may get one to it, are among them.

        Raises:
            Unavailable: A registered proxy does not answer, so nobody knows.
        """
        known = await self._sight.active_requests(self._server.proxies(), group, address)
        return known or await self._active_with_lapsed(group, address)

    def _has_settled(self, group: str, since: float) -> bool:
        return self._have_followed(self._withdrawn_at.get(group, since), since)

    def _have_followed(self, published_at: float, since: float) -> bool:
        """A proxy acknowledges before all its threads have followed. Where that took long, the machine is busy, and they get as long again."""
        took = since - published_at
        settle_seconds = max(self._settings.proxy_settle_seconds, min(took, self._settings.proxy_settle_seconds_max))
        return self._clock.monotonic() - since >= settle_seconds

    async def active_requests(self, group: str) -> int:
        """Requests in flight on the group, over all registered proxies, and those whose lease has lapsed if they say it at once.

        Raises:
            Unavailable: A registered proxy does not answer, so nobody knows.
        """
        known = await self._sight.active_requests(self._server.proxies(), group)
        return known or await self._active_with_lapsed(group)

    async def held(self, group: str) -> bool:
        """Whether a proxy may still hold requests for a group that is `unrouted`, because their bodies have not come whole: nobody counts them with the group.

        Which groups they are for, no proxy tells. One that has held none at all since no route names the group has none for it. To be asked again and again: it takes some looks to know.

        Raises:
            Unavailable: A registered proxy does not answer, so nobody knows.
        """
        known = self._held.get(group)
        if known is None or not self.unrouted(group):
            return False
        for proxy in self._server.proxies():
            looks = known.setdefault(proxy.node, Held())
            if not looks.was_empty:
                looks.note(await self._sight.held_requests(proxy))
        # Of those that are registered now: one that has gone holds nothing up.
        return any(proxy.node not in known or not known[proxy.node].was_empty for proxy in self._server.proxies())

    def in_flight(self) -> Mapping[str, Mapping[str, int]] | None:
        """By group and `host:port`, requests in flight over all registered proxies as of the last look at them; None: one of them did not answer."""
        return self._sight.in_flight(self._server.proxies())

    async def _active_with_lapsed(self, group: str, address: str | None = None) -> int:
        """A proxy that is slow to take in what it is told is late, not dead: its callers wait for their answers like any others."""
        total = 0
        for proxy in self._server.lapsed():
            try:
                async with asyncio.timeout(LAPSED_ANSWER_SECONDS_MAX):
                    total += await self._sight.active_requests([proxy], group, address)
            except (Unavailable, TimeoutError):
                continue  # it stands still: nobody knows when it goes on, and with what
        return total

    async def drained(self, group: str) -> bool:
        """No route names the group, and no request for it is in flight or on its way in.

        Raises:
            Unavailable: A proxy does not answer, so nobody knows.
        """
        return self.unrouted(group) and not await self.held(group) and await self.active_requests(group) == 0

    def proxies(self) -> tuple[ProxyStatus, ...]:
        """The registered proxies."""
        return tuple(
            ProxyStatus(proxy.node, proxy.stream is not None, proxy.refusals()) for proxy in self._server.proxies()
        )

    # --- the loop

    async def run(self) -> None:
        """Serve the proxies until cancelled. They go on with what they have."""
        await self._server.start()
        self._started_at = self._clock.monotonic()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._look_repeatedly())
                tasks.create_task(self._share_places_repeatedly())
                await self._publish_repeatedly()
        finally:
            await self._server.close()

    async def _publish_repeatedly(self) -> None:
        ours = (self._asked, self._instances.changed)
        theirs = (self._server.changed, self._looked)
        while True:
            seen = {signal: signal.version for signal in (*ours, *theirs)}
            try:
                self._turn()
            except Exception:  # the proxies keep the last good snapshot, and the next turn may succeed
                log.exception("Publishing failed; the proxies go on with what they have.")
            await wait_any(seen, self._settings.proxy_turn_seconds)
            if any(signal.version != seen[signal] for signal in ours):
                await asyncio.sleep(self._settings.publish_coalesce_seconds)

    def _turn(self) -> None:
        if self._plans is None:
            return
        instances, proxies = self._instances.snapshot(), self._server.proxies()
        views = tuple([self._sight.view(proxy, self._clusters) for proxy in proxies])
        routes = [_routes(proxy) for proxy in proxies]
        facts = (self._plans, instances, views, routes, self._spared())
        if self._adopted and facts == self._decided_from:
            return
        following = next_publication(self._plans, instances, self._published, views)
        was_adopted = self._adopted
        self._adopted = was_adopted or self._seen_everything(following)
        if following != self._published or self._adopted != was_adopted:
            self._publish(following)
        self._note_unrouted()
        self._note_spared()
        self._decided_from = facts
        forwardings, clusters = self._published.forwardings(), self._published.rotation.keys()
        routed = [view.routed for view in views]
        healthy = [view.healthy for view in views]
        answers = (forwardings, clusters, routes, routed, healthy, self._unrouted_since.keys(), set(self._spared_since))
        if answers != self._answered_from:
            self._answered_from = answers
            self._changed.announce()

    def _publish(self, following: Publication) -> None:
        withheld = frozenset() if self._adopted else self._short_groups(following) | {ROUTE_TABLE}
        try:
            self._server.publish(self._builder.build(following, withheld, self._traits))
        except Inconsistent:
            log.exception("A snapshot was not published because it would lose requests.")
            return
        before, self._published = self._published, following
        self._clusters = frozenset(following.rotation)
        self._named = frozenset[str]().union(*map(clusters_named, following.forwardings().values()))
        now = self._clock.monotonic()
        self._withdrawn_at = {group: self._withdrawn_at.get(group, now) for group in self._clusters - self._named}
        self._listed_draining_at = {one: self._listed_draining_at.get(one, now) for one in self._draining()}
        copying = [(one.hops, bool(one.captured)) for one in (before, following)]
        if copying[0] != copying[1] or self._copied_anew.version == 0:
            self._copied_anew.announce()
        self._republished.announce()

    def _draining(self) -> list[tuple[str, str]]:
        """The instances that drain: group and address."""
        return [(group, address) for group, some in self._published.draining.items() for address in some]

    def _views(self) -> tuple[ProxyView, ...]:
        return tuple([self._sight.view(proxy, self._clusters) for proxy in self._server.proxies()])

    # --- places for copies

    @property
    def copies_trouble(self) -> str | None:
        """Why a proxy makes no copies for shadows though it should, as a sentence; None: all do, as far as is known."""
        return self._places.trouble

    async def _share_places_repeatedly(self) -> None:
        """Sooner where hops have come or gone: a copy that finds no place is not made. Not before anything is published: what an earlier control plane gave may be just what is asked for."""
        settings = self._settings
        await self._copied_anew.wait_past(0)
        while True:
            version, published = self._copied_anew.version, self._published
            try:
                captures = bool(published.captured)
                lowered = await self._places.look(self._server.proxies(), published.hops, captures=captures)
            except Exception:  # the proxies keep the places they have, and the next look may succeed
                log.exception("Places for copies were not shared out; the proxies go on with what they have.")
                lowered = False
            if lowered:  # a proxy says at once that a hop has fewer, and its threads follow
                await asyncio.sleep(min(settings.shadow_share_seconds, _THREADS_FOLLOW_SECONDS))
            else:
                await self._copied_anew.wait_past(version, settings.shadow_share_seconds)

    # --- after a restart

    def _seen_everything(self, publication: Publication) -> bool:
        """Whether what we publish is as good as what a proxy may still have from an earlier control plane."""
        if self._clock.monotonic() - self._started_at >= self._settings.proxy_adoption_seconds:
            return True
        return not publication.waiting and not self._short_groups(publication)

    def _short_groups(self, publication: Publication) -> frozenset[str]:
        """Groups with fewer ready instances than take traffic: they may be up, and only not observed yet."""
        return frozenset(
            one.group
            for plan in self._plans or ()
            for one in plan.memberships
            if len(publication.rotation[one.group]) < one.in_rotation
        )

    # --- what routes name

    def _routed(self) -> frozenset[str]:
        """Clusters that a published route names, or a route of a registered proxy."""
        return self._named.union(*(view.routed for view in self._views()))

    def _note_unrouted(self) -> None:
        now = self._clock.monotonic()
        unrouted = self._published.rotation.keys() - self._routed()
        self._unrouted_since = {group: self._unrouted_since.get(group, now) for group in unrouted}
        self._held = {group: self._held.get(group, {}) for group in unrouted}

    def _note_spared(self) -> None:
        now = self._clock.monotonic()
        self._spared_since = {one: self._spared_since.get(one, now) for one in self._spared()}

    def _spared(self) -> list[tuple[str, str]]:
        """Those of the instances that drain to which no registered proxy sends anything new."""
        proxies = self._server.proxies()
        return [one for one in self._draining() if all(spares(proxy, *one) for proxy in proxies)]

    # --- health

    async def _look_repeatedly(self) -> None:
        """Ask the proxies which instances they see healthy: often while traffic waits for it, less and less where nothing does."""
        pause = shortest = self._settings.proxy_poll_seconds
        longest = self._settings.proxy_idle_poll_seconds
        while True:
            published, started = self._republished.version, self._clock.monotonic()
            if proxies := self._server.proxies():
                await self._sight.look(proxies)
                self._looked.announce()
            took = self._clock.monotonic() - started
            await asyncio.sleep(max(shortest, 2 * took))
            if self._published.waiting:
                continue
            pause = min(1.5 * pause, longest) if self._unseen() else longest
            if await self._republished.wait_past(published, pause) != published:
                pause = shortest

    def _unseen(self) -> bool:
        """Whether an instance in rotation is not known to be healthy in every proxy."""
        rotation, views = self._published.rotation, self._views()
        return any(
            not view.healthy.get(group, _NOBODY).issuperset(rotation[group]) for view in views for group in rotation
        )


def _bear_more(asked: tuple[Weight, ...], standing_for: tuple[Weight, ...]) -> set[str]:
    """The groups that have more than was asked, because others have no instance."""
    pairs = zip(asked, standing_for, strict=True)
    return {one.group for one, stand in pairs if stand.parts > one.parts or stand.named_parts > one.named_parts}


def _routes(proxy: Proxy) -> tuple[object, ...]:
    """What is known of the proxy's routes: what it acknowledged, and what is on its way."""
    return proxy.known(Kind.ROUTES), proxy.held(Kind.ROUTES, ROUTE_TABLE), proxy.pending(Kind.ROUTES, ROUTE_TABLE)


def _holds(proxy: Proxy, endpoint: str, weights: tuple[Weight, ...], mirrors: tuple[Mirror, ...]) -> bool:
    """Whether the proxy's routes of the endpoint are these (with all or fewer of the mirrors), and stay so when it applies what is on its way."""
    held, pending = proxy.held(Kind.ROUTES, ROUTE_TABLE), proxy.pending(Kind.ROUTES, ROUTE_TABLE)
    if held is None:
        return False
    routes = [one.about.get(endpoint, _NO_ROUTE) for one in (held, pending) if one is not None]
    return all(
        one.weights == weights and all(mirror.noise or mirror in mirrors for mirror in one.mirrors) for one in routes
    )
