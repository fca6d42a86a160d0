"""A model of the capture process around its real decisions: what it is told to do, which answers belong together, how they differ, and what is counted of the rest.

What is real: who is told of what and when (`instruct_capture` in each control plane, `CaptureFeed`'s greeting and news), what is under way (`CaptureService`), the exchanges that come before their group
is named (`EarlyExchanges`), `Pairing`, `compare`, the folding of tallies into seconds, the accounting (`bannister.capture.untold`), the reports, and the store that they go to. What is simulated are the ways
in and out. The line from the control plane is late and breaks. Halves (production's answer, a copy's answer) come late, cut off, in any order, twice, or never; and the process is killed and forgets, and
is away for a while. Halves that nobody follows are dropped and counted, as `bannister.capture.program` does.

Each answer holds its request's number and version. So the rules know from the outside what a pair must be, and the books must balance after every step: a half is paired, counted, or waits.
What must come of a request that nothing disturbs: `capture_rules.py`; what is stored of all: `capture_books.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.capture_books import Books
from tests.simulation.capture_rules import CaptureRules, Request
from tests.simulation.telemetry import MARGIN_SECONDS
from tests.simulation.virtual_time import Process

from bannister.capture import pairing as pairing_module
from bannister.capture.assembly import Role
from bannister.capture.comparing import pair_tally
from bannister.capture.early import EarlyExchange, EarlyExchanges
from bannister.capture.folding import Counts, TallyFold, counted_in, unpaired_tallies
from bannister.capture.pairing import Pair
from bannister.capture.program import UNFOLLOWED
from bannister.capture.service import CaptureService
from bannister.capture.untold import Accounting
from bannister.domain.capture.exchange import Exchange, Message
from bannister.domain.capture.instructions import CapturedGroup, ComparedGroups, Instructions
from bannister.domain.capture.record import is_chosen, record_line
from bannister.domain.comparison.report import (
    Account,
    CaptureCount,
    Compared,
    ComparisonReport,
    Counted,
    Directive,
    GroupTally,
    Pending,
    Unpaired,
)
from bannister.domain.comparison.rules import Rules
from bannister.domain.comparison.tally import Tally
from bannister.domain.endpoint import Endpoint
from bannister.metrics.feed import CaptureFeed
from bannister.metrics.memory import MemoryMetrics
from bannister.reporting.outbox import Outbox

if TYPE_CHECKING:
    from tests.simulation.world import World

PAIRED: Final = "4: answers are paired with their own request's"
COUNTED: Final = "4: what is not compared is counted"

WAITS_SECONDS: Final = 6.0
#: So many wait at most: more than are ever on their way. In some worlds there is hardly any room.
EXCHANGES_MAX: Final = 200
EXCHANGES_MAX_NARROW: Final = 10
BYTES_MAX: Final = 40_000
OPEN_SECONDS_MAX: Final = 5
#: An answer takes so long, or is told of so late.
SLOW_ANSWER_SECONDS_MAX: Final = 3 * WAITS_SECONDS
#: Enough for what comes before a group must be named.
EARLY_MAX: Final = 500
EARLY_BYTES_MAX: Final = 50_000
EARLY_SECONDS_MAX: Final = 5.0
#: Another process is there so long after the one before was killed.
AWAY_SECONDS_MAX: Final = 2.0
#: What is over is told, and the proxy's counters are looked at, at every so-many-th tick.
TICKS_PER_REPORT: Final = 4


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
        super().__init__(world.settings, world.clock, lambda: capture.metrics.capture_account)
        self.process = process
        self._world, self._capture = world, capture
        self._is_open = False
        #: What was on its way when it broke never arrives: so many times it was connected.
        self.connections = 0
        #: Reports that came, and were not stored yet.
        self._arrived: deque[ComparisonReport] = deque()
        self._more = asyncio.Event()
        #: The newest report that was sent on it.
        self.sent = 0

    async def run(self) -> None:
        """Connect, again whenever it broke, and store what comes; in the control plane's process."""
        while True:
            await asyncio.sleep(self._capture.connecting_seconds(self._world))
            self._is_open, self.sent = True, 0
            self.connections += 1
            self._capture.connected(self)
            await self.send(self._greet())
            while self._is_open or self._arrived:  # what came before it broke can be read
                if self._arrived:
                    report = self._arrived.popleft()
                    await self._capture.store(self._world, report)
                    await self.acknowledge(report)
                else:
                    self._more.clear()
                    await self._more.wait()

    def end(self) -> None:
        """It breaks."""
        self._is_open = False
        self._more.set()

    def arrive(self, connection: int, report: ComparisonReport) -> None:
        """From the process."""
        if self._is_open and connection == self.connections:
            self._arrived.append(report)
            self._more.set()

    async def send(self, message: Any) -> None:
        if self._is_open:
            self._capture.send(self._world, self, message)


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
        #: Records that were written, by request and group: they stay when a process ends.
        self._written: Counter[tuple[int, str]] = Counter()
        has_room = self._exchanges_max > EXCHANGES_MAX_NARROW
        self.rules = CaptureRules(world, self._made, self._written, has_room=has_room)
        #: The line that was connected last, whether or not somebody is left at its other end; None: it broke.
        self._line: Line | None = None
        self._last_arrives_at = 0.0
        self._slow_until = 0.0
        #: Nobody listens until then.
        self._away_until = 0.0
        #: The proxy's counter of streams that it opened; how many there should have been: `Books.asked`.
        self._opened = 0
        self._runs = self._ticks = 0
        self._last_told_at = 0.0
        self.books = Books(world)
        #: Outlives control planes, as the durable one does.
        self.metrics = MemoryMetrics(world.settings)
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
        #: Who is compared, or was, with which kind of copy (is it for the noise floor?): endpoints, and groups that copies go to.
        self._endpoints: set[tuple[str, bool]] = set()
        self._copied_to: set[tuple[str, bool]] = set()
        #: Named before, and not any more.
        self._past: dict[str, CapturedGroup] = {}
        self._given.clear()
        self._made.clear()
        self._unfolded.clear()
        self._runs += 1
        self._counts = Counts()
        self._accounting = Accounting()
        books = self.books

        def pack(run: str, sequence: int, watermark: float | None, covered_since: float | None, items: Any) -> Any:
            books.reported(run, sequence)
            tallies = tuple([one for one in items if isinstance(one, GroupTally)])
            counts = tuple([count for one in items if not isinstance(one, GroupTally) for count in one])
            return ComparisonReport(run, sequence, watermark, covered_since, tallies, counts)

        self._outbox = Outbox[GroupTally | tuple[CaptureCount, ...], ComparisonReport](
            f"capture-{self._runs}", world.settings.capture_reports_max, pack
        )
        self._break_line()
        self.books.begun_anew()
        self.rules.begun_anew()

    # --- what it is told

    def line(self, world: World, process: Process) -> Line:
        """A control plane's."""
        return Line(world, self, process)

    def connecting_seconds(self, world: World) -> float:
        return max(self._away_until - world.loop.time(), 0.0) + 0.02 + self._rng.random() * 0.3

    def connected(self, line: Line) -> None:
        """The newest connection replaces the one before."""
        self._break_line()
        self._line = line

    def _break_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.end()

    def send(self, world: World, line: Line, message: Directive) -> None:
        """Something is said on a line: it arrives, in order, unless the line breaks before."""
        self._last_arrives_at = max(self._last_arrives_at, world.loop.time() + self._takes(world))
        # On its way it belongs to nobody's process.
        context = world.outside.copy()
        world.loop.call_at(self._last_arrives_at, self._hear, world, line, line.connections, message, context=context)

    def _takes(self, world: World) -> float:
        return self._rng.random() * (SLOW_SECONDS_MAX if world.loop.time() < self._slow_until else 0.3)

    def _hear(self, world: World, line: Line, connection: int, message: Directive) -> None:
        if line is not self._line or connection != line.connections:
            return
        if message.greeting is not None:
            for one in self._accounting.go_on_from(message.greeting.account):
                self._count_ended(world, one)
        if message.acknowledgement is not None:
            self._outbox.acknowledge(message.acknowledgement)
        if message.instructions is not None:  # else it is somebody who has yet to read the endpoints
            self._follow(world, message.instructions)

    def _count_ended(self, world: World, pending: Pending) -> None:
        """What the process before this one had been told of, and took with it."""
        endpoint, shadow, production, noise = pending.compared
        compared = ComparedGroups(shadow, production, Rules(), endpoint, noise)
        tally = Tally.of_unpaired({Unpaired.ENDED.value: pending.count})
        self._fold.add(compared, int(world.clock.now()), tally)
        self._unfolded["alone"] += pending.count
        world.counts["copies of a process that was killed"] += pending.count

    def _follow(self, world: World, instructions: Instructions) -> None:
        groups = {one.group: one for one in instructions.groups}
        self._past |= {name: one for name, one in self._groups.items() if name not in groups}
        self._groups = groups
        self._endpoints.update([(one.endpoint, one.noise) for one in instructions.pairs])
        self._copied_to.update([(one.shadow, one.noise) for one in instructions.pairs])
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
        if not request.is_told:
            world.counts["halves shed"] += 1
            self.books.asked += 1
            request.astray.add(role)
            return
        if world.loop.time() < self._away_until:
            world.counts["halves that nobody listened to"] += 1
            self.books.asked += 1
            request.astray.add(role)
            return
        half = Half(request, role, group, version, world.clock.now())
        if chance < 0.02:
            world.counts["halves lost"] += 1
            self._open()
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
        self._begins(half)
        world.loop.call_later(takes, self._ends, world, half, self._service)
        if chance > 0.97 and not world.calm:
            world.counts["halves doubled"] += 1
            request.repeated.add(role)
            world.loop.call_later(takes + rng.random() * 2, self._tell, half)

    def unobserved(self, world: World, request: Request) -> None:
        """Production has answered what is not captured. As many are left out as of those that are, so that shares stay what they are."""
        if not request.is_told or (not world.calm and self._rng.random() < ASTRAY_SHARE):
            request.astray.add(Role.PRODUCTION)

    def _open(self) -> None:
        """The proxy opens a stream."""
        self.books.asked += 1
        self._opened += 1

    def _begins(self, half: Half) -> None:
        self._open()
        self.books.open += 1
        self._service.heard += 1
        self._service.begun(half)  # type: ignore[arg-type]

    def _tell(self, half: Half) -> None:
        self._begins(half)
        self.books.open -= 1
        self._service.ended(half)  # type: ignore[arg-type]

    def _ends(self, world: World, half: Half, service: CaptureService) -> None:
        if self._service is service:
            self.books.open -= 1
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
        if given_up := self._early.expire(now):
            world.counts["halves not followed"] += given_up
            self._counts.add(None, Counted.DROPPED, UNFOLLOWED, given_up)
        self._ticks += 1
        self.books.tick()
        if self._ticks % TICKS_PER_REPORT == 0:
            self._report(world, world.clock.now() - MARGIN_SECONDS)
        self._send_reports(world)
        self.rules.tick(endpoints, linked=self._is_linked(world))

    def _disturb(self, world: World) -> None:
        chance = self._rng.random()
        if chance < 0.01:
            self.kill(world)
        elif chance < 0.02:
            world.note("fault", "capture's line breaks")
            self._break_line()
        elif chance < 0.025:
            world.note("fault", "capture's line is slow")
            self._slow_until = world.loop.time() + self._rng.random() * 6

    def kill(self, world: World) -> None:
        """The process ends; another one is there soon."""
        world.note("fault", f"capture is killed with {len(self._pairing)} answers waiting")
        world.counts["capture killed"] += 1
        self._away_until = world.loop.time() + self._rng.random() * AWAY_SECONDS_MAX
        self._begin(world)

    def _take(self, world: World, one: EarlyExchange) -> None:
        half: Any = one.assembly
        group = self._groups.get(half.group) or self._past.get(half.group)
        if group is None:
            if not self._early.keep(one):
                world.counts["halves not followed"] += 1
                self._counts.add(None, Counted.DROPPED, UNFOLLOWED)
            return
        self._counts.add(group, Counted.CAPTURED)
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
        self._counts.add(group, Counted.WRITTEN)
        world.counts["records"] += 1

    def _use(self, world: World, exchange: Exchange, role: Role) -> None:
        self._given[_number(exchange), exchange.group, role is Role.NOISE] += 1
        kinds = self._kinds(exchange, role)
        if kinds:
            self.books.heard(exchange, _number(exchange), role, kinds)
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
        self._balance(world, f"{exchange.request_id} of {exchange.group}", gone, len(pairs), certain=bool(kinds))

    def _kinds(self, exchange: Exchange, role: Role) -> list[bool]:
        """Of the copies that it tells of, those that are compared: whether they are for the noise floor."""
        if role is Role.PRODUCTION:
            made = (False, exchange.copied), (True, exchange.noise_copied)
            return [noise for noise, was in made if was and (exchange.endpoint, noise) in self._endpoints]
        noise = role is Role.NOISE
        return [noise] if (exchange.group, noise) in self._copied_to else []

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
        tallies = self._fold.take(watermark)
        for one in tallies:
            self._unfolded["pairs"] -= one.tally.pairs
            self._unfolded["alone"] -= one.tally.unpaired_count
        if min(self._unfolded.values(), default=0) < 0:
            raise world.violated(COUNTED, f"Tallies tell of more than there was: {dict(self._unfolded)}")
        lost = self._accounting.look(self._counters(world), self._service.heard, world.loop.time(), world.clock.now())
        for reason, count in lost.items():
            self._counts.add(None, Counted.DROPPED, reason, count)
        if self._accounting.is_greeted:
            counts = tuple(self._counts.take(int(world.clock.now())))
            self._outbox.put(None, None, [counts, *tallies] if counts else tallies, self._account)
        elif tallies:
            raise world.violated(COUNTED, "Before it is known what is accounted for, nothing may be told.")

    def _counters(self, world: World) -> str:
        """The proxy's answer: streams that it was to open, and that it opened. One life of it is all that is simulated of this."""
        asked, opened = self.books.asked, self._opened
        return (
            f"http.edge.ext_proc.streams_started: {asked}\n"
            f"cluster.capture.upstream_rq_total: {opened}\n"
            f"server.uptime: {int(world.loop.time())}"
        )

    def _account(self, rest: Sequence[GroupTally | tuple[CaptureCount, ...]]) -> Account | None:
        """As `bannister.capture.program`."""
        pending = self._pairing.pending() + self._fold.pending()
        for one in rest:
            if isinstance(one, GroupTally):
                key = Compared(one.endpoint, one.group, one.production_group, one.noise)
                pending[key] += counted_in(one.tally)
        left = tuple(Pending(compared, count) for compared, count in sorted(pending.items()) if count)
        return self._accounting.close_books(self._service.settled - len(self._early), left)

    def _send_reports(self, world: World) -> None:
        line = self._line
        if line is None or not len(self._outbox):
            return
        while (report := self._outbox.next_after(line.sent)) is not None:
            line.sent = report.sequence
            self._last_told_at = max(self._last_told_at, world.loop.time() + self._takes(world))
            context = world.outside.copy()
            world.loop.call_at(self._last_told_at, line.arrive, line.connections, report, context=context)

    async def store(self, world: World, report: ComparisonReport) -> None:
        """A control plane stores a report."""
        world.fence()
        # What it holds of tallies and counts nobody asks here, and to add them up would take a thirtieth of all the time.
        if await self.metrics.record(replace(report, tallies=(), counts=())):
            self.books.stored(report, self._written.total())

    def settled(self, world: World) -> None:
        """At the end: all that was paired or counted is in a tally, and what was to be told is stored."""
        self.rules.settled()
        self.books.settled()
        self._report(world, world.clock.now() + LATER_SECONDS)
        if any(self._unfolded.values()):
            raise world.violated(COUNTED, f"In no tally: {dict(self._unfolded)}")


#: So many halves never come, come late without a word before, or are cut off.
ASTRAY_SHARE: Final = 0.05
#: By then the second is over in which something was counted, also by a clock that was ahead for a moment. None jumps that far.
LATER_SECONDS: Final = 3600.0
#: What is said on a slow line takes so long.
SLOW_SECONDS_MAX: Final = 4.0


def _number(exchange: Exchange) -> int:
    return int(exchange.request_id.rpartition("-")[2])
