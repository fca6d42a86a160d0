"""What happens in a simulated world: deployments of every kind, and whatever can go wrong, from the world's one source of randomness."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from tests.simulation.checker import HEALING_SECONDS_MAX, SET_BY_HAND
from tests.simulation.composites import Composites, share_of_errors
from tests.simulation.faults import Faults
from tests.simulation.listeners import Listeners
from tests.simulation.room import Room
from tests.simulation.scaling import Scalings
from tests.simulation.shadow import VARIANT, Shadows
from tests.simulation.variants import Variants
from tests.simulation.world import Model, World

from bannister.domain.alarm.alarm import AlarmValue
from bannister.domain.alarm.definition import Definition
from bannister.domain.deployment.admission import Retention
from bannister.domain.deployment.deployment import Phase
from bannister.domain.deployment.policy import CapacitySize, CapacityType, DeploymentPolicy, Routing
from bannister.domain.endpoint import Variant
from bannister.domain.metric.identity import identity
from bannister.domain.model import INVOCATIONS_PATH_VARIABLE, PING_PATH_VARIABLE, Container
from bannister.domain.scaling import Desired
from bannister.domain.warmup import WARMUP_VARIABLE
from bannister.errors import BannisterError, Refused
from bannister.instances.memory import Behaviour
from bannister.operations.alarms import Extras, delete_alarms, put_metric_alarm, set_alarm_state
from bannister.operations.composite_alarms import CompositeDefinition, put_composite_alarm
from bannister.operations.context import Context
from bannister.operations.deployments import rollback_deployment
from bannister.operations.endpoint_configs import create_endpoint_config, delete_endpoint_config
from bannister.operations.endpoints import (
    create_endpoint,
    delete_endpoint,
    update_endpoint,
    update_weights_and_capacities,
)
from bannister.operations.models import create_model, delete_model
from bannister.operations.shadows import put_comparison_rules

#: A request to an API that is down is tried again after this long.
RETRY_SECONDS = 0.4
LOOK_SECONDS = 0.5
#: A world that has healed is watched for this long.
QUIET_SECONDS = 5.0


@dataclass(frozen=True)
class Script:
    """How much happens in one world."""

    endpoints: int = 3
    #: Of each endpoint, after its creation.
    deployments: int = 10
    #: Mean seconds between two faults; None: nothing goes wrong.
    fault_seconds: float | None = 6.0
    proxies: int = 1
    #: Some versions have a shadow.
    shadows: bool = False
    kind_of_shadows: type[Shadows] = Shadows
    #: Where there are shadows: some configurations have data capture, and some endpoints a noise floor.
    captures: bool = False
    #: Where there are shadows: in some worlds there is too little room for their copies, and production fills the proxies' heaps.
    rooms: bool = False
    #: Some deployments name a composite alarm.
    composites: bool = False
    #: Between deployments weights and instance counts change.
    scalings: bool = False
    #: Addresses are told of events.
    listeners: bool = False
    #: Some updates are rolling ones.
    rolling: bool = False
    #: Some models bring a warm-up.
    warmups: bool = False
    #: Where there are no shadows: some endpoints have two production variants, and some updates keep what there is.
    variants: bool = False
    #: Now and then somebody asks for a rollback.
    wishes: bool = False
    #: Where there are two proxies, one of them leaves for good.
    departures: bool = False
    #: A situation's name in `situations.SITUATIONS`, by which it is replayed; None: it has none.
    name: str | None = None
    #: Happens instead of endpoints with deployments of every kind.
    situation: Callable[[World], Coroutine[Any, Any, None]] | None = None

    @staticmethod
    def of(seed: int) -> Script:
        """Worlds differ: in some hardly anything goes wrong, in others something all the time."""
        rng = random.Random(-seed)
        return Script(
            endpoints=rng.choice((1, 1, 1, 1, 2, 2, 3)),
            fault_seconds=rng.choice((None, 2.0, 4.0, 6.0, 6.0, 12.0)),
            proxies=rng.choice((1, 1, 2)),
            shadows=random.Random(f"shadows in {seed}").random() < 0.5,
            captures=random.Random(f"captures in {seed}").random() < 0.5,
            rooms=True,
            composites=random.Random(f"composites in {seed}").random() < 0.5,
            listeners=random.Random(f"listeners in {seed}").random() < 0.3,
            rolling=random.Random(f"rolling in {seed}").random() < 0.5,
            scalings=random.Random(f"scalings in {seed}").random() < 0.4,
            warmups=random.Random(f"warm-ups in {seed}").random() < 0.3,
            variants=random.Random(f"variants in {seed}").random() < 0.5,
            wishes=random.Random(f"wishes in {seed}").random() < 0.5,
            departures=random.Random(f"departures in {seed}").random() < 0.3,
        )

    def replay(self, seed: int) -> str | None:
        """The command that makes its world of this seed again; None: there is none, and only what made it can."""
        if self.name is None:
            return None
        faults = "" if self.fault_seconds is None else " FAULTS=1"
        return f"make simulate SITUATION='{self.name}' SEED={seed}{faults}"


class Caller:
    """Somebody who uses the API: a request is done by the control plane that is up, and may be lost with it."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def ask(
        self,
        operation: Callable[[Context], Coroutine[Any, Any, Any]],
        happened: Callable[[], bool] = lambda: False,
    ) -> BannisterError | None:
        """Do something, however often it takes, until it `happened`; what refused it, or None."""
        while not happened():
            plane = self._world.plane
            if plane is not None and plane.context is not None and plane.process.alive:
                task = self._world.loop.spawn(plane.process, operation(plane.context))
                task.add_done_callback(
                    lambda one: one.cancelled() or one.exception()
                )  # it is known, whoever still waits
                done, _ = await asyncio.wait([task], timeout=5.0)
                if done:
                    error = task.exception()
                    if error is None:
                        return None
                    if isinstance(error, Refused):
                        return error
                    if not isinstance(error, BannisterError):
                        raise self._world.violated("A request failed", repr(error))
            await asyncio.sleep(RETRY_SECONDS)
        return None


