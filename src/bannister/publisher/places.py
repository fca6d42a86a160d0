"""How many copies for shadows each proxy may have under way: one room for all of them, shared out.

The bodies of all copies together hold at most `shadow_bytes_max` of a proxy's memory, however many shadows there are and whatever becomes of them. Each hop cluster
(`bannister.envoy.resources.shadow`) has *places*, and a copy that finds none is not made. A hop is made without any. Then, for each proxy by itself and again and again:

1. what each hop should have is its own bound, or, where all bounds together do not fit, the same part of each (`shares`);
2. a hop that has more gives up the difference at once. What it has under way beyond that goes on, and still counts: a place is free when its copy has ended;
3. free room is given to those that have too few; what was just given up is free at the next look.

So at no moment do places that may be taken and copies that are under way add up to more than the room, also not while shadows come and go, nor for copies whose shadow is gone. Nothing
is remembered: places and copies under way are read from the proxy, so a new control plane goes on where the last one stood, and a new proxy begins with no places. A proxy
without a control plane keeps the places as they are.

Places are a runtime setting of the proxy: another bound on a cluster would make it a new cluster, which does not count what the old one still has under way.

**Production comes first.** A proxy whose heap is over `PROXY_COPIES_SHARE` of its bound loses all places until it is below again, and tells the capture process of no more exchanges: answers that this does not
take have no bound of their own (`bannister.envoy.resources.observing`). It refuses requests only at `PROXY_SHEDDING_SHARE`. A time without exchanges lasts `capture_shed_seconds_min` at least: a shorter one would be
no gap to who judges compared answers (`bannister.reporting.coverage`), and what was not told in it would pass for requests that were not made.

**A proxy that does not let places be set** makes no copies: an earlier version started it, and its bootstrap document lacks the layer for it. That is said, in the log and to whoever asks (`trouble`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from bannister.clock import Clock
from bannister.domain.routing import Mirror
from bannister.envoy.admin import Copies, HopStatus, NotDone
from bannister.envoy.discovery import Proxy
from bannister.envoy.resources.shadow import Size, hop_name, place_bytes, places_max, size_of
from bannister.errors import Unavailable
from bannister.settings import PROXY_COPIES_SHARE, Settings

log = logging.getLogger(__name__)


class Admin(Protocol):
    """What is asked of one proxy."""

    async def copies(self) -> Copies:
        """Its places, and the copies it has under way. Raises `Unavailable`: no answer."""
        ...

    async def set_places(self, places: Mapping[str, int]) -> None:
        """Change the places of hops, by name. Raises `NotDone`, or `Unavailable`: no answer."""
        ...

    async def observe(self, *, on: bool) -> None:
        """Tell the capture process of exchanges, or not. Raises `NotDone`, or `Unavailable`: no answer."""
        ...


def room_in(copies: Copies, settings: Settings) -> int:
    """Bytes that copies may hold: those under way, and what is left of the heap below `PROXY_COPIES_SHARE`; at most `shadow_bytes_max`."""
    under_way = sum(one.under_way * place_bytes(size_of(name), settings) for name, one in copies.hops.items())
    left = int((PROXY_COPIES_SHARE - copies.heap_share) * settings.proxy_heap_bytes_max)
    return min(settings.shadow_bytes_max, under_way + left) if left > 0 else 0


def shares(hops: Iterable[Mirror], settings: Settings, room: int | None = None) -> dict[str, int]:
    """By hop cluster of these mirrors: the places it should have; whoever is to be given some first comes first.

    Where the same part of each bound is less than a place, whoever comes first has one as long as there is room: small copies before large ones, shadows before noise.
    """
    clusters = [(place_bytes(size, settings), mirror.noise, hop_name(mirror, size)) for mirror in hops for size in Size]
    bytes_of = {name: each for each, _, name in sorted(clusters)}
    noise = {name for _, is_noise, name in clusters if is_noise}
    most = {name: places_max(size_of(name), settings, noise=name in noise) for name in bytes_of}
    room = settings.shadow_bytes_max if room is None else room
    asked = sum(most[name] * bytes_of[name] for name in most)
    if asked <= room:
        return most
    found = {name: places * room // asked for name, places in most.items()}
    left = room - sum(found[name] * bytes_of[name] for name in found)
    for name in found:
        if found[name] == 0 and bytes_of[name] <= left:
            found[name] = 1
            left -= bytes_of[name]
    return found


def next_places(
    wanted: Mapping[str, int], seen: Mapping[str, HopStatus], settings: Settings, room: int | None = None
) -> dict[str, int]:
    """Which hops' places to change now, by name; empty: none.

    Args:
        wanted: By hop, what it should have (`shares`). Those that are not here should have none.
        seen: By hop, what it has. Not here: nothing.
        settings: Bounds.
        room: Bytes that all copies may hold (`room_in`); None: `shadow_bytes_max`.
    """
    fewer = {name: wanted.get(name, 0) for name, one in seen.items() if one.places > wanted.get(name, 0)}
    bytes_of = {name: place_bytes(size_of(name), settings) for name in wanted.keys() | seen.keys()}
    held = {name: max(one.places, one.under_way) for name, one in seen.items()}
    room = settings.shadow_bytes_max if room is None else room
    room -= sum(count * bytes_of[name] for name, count in held.items())
    more: dict[str, int] = {}
    for name in [name for name in wanted if name not in fewer]:
        counted = held.get(name, 0)
        # Places up to what is under way are counted already.
        places = min(wanted[name], counted + max(0, room) // bytes_of[name])
        if places > (seen[name].places if name in seen else 0):
            more[name] = places
            room -= max(0, places - counted) * bytes_of[name]
    return fewer | more


class Places:
    """Keeps every proxy's places at what the hops should have."""

    def __init__(self, admin_of: Callable[[str], Admin], settings: Settings, clock: Clock) -> None:
        self._admin_of = admin_of
        self._settings = settings
        self._clock = clock
        #: By proxy: the hops that have places.
        self._open: dict[str, frozenset[str]] = {}
        #: By proxy that tells the capture process of nothing: until when it tells of nothing at least.
        self._unobserved: dict[str, float] = {}
        #: By proxy: why it makes no copies, as a sentence.
        self._troubles: dict[str, str] = {}

    @property
    def trouble(self) -> str | None:
        """Why a proxy makes no copies though it should, as a sentence; None: all do, as far as is known."""
        return next(iter(self._troubles.values()), None)

    def open(self, node: str, mirror: Mirror) -> bool:
        """Whether a proxy had places for copies of this mirror when it was last asked."""
        opened = self._open.get(node, frozenset())
        return any(hop_name(mirror, size) in opened for size in Size)

    async def look(self, proxies: Sequence[Proxy], hops: Iterable[Mirror], *, captures: bool = False) -> bool:
        """Look at every proxy now; True: places were taken away, and the proxies' threads need a moment to follow.

        `captures`: the capture process is told of some exchanges, whether they are copied or not.
        """
        hops = tuple(hops)
        nodes = {proxy.node for proxy in proxies}
        self._troubles = {node: why for node, why in self._troubles.items() if node in nodes and hops}
        # One that does not answer holds up no other.
        lowered = await asyncio.gather(
            *(self._look_if_needed(proxy.node, hops, captures=captures) for proxy in proxies)
        )
        return any(lowered)

    async def _look_if_needed(self, node: str, hops: Sequence[Mirror], *, captures: bool) -> bool:
        is_idle = self._open.get(node) == frozenset() and node not in self._unobserved
        if is_idle and not hops and not captures:
            return False
        try:
            return await self._look_at(node, hops)
        except NotDone as error:
            if hops:
                self._note(node, error)
        except Unavailable as error:
            log.debug("proxy.places_unknown node=%s: %s", node, error)
        return False

    async def _look_at(self, node: str, hops: Iterable[Mirror]) -> bool:
        admin = self._admin_of(node)
        copies = await admin.copies()
        room = room_in(copies, self._settings)
        if room == 0 and any(one.places for one in copies.hops.values()):
            log.warning("proxy.copies_shed node=%s heap=%.0f%%", node, copies.heap_share * 100)
        share = shares(hops, self._settings, room) if room else {}
        changes = next_places(share, copies.hops, self._settings, room)
        if changes:
            await admin.set_places(changes)
            if self._troubles.pop(node, None) is not None:
                log.info("proxy.copies_made node=%s again", node)
        places = {name: one.places for name, one in copies.hops.items()} | changes
        self._open[node] = frozenset(name for name, count in places.items() if count > 0)
        await self._observe(node, admin, copies)
        return any(name in copies.hops and count < copies.hops[name].places for name, count in changes.items())

    async def _observe(self, node: str, admin: Admin, copies: Copies) -> None:
        now, shed_seconds = self._clock.monotonic(), self._settings.capture_shed_seconds_min
        if copies.heap_share >= PROXY_COPIES_SHARE:
            self._unobserved[node] = now + shed_seconds
        elif not copies.observes:  # an earlier control plane has seen to it, nobody knows when
            self._unobserved.setdefault(node, now + shed_seconds)
        observes = self._unobserved.get(node, now) <= now
        if observes is not copies.observes:
            log.warning(
                "proxy.capture_%s node=%s heap=%.0f%%", "on" if observes else "shed", node, copies.heap_share * 100
            )
            await admin.observe(on=observes)
        if observes:
            self._unobserved.pop(node, None)

    def _note(self, node: str, error: NotDone) -> None:
        self._open[node] = frozenset()
        if node not in self._troubles:
            self._troubles[node] = (
                f'Proxy "{node}" makes no copies for shadows, because it does not let their bound be set. '
                "Most likely an earlier version of Bannister started it: stop Bannister and start it again."
            )
            log.warning("proxy.copies_not_made %s (%s)", self._troubles[node], error)
