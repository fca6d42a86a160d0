"""STS and IAM, as far as tools need them before they call SageMaker: GetCallerIdentity and GetRole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bannister.aws.arn import assumed_role_arn, role_arn
from bannister.aws.call import Call, Service
from bannister.aws.members import Members
from bannister.operations import identity


def services() -> Sequence[Service]:
    """The operations of the two services that Bannister supports."""
    return [
        Service("sts", {"GetCallerIdentity": _get_caller_identity}, {"GetCallerIdentityRequest": Members()}),
        Service("iam", {"GetRole": _get_role}, {"GetRoleRequest": Members("RoleName")}),
    ]


async def _get_caller_identity(call: Call) -> dict[str, Any]:
    caller = identity.get_caller_identity()
    return {
        "UserId": f"{caller.role.id}:{caller.session}",
        "Account": call.account_id,
        "Arn": assumed_role_arn(call.account_id, caller.role.name, caller.session),
    }


async def _get_role(call: Call) -> dict[str, Any]:
    role = identity.get_role(call.params["RoleName"])
    return {
        "Role": {
            "Path": role.path,
            "RoleName": role.name,
            "RoleId": role.id,
            "Arn": role_arn(call.account_id, role.path, role.name),
            "CreateDate": role.created_at,
        }
    }