class Release:
    """One endpoint, and whoever keeps releasing new versions of its model."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._rng = world.rng
        self._caller = Caller(world)
        self.name = name
        self.versions = 0

    async def run(self, deployments: int) -> None:
        if not await self.create(self._rng.choice((1, 2, 2, 3))):
            return
        for _ in range(deployments):
            await asyncio.sleep(self._rng.random())
            if not await self.deploy(self._any_model(), self._rng.choice((1, 2, 2, 3))):
                return
            if self._world.scalings is not None and not await self._scale(self._world.scalings):
                return

    async def create(self, instances: int) -> bool:
        """The endpoint with its first version; False: it is gone."""
        return await self.create_with(await self.version(self._sound(), instances))

    async def create_with(self, config: str) -> bool:
        """The endpoint with a configuration."""
        await self._caller.ask(lambda context: create_endpoint(context, self.name, config))
        return await self.at_rest()

    async def deploy(self, model: Model, instances: int) -> bool:
        """One update; False: the endpoint is gone."""
        others = self._world.variants is not None and self._world.variants.others()
        config = await self.version(self._warmed(model), instances, other_variants=others)
        alarm = await self._alarm(config) if self._rng.random() < 0.75 else None
        if alarm is not None and self._rng.random() < 0.1:
            await self.set_alarm(alarm, AlarmValue.ALARM)  # the first shift is held until it clears
        over = [] if alarm is None else await self._composites(config, alarm)
        await self._compare()
        retention = self._world.variants.retention() if self._world.variants is not None else None
        policy = self._policy(instances, over[-1] if over else alarm)
        await self.update(config, None if others else policy, retention)
        rests = await self.at_rest()
        if alarm is not None and self._rng.random() < 0.8:
            for name in reversed(over):
                await self._caller.ask(lambda context, one=name: delete_alarms(context, [one]))  # type: ignore[misc]
            await self._caller.ask(lambda context: delete_alarms(context, [alarm]))
        return rests

    async def _scale(self, scalings: Scalings) -> bool:
        """Perhaps another size; False: the endpoint is gone."""
        endpoint = self._world.endpoints().get(self.name)
        if endpoint is None or endpoint.blue is None:
            return False
        return await self.scale(*scalings.desired(endpoint.blue))

    async def scale(self, *desired: Desired) -> bool:
        """Ask for other weights and instance counts; False: the endpoint is gone."""
        if desired:
            error = await self._caller.ask(lambda context: update_weights_and_capacities(context, self.name, desired))
            self._world.note("caller", f"scale {self.name}: {error or desired}")
        return await self.at_rest()

    async def _composites(self, config: str, errors: str) -> list[str]:
        """Composite alarms over an alarm, each over the one before it; most often none."""
        composites = self._world.composites
        rules = [] if composites is None else composites.rules(errors, f"{config}-share")
        return await self.put_composites(config, rules)

    async def put_composites(self, config: str, rules: list[tuple[str, str]]) -> list[str]:
        """Composite alarms by name and rule, over the alarms of a version."""
        ask, share = self._caller.ask, share_of_errors(self.name, config)
        if rules:
            await ask(lambda context: put_metric_alarm(context, f"{config}-share", share, Extras()))
        for name, rule in rules:
            asked = CompositeDefinition(rule)
            error = await ask(lambda context, n=name, a=asked: put_composite_alarm(context, n, a, Extras()))  # type: ignore[misc]
            if error is not None:
                raise self._world.violated("A composite alarm was refused", f"{rule}: {error}")
        return [name for name, _ in rules]

    async def update(self, config: str, policy: DeploymentPolicy | None, retention: Retention | None = None) -> None:
        """Ask for a deployment; without a policy it is all at once, and the variants may be others."""
        error = await self._caller.ask(lambda context: update_endpoint(context, self.name, config, policy, retention))
        self._world.note("caller", f"update {self.name} to {config}: {error or policy}")
        if error is None:
            self._world.counts["deployments"] += 1

    async def stop(self, reason: str) -> None:
        """Ask for the deployment that runs to be rolled back."""
        self._world.note("caller", f"roll back {self.name}")
        await self._caller.ask(lambda context: rollback_deployment(context, reason, endpoint=self.name))

    async def delete(self) -> None:
        """Ask for the endpoint to be taken away."""
        self._world.note("caller", f"delete {self.name}")
        await self._caller.ask(lambda context: delete_endpoint(context, self.name))

    async def version(
        self,
        model: Model,
        instances: int,
        shadow: tuple[float, Behaviour] | None = None,
        *,
        other_variants: bool = False,
    ) -> str:
        """A configuration of a model. `shadow`: weight and behaviour of its shadow; None: as the world has it. `other_variants`: beside the first, others than now."""
        self.versions += 1
        name = f"{self.name}-v{self.versions}"
        model = self._warning(model, name)
        self._world.add_model(model)
        paths = _own_paths(name) if self.versions % 2 == 0 else {}
        container = Container(model.image, model.artifact, model.environment | paths)
        ask = self._caller.ask
        await ask(lambda context: _create_model(context, name, container))
        variants = [Variant("a", name, instances), *await self._second(name, another=other_variants)]
        shadows = await self._shadow(name, shadow)
        capture = self._world.shadows.data_capture() if self._world.shadows is not None else None
        await ask(lambda context: create_endpoint_config(context, name, variants, shadows, capture))
        return name

    async def _second(self, version: str, *, another: bool) -> list[Variant]:
        variants, endpoint = self._world.variants, self._world.endpoints().get(self.name)
        if variants is None:
            return []
        second = variants.second(endpoint.blue if endpoint is not None else None, another=another)
        if second is None:
            return []
        name, (behaviour, error_rate) = f"{version}-{second}", variants.behaviour(sound=self.versions == 1)
        self._world.add_model(Model(name, behaviour, error_rate))
        await self._caller.ask(lambda context: _create_model(context, name, Container(name)))
        return [Variant(second, name, *variants.size())]

    async def _compare(self) -> None:
        """Perhaps other rules of comparison."""
        rules = self._world.shadows.rules() if self._world.shadows is not None else None
        if rules is not None:
            await self._caller.ask(lambda context: put_comparison_rules(context, self.name, rules))

    async def _shadow(self, version: str, asked: tuple[float, Behaviour] | None) -> list[Variant]:
        shadows, error_rate = self._world.shadows, 0.0
        if asked is None and shadows is not None and (weight := shadows.weight()) is not None:
            behaviour, error_rate = shadows.behaviour(sound=self.versions == 1)
            asked = weight, behaviour
        if asked is None:
            return []
        name = f"{version}-shadow"
        self._world.add_model(Model(name, asked[1], error_rate))
        await self._caller.ask(
            lambda context: _create_model(context, name, Container(name, environment=_own_paths(name)))
        )
        return [Variant(VARIANT, name, 1, asked[0])]

    async def at_rest(self) -> bool:
        """Wait until no deployment runs; False: the endpoint is gone or has failed."""
        while True:
            endpoint = self._world.endpoints().get(self.name)
            if endpoint is None or (endpoint.deployment is None and endpoint.blue is None):
                return False
            if not endpoint.changing:
                return True
            await asyncio.sleep(LOOK_SECONDS)

    async def _alarm(self, config: str) -> str:
        rng = self._rng
        periods = rng.choice((1, 1, 2))
        missing = rng.choice(("notBreaching", "notBreaching", "missing", "ignore"))
        # Drawn apart, so that the worlds of recorded seeds stay what they were.
        counted = random.Random(f"{self._world.seed} {config}").random() < 0.3
        return await self.watch(config, missing, periods, counted=counted)

    async def watch(self, config: str, missing_data: str, periods: int = 1, *, counted: bool = False) -> str:
        """An alarm on the errors of a version: on their rate, or `counted`, in every period, which may be certain early."""
        name = f"{config}-errors"
        metric = identity(
            "AWS/SageMaker",
            "Invocation5XXErrors",
            {"EndpointName": self.name, "VariantName": "a", "EndpointConfigName": config},
        )
        asked = Definition(
            metric=metric,
            statistic="Sum" if counted else "Average",
            period_seconds=10,
            evaluation_periods=periods,
            datapoints_to_alarm=periods if counted else 1,
            threshold=0.5,
            comparison="GreaterThanOrEqualToThreshold",
            missing_data=missing_data,
        )
        await self._caller.ask(lambda context: put_metric_alarm(context, name, asked, Extras()))
        return name

    async def watch_share(self, config: str) -> str:
        """An alarm on an expression over the metrics of a version: the share of its answers that are errors."""
        name, asked = f"{config}-share", share_of_errors(self.name, config)
        await self._caller.ask(lambda context: put_metric_alarm(context, name, asked, Extras()))
        return name

    async def set_alarm(self, name: str, *values: AlarmValue) -> None:
        """Set an alarm's state by hand; several values follow each other so fast that nobody sees the first ones."""

        async def set_all(context: Context) -> None:
            for value in values:
                await set_alarm_state(context, name, value, "By hand.", None)

        await self._caller.ask(set_all)

    def _policy(self, instances: int, alarm: str | None) -> DeploymentPolicy:
        rng = self._rng
        routing = rng.choice([one for one in Routing if one is not Routing.ROLLING])
        if self._world.rolling is not None and instances > 1 and self._world.rolling.random() < 0.6:
            return _rolling(self._world.rolling, alarm)
        step = None
        if routing is not Routing.ALL_AT_ONCE:
            if instances > 1 and rng.random() < 0.3:
                step = CapacitySize(CapacityType.INSTANCE_COUNT, 1)
            else:
                step = CapacitySize(CapacityType.CAPACITY_PERCENT, rng.choice((10, 25, 33, 33, 50, 50)))
        wait = rng.choice((1, 1, 2, 3, 12)) if routing is Routing.CANARY else rng.choice((0, 1, 1, 2))
        return DeploymentPolicy(
            routing=routing,
            step=step,
            wait_seconds=wait,
            termination_wait_seconds=rng.choice((0, 0, 1, 2, 13)),
            timeout_seconds=rng.choice((None, None, 60, 600)),
            alarms=(alarm,) if alarm else (),
        )

    # --- versions

    def _sound(self) -> Model:
        rng = self._rng
        stops = rng.choice((0.0, 0.1, 1.0, None))
        return Model(self._image(), Behaviour(ready_after_seconds=rng.random(), stops_after_seconds=stops))

    def _any_model(self) -> Model:
        rng = self._rng
        kind = rng.choice(
            ("sound",) * 5 + ("errors",) * 4 + ("some errors", "slow", "never", "ends", "dies", "artifact", "unknown")
        )
        image = self._image()
        match kind:
            case "errors":
                return Model(image, Behaviour(ready_after_seconds=rng.random()), error_rate=1.0)
            case "some errors":
                return Model(image, Behaviour(ready_after_seconds=rng.random()), error_rate=rng.random() * 0.6)
            case "slow":
                return Model(image, Behaviour(ready_after_seconds=3 + rng.random() * 2))
            case "never":
                return Model(image, Behaviour(ready_after_seconds=None), sound=False)
            case "ends":
                return Model(image, Behaviour(ready_after_seconds=None, ends_after_seconds=0.3), sound=False)
            case "dies":
                dies = Behaviour(ready_after_seconds=0.2, ends_after_seconds=3 + rng.random() * 10)
                return Model(image, dies, sound=False)
            case "artifact":
                artifact = rng.choice(("s3://broken/m", "s3://full/m", "s3://slow/m"))
                return Model(image, Behaviour(ready_after_seconds=0.5), artifact=artifact)
            case "unknown":
                return Model(image, None, sound=False)
            case _:
                return self._sound()

    def _warning(self, model: Model, version: str) -> Model:
        """Perhaps a model that says something against itself. Drawn apart: what else happens in a world does not depend on it."""
        said = random.Random(f"warnings in {self._world.seed} {version}").choice((0, 0, 0, 1, 2))
        if model.behaviour is None or not said:
            return model
        texts = tuple(f"{version} was pickled by release {number}." for number in range(said))
        return replace(model, behaviour=replace(model.behaviour, warnings=texts))

    def _warmed(self, model: Model) -> Model:
        """Some models bring a warm-up, which may take its time or fail, and some use too much memory after a while.

        Drawn apart, so that the worlds of recorded seeds stay what they were.
        """
        if not self._world.warmups or model.behaviour is None or model.behaviour.ready_after_seconds is None:
            return model
        rng = random.Random(f"warm-up of {model.image} in {self._world.seed}")
        how = rng.choice(("none", "none", "quick", "quick", "slow", "fails", "never", "strains"))
        if how == "none":
            return model
        if how == "strains":
            behaviour = replace(model.behaviour, strained_after_seconds=2 + rng.random() * 10)
            return replace(model, behaviour=behaviour, sound=False)
        after, status = {"quick": (0.05, 200), "slow": (2.5, 200), "fails": (0.5, 500), "never": (None, 200)}[how]
        behaviour = replace(model.behaviour, warm_after_seconds=after, warm_up_status=status)
        sound = model.sound and how in ("quick", "slow")
        return replace(model, behaviour=behaviour, sound=sound, environment={WARMUP_VARIABLE: '{"body": [1]}'})

    def _image(self) -> str:
        return f"image-{len(self._world.models) + 1}"


