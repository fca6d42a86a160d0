"""Capture's parts, put together."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

from bannister.capture.assembly import Assembly, Role
from bannister.capture.comparing import Comparing
from bannister.capture.early import EarlyExchange, EarlyExchanges
from bannister.capture.folding import Counts, TallyFold, absorb, counted_in, unpaired_tallies
from bannister.capture.pairing import Pairing
from bannister.capture.service import UNREADABLE, CaptureService
from bannister.capture.spool import Spool
from bannister.capture.untold import UNTOLD, Accounting
from bannister.clock import Clock
from bannister.domain.capture.exchange import Exchange
from bannister.domain.capture.instructions import CapturedGroup, ComparedGroups, Instructions
from bannister.domain.capture.record import destination, is_chosen, key_prefix, record_line
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
from bannister.domain.metric.sketch import Sketch
from bannister.ids import Ids
from bannister.reporting.counters import counters_of
from bannister.reporting.coverage import Coverage
from bannister.reporting.heartbeat import send_heartbeat
from bannister.reporting.outbox import Outbox
from bannister.reporting.report_server import ReportServer
from bannister.settings import Settings

log = logging.getLogger(__name__)

#: How often what is new is put into a report, and counts are. A count says when it was reported, so that it is not worth a report of its own sooner.
_TICK_SECONDS = 0.1
_COUNTS_SECONDS = 1.0
HEARTBEAT_PATH = "/-/heartbeat/capture"
#: Tallies hold excerpts of bodies.
_ITEMS_PER_REPORT_MAX = 20

_INCOMPLETE = "a body was not captured whole"
_UNANSWERED = "there was no answer"
UNFOLLOWED = "its group is not captured any more, or not yet"

#: Groups that are known after nobody names them any more: what is under way when a fleet is left is used like what came before.
_PAST_GROUPS_MAX: Final = 1000

#: All counts are one item, which is never split: they are stored with the account that says so, or not at all.
_Item: TypeAlias = GroupTally | tuple[CaptureCount, ...]


class Capture:
    """One run of capture."""

    def __init__(self, settings: Settings, clock: Clock, ids: Ids) -> None:
        self._settings = settings
        self._clock = clock
        self._run = ids.short()
        self._coverage = Coverage(self._run, settings.watermark_margin_seconds)
        self._service = CaptureService(settings, clock, self._ended, self._lost)
        self._spool = Spool(settings, self._run)
        self._pairing = Pairing(
            settings.pairing_exchanges_max,
            settings.pairing_bytes_max,
            settings.pairing_seconds_max,
            self._service.is_under_way,
        )
        self._comparing = Comparing(
            settings.comparing_pairs_max,
            settings.comparing_bytes_max,
            settings.capture_body_bytes_max,
            self._compared,
        )
        self._fold = TallyFold(settings.open_seconds_max)
        self._counts = Counts()
        self._counted_at = 0.0
        self._accounting = Accounting()
        self._groups: dict[str, CapturedGroup] = {}
        #: Those that were named before, the oldest first.
        self._past: OrderedDict[str, CapturedGroup] = OrderedDict()
        self._early = EarlyExchanges(
            settings.capture_early_exchanges_max, settings.capture_early_bytes_max, settings.capture_early_seconds_max
        )
        self._outbox = Outbox[_Item, ComparisonReport](
            self._run,
            settings.capture_reports_max,
            _report,
            items_per_report_max=_ITEMS_PER_REPORT_MAX,
            absorb=absorb,
        )

    async def run(self) -> None:
        """Serve until cancelled; then say what was not said yet, if somebody listens."""
        run_dir = self._settings.run_dir
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        run_dir.chmod(0o700)
        self._spool.recover()
        await self._service.start()
        reports = ReportServer(self._outbox, self._settings.capture_socket, Directive, self._hear)
        await reports.start()
        # The first sketch imports numpy: better now than at the first pair.
        Sketch.of([0])
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._beat())
                tasks.create_task(self._report())
                tasks.create_task(self._count_overflow())
        finally:
            try:
                self._end()
                await self._take_leave(reports)
            finally:
                await reports.close()
                self._spool.close()

    # --- what comes in

    def _hear(self, directive: Directive) -> None:
        if directive.greeting is not None:
            for one in self._accounting.go_on_from(directive.greeting.account):
                self._count_ended(one)
        if directive.acknowledgement is not None:
            self._outbox.acknowledge(directive.acknowledgement)
        if directive.instructions is not None:
            self._follow(directive.instructions)

    def _follow(self, instructions: Instructions) -> None:
        groups = {one.group: one for one in instructions.groups}
        if groups != self._groups:
            log.info("Captured groups: %s.", ", ".join(sorted(groups)) or "none")
        for name, group in self._groups.items():
            if name not in groups:
                self._past[name] = group
        while len(self._past) > _PAST_GROUPS_MAX:
            self._past.popitem(last=False)
        self._groups = groups
        self._pairing.follow(instructions.pairs)
        for one in self._early.take(groups):
            self._take(one)

    def _count_ended(self, pending: Pending) -> None:
        """What the process before this one had been told of, and took with it."""
        endpoint, shadow, production, noise = pending.compared
        compared = ComparedGroups(shadow, production, Rules(), endpoint, noise)
        self._compared(compared, Tally.of_unpaired({Unpaired.ENDED.value: pending.count}))

    def _lost(self, reason: str) -> None:
        """Nobody knows of which group it was."""
        self._counts.add(None, Counted.DROPPED, reason)

    def _ended(self, assembly: Assembly) -> None:
        self._take(EarlyExchange(assembly, self._clock.now(), self._clock.monotonic()))

    def _take(self, one: EarlyExchange) -> None:
        name = one.assembly.group
        group = self._groups.get(name) or self._past.get(name)
        try:
            self._use(one, group)
        except Exception:  # what a model answers must not end the connection on which others are told of
            log.exception("An exchange with %s could not be used.", one.assembly.group)
            self._counts.add(group, Counted.DROPPED, UNREADABLE)

    def _use(self, one: EarlyExchange, group: CapturedGroup | None) -> None:
        role = one.assembly.role
        if role is Role.HEARTBEAT:
            self._heartbeat(one.assembly.path, one.ended_at)
            return
        if group is None:
            if not self._early.keep(one):
                self._counts.add(None, Counted.DROPPED, UNFOLLOWED)
            return
        assert role is not None
        exchange = one.assembly.exchange(group.endpoint, one.ended_at, one.monotonic)
        self._counts.add(group, Counted.CAPTURED)
        if role is not Role.NOISE:
            self._write(exchange, group)
        self._compare(exchange, role, group)

    def _heartbeat(self, path: str, now: float) -> None:
        query = parse_qs(urlsplit(path).query)
        try:
            run, number = query["run"][0], int(query["n"][0])
        except (KeyError, ValueError):
            return
        self._coverage.heartbeat_seen(run, number, now)
        if run == self._run:
            self._accounting.heartbeats.over(number)

    # --- what becomes of an exchange

    def _write(self, exchange: Exchange, group: CapturedGroup) -> None:
        """To the spool, if it is among those that are written."""
        capture = group.capture
        if capture is None or not is_chosen(exchange.request_id, group.written_share):
            return
        if capture.captures_output and exchange.response is None:
            self._counts.add(group, Counted.DROPPED, _UNANSWERED)
            return
        wanted = [exchange.request] if capture.captures_input else []
        wanted += [exchange.response] if capture.captures_output and exchange.response is not None else []
        if not all(message.complete for message in wanted):
            self._counts.add(group, Counted.DROPPED, _INCOMPLETE)
            return
        bucket, _ = destination(capture)
        prefix = key_prefix(group, capture, exchange.started_at)
        refusal = self._spool.write(
            bucket, prefix, record_line(exchange, capture), exchange.ended_at, self._clock.monotonic()
        )
        if refusal is None:
            self._counts.add(group, Counted.WRITTEN)
        else:
            self._counts.add(group, Counted.DROPPED, refusal)

    def _compare(self, exchange: Exchange, role: Role, group: CapturedGroup) -> None:
        is_copy = role is not Role.PRODUCTION
        if not exchange.request_id:  # it cannot be told whose other side it is
            if is_copy or exchange.copied or exchange.noise_copied:
                self._counts.add(group, Counted.DROPPED, UNREADABLE)
            return
        if is_copy and not self._pairing.compares(exchange.group, role):
            self._counts.add(group, Counted.DROPPED, UNFOLLOWED)
            return
        for pair in self._pairing.add(exchange, role, self._clock.monotonic()):
            self._comparing.put(pair, self._clock.now())

    def _compared(self, compared: ComparedGroups, tally: Tally) -> None:
        self._fold.add(compared, int(self._clock.now()), tally)

    # --- what goes out

    async def _beat(self) -> None:
        interval = self._settings.capture_heartbeat_interval_seconds
        while True:
            begun_at = self._clock.monotonic()
            number = self._coverage.next_heartbeat(self._clock.now(), begun_at)
            self._accounting.heartbeats.sent(number)
            if not await send_heartbeat(self._settings.port, HEARTBEAT_PATH, self._run, number):
                self._accounting.heartbeats.over(number)
            await asyncio.sleep(max(interval - (self._clock.monotonic() - begun_at), 0))

    async def _count_overflow(self) -> None:
        """What the proxy did not tell of, because as many streams were open as are allowed, or nobody listened here in time."""
        while True:
            counters = await counters_of(self._settings.envoy_admin_socket, UNTOLD)
            moment = self._clock.monotonic(), self._clock.now()
            for reason, count in self._accounting.look(counters, self._service.heard, *moment).items():
                self._counts.add(None, Counted.DROPPED, reason, count)
            await asyncio.sleep(_COUNTS_SECONDS)

    def _watermark(self) -> float | None:
        """What was seen before is also compared."""
        seen, waiting_since = self._coverage.watermark, self._comparing.waiting_since
        return seen if seen is None or waiting_since is None else min(seen, waiting_since)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self._turn(self._clock.monotonic())

    def _turn(self, monotonic: float) -> None:
        """What is over, and what of it is to be reported."""
        self._service.expire()
        self._spool.rotate(monotonic)
        self._pairing.expire(monotonic)
        if given_up := self._early.expire(monotonic):
            self._counts.add(None, Counted.DROPPED, UNFOLLOWED, given_up)
        self._fold_alone()
        watermark = self._watermark()
        tallies = self._fold.take(watermark)
        is_counted = monotonic - self._counted_at >= _COUNTS_SECONDS
        if is_counted:
            for group, records in self._spool.remove_given_up(monotonic).items():
                self._counts.add_given_up(group, records)
        if is_counted or tallies:
            self._tell(watermark, tallies)
        else:
            self._outbox.put(watermark, self._coverage.covered_since, ())

    def _tell(self, watermark: float | None, tallies: Sequence[GroupTally]) -> None:
        """Report these tallies, all counts, and how far exchanges are accounted for by them."""
        items: list[_Item] = []
        if self._accounting.is_greeted:
            self._counted_at = self._clock.monotonic()
            counts = tuple(self._counts.take(int(self._clock.now())))
            items = [counts, *tallies] if counts else [*tallies]
        self._outbox.put(watermark, self._coverage.covered_since, items, self._account)

    def _account(self, rest: Sequence[_Item]) -> Account | None:
        """When all that was found is reported, but for the rest of these items."""
        pending = self._pairing.pending() + self._comparing.pending() + self._fold.pending()
        for one in rest:
            if isinstance(one, GroupTally):
                key = Compared(one.endpoint, one.group, one.production_group, one.noise)
                pending[key] += counted_in(one.tally)
        # Exchanges that wait to be named are heard, and nothing is decided.
        return self._accounting.close_books(self._service.settled - len(self._early), _pending(pending))

    def _fold_alone(self) -> None:
        for compared, tally in unpaired_tallies(self._pairing.take_alone()):
            self._compared(compared, tally)

    # --- the end

    def _end(self) -> None:
        """Nothing is waited for any more: all that was heard of is counted, and reported."""
        self._pairing.end()
        self._service.close()
        self._comparing.end()
        if given_up := self._early.expire(math.inf):
            self._counts.add(None, Counted.DROPPED, Unpaired.ENDED.value, given_up)
        self._fold_alone()
        self._tell(self._watermark(), self._fold.take_all() if self._accounting.is_greeted else [])

    async def _take_leave(self, reports: ReportServer[Directive]) -> None:
        """A moment for the control plane to take it. If it is not there, the account that it has says what is pending."""
        until = self._clock.monotonic() + self._settings.capture_farewell_seconds
        while len(self._outbox) and reports.is_connected and self._clock.monotonic() < until:
            await asyncio.sleep(_TICK_SECONDS / 5)


def _pending(counts: Mapping[Compared, int]) -> tuple[Pending, ...]:
    return tuple(Pending(compared, count) for compared, count in sorted(counts.items()) if count)


def _report(
    run: str, sequence: int, watermark: float | None, covered_since: float | None, items: tuple[_Item, ...]
) -> ComparisonReport:
    return ComparisonReport(
        run,
        sequence,
        watermark,
        covered_since,
        tuple(one for one in items if isinstance(one, GroupTally)),
        tuple(count for one in items if not isinstance(one, GroupTally) for count in one),
    )
