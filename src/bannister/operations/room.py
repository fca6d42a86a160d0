"""Whether there is memory for what a deployment is to start: looks up what the decision needs to know."""

from __future__ import annotations

import logging
from dataclasses import replace

from bannister.domain.deployment.deployment import Deployment
from bannister.domain.deployment.room import shortage
from bannister.domain.instance_type import allowance
from bannister.operations.context import Context
from bannister.settings import Switch

log = logging.getLogger(__name__)


async def with_shortage(context: Context, deployment: Deployment) -> Deployment:
    """The deployment, with the memory that it will miss as things are now."""
    memory = await context.memory()
    if memory is None:
        return deployment
    allowed = {}
    for group in deployment.green.all_groups if context.settings.instance_limits is Switch.ON else ():
        may = allowance(group.instance_type, None, memory.total).memory_bytes
        if may is not None:
            allowed[group.id] = may
    found = shortage(deployment.blue, deployment.green, deployment.steps, memory, allowed, rolling=deployment.rolling)
    if found is not None:
        log.warning(
            "deployment.short_of_memory endpoint=%s %s: %s", deployment.endpoint, found.kind.value, found.reason
        )
    return replace(deployment, shortage=found)
