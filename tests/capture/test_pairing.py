"""Each pair once, none wrongly, and everything that is waiting or alone is bounded and counted: for any order of events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bannister.capture.assembly import Role
from bannister.capture.pairing import _PAST_MAX, Pairing
from bannister.domain.capture.exchange import Exchange, Message
from bannister.domain.capture.instructions import ComparedGroups
from bannister.domain.comparison.report import Unpaired, compared_of
from bannister.domain.comparison.rules import Rules
from bannister.domain.comparison.tally import EXCERPT_BYTES_MAX

KIB = 1024

SHADOW = ComparedGroups("shadow", "blue", Rules(), "e")
NOISE = ComparedGroups("blue", "blue", Rules(), "e", noise=True)


def exchange(
    identity: str,
    group: str,
    body: bytes = b"x",
    *,
    request: bytes = b"q",
    answered: bool = True,
    whole: bool = True,
    copied: bool = True,
    noise_copied: bool = False,
) -> Exchange:
    answer = Message(body, complete=whole) if answered else None
    status = 200 if answered else None
    return Exchange(identity, "e", group, 1.0, 2.0, Message(request), answer, status, 5, copied, noise_copied)


def pairing(
    *compared: ComparedGroups,
    exchanges: int = 100,
    size: int = 10_000,
    seconds: float = 10.0,
    is_under_way: Callable[[str, Role], bool] = lambda _identity, _role: False,
) -> Pairing:
    made = Pairing(exchanges, size, seconds, is_under_way)
    made.follow(compared or (SHADOW,))
    return made


def test_whoever_comes_first_waits_for_the_other() -> None:
    made = pairing()
    assert made.add(exchange("1", "blue"), Role.PRODUCTION, 0) == []
    assert made.add(exchange("2", "shadow"), Role.SHADOW, 0) == []
    [second] = made.add(exchange("2", "blue", b"p"), Role.PRODUCTION, 1)
    [first] = made.add(exchange("1", "shadow"), Role.SHADOW, 1)
    assert [(one.production.request_id, one.shadow.group) for one in (first, second)] == [
        ("1", "shadow"),
        ("2", "shadow"),
    ]
    assert (len(made), made.size) == (0, 0)
    assert not made.take_alone()


def test_a_request_that_is_told_twice_makes_one_pair_and_the_rest_is_counted() -> None:
    made = pairing(SHADOW, NOISE)
    made.add(exchange("1", "blue", noise_copied=True), Role.PRODUCTION, 0)
    assert made.add(exchange("1", "blue", b"again", noise_copied=True), Role.PRODUCTION, 0) == []
    [pair] = made.add(exchange("1", "shadow"), Role.SHADOW, 0)
    assert pair.production.response == Message(b"x")
    assert made.add(exchange("1", "shadow", b"again"), Role.SHADOW, 0) == []
    assert made.take_alone() == {(SHADOW, Unpaired.REPEATED): 2, (NOISE, Unpaired.REPEATED): 1}


def test_each_reason_to_stay_alone_is_its_own() -> None:
    made = pairing(exchanges=4)
    made.add(exchange("late", "blue"), Role.PRODUCTION, 0)
    made.add(exchange("lonely", "shadow"), Role.SHADOW, 0)
    made.expire(9.9)
    assert not made.take_alone()
    made.expire(10)
    assert made.take_alone() == {(SHADOW, Unpaired.NO_SHADOW): 1, (SHADOW, Unpaired.NO_PRODUCTION): 1}
    for identity, production, copy in (
        ("a", exchange("a", "blue", answered=False), exchange("a", "shadow")),
        ("b", exchange("b", "blue"), exchange("b", "shadow", answered=False)),
        ("c", exchange("c", "blue", whole=False), exchange("c", "shadow")),
        ("d", exchange("d", "green"), exchange("d", "shadow")),
    ):
        del identity
        assert made.add(production, Role.PRODUCTION, 20) == made.add(copy, Role.SHADOW, 20) == []
    assert made.take_alone() == {
        (SHADOW, Unpaired.NO_PRODUCTION): 1,
        (SHADOW, Unpaired.NO_SHADOW): 1,
        (SHADOW, Unpaired.INCOMPLETE): 1,
        (SHADOW, Unpaired.OTHER_FLEET): 1,
    }
    for number in range(5):
        made.add(exchange(f"{number}", "blue"), Role.PRODUCTION, 30)
    assert made.take_alone() == {(SHADOW, Unpaired.CROWDED_OUT): 1}
    made.expire(100)
    assert (len(made), made.size) == (0, 0)


def test_only_a_copy_that_was_made_is_missed() -> None:
    """Below 100 % sampling production's side says which requests were copied."""
    made = pairing(SHADOW, NOISE)
    for identity, copied, noise_copied in (
        ("a", True, False),
        ("b", False, True),
        ("c", True, True),
        ("d", False, False),
    ):
        made.add(exchange(identity, "blue", copied=copied, noise_copied=noise_copied), Role.PRODUCTION, 0)
    assert len(made) == 3, "what was not copied waits for nobody"
    made.expire(100)
    assert made.take_alone() == {(SHADOW, Unpaired.NO_SHADOW): 2, (NOISE, Unpaired.NO_SHADOW): 2}


