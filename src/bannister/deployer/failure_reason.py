"""FailureReason: what DescribeEndpoint says of a change that was taken back, within what AWS's model allows."""

from __future__ import annotations

from typing import Final

from bannister.domain.deployment.deployment import Deployment, Phase
from bannister.domain.deployment.machine import BECAUSE

CHARACTERS_MAX: Final = 1024


def of_deployment(deployment: Deployment) -> str:
    """Of a deployment that was rolled back, or could not be; of the latter also why it was to be, however much an instance's log says."""
    reason = deployment.reason or "The deployment was rolled back."
    if deployment.phase is Phase.ROLLBACK_FAILED and deployment.blue is not None:
        failure, because, cause = reason.partition(BECAUSE)
        failure = (
            f'The update to "{deployment.green.config_name}" could not be rolled back to "{deployment.blue.config_name}"; both serve. '
            f"Call UpdateEndpoint with either. {failure}"
        )
        tail = because + _cut(cause, CHARACTERS_MAX // 2 - len(because))
        return _cut(failure, CHARACTERS_MAX - len(tail)) + tail
    if deployment.blue is not None:
        reason = f'The update to "{deployment.green.config_name}" was rolled back to "{deployment.blue.config_name}". {reason}'
    return _cut(reason, CHARACTERS_MAX)


def of_scaling(reason: str) -> str:
    """Of a change of weights and instance counts that was taken back."""
    return _cut(f"The change of weights and instance counts was taken back. {reason}", CHARACTERS_MAX)


def _cut(text: str, characters_max: int) -> str:
    """Without its middle, if it is too long: what happened stands at the beginning, and the last line of a log is the one that says most."""
    if len(text) <= characters_max:
        return text
    end = characters_max // 2
    return text[: characters_max - 1 - end] + "…" + text[-end:]