def _own_paths(name: str) -> dict[str, str]:
    return {PING_PATH_VARIABLE: f"/{name}/up", INVOCATIONS_PATH_VARIABLE: f"/{name}/score"}


async def _create_model(context: Context, name: str, container: Container) -> None:
    """As CreateModel, without looking for the artifact: there is no object store in this world."""
    given = container
    await create_model(context, name, Container(given.image, environment=given.environment))
    if given.artifact_url is not None:
        from bannister.state.store import Put
        from bannister.state.tables import MODELS

        row = await context.state.get(MODELS, name)
        assert row is not None
        container = replace(row.value.container, artifact_url=given.artifact_url)
        await context.state.commit([Put(MODELS, name, replace(row.value, container=container), row.revision)])


def _rolling(rng: random.Random, alarm: str | None) -> DeploymentPolicy:
    half, one = CapacitySize(CapacityType.CAPACITY_PERCENT, 50), CapacitySize(CapacityType.CAPACITY_PERCENT, 20)
    return DeploymentPolicy(
        routing=Routing.ROLLING,
        step=rng.choice((half, one)),
        wait_seconds=rng.choice((1, 2, 5)),
        timeout_seconds=rng.choice((None, None, 60, 600)),
        alarms=(alarm,) if alarm else (),
        rollback_step=rng.choice((None, one)),
    )


