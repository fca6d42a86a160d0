"""The history of alarms, read from the journal; it outlives the alarms themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from bannister.errors import Invalid
from bannister.operations.context import Context
from bannister.operations.continuation import key_of, token_of
from bannister.operations.listing import Page
from bannister.state.store import Entry

#: Entries that are read in one turn: of one alarm, or of each kind.
_JOURNAL_PAGE: Final = 200
#: The journal is in the order in which things happened, which that of their times is not where a clock was set by up to so much.
_CLOCK_SECONDS_MAX: Final = 3600.0


class ItemType(StrEnum):
    """AWS's HistoryItemType, as far as Bannister has such items."""

    CONFIGURATION_UPDATE = "ConfigurationUpdate"
    STATE_UPDATE = "StateUpdate"
    ACTION = "Action"


_KINDS: Final = {
    "alarm.created": ItemType.CONFIGURATION_UPDATE,
    "alarm.updated": ItemType.CONFIGURATION_UPDATE,
    "alarm.deleted": ItemType.CONFIGURATION_UPDATE,
    "alarm.transitioned": ItemType.STATE_UPDATE,
    "alarm.acted": ItemType.ACTION,
}


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """One thing that happened to an alarm."""

    alarm: str
    sequence: int
    at: float
    type: ItemType
    #: The journal's: `alarm.created`, `alarm.updated`, `alarm.deleted`, `alarm.transitioned`, `alarm.acted`.
    kind: str
    body: dict[str, Any]

    @property
    def composite(self) -> bool:
        """The alarm was a composite one."""
        alarm = self.body.get("alarm")
        return bool(self.body.get("composite") if alarm is None else alarm.get("composite"))


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """Which part of the history; None: all."""

    alarm: str | None = None
    #: An AWS HistoryItemType; one that Bannister does not have selects nothing.
    item_type: str | None = None
    start: float | None = None
    end: float | None = None
    #: Which kinds of alarms; AWS: metric alarms, unless others are asked for.
    metric: bool = True
    composite: bool = False
    ascending: bool = False
    limit: int = 100
    token: str | None = None


async def describe_alarm_history(context: Context, request: HistoryRequest) -> Page[HistoryItem]:
    """What happened to one alarm, or to all, newest first unless asked otherwise.

    It is read in turns of some 200 entries, no more of them than a page needs; of one alarm, also those of kinds that were not asked for.
    """
    limit = min(request.limit, context.settings.alarm_history_per_page_max)
    found: list[HistoryItem] = []
    async for item in _items(context, request, None if request.token is None else _position(request.token)):
        if len(found) == limit:
            return Page(tuple(found), token_of(f"{found[-1].sequence:020d}"))
        found.append(item)
    return Page(tuple(found), None)


def _position(token: str) -> int:
    key = key_of(token)
    if not (key.isascii() and key.isdecimal()):
        raise Invalid("NextToken is not one that this listing gave; start again without it.", code="InvalidNextToken")
    return int(key)


async def _items(context: Context, request: HistoryRequest, position: int | None) -> AsyncIterator[HistoryItem]:
    """Those that were asked for, from a position on."""
    kinds = [kind for kind, type_ in _KINDS.items() if request.item_type in (None, type_.value)]
    while kinds:
        page = await _page(context, request, kinds, position)
        for entry in page:
            if entry.kind not in kinds:
                continue
            item = HistoryItem(
                entry.subject.removeprefix("alarm/"),
                entry.sequence,
                entry.at,
                _KINDS[entry.kind],
                entry.kind,
                entry.body,
            )
            if _is_asked_for(request, item):
                yield item
        if len(page) < _JOURNAL_PAGE or _is_past(request, page):
            return
        position = page[-1].sequence
        await asyncio.sleep(0)


async def _page(context: Context, request: HistoryRequest, kinds: Collection[str], position: int | None) -> list[Entry]:
    """The journal's next entries among which those that were asked for are: of one alarm, or of all by kind; both without a search."""

    async def read(subject: str | None = None, kind: str | None = None) -> list[Entry]:
        journal = context.state.journal
        if request.ascending:
            return await journal(after=position or 0, subject=subject, kind=kind, limit=_JOURNAL_PAGE)
        return await journal(before=position, subject=subject, kind=kind, limit=_JOURNAL_PAGE, newest_first=True)

    if request.alarm is not None:
        return await read(f"alarm/{request.alarm}")
    # A page of each kind has the next page of all of them.
    page = [entry for kind in kinds for entry in await read(kind=kind)]
    return sorted(page, key=lambda entry: entry.sequence, reverse=not request.ascending)[:_JOURNAL_PAGE]


def _is_past(request: HistoryRequest, page: Sequence[Entry]) -> bool:
    """Whether what follows a page lies outside of the time that was asked for, whatever a clock was set to meanwhile, within reason."""
    if request.ascending:
        return request.end is not None and min(entry.at for entry in page) > request.end + _CLOCK_SECONDS_MAX
    return request.start is not None and max(entry.at for entry in page) < request.start - _CLOCK_SECONDS_MAX


def _is_asked_for(request: HistoryRequest, item: HistoryItem) -> bool:
    if not (request.composite if item.composite else request.metric):
        return False
    return (request.start is None or item.at >= request.start) and (request.end is None or item.at <= request.end)
