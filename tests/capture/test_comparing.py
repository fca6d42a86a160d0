"""Encoded answers are compared by what they say; long ones hold up nobody, and what finds no room is counted."""

from __future__ import annotations

import asyncio
import gzip
import threading
import zlib
from dataclasses import replace

import pytest

from bannister.capture import comparing
from bannister.capture.comparing import (
    AT_ONCE_BYTES_MAX,
    BUSY,
    ENCODED,
    FAILED,
    UNKNOWN,
    Comparing,
    decoded,
    pair_tally,
)
from bannister.capture.pairing import Pair
from bannister.domain.capture.exchange import Exchange, Message
from bannister.domain.capture.instructions import ComparedGroups
from bannister.domain.comparison.report import Unpaired, compared_of
from bannister.domain.comparison.rules import Rules
from bannister.domain.comparison.tally import Excerpt, Tally

COMPARED = ComparedGroups("shadow", "blue", Rules(), "e")
JSON = b'{"late": true, "probability": 0.75}'
OTHER = b'{"late": false, "probability": 0.75}'
KIB = 1024


def raw_deflate(body: bytes) -> bytes:
    deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflating.compress(body) + deflating.flush()


def answer(body: bytes, encoding: str | None = None) -> Message:
    return Message(body, "application/json", content_encoding=encoding)


def pair(old: Message, new: Message, *, statuses: tuple[int, int] = (200, 200)) -> Pair:
    sides = [
        Exchange("1", "e", group, 1.0, 2.0, Message(b""), message, status, 5)
        for group, message, status in (("blue", old, statuses[0]), ("shadow", new, statuses[1]))
    ]
    return Pair(COMPARED, sides[0], sides[1], Excerpt("the request", 70_000))


def zipped(body: bytes, at: int) -> bytes:
    return gzip.compress(body, mtime=at)


