"""PutCompositeAlarm; the other operations are those of all alarms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bannister.aws.call import Call, Handler
from bannister.aws.cloudwatch.alarm import extras
from bannister.aws.members import Members, Tables
from bannister.operations.composite_alarms import CompositeDefinition, put_composite_alarm
from bannister.operations.context import Context

MEMBERS: Final[Tables] = {
    "PutCompositeAlarmInput": Members(
        "ActionsEnabled AlarmActions AlarmDescription AlarmName AlarmRule InsufficientDataActions OKActions Tags "
        "ActionsSuppressor ActionsSuppressorWaitPeriod ActionsSuppressorExtensionPeriod",
        refused={"ActionConfiguration": "actions are addresses to be told, or ARNs that are written down"},
    )
}


def handlers(context: Context) -> Mapping[str, Handler]:
    async def put(call: Call) -> dict[str, Any]:
        params = call.params
        asked = CompositeDefinition(
            rule=params["AlarmRule"],
            suppressor=params.get("ActionsSuppressor"),
            wait_seconds=params.get("ActionsSuppressorWaitPeriod"),
            extension_seconds=params.get("ActionsSuppressorExtensionPeriod"),
        )
        await put_composite_alarm(context, params["AlarmName"], asked, extras(params))
        return {}

    return {"PutCompositeAlarm": put}
