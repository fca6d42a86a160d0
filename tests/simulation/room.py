"""Room for copies in simulated worlds: how much there is, what takes it up, and what must always be true of it.

A copy takes a place on its way through the proxy (`bannister.publisher.places`), and where there is none it is not made, but counted. What is simulated: copies that end at once, late, or hardly ever;
a proxy whose heap fills up and empties again; the admin socket, which takes its time. In three of five worlds with shadows there is room for a part of what they may ask for.

What is to be true is computed here once more, from what the newest control plane has published, what the proxy holds, and the settings.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from bannister.domain.routing import Mirror
from bannister.envoy.admin import Copies
from bannister.envoy.memory import MemoryProxy
from bannister.envoy.resources.names import NOISE, SHADOW
from bannister.envoy.resources.shadow import Size, hop_name, is_hop, place_bytes, places_max, size_of
from bannister.envoy.snapshot import Snapshot
from bannister.settings import PROXY_COPIES_SHARE, Settings

if TYPE_CHECKING:
    from tests.simulation.plane import ControlPlane, Gate
    from tests.simulation.world import World

SHARED: Final = "4: copies share one room"
FIRST: Final = "4: production comes first"
SKIPPED: Final = "4: copies that found no room are counted as skipped"

MIB: Final = 1024 * 1024
#: Where copies may ask for more than there is: of the room, in MiB, one shadow may have 16.
ROOMS: Final = (10, 20, 40)
#: Of the proxy's heap, what production holds when nothing is the matter, and what it may come to.
HEAP_SHARE: Final = 0.3
HEAP_SHARES: Final = (0.6, 0.72, 0.78, 0.82, 0.93)
#: The proxy tells its heap in whole percents.
PERCENT: Final = 0.01
#: Room that nothing disturbs is shared out as it should be so soon after the hops have changed, whatever was to be given back first.
SETTLED_LOOKS: Final = 2.5
#: Where production needs the heap, copies have no room so soon after.
SHED_LOOKS: Final = 1.5
#: What was published, and looked at while the next was, is forgotten after so long.
LOOK_SECONDS_MAX: Final = 3.0
#: A copy that found no room is in the store so long after.
TOLD_SECONDS_MAX: Final = 5.0
#: Proxies whose starts are told apart by no more than this may be taken for one (`bannister.reporting.counters`).
SAME_PROXY_SECONDS: Final = 25.0


class Room:
    """A world's. A source of randomness of its own."""

    def __init__(self, world: World, *, varies: bool) -> None:
        """`varies`: there may be too little room, copies take their time, and the proxies' heaps fill up."""
        self._rng = rng = random.Random(f"room of {world.seed}")
        self._world = world
        self._varies = varies
        #: Of copies, those that do not end at once; and the longest that the admin socket takes.
        self._late_share = rng.choice((0.02, 0.02, 0.1, 0.5)) if varies else 0.02
        self._answer_seconds_max = rng.choice((0.01, 0.3)) if varies else 0.01
        #: By proxy, where production holds more than usual.
        self.heap_shares: dict[str, float] = {}
        #: By proxy, how often it has emptied again: between two looks it may empty and fill up as far as before.
        self.emptied: Counter[str] = Counter()
        self._room = rng.choice((None, None, *ROOMS)) if varies else None

    def fitted(self, settings: Settings) -> Settings:
        """With as much room as this world has."""
        if self._room is None:
            return settings
        return replace(
            settings,
            shadow_bytes_max=self._room * MIB,
            shadow_requests_max=6,
            shadow_large_requests_max=2,
            shadow_small_body_bytes_max=MIB,
            invocation_body_bytes_max=5 * MIB,
            proxy_heap_bytes_max=4 * self._room * MIB,
        )

    def begin(self) -> None:
        """The proxies are there."""
        for node, proxy in self._world.network.proxies.items():
            proxy.conduct.heap_share = lambda node=node: self.heap_share(node)  # type: ignore[misc]

    def heap_share(self, node: str) -> float:
        return self.heap_shares.get(node, HEAP_SHARE)

    def copy(self, proxy: MemoryProxy, mirror: Mirror) -> Callable[[], None] | None:
        """A copy is to be made; what ends it, or None: it was not made."""
        size = Size.LARGE if self._rng.random() < 0.3 else Size.SMALL
        end = proxy.begin_copy(hop_name(mirror, size))
        if end is None:
            self._world.counts["noise copies skipped" if mirror.noise else "copies skipped"] += 1
        return end

    def lasts_seconds(self) -> float:
        """How long a copy takes: at most as long as a shadow may, or as a stream may."""
        chance = self._rng.random()
        if chance < 0.02:
            return 0.5 + self._rng.random() * 12
        late = chance < self._late_share
        return self._rng.random() * self._world.settings.shadow_timeout_seconds if late else 0.0

    def answer_seconds(self) -> float:
        return self._rng.random() * self._answer_seconds_max

    def tick(self) -> None:
        """Sometimes a proxy's heap fills up, and empties again."""
        if self._varies and not self._world.calm and self._rng.random() < 0.02:
            node = self._rng.choice(list(self._world.network.proxies))
            self.fill(node, self._rng.choice(HEAP_SHARES), self._rng.random() * 12)

    def fill(self, node: str, share: float, seconds: float) -> None:
        """For a while production holds this share of a proxy's heap."""
        self._world.note("fault", f"production takes {share:.0%} of the heap of {node}")
        self._world.counts["heaps filled"] += 1
        self.heap_shares[node] = share
        self._world.loop.call_later(seconds, self._empty, node)

    def _empty(self, node: str) -> None:
        self.heap_shares.pop(node, None)
        self.emptied[node] += 1


