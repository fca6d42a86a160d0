"""ListEvents, DescribeEventWebhooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bannister.aws.call import Call, Handler
from bannister.operations import events
from bannister.operations.context import Context
from bannister.operations.events import ToldEvent, Webhook

_PAGE_SIZE_DEFAULT: Final = 50


def handlers(context: Context) -> Mapping[str, Handler]:
    async def list_(call: Call) -> dict[str, Any]:
        params = call.params
        page = await events.list_events(
            context,
            endpoint=params.get("EndpointName"),
            after=params.get("After", 0),
            limit=params.get("MaxResults", _PAGE_SIZE_DEFAULT),
            token=params.get("NextToken"),
            newest_first=params.get("SortOrder") == "Descending",
        )
        return {"Events": [_event(one) for one in page.items], "NextToken": page.token}

    async def webhooks(_call: Call) -> dict[str, Any]:
        return {"Webhooks": [_webhook(one) for one in await events.describe_webhooks(context)]}

    return {"ListEvents": list_, "DescribeEventWebhooks": webhooks}


def _event(one: ToldEvent) -> dict[str, Any]:
    return {
        "Sequence": one.sequence,
        "Time": one.at,
        "EventId": one.event["id"],
        "DetailType": one.event["detail-type"],
        "EndpointName": one.endpoint,
        "EndpointStatus": one.event["detail"]["EndpointStatus"],
        "Event": msgspec.json.encode(one.event).decode(),
    }


def _webhook(one: Webhook) -> dict[str, Any]:
    return {
        "Address": one.address,
        "Waiting": one.waiting,
        "Delivered": one.delivered,
        "GivenUp": one.given_up,
        "LastDeliveredTime": one.delivered_at,
        "LastGivenUpTime": one.given_up_at,
        "LastGivenUpReason": one.given_up_because,
        "FailingSince": one.failing_since,
        "Error": one.error,
    }
