"""Shadows in simulated worlds: which models they run, the copies they get, and what must always be true of them.

A shadow may fail in every way there is, and the rules of everything else hold all the same: that is most of property 4. What is added here are the rules of the
copies themselves.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tests.simulation.capture import Capture
from tests.simulation.capture_rules import Request

from bannister.capture.assembly import Role
from bannister.domain.capture.data_capture import CaptureMode, DataCapture
from bannister.domain.comparison.rules import Rules
from bannister.domain.deployment.deployment import Deployment
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet
from bannister.domain.routing import Forwarding, Mirror, plan_of
from bannister.domain.traffic import TRAFFIC_PARTS
from bannister.envoy.memory import MemoryProxy
from bannister.envoy.resources.names import ROUTE_TABLE
from bannister.envoy.resources.shadow import copied_to
from bannister.envoy.snapshot import Snapshot
from bannister.instances.memory import Behaviour
from bannister.operations.shadows import NOISE_PARTS_MAX

if TYPE_CHECKING:
    from tests.simulation.world import World

VARIANT = "s"


class Shadows:
    """Which versions of a world have a shadow, and of what kind. A source of randomness of its own: worlds without shadows stay as they were."""

    def __init__(self, world: World, *, captures: bool = False) -> None:
        """`captures`: some configurations have requests written to storage, and some production groups get copies of their own (the noise floor)."""
        self.rng = random.Random(f"shadows of {world.seed}")
        self.captured = random.Random(f"captures of {world.seed}") if captures else None
        self.capture = Capture(world)

    def weight(self) -> float | None:
        """Of the next version's shadow, where production's is 1; None: it has none."""
        return self.rng.choice((None, 0.0, 0.1, 0.5, 1.0, 1.0, 3.0))

    def data_capture(self) -> DataCapture | None:
        """Of the next configuration; None: none."""
        rng = self.captured
        if rng is None or rng.random() < 0.3:
            return None
        both = (CaptureMode.INPUT, CaptureMode.OUTPUT)
        modes = rng.choice(((CaptureMode.INPUT,), (CaptureMode.OUTPUT,), both, (CaptureMode.INPUT_AND_OUTPUT,)))
        return DataCapture(rng.random() < 0.9, rng.choice((0, 10, 50, 50, 100)), "s3://captured/here", modes)

    def rules(self) -> Rules | None:
        """By which the endpoint's answers are compared from now on; None: as until now."""
        rng = self.captured
        return Rules(noise_parts=rng.choice((0, 20_000, NOISE_PARTS_MAX))) if rng and rng.random() < 0.3 else None

    def behaviour(self, *, sound: bool) -> tuple[Behaviour, float]:
        """How its model behaves, and its error rate. `sound`: it comes up, whatever becomes of it later."""
        rng = self.rng
        kinds = ("well", "well", "errors", "dies", "dies", "slow") + (() if sound else ("never", "ends"))
        match rng.choice(kinds):
            case "errors":
                return Behaviour(ready_after_seconds=rng.random()), 1.0
            case "dies":
                return Behaviour(ready_after_seconds=0.2, ends_after_seconds=2 + rng.random() * 10), 0.0
            case "slow":
                return Behaviour(ready_after_seconds=2 + rng.random() * 3), 0.0
            case "never":
                return Behaviour(ready_after_seconds=None), 0.0
            case "ends":
                return Behaviour(ready_after_seconds=None, ends_after_seconds=0.3), 0.0
            case _:
                return Behaviour(ready_after_seconds=rng.random()), 0.0

    def copy(self, world: World, proxy: MemoryProxy, endpoint: str, forwarding: Forwarding) -> Request:
        """A request was made: its copies. One number decides on all shares, as in Envoy: whoever is in a smaller share is in a larger one too."""
        request, room = self.capture.request(world, endpoint), world.room
        assert room is not None
        if forwarding.captured_parts <= 0:
            return request
        number = self.rng.random() * TRAFFIC_PARTS
        request.is_observed = number < forwarding.captured_parts
        request.is_told = proxy.observes
        for mirror in forwarding.mirrors:
            if number >= mirror.parts:
                continue
            # Its route says so of a request before it is known whether there is room.
            if mirror.noise:
                request.noise_copied = True
            else:
                request.copied = True
            end = room.copy(proxy, mirror)
            if end is None:
                continue
            if mirror.noise:
                self._noise(world, proxy, request, mirror)
                end()
                continue
            addresses = [one for one in proxy.reachable(mirror.group) if world.machine.up(one)]
            if not addresses:  # nobody misses it
                self.capture.answered(world, request, mirror.group, Role.SHADOW, None)
                end()
                continue
            address = self.rng.choice(addresses)
            model = world.models[world.image_of[mirror.group]]
            error = self.rng.random() < model.error_rate
            world.telemetry.note(mirror.group, address, 1, int(error), model.microseconds)
            world.counts["copies"] += 1
            request.copies.append(mirror)
            version = "other" if request.number % 5 == 0 else PRODUCTION_VERSION
            self.capture.answered(world, request, mirror.group, Role.SHADOW, version)
            seconds = room.lasts_seconds()
            if seconds:
                proxy.begin(address)
                world.loop.call_later(seconds, _finish, proxy, address, end)
            else:
                end()
        return request

    def _noise(self, world: World, proxy: MemoryProxy, request: Request, mirror: Mirror) -> None:
        """A copy for production's own group; no invocation of it."""
        up = any(world.machine.up(one) for one in proxy.reachable(mirror.group))
        if up:
            request.copies.append(mirror)
            world.counts["noise copies"] += 1
        self.capture.answered(world, request, mirror.group, Role.NOISE, PRODUCTION_VERSION if up else None)

    def production(self, world: World, request: Request, group: str, forwarding: Forwarding) -> None:
        """Production has answered."""
        if request.is_observed:
            self.capture.answered(world, request, group, Role.PRODUCTION, PRODUCTION_VERSION)
        elif forwarding.captured_parts > 0:
            self.capture.unobserved(world, request)
        if forwarding.captured_parts > 0:
            self.capture.rules.answered(request, group, forwarding)


