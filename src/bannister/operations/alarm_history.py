"""The history of alarms, read from the journal; it outlives the alarms themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from bannister.operations.context import Context
from bannister.operations.continuation import continued
from bannister.operations.listing import Page
from bannister.state.store import Entry

_JOURNAL_PAGE: Final = 1000


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
    """What happened to one alarm, or to all, newest first unless asked otherwise."""
    kinds = [kind for kind, type_ in _KINDS.items() if request.item_type in (None, type_.value)]
    items = [
        HistoryItem(entry.subject.removeprefix("alarm/"), entry.sequence, entry.at, _KINDS[kind], kind, entry.body)
        for kind in kinds
        for entry in await _entries(context, request.alarm, kind)
        if (request.start is None or entry.at >= request.start) and (request.end is None or entry.at <= request.end)
    ]
    items = [item for item in items if (request.composite if item.composite else request.metric)]
    limit = min(request.limit, context.settings.alarm_history_per_page_max)
    return continued(
        items, lambda item: f"{item.sequence:020d}", limit, request.token, descending=not request.ascending
    )


async def _entries(context: Context, alarm: str | None, kind: str) -> Sequence[Entry]:
    subject = None if alarm is None else f"alarm/{alarm}"
    found: list[Entry] = []
    while True:
        after = found[-1].sequence if found else 0
        page = await context.state.journal(after=after, subject=subject, kind=kind, limit=_JOURNAL_PAGE)
        found.extend(page)
        if len(page) < _JOURNAL_PAGE:
            return found
