"""GetLogEvents and FilterLogEvents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bannister.aws.call import Call, Handler
from bannister.aws.logs.group import group_name
from bannister.aws.members import Members, Tables
from bannister.domain.log_pattern import parse_pattern
from bannister.errors import Invalid
from bannister.operations import logs
from bannister.operations.context import Context
from bannister.operations.logs import EVENTS_MAX, Event, FilterRequest, Window

_UNMASKED: Final = "nothing is masked"

MEMBERS: Final[Tables] = {
    "GetLogEventsRequest": Members(
        "logGroupName logGroupIdentifier logStreamName startTime endTime nextToken limit startFromHead",
        ignored={"unmask": _UNMASKED},
    ),
    "FilterLogEventsRequest": Members(
        "logGroupName logGroupIdentifier logStreamNames logStreamNamePrefix startTime endTime filterPattern nextToken limit "
        "startFromHead",
        ignored={"interleaved": "events of several streams are always interleaved, as on AWS", "unmask": _UNMASKED},
    ),
}


def handlers(context: Context) -> Mapping[str, Handler]:
    async def get(call: Call) -> dict[str, Any]:
        params = call.params
        page = await logs.get_log_events(
            context,
            group_name(params),
            params["logStreamName"],
            _window(params),
            from_head=params.get("startFromHead", False),
            token=params.get("nextToken"),
        )
        return {
            "events": [_members(event) for event in page.events],
            "nextForwardToken": page.forward,
            "nextBackwardToken": page.backward,
        }

    async def filter_(call: Call) -> dict[str, Any]:
        params = call.params
        if "logStreamNames" in params and "logStreamNamePrefix" in params:
            raise Invalid("logStreamNames and logStreamNamePrefix are mutually exclusive parameters.")
        if params.get("startFromHead", True) is False:
            raise Invalid("startFromHead=false is not supported: events are listed from the oldest on.")
        request = FilterRequest(
            params.get("logStreamNames"),
            params.get("logStreamNamePrefix", ""),
            parse_pattern(params.get("filterPattern", "")),
            _window(params),
            params.get("nextToken"),
        )
        page = await logs.filter_log_events(context, group_name(params), request)
        events = [{"logStreamName": event.stream, "eventId": event.id, **_members(event)} for event in page.items]
        # AWS: searchedLogStreams is always empty since 2019.
        return {"events": events, "searchedLogStreams": [], "nextToken": page.token}

    return {"GetLogEvents": get, "FilterLogEvents": filter_}


def _window(params: Mapping[str, Any]) -> Window:
    return Window(params.get("startTime"), params.get("endTime"), params.get("limit", EVENTS_MAX))


def _members(event: Event) -> dict[str, Any]:
    """A line is taken in when it is seen, so both times are one."""
    return {"timestamp": event.at, "message": event.text, "ingestionTime": event.at}