def test_a_noise_copy_makes_a_pair_of_its_own() -> None:
    made = pairing(SHADOW, NOISE)
    made.add(exchange("1", "blue", noise_copied=True), Role.PRODUCTION, 0)
    assert [one.compared for one in made.add(exchange("1", "shadow"), Role.SHADOW, 0)] == [SHADOW]
    assert [one.compared for one in made.add(exchange("1", "blue", b"n"), Role.NOISE, 0)] == [NOISE]
    made.add(exchange("2", "blue"), Role.PRODUCTION, 0)
    made.add(exchange("2", "shadow"), Role.SHADOW, 0)
    made.expire(100)
    assert not made.take_alone()
    assert (len(made), made.size) == (0, 0)


@pytest.mark.parametrize(("body", "delay", "per_second"), [(64 * KIB, 6.0, 200), (KIB * KIB, 2.0, 40)])
def test_a_slow_shadow_makes_every_pair_whatever_the_length_of_requests(
    body: int, delay: float, per_second: int
) -> None:
    made = pairing(exchanges=20_000, size=64 * KIB * KIB)
    request, pairs = b"r" * body, 0
    late = int(delay * per_second)
    for number in range(4 * late):
        now = number / per_second
        made.add(exchange(f"{number}", "blue", request=request), Role.PRODUCTION, now)
        if number >= late:
            [pair] = made.add(exchange(f"{number - late}", "shadow", request=request), Role.SHADOW, now)
            assert pair.request is not None
            assert (pair.request.size, pair.request.text) == (body, "r" * EXCERPT_BYTES_MAX)
            pairs += 1
    assert pairs == 3 * late
    assert not made.take_alone()


def test_at_the_bound_the_newest_is_refused_where_all_others_are_awaited_so_that_pairs_go_on() -> None:
    """A shadow that answers after 100 requests, and room for half of them."""
    copies: set[str] = set()
    made = pairing(exchanges=50, is_under_way=lambda identity, _role: identity in copies)
    pairs = 0
    for number in range(1000):
        copies.add(f"{number}")
        made.add(exchange(f"{number}", "blue"), Role.PRODUCTION, number / 100)
        if number >= 100:
            copies.discard(f"{number - 100}")
            pairs += len(made.add(exchange(f"{number - 100}", "shadow"), Role.SHADOW, number / 100))
    lost = made.take_alone()
    assert pairs >= 400
    assert lost.keys() == {(SHADOW, Unpaired.CROWDED_OUT)}
    assert pairs + lost.total() + len(made) == 1000, "each request is a pair, or one loss, or waits"


