"""FailureReason: what DescribeEndpoint says of a change that was taken back, within what AWS's model allows."""

from __future__ import annotations

from typing import Final

from bannister.domain.deployment.deployment import Deployment, Phase
from bannister.domain.deployment.machine import BECAUSE
from bannister.domain.deployment.targets import mixed_fleet
from bannister.domain.fleet import Fleet

CHARACTERS_MAX: Final = 1024


def of_deployment(deployment: Deployment) -> str:
    """Of a deployment that was rolled back, or could not be; of the latter also why it was to be, however much an instance's log says."""
    reason = deployment.reason or "The deployment was rolled back."
    if deployment.phase is Phase.ROLLBACK_FAILED and deployment.blue is not None:
        failure, because, cause = reason.partition(BECAUSE)
        failure = (
            f'The update to "{deployment.green.config_name}" could not be rolled back to "{deployment.blue.config_name}"; '
            f"both serve: {_serving(mixed_fleet(deployment))}. Call UpdateEndpoint with either. {failure}"
        )
        tail = because + _cut(cause, CHARACTERS_MAX // 2 - len(because))
        return _cut(failure, CHARACTERS_MAX - len(tail)) + tail
    if deployment.blue is not None:
        reason = f'The update to "{deployment.green.config_name}" was rolled back to "{deployment.blue.config_name}". {reason}'
    return _cut(reason, CHARACTERS_MAX)


def _serving(fleet: Fleet) -> str:
    """`"v1" with 1 instance(s) and 33.3 % of the traffic, "v2" with …`."""
    whole = sum(group.weight for group in fleet.groups) or 1.0
    configs = {
        group.config_name: [one for one in fleet.groups if one.config_name == group.config_name]
        for group in fleet.groups
    }
    return ", ".join(
        f'"{name}" with {sum(one.instance_count for one in groups)} instance(s) and '
        f"{100 * sum(one.weight for one in groups) / whole:.3g} % of the traffic"
        for name, groups in configs.items()
    )


def of_scaling(reason: str) -> str:
    """Of a change of weights and instance counts that was taken back."""
    return _cut(f"The change of weights and instance counts was taken back. {reason}", CHARACTERS_MAX)


def _cut(text: str, characters_max: int) -> str:
    """Without its middle, if it is too long: what happened stands at the beginning, and the last line of a log is the one that says most."""
    if len(text) <= characters_max:
        return text
    end = characters_max // 2
    return text[: characters_max - 1 - end] + "…" + text[-end:]
