"""How the room for copies is shared: it is never overdrawn, and whoever waits for a part of it gets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.operations.hand_clock import HandClock

from bannister.aws.runtime_errors import runtime_texts
from bannister.clock import SystemClock
from bannister.domain.instance import Instance
from bannister.domain.routing import Membership, Mirror, RoutePlan, Weight
from bannister.envoy.admin import Copies, HopStatus, NotDone
from bannister.envoy.discovery import Proxy
from bannister.envoy.resources.shadow import Size, copies_bytes_max, place_bytes, size_of
from bannister.envoy.snapshot import Snapshot
from bannister.errors import Unavailable
from bannister.publisher.places import Places, next_places, shares
from bannister.publisher.publisher import Publisher
from bannister.reporting.coverage import GAP_SECONDS
from bannister.settings import PROXY_COPIES_SHARE, Settings
from bannister.signals import Signal

MIB = 1024 * 1024
SETTINGS = Settings(Path("nowhere"))
#: Room for one and a half shadows.
NARROW = Settings(Path("nowhere"), shadow_bytes_max=500 * MIB)


def shadow(number: int, *, noise: bool = False) -> Mirror:
    return Mirror(f"{'p' if noise else 's'}{number:03d}", "v", 0, "p", noise=noise)


def ways(count: int) -> list[Mirror]:
    return [shadow(number, noise=noise) for number in range(count) for noise in (False, True)]


def bytes_in(places: dict[str, int], settings: Settings = SETTINGS) -> int:
    return sum(count * place_bytes(size_of(name), settings) for name, count in places.items())


def test_two_shadows_have_their_own_bounds_by_default() -> None:
    found = shares(ways(2), SETTINGS)
    assert {found[f"shadow/s00{number}/small"] for number in (0, 1)} == {SETTINGS.shadow_requests_max}
    assert {found[f"shadow/s00{number}/large"] for number in (0, 1)} == {SETTINGS.shadow_large_requests_max}
    assert (found["noise/p000/small"], found["noise/p000/large"]) == (16, 1)
    assert bytes_in(found) > 2 * copies_bytes_max(SETTINGS)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 20, 100, 2000])
def test_all_shares_fit(count: int) -> None:
    found = shares(ways(count), SETTINGS)
    assert len(found) == 4 * count
    assert bytes_in(found) <= SETTINGS.shadow_bytes_max


@pytest.mark.parametrize(("count", "small", "large"), [(3, 88, 5), (10, 26, 1), (18, 14, 1), (400, 1, 0)])
def test_of_many_shadows_each_has_the_same(count: int, small: int, large: int) -> None:
    found = shares(ways(count), SETTINGS)
    assert {found[f"shadow/s{number:03d}/small"] for number in range(count)} == {small}
    assert min(found[f"shadow/s{number:03d}/large"] for number in range(count)) == large


def test_a_shadow_that_comes_waits_for_what_another_still_has_under_way() -> None:
    first, both = shares(ways(1), NARROW), shares(ways(2), NARROW)
    hung = {name: HopStatus(count, count) for name, count in first.items()}
    changed = next_places(both, hung, NARROW)
    fewer = {name: both[name] for name in first if both[name] < first[name]}
    at_once = {name: count for name, count in changed.items() if name not in first}
    assert {name: changed[name] for name in fewer} == fewer
    assert bytes_in(first) + bytes_in(at_once) <= NARROW.shadow_bytes_max, "what is given up is not given away yet"
    assert at_once["shadow/s001/small"] == both["shadow/s001/small"], "what is free is given at once"
    held = {name: HopStatus(changed.get(name, one.places), one.under_way) for name, one in hung.items()}
    given = next_places(both, held, NARROW)
    assert bytes_in({name: one.under_way for name, one in held.items()}) + bytes_in(given) <= NARROW.shadow_bytes_max
    assert given["shadow/s001/small"] == both["shadow/s001/small"]
    assert given["shadow/s001/large"] < both["shadow/s001/large"], "there is no room yet"
    ended = {name: HopStatus(one.places, 0) for name, one in held.items()}
    assert next_places(both, ended | {name: HopStatus(count) for name, count in given.items()}, NARROW) == {
        name: both[name] for name in ("shadow/s001/large", "noise/p001/large") if given.get(name) != both[name]
    }


def test_copies_of_a_shadow_that_is_gone_still_count() -> None:
    gone = {"shadow/gone/large": HopStatus(0, 19)}
    given = next_places(shares(ways(1), NARROW), gone, NARROW)
    assert bytes_in(given) <= NARROW.shadow_bytes_max - 19 * 25 * MIB
    assert next_places({}, {"shadow/gone/large": HopStatus(8, 8)}, NARROW) == {"shadow/gone/large": 0}


class Room(RuleBasedStateMachine):
    """A proxy that makes copies wherever there is a place, shadows that come and go, and copies that end when they like."""

    def __init__(self) -> None:
        super().__init__()
        self.shadows: set[int] = set()
        self.places: dict[str, int] = {}
        self.under_way: dict[str, int] = {}

    @rule(number=st.integers(0, 4))
    def come_or_go(self, number: int) -> None:
        self.shadows ^= {number}

    @rule()
    def look(self) -> None:
        names = self.places.keys() | self.under_way.keys()
        seen = {name: HopStatus(self.places.get(name, 0), self.under_way.get(name, 0)) for name in names}
        self.places |= next_places(self.share(), seen, NARROW)

    @precondition(lambda self: any(self.places.values()))
    @rule(data=st.data())
    def copy(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.places)))
        self.under_way[name] = max(self.under_way.get(name, 0), self.places[name])

    @precondition(lambda self: any(self.under_way.values()))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.under_way)))
        self.under_way[name] = data.draw(st.integers(0, self.under_way[name]))

    def share(self) -> dict[str, int]:
        return shares([shadow(number, noise=noise) for number in self.shadows for noise in (False, True)], NARROW)

    @invariant()
    def never_overdrawn(self) -> None:
        names = self.places.keys() | self.under_way.keys()
        held = {name: max(self.places.get(name, 0), self.under_way.get(name, 0)) for name in names}
        assert bytes_in(held, NARROW) <= NARROW.shadow_bytes_max

    def teardown(self) -> None:
        self.under_way.clear()
        for _ in range(2):  # what is too much goes, then the rest comes
            self.look()
        assert {name: count for name, count in self.places.items() if count} == {
            name: count for name, count in self.share().items() if count
        }


TestRoom = Room.TestCase


class Asked:
    """A proxy's admin socket."""

    def __init__(self, heap_share: float = 0.1) -> None:
        self.heap_share = heap_share
        self.places: dict[str, int] = {}
        self.asked = 0
        self.answers = True
        self.lets_set = True
        self.observes = True

    async def copies(self) -> Copies:
        self.asked += 1
        if not self.answers:
            raise Unavailable("no")
        hops = {name: HopStatus(count) for name, count in self.places.items()}
        return Copies(self.heap_share, hops, self.observes)

    async def observe(self, *, on: bool) -> None:
        self.observes = on

    async def set_places(self, places: Mapping[str, int]) -> None:
        if not self.lets_set:
            raise NotDone("The proxy answers 503: No admin layer specified")
        self.places = {name: count for name, count in (self.places | dict(places)).items() if count}