class GatedAdmin:
    """One proxy's admin socket as a control plane has it (`bannister.envoy.admin.Admin`): it takes its time, and changes are fenced, and places to crash at."""

    def __init__(self, world: World, plane: ControlPlane, gate: Gate, proxy: MemoryProxy) -> None:
        self._world, self._plane, self._gate, self._proxy = world, plane, gate, proxy
        self.clusters: Callable[[], Any] = proxy.clusters
        self.pending_requests: Callable[[str], Any] = proxy.pending_requests
        self.held_requests: Callable[[], Any] = proxy.held_requests
        self._told = Copies(0.0, {})

    async def copies(self) -> Copies:
        room = self._world.room
        if room is None:
            return await self._proxy.copies()
        self._told = await self._proxy.copies()
        await asyncio.sleep(room.answer_seconds())
        return self._told

    async def set_places(self, places: Mapping[str, int]) -> None:
        await self._gate.reach("before places")
        self._plane.fence()
        rules = self._world.checker.room
        told = rules.told(self._told)
        rules.changing(self._proxy, places, told)
        await self._proxy.set_places(places)
        rules.changed(self._proxy, told)
        await self._gate.reach("after places")

    async def observe(self, *, on: bool) -> None:
        await self._gate.reach("before observe")
        self._plane.fence()
        if not self._world.current_epoch_context:
            raise self._world.violated("5: one control plane at a time", f"A replaced one has exchanges told of: {on}")
        await self._proxy.observe(on=on)
        await self._gate.reach("after observe")


@dataclass(frozen=True, slots=True)
class Told:
    """What a control plane knows of a proxy's room, in bytes: how much there is, and how much is given away."""

    room: int
    held: int


