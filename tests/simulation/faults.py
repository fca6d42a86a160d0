"""Everything that goes wrong, one after another, as the world's source of randomness has it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Final

from tests.simulation.world import World

from bannister.envoy.discovery import Response
from bannister.envoy.memory import MemoryProxy


class Faults:
    """Disturbs a world until it is cancelled; then `stop` mends what would not mend by itself."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng
        #: A source of its own, so that worlds of recorded seeds are what they were.
        self._streams = random.Random(f"streams of {world.seed}")
        self._slow: dict[str, None] = {}
        self._mending: dict[Callable[[], None], None] = {}

    async def run(self, mean_seconds: float) -> None:
        weights = [weight for weight, _ in KINDS.values()]
        while True:
            await asyncio.sleep(self._rng.expovariate(1 / mean_seconds))
            kind = self._rng.choices(list(KINDS), weights)[0]
            before = self._world.counts["faults"]
            KINDS[kind][1](self)
            if self._world.counts["faults"] > before:  # there was something that it could befall
                self._world.counts[f"fault: {kind}"] += 1

    def stop(self) -> None:
        """No more: mend everything now."""
        self._world.crash_at = None
        for mend in list(self._mending):
            mend()
        for plane in self._world.stale:
            self._world.thaw(plane)
            if plane.discovery is not None:
                self._world.network.hang_up(plane.discovery)  # as when it ends, which it does when it next looks

    def _for_a_while(self, seconds: float, mend: Callable[[], None]) -> None:
        def once() -> None:
            if once in self._mending:
                del self._mending[once]
                mend()

        self._mending[once] = None
        self._world.loop.call_later(seconds, once)

    def _note(self, what: str) -> None:
        self._world.note("fault", what)
        self._world.counts["faults"] += 1
        for endpoint in self._world.endpoints().values():
            if endpoint.deployment is not None:
                self._world.counts[f"fault while {endpoint.deployment.phase.value}"] += 1

    # --- instances

    def _instance(self) -> str | None:
        running = list(self._world.machine.running)
        return self._rng.choice(running) if running else None

    def _harm(self, instance: str) -> None:
        self._world.machine.harm(instance)

    def _kill_instance(self) -> None:
        instance = self._instance()
        if instance is not None:
            self._note(f"{instance} of {self._world.machine.group_of[instance]} is killed")
            self._harm(instance)
            self._world.machine.end(instance)

    def _hang_instance(self) -> None:
        instance, machine = self._instance(), self._world.machine
        if instance is None or not machine.answers(instance):
            return
        self._note(f"{instance} of {machine.group_of[instance]} hangs")
        self._harm(instance)
        machine.hang(instance)
        pid = machine.running[instance]

        def answer() -> None:
            if machine.running.get(instance) == pid:
                machine.answer(instance)

        self._for_a_while(self._rng.random() * 20, answer)

    # --- proxies

    def _proxy(self) -> MemoryProxy:
        proxies, gone = self._world.network.proxies, self._world.checker.gone
        return self._rng.choice([proxy for node, proxy in proxies.items() if node not in gone])

    def _start(self, proxy: MemoryProxy) -> None:
        if proxy.node not in self._world.checker.gone:
            proxy.start()

    def _proxy_refuses(self) -> None:
        proxy = self._proxy()
        self._note(f"{proxy.node} refuses what it is sent")

        def refuses(response: Response) -> str | None:
            return f"{response.kind.name.lower()} are not to its taste"

        def mend() -> None:
            proxy.conduct.refuses = lambda _: None
            self._world.checker.refusing.pop(proxy.node, None)
            # A proxy that refused is sent nothing before something changes; Envoy restarted is the operator's way out.
            self._world.checker.astray(proxy.node)
            proxy.end()
            self._start(proxy)

        self._world.checker.refusing[proxy.node] = None
        proxy.conduct.refuses = refuses
        self._for_a_while(self._rng.random() * 8, mend)

    def _proxy_is_slow(self) -> None:
        proxy, rng = self._proxy(), self._rng
        self.slow_down(proxy, rng.choice((0.3, 1.0, 4.0)))

    def slow_down(self, proxy: MemoryProxy, longest: float) -> None:
        """For a while a proxy takes up to this many seconds for everything."""
        rng = self._rng
        if proxy.node in self._slow:
            return
        self._slow[proxy.node] = None
        self._note(f"{proxy.node} takes up to {longest} s for everything")
        before = proxy.conduct.apply_seconds, proxy.conduct.answer_seconds
        if longest > 1.0:
            self._world.checker.astray(proxy.node)  # it may lose its lease
            self._world.checker.slow[proxy.node] = None

        def mend() -> None:
            self._world.checker.slow.pop(proxy.node, None)
            del self._slow[proxy.node]
            proxy.conduct.apply_seconds, proxy.conduct.answer_seconds = before

        proxy.conduct.apply_seconds = proxy.conduct.answer_seconds = lambda: rng.random() * longest
        self._for_a_while(rng.random() * 15, mend)

    def _proxy_goes_away(self) -> None:
        proxy = self._proxy()
        seconds = self._rng.choice((0.1, 1.0, 4.0, 12.0))
        self._note(f"{proxy.node} is cut off for {seconds} s")
        if seconds >= self._world.settings.proxy_lease_seconds - 2:
            self._world.checker.astray(proxy.node)
        proxy.disconnect()
        self._for_a_while(seconds, proxy.reconnect)

    def _proxy_restarts(self) -> None:
        proxy = self._proxy()
        self._note(f"{proxy.node} restarts empty")
        self._world.checker.astray(proxy.node)
        proxy.end()
        self._for_a_while(self._rng.random(), lambda: self._start(proxy))

    # --- telemetry

    def _telemetry_stands_still(self) -> None:
        telemetry = self._world.telemetry
        self._note("telemetry's watermark stands still")
        telemetry.stands_still = True
        self._for_a_while(self._rng.choice((1.0, 5.0, 20.0)), lambda: setattr(telemetry, "stands_still", False))

    def _telemetry_restarts(self) -> None:
        telemetry = self._world.telemetry
        if telemetry.running:
            self._note("telemetry dies")
            telemetry.stop()
            self._for_a_while(self._rng.random() * 6, telemetry.start)

    def _telemetry_is_late(self) -> None:
        telemetry = self._world.telemetry
        self._note("reports are late")
        telemetry.delay_seconds = self._rng.random() * 2
        self._for_a_while(self._rng.random() * 8, lambda: setattr(telemetry, "delay_seconds", 0.0))

    def _reports_come_twice(self) -> None:
        plane = self._world.plane
        if plane is not None and plane.feed is not None:
            self._note("reports come twice")
            plane.feed.stutters = self._rng.random() < 0.5
            plane.feed.reconnect()

    # --- the control plane

    def _crash_between_callbacks(self) -> None:
        world, plane = self._world, self._world.plane
        if plane is not None:
            self._note("the control plane will die between two steps")
            self._set_restart()
            world.loop.kill_after(
                plane.process, self._rng.randrange(60), lambda: world.kill_plane(plane, "dies between two steps")
            )

    def _crash_at_a_write(self) -> None:
        after = self._world.points + self._rng.randrange(1, 12)
        self._note("the control plane will die at a write")
        self._set_restart()
        self._world.crash_at = lambda number, _: number >= after

    def _set_restart(self) -> None:
        longest = self._rng.choice((0.3, 0.3, 3.0, 10.0))
        self._world.restart_seconds = lambda: 0.1 + self._rng.random() * longest

    def _freeze(self) -> None:
        world = self._world
        if world.plane is not None and world.plane.context is not None:
            self._note("the control plane stops, and does not know")
            plane = world.plane
            world.replace_plane(self._streams.choice((0.0, 3.0, 8.0)) * self._streams.random())
            self._for_a_while(self._rng.random() * 10, lambda: world.thaw(plane))

    # --- the clock

    def _clock_jumps(self) -> None:
        seconds = self._rng.choice((-30.0, -3.0, 3.0, 30.0))
        self._note(f"the clock jumps by {seconds} s")
        self._world.clock.ahead_seconds += seconds
        self._world.checker.jumps += 1


#: All that goes wrong: how often beside the others, and how.
KINDS: Final[Mapping[str, tuple[int, Callable[[Faults], None]]]] = {
    "an instance is killed": (3, Faults._kill_instance),
    "an instance hangs": (2, Faults._hang_instance),
    "a proxy refuses": (1, Faults._proxy_refuses),
    "a proxy is slow": (2, Faults._proxy_is_slow),
    "a proxy is cut off": (2, Faults._proxy_goes_away),
    "a proxy restarts": (1, Faults._proxy_restarts),
    "telemetry stands still": (1, Faults._telemetry_stands_still),
    "telemetry restarts": (1, Faults._telemetry_restarts),
    "reports are late": (1, Faults._telemetry_is_late),
    "reports come twice": (2, Faults._reports_come_twice),
    "the control plane dies between two steps": (3, Faults._crash_between_callbacks),
    "the control plane dies at a write": (4, Faults._crash_at_a_write),
    "the control plane is replaced and wakes": (1, Faults._freeze),
    "the clock jumps": (1, Faults._clock_jumps),
}
