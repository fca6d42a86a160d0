"""The deployer's loop: observe, ask the machine, record, and look again.

It performs nothing itself: a decision changes the endpoint's row, and the publisher and the supervisor bring about what the row asks for.
The row and the journal entry with its evidence are written in one transaction, before anything follows from them.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from bannister import __version__
from bannister.clock import Clock
from bannister.deployer.failure_reason import of_deployment
from bannister.deployer.observe import Judge, Observer, Traffic
from bannister.deployer.scaling import Scaler
from bannister.domain.deployment.deployment import ENDED, Deployment, Phase
from bannister.domain.deployment.machine import Noticed, advance, heard, notice
from bannister.domain.deployment.observation import Limits, Observation
from bannister.domain.deployment.outlook import waits_longer
from bannister.domain.deployment.recorder import DECIDED, WAITED, WARNED, evidence, waited, warned
from bannister.domain.deployment.targets import mixed_fleet
from bannister.domain.endpoint import Endpoint
from bannister.errors import Conflict, Fenced
from bannister.instances.backend import InstanceBackend
from bannister.metrics.store import MetricStore
from bannister.signals import wait_any
from bannister.state.endpoint_change import endpoint_change
from bannister.state.store import Put, Record, Remove, Row, State
from bannister.state.tables import DEPLOYMENTS, ENDPOINTS

log = logging.getLogger(__name__)


class Deployer:
    """Carries every running deployment forward. One per data directory; `run` it as a task."""

    def __init__(
        self,
        state: State,
        instances: InstanceBackend,
        traffic: Traffic,
        judge: Judge,
        clock: Clock,
        limits: Limits,
        turn_seconds: float,
        metrics: MetricStore | None = None,
    ) -> None:
        """`turn_seconds`: deadlines are looked at this often when nothing else changes. Without metrics, requests are not counted."""
        self._state = state
        self._turn_seconds = turn_seconds
        self._signals = (state.changed, instances.changed, traffic.changed, judge.changed)
        self.observer = Observer(state, instances, traffic, judge, clock, metrics)
        self._limits = limits
        self._scaler = Scaler(state, instances, traffic, clock)

    async def run(self) -> None:
        """Until cancelled, or fenced by another process."""
        while True:
            seen = {signal: signal.version for signal in self._signals}
            again = False
            for row in await self._state.rows(ENDPOINTS):
                again = await self._contained(row) or again
            if not again:
                await wait_any(seen, self._turn_seconds)

    async def _contained(self, row: Row[Endpoint]) -> bool:
        """As `_turn`; one endpoint's fault must not stop the others."""
        try:
            return await self._turn(row)
        except Fenced:
            raise
        except Conflict:
            # Something was written since it was read; the next turn decides on what is true then.
            return True
        except Exception:
            log.exception("deployer.turn_failed endpoint=%s", row.key)
            return False

    async def _turn(self, row: Row[Endpoint]) -> bool:
        """One decision about an endpoint, if there is one to make; True: look again at once."""
        deployment, scaling = row.value.deployment, row.value.scaling
        if deployment is None:
            return scaling is not None and await self._scaler.turn(row, scaling)
        observation = await self.observer.observe(row.value, deployment)
        with_warnings = heard(deployment, observation)
        if with_warnings is not None:
            await self._record_warnings(row, deployment, with_warnings, observation.now)
            return True
        noticed = notice(deployment, observation, self._limits)
        if noticed is None:
            return await self._record_wait(row, deployment, observation)
        await self._record(row, deployment, noticed, observation)
        return True

    async def _record_warnings(self, row: Row[Endpoint], before: Deployment, after: Deployment, now: float) -> None:
        """Before anything else is decided: whoever follows the deployment has it before traffic moves."""
        record = Record(now, f"endpoint/{row.key}", WARNED, warned(before, after, __version__))
        await self._state.commit(
            [Put(ENDPOINTS, row.key, replace(row.value, deployment=after), row.revision)], [record]
        )
        log.warning("deployment.model_warned endpoint=%s: %s", row.key, record.body["reason"])

    async def _record_wait(self, row: Row[Endpoint], deployment: Deployment, observation: Observation) -> bool:
        """Why a bake takes longer than its time; False: there is nothing new to say."""
        found = waits_longer(deployment, observation, self._limits)
        if found is None:
            return False
        after, waits = found
        body = waited(deployment, waits, observation, self._limits, __version__)
        await self._state.commit(
            [Put(ENDPOINTS, row.key, replace(row.value, deployment=after), row.revision)],
            [Record(observation.now, f"endpoint/{row.key}", WAITED, body)],
        )
        log.info("deployment.waits endpoint=%s: %s", row.key, waits.sentence)
        return True

    async def _record(
        self, row: Row[Endpoint], deployment: Deployment, noticed: Noticed, observation: Observation
    ) -> None:
        after = advance(deployment, noticed, observation)
        record = Record(
            observation.now,
            f"endpoint/{row.key}",
            DECIDED,
            evidence(deployment, after, noticed, observation, self._limits, __version__),
        )
        ready = {group.group: group.ready for group in (*observation.blue, *observation.green)}
        change = endpoint_change(row, _settled(row.value, after, observation.now), observation.now, ready)
        writes: list[Put[Endpoint] | Put[Deployment] | Remove] = [change.write]
        if after.phase in ENDED:
            writes.append(Put(DEPLOYMENTS, after.id, after, 0))
        # A transition journaled since the alarms were read would be overlooked: insist that there was none.
        guarded = bool(deployment.policy.alarms)
        position = observation.journal_sequence if guarded else None
        await self._state.commit(writes, [record, *change.events], at_sequence=position)
        log.info("deployment.decided endpoint=%s phase=%s reason=%s", row.key, after.phase.value, noticed.reason)


def _settled(endpoint: Endpoint, deployment: Deployment, now: float) -> Endpoint:
    """The endpoint after a decision of its deployment."""
    endpoint = replace(endpoint, modified_at=now)
    match deployment.phase:
        case Phase.COMPLETED:
            return replace(endpoint, blue=deployment.green, deployment=None)
        case Phase.ROLLBACK_FAILED:
            reason = of_deployment(deployment)
            return replace(endpoint, blue=mixed_fleet(deployment), deployment=None, failure_reason=reason)
        case Phase.ROLLED_BACK:
            return replace(endpoint, deployment=None, failure_reason=of_deployment(deployment))
        case _:
            return replace(endpoint, deployment=deployment)
