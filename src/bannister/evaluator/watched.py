"""Which alarms stop a deployment that is running now."""

from __future__ import annotations

from collections.abc import Callable

from bannister.domain.alarm.alarm import Alarm
from bannister.domain.alarm.cascade import led_to
from bannister.domain.deployment.deployment import ENDED
from bannister.state.store import State
from bannister.state.tables import ENDPOINTS


async def watched_alarms(state: State, alarm_of: Callable[[str], Alarm | None]) -> frozenset[str]:
    """The names of all alarms that running deployments name, and of those that the rules of composite alarms among them lead to."""
    running = [row.value.deployment for row in await state.rows(ENDPOINTS) if row.value.deployment is not None]
    named = [name for one in running if one.phase not in ENDED for name in one.policy.alarms]
    return frozenset(led_to(alarm_of, named))
