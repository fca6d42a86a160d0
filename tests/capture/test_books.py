"""Every exchange that the proxy told of, and every copied request, is counted exactly once: also when the capture process ends, in whatever way and at whatever moment.

The capture process without its sockets: streams are put in as the proxy's messages, and what it reports is stored up to the moment at which it is killed.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.capture.conftest import ENDPOINT, instructions

from bannister.capture.program import UNFOLLOWED, Capture
from bannister.capture.service import UNREADABLE
from bannister.capture.stream import Listener
from bannister.capture.untold import LOOKS, UNHEARD
from bannister.domain.capture.instructions import Instructions
from bannister.domain.comparison.report import (
    Account,
    Compared,
    ComparisonReport,
    Counted,
    Directive,
    Greeting,
    Pending,
    Unpaired,
)
from bannister.ids import RandomIds
from bannister.settings import Settings

SHADOW = Compared(ENDPOINT, "shadow", "blue", noise=False)
ENDED = Unpaired.ENDED.value


class StandingClock:
    """Both clocks are set by the test."""

    def __init__(self) -> None:
        self.time = 1000.5

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


def messages(identity: str, group: str, route: str) -> list[bytes]:
    """What the proxy tells of an exchange whose both bodies are "[1]"."""
    request, body = ProcessingRequest(), ProcessingRequest()
    for name, value in ((":path", f"/endpoints/{ENDPOINT}/invocations"), ("x-request-id", identity)):
        request.request_headers.headers.headers.add(key=name, raw_value=value.encode())
    told = request.attributes["envoy.filters.http.ext_proc"].fields
    told["xds.cluster_name"].string_value = group
    told["xds.route_name"].string_value = route
    told["request.time"].string_value = "2026-11-24T03:00:00Z"
    body.request_body.body, body.request_body.end_of_stream = b"[1]", True
    head, answer = ProcessingRequest(), ProcessingRequest()
    for name, value in (
        (":status", "200"),
        ("x-envoy-upstream-service-time", "3"),
        ("content-type", "application/json"),
    ):
        head.response_headers.headers.headers.add(key=name, raw_value=value.encode())
    answer.response_body.body, answer.response_body.end_of_stream = b"[1]", True
    return [one.SerializeToString() for one in (request, body, head, answer)]


class _Open:
    """A connection with one stream that is open."""

    def __init__(self, listener: Listener) -> None:
        self.close = listener.end


class Books:
    """What the control plane has stored of one process after another."""

    def __init__(self, directory: Path, told: Instructions | None = None, reports_max: int = 1000) -> None:
        self.settings = Settings(data_dir=directory, capture_reports_max=reports_max)
        self.clock = StandingClock()
        self.told = instructions() if told is None else told
        self.account: Account | None = None
        self.opened = 0
        self.tallied: Counter[tuple[Compared, str]] = Counter()
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.captured = 0
        self.begin()

    def begin(self) -> None:
        self.capture = Capture(self.settings, self.clock, RandomIds())
        self.capture._spool.recover()
        self.stored = 0
        self.capture._hear(Directive(Greeting(self.account), instructions=self.told))
        self.look()

    def look(self) -> None:
        counters = (
            f"http.edge.ext_proc.streams_started: {self.opened}\ncluster.capture.upstream_rq_total: {self.opened}\n"
            f"server.uptime: {int(self.clock.time) - 900}\n"
        )
        for _ in range(LOOKS):
            moment = self.clock.monotonic(), self.clock.now()
            found = self.capture._accounting.look(counters, self.capture._service.heard, *moment)
            for reason, count in found.items():
                self.capture._lost(reason)
                self.capture._counts.add(None, Counted.DROPPED, reason, count - 1)

    def exchange(self, identity: str, group: str, route: str, *, whole: bool = True) -> None:
        """A stream of the proxy's, to its end or (not `whole`) so far that its request was told."""
        self.opened += 1
        listener = self.capture._service._admit()
        assert listener is not None
        for message in messages(identity, group, route)[: None if whole else 2]:
            listener.take(message)
        if whole:
            listener.end()
        else:
            self.capture._service._connections.add(_Open(listener))  # type: ignore[arg-type]

    def turn(self, watermark: float | None = None) -> None:
        """A tick: what is over is reported; so is how far the watermark is."""
        self.capture._coverage.watermark = watermark
        self.capture._turn(self.clock.time)

    def store(self, reports: int | None = None) -> None:
        """The control plane takes so many reports more (None: all)."""
        while reports is None or reports > 0:
            report = self.capture._outbox.next_after(self.stored)
            if report is None:
                return
            self.stored = report.sequence
            reports = reports if reports is None else reports - 1
            self._store(report)

    def _store(self, report: ComparisonReport) -> None:
        self.account = report.account or self.account
        for one in report.tallies:
            key = Compared(one.endpoint, one.group, one.production_group, one.noise)
            if one.tally.pairs:
                self.tallied[key, "pair"] += one.tally.pairs
            for reason in one.tally.unpaired:
                self.tallied[key, reason.reason] += reason.count
        for count in report.counts:
            self.captured += count.count if count.what is Counted.CAPTURED else 0
            if count.what is Counted.DROPPED:
                self.dropped[count.endpoint, count.reason] += count.count

    def successor(self) -> None:
        """Another process begins, and goes on until all that it knows is stored."""
        self.clock.time += 1
        self.begin()
        self.settle()

    def settle(self) -> None:
        """Time passes until all that is known is stored."""
        for _ in range(2):
            self.clock.time += 50
            self.turn(self.clock.time)
        self.store()


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


