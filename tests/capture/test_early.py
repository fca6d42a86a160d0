"""Exchanges that come before their group is named: kept within bounds, each taken or given up once."""

from __future__ import annotations

from bannister.capture.assembly import Assembly, Budget
from bannister.capture.early import EarlyExchange, EarlyExchanges


def exchange(group: str, monotonic: float, size: int = 0) -> EarlyExchange:
    assembly = Assembly(Budget(1000), 1000)
    assembly.group = group
    assembly._request.add(bytes(size), last=True)
    return EarlyExchange(assembly, 0.0, monotonic)


def test_those_of_a_named_group_are_taken_in_order_and_the_others_wait() -> None:
    early = EarlyExchanges(10, 1000, 5.0)
    ones = [exchange(group, at) for at, group in enumerate(("a", "b", "a"))]
    assert all(early.keep(one) for one in ones)
    assert early.take({"a", "c"}) == [ones[0], ones[2]]
    assert early.take({"a"}) == []
    assert early.take({"b"}) == [ones[1]]


def test_each_waits_for_so_long_and_is_given_up_once() -> None:
    early = EarlyExchanges(10, 1000, 5.0)
    for at in (0.0, 1.0, 2.0):
        early.keep(exchange("a", at))
    assert early.expire(4.9) == 0
    assert early.expire(6.0) == 2
    assert early.expire(6.0) == 0
    assert [one.monotonic for one in early.take({"a"})] == [2.0]


def test_they_are_bounded_in_number_and_bytes_and_room_comes_back() -> None:
    early = EarlyExchanges(2, 100, 5.0)
    assert early.keep(exchange("a", 0.0, 60))
    assert not early.keep(exchange("a", 0.0, 41))
    assert early.keep(exchange("b", 1.0, 40))
    assert not early.keep(exchange("c", 1.0)), "a third"
    assert len(early.take({"b"})) == 1
    assert early.keep(exchange("c", 1.0, 40))
    assert early.expire(5.0) == 1
    assert early.keep(exchange("c", 5.0, 60))