ENCODINGS = {
    "gzip of two seconds": (answer(zipped(JSON, 1), "gzip"), zipped(JSON, 2), "gzip"),
    "only one is encoded": (answer(JSON), zipped(JSON, 2), "GZIP"),
    "two parts": (answer(JSON), zipped(JSON[:5], 2) + zipped(JSON[5:], 3), "x-gzip"),
    "deflate as zlib": (answer(JSON), zlib.compress(JSON), "deflate"),
    "deflate without a header": (answer(JSON), raw_deflate(JSON), "deflate"),
    "identity": (answer(JSON), JSON, "identity"),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_the_same_json_agrees_however_it_is_encoded(name: str) -> None:
    old, body, encoding = ENCODINGS[name]
    tally = pair_tally(pair(old, answer(body, encoding)), KIB)
    assert (tally.pairs, tally.agreeing) == (1, 1)
    assert [(one.path, one.old) for one in tally.labels] == [("$.late", "true")]


def test_what_differs_is_shown_as_it_reads() -> None:
    tally = pair_tally(pair(answer(zipped(JSON, 1), "gzip"), answer(zipped(OTHER, 1), "gzip")), KIB)
    assert (tally.agreeing, tally.structural) == (0, 0)
    [worst] = tally.worst
    assert worst.shadow_body is not None
    assert worst.shadow_body.text == OTHER.decode()
    assert worst.request_body == Excerpt("the request", 70_000)


@pytest.mark.parametrize(
    ("body", "encoding", "why"),
    [
        (b"\x01\x02", "br", UNKNOWN),
        (b"\x28\xb5\x2f\xfd", "zstd", UNKNOWN),
        (zipped(JSON, 1), "gzip, br", UNKNOWN),
        (b"not gzip", "gzip", ENCODED),
        (zipped(JSON, 1)[:-4], "gzip", ENCODED),
        (zipped(JSON, 1), "gzip, gzip", ENCODED),
        (zipped(bytes(KIB + 1), 1), "gzip", ENCODED),
        (zipped(b"", 1) * 1000, "gzip", ENCODED),
    ],
    ids=["br", "zstd", "both", "none", "cut", "twice", "too long", "too many"],
)
def test_what_cannot_be_decoded_is_a_reason_of_its_own(body: bytes, encoding: str, why: str) -> None:
    tally = pair_tally(pair(answer(JSON), answer(body, encoding)), KIB)
    assert (tally.pairs, [(one.reason, one.count) for one in tally.unpaired]) == (0, [(why, 1)])
    same = pair_tally(pair(answer(body, encoding), answer(body, encoding)), KIB)
    assert (same.pairs, same.agreeing) == (1, 1), "the same bytes agree"
    refused = pair_tally(pair(answer(JSON), answer(body, encoding), statuses=(200, 500)), KIB)
    assert (refused.pairs, refused.structural) == (1, 1), "where there is a status to compare, bodies do not matter"


def test_a_message_without_an_encoding_is_itself() -> None:
    assert decoded(answer(b"x" * 2 * KIB), KIB) == answer(b"x" * 2 * KIB)
    assert decoded(answer(zipped(bytes(KIB), 1), "gzip"), KIB) == answer(bytes(KIB))


LONG = b'"' + b"x" * AT_ONCE_BYTES_MAX + b'"'


async def test_long_answers_are_compared_in_a_thread_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    release, honest = threading.Event(), comparing.pair_tally

    def held(pair: Pair, bytes_max: int) -> Tally:
        if threading.current_thread() is not threading.main_thread():
            release.wait(10)
        return honest(pair, bytes_max)

    monkeypatch.setattr(comparing, "pair_tally", held)
    done: list[Tally] = []
    made = Comparing(2, 10 * len(LONG), KIB, lambda _, tally: done.append(tally))
    long = pair(answer(LONG), answer(LONG))
    for now in range(3):
        made.put(long, float(now))
    assert made.waiting_since == 0.0
    assert [(one.reason, one.count) for tally in done for one in tally.unpaired] == [(BUSY, 1)]
    made.put(pair(answer(JSON), answer(OTHER)), 3.0)
    assert done[-1].pairs == 1, "short ones do not wait for long ones"
    release.set()
    async with asyncio.timeout(10):
        while sum(one.agreeing for one in done) < 2:
            await asyncio.sleep(0.001)
    assert made.waiting_since is None
    made.put(long, 4.0)
    async with asyncio.timeout(10):
        while sum(one.agreeing for one in done) < 3:
            await asyncio.sleep(0.001)
    made.end()


async def test_what_waits_at_the_end_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    release, honest = threading.Event(), comparing.pair_tally

    def held(pair: Pair, bytes_max: int) -> Tally:
        release.wait(10)
        return honest(pair, bytes_max)

    monkeypatch.setattr(comparing, "pair_tally", held)
    done: list[Tally] = []
    made = Comparing(10, 10 * len(LONG), KIB, lambda _, tally: done.append(tally))
    for now in range(3):
        made.put(pair(answer(LONG), answer(LONG)), float(now))
    assert made.pending() == {compared_of(COMPARED): 3}
    made.end()
    release.set()
    await asyncio.sleep(0.05)  # what comes of the one that was being compared
    assert [(one.reason, one.count) for tally in done for one in tally.unpaired] == [(Unpaired.ENDED.value, 1)] * 3
    assert not any(tally.pairs for tally in done)
    assert not made.pending()


async def test_the_bytes_that_wait_are_bounded_too() -> None:
    done: list[Tally] = []
    made = Comparing(100, len(LONG), KIB, lambda _, tally: done.append(tally))
    made.put(pair(answer(LONG), answer(LONG)), 1.0)
    assert [one.reason for tally in done for one in tally.unpaired] == [BUSY]
    made.end()


async def test_lists_without_an_order_do_not_hold_up_the_loop_however_short(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[bool] = []
    honest = comparing.pair_tally

    def seen(pair: Pair, bytes_max: int) -> Tally:
        threads.append(threading.current_thread() is threading.main_thread())
        return honest(pair, bytes_max)

    monkeypatch.setattr(comparing, "pair_tally", seen)
    done: list[Tally] = []
    made = Comparing(2, KIB, KIB, lambda _, tally: done.append(tally))
    short = pair(answer(b"[1, 2]"), answer(b"[2, 1]"))
    unordered = replace(COMPARED, rules=Rules(unordered_paths=("$",)))
    made.put(replace(short, compared=unordered), 1.0)
    async with asyncio.timeout(10):
        while not done:
            await asyncio.sleep(0.001)
    made.put(short, 2.0)
    assert ([one.agreeing for one in done], threads) == ([1, 0], [False, True])
    made.end()


async def test_where_no_thread_can_be_started_a_pair_is_counted_and_nothing_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    done: list[Tally] = []
    made = Comparing(100, 3 * len(LONG), KIB, lambda _, tally: done.append(tally))
    long = pair(answer(LONG), answer(LONG))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        made.put(long, 1.0)
    assert [(one.reason, one.count) for tally in done for one in tally.unpaired] == [(FAILED, 1)]
    assert made.waiting_since is None
    made.put(long, 2.0)
    assert made.waiting_since == 2.0, "and its bytes take no room"
    async with asyncio.timeout(10):
        while made.waiting_since is not None:
            await asyncio.sleep(0.001)
    assert done[-1].agreeing == 1
    made.end()
