"""A model of the capture process around its real decisions: what it is told to do, which answers belong together, how they differ, and what is counted of the rest.

What is real: who is told of what and when (`instruct_capture` in each control plane, `CaptureFeed`'s greeting and news), what is under way (`CaptureService`), the exchanges that come before their group
is named (`EarlyExchanges`), `Pairing`, `compare`, and the folding of tallies into seconds. What is simulated are the ways in. The line from the control plane is late and breaks. Halves (production's
answer, a copy's answer) come late, cut off, in any order, twice, or never; and the process is killed and forgets. Halves that nobody follows are dropped and counted, as
`bannister.capture.program` does.

Each answer holds its request's number and version. So the rules know from the outside what a pair must be, and the books must balance after every step: a half is paired, counted, or waits.
What must come of a request that nothing disturbs: `capture_rules.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.capture_rules import CaptureRules, Request
from tests.simulation.virtual_time import Process

from bannister.capture import pairing as pairing_module
from bannister.capture.assembly import Role
from bannister.capture.comparing import pair_tally
from bannister.capture.early import EarlyExchange, EarlyExchanges
from bannister.capture.folding import TallyFold, unpaired_tallies
from bannister.capture.pairing import Pair
from bannister.capture.service import CaptureService
from bannister.domain.capture.exchange import Exchange, Message
from bannister.domain.capture.instructions import CapturedGroup, ComparedGroups, Instructions
from bannister.domain.capture.record import is_chosen, record_line
from bannister.domain.comparison.report import Unpaired
from bannister.domain.endpoint import Endpoint
from bannister.metrics.feed import CaptureFeed

if TYPE_CHECKING:
    from tests.simulation.world import World

PAIRED: Final = "4: answers are paired with their own request's"
COUNTED: Final = "4: what is not compared is counted"

WAITS_SECONDS: Final = 6.0
#: So many wait at most: more than are ever on their way. In some worlds there is hardly any room.
EXCHANGES_MAX: Final = 60
EXCHANGES_MAX_NARROW: Final = 10
BYTES_MAX: Final = 10_000
OPEN_SECONDS_MAX: Final = 5
#: An answer takes so long, or is told of so late.
SLOW_ANSWER_SECONDS_MAX: Final = 3 * WAITS_SECONDS
#: Enough for what comes before a group must be named.
EARLY_MAX: Final = 500
EARLY_BYTES_MAX: Final = 50_000
EARLY_SECONDS_MAX: Final = 5.0


class Half:
    """One exchange as the process is told of it: what others ask of an `Assembly`, without the messages that it is made of."""

    was_heard = True

    def __init__(self, request: Request, role: Role, group: str, version: str | None, now: float) -> None:
        """`version`: whose answer it is; None: the group gave none."""
        self.request, self.role, self.group, self._at = request, role, group, now
        self.request_id = request.id
        self._body = b'{"request": %d, "version": "%s"}' % (request.number, (version or "").encode())
        self._is_answered = version is not None
        #: The stream ended before the answer did.
        self.cut = False

    @property
    def assembly(self) -> Half:
        return self

    @property
    def size(self) -> int:
        return len(self._body)

    def release(self) -> None:
        """There is no budget."""

    def exchange(self, endpoint: str, now: float, monotonic: float) -> Exchange:
        """As `Assembly.exchange`."""
        del monotonic
        answer = Message(self._body, "application/json", complete=not self.cut) if self._is_answered else None
        status = 200 if self._is_answered else None
        asked = self.request if self.role is Role.PRODUCTION else None
        copied, noise_copied = asked is not None and asked.copied, asked is not None and asked.noise_copied
        request = Message(b"", "application/json")
        return Exchange(
            self.request_id,
            endpoint,
            self.group,
            self._at,
            now,
            request,
            answer,
            status,
            1000,
            copied=copied,
            noise_copied=noise_copied,
        )


class Line(CaptureFeed):
    """One control plane's connection to the process: real is what is said on it, simulated how it gets there."""

    def __init__(self, world: World, capture: Capture, process: Process) -> None:
        super().__init__(world.settings, world.clock, lambda: None)
        self.process = process
        self._world, self._capture = world, capture
        self._ended = asyncio.Event()
        self._ended.set()

    async def run(self) -> None:
        """Connect, again whenever it broke; in the control plane's process."""
        while True:
            await asyncio.sleep(self._capture.connecting_seconds())
            self._ended.clear()
            self._capture.connected(self)
            await self.send(self._greet())
            await self._ended.wait()

    def end(self) -> None:
        """It breaks."""
        self._ended.set()

    async def send(self, message: Any) -> None:
        if not self._ended.is_set():
            self._capture.send(self._world, self, message.instructions)


