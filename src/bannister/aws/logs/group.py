"""DescribeLogGroups and DescribeLogStreams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bannister.aws.arn import log_group_arn
from bannister.aws.call import Call, Handler
from bannister.aws.members import Members, Tables
from bannister.errors import Invalid
from bannister.operations import logs
from bannister.operations.context import Context
from bannister.operations.logs import LogGroup, NamedStream

#: AWS: of groups and of streams, where no limit is given.
PAGE_SIZE_DEFAULT: Final = 50
_CLASS: Final = "STANDARD"

MEMBERS: Final[Tables] = {
    "DescribeLogGroupsRequest": Members(
        "accountIdentifiers logGroupNamePrefix logGroupNamePattern nextToken limit logGroupClass logGroupIdentifiers",
        ignored={"includeLinkedAccounts": "there is one account"},
    ),
    "DescribeLogStreamsRequest": Members(
        "logGroupName logGroupIdentifier logStreamNamePrefix orderBy descending nextToken limit"
    ),
}


def handlers(context: Context) -> Mapping[str, Handler]:
    async def describe_groups(call: Call) -> dict[str, Any]:
        params = call.params
        if "logGroupNamePrefix" in params and "logGroupNamePattern" in params:
            raise Invalid("LogGroupNamePrefix and LogGroupNamePattern are mutually exclusive parameters.")
        accounts = params.get("accountIdentifiers") or [call.account_id]
        if params.get("logGroupClass", _CLASS) != _CLASS or call.account_id not in accounts:
            return {"logGroups": []}
        identifiers = params.get("logGroupIdentifiers")
        page = await logs.describe_log_groups(
            context,
            prefix=params.get("logGroupNamePrefix", ""),
            part=params.get("logGroupNamePattern", ""),
            names=None if identifiers is None else [_name(identifier) for identifier in identifiers],
            limit=params.get("limit", PAGE_SIZE_DEFAULT),
            token=params.get("nextToken"),
        )
        return {"logGroups": [_group(one, call) for one in page.items], "nextToken": page.token}

    async def describe_streams(call: Call) -> dict[str, Any]:
        params = call.params
        name = group_name(params)
        page = await logs.describe_log_streams(
            context,
            name,
            prefix=params.get("logStreamNamePrefix", ""),
            by_time=params.get("orderBy") == "LastEventTime",
            descending=params.get("descending", False),
            limit=params.get("limit", PAGE_SIZE_DEFAULT),
            token=params.get("nextToken"),
        )
        return {"logStreams": [_stream(one, name, call) for one in page.items], "nextToken": page.token}

    return {"DescribeLogGroups": describe_groups, "DescribeLogStreams": describe_streams}


def group_name(params: Mapping[str, Any]) -> str:
    """The group that a request is about.

    Raises:
        Invalid: It is named twice, or not at all.
    """
    given = [params[name] for name in ("logGroupName", "logGroupIdentifier") if name in params]
    if len(given) != 1:
        raise Invalid("Give exactly one of logGroupName and logGroupIdentifier.")
    return _name(given[0])


def _name(identifier: str) -> str:
    """A group's name from its name or its ARN."""
    if not identifier.startswith("arn:"):
        return identifier
    return identifier.partition(":log-group:")[2]


def _group(group: LogGroup, call: Call) -> dict[str, Any]:
    arn = log_group_arn(call.region, call.account_id, group.name)
    return {
        "logGroupName": group.name,
        "creationTime": group.created_at,
        "metricFilterCount": 0,
        "arn": f"{arn}:*",
        "logGroupArn": arn,
        "storedBytes": group.size,
        "logGroupClass": _CLASS,
    }


def _stream(named: NamedStream, group: str, call: Call) -> dict[str, Any]:
    stream = named.stream
    first, last = (None if at is None else logs.millis(at) for at in (stream.first_at, stream.last_at))
    return {
        "logStreamName": named.name,
        "creationTime": named.created_at,
        "firstEventTimestamp": first,
        "lastEventTimestamp": last,
        "lastIngestionTime": last,
        "arn": f"{log_group_arn(call.region, call.account_id, group)}:log-stream:{named.name}",
        # AWS: always 0 since 2019.
        "storedBytes": 0,
    }
