"""Asks the publisher for what the stored endpoints say, again after every change of the state."""

from __future__ import annotations

import logging

from bannister.domain.routing import Plans
from bannister.errors import Unavailable
from bannister.publisher.publisher import Publisher
from bannister.state.store import State
from bannister.state.tables import COMPARISON_RULES, ENDPOINTS

log = logging.getLogger(__name__)


async def follow_endpoints(publisher: Publisher, state: State, again_seconds: float) -> None:
    """Run until cancelled. State is read again at least every `again_seconds`, should its medium have failed."""
    plans = Plans()
    while True:
        seen = state.changed.version
        try:
            noise = {row.key: row.value.noise_parts for row in await state.rows(COMPARISON_RULES)}
            endpoints = [row.value for row in await state.rows(ENDPOINTS)]
            publisher.ask([plans.of(one, noise.get(one.name, 0)) for one in endpoints])
        except Unavailable as error:
            log.warning("The endpoints cannot be read; the proxies go on with what they have: %s", error)
        await state.changed.wait_past(seen, again_seconds)
