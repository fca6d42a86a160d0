"""What must have happened by now: a bake that is over, an alarm that holds, silence, a proxy that is gone.

Each rule says what is *due*. What is due is done soon, by whichever control plane runs; time counts only while one and the same runs undisturbed, so that a control plane
that has just come up has its time. When something is due does not depend on the control plane: a deadline is absolute, however often it is started anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bannister.domain.alarm.alarm import AlarmValue
from bannister.domain.deployment.deployment import SHIFTED, Deployment, Phase
from bannister.state.tables import ALARMS

if TYPE_CHECKING:
    from tests.simulation.checker import Watched
    from tests.simulation.world import World

#: What a control plane can know is due is done after this long: the deployer looks at deadlines once a second.
DONE_SECONDS_MAX = 2.0
#: A bake is over when the second in which it ends is final and reported: telemetry reports once a second, and then the deployer decides.
BAKED_SECONDS_MAX = 4.0
#: Telemetry that has gone on for this long has made up for what it was late with.
TELEMETRY_RECOVERS_SECONDS = 3.0
#: Telemetry's watermark moves once a second.
WATERMARK_SECONDS_MAX = 1.6
#: Every proxy that is there has applied and answered a split after this long, where nothing is on its way to it.
SHIFTED_SECONDS_MAX = 3.0


class TimerRules:
    """Part of the checker."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: By deployment, step and what is due: the control plane that was to do it, and since when. As of this tick, and of the one before.
        self._due: dict[tuple[str, int, str], tuple[int, float]] = {}
        self._was_due = self._due
        self._telemetry_runs = 1
        #: When telemetry was last away, late or behind.
        self._telemetry_disturbed_at = float("-inf")

    def tick(self) -> None:
        self._watch_telemetry()
        self._was_due, self._due = self._due, {}
        for endpoint in self._world.checker.endpoints.values():
            deployment = endpoint.deployment
            if deployment is None:
                continue
            watched = self._world.checker.watched[deployment.id]
            if deployment.phase is Phase.HELD:
                self._held(deployment)
            if deployment.phase in SHIFTED and deployment.policy.alarms:
                self._blind(deployment)
            if deployment.phase in (Phase.SHIFTING, Phase.ROLLING_BACK):
                self._shifting(deployment)
            if deployment.phase is Phase.BAKING:
                self._baking(deployment, watched)

    def _watch_telemetry(self) -> None:
        telemetry, now = self._world.telemetry, self._world.loop.time()
        behind = now - telemetry.advanced_at > WATERMARK_SECONDS_MAX
        if not telemetry.running or behind or telemetry.delay_seconds or telemetry.runs != self._telemetry_runs:
            self._telemetry_disturbed_at = now
        self._telemetry_runs = telemetry.runs

    def _due_for(self, deployment: Deployment, what: str, *, due: bool) -> float:
        """For how long something has been due that the control plane which runs now could have done, in seconds."""
        plane, now = self._world.plane, self._world.loop.time()
        if not due or plane is None or plane.context is None:
            return 0.0
        key = deployment.id, deployment.step, what
        number, since = self._was_due.get(key, (0, now))
        if number != plane.number:
            since = now
        self._due[key] = plane.number, since
        return now - since

    def _up_for(self) -> float:
        plane = self._world.plane
        return self._world.loop.time() - plane.up_at if plane is not None and plane.context is not None else 0.0

    def _held(self, deployment: Deployment) -> None:
        """An alarm that does not clear within its bound takes the deployment back, by the clock on the wall, whoever looks at it."""
        world = self._world
        alarms = [world.checker.read(ALARMS, name) for name in deployment.policy.alarms]
        holds = any(one is not None and one.state.value is AlarmValue.ALARM for one in alarms)
        held = world.clock.now() - deployment.phase_since
        due = holds and held >= world.settings.alarm_clear_timeout_seconds
        if self._due_for(deployment, "held", due=due) > DONE_SECONDS_MAX:
            raise world.violated("7: an alarm holds for its bound", f"{deployment.id} has been held for {held:.1f} s.")

    def _blind(self, deployment: Deployment) -> None:
        """Nobody tells the control plane anything for as long as its bound: a deployment that alarms watch goes back."""
        world = self._world
        silent = min(world.loop.time() - world.telemetry.heard_at, self._up_for())
        due = silent >= world.settings.blind_timeout_seconds
        if self._due_for(deployment, "blind", due=due) > DONE_SECONDS_MAX:
            raise world.violated(
                "19: blind is not quiet",
                f"{deployment.id} is {deployment.phase.value}, and telemetry has been silent for {silent:.1f} s.",
            )

    def _shifting(self, deployment: Deployment) -> None:
        """Where every proxy that is there does as it is told, a split is acknowledged: one that is gone for longer than its lease holds nobody up."""
        late = self._due_for(deployment, deployment.phase.value, due=self._can_shift(deployment))
        if late > SHIFTED_SECONDS_MAX:
            raise self._world.violated(
                "11: who is gone holds up nobody",
                f"{deployment.id} is {deployment.phase.value}; every proxy that is there could have acknowledged it for {late:.1f} s.",
            )

    def _can_shift(self, deployment: Deployment) -> bool:
        checker = self._world.checker
        if self._up_for() <= self._lease:
            return False  # proxies that are away may still come back to it
        fleets = [fleet for fleet in (deployment.blue, deployment.green) if fleet is not None]
        if any(checker.is_harmed(group.id) for fleet in fleets for group in fleet.groups):
            return False
        return self._proxies_obey()

    @property
    def _lease(self) -> float:
        return self._world.settings.proxy_lease_seconds + 1.0

    def _proxies_obey(self) -> bool:
        """Whether there is a proxy, all that are there do as they are told, and the others are gone for so long that nobody waits for them."""
        checker, proxies = self._world.checker, self._world.network.proxies.values()
        there = [proxy for proxy in proxies if proxy.connected]
        away_for = {proxy.node: min(checker.away_for(proxy.node), self._up_for()) for proxy in proxies}
        gone = [proxy for proxy in proxies if not proxy.connected and away_for[proxy.node] > self._lease]
        # One that takes a second for everything needs several to come back to a new control plane, one thing after the other.
        obeys = all(
            not proxy.owes_answers and proxy.node not in checker.slow and proxy.node not in checker.refusing
            for proxy in there
        )
        return bool(there) and obeys and len(there) + len(gone) == len(proxies)

    def _baking(self, deployment: Deployment, watched: Watched) -> None:
        """A bake that nothing disturbs, a silent instance of green or a proxy neither, is over by its deadline, which was set when it began, however often the control plane has ended since."""
        world = self._world
        bake = deployment.steps[deployment.step].bake_seconds
        seen = self._telemetry_disturbed_at < watched.baking_since - TELEMETRY_RECOVERS_SECONDS
        undisturbed = watched.jumps == world.checker.jumps and (seen or not deployment.policy.alarms)
        undisturbed = undisturbed and not any(world.machine.silent_in(group.id) for group in deployment.green.groups)
        due = undisturbed and world.loop.time() >= watched.baking_since + bake and self._proxies_obey()
        late = self._due_for(deployment, "baked", due=due)
        if late > BAKED_SECONDS_MAX:
            raise world.violated(
                "10: a bake ends",
                f"{deployment.id} bakes for {bake} s, and has for {world.loop.time() - watched.baking_since:.1f} s.",
            )