#: What every answer of production says that it is; a shadow's says so most of the time.
PRODUCTION_VERSION = "production"

INERT = "4: a shadow is inert, and gets what it is to get"


class ShadowRules:
    """Told by the checker; numbers as in its rules."""

    def __init__(self, world: World) -> None:
        self._world = world

    def published(self, snapshot: Snapshot) -> None:
        """A mirror is there only while an instance of its group is ready. Who was harmed may not have been missed yet."""
        for endpoint, forwarding in snapshot.routes[ROUTE_TABLE].about.items():
            for mirror in forwarding.mirrors:
                machine = self._world.machine
                up = any(machine.up(machine.address_of[one]) for one in machine.in_group(mirror.group))
                if not up and not machine.ever_harmed(mirror.group):
                    self._violated(f"{endpoint}: copies for {mirror.group}, where no instance answers.")

    def tick(self, proxies: Iterable[MemoryProxy], endpoints: Mapping[str, Endpoint]) -> None:
        if self._world.shadows is not None:
            self._world.shadows.capture.tick(self._world, endpoints.values())
        for proxy in proxies:
            for name, forwarding in proxy.forwardings().items():
                if not forwarding.mirrors:
                    continue  # no copies: nothing to be true of them
                self._check(proxy, name, forwarding)
                if name in endpoints:
                    self._check_shares(proxy, endpoints[name], forwarding)

    def _check(self, proxy: MemoryProxy, endpoint: str, forwarding: Forwarding) -> None:
        unknown = [one for one in sorted(copied_to(forwarding)) if not proxy.knows(one)]
        if unknown:
            raise self._world.violated(
                "3: routes name only known clusters", f"{proxy.node}, {endpoint}: copies to {unknown}"
            )
        taking = [one.group for one in forwarding.weights if one.parts > 0]
        shadows = {one.group for one in forwarding.mirrors if not one.noise}
        if shadows & set(taking) or len(shadows) > 1:
            self._violated(f"{proxy.node}, {endpoint}: {taking} answer, {shadows} get copies.")
        for mirror in forwarding.mirrors:
            # Blue is named first: its shadow is fed until green has everything.
            if mirror.compared_with != taking[0]:
                self._violated(f"{proxy.node}, {endpoint}: {mirror} while {taking} answer.")

    def _check_shares(self, proxy: MemoryProxy, endpoint: Endpoint, forwarding: Forwarding) -> None:
        """A share is that of the shadow's fleet, exactly; or one it had, where an experiment or a scaling has changed it and the proxy has yet to hear of that."""
        checker = self._world.checker
        asked = {one.shadow.group.id: one.shadow.sampled_parts for one in _fleets(endpoint) if one.shadow is not None}
        for mirror in forwarding.mirrors:
            known = {asked.get(mirror.group, mirror.parts)}
            for earlier in (checker.experiments.earlier_shares, checker.scalings.earlier_shares):
                known.update(earlier.get(mirror.group, ()))
            if not mirror.noise and mirror.parts not in known:
                self._violated(f"{proxy.node}, {endpoint.name}: {mirror}, asked was {asked[mirror.group]}.")

    def rolls_back(self, deployment: Deployment) -> None:
        """After the first shift the death of an instance is a reason only where one of production's died."""
        reason = deployment.reason or ""
        if deployment.step < 0 or not reason.startswith("An instance of the new fleet"):
            return
        if not any(self._world.machine.ever_harmed(group.id) for group in deployment.green.groups):
            self._violated(f"{deployment.id} rolls back for its shadow: {reason}")

    def unsettled(self, endpoints: Mapping[str, Endpoint]) -> tuple[str, str] | None:
        """At the end, when all is quiet: who should get copies gets them. The rule that does not hold yet, and how it is; None: it holds."""
        for name, endpoint in endpoints.items():
            asked = plan_of(endpoint, self._world.checker.comparison_rules(name).noise_parts).mirrors
            for proxy in self._world.network.proxies.values():
                if proxy.running and endpoint.blue is not None and proxy.mirrors(name) != asked:
                    return INERT, f"{proxy.node}, {name}: {proxy.mirrors(name)}, asked {asked}"
        return None

    def settled(self) -> None:
        if self._world.shadows is not None:
            self._world.shadows.capture.settled(self._world)

    def _violated(self, what: str) -> Any:
        raise self._world.violated(INERT, what)


def _finish(proxy: MemoryProxy, address: str, end: Callable[[], None]) -> None:
    proxy.finish(address)
    end()


def _fleets(endpoint: Endpoint) -> list[Fleet]:
    running = endpoint.deployment
    fleets = [endpoint.blue] if running is None else [endpoint.blue, running.blue, running.green]
    return [one for one in fleets if one is not None]
