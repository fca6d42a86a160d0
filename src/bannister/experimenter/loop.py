"""The experimenter's loop: observe, ask the machine, record, and look again.

As the deployer it performs nothing itself. A decision changes the experiment's row, and with it, in the same transaction, the endpoint's: there a
deployment begins, which the deployer carries on, or the share of copied requests changes, which the publisher brings about.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from bannister import __version__
from bannister.clock import Clock
from bannister.domain.deployment.deployment import Deployment
from bannister.domain.deployment.recorder import STARTED, started
from bannister.domain.endpoint import Endpoint
from bannister.domain.experiment.experiment import ENDED, Experiment
from bannister.domain.experiment.machine import Decision, Limits, Noticed, Observation, advance, notice
from bannister.domain.experiment.recorder import DECIDED, evidence
from bannister.errors import Conflict, Fenced
from bannister.ids import Ids
from bannister.signals import wait_any
from bannister.state.endpoint_change import endpoint_change
from bannister.state.store import Put, Record, Remove, Row, State
from bannister.state.tables import ENDPOINT_CONFIGS, ENDPOINTS, EXPERIMENTS, MODELS

log = logging.getLogger(__name__)


class Experimenter:
    """Carries every inference experiment forward. One per data directory; `run` it as a task."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        ids: Ids,
        limits: Limits,
        turn_seconds: float,
        with_shortage: Callable[[Deployment], Awaitable[Deployment]] | None = None,
    ) -> None:
        """An experimenter.

        Args:
            state: Experiments, endpoints and models.
            clock: The present.
            ids: For deployments.
            limits: Of experiments.
            turn_seconds: Start and end times are looked at this often when nothing else changes.
            with_shortage: A deployment, before it begins, with the memory that it may miss; None: nobody looks.
        """
        self._with_shortage = with_shortage
        self._state = state
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._turn_seconds = turn_seconds

    async def run(self) -> None:
        """Until cancelled, or fenced by another process."""
        while True:
            seen = {self._state.changed: self._state.changed.version}
            again = False
            for row in await self._state.rows(EXPERIMENTS):
                if row.value.status not in ENDED:
                    again = await self._turn(row) or again
            if not again:
                await wait_any(seen, self._turn_seconds)

    async def _turn(self, row: Row[Experiment]) -> bool:
        """One decision, if there is one to make; True: look again at once."""
        try:
            endpoint = await self._state.get(ENDPOINTS, row.value.endpoint)
            seen = await self._observe(row.value, endpoint)
            noticed = notice(row.value, seen, self._limits)
            if noticed is None:
                return False
            decision = advance(row.value, noticed, seen, self._limits)
            await self._record(row, endpoint, decision, noticed, seen)
        except Fenced:
            raise
        except Conflict:
            # Something was written since it was read; the next turn decides on what is true then.
            return True
        except Exception:  # one experiment's fault must not stop the others
            log.exception("experiment.turn_failed experiment=%s", row.key)
            return False
        return True

    async def _observe(self, experiment: Experiment, endpoint: Row[Endpoint] | None) -> Observation:
        containers = {}
        if experiment.begun is None:  # later it has its own copies
            for variant in experiment.variants:
                model = await self._state.get(MODELS, variant.model_name)
                if model is not None:
                    containers[variant.model_name] = model.value.container
        too_like = None
        if endpoint is None and experiment.begun is None:
            wanted, names = experiment.endpoint, [row.key for row in await self._state.rows(ENDPOINTS)]
            too_like = next((name for name in names if name != wanted and name.lower() == wanted.lower()), None)
        found = endpoint.value if endpoint is not None else None
        return Observation(self._clock.now(), found, containers, self._ids.short(), too_like)

    async def _record(
        self,
        row: Row[Experiment],
        endpoint: Row[Endpoint] | None,
        decision: Decision,
        noticed: Noticed,
        seen: Observation,
    ) -> None:
        body = evidence(row.value, decision, noticed, seen, self._limits, __version__)
        records = [Record(seen.now, f"experiment/{row.key}", DECIDED, body)]
        writes: list[Put[Any] | Remove] = [Put(EXPERIMENTS, row.key, decision.experiment, row.revision)]
        changed = decision.endpoint
        if changed is not None:
            if self._with_shortage and changed.deployment is not None and changed.deployment.id == seen.fresh_id:
                changed = replace(changed, deployment=await self._with_shortage(changed.deployment))
            change = endpoint_change(endpoint, changed, seen.now, None)
            writes.append(change.write)
            deployment = changed.deployment
            if deployment is not None and deployment.id == seen.fresh_id:
                body = started(deployment, __version__, {"experiment": row.key})
                records.append(Record(seen.now, f"endpoint/{changed.name}", STARTED, body))
            records += change.events
        if decision.config is not None:
            writes.append(Put(ENDPOINT_CONFIGS, decision.config.name, decision.config, 0))
        await self._state.commit(writes, records)
        status = decision.experiment.status.value
        log.info("experiment.decided experiment=%s status=%s reason=%s", row.key, status, noticed.reason)
