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

**Production comes first.** A proxy whose heap is over `PROXY_COPIES_SHARE` of its bound loses all places until it is below again. It refuses requests only at `PROXY_SHEDDING_SHARE`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from bannister.domain.routing import Mirror
from bannister.envoy.admin import Copies, HopStatus
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
        """Change the places of hops, by name. Raises `Unavailable`: no answer."""
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

    def __init__(self, admin_of: Callable[[str], Admin], settings: Settings) -> None:
        self._admin_of = admin_of
        self._settings = settings
        #: By proxy: the hops that have places.
        self._open: dict[str, frozenset[str]] = {}

    def open(self, node: str, mirror: Mirror) -> bool:
        """Whether a proxy had places for copies of this mirror when it was last asked."""
        opened = self._open.get(node, frozenset())
        return any(hop_name(mirror, size) in opened for size in Size)

    async def look(self, proxies: Sequence[Proxy], hops: Iterable[Mirror]) -> bool:
        """Look at every proxy now; True: places were taken away, and the proxies' threads need a moment to follow."""
        lowered = False
        hops = tuple(hops)
        for proxy in proxies:
            if not hops and self._open.get(proxy.node) == frozenset():
                continue
            try:
                lowered |= await self._look_at(proxy.node, hops)
            except Unavailable as error:
                log.debug("proxy.places_unknown node=%s: %s", proxy.node, error)
        return lowered

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
        places = {name: one.places for name, one in copies.hops.items()} | changes
        self._open[node] = frozenset(name for name, count in places.items() if count > 0)
        return any(name in copies.hops and count < copies.hops[name].places for name, count in changes.items())