@pytest.mark.parametrize(("exchanges", "size"), [(100, 10**6), (10**6, 10 * KIB)], ids=["in number", "in bytes"])
@pytest.mark.parametrize("takes", [0.001, 0.1, 3.0])
def test_what_waits_for_copies_that_were_not_made_leaves_room_to_those_that_were(
    exchanges: int, size: int, takes: float
) -> None:
    """200 requests a second, of which one in ten is copied (a bound on copies is reached), and room for half a second of them."""
    under_way: dict[str, float] = {}
    made = pairing(exchanges=exchanges, size=size, is_under_way=lambda identity, _role: identity in under_way)
    copies = pairs = 0
    for number in range(4000):
        now = number / 200
        made.expire(now)
        for one in [one for one, until in under_way.items() if until <= now]:
            del under_way[one]
            pairs += len(made.add(exchange(one, "shadow", bytes(90)), Role.SHADOW, now))
        if number % 10 == 0:
            copies += 1
            under_way[f"{number}"] = now + takes
        made.add(exchange(f"{number}", "blue", bytes(90)), Role.PRODUCTION, now)
    assert (pairs, made.late) == (copies - len(under_way), 0)
    lost = made.take_alone()
    assert lost.keys() == {(SHADOW, Unpaired.CROWDED_OUT)}
    assert pairs + lost.total() + len(made) == 4000


def test_what_is_longer_than_all_the_room_puts_nobody_out() -> None:
    made = pairing(size=100)
    made.add(exchange("1", "blue"), Role.PRODUCTION, 0)
    made.add(exchange("2", "blue", bytes(100)), Role.PRODUCTION, 0)
    assert (len(made), made.take_alone()) == (1, {(SHADOW, Unpaired.CROWDED_OUT): 1})


def test_no_bodies_are_kept_where_the_rules_keep_none() -> None:
    made = pairing(ComparedGroups("shadow", "blue", Rules(keeps_bodies=False), "e"))
    made.add(exchange("1", "blue", request=b"secret"), Role.PRODUCTION, 0)
    [pair] = made.add(exchange("1", "shadow", request=b"secret"), Role.SHADOW, 0)
    assert pair.request is None
    assert b"secret" not in (pair.production.request.body, pair.shadow.request.body)


def test_one_waits_for_as_long_as_the_other_is_under_way() -> None:
    under_way = {("stream", Role.SHADOW), ("slow", Role.PRODUCTION), ("given up", Role.SHADOW)}
    made = pairing(seconds=10.0, is_under_way=lambda identity, role: (identity, role) in under_way)
    for identity in ("stream", "never copied", "given up"):
        made.add(exchange(identity, "blue"), Role.PRODUCTION, 0)
    made.add(exchange("slow", "shadow"), Role.SHADOW, 0)
    for now in range(480):
        made.expire(now)
    assert made.take_alone() == {(SHADOW, Unpaired.NO_SHADOW): 1}, "what is not under way is not waited for"
    assert len(made.add(exchange("stream", "shadow"), Role.SHADOW, 480)) == 1
    assert len(made.add(exchange("slow", "blue"), Role.PRODUCTION, 480)) == 1
    under_way.clear()
    made.expire(500)
    assert made.take_alone() == {(SHADOW, Unpaired.NO_SHADOW): 1}
    assert (len(made), made.size) == (0, 0)


@pytest.mark.parametrize("first", [Role.PRODUCTION, Role.SHADOW])
@pytest.mark.parametrize("crowded", [False, True])
def test_one_lost_request_is_counted_once(first: Role, *, crowded: bool) -> None:
    made = pairing(exchanges=1, is_under_way=lambda identity, _role: identity == "another")
    groups = {Role.PRODUCTION: "blue", Role.SHADOW: "shadow"}
    if crowded:
        made.add(exchange("another", "blue"), Role.PRODUCTION, 5)
    made.add(exchange("1", groups[first]), first, 0)
    made.expire(10)
    assert made.take_alone().total() == 1
    [second] = groups.keys() - {first}
    assert made.add(exchange("1", groups[second]), second, 11) == []
    made.expire(14)
    assert not made.take_alone(), "its other half is of the same loss"
    assert (made.late, len(made)) == (1, int(crowded))