def halves(books: Books) -> None:
    """A pair in a second that is open, and two halves that wait."""
    for identity, sides in (("1", "ps"), ("2", "p"), ("3", "s")):
        if "p" in sides:
            books.exchange(identity, "blue", "invocation-copied")
        if "s" in sides:
            books.exchange(identity, "shadow", "shadow")


def test_a_process_that_is_killed_leaves_what_was_pending_to_its_successor(books: Books) -> None:
    halves(books)
    books.clock.time += 1
    books.turn(1000.0)
    books.store()
    assert books.account is not None
    assert books.account.pending == (Pending(SHADOW, 3),)
    books.successor()
    assert books.tallied == {(SHADOW, ENDED): 3}
    assert not books.dropped
    books.successor()
    assert books.tallied == {(SHADOW, ENDED): 3}, "once"


def test_a_process_that_is_asked_to_end_counts_what_waits_and_what_is_under_way(books: Books) -> None:
    halves(books)
    books.exchange("4", "blue", "invocation-copied", whole=False)
    books.exchange("4", "shadow", "shadow", whole=False)
    books.capture._end()
    books.store()
    assert books.tallied == {(SHADOW, "pair"): 1, (SHADOW, ENDED): 3}
    assert books.account is not None
    assert (books.account.streams, books.account.pending) == (books.opened, ())
    books.successor()
    assert books.tallied == {(SHADOW, "pair"): 1, (SHADOW, ENDED): 3}
    assert not books.dropped


def test_an_exchange_that_waits_to_be_named_is_not_settled(tmp_path: Path) -> None:
    books = Books(tmp_path, Instructions())
    halves(books)
    books.clock.time += 1
    books.turn(1000.0)
    books.store()
    assert books.account is not None
    assert books.account.streams == 0
    books.told = instructions()
    books.successor()
    assert books.dropped == {("", UNHEARD): 4}, "the one that was killed had decided nothing"
    books.exchange("5", "unknown", "shadow")
    books.clock.time += books.settings.capture_early_seconds_max
    books.turn()
    books.store()
    assert books.dropped["", UNFOLLOWED] == 1
    assert books.account.streams == books.opened
    books.exchange("6", "unknown", "shadow")
    books.capture._end()
    books.store()
    assert books.dropped["", ENDED] == 1


def test_what_is_under_way_when_a_fleet_is_gone_is_used(books: Books) -> None:
    """The proxy tells of the last exchanges a moment after the control plane has forgotten their group."""
    halves(books)
    books.capture._hear(Directive(instructions=Instructions()))
    books.exchange("2", "shadow", "shadow")
    books.exchange("3", "blue", "invocation-copied")
    books.exchange("4", "blue", "invocation-copied")
    books.settle()
    assert books.tallied == {(SHADOW, "pair"): 3, (SHADOW, Unpaired.NO_SHADOW.value): 1}
    assert not books.dropped


def test_a_copy_that_nobody_compares_is_dropped_under_its_endpoint(tmp_path: Path) -> None:
    books = Books(tmp_path, Instructions(instructions().groups))
    books.exchange("1", "shadow", "shadow")
    books.exchange("", "shadow", "shadow")
    books.exchange("", "blue", "invocation-copied")
    books.exchange("", "blue", "invocation")
    books.exchange("2", "blue", "another route")
    books.clock.time += 1
    books.turn()
    books.store()
    assert books.dropped == {(ENDPOINT, UNFOLLOWED): 1, (ENDPOINT, UNREADABLE): 2, ("", UNREADABLE): 1}


