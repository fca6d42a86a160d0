"""DescribeAlarmHistory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bannister.aws.call import Call, Handler
from bannister.aws.cloudwatch.alarm import alarm_members
from bannister.aws.members import Members, Tables
from bannister.domain.alarm.alarm import Alarm
from bannister.operations.alarm_history import HistoryItem, HistoryRequest, ItemType, describe_alarm_history
from bannister.operations.context import Context

#: AWS: HistoryData is never longer.
HISTORY_DATA_CHARACTERS_MAX: Final = 4095

#: How AWS calls a change of the configuration: in the summary, as the type, and the member that holds the alarm.
_CHANGES: Final = {
    "alarm.created": ("created", "Create", "createdAlarm"),
    "alarm.updated": ("updated", "Update", "updatedAlarm"),
    "alarm.deleted": ("deleted", "Delete", "deletedAlarm"),
}

MEMBERS: Final[Tables] = {
    "DescribeAlarmHistoryInput": Members(
        "AlarmName AlarmTypes HistoryItemType StartDate EndDate MaxRecords NextToken ScanBy",
        refused={"AlarmContributorId": "an alarm has no contributors here; leave it out for the whole alarm's history"},
    )
}


def handlers(context: Context) -> Mapping[str, Handler]:
    async def describe(call: Call) -> dict[str, Any]:
        page = await describe_alarm_history(context, _request(call.params))
        return {"AlarmHistoryItems": [_members(item, call) for item in page.items], "NextToken": page.token}

    return {"DescribeAlarmHistory": describe}


def _request(params: dict[str, Any]) -> HistoryRequest:
    kinds = params.get("AlarmTypes") or ["MetricAlarm"]
    return HistoryRequest(
        metric="MetricAlarm" in kinds,
        composite="CompositeAlarm" in kinds,
        alarm=params.get("AlarmName"),
        item_type=params.get("HistoryItemType"),
        start=params.get("StartDate"),
        end=params.get("EndDate"),
        ascending=params.get("ScanBy") == "TimestampAscending",
        limit=params.get("MaxRecords", 100),
        token=params.get("NextToken"),
    )


def _members(item: HistoryItem, call: Call) -> dict[str, Any]:
    change = _CHANGES.get(item.kind)
    if item.type is ItemType.ACTION:
        summary, data = _action(item.body)
    elif change is None:
        summary = f"Alarm updated from {item.body['from']} to {item.body['to']}"
        data = _transition(item.body)
    else:
        word, type_, member = change
        summary = f'Alarm "{item.alarm}" {word}'[:255]
        alarm = alarm_members(msgspec.convert(item.body["alarm"], Alarm), call)
        data = {
            "version": "1.0",
            "type": type_,
            member: {name: value for name, value in alarm.items() if value is not None},
        }
    return {
        "AlarmName": item.alarm,
        "AlarmType": "CompositeAlarm" if item.composite else "MetricAlarm",
        "Timestamp": item.at,
        "HistoryItemType": item.type.value,
        "HistorySummary": summary,
        "HistoryData": _bounded(data),
    }


def _action(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What became of an action; an ARN is written down, and nobody is told."""
    action = body["action"]
    said = {
        "delivered": f"Successfully executed action {action}",
        "recorded": f"Recorded action {action}, which Bannister does not execute",
    }
    outcome = body["outcome"]
    summary = said.get(outcome, f"Failed to execute action {action}")
    members = {"actionState": outcome.capitalize(), "stateUpdateValue": body["state"], "notificationResource": action}
    detail: dict[str, Any] = {name: body[name] for name in ("attempts", "status", "error") if name in body}
    return summary[:255], {"version": "1.0", **members, **detail}


def _transition(body: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "1.0",
        "oldState": _state(body["from"], body["from_reason"], body["from_reason_data"]),
        "newState": _state(body["to"], body["reason"], body["reason_data"]),
    }


def _state(value: str, reason: str, reason_data: str | None) -> dict[str, Any]:
    state: dict[str, Any] = {"stateValue": value, "stateReason": reason}
    if reason_data is not None:
        state["stateReasonData"] = _as_json(reason_data)
    return state


def _as_json(text: str) -> Any:
    """What it says; the text itself where it cannot be part of a document: NaN, or more levels than Python can write."""
    try:
        value = json.loads(text)
        json.dumps([[[[value]]]], allow_nan=False)
    except (ValueError, RecursionError):
        return text
    return value


def _bounded(data: dict[str, Any]) -> str:
    """As JSON; what makes it too long is left out, so that it stays JSON."""
    text = json.dumps(data, separators=(",", ":"))
    for member in ("oldState", "newState"):
        if len(text) > HISTORY_DATA_CHARACTERS_MAX and member in data:
            data[member].pop("stateReasonData", None)
            text = json.dumps(data, separators=(",", ":"))
    if len(text) > HISTORY_DATA_CHARACTERS_MAX:
        text = json.dumps({"version": data["version"], "type": data.get("type")}, separators=(",", ":"))
    return text