NEXT = ComparedGroups("next", "green", Rules(), "e")


@pytest.mark.parametrize(
    "after", [(), (NEXT,), (NEXT, SHADOW)], ids=["no shadow", "another", "another, and both are known"]
)
def test_what_is_under_way_when_a_shadow_is_left_is_paired_or_counted_as_its_own(
    after: tuple[ComparedGroups, ...],
) -> None:
    made = pairing()
    for number in range(5):
        made.add(exchange(f"p{number}", "blue"), Role.PRODUCTION, 0)
        made.add(exchange(f"c{number}", "shadow"), Role.SHADOW, 0)
        made.add(exchange(f"alone p{number}", "blue"), Role.PRODUCTION, 0)
    made.follow(after)
    made.expire(9.9)
    assert not made.take_alone(), "the other half may still come"
    pairs = [made.add(exchange(f"p{number}", "shadow"), Role.SHADOW, 9.9) for number in range(5)]
    assert [[one.compared for one in some] for some in pairs] == [[SHADOW]] * 5
    for number in range(3):  # and these were not heard of before
        made.add(exchange(f"late p{number}", "blue"), Role.PRODUCTION, 9.9)
        made.add(exchange(f"late c{number}", "shadow"), Role.SHADOW, 9.9)
    made.add(exchange("late", "shadow"), Role.SHADOW, 9.9)
    assert len(made.add(exchange("late", "blue"), Role.PRODUCTION, 9.9)) == 1
    made.expire(100)
    assert (len(made), made.size) == (0, 0)
    assert made.take_alone() == {(SHADOW, Unpaired.NO_SHADOW): 5 + 3, (SHADOW, Unpaired.NO_PRODUCTION): 5 + 3}


def test_a_request_that_the_next_fleet_answered_is_missed_by_the_shadow_that_was_fed() -> None:
    made = pairing(SHADOW, NEXT)
    made.add(exchange("partly", "green"), Role.PRODUCTION, 0)
    made.follow((NEXT, SHADOW))
    made.add(exchange("all", "green"), Role.PRODUCTION, 0)
    made.add(exchange("before", "blue"), Role.PRODUCTION, 0)
    made.add(exchange("met", "green"), Role.PRODUCTION, 0)
    assert made.add(exchange("met", "shadow"), Role.SHADOW, 0) == []
    made.expire(100)
    assert made.take_alone() == {
        (SHADOW, Unpaired.OTHER_FLEET): 2,
        (NEXT, Unpaired.NO_SHADOW): 1,
        (SHADOW, Unpaired.NO_SHADOW): 1,
    }


def test_so_many_shadows_are_known_after_they_were_left() -> None:
    made = pairing()
    for number in range(_PAST_MAX):
        made.follow((ComparedGroups(f"s{number}", "blue", Rules(), "e"),))
    assert made.compares("shadow", Role.SHADOW)
    assert not made.compares("shadow", Role.NOISE)
    made.follow(())
    assert not made.compares("shadow", Role.SHADOW)
    assert made.compares("s0", Role.SHADOW)


def test_at_the_end_each_that_waits_is_counted_and_none_waits_any_more() -> None:
    made = pairing(SHADOW, NOISE)
    made.add(exchange("1", "blue", noise_copied=True), Role.PRODUCTION, 0)
    made.add(exchange("2", "shadow"), Role.SHADOW, 0)
    made.add(exchange("3", "blue"), Role.PRODUCTION, 0)
    made.add(exchange("3", "shadow"), Role.SHADOW, 0)
    assert made.pending() == {compared_of(SHADOW): 2, compared_of(NOISE): 1}
    made.end()
    assert (len(made), made.size, made.pending()) == (0, 0, Counter())
    made.add(exchange("2", "blue"), Role.PRODUCTION, 0)
    made.add(exchange("4", "blue"), Role.PRODUCTION, 0)
    made.add(exchange("4", "shadow"), Role.SHADOW, 0)
    assert made.take_alone() == {(SHADOW, Unpaired.ENDED): 3, (NOISE, Unpaired.ENDED): 1}
    assert len(made) == 0


