"""The tags of alarms: list, add, take away. They are no part of the configuration: history does not mention them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bannister.domain.alarm.alarm import Alarm
from bannister.domain.tags import Tags, tagged, untagged
from bannister.errors import NotFound, Resource
from bannister.operations.alarms import revise
from bannister.operations.context import Context
from bannister.state.store import Record
from bannister.state.tables import ALARMS


async def list_alarm_tags(context: Context, name: str) -> Tags:
    """The tags of an alarm.

    Raises:
        NotFound: There is no such alarm.
    """
    row = await context.state.get(ALARMS, name)
    if row is None:
        raise NotFound(Resource.ALARM, name)
    return row.value.tags


async def tag_alarm(context: Context, name: str, tags: Tags) -> None:
    """Add tags, or give keys that are there new values.

    Raises:
        Invalid: There would be too many, or one is reserved.
        NotFound: There is no such alarm.
    """

    def revised(alarm: Alarm) -> tuple[Alarm, list[Record]]:
        return replace(alarm, tags=tagged(alarm.tags, tags)), []

    await revise(context, name, revised)


async def untag_alarm(context: Context, name: str, keys: Sequence[str]) -> None:
    """Take tags away; keys that are not there are ignored.

    Raises:
        NotFound: There is no such alarm.
    """

    def revised(alarm: Alarm) -> tuple[Alarm, list[Record]]:
        return replace(alarm, tags=untagged(alarm.tags, keys)), []

    await revise(context, name, revised)
