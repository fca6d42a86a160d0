"""AddTags, ListTags, DeleteTags; and the Tags that a resource is created with.

AWS does not document what it says of a resource that does not exist; here it is what the resource's own operations say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bannister.aws.arn import named
from bannister.aws.call import Call, Handler
from bannister.aws.members import Members, Tables
from bannister.domain.tags import Tags
from bannister.errors import Invalid, Resource
from bannister.operations import tags
from bannister.operations.context import Context

#: AWS: MaxResults of ListTags is 50 or more; a resource has no more.
_PAGE_SIZE_DEFAULT: Final = 50

MEMBERS: Final[Tables] = {
    "AddTagsInput": Members("ResourceArn Tags"),
    "Tag": Members("Key Value"),
    "ListTagsInput": Members("ResourceArn NextToken MaxResults"),
    "DeleteTagsInput": Members("ResourceArn TagKeys"),
}


def handlers(context: Context) -> Mapping[str, Handler]:
    async def add(call: Call) -> dict[str, Any]:
        kind, name = _resource(call)
        return {"Tags": _members(await tags.add_tags(context, kind, name, tags_of(call.params)))}

    async def list_(call: Call) -> dict[str, Any]:
        kind, name = _resource(call)
        limit = call.params.get("MaxResults", _PAGE_SIZE_DEFAULT)
        page = await tags.list_tags(context, kind, name, limit=limit, token=call.params.get("NextToken"))
        return {"Tags": _members(page.items), "NextToken": page.token}

    async def delete(call: Call) -> dict[str, Any]:
        kind, name = _resource(call)
        await tags.delete_tags(context, kind, name, call.params["TagKeys"])
        return {}

    return {"AddTags": add, "ListTags": list_, "DeleteTags": delete}


def tags_of(params: Mapping[str, Any]) -> Tags:
    """The tags that are given to a resource."""
    return tuple((tag["Key"], tag["Value"]) for tag in params.get("Tags", ()))


def _members(found: Tags) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in found]


def _resource(call: Call) -> tuple[Resource, str]:
    """What ResourceArn names.

    Raises:
        Invalid: Nothing that is kept here.
    """
    given = call.params["ResourceArn"]
    found = named(given)
    if found is None or found.kind is None or found.kind not in tags.TAGGABLE:
        kinds = "models, endpoint configurations, endpoints and inference experiments"
        raise Invalid(f'"{given}" cannot have tags here: {kinds} can.')
    if (found.region, found.account_id) != (call.region, call.account_id):
        raise Invalid(
            f'Could not find {found.kind.value} "{given}": this server is region {call.region} of account {call.account_id}.'
        )
    return found.kind, found.name
