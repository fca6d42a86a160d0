"""The experimenter, turned by hand on an in-memory state; deployments end as the test says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bannister.app import experiment_limits
from bannister.clock import Clock
from bannister.domain.endpoint import Endpoint
from bannister.domain.experiment.experiment import ENDED, Experiment
from bannister.domain.experiment.recorder import DECIDED, disagreements
from bannister.experimenter.loop import Experimenter
from bannister.ids import Ids
from bannister.settings import Settings
from bannister.state.memory import MemoryState
from bannister.state.store import Put
from bannister.state.tables import ENDPOINTS, EXPERIMENTS


class SetClock:
    """Tells the time that it was set to."""

    def __init__(self, now: float = 10_000.0) -> None:
        self.at = now

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class Driver:
    """Everything that happens by itself."""

    def __init__(self, state: MemoryState, clock: Clock, ids: Ids, settings: Settings) -> None:
        self.state = state
        self._experimenter = Experimenter(state, clock, ids, experiment_limits(settings), settings.turn_seconds)

    async def settle(self) -> None:
        """Until the experimenter has nothing to decide."""
        for _ in range(50):
            again = False
            for row in await self.state.rows(EXPERIMENTS):
                if row.value.status not in ENDED:
                    again = await self._experimenter._turn(row) or again
            if not again:
                return
        raise AssertionError("It does not come to rest.")

    async def complete(self, endpoint: str) -> None:
        """Its deployment completes, and whatever follows from that."""
        row = await self.state.get(ENDPOINTS, endpoint)
        assert row is not None
        running = row.value.deployment
        assert running is not None, "no deployment runs"
        await self.put(replace(row.value, blue=running.green, deployment=None), row.revision)
        await self.settle()

    async def roll_back(self, endpoint: str, why: str) -> None:
        row = await self.state.get(ENDPOINTS, endpoint)
        assert row is not None
        await self.put(replace(row.value, deployment=None, failure_reason=why), row.revision)
        await self.settle()

    async def put(self, endpoint: Endpoint, revision: int = 0) -> None:
        await self.state.commit([Put(ENDPOINTS, endpoint.name, endpoint, revision)])

    async def endpoint(self, name: str) -> Endpoint:
        row = await self.state.get(ENDPOINTS, name)
        assert row is not None
        return row.value

    async def experiment(self, name: str) -> Experiment:
        row = await self.state.get(EXPERIMENTS, name)
        assert row is not None
        return row.value

    async def events(self, name: str) -> Iterable[str]:
        """Those of the journal's decisions, after taking each of them again."""
        bodies = [one.body for one in await self.state.journal(subject=f"experiment/{name}", kind=DECIDED)]
        assert disagreements(bodies) == []
        return [body["event"] for body in bodies]