class Meddler:
    """Requests that arrive in the middle of everything."""

    def __init__(self, world: World, *, wishes: bool) -> None:
        self._world = world
        self._wishes = wishes
        self._caller = Caller(world)

    async def run(self, mean_seconds: float) -> None:
        rng = self._world.rng
        while True:
            await asyncio.sleep(rng.expovariate(1 / mean_seconds))
            await self._once()

    async def _once(self) -> None:
        world, rng = self._world, self._world.rng
        running = [one for one in world.endpoints().values() if one.deployment is not None]
        if not running:
            return
        endpoint = rng.choice(running)
        deployment = endpoint.deployment
        assert deployment is not None
        alarms = deployment.policy.alarms
        what = rng.choice(
            ("delete", "update", "config", "model", "alarm", "delete alarm", "set alarm", "set alarm", "set alarm")
        )
        world.note("meddler", f"{what} {endpoint.name}")
        ask = self._caller.ask
        config = deployment.green.config_name
        match what:
            case "delete":
                await ask(lambda context: delete_endpoint(context, endpoint.name))
            case "update":
                await ask(lambda context: update_endpoint(context, endpoint.name, config))
            case "config":
                await ask(lambda context: delete_endpoint_config(context, config))
            case "model":
                await ask(lambda context: delete_model(context, config))
            case "alarm" if self._wishes:
                await ask(lambda context: rollback_deployment(context, "It looks wrong.", deployment=deployment.id))
            case "delete alarm" if alarms:
                await ask(lambda context: delete_alarms(context, list(alarms)))
            case "set alarm" if alarms:
                name = alarms[0]
                if world.composites is not None and world.composites.meddles_with_a_child():
                    name = name.split("-composite")[0]
                await ask(lambda context: set_alarm_state(context, name, AlarmValue.ALARM, "An instant.", None))
                await ask(lambda context: set_alarm_state(context, name, AlarmValue.OK, SET_BY_HAND, None))
            case _:
                pass


