"""Asks the publisher for what the stored endpoints say, again after every change of the state."""

from __future__ import annotations

import logging

from bannister.domain.routing import plan_of
from bannister.errors import Unavailable
from bannister.publisher.publisher import Publisher
from bannister.state.store import State
from bannister.state.tables import COMPARISON_RULES, ENDPOINTS

log = logging.getLogger(__name__)

#: State is read again at least this often, should its medium have failed.
TURN_SECONDS = 1.0


async def follow_endpoints(publisher: Publisher, state: State) -> None:
    """Run until cancelled."""
    while True:
        seen = state.changed.version
        try:
            noise = {row.key: row.value.noise_parts for row in await state.rows(COMPARISON_RULES)}
            endpoints = [row.value for row in await state.rows(ENDPOINTS)]
            publisher.ask([plan_of(one, noise.get(one.name, 0)) for one in endpoints])
        except Unavailable as error:
            log.warning("The endpoints cannot be read; the proxies go on with what they have: %s", error)
        await state.changed.wait_past(seen, TURN_SECONDS)
