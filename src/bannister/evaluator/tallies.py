"""What became of every shadow, kept in the state file: all tallies of a group merged into one row, through restarts and for later reading.

A row is large beside what changes in it, and a report comes several times a second. So tallies are merged in memory and written every
`shadow_store_seconds`; a report is acknowledged only when what it said is written. One that comes again after a crash is known by the run and
number that its row was written with, and counts once.

What was compared by other rules begins another record; the one before is closed, and kept as the shadows are that are gone.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Final

from bannister.clock import Clock
from bannister.domain.comparison.record import ShadowRecord, counted_together, record_key
from bannister.domain.comparison.report import CaptureCount, ComparisonReport, GroupTally
from bannister.domain.comparison.rules import Rules
from bannister.domain.comparison.tally import merge, without_bodies
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet, Group
from bannister.errors import Conflict, Unavailable
from bannister.settings import Settings
from bannister.state.store import Put, Remove, Row, State
from bannister.state.tables import COMPARISON_RULES, ENDPOINTS, GROUPS, SHADOWS

log = logging.getLogger(__name__)

#: Groups without a record whose counts are kept for it: most are of endpoints that are captured and have no shadow.
_EARLY_GROUPS_MAX: Final = 1000


class Tallies:
    """The rows of all shadows. For one event loop; nobody else writes them."""

    def __init__(self, state: State, clock: Clock, settings: Settings) -> None:
        self._state = state
        self._clock = clock
        self._settings = settings
        #: As they were read at the start: what they say of reports is what an earlier process counted.
        self._stored: dict[str, Row[ShadowRecord]] | None = None
        self._records: dict[str, ShadowRecord] = {}
        self._revisions: dict[str, int] = {}
        self._unwritten: set[str] = set()
        #: By group that is in no record yet, what was counted; those that were counted last come last. Exchanges are counted before their pairs are compared.
        self._early: dict[str, tuple[CaptureCount, ...]] = {}
        self._write_again_at = 0.0
        #: The one that was counted last.
        self._newest: ComparisonReport | None = None

    async def close(self) -> None:
        """Write what was counted, however recently something was: whoever would tell it again may end too."""
        if self._unwritten and self._newest is not None:
            await self._write(self._newest)

    async def add(self, report: ComparisonReport) -> bool:
        """Count a report, each once; True: it and all before it are written, and may be acknowledged.

        Raises:
            Fenced: Another process has taken over.
        """
        stored = await self._read()
        for one in report.tallies:
            key = record_key(one.group, noise=one.noise)
            if not _has(stored, key, report):
                counted = await self._counted_in(one, key)
                record = self._records.get(counted) or self._new(one)
                self._records[counted] = replace(
                    record,
                    production_group=one.production_group,
                    since=min(record.since, one.second),
                    until=max(record.until, one.second + 1),
                    tally=merge([record.tally, one.tally]),
                    rules=record.rules if record.rules is not None and record.tally.pairs else one.rules,
                )
                if counted != key:
                    present = self._records[key]
                    self._records[key] = replace(present, earlier_pairs=present.earlier_pairs + one.tally.pairs)
                self._unwritten.update((key, counted))  # a report is known by the former
                if one.rules is not None and not one.rules.keeps_bodies:
                    self._strip(one.endpoint)
        self._count(stored, report)
        self._newest = report
        if self._unwritten and self._clock.monotonic() >= self._write_again_at:
            await self._write(report)
        return not self._unwritten

    def _new(self, one: GroupTally) -> ShadowRecord:
        groups = () if one.noise else (one.group, one.production_group)
        counts = counted_together(each for group in groups for each in self._early.pop(group, ()))
        return ShadowRecord(
            one.endpoint,
            one.group,
            one.production_group,
            one.noise,
            since=one.second,
            until=one.second,
            counts=counts,
        )

    def _strip(self, endpoint: str) -> None:
        """Bodies of an endpoint are not kept any more: those of before go too."""
        for key, record in self._records.items():
            bare = without_bodies(record.tally) if record.endpoint == endpoint else record.tally
            if bare is not record.tally:
                self._records[key] = replace(record, tally=bare)
                self._unwritten.add(key)

    async def _counted_in(self, one: GroupTally, key: str) -> str:
        """The record that was compared by the same rules: the present one, one that is closed, where this comes late, or a new one."""
        record = self._records.get(key)
        if record is None or one.rules is None or not one.tally.pairs or record.compared_by(one.rules):
            return key
        if not await self._holds(one.rules, one.endpoint):
            for number in range(record.number - 1, 0, -1):
                closed = record_key(one.group, noise=one.noise, closed=number)
                if closed in self._records and self._records[closed].compared_by(one.rules):
                    return closed
        closed = record_key(one.group, noise=one.noise, closed=record.number)
        self._records[closed] = record.closed()
        self._records[key] = record.begun_anew(one.rules, one.second)
        self._unwritten.add(closed)
        return key

    async def _holds(self, rules: Rules, endpoint: str) -> bool:
        """Whether an endpoint's answers are compared by these rules now; taken for granted where it cannot be read."""
        try:
            row = await self._state.get(COMPARISON_RULES, endpoint)
        except Unavailable:
            return True
        return (row.value if row is not None else Rules()).comparing == rules.comparing

    def _count(self, stored: dict[str, Row[ShadowRecord]], report: ComparisonReport) -> None:
        """What was done with the exchanges of either side belongs to the shadow's row."""
        unclaimed = {one.group for one in report.counts if one.group}
        for key, record in self._records.items() if report.counts else ():
            if key != record_key(record.group, noise=False):
                continue
            unclaimed -= {record.group, record.production_group}
            counts = [one for one in report.counts if one.group in (record.group, record.production_group)]
            if counts and not _has(stored, key, report):
                self._records[key] = replace(record, counts=counted_together([*record.counts, *counts]))
                self._unwritten.add(key)
        for group in sorted(unclaimed):
            of_group = [one for one in report.counts if one.group == group]
            self._early[group] = counted_together([*self._early.pop(group, ()), *of_group])
        while len(self._early) > _EARLY_GROUPS_MAX:
            del self._early[next(iter(self._early))]

    async def _read(self) -> dict[str, Row[ShadowRecord]]:
        """Without what is stored, counting would begin anew: it is tried for as long as it takes."""
        while self._stored is None:
            try:
                self._stored = {row.key: row for row in await self._state.rows(SHADOWS)}
            except Unavailable as error:
                log.warning("shadow.not_read %s", error)
                await asyncio.sleep(self._settings.report_retry_seconds)
            else:
                self._records = {key: row.value for key, row in self._stored.items()}
                self._revisions = {key: row.revision for key, row in self._stored.items()}
        return self._stored

    async def _write(self, report: ComparisonReport) -> None:
        """All that is new, in one transaction, and the oldest rows of too many away. What cannot be written waits."""
        self._write_again_at = self._clock.monotonic() + self._settings.shadow_store_seconds
        try:
            surplus = await self._surplus()
            for key in self._unwritten - surplus:
                record = await self._named(self._records[key])
                self._records[key] = replace(record, run=report.run, sequence=report.sequence)
            writes: list[Put[ShadowRecord] | Remove] = [
                Put(SHADOWS, key, self._records[key], self._revisions.get(key, 0))
                for key in sorted(self._unwritten - surplus)
            ]
            writes += [Remove(SHADOWS, key, self._revisions[key]) for key in sorted(surplus & self._revisions.keys())]
            await self._state.commit(writes)
        except (Unavailable, Conflict) as error:
            log.warning("shadow.not_stored %s", error)
            if isinstance(error, Conflict):  # the rows are not as they were when last read
                await self._read_revisions()
            return
        # What is written is written, whether or not it can be read again: the report may be acknowledged.
        self._unwritten.clear()
        for key in surplus:
            del self._records[key]
        await self._read_revisions()

    async def _read_revisions(self) -> None:
        """Where this fails the next commit is a conflict, and they are read again then."""
        try:
            self._revisions = {row.key: row.revision for row in await self._state.rows(SHADOWS)}
        except Unavailable as error:
            log.warning("shadow.not_read %s", error)

    async def _surplus(self) -> set[str]:
        """The oldest of too many shadows that are gone (or closed), and of too many noise floors. What an endpoint has now is not counted: endpoints bound it."""
        living: set[str] = set()
        for row in await self._state.rows(ENDPOINTS):
            living.update(group.id for fleet in _fleets(row.value) for group in fleet.all_groups)
        surplus: set[str] = set()
        for noise in (False, True):
            past = [
                key
                for key, one in self._records.items()
                if one.noise is noise and not (one.group in living and key == record_key(one.group, noise=noise))
            ]
            past.sort(key=lambda key: self._records[key].until, reverse=True)
            surplus.update(past[self._settings.shadow_records_max :])
        return surplus

    async def _named(self, record: ShadowRecord) -> ShadowRecord:
        """With the variants and configurations of its groups, as far as they are known."""
        shadow = None if record.variant else await self._group(record.endpoint, record.group)
        if shadow is not None:
            record = replace(record, variant=shadow.variant, config_name=shadow.config_name, model=shadow.model_name)
        production = None if record.production_variant else await self._group(record.endpoint, record.production_group)
        if production is not None:
            record = replace(
                record,
                production_variant=production.variant,
                production_config_name=production.config_name,
                production_model=production.model_name,
            )
        return record

    async def _group(self, endpoint: str, group: str) -> Group | None:
        row = await self._state.get(ENDPOINTS, endpoint)
        fleets = _fleets(row.value) if row is not None else []
        groups = {one.id: one for fleet in fleets for one in fleet.all_groups}
        if group in groups:
            return groups[group]
        record = await self._state.get(GROUPS, group)
        return record.value.group if record is not None else None


def _fleets(endpoint: Endpoint) -> list[Fleet]:
    """All that are there now."""
    deployment = endpoint.deployment
    fleets = [endpoint.blue, *([deployment.blue, deployment.green] if deployment is not None else [])]
    return [fleet for fleet in fleets if fleet is not None]


def _has(stored: dict[str, Row[ShadowRecord]], key: str, report: ComparisonReport) -> bool:
    """An earlier process counted this report in this row."""
    row = stored.get(key)
    return row is not None and row.value.run == report.run and report.sequence <= row.value.sequence
