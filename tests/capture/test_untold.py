"""What the proxy opened and nobody heard is lost, what is only on its way is not."""

from __future__ import annotations

from bannister.capture.untold import LOOKS, Unheard, Untold


def counters(small: int, large: int = 0) -> str:
    return (
        f"cluster.capture.upstream_rq_total: {small}\ncluster.capture-large.upstream_rq_total: {large}\n"
        "cluster.capture.upstream_rq_active_overflow: 3\n"
    )


def lost(looks: list[tuple[str | None, int]]) -> list[int]:
    unheard = Unheard()
    return [unheard.added(told, heard) for told, heard in looks]


def test_what_was_opened_before_the_first_look_is_nobodys() -> None:
    assert lost([(counters(50), 7)] * (LOOKS + 2)) == [0] * (LOOKS + 2)


def test_what_stays_missing_is_counted_once() -> None:
    found = lost([(counters(10), 10)] + [(counters(30, 5), 15)] * (LOOKS + 3))
    assert found[:LOOKS] == [0] * LOOKS, "it may be on its way"
    assert (found[LOOKS], sum(found)) == (20, 20)


def test_what_is_on_its_way_is_not_lost() -> None:
    looks = [(counters(200 * second), 200 * second - second * 7 % 28) for second in range(40)]
    assert sum(lost([*looks])) == 0


def test_a_proxy_that_starts_again_or_does_not_answer_loses_nothing_by_it() -> None:
    looks: list[tuple[str | None, int]] = [(counters(100), 100), (None, 150), (counters(4), 154)]
    assert sum(lost([*looks, *[(counters(6), 156)] * (2 * LOOKS)])) == 0


def test_counters_of_streams_opened_are_none_of_those_not_told() -> None:
    untold = Untold()
    untold.added(counters(1))
    assert untold.added(counters(9)) == {}
