"""STS and IAM, as far as tools need them before they call SageMaker: GetCallerIdentity, GetRole and SimulatePrincipalPolicy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from bannister.aws.arn import assumed_role_arn, role_arn
from bannister.aws.call import Call, Service
from bannister.aws.members import Members, Tables
from bannister.operations import identity

_NO_POLICIES: Final = "there are no policies"
_NOT_EVALUATED: Final = "policies are not evaluated; leave it out for what a role may do here"
MEMBERS: Final[Tables] = {
    "GetRoleRequest": Members("RoleName"),
    "SimulatePrincipalPolicyRequest": Members(
        "PolicySourceArn ActionNames ResourceArns MaxItems Marker",
        ignored=dict.fromkeys(
            ("PolicyExclusionList", "ResourceOwner", "CallerArn", "ContextEntries", "ResourceHandlingOption"),
            _NO_POLICIES,
        ),
        refused=dict.fromkeys(
            ("PolicyInputList", "PermissionsBoundaryPolicyInputList", "ResourcePolicy"), _NOT_EVALUATED
        ),
    ),
}


def services() -> Sequence[Service]:
    """The operations of the two services that Bannister supports."""
    return [
        Service("sts", {"GetCallerIdentity": _get_caller_identity}, {"GetCallerIdentityRequest": Members()}),
        Service("iam", {"GetRole": _get_role, "SimulatePrincipalPolicy": _simulate_principal_policy}, MEMBERS),
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


async def _simulate_principal_policy(call: Call) -> dict[str, Any]:
    params = call.params
    allowed = identity.allowed_actions(
        params["PolicySourceArn"],
        params["ActionNames"],
        params.get("MaxItems", identity.SIMULATED_DEFAULT),
        params.get("Marker"),
    )
    resources = params.get("ResourceArns", [])
    found: dict[str, Any] = {
        "EvaluationResults": [_allowed(action, resources) for action in allowed.items],
        "IsTruncated": allowed.token is not None,
    }
    return found if allowed.token is None else {**found, "Marker": allowed.token}


def _allowed(action: str, resources: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "EvalActionName": action,
        "EvalResourceName": resources[0] if len(resources) == 1 else "*",
        "EvalDecision": "allowed",
        "MatchedStatements": [],
        "MissingContextValues": [],
    }
    if resources:
        found["ResourceSpecificResults"] = [
            {"EvalResourceName": resource, "EvalResourceDecision": "allowed"} for resource in resources
        ]
    return found
