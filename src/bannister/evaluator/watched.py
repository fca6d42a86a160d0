"""Which alarms stop a deployment that is running now."""

from __future__ import annotations

from bannister.domain.deployment.machine import ENDED
from bannister.state.store import State
from bannister.state.tables import ENDPOINTS


async def watched_alarms(state: State) -> frozenset[str]:
    """The names of all alarms that running deployments name."""
    running = [row.value.deployment for row in await state.rows(ENDPOINTS) if row.value.deployment is not None]
    return frozenset(name for one in running if one.phase not in ENDED for name in one.policy.alarms)
