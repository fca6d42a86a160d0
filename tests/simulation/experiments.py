"""Inference experiments in simulated worlds: between releases, on the same endpoints, and whoever stops, changes or meddles with them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.simulation.experiment_rules import ExperimentRules
from tests.simulation.shadow import Shadows
from tests.simulation.story import LOOK_SECONDS, Release, Script
from tests.simulation.world import World

from bannister.domain.capture.data_capture import CaptureMode, DataCapture
from bannister.domain.experiment.admission import Action
from bannister.domain.experiment.experiment import ENDED, Experiment, ExperimentVariant, Status
from bannister.errors import BannisterError
from bannister.instances.memory import Behaviour
from bannister.operations.endpoints import delete_endpoint, update_endpoint
from bannister.operations.experiments import (
    ExperimentChange,
    ExperimentRequest,
    create_experiment,
    delete_experiment,
    start_experiment,
    stop_experiment,
    update_experiment,
)
from bannister.operations.models import delete_model

#: Of so many worlds one is about experiments.
EVERY = 4


def script_of(seed: int) -> Script:
    """What happens in the world of a seed."""
    script = Script.of(seed)
    if seed % EVERY != 2:
        return script
    return replace(
        script,
        shadows=True,
        kind_of_shadows=ByExperiment,
        situation=lambda world: _everything(world, script.endpoints),
    )


class ByExperiment(Shadows):
    """Only experiments bring shadows: an endpoint that has one already can have no experiment."""

    def weight(self) -> float | None:
        return None


async def _everything(world: World, endpoints: int) -> None:
    releases = [Experimenting(world, f"e{number + 1}") for number in range(endpoints)]
    await asyncio.gather(*(one.run(4) for one in releases))


class Experimenting(Release):
    """One endpoint, on which experiments and releases take turns."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.experiments = 0

    async def run(self, deployments: int) -> None:
        rng = self._rng
        if rng.random() < 0.2:
            await self.experiment(of_its_own=True)
            if not await self.at_rest():
                return
        elif not await self.create(rng.choice((1, 2, 2))):
            return
        for _ in range(deployments):
            await asyncio.sleep(rng.random() * 2)
            if rng.random() < 0.35:
                # A variant that was promoted has another name: then nothing but a plain update is accepted.
                await self.deploy(self._any_model(), rng.choice((1, 2, 2)))
            else:
                await self.experiment()
            if not await self.at_rest():
                return

    async def experiment(self, of_its_own: bool = False) -> Experiment | None:
        """One experiment, from its creation to its end; None: it was refused, or is gone."""
        self.experiments += 1
        name = f"{self.name}-x{self.experiments}"
        asked = await self.asked(of_its_own=of_its_own)
        if asked is None or await self.ask_for(name, asked) is not None:
            return None
        for _ in range(self._rng.choice((0, 1, 1, 2, 3))):
            await asyncio.sleep(self._rng.random() * 8)
            await self._meddle(name)
        return await self.at_end(name)

    async def ask_for(self, name: str, asked: ExperimentRequest) -> BannisterError | None:
        """Create it; what refused it, or None."""
        error = await self._caller.ask(
            lambda context: create_experiment(context, name, asked),
            lambda: name in self._rules.experiments,  # the answer may be lost, and the experiment not
        )
        self._note(f"create {name}: {error or asked}")
        if error is None:
            self._world.counts["experiments"] += 1
        return error

    async def asked(self, *, of_its_own: bool = False, sound: bool = False) -> ExperimentRequest | None:
        """Any experiment that the endpoint, or none, can have; None: it cannot have one."""
        rng = self._rng
        candidate = await self.version(self._sound() if sound else self._any_model(), 1)
        if of_its_own:
            production = ExperimentVariant("a", await self.version(self._sound(), 1), "ml.m5.large", 1)
        else:
            endpoint = self._world.endpoints().get(self.name)
            if endpoint is None or endpoint.blue is None:
                return None
            group = endpoint.blue.groups[0]  # of two versions after a failed rollback, which is refused
            production = ExperimentVariant(group.variant, group.model_name, "ml.m5.large", rng.choice((1, 2)))
        now = self._world.clock.now()
        starts_at = now + rng.choice((0.0, 0.0, 0.0, 5.0, 500.0))
        shadow = ExperimentVariant(f"shadow-{self.experiments}", candidate, "ml.m5.large", rng.choice((1, 1, 2)))
        ends_at = starts_at + rng.choice((2.0, 10.0, 25.0, 60.0))
        percent, shadows = rng.choice((0, 1, 50, 100)), self._world.shadows
        capture = shadows.data_capture() if shadows is not None else None
        return ExperimentRequest(self.name, production, shadow, percent, starts_at, ends_at, capture=capture)

    async def at_end(self, name: str) -> Experiment | None:
        """Wait until the experiment has ended; one that waits too long for its start is abandoned."""
        waited = 0.0
        while (one := self._rules.experiments.get(name)) is not None and one.status not in ENDED:
            await asyncio.sleep(LOOK_SECONDS)
            waited += LOOK_SECONDS
            if one.status is Status.CREATED and waited > 20.0:
                await self.stop(name, {one.shadow.name: Action.REMOVE})
        return one

    async def stop(self, name: str, actions: dict[str, Action], state: Status | None = None) -> BannisterError | None:
        """Ask for the end."""
        error = await self._caller.ask(
            lambda context: stop_experiment(context, name, actions, state=state, reason="The story has it so."),
            lambda: self._status(name) in (Status.STOPPING, *ENDED, None),
        )
        self._note(f"stop {name} {actions}: {error}")
        return error

    async def _meddle(self, name: str) -> None:
        rng, ask = self._rng, self._caller.ask
        one = self._rules.experiments.get(name)
        if one is None:
            return
        endpoint = self._world.endpoints().get(self.name)
        what = rng.choice(
            ("stop", "stop", "promote", "promote", "retain", "sampling", "sampling", "start", "end", "model",
             "delete", "update", "forget", "give up")
        )  # fmt: skip
        self._note(f"{what} {name}")
        production, shadow = one.production.name, one.shadow.name
        match what:
            case "stop":
                await self.stop(name, {production: Action.RETAIN, shadow: Action.REMOVE}, Status.COMPLETED)
            case "promote":
                await self.stop(name, {production: Action.REMOVE, shadow: Action.PROMOTE})
            case "retain" if rng.random() < 0.3:
                await self.stop(name, {production: Action.RETAIN, shadow: Action.RETAIN})
            case "sampling":
                change = ExperimentChange(sampling_percent=rng.choice((0, 7, 100)))
                await ask(lambda context: update_experiment(context, name, change))
            case "end":
                soon = ExperimentChange(ends_at=self._world.clock.now() + 3.0)
                await ask(lambda context: update_experiment(context, name, soon))
            case "start":
                await ask(lambda context: start_experiment(context, name))
            case "model":
                await ask(lambda context: delete_model(context, one.shadow.model_name))
            case "delete" if endpoint is not None and rng.random() < 0.3:
                await ask(lambda context: delete_endpoint(context, self.name))
            case "update" if endpoint is not None and endpoint.blue is not None:
                config = endpoint.blue.config_name
                await ask(lambda context: update_endpoint(context, self.name, config))
            case "forget":
                await ask(lambda context: delete_experiment(context, name))
            case _:
                pass

    def _status(self, name: str) -> Status | None:
        one = self._rules.experiments.get(name)
        return one.status if one is not None else None

    @property
    def _rules(self) -> ExperimentRules:
        return self._world.checker.experiments

    def _note(self, what: str) -> None:
        self._world.note("experiment", what)