def _works(world: World, script: Script) -> list[Coroutine[Any, Any, None]]:
    if script.situation is not None:
        return [script.situation(world)]
    return [Release(world, f"e{number + 1}").run(script.deployments) for number in range(script.endpoints)]


async def _depart(world: World) -> None:
    """One proxy of several leaves, at a time drawn apart from all others."""
    await asyncio.sleep(random.Random(f"departure in {world.seed}").random() * 40)
    world.leave([*world.network.proxies.values()][-1])


async def tell(world: World, script: Script) -> None:
    """Begin the world, let everything happen, then let it heal, and check."""
    world.shadows = script.kind_of_shadows(world, captures=script.captures) if script.shadows else None
    world.room = Room(world, varies=script.rooms) if script.shadows else None
    world.composites = Composites(world.seed) if script.composites else None
    world.listeners = Listeners(world.seed) if script.listeners else None
    world.rolling = random.Random(f"rolling of {world.seed}") if script.rolling else None
    world.scalings = Scalings(world.seed) if script.scalings else None
    world.warmups = script.warmups
    world.variants = Variants(world.seed) if script.variants and not script.shadows else None
    world.begin()
    works = [asyncio.create_task(work) for work in _works(world, script)]
    disturbing = []
    if script.fault_seconds is not None:
        world.calm = False
        faults = Faults(world)
        disturbing = [
            asyncio.create_task(faults.run(script.fault_seconds)),
            asyncio.create_task(Meddler(world, wishes=script.wishes).run(script.fault_seconds * 2)),
        ]
        if script.departures and script.proxies > 1:
            disturbing.append(asyncio.create_task(_depart(world)))
    await asyncio.gather(*works)
    for task in disturbing:
        task.cancel()
    if disturbing:
        await asyncio.wait(disturbing)
        for task in disturbing:
            if not task.cancelled() and task.exception() is not None:
                raise task.exception() or AssertionError
        faults.stop()
    world.heal_models()
    if world.listeners is not None:
        world.listeners.well = True
    world.calm, world.checker.calm_since = True, world.loop.time()
    while any(one.changing for one in world.endpoints().values()):
        await asyncio.sleep(LOOK_SECONDS)  # the checker sees to it that this ends
    healed_by = world.loop.time() + HEALING_SECONDS_MAX
    quiet_since = world.loop.time()
    while world.loop.time() < min(quiet_since + QUIET_SECONDS, healed_by):  # once all is well, it stays so
        await asyncio.sleep(LOOK_SECONDS)
        if world.checker.unsettled() is not None:
            quiet_since = world.loop.time()
    world.checker.settled()
    for outcome in world.checker.outcomes.values():
        world.counts["completed" if outcome is Phase.COMPLETED else "rolled back"] += 1