async def test_each_proxy_has_its_own_room_and_one_that_is_silent_holds_up_nobody() -> None:
    admins = {"a": Asked(), "b": Asked(), "c": Asked()}
    admins["a"].answers = False
    places, proxies = (
        Places(admins.__getitem__, SETTINGS, HandClock()),
        [Proxy(node, stream=object()) for node in admins],
    )
    assert not places.open("b", shadow(0))
    assert not await places.look(proxies, ways(1))
    assert admins["b"].places == admins["c"].places == shares(ways(1), SETTINGS)
    assert (places.open("a", shadow(0)), places.open("b", shadow(0)), places.open("b", shadow(1))) == (
        False,
        True,
        False,
    )


async def test_production_comes_first_when_the_heap_is_nearly_full() -> None:
    admin = Asked()
    places, proxies = Places(lambda _node: admin, SETTINGS, HandClock()), [Proxy("a", stream=object())]
    await places.look(proxies, ways(2))
    admin.heap_share = PROXY_COPIES_SHARE
    assert await places.look(proxies, ways(2)), "places were taken away"
    assert admin.places == {}
    assert not await places.look(proxies, ways(2))
    assert admin.places == {}, "and stay so"
    for below in (0.01, 0.1):
        admin.heap_share = PROXY_COPIES_SHARE - below
        await places.look(proxies, ways(2))
        held = sum(count * place_bytes(size_of(name), SETTINGS) for name, count in admin.places.items())
        assert 0 < held <= below * SETTINGS.proxy_heap_bytes_max, "they come back no faster than there is room for them"
    admin.heap_share = 0.1
    await places.look(proxies, ways(2))
    assert admin.places == shares(ways(2), SETTINGS)