class RoomRules:
    """Part of the checker; numbers as in its rules."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: The control plane that published last, and its hops.
        self._publisher: ControlPlane | None = None
        self._hops: frozenset[str] = frozenset()
        #: Those before, with the time until which they were.
        self._earlier: deque[tuple[float, frozenset[str]]] = deque(maxlen=8)
        #: Since when what the control plane says of the room is the same, and since when all is the same at a proxy, with what that is.
        self._same_since = 0.0
        self._settled: dict[str, tuple[float, object]] = {}
        self._bytes: dict[str, int] = {}
        #: What each hop should have, at least, by what that follows from.
        self._parts: tuple[object, dict[str, int]] = (None, {})
        #: By proxy: since when its heap is full, with what else must be the same.
        self._full: dict[str, tuple[float, object]] = {}
        #: By proxy: the hops that have fewer places than their part, though there is room, since when.
        self._short: dict[str, dict[str, float]] = {}
        #: Copies for shadows that the watched proxy did not make: in the lives before this one, and in all of them at the last ticks; and those of which
        #: nobody may have been told, for it took them with it.
        self._before = self._forgotten = 0
        self._totals: deque[tuple[float, int]] = deque()
        #: Since when it lives, and what it counts.
        self._life: tuple[float, Mapping[str, int]] = (0.0, {})

    # --- told

    def published(self, plane: ControlPlane, snapshot: Snapshot) -> None:
        """The newest control plane has published."""
        hops = frozenset(filter(is_hop, snapshot.clusters))
        if plane is self._publisher and hops == self._hops:
            return
        now = self._world.loop.time()
        self._earlier.append((now, self._hops))
        self._publisher, self._hops, self._same_since = plane, hops, now

    def told(self, copies: Copies) -> Told:
        """What a control plane can know from what a proxy has answered."""
        settings, hops = self._world.settings, copies.hops.items()
        under_way = sum(one.under_way * self._bytes_of(name) for name, one in hops)
        left = (PROXY_COPIES_SHARE - copies.heap_share) * settings.proxy_heap_bytes_max
        room = min(settings.shadow_bytes_max, int(under_way + left)) if left > 0 else 0
        return Told(room, sum(max(one.places, one.under_way) * self._bytes_of(name) for name, one in hops))

    def changing(self, proxy: MemoryProxy, places: Mapping[str, int], told: Told) -> None:
        """A control plane changes places: only of hops, and nobody's whose copies are asked for below its part."""
        if not self._world.current_epoch_context:
            self._violated("5: one control plane at a time", f"A replaced one changes places: {places}")
        settings = self._world.settings
        for name, count in places.items():
            if not is_hop(name):
                self._violated(FIRST, f"{proxy.node}: a bound of {name}, which is no way of copies, is changed.")
            if count > _own_bound(name, settings):
                self._violated(SHARED, f"{proxy.node}: {count} places for {name}.")
        fewer = [name for name, count in places.items() if count < proxy.places.get(name, 0)]
        if not fewer:
            return
        now = self._world.loop.time()
        known = [self._hops, *(hops for until, hops in self._earlier if now - until < LOOK_SECONDS_MAX)]
        parts = self._parts_of(frozenset().union(*known), told.room)
        fed = {hop_name(one, size) for each in proxy.forwardings().values() for one in each.mirrors for size in Size}
        for name in fed.intersection(*known, fewer):
            if places[name] < parts[name]:
                self._violated(
                    SHARED,
                    f"{proxy.node}: {name} is fed, its part are {parts[name]} places, and it is to have {places[name]}.",
                )

    def changed(self, proxy: MemoryProxy, told: Told) -> None:
        """A control plane has changed places: what it gives is free."""
        held = self._bound(proxy)
        if held > max(told.room, told.held):
            self._violated(FIRST, f"{proxy.node}: {held} bytes are given away, there is room for {told.room}.")

    # --- looked at

    def tick(self, proxies: Iterable[MemoryProxy]) -> None:
        world = self._world
        if world.room is None:
            return
        world.room.tick()
        self._count_skipped()
        for proxy in world.network.proxies.values():
            if proxy.running:
                self._bound(proxy)
        plane = world.plane
        if plane is None or plane is not self._publisher or not plane.process.alive:
            self._settled.clear()
            self._full.clear()
            return
        on_time = [proxy for proxy in proxies if proxy.connected and proxy.node not in world.checker.slow]
        for node in [node for node in self._settled if all(proxy.node != node for proxy in on_time)]:
            del self._settled[node]
            self._full.pop(node, None)
        if self._hops or any(proxy.places or not proxy.observes for proxy in on_time):
            for proxy in on_time:
                self._look(proxy)

    def _look(self, proxy: MemoryProxy) -> None:
        """At a proxy that a control plane can ask."""
        world, node = self._world, proxy.node
        assert world.room is not None
        now, heap_share = world.loop.time(), world.room.heap_share(node)
        # Another life of it counts anew.
        seen = heap_share, world.room.emptied[node], self._same_since, id(proxy.overflows)
        since, same = self._settled.get(node, (now, None))
        if seen != same:
            self._settled[node] = since, _ = now, seen
            self._short.pop(node, None)
        self._is_shed(proxy, heap_share)
        seconds = SETTLED_LOOKS * world.settings.shadow_share_seconds
        if now - since >= seconds:
            self._is_settled(proxy, heap_share)
        if now - since >= seconds + world.settings.capture_shed_seconds_min:
            self._is_told_of(proxy, heap_share)
        short = self._is_short(proxy, heap_share)
        known = self._short.get(node, {})
        self._short[node] = known = {name: known.get(name, now) for name in short}
        for name, short_since in known.items():
            if now - short_since >= seconds:
                self._violated(
                    SHARED,
                    f"{node}: {name} has {proxy.places.get(name, 0)} places since {short_since}, and there is room.",
                )

    def _is_shed(self, proxy: MemoryProxy, heap_share: float) -> None:
        """Whatever else changes, a full heap has no room for copies."""
        if heap_share < PROXY_COPIES_SHARE:
            self._full.pop(proxy.node, None)
            return
        assert self._world.room is not None
        now, seen = (
            self._world.loop.time(),
            # Where nobody is copied to, it does not matter whether exchanges are told of.
            (self._publisher, bool(self._hops), id(proxy.overflows), self._world.room.emptied[proxy.node]),
        )
        since, same = self._full.get(proxy.node, (now, None))
        if seen != same:
            self._full[proxy.node] = since, _ = now, seen
        if now - since >= SHED_LOOKS * self._world.settings.shadow_share_seconds:
            self._world.counts["rooms judged, with a full heap"] += 1
            if proxy.places or (self._hops and proxy.observes):
                self._violated(
                    FIRST,
                    f"{proxy.node}: production holds {heap_share:.0%} of the heap since {since}, {dict(proxy.places)} are given, "
                    f"and exchanges are {'' if proxy.observes else 'not '}told of.",
                )

    def _is_settled(self, proxy: MemoryProxy, heap_share: float) -> None:
        """Nothing has changed for long enough, but that copies begin and end."""
        settings, places = self._world.settings, proxy.places
        self._world.counts["rooms judged"] += 1
        left = (PROXY_COPIES_SHARE + PERCENT - heap_share) * settings.proxy_heap_bytes_max
        given = sum(count * self._bytes_of(name) for name, count in places.items())
        if given > max(left, 0):
            self._violated(
                FIRST,
                f"{proxy.node}: production holds {heap_share:.0%} of the heap, and copies are given {given} bytes.",
            )
        parts = self._parts_of(self._hops, settings.shadow_bytes_max)
        for name, count in places.items():
            if count > max(1, parts.get(name, 0)) or name not in parts:
                self._violated(SHARED, f"{proxy.node}: {name} has {count} places, its part are {parts.get(name)}.")

    def _is_told_of(self, proxy: MemoryProxy, heap_share: float) -> None:
        settings = self._world.settings
        most = heap_share + settings.shadow_bytes_max / settings.proxy_heap_bytes_max  # whatever is under way
        if not proxy.observes and most < PROXY_COPIES_SHARE - PERCENT:
            self._violated(SHARED, f"{proxy.node}: no exchange is told of, and the heap is at most {most:.0%} full.")

    def _is_short(self, proxy: MemoryProxy, heap_share: float) -> list[str]:
        """The hops that have fewer places than their part, though there is room for more."""
        settings, places = self._world.settings, proxy.places
        left = (PROXY_COPIES_SHARE - PERCENT - heap_share) * settings.proxy_heap_bytes_max
        parts = self._parts_of(self._hops, settings.shadow_bytes_max)
        short = [name for name, part in parts.items() if places.get(name, 0) < part]
        if not short or left < settings.shadow_bytes_max:  # else how much there is depends on what is under way
            return []
        free = settings.shadow_bytes_max - self._held(proxy)
        return [name for name in short if self._bytes_of(name) <= free]

    def unsettled(self) -> tuple[str, str] | None:
        """At the end: copies that are asked for can be made."""
        world = self._world
        if world.room is None:
            return None
        parts = self._parts_of(self._hops, world.settings.shadow_bytes_max)
        for proxy in world.network.proxies.values():
            fed = {hop_name(one, Size.SMALL) for each in proxy.forwardings().values() for one in each.mirrors}
            without = [name for name in sorted(fed) if parts.get(name, 1) and not proxy.places.get(name)]
            if proxy.running and without:
                return SHARED, f"{proxy.node} makes no copies for {without}."
        return None

    # --- room

    def _bound(self, proxy: MemoryProxy) -> int:
        """Whatever happens, copies under way and those that may be made hold no more than they may, and take nobody else's bound."""
        held = self._held(proxy)
        if held > self._world.settings.shadow_bytes_max:
            self._violated(SHARED, f"{proxy.node}: {held} bytes for {dict(proxy.places)}, {dict(proxy.under_way)}.")
        return held

    def _held(self, proxy: MemoryProxy) -> int:
        """Bytes that copies hold, and those that may still be made."""
        places, under_way, bytes_of = proxy.places, proxy.under_way, self._bytes_of
        held = 0
        for name, count in places.items():
            held += max(count, under_way.get(name, 0)) * bytes_of(name)
        for name, count in under_way.items():
            if name not in places:
                held += count * bytes_of(name)
        return held

    def _parts_of(self, hops: frozenset[str], room: int) -> dict[str, int]:
        """What each hop should have at least: its own bound, or of all of them the same part."""
        if self._parts[0] != (hops, room):
            settings = self._world.settings
            most = {name: _own_bound(name, settings) for name in hops}
            asked = sum(count * self._bytes_of(name) for name, count in most.items())
            parts = {name: count if asked <= room else count * room // asked for name, count in most.items()}
            self._parts = (hops, room), parts
        return self._parts[1]

    def _bytes_of(self, hop: str) -> int:
        found = self._bytes.get(hop)
        if found is None:
            found = self._bytes[hop] = place_bytes(size_of(hop), self._world.settings)
        return found

    # --- what was not made

    def _count_skipped(self) -> None:
        """What telemetry has told of never exceeds what there was, nor falls short of it, but for what a proxy took with it that ended."""
        world, now = self._world, self._world.loop.time()
        overflows = world.watched_proxy.overflows
        since, counted = self._life
        if overflows is not counted:
            self._forget(now - since, _of_shadows(counted))
            self._life = now, overflows
        total = self._before + _of_shadows(overflows)
        self._totals.append((now, total))
        while self._totals[0][0] < now - TOLD_SECONDS_MAX - 1:
            self._totals.popleft()
        if world.metrics.skipped > total:
            self._violated(SKIPPED, f"{world.metrics.skipped} are told of, {total} were not made.")

    def _forget(self, seconds: float, skipped: int) -> None:
        """A proxy has ended: what it had counted since telemetry told of it is gone, and what the next one counts may be taken for its own if it was young."""
        world = self._world
        account = world.metrics.skipped_account
        known = _of_shadows(account.seen) if account is not None else 0
        self._before += skipped
        # A clock that jumps by as much as it lived gives both the same beginning.
        told_apart = seconds > SAME_PROXY_SECONDS and not world.checker.jumps
        self._forgotten += max(skipped - known, 0) if told_apart else 2 * skipped

    def settled(self) -> None:
        """At the end, when all has been told."""
        metrics, now = self._world.metrics, self._world.loop.time()
        # A clock that was set back leaves seconds open that are still to come: what is in them the account tells of.
        pending = metrics.skipped_account.pending if metrics.skipped_account is not None else {}
        stored = metrics.skipped + sum(pending.values())
        due = [total for at, total in self._totals if at <= now - TOLD_SECONDS_MAX]
        if due and stored < due[-1] - self._forgotten:
            self._violated(
                SKIPPED, f"{stored} are told of, {due[-1]} were not made, of which {self._forgotten} may be forgotten."
            )

    def _violated(self, rule: str, what: str) -> Any:
        raise self._world.violated(rule, what)


def _own_bound(hop: str, settings: Settings) -> int:
    return places_max(size_of(hop), settings, noise=hop.startswith(f"{NOISE}/"))


def _of_shadows(overflows: Mapping[str, int]) -> int:
    """Noise that is not made is nobody's."""
    return sum(count for name, count in overflows.items() if f"{SHADOW}/" in name)
