"""A model of the capture process around its real decisions: which answers belong together, how they differ, and what is counted of the rest.

What is real: what the process is told to do (`instructions_of`), `Pairing`, `compare`, and the folding of tallies into seconds. What is simulated is the way from the proxies: halves (production's
answer, a copy's answer) come late, in any order, twice, or never; and the process is killed and forgets. Halves of a request that nobody follows (any more) are dropped and counted, as
`bannister.capture.program` does.

Each answer holds its request's number and version. So the rules know from the outside what a pair must be, and the books must balance after every step: a half is paired, counted, or waits.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from bannister.capture import pairing as pairing_module
from bannister.capture.assembly import Role
from bannister.capture.comparing import pair_tally
from bannister.capture.folding import TallyFold, unpaired_tallies
from bannister.capture.pairing import Pair
from bannister.domain.capture.exchange import Exchange, Message
from bannister.domain.capture.instructing import instructions_of
from bannister.domain.capture.instructions import ComparedGroups
from bannister.domain.comparison.rules import Rules
from bannister.domain.endpoint import Endpoint

if TYPE_CHECKING:
    from tests.simulation.world import World

PAIRED: Final = "4: answers are paired with their own request's"
COUNTED: Final = "4: what is not compared is counted"

WAITS_SECONDS: Final = 6.0
EXCHANGES_MAX: Final = 30
BYTES_MAX: Final = 10_000
OPEN_SECONDS_MAX: Final = 5
_RULES: Final = Rules()


class Request:
    """One request, and whether its route says that it is copied."""

    def __init__(self, number: int, endpoint: str) -> None:
        self.number, self.endpoint, self.copied = number, endpoint, False


class Capture:
    """The process, its way in, and the rules. A source of randomness of its own."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"capture of {seed}")
        self._requests = 0
        #: Halves handed to the process that runs now, by request and group, and pairs that it made of them.
        self._given: Counter[tuple[int, str]] = Counter()
        self._made: Counter[tuple[int, str]] = Counter()
        #: Pairs, and halves that were counted as alone, that are not in a tally yet.
        self._unfolded: Counter[str] = Counter()
        self._begin()

    def _begin(self) -> None:
        self._pairing = pairing_module.Pairing(EXCHANGES_MAX, BYTES_MAX, WAITS_SECONDS)
        self._fold = TallyFold(OPEN_SECONDS_MAX)
        self._groups: frozenset[str] = frozenset()
        self._pairs: tuple[ComparedGroups, ...] = ()
        #: Until then answers wait that were followed before and are not any more: those are nobody's.
        self._mixed_until = 0.0
        #: The endpoints that its instructions were made from; None: it has none yet.
        self._told_of: list[Endpoint] | None = None
        self._given.clear()
        self._made.clear()
        self._unfolded.clear()

    # --- what happens

    def request(self, endpoint: str) -> Request:
        self._requests += 1
        return Request(self._requests, endpoint)

    def answered(self, world: World, request: Request, group: str, role: Role, version: str) -> None:
        """One side has answered: the process hears of it at some time, or never, or twice."""
        rng = self._rng
        chance = 1.0 if world.calm else rng.random()
        if chance < 0.03:
            world.counts["halves lost"] += 1
            return
        delay = rng.random() * (3 * WAITS_SECONDS if chance < 0.06 else 0.3)
        body = b'{"request": %d, "version": "%s"}' % (request.number, version.encode())
        exchange = Exchange(
            f"r{request.number}",
            request.endpoint,
            group,
            world.clock.now(),
            world.clock.now(),
            Message(b"", "application/json"),
            Message(body, "application/json"),
            200,
            1000,
            copied=role is Role.PRODUCTION and request.copied,
        )
        world.loop.call_later(delay, self._hear, world, exchange, role)
        if chance > 0.97 and not world.calm:
            world.counts["halves doubled"] += 1
            world.loop.call_later(delay + rng.random() * 2, self._hear, world, exchange, role)

    def tick(self, world: World, endpoints: Iterable[Endpoint]) -> None:
        """Time passes: what waited too long is given up, and what is over is folded; sometimes the process is killed."""
        if not world.calm and self._rng.random() < 0.01:
            world.note("fault", f"capture is killed with {len(self._pairing)} answers waiting")
            world.counts["capture killed"] += 1
            self._begin()
        self._instruct(world, list(endpoints))
        before = len(self._pairing)
        self._pairing.expire(world.loop.time())
        self._balance(world, "What waited too long", before - len(self._pairing), 0, certain=True)
        self._report(world, world.clock.now())

    def _instruct(self, world: World, endpoints: list[Endpoint]) -> None:
        if endpoints == self._told_of:
            return
        self._told_of = endpoints
        told = instructions_of((one, _RULES) for one in endpoints)
        self._groups = frozenset(one.group for one in told.groups)
        if told.pairs != self._pairs:
            self._pairs = told.pairs
            self._mixed_until = world.loop.time() + 2 * WAITS_SECONDS
            self._pairing.follow(told.pairs)

    def _hear(self, world: World, exchange: Exchange, role: Role) -> None:
        if exchange.group not in self._groups:
            world.counts["halves not followed"] += 1
            return
        key = int(exchange.request_id[1:]), exchange.group
        self._given[key] += 1
        before, late = len(self._pairing), self._pairing.late
        pairs = self._pairing.add(exchange, role, world.loop.time())
        for pair in pairs:
            self._check_pair(world, pair)
            tally = pair_tally(pair, BYTES_MAX)
            agrees, same = tally.agreeing == 1, pair.production.response == pair.shadow.response
            if agrees is not same:
                raise world.violated(PAIRED, f"{pair} is said to {'agree' if agrees else 'differ'}.")
            self._fold.add(pair.compared, int(world.clock.now()), tally)
            world.counts["pairs"] += 1
        # The other half of a loss that was counted is not counted again.
        gone = before + 1 - len(self._pairing) - (self._pairing.late - late)
        self._balance(
            world, f"{exchange.request_id} of {exchange.group}", gone, len(pairs), certain=self._expects(exchange, role)
        )

    def _expects(self, exchange: Exchange, role: Role) -> bool:
        """Whether there is another side to it."""
        if role is Role.PRODUCTION:
            return exchange.copied and any(one.endpoint == exchange.endpoint for one in self._pairs)
        return any(one.shadow == exchange.group for one in self._pairs)

    # --- what must be true

    def _check_pair(self, world: World, pair: Pair) -> None:
        old, new = pair.production, pair.shadow
        number = int(old.request_id[1:])
        text = b'{"request": %d,' % number
        bodies = [one.response.body for one in (old, new) if one.response is not None]
        if old.request_id != new.request_id or not all(body.startswith(text) for body in bodies):
            raise world.violated(PAIRED, f"{old.request_id} ({bodies}) is paired with {new.request_id}.")
        if (old.group, new.group) != (pair.compared.production, pair.compared.shadow):
            raise world.violated(PAIRED, f"{old.group} is compared with {new.group}, asked was {pair.compared}.")
        self._made[number, new.group] += 1
        most = min(self._given[number, old.group], self._given[number, new.group])
        if self._made[number, new.group] > most:
            raise world.violated(PAIRED, f"{old.request_id} makes pair {self._made[number, new.group]} of {most}.")

    def _balance(self, world: World, what: str, gone: int, pairs: int, *, certain: bool) -> None:
        """`gone`: halves that came and do not wait. Each is in a pair or counted; a count is of one half, or of two that met."""
        alone = self._pairing.take_alone()
        count = sum(alone.values())
        certain = certain and world.loop.time() >= self._mixed_until
        if certain and not 2 * pairs + count <= gone <= 2 * (pairs + count):
            raise world.violated(
                COUNTED, f"{what}: {gone} answers are gone, {pairs} pairs and {dict(alone)} tell of it."
            )
        world.counts["halves alone"] += count
        if not pairs and not count:
            return
        for compared, tally in unpaired_tallies(alone):
            self._fold.add(compared, int(world.clock.now()), tally)
        self._unfolded["pairs"] += pairs
        self._unfolded["alone"] += count

    def _report(self, world: World, watermark: float) -> None:
        for one in self._fold.take(watermark):
            self._unfolded["pairs"] -= one.tally.pairs
            self._unfolded["alone"] -= one.tally.unpaired_count
        if min(self._unfolded.values(), default=0) < 0:
            raise world.violated(COUNTED, f"Tallies tell of more than there was: {dict(self._unfolded)}")

    def settled(self, world: World) -> None:
        """At the end: all that was paired or counted is in a tally."""
        self._report(world, world.clock.now() + 2 * OPEN_SECONDS_MAX)
        if any(self._unfolded.values()):
            raise world.violated(COUNTED, f"In no tally: {dict(self._unfolded)}")
