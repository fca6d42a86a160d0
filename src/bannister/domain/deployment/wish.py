"""A person's wish that a deployment rolls back: whether it comes in time, as pure as the machine's own decisions.

The journal holds what the wish was judged on, granted or refused, and `replay_wish` judges it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from bannister.domain.deployment.deployment import ENDED, RETURNING, Deployment, Phase
from bannister.domain.deployment.recorder import Unreplayable
from bannister.errors import Invalid, Refused


def wished(deployment: Deployment, reason: str) -> Deployment:
    """The deployment with the wish; as it is, if it was asked before or is on its way back.

    Raises:
        Invalid: (ConflictException) It is too late: blue has begun to go.
    """
    if deployment.phase is Phase.RETIRING:
        blue = deployment.blue.config_name if deployment.blue is not None else "blue"
        raise Invalid(
            f'Deployment "{deployment.id}" cannot be rolled back any more: all its steps have baked and "{blue}" is being retired. '
            f'When it has completed, call UpdateEndpoint with "{blue}".',
            code="ConflictException",
        )
    if deployment.stop_requested is not None or deployment.phase in RETURNING | ENDED:
        return deployment
    return replace(deployment, stop_requested=reason)


def wish(before: Deployment, reason: str, version: str, refusal: Refused | None = None) -> dict[str, Any]:
    """The body of the journal's entry about a wish. `refusal`: why it was not granted. `version`: of the software that decided."""
    return {
        "deployment": before.id,
        "phase": before.phase.value,
        "reason": reason if refusal is None else str(refusal),
        "wished": reason,
        "before": msgspec.to_builtins(before),
        "version": version,
    }


def replay_wish(body: Mapping[str, Any]) -> str | None:
    """The sentence with which a recorded wish is refused when it is judged again; None: it is granted.

    Raises:
        Unreplayable: The body is not a whole record of a wish.
    """
    try:
        before, reason = msgspec.convert(body["before"], Deployment), body["wished"]
    except (KeyError, msgspec.ValidationError) as error:
        raise Unreplayable(f"The record of this wish is not whole: {error}.") from None
    try:
        wished(before, reason)
    except Refused as refused:
        return str(refused)
    return None
