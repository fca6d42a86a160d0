"""PutCompositeAlarm; the other operations are those of all alarms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bannister.aws.call import Call, Handler
from bannister.aws.cloudwatch.alarm import extras
from bannister.errors import Unsupported
from bannister.operations.composite_alarms import CompositeDefinition, put_composite_alarm
from bannister.operations.context import Context


def handlers(context: Context) -> Mapping[str, Handler]:
    async def put(call: Call) -> dict[str, Any]:
        params = call.params
        if params.get("ActionConfiguration"):
            raise Unsupported(
                "ActionConfiguration cannot be used: actions are addresses to be told, or ARNs that are written down."
            )
        asked = CompositeDefinition(
            rule=params["AlarmRule"],
            suppressor=params.get("ActionsSuppressor"),
            wait_seconds=params.get("ActionsSuppressorWaitPeriod"),
            extension_seconds=params.get("ActionsSuppressorExtensionPeriod"),
        )
        await put_composite_alarm(context, params["AlarmName"], asked, extras(params))
        return {}

    return {"PutCompositeAlarm": put}
