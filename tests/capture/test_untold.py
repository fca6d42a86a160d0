"""What the proxy asked for, opened or told and nobody heard is lost and counted once, also over the end of a process; what is only on its way is not."""

from pathlib import Path

import pytest

from bannister.capture.untold import AWAY, BUSY, LOOKS, UNHEARD, Accounting, Missing


def counters(small: int, large: int = 0, *, busy: int = 3, away: int = 0, uptime: int = 60) -> str:
    return (
        f"http.edge.ext_proc.streams_started: {small}\nhttp.shadow.ext_proc.streams_started: {large + away}\n"
        f"cluster.capture.upstream_rq_total: {small}\ncluster.capture-large.upstream_rq_total: {large}\n"
        f"cluster.capture.upstream_rq_active_overflow: {busy}\nserver.uptime: {uptime}\n"
    )


def lost(looks: list[tuple[int, int]]) -> list[int]:
    missing = Missing()
    return [missing.added(there, came) for there, came in looks]


def test_what_was_opened_before_the_first_look_is_nobodys() -> None:
    assert lost([(50, 7)] * (LOOKS + 2)) == [0] * (LOOKS + 2)


def test_what_stays_missing_is_counted_once() -> None:
    found = lost([(10, 10)] + [(35, 15)] * (LOOKS + 3))
    assert found[:LOOKS] == [0] * LOOKS, "it may be on its way"
    assert (found[LOOKS], sum(found)) == (20, 20)


def test_what_is_on_its_way_is_not_lost() -> None:
    assert sum(lost([(200 * second, 200 * second - second * 7 % 28) for second in range(40)])) == 0


def test_a_proxy_that_starts_again_or_does_not_answer_loses_nothing_by_it(tmp_path: Path) -> None:
    assert sum(lost([(100, 100), (4, 154), *[(6, 156)] * (2 * LOOKS)])) == 0
    one = Accounting(tmp_path / "account.json")
    looks: list[tuple[str | None, int]] = [(counters(100), 100), (None, 150), (counters(4, busy=0), 154)]
    looks += [(counters(6, busy=0), 156)] * (2 * LOOKS)
    assert [one.look(told, heard, 1000.0) for told, heard in looks] == [{}] * len(looks)


def looked(file: Path, told: str, heard: int, now: float) -> dict[str, int]:
    """What a process finds that begins now, hears so many streams to their end, and is killed after all but its last report has been acknowledged."""
    found, one = dict[str, int](), Accounting(file)
    for number in range(LOOKS + 2):
        for reason, count in one.look(told, heard, now).items():
            found[reason] = found.get(reason, 0) + count
        one.close_books(heard, number)
        one.acknowledged(number)
    one.close_books(heard + 1000, LOOKS + 2)
    return found


def test_a_process_that_is_killed_leaves_its_account_to_the_next(tmp_path: Path) -> None:
    file = tmp_path / "account.json"
    assert looked(file, counters(100), 90, 1000.0) == {}, "nobody looked before"
    killed = counters(150, 5, busy=10, away=20, uptime=90)
    assert looked(file, killed, 15, 1030.0) == {UNHEARD: 40, BUSY: 7, AWAY: 20}
    assert looked(file, killed, 0, 1035.0) == {}, "each is counted once"
    assert looked(file, counters(175, 5, busy=10, away=20, uptime=100), 25, 1040.0) == {}


def test_an_account_of_another_proxy_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "account.json"
    looked(file, counters(100), 100, 1000.0)
    assert looked(file, counters(150, busy=9, uptime=5), 0, 1030.0) == {}


@pytest.mark.parametrize("content", [b"", b"{}", b'{"proxy_began_at": "x"}'])
def test_an_account_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "account.json"
    file.write_bytes(content)
    assert looked(file, counters(100), 0, 1000.0) == {}
    assert looked(file, counters(110), 10, 1000.0) == {}