class Capture:
    """The process, its ways in, and the rules. A source of randomness of its own."""

    def __init__(self, world: World) -> None:
        self._rng = random.Random(f"capture of {world.seed}")
        self._exchanges_max = self._rng.choice((EXCHANGES_MAX,) * 3 + (EXCHANGES_MAX_NARROW,))
        self._requests = 0
        #: Some requests were copied for the noise floor.
        self._has_noise = False
        #: Halves handed to the process that runs now, by request, group and whether it is a noise copy's; and pairs that it made of them.
        self._given: Counter[tuple[int, str, bool]] = Counter()
        self._made: Counter[tuple[int, str, bool]] = Counter()
        #: Pairs, and halves that were counted as alone, that are not in a tally yet.
        self._unfolded: Counter[str] = Counter()
        #: Records that it has written, by request and group.
        self._written: Counter[tuple[int, str]] = Counter()
        has_room = self._exchanges_max > EXCHANGES_MAX_NARROW
        self.rules = CaptureRules(world, self._made, self._written, has_room=has_room)
        #: The line that was connected last, whether or not somebody is left at its other end; None: it broke.
        self._line: Line | None = None
        self._last_arrives_at = 0.0
        self._slow_until = 0.0
        self._begin(world)

    def _begin(self, world: World) -> None:
        def ended(half: Any) -> None:
            self._take(world, EarlyExchange(half, world.clock.now(), world.loop.time()))

        self._service = CaptureService(world.settings, world.clock, ended, lambda _: None)
        self._pairing = pairing_module.Pairing(
            self._exchanges_max, BYTES_MAX, WAITS_SECONDS, lambda *one: self._service.is_under_way(*one)
        )
        self._early = EarlyExchanges(EARLY_MAX, EARLY_BYTES_MAX, EARLY_SECONDS_MAX)
        self._fold = TallyFold(OPEN_SECONDS_MAX)
        self._groups: dict[str, CapturedGroup] = {}
        #: Who is compared, or was.
        self._pairs: set[ComparedGroups] = set()
        #: Named before, and not any more.
        self._past: dict[str, CapturedGroup] = {}
        self._given.clear()
        self._made.clear()
        self._written.clear()
        self._unfolded.clear()
        self._break_line()
        self.rules.begun_anew()

    # --- what it is told

    def line(self, world: World, process: Process) -> Line:
        """A control plane's."""
        return Line(world, self, process)

    def connecting_seconds(self) -> float:
        return 0.02 + self._rng.random() * 0.3

    def connected(self, line: Line) -> None:
        """The newest connection replaces the one before."""
        self._break_line()
        self._line = line

    def _break_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.end()

    def send(self, world: World, line: Line, instructions: Instructions | None) -> None:
        """Something is said on a line: it arrives, in order, unless the line breaks before."""
        if instructions is None:  # a greeting of somebody who has yet to read the endpoints
            return
        now = world.loop.time()
        takes = self._rng.random() * (SLOW_SECONDS_MAX if now < self._slow_until else 0.3)
        self._last_arrives_at = max(self._last_arrives_at, now + takes)
        # On its way it belongs to nobody's process.
        context = world.outside.copy()
        world.loop.call_at(self._last_arrives_at, self._follow, world, line, instructions, context=context)

    def _follow(self, world: World, line: Line, instructions: Instructions) -> None:
        if line is not self._line:
            return
        groups = {one.group: one for one in instructions.groups}
        self._past |= {name: one for name, one in self._groups.items() if name not in groups}
        self._groups = groups
        self._pairs.update(instructions.pairs)
        self._pairing.follow(instructions.pairs)
        for one in self._early.take(self._groups):
            world.counts["halves early"] += 1
            self._take(world, one)

    def _is_linked(self, world: World) -> bool:
        """Whether the control plane that acts could tell it something now."""
        plane, now = world.plane, world.loop.time()
        return (
            self._line is not None
            and plane is not None
            and self._line.process is plane.process
            and now >= self._slow_until + SLOW_SECONDS_MAX
        )

    # --- what happens

    def request(self, world: World, endpoint: str) -> Request:
        self._requests += 1
        return Request(world.seed, self._requests, endpoint, world.loop.time())

    def answered(self, world: World, request: Request, group: str, role: Role, version: str | None) -> None:
        """One side has answered, or soon will have, or nobody did (None): the process hears of it at some time, or never, or twice."""
        rng = self._rng
        self._has_noise = self._has_noise or request.noise_copied
        chance = 1.0 if world.calm else rng.random()
        half = Half(request, role, group, version, world.clock.now())
        if chance < 0.02:
            world.counts["halves lost"] += 1
            request.astray.add(role)
            return
        if chance < 0.04:  # not even its beginning is told before
            request.astray.add(role)
            world.loop.call_later(rng.random() * SLOW_ANSWER_SECONDS_MAX, self._tell, half)
            return
        if chance < ASTRAY_SHARE:
            half.cut = True
            request.astray.add(role)
        takes = rng.random() * (SLOW_ANSWER_SECONDS_MAX if chance < 0.07 else 0.3)
        request.is_told_by = max(request.is_told_by, world.loop.time() + takes)
        self._service.begun(half)  # type: ignore[arg-type]
        world.loop.call_later(takes, self._ends, world, half, self._service)
        if chance > 0.97 and not world.calm:
            world.counts["halves doubled"] += 1
            world.loop.call_later(takes + rng.random() * 2, self._tell, half)

    def unobserved(self, world: World, request: Request) -> None:
        """Production has answered what is not captured. As many are left out as of those that are, so that shares stay what they are."""
        if not world.calm and self._rng.random() < ASTRAY_SHARE:
            request.astray.add(Role.PRODUCTION)

    def _tell(self, half: Half) -> None:
        self._service.begun(half)  # type: ignore[arg-type]
        self._service.ended(half)  # type: ignore[arg-type]

    def _ends(self, world: World, half: Half, service: CaptureService) -> None:
        if self._service is service:
            service.ended(half)  # type: ignore[arg-type]
        else:  # the process to which its beginning was told is gone
            world.counts["halves lost"] += 1

    def tick(self, world: World, endpoints: Iterable[Endpoint]) -> None:
        """Time passes: what waited too long is given up, and what is over is folded; sometimes something goes wrong."""
        if not world.calm:
            self._disturb(world)
        now = world.loop.time()
        before = len(self._pairing)
        self._pairing.expire(now)
        self._balance(world, "What waited too long", before - len(self._pairing), 0, certain=True)
        world.counts["halves not followed"] += self._early.expire(now)
        self._report(world, world.clock.now())
        self.rules.tick(endpoints, linked=self._is_linked(world))

    def _disturb(self, world: World) -> None:
        chance = self._rng.random()
        if chance < 0.01:
            world.note("fault", f"capture is killed with {len(self._pairing)} answers waiting")
            world.counts["capture killed"] += 1
            self._begin(world)
        elif chance < 0.02:
            world.note("fault", "capture's line breaks")
            self._break_line()
        elif chance < 0.025:
            world.note("fault", "capture's line is slow")
            self._slow_until = world.loop.time() + self._rng.random() * 6

    def _take(self, world: World, one: EarlyExchange) -> None:
        half: Any = one.assembly
        group = self._groups.get(half.group) or self._past.get(half.group)
        if group is None:
            world.counts["halves not followed"] += not self._early.keep(one)
            return
        exchange = half.exchange(group.endpoint, one.ended_at, one.monotonic)
        if half.role is not Role.NOISE:
            self._write(world, exchange, group)
        self._use(world, exchange, half.role)

    def _write(self, world: World, exchange: Exchange, group: CapturedGroup) -> None:
        """As the product: what is chosen, if all of it that is wanted is there."""
        capture, answer = group.capture, exchange.response
        if capture is None or not is_chosen(exchange.request_id, group.written_share):
            return
        if capture.captures_output and (answer is None or not answer.complete):
            return
        self.rules.written(exchange.request_id, capture, record_line(exchange, capture))
        self._written[_number(exchange), exchange.group] += 1
        world.counts["records"] += 1

    def _use(self, world: World, exchange: Exchange, role: Role) -> None:
        self._given[_number(exchange), exchange.group, role is Role.NOISE] += 1
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
            made = {False: exchange.copied, True: exchange.noise_copied}
            return any(one.endpoint == exchange.endpoint and made[one.noise] for one in self._pairs)
        return any(one.shadow == exchange.group for one in self._pairs)

    # --- what must be true

    def _check_pair(self, world: World, pair: Pair) -> None:
        old, new, noise = pair.production, pair.shadow, pair.compared.noise
        number = _number(old)
        text = b'{"request": %d,' % number
        bodies = [one.response.body for one in (old, new) if one.response is not None]
        if old.request_id != new.request_id or not all(body.startswith(text) for body in bodies):
            raise world.violated(PAIRED, f"{old.request_id} ({bodies}) is paired with {new.request_id}.")
        if (old.group, new.group) != (pair.compared.production, pair.compared.shadow):
            raise world.violated(PAIRED, f"{old.group} is compared with {new.group}, asked was {pair.compared}.")
        self._made[number, new.group, noise] += 1
        most = min(self._given[number, old.group, False], self._given[number, new.group, noise])
        if self._made[number, new.group, noise] > most:
            raise world.violated(
                PAIRED, f"{old.request_id} makes pair {self._made[number, new.group, noise]} of {most}."
            )

    def _balance(self, world: World, what: str, gone: int, pairs: int, *, certain: bool) -> None:
        """`gone`: halves that came and do not wait. Each is in a pair or counted; a count is of one half, or of two that met."""
        alone = self._pairing.take_alone()
        count = sum(alone.values())
        # One of production's may be in two pairs, and counted twice.
        least = pairs if self._has_noise else 2 * pairs + count
        if certain and not least <= gone <= 2 * (pairs + count):
            raise world.violated(
                COUNTED, f"{what}: {gone} answers are gone, {pairs} pairs and {dict(alone)} tell of it."
            )
        world.counts["halves alone"] += count
        world.counts["halves crowded out"] += sum(n for (_, why), n in alone.items() if why is Unpaired.CROWDED_OUT)
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
        self.rules.settled()
        self._report(world, world.clock.now() + 2 * OPEN_SECONDS_MAX)
        if any(self._unfolded.values()):
            raise world.violated(COUNTED, f"In no tally: {dict(self._unfolded)}")


#: So many halves never come, come late without a word before, or are cut off.
ASTRAY_SHARE: Final = 0.05
#: What is said on a slow line takes so long.
SLOW_SECONDS_MAX: Final = 4.0


def _number(exchange: Exchange) -> int:
    return int(exchange.request_id.rpartition("-")[2])