async def test_without_shadows_a_proxy_is_asked_once_and_left_alone() -> None:
    admin = Asked()
    admin.places = {f"shadow/earlier/{size}": 1 for size in Size}
    places, proxies = Places(lambda _node: admin, SETTINGS, HandClock()), [Proxy("a", stream=object())]
    assert await places.look(proxies, []), "what an earlier control plane gave is taken back"
    for _ in range(3):
        await places.look(proxies, [])
    assert (admin.places, admin.asked) == ({}, 1)


async def test_what_capture_does_not_take_never_fills_the_heap() -> None:
    """Also where there is no shadow; and it goes on when there is room again, though nothing is captured any more."""
    admin, clock = Asked(PROXY_COPIES_SHARE), HandClock()
    places, proxies = Places(lambda _node: admin, SETTINGS, clock), [Proxy("a", stream=object())]
    for heap_share in (PROXY_COPIES_SHARE, 0.5, PROXY_COPIES_SHARE, 0.5):
        admin.heap_share = heap_share
        await places.look(proxies, [], captures=True)
        assert not admin.observes, "a heap that comes and goes is one time without exchanges"
        clock.time += SETTINGS.capture_shed_seconds_min / 2
    await places.look(proxies, [])
    assert admin.observes
    asked = admin.asked
    await places.look(proxies, [])
    assert admin.asked == asked, "nobody asks what does not matter"


async def test_a_time_without_exchanges_that_an_earlier_control_plane_began_is_a_gap_too() -> None:
    admin, clock = Asked(0.5), HandClock()
    admin.observes = False
    places, proxies = Places(lambda _node: admin, SETTINGS, clock), [Proxy("a", stream=object())]
    await places.look(proxies, [], captures=True)
    assert not admin.observes
    clock.time += SETTINGS.capture_shed_seconds_min
    await places.look(proxies, [], captures=True)
    assert admin.observes


def test_a_time_without_exchanges_is_longer_than_what_is_no_gap() -> None:
    assert SETTINGS.capture_shed_seconds_min > GAP_SECONDS


async def test_a_proxy_that_does_not_let_places_be_set_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """An earlier version started it."""
    old, new = Asked(), Asked()
    old.lets_set = False
    places = Places({"old": old, "new": new}.__getitem__, SETTINGS, HandClock())
    proxies = [Proxy("new", stream=object()), Proxy("old", stream=object())]
    await places.look(proxies, [])
    assert places.trouble is None, "nobody wants copies"
    for _ in range(3):
        await places.look(proxies, ways(1))
    assert (places.open("new", shadow(0)), places.open("old", shadow(0))) == (True, False)
    assert places.trouble is not None
    assert places.trouble.startswith('Proxy "old" makes no copies for shadows')
    assert len([one for one in caplog.records if "No admin layer specified" in one.getMessage()]) == 1
    old.lets_set = True
    await places.look(proxies, ways(1))
    assert (places.open("old", shadow(0)), places.trouble) == (True, None)
    old.lets_set, old.places = False, {}
    await places.look(proxies, ways(1))
    assert places.trouble is not None
    await places.look(proxies[:1], ways(1))
    assert places.trouble is None, "it is gone"


