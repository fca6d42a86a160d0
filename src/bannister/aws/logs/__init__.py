"""CloudWatch Logs: what instances print, to be read (`DescribeLogGroups`, `DescribeLogStreams`, `GetLogEvents`, `FilterLogEvents`)."""

from __future__ import annotations

from bannister.aws.call import Service
from bannister.aws.logs import event, group
from bannister.operations.context import Context


def service(context: Context) -> Service:
    """The operations of CloudWatch Logs that Bannister supports."""
    return Service("logs", {**group.handlers(context), **event.handlers(context)}, {**group.MEMBERS, **event.MEMBERS})
