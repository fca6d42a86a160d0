"""TagResource, UntagResource, ListTagsForResource: of alarms, which are all that can be tagged here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from bannister.aws.call import Call, Handler
from bannister.aws.members import Members, Tables
from bannister.errors import Invalid, NotFound
from bannister.operations import alarm_tags
from bannister.operations.context import Context

_ALARM_ARN: Final = re.compile(r"arn:[^:]*:cloudwatch:([^:]*):([^:]*):alarm:(.+)", re.DOTALL)

MEMBERS: Final[Tables] = {
    "ListTagsForResourceInput": Members("ResourceARN"),
    "TagResourceInput": Members("ResourceARN Tags"),
    "Tag": Members("Key Value"),
    "UntagResourceInput": Members("ResourceARN TagKeys"),
}


def handlers(context: Context) -> Mapping[str, Handler]:
    async def list_tags(call: Call) -> dict[str, Any]:
        name = _alarm(call)
        try:
            tags = await alarm_tags.list_alarm_tags(context, name)
        except NotFound as error:
            raise _unknown(error) from None
        return {"Tags": [{"Key": key, "Value": value} for key, value in tags]}

    async def tag(call: Call) -> dict[str, Any]:
        name = _alarm(call)
        tags = tuple((tag["Key"], tag["Value"]) for tag in call.params["Tags"])
        try:
            await alarm_tags.tag_alarm(context, name, tags)
        except NotFound as error:
            raise _unknown(error) from None
        return {}

    async def untag(call: Call) -> dict[str, Any]:
        name = _alarm(call)
        try:
            await alarm_tags.untag_alarm(context, name, call.params["TagKeys"])
        except NotFound as error:
            raise _unknown(error) from None
        return {}

    return {"ListTagsForResource": list_tags, "TagResource": tag, "UntagResource": untag}


def _alarm(call: Call) -> str:
    given = call.params["ResourceARN"]
    found = _ALARM_ARN.fullmatch(given)
    if found is None:
        raise Invalid(
            f"{given} is not the ARN of an alarm; only alarms have tags here.", code="InvalidParameterValueException"
        )
    return found.group(3)


def _unknown(error: NotFound) -> Invalid:
    """These operations call it by another name than the others."""
    return Invalid(str(error), code="ResourceNotFoundException")
