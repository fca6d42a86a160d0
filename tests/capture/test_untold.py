"""What the proxy asked for, opened or told and nobody heard is lost and counted once, also over the end of a process; what is only on its way is not."""

from dataclasses import replace

import pytest

from bannister.capture.untold import AWAY, BUSY, BUSY_LARGE, LOOKS, UNHEARD, Accounting, Missing
from bannister.domain.comparison.report import Account, Compared, Pending


def counters(small: int, large: int = 0, *, busy: int = 3, away: int = 0, uptime: int = 60) -> str:
    return (
        f"http.edge.ext_proc.streams_started: {small}\nhttp.shadow.ext_proc.streams_started: {large + away}\n"
        f"cluster.capture.upstream_rq_total: {small}\ncluster.capture-large.upstream_rq_total: {large}\n"
        f"cluster.capture.upstream_rq_active_overflow: {busy}\nserver.uptime: {uptime % 2**64}\n"
    )


def lost(looks: list[tuple[int, int]]) -> list[int]:
    missing = Missing()
    return [missing.added(there, came) for there, came in looks]


def test_what_stays_missing_is_counted_once() -> None:
    found = lost([(10, 10)] + [(35, 15)] * (LOOKS + 3))
    assert found[:LOOKS] == [0] * LOOKS, "it may be on its way"
    assert (found[LOOKS], sum(found)) == (20, 20)


def test_what_is_on_its_way_is_not_lost() -> None:
    assert sum(lost([(200 * second, 200 * second - second * 7 % 28) for second in range(40)])) == 0


def test_a_proxy_that_starts_again_or_does_not_answer_loses_nothing_by_it() -> None:
    assert sum(lost([(100, 100), (4, 154), *[(6, 156)] * (2 * LOOKS)])) == 0
    one = Accounting()
    one.go_on_from(None)
    looks: list[tuple[str | None, int]] = [(counters(100, busy=0), 100), (None, 150), (counters(4, busy=0), 154)]
    looks += [(counters(6, busy=0), 156)] * (2 * LOOKS)
    assert [one.look(told, heard, 1000.0, 1000.0) for told, heard in looks] == [{}] * len(looks)


def looked(earlier: Account | None, told: str, heard: int, now: float) -> tuple[dict[str, int], Account | None]:
    """What a process finds that begins now, hears so many streams to their end, and is killed with its last report; and what is stored then."""
    found, one, stored = dict[str, int](), Accounting(), earlier
    one.go_on_from(earlier)
    for _ in range(LOOKS + 2):
        for reason, count in one.look(told, heard, now, now).items():
            found[reason] = found.get(reason, 0) + count
        stored = one.close_books(heard) or stored
    assert one.close_books(heard) is None, "nothing new"
    return found, stored


def test_a_process_that_is_killed_leaves_its_account_to_the_next() -> None:
    found, account = looked(None, counters(100, busy=3), 90, 1000.0)
    assert found == {UNHEARD: 10, BUSY: 3}
    killed = counters(150, 5, busy=10, away=20, uptime=90)
    found, account = looked(account, killed, 15, 1030.0)
    assert found == {UNHEARD: 40, BUSY: 7, AWAY: 20}
    found, account = looked(account, killed, 0, 1035.0)
    assert found == {}, "each is counted once"
    found, account = looked(account, counters(175, 5, busy=10, away=20, uptime=100), 25, 1040.0)
    assert found == {}


def test_a_process_whose_reports_are_not_stored_leaves_all_of_them_to_the_next() -> None:
    """What it was told of, and what it found, is lost with it."""
    assert looked(None, counters(100, away=5), 50, 1002.0)[0] == {UNHEARD: 50, BUSY: 3, AWAY: 5}


def test_nothing_is_found_before_the_greeting() -> None:
    """It says what is accounted for already; what is found then is the same as if it had been there at once."""
    _, account = looked(None, counters(100), 100, 1000.0)
    one = Accounting()
    assert [one.look(counters(120, busy=9), 0, 1000.0, 1000.0) for _ in range(2 * LOOKS)] == [{}] * (2 * LOOKS)
    assert one.close_books(0) is None
    one.go_on_from(account)
    one.go_on_from(None)  # a later connection's
    found = [one.look(counters(120, busy=9), 0, 1000.0, 1000.0) for _ in range(LOOKS)]
    assert found == [{}] * (LOOKS - 1) + [{BUSY: 6, UNHEARD: 20}]


def test_an_account_from_before_the_machine_was_started_again_says_nothing() -> None:
    """Its clock begins anew, so a proxy may have begun at the same time."""
    _, account = looked(None, counters(1000), 1000, 100.0)
    assert looked(account, counters(50, busy=0), 40, 100.0)[0] == {UNHEARD: 10}


