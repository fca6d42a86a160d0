"""Tells the capture process what the stored endpoints say, again after every change of the state."""

from __future__ import annotations

import logging
from typing import Protocol

from bannister.domain.capture.instructing import instructions_of
from bannister.domain.capture.instructions import Instructions
from bannister.domain.comparison.rules import Rules
from bannister.domain.routing import Plans
from bannister.errors import Unavailable
from bannister.state.store import State
from bannister.state.tables import COMPARISON_RULES, ENDPOINTS

log = logging.getLogger(__name__)

#: State is read again at least this often, should its medium have failed.
TURN_SECONDS = 1.0


class Instructed(Protocol):
    """Who passes instructions on."""

    async def instruct(self, instructions: Instructions) -> None: ...


async def instruct_capture(capture: Instructed, state: State) -> None:
    """Run until cancelled."""
    plans = Plans()
    while True:
        seen = state.changed.version
        try:
            stored = {row.key: row.value for row in await state.rows(COMPARISON_RULES)}
            endpoints = [row.value for row in await state.rows(ENDPOINTS)]
        except Unavailable as error:
            log.warning("The endpoints cannot be read; capture goes on as it was told: %s", error)
        else:
            ruled = [(one, stored.get(one.name, Rules())) for one in endpoints]
            await capture.instruct(
                instructions_of((one, rules, plans.of(one, rules.noise_parts)) for one, rules in ruled)
            )
        await state.changed.wait_past(seen, TURN_SECONDS)
