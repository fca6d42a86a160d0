"""Compares a pair: decodes what is encoded, and does not hold up what comes in.

Models compress answers where callers allow it, and two compressed bodies that mean the same are seldom the same bytes. So an answer with a `Content-Encoding` of gzip or deflate is decoded first, within a bound. Where
that is not possible, and the bytes are not the same either, there is nothing to compare, which is a reason of its own.

Comparing two answers of megabytes takes seconds. In the event loop nothing would be heard meanwhile, and what is heard late is timed wrongly. So all but small pairs are compared in one thread, which has a
bounded queue; what finds it full is counted.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Final

from bannister.capture.pairing import Pair
from bannister.domain.capture.exchange import Exchange, Message
from bannister.domain.capture.instructions import ComparedGroups
from bannister.domain.comparison.compare import compare
from bannister.domain.comparison.report import Compared, Unpaired, compared_of
from bannister.domain.comparison.tally import Tally

log = logging.getLogger(__name__)

#: Why a pair is not compared.
ENCODED: Final = "an answer's encoding could not be undone"
UNKNOWN: Final = "an answer was encoded otherwise than with gzip or deflate"
BUSY: Final = "too many pairs were waiting to be compared"
FAILED: Final = "the comparison failed"

#: Answers that are together no longer than this are compared at once: a few milliseconds at most, and less than it costs to hand them over.
#: Not so where lists have no order: to find out what belongs together costs tens of milliseconds, however short they are.
AT_ONCE_BYTES_MAX: Final = 8 * 1024

#: zlib's: with the header of gzip or of zlib, whichever it is; without any, as some send "deflate".
_WITH_HEADER: Final = 32 + zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS
_FORMATS: Final = {
    "gzip": (_WITH_HEADER,),
    "x-gzip": (_WITH_HEADER,),
    "deflate": (_WITH_HEADER, _RAW),
}
#: gzip may be several, one after the other.
_MEMBERS_MAX: Final = 100


def decoded(message: Message, bytes_max: int) -> Message | None:
    """The message without its encoding; None: it is not known, it is not what it says, or what comes out is longer than this."""
    encodings = _encodings(message)
    if not message.body or not encodings:
        return message
    for form in _FORMATS.get(encodings[0], ()) if len(encodings) == 1 else ():
        body = _inflated(message.body, form, bytes_max)
        if body is not None:
            return replace(message, body=body, content_encoding=None)
    return None


def _encodings(message: Message | None) -> list[str]:
    """Its encodings, but for those that are none."""
    named = (message.content_encoding or "").lower() if message is not None else ""
    return [one for one in map(str.strip, named.split(",")) if one not in ("", "identity")]


def _inflated(body: bytes, form: int, bytes_max: int) -> bytes | None:
    whole = bytearray()
    for _ in range(_MEMBERS_MAX):
        inflating = zlib.decompressobj(form)
        try:
            whole += inflating.decompress(body, bytes_max + 1 - len(whole))
        except zlib.error:
            return None
        if not inflating.eof or len(whole) > bytes_max:
            return None
        body = inflating.unused_data
        if not body:
            return bytes(whole)
    return None


def pair_tally(pair: Pair, decoded_bytes_max: int) -> Tally:
    """Compare a pair; its tally, with what was kept of the request."""
    rules = pair.compared.rules
    production, shadow = (_readable(one, decoded_bytes_max) for one in (pair.production, pair.shadow))
    if production is None or shadow is None:
        if _sent(pair.production) != _sent(pair.shadow) and _answered(pair.production) and _answered(pair.shadow):
            encodings = {*_encodings(pair.production.response), *_encodings(pair.shadow.response)}
            return Tally.of_unpaired({ENCODED if encodings <= _FORMATS.keys() else UNKNOWN: 1})
        production, shadow = pair.production, pair.shadow
    tally = Tally.of(production, shadow, compare(production, shadow, rules), rules)
    return replace(tally, worst=tuple(replace(one, request_body=pair.request) for one in tally.worst))


def _readable(exchange: Exchange, bytes_max: int) -> Exchange | None:
    answer = exchange.response
    if answer is None or not answer.content_encoding:
        return exchange
    found = decoded(answer, bytes_max)
    return replace(exchange, response=found) if found is not None else None


def _sent(exchange: Exchange) -> tuple[bytes, str | None] | None:
    return (exchange.response.body, exchange.response.content_encoding) if exchange.response is not None else None


def _answered(exchange: Exchange) -> bool:
    return exchange.status is not None and 200 <= exchange.status < 300


def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "comparing")


class Comparing:
    """Pairs in, tallies out, by `done` and in the event loop that puts them in.

    Args:
        pairs_max: So many may wait for the thread ...
        bytes_max: ... with so many bytes of answers, as they were sent.
        decoded_bytes_max: The longest answer that is decoded, in bytes.
    """

    def __init__(
        self, pairs_max: int, bytes_max: int, decoded_bytes_max: int, done: Callable[[ComparedGroups, Tally], None]
    ) -> None:
        self._pairs_max = pairs_max
        self._bytes_max = bytes_max
        self._decoded_bytes_max = decoded_bytes_max
        self._done = done
        #: Those that wait, and when they were put in; the first is compared first.
        self._waiting: deque[tuple[float, ComparedGroups]] = deque()
        self._bytes = 0
        self._thread = _thread()

    @property
    def waiting_since(self) -> float | None:
        """All that was put in before is compared; None: nothing waits."""
        return self._waiting[0][0] if self._waiting else None

    def pending(self) -> Counter[Compared]:
        """Pairs that wait."""
        return Counter(compared_of(compared) for _, compared in self._waiting)

    def put(self, pair: Pair, now: float) -> None:
        """Compare it, at once or later; where too much waits, not at all."""
        answers = [one.response for one in (pair.production, pair.shadow) if one.response is not None]
        size = sum(len(one.body) for one in answers)
        encoded = any(one.content_encoding for one in answers)
        if size <= AT_ONCE_BYTES_MAX and not encoded and not pair.compared.rules.unordered_paths:
            self._done(pair.compared, self._tally(pair))
        elif len(self._waiting) >= self._pairs_max or self._bytes + size > self._bytes_max:
            self._done(pair.compared, Tally.of_unpaired({BUSY: 1}))
        else:
            try:
                compared = asyncio.get_running_loop().run_in_executor(self._thread, self._tally, pair)
            except RuntimeError:  # no thread can be started
                log.exception("Two answers to %s could not be compared.", pair.production.request_id)
                # It has kept the pair all the same, and would keep all that follow.
                self._thread.shutdown(wait=False, cancel_futures=True)
                self._thread = _thread()
                self._done(pair.compared, Tally.of_unpaired({FAILED: 1}))
                return
            self._waiting.append((now, pair.compared))
            self._bytes += size
            compared.add_done_callback(partial(self._finished, pair.compared, size))

    def end(self) -> None:
        """What waits is not compared any more, and counted."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        waiting, self._waiting = self._waiting, deque()
        for _, compared in waiting:
            self._done(compared, Tally.of_unpaired({Unpaired.ENDED.value: 1}))

    def _tally(self, pair: Pair) -> Tally:
        try:
            return pair_tally(pair, self._decoded_bytes_max)
        except Exception:  # what a model answers must not end anything
            log.exception("Two answers to %s could not be compared.", pair.production.request_id)
            return Tally.of_unpaired({FAILED: 1})

    def _finished(self, compared: ComparedGroups, size: int, future: asyncio.Future[Tally]) -> None:
        if self._waiting:  # otherwise it has been counted at the end
            self._waiting.popleft()
            self._bytes -= size
            self._done(compared, Tally.of_unpaired({FAILED: 1}) if future.cancelled() else future.result())