FOLLOWED: list[tuple[ComparedGroups, ...]] = [(SHADOW, NEXT), (NEXT, SHADOW), (SHADOW,), (NEXT,), ()]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_each_copied_request_is_a_pair_or_counted_once_whoever_is_followed_meanwhile(data: st.DataObject) -> None:
    """One half or both of each request, told once, in any order; changes of who is compared in between; and the end, or time."""
    told: list[tuple[str, str, Role] | None] = []
    for number in range(data.draw(st.integers(1, 10))):
        production = (f"{number}", data.draw(st.sampled_from(["blue", "green"])), Role.PRODUCTION)
        copy = (f"{number}", data.draw(st.sampled_from(["shadow", "next"])), Role.SHADOW)
        told += data.draw(st.sampled_from([[production], [copy], [production, copy]]))
    requests = {one[0] for one in told if one is not None}
    told += [None] * data.draw(st.integers(0, 4))
    made = pairing(SHADOW, NEXT, exchanges=data.draw(st.integers(1, 12)))
    pairs, now = 0, 0.0
    for one in data.draw(st.permutations(told)):
        now += data.draw(st.sampled_from([0.0, 4.0]))
        made.expire(now)
        if one is None:
            made.follow(data.draw(st.sampled_from(FOLLOWED)))
        else:
            pairs += len(made.add(exchange(*one[:2]), one[2], now))
    waiting, before = made.pending().total(), made.take_alone()
    if data.draw(st.booleans()):
        made.end()
    else:
        made.expire(now + 100)
    after = made.take_alone()
    assert after.total() == waiting
    assert pairs + before.total() + waiting == len(requests)


@st.composite
def events(draw: st.DrawFn) -> list[tuple[str, str, Role]]:
    """Both sides of some requests, some of one side only, some twice, in any order."""
    found: list[tuple[str, str, Role]] = []
    for number in range(draw(st.integers(0, 12))):
        sides = [("blue", Role.PRODUCTION), ("green", Role.PRODUCTION), ("shadow", Role.SHADOW), ("blue", Role.NOISE)]
        chosen = draw(st.lists(st.sampled_from(sides), max_size=4))
        found += [(f"{number}", group, role) for group, role in chosen]
    return draw(st.permutations(found))


@settings(max_examples=150, deadline=None)
@given(events(), st.integers(1, 6), st.integers(10, 60), st.sampled_from([0.0, 0.5, 1.5, 4.0]))
def test_no_order_makes_a_wrong_or_a_second_pair(
    given_events: list[tuple[str, str, Role]], exchanges_max: int, bytes_max: int, pause: float
) -> None:
    made = pairing(SHADOW, NOISE, exchanges=exchanges_max, size=bytes_max, seconds=5.0)
    now, seen = 0.0, Counter[tuple[str, str, bool]]()
    for identity, group, role in given_events:
        now += pause
        made.expire(now)
        for pair in made.add(exchange(identity, group, b"y" * 7, noise_copied=True), role, now):
            assert pair.production.request_id == pair.shadow.request_id == identity
            assert pair.production.group == pair.compared.production
            assert pair.shadow.group == pair.compared.shadow
            seen[identity, pair.compared.shadow, pair.compared.noise] += 1
        assert len(made) <= exchanges_max
        assert made.size <= bytes_max
    copies = Counter(
        (identity, group, role is Role.NOISE) for identity, group, role in given_events if role is not Role.PRODUCTION
    )
    productions = Counter((identity, group) for identity, group, role in given_events if role is Role.PRODUCTION)
    for (identity, group, noise), count in seen.items():
        # Envoy tells of each once. Where it would not, there are never more pairs than there were answers on either side.
        assert count <= min(copies[identity, group, noise], productions[identity, "blue"])
    made.expire(now + 6.0)
    assert (len(made), made.size) == (0, 0)