def test_what_a_report_told_that_was_given_up_is_counted_in_the_next(tmp_path: Path) -> None:
    """The control plane is away, and more is to be told than is kept."""
    books = Books(tmp_path, reports_max=3)
    for number in range(20):
        books.exchange(f"{number}", "blue", "invocation-copied")
        if number % 2 == 0:
            books.exchange(f"{number}", "shadow", "shadow")
        if number == 1:
            assert books.capture._outbox.next_after(0) is not None, "a report that was read does not change any more"
        books.clock.time += 10.5
        books.turn(books.clock.time)
    assert len(books.capture._outbox) == 3
    books.settle()
    assert books.tallied.keys() == {
        (SHADOW, "pair"),
        (SHADOW, Unpaired.NO_SHADOW.value),
        (SHADOW, Unpaired.UNREPORTED.value),
    }
    assert books.tallied[SHADOW, Unpaired.UNREPORTED.value] > 10
    assert books.tallied.total() == 20
    assert books.captured == books.opened
    books.successor()
    assert (books.tallied.total(), books.captured, books.dropped) == (20, books.opened, {})


SHADOWS = 30


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1000, 1000, 1, 3, 7]))
def test_wherever_a_process_is_killed_each_is_counted_once(
    tmp_path_factory: pytest.TempPathFactory, seed: int, reports_max: int
) -> None:
    """More shadows than there are tallies in a report; some requests of each, told in any order; what was reported is stored up to some report. Each request of which a side is
    accounted for is a pair or unpaired, once and under its shadow; each stream that is not is dropped. So it is where more was to be reported than is kept.
    """
    one = instructions()
    groups = tuple(
        replace(one.groups[0 if side == "blue" else 1], group=f"{side}{number}", endpoint=f"e{number}")
        for number in range(SHADOWS)
        for side in ("blue", "shadow")
    )
    pairs = tuple(
        replace(one.pairs[0], shadow=f"shadow{number}", production=f"blue{number}", endpoint=f"e{number}")
        for number in range(SHADOWS)
    )
    books = Books(tmp_path_factory.mktemp("books"), Instructions(groups, pairs), reports_max)
    rng = random.Random(seed)
    told = [
        (f"{number}/{request}", f"{side}{number}")
        for number in range(SHADOWS)
        for request in range(rng.randint(0, 3))
        for side in rng.choice([("blue", "shadow"), ("blue",), ("shadow",)])
    ]
    rng.shuffle(told)
    ended: list[tuple[str, str]] = []
    for identity, group in told:
        books.exchange(identity, group, "shadow" if group.startswith("shadow") else "invocation-copied")
        ended.append((identity, group))
        if rng.random() < 0.1:
            books.clock.time += rng.choice([0.1, 0.1, 1.0, 6.0])
            books.turn(rng.choice([books.clock.time, books.clock.time - 2, None]))
    if rng.random() < 0.5:
        books.capture._end()
    books.store(rng.randint(0, books.capture._outbox._last))
    accounted = ended[: books.account.streams if books.account is not None else 0]
    books.successor()
    found: Counter[str] = Counter()
    for (compared, _), count in books.tallied.items():
        found[compared.group] += count
    expected = Counter(f"shadow{number}" for number, _ in {tuple(identity.split("/")) for identity, _ in accounted})
    assert found == expected
    assert books.dropped.total() == len(ended) - len(accounted)


@pytest.mark.parametrize(("answered", "seen", "lost"), [(True, False, 1), (True, True, 0), (False, False, 0)])
async def test_a_heartbeat_that_was_answered_and_not_seen_is_no_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answered: bool, seen: bool, lost: int
) -> None:
    books = Books(tmp_path)

    async def send(_port: int, path: str, run: str, number: int) -> bool:
        if seen:
            books.capture._heartbeat(f"{path}?run={run}&n={number}", books.clock.now())
        return answered

    monkeypatch.setattr("bannister.capture.program.send_heartbeat", send)
    beating = asyncio.create_task(books.capture._beat())
    await asyncio.sleep(0)
    beating.cancel()
    assert sum(books.capture._accounting.heartbeats.lost() for _ in range(LOOKS)) == lost
