"""Who a caller is, and what a role is: the questions that AWS's tools ask before they call what they came for.

Bannister has no accounts, users or policies. Any credentials are accepted and all of them mean the same: the one account of the
settings, in a role. A role and not a user, because a client looks in the caller's identity for the role that its models are to run in
(`get_execution_role` of SageMaker's SDK), and fails where it finds a user. What a model may do does not depend on a role here, so every
role that can be named exists; none is kept, listed or changed. Without policies nothing is forbidden, and that is what a client is told that
asks beforehand (version 3 of the SDK simulates what a role may do before it builds a model).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bannister.errors import Invalid
from bannister.operations.continuation import key_of, token_of
from bannister.operations.listing import Page

#: The role that every caller is in, and the session that AWS shows behind it.
CALLERS_ROLE: Final = "BannisterExecutionRole"
CALLERS_SESSION: Final = "local"

#: AWS: an id of a role is this and 17 letters and digits.
_ROLE_ID_PREFIX: Final = "AROA"
_ROLE_ID_LENGTH: Final = 17

_ROLE_ARN: Final = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/.+")
#: `service:action`, where both may have wildcards.
_ACTION: Final = re.compile(r"[A-Za-z0-9*?-]+:[A-Za-z0-9*?]+")
#: AWS: how many results a page has unless the caller says.
SIMULATED_DEFAULT: Final = 100


@dataclass(frozen=True, slots=True)
class Role:
    """A role by its name."""

    name: str
    #: The same for the same name, always.
    id: str
    path: str = "/"
    #: Seconds since the epoch. Nobody created it, so it has always been there.
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request is from."""

    role: Role
    session: str


def get_caller_identity() -> Caller:
    """Who calls, whatever the credentials."""
    return Caller(get_role(CALLERS_ROLE), CALLERS_SESSION)


def get_role(name: str) -> Role:
    """The role of a name; there is one for each."""
    letters = base64.b32encode(hashlib.sha256(name.encode()).digest()).decode("ascii")
    return Role(name, _ROLE_ID_PREFIX + letters[:_ROLE_ID_LENGTH])


def allowed_actions(
    role_arn: str, actions: Sequence[str], limit: int = SIMULATED_DEFAULT, marker: str | None = None
) -> Page[str]:
    """Those of the actions that a role may perform, in the order in which they were given: all, since there are no policies.

    Raises:
        Invalid: It is no role's ARN (there are no users or groups), an action is none, or the marker is not one that this gave.
    """
    if not _ROLE_ARN.fullmatch(role_arn):
        raise Invalid(
            f"{role_arn} is not the ARN of a role, and there are only roles here; give one, such as "
            f"arn:aws:iam::000000000000:role/{CALLERS_ROLE}.",
            code="NoSuchEntityException",
        )
    wrong = next((action for action in actions if not _ACTION.fullmatch(action)), None)
    if wrong is not None:
        raise Invalid(
            f"{wrong!r} in ActionNames is no action; give service:action, such as sagemaker:InvokeEndpoint.",
            code="InvalidInputException",
        )
    begin = _index(marker, len(actions)) if marker is not None else 0
    end = begin + limit
    return Page(tuple(actions[begin:end]), token_of(str(end)) if end < len(actions) else None)


def _index(marker: str, count: int) -> int:
    try:
        found = key_of(marker)
    except Invalid:
        found = ""
    if not found.isascii() or not found.isdecimal() or len(found) > len(str(count)):
        raise Invalid(
            "Marker is not one that this simulation gave; start again without it.", code="InvalidInputException"
        )
    return int(found)