def test_what_was_pending_is_left_to_the_next_process_once() -> None:
    pending = (Pending(Compared("e", "shadow", "blue", noise=False), 7),)
    one = Accounting()
    assert one.go_on_from(None) == ()
    one.look(counters(100), 100, 1000.0, 1000.0)
    account = one.close_books(100, pending)
    assert account is not None
    assert account.pending == pending
    assert one.close_books(100, pending) is None, "nothing new"
    another = Accounting()
    assert another.go_on_from(account) == pending
    assert another.go_on_from(account) == (), "a later connection's"
    told = another.close_books(0)
    assert told == replace(account, pending=()), "also where the proxy has not answered yet"
    third = Accounting()
    assert third.go_on_from(told) == ()
    assert third.look(counters(100), 0, 1000.0, 1000.0) == {}, "the rest of the account is kept"


def test_an_account_of_another_proxy_says_nothing() -> None:
    _, account = looked(None, counters(100), 100, 1000.0)
    assert looked(account, counters(150, busy=9, uptime=5), 110, 1030.0)[0] == {UNHEARD: 40, BUSY: 9}


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("began", ["nothing stored", "the same proxy", "another proxy"])
def test_what_was_reported_while_the_proxy_did_not_answer_is_not_lost_too(began: str, processes: int) -> None:
    """Each of these processes hears 200 streams to their end, and is killed with its last report before the proxy says which one it is."""
    stored = None if began == "nothing stored" else looked(None, counters(1000), 1000, 1000.0)[1]
    before = 1000 if began == "the same proxy" else 0
    for _ in range(processes):
        one = Accounting()
        one.go_on_from(stored)
        assert one.look(None, 150, 1001.0, 1001.0) == {}
        stored = one.close_books(150) or stored
        stored = one.close_books(200) or stored
        assert one.close_books(200) is None, "nothing new"
    opened = before + processes * 200
    found, stored = looked(stored, counters(opened + 7, busy=3, uptime=70 if before else 5), 0, 1010.0)
    assert found == {UNHEARD: 7} | ({} if before else {BUSY: 3})
    assert looked(stored, counters(opened + 7, busy=3, uptime=80 if before else 15), 0, 1020.0)[0] == {}


@pytest.mark.parametrize("step", [-5000, -30, 30, 5000], ids=lambda step: f"{step:+}")
def test_a_wall_clock_that_is_set_makes_no_other_proxy(step: int) -> None:
    """The proxy's uptime follows it a few seconds later; a process that begins before or after that goes on with the account of the one before."""
    told, now, uptime = counters(100, away=5, uptime=600), 1000.0, 600
    account = looked(None, told, 90, now)[1]
    for number in range(1, 4):
        step = -step
        for follows in (False, True):
            now, uptime = now + 10, uptime + 10 + (step if follows else 0)
            one = Accounting()
            one.go_on_from(account)
            wall = now + (step if number % 2 else 0)
            assert [one.look(counters(100, away=5, uptime=uptime), 0, now, wall) for _ in range(LOOKS + 2)] == [{}] * 7
            account = one.close_books(0) or account


@pytest.mark.parametrize(
    ("heartbeats", "left"),
    [
        (0, {BUSY: 8, AWAY: 4, UNHEARD: 2, BUSY_LARGE: 5}),
        (8, {AWAY: 4, UNHEARD: 2, BUSY_LARGE: 5}),
        (11, {AWAY: 1, UNHEARD: 2, BUSY_LARGE: 5}),
        (13, {UNHEARD: 1, BUSY_LARGE: 5}),
        (20, {BUSY_LARGE: 5}),
    ],
)
def test_heartbeats_that_are_lost_are_no_exchanges(heartbeats: int, left: dict[str, int]) -> None:
    """Those that were seen, and those that the proxy did not answer, are not among what is lost."""
    one = Accounting()
    one.go_on_from(None)
    for number in range(heartbeats + 50):
        one.heartbeats.sent(number)
    for number in range(heartbeats, heartbeats + 50):
        one.heartbeats.over(number)
    told = counters(100, busy=8, away=4) + "cluster.capture-large.upstream_rq_active_overflow: 5\n"
    found = [one.look(told, 98, 1000.0, 1000.0) for _ in range(2 * LOOKS)]
    assert found == [{}] * (LOOKS - 1) + [left] + [{}] * LOOKS


def test_only_heartbeats_are_lost_second_by_second() -> None:
    """Each look sees a heartbeat that is answered and not yet counted by the proxy when it is asked."""
    one = Accounting()
    one.go_on_from(None)
    for second in range(20):
        for number in range(5):
            one.heartbeats.sent(5 * second + number)
        assert one.look(counters(0, busy=max(5 * second - 1, 0)), 0, 1000.0, 1000.0) == {}


def test_heartbeats_that_a_proxy_did_not_tell_of_hide_nothing_that_the_next_does_not_tell_of() -> None:
    one = Accounting()
    one.go_on_from(None)
    for number in range(9):
        one.heartbeats.sent(number)
    for _ in range(LOOKS - 1):
        assert one.look(counters(100, busy=0), 100, 1000.0, 1000.0) == {}
    found = [one.look(counters(4, busy=7, uptime=5), 104, 1060.0, 1060.0) for _ in range(2 * LOOKS)]
    assert [each for each in found if each] == [{BUSY: 7}]
