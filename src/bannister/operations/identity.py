"""Who a caller is, and what a role is: the questions that AWS's tools ask before they call what they came for.

Bannister has no accounts, users or policies. Any credentials are accepted and all of them mean the same: the one account of the
settings, in a role. A role and not a user, because a client looks in the caller's identity for the role that its models are to run in
(`get_execution_role` of SageMaker's SDK), and fails where it finds a user. What a model may do does not depend on a role here, so every
role that can be named exists; none is kept, listed or changed.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Final

#: The role that every caller is in, and the session that AWS shows behind it.
CALLERS_ROLE: Final = "BannisterExecutionRole"
CALLERS_SESSION: Final = "local"

#: AWS: an id of a role is this and 17 letters and digits.
_ROLE_ID_PREFIX: Final = "AROA"
_ROLE_ID_LENGTH: Final = 17


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
