"""Whether there is memory for what a deployment, an experiment or a change of instance counts is to start: looks up what the decision needs to know."""

from __future__ import annotations

import logging
from dataclasses import replace

from bannister.domain.deployment.deployment import Deployment
from bannister.domain.deployment.room import MachineMemory, Shortage, shortage, shortage_of_more
from bannister.domain.fleet import Fleet
from bannister.domain.instance_type import allowance
from bannister.operations.context import Context
from bannister.settings import Switch

log = logging.getLogger(__name__)


async def with_shortage(context: Context, deployment: Deployment) -> Deployment:
    """The deployment, with the memory that it will miss as things are now."""
    memory = await context.memory()
    if memory is None:
        return deployment
    allowed = _allowed(context, deployment.green, memory)
    found = shortage(deployment.blue, deployment.green, deployment.steps, memory, allowed, rolling=deployment.rolling)
    if found is not None:
        log.warning(
            "deployment.short_of_memory endpoint=%s %s: %s", deployment.endpoint, found.kind.value, found.reason
        )
    return replace(deployment, shortage=found)


async def shortage_of_scaling(context: Context, endpoint: str, before: Fleet, after: Fleet) -> Shortage | None:
    """The memory that a change of instance counts will miss as things are now."""
    memory = await context.memory()
    if memory is None:
        return None
    found = shortage_of_more(before, after, memory, _allowed(context, after, memory))
    if found is not None:
        log.warning("scaling.short_of_memory endpoint=%s %s: %s", endpoint, found.kind.value, found.reason)
    return found


def _allowed(context: Context, fleet: Fleet, memory: MachineMemory) -> dict[str, int]:
    """By group, what its type lets an instance use."""
    if context.settings.instance_limits is not Switch.ON:
        return {}
    may = {group.id: allowance(group.instance_type, None, memory.total).memory_bytes for group in fleet.all_groups}
    return {name: count for name, count in may.items() if count is not None}