async def cannot_be_restored(world: World) -> None:
    """What ran before the experiment cannot be started any more; what runs, goes on."""
    release = Experimenting(world, "e1")
    if not await release.create(1):
        return
    asked = await release.asked(sound=True)
    assert asked is not None
    capture = DataCapture(True, 50, "s3://captured/experiment", (CaptureMode.INPUT,))
    await release.ask_for("e1-x1", replace(asked, sampling_percent=50, starts_at=None, ends_at=None, capture=capture))
    while world.checker.experiments.experiments["e1-x1"].status is not Status.RUNNING:
        await asyncio.sleep(LOOK_SECONDS)
    blue = world.endpoints()["e1"].blue
    assert blue is not None
    world.machine.behaviours[blue.groups[0].container.image] = Behaviour(ready_after_seconds=None)
    await release.stop("e1-x1", {blue.groups[0].variant: Action.RETAIN}, Status.COMPLETED)
    ended = await release.at_end("e1-x1")
    assert ended is not None
    assert "could not be restored in 3 attempts" in (ended.reason or ""), ended


def situation() -> Script:
    """The one situation that random worlds hardly reach."""
    return Script(
        fault_seconds=None,
        proxies=2,
        shadows=True,
        kind_of_shadows=ByExperiment,
        captures=True,
        situation=cannot_be_restored,
    )


def seeds_of_experiments(first: int, count: int) -> list[int]:
    """Seeds whose worlds are about experiments."""
    start = first + (2 - first) % EVERY
    return [start + EVERY * number for number in range(count)]