# --- when they are looked at


class _Admin(Asked):
    async def clusters(self) -> dict[str, dict[str, object]]:
        return {}

    async def pending_requests(self, cluster: str) -> int:
        del cluster
        return 0

    async def held_requests(self) -> int:
        return 0


class _Server:
    """One proxy is registered, which never answers."""

    def __init__(self) -> None:
        self.changed = Signal()
        self.published = 0

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def publish(self, snapshot: Snapshot) -> None:
        del snapshot
        self.published += 1

    def proxies(self) -> tuple[Proxy, ...]:
        return (Proxy("edge-1", expected=True),)

    def lapsed(self) -> tuple[Proxy, ...]:
        return ()


class _Nobody:
    def __init__(self) -> None:
        self.changed = Signal()

    def snapshot(self) -> tuple[Instance, ...]:
        return ()


def plan(name: str, *mirrors: Mirror) -> RoutePlan:
    return RoutePlan(name, (Membership("p", 1, 0),), (Weight("p", "v", 1_000_000, 1_000_000),), mirrors, ways=mirrors)


class _World:
    def __init__(self, publisher: Publisher, server: _Server, admin: _Admin) -> None:
        self.publisher, self.server, self.admin = publisher, server, admin

    async def ask(self, *plans: RoutePlan) -> None:
        """Returns when they are published, and whoever wakes by that has done what there is to do."""
        published = self.server.published
        self.publisher.ask(plans)
        async with asyncio.timeout(10):
            while self.server.published == published:
                await asyncio.sleep(0.001)
        for _ in range(20):
            await asyncio.sleep(0)


@asynccontextmanager
async def publishing(places: Mapping[str, int]) -> AsyncIterator[_World]:
    """A new control plane, which looks at what an earlier one gave once an hour, or when it matters."""
    settings = Settings(Path("nowhere"), shadow_share_seconds=3600.0)
    server, admin = _Server(), _Admin()
    admin.places = dict(places)
    texts = runtime_texts(settings.account_id, settings.invocation_body_bytes_max)
    publisher = Publisher(settings, _Nobody(), texts, SystemClock(), server, lambda _node: admin)
    running = asyncio.create_task(publisher.run())
    try:
        yield _World(publisher, server, admin)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_new_control_plane_leaves_alone_what_an_earlier_one_gave() -> None:
    """Until it knows what is asked for; where that is the same, it changes nothing."""
    given = shares([shadow(0)], SETTINGS)
    async with publishing(given) as world:
        for _ in range(50):
            await asyncio.sleep(0)
        assert (world.admin.asked, world.admin.places) == (0, given)
        world.admin.lets_set = False  # nothing is to be set
        await world.ask(plan("e", shadow(0)))
        assert (world.admin.asked, world.admin.places) == (1, given)
        assert world.publisher.copies_trouble is None


async def test_places_are_looked_at_when_hops_come_or_go_and_not_at_every_publication() -> None:
    async with publishing({}) as world:
        await world.ask(plan("e"))
        assert world.admin.asked == 1, "what an earlier control plane gave would be taken back"
        for number in range(5):
            await world.ask(plan("e"), plan(f"another-{number}"))
        assert world.admin.asked == 1
        await world.ask(plan("e", shadow(0)))
        assert (world.admin.asked, world.admin.places) == (2, shares([shadow(0)], SETTINGS))
        for number in range(5):
            await world.ask(plan("e", shadow(0)), plan(f"another-{number}"))
        assert world.admin.asked == 2
