"""Asks the publisher for what the stored endpoints say, again after every change of the state."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import PLAIN, Group, Traits
from bannister.domain.routing import Plans, wanted_fleets
from bannister.errors import Unavailable
from bannister.publisher.publisher import Publisher
from bannister.state.store import State
from bannister.state.tables import COMPARISON_RULES, ENDPOINTS, GROUPS

log = logging.getLogger(__name__)


def _traits(endpoints: Iterable[Endpoint], retiring: Iterable[Group]) -> dict[str, Traits]:
    """Of all groups that are out of the ordinary: those that an endpoint wants, and those that are there until their last request is over."""
    wanted = (group for endpoint in endpoints for fleet in wanted_fleets(endpoint) for group in fleet.all_groups)
    return {group.id: group.traits for group in (*retiring, *wanted) if group.traits != PLAIN}


async def follow_endpoints(publisher: Publisher, state: State, again_seconds: float) -> None:
    """Run until cancelled. State is read again at least every `again_seconds`, should its medium have failed."""
    plans = Plans()
    while True:
        seen = state.changed.version
        try:
            noise = {row.key: row.value.noise_parts for row in await state.rows(COMPARISON_RULES)}
            endpoints = [row.value for row in await state.rows(ENDPOINTS)]
            retiring = [row.value.group for row in await state.rows(GROUPS)]
            publisher.ask([plans.of(one, noise.get(one.name, 0)) for one in endpoints], _traits(endpoints, retiring))
        except Unavailable as error:
            log.warning("The endpoints cannot be read; the proxies go on with what they have: %s", error)
        await state.changed.wait_past(seen, again_seconds)
