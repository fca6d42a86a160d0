"""What happens, in order: two acts, on a server of its own, under one stream of live traffic.

First act, a canary: v2 goes into service; v3, which fails on one live flight in six, is rolled back by an alarm on errors.

Second act, a shadow: v4 answers every request fast and well-formed, and wrongly. No alarm on errors or latency can see that. As v2's shadow it gets
a copy of every request, its answers are compared with v2's, and the alarm on disagreements stops the update that would have
promoted it. v5, which is v2 trained with another seed, passes the same way.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from bannister.demo.endpoint import (
    BAKE_SECONDS,
    CANARY_PERCENT,
    INSTANCES,
    POLL_SECONDS,
    Description,
    FlightsEndpoint,
    config_name,
    disagreement_alarm,
    error_alarm,
    green,
)
from bannister.demo.flights import Flights, load
from bannister.demo.report import Outcome, Settled, Shadowed
from bannister.demo.screen import Screen
from bannister.demo.server import Server, ServerFailed
from bannister.demo.traffic import Traffic
from bannister.demo.training import FEATURES, Version, train

REQUESTS_PER_SECOND = 100.0
#: March is enough for four and a half minutes; on a machine that is busy with other things the demo takes longer, and April follows.
FLIGHTS_MAX = 54_000
#: How long each version is left alone before the next step, so that there is something to see.
STEADY_SECONDS = 5.0
#: Generous, for busy machines: instances start at low priority.
CREATE_TIMEOUT_SECONDS = 300.0
UPDATE_TIMEOUT_SECONDS = 300.0
#: A shadow that was not found out is trusted after so many compared answers.
PAIRS_MIN = 300
SHADOW_TIMEOUT_SECONDS = 120.0


class Demo:
    """One run, on a server of its own."""

    def __init__(self, server: Server, workspace: Path, screen: Screen) -> None:
        self._server = server
        self._workspace = workspace
        self._screen = screen
        self._seen: tuple[str, float] | None = None
        self._status = ""

    def run(self) -> Outcome:
        """The whole story.

        Raises:
            ServerFailed: The server did not start.
            TookTooLong: The endpoint never came to rest.
        """
        say = self._screen.say
        with ThreadPoolExecutor(1) as background:
            trained: Future[tuple[Flights, list[Version]]] = background.submit(_train)
            self._server.wait_ready()
            say(f"bannister is up on {self._server.url}")
            data, versions = trained.result()
        say("trained v1 (schedule), v2 (+ delay, weather), v3 (+ aircraft's age)")
        say("        v4 (v2 on another table), v5 (v2 with another seed)")
        flights = data.replay(FLIGHTS_MAX)
        outcome = Outcome(versions, flights, alarm_name=error_alarm("v3"), disagreement_alarm=disagreement_alarm("v4"))
        endpoint = FlightsEndpoint(self._server.url)
        endpoint.release(versions)
        say(f"uploaded {len(versions)} model.tar.gz to s3://flights, created their models")
        endpoint.create("v1")
        created = endpoint.wait_settled(CREATE_TIMEOUT_SECONDS, self._watch)
        if created["EndpointStatus"] != "InService":
            raise ServerFailed(f"The endpoint was not created: {created.get('FailureReason')}")
        say(f"v1 is in service on {INSTANCES} instances")
        self._with_traffic(endpoint, outcome)
        return outcome

    def _with_traffic(self, endpoint: FlightsEndpoint, outcome: Outcome) -> None:
        traffic = Traffic(endpoint.invocations_url, outcome.flights, self._workspace, REQUESTS_PER_SECOND)
        try:
            self._screen.follow(traffic)
            self._screen.say(f"a client replays March: {REQUESTS_PER_SECOND:.0f} requests/s, without retries")
            self._first_act(endpoint, outcome)
            self._second_act(endpoint, outcome)
            outcome.client_survived = traffic.running
        finally:
            self._screen.unfollow()
            traffic.stop()
            outcome.answers, outcome.sent = traffic.answers(), traffic.sent

    def _first_act(self, endpoint: FlightsEndpoint, outcome: Outcome) -> None:
        """A version that fails loudly meets an alarm on errors."""
        self._steady()
        outcome.settled["v2"] = self._update(endpoint, "v2", endpoint.guard("v2"))
        self._steady()
        outcome.settled["v3"] = self._update(endpoint, "v3", endpoint.guard("v3"))
        outcome.rolled_back_at = time.time()
        outcome.alarm_at = endpoint.tripped_at(outcome.alarm_name)
        self._steady()

    def _second_act(self, endpoint: FlightsEndpoint, outcome: Outcome) -> None:
        """A version that fails silently meets production's own answers."""
        endpoint.compare_labels()
        self._shadow(endpoint, outcome, "v4")
        outcome.settled["v4"] = self._update(endpoint, "v4", [disagreement_alarm("v4")])
        outcome.shadowed["v4"].report = endpoint.shadow_report()
        self._shadow(endpoint, outcome, "v5")
        outcome.shadowed["v5"].report = endpoint.shadow_report()
        outcome.settled["v5"] = self._update(endpoint, "v5", [disagreement_alarm("v5"), *endpoint.guard("v5")])
        self._steady()

    def _shadow(self, endpoint: FlightsEndpoint, outcome: Outcome, version: str) -> None:
        """Put a version beside v2 and wait until it is found out, or has agreed often enough."""
        say, seen = self._screen.say, Shadowed()
        outcome.shadowed[version] = seen
        endpoint.guard_shadow(version)
        endpoint.shadow(version)
        say(f"{version} becomes v2's shadow: it gets a copy of every request, no caller its answers", "bold")
        endpoint.wait_settled(UPDATE_TIMEOUT_SECONDS, self._watch)
        deadline = time.monotonic() + SHADOW_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            self._screen.tick()
            tripped = endpoint.in_alarm(disagreement_alarm(version))
            seen.pairs, seen.agreement = endpoint.agreement()
            if tripped:
                seen.found_after = seen.pairs
                say(
                    f"alarm {disagreement_alarm(version)}: {version} agrees on {seen.agreement:.0%} of {seen.pairs} answers",
                    "bold red",
                )
                return
            if seen.pairs >= PAIRS_MIN and version != "v4":
                say(f"{version} agrees with v2 on {seen.agreement:.1%} of {seen.pairs} answers", "bold green")
                return
            time.sleep(POLL_SECONDS)
        say(f"{version} was compared {seen.pairs} times in {SHADOW_TIMEOUT_SECONDS:.0f} s, and no alarm tripped")

    def _update(self, endpoint: FlightsEndpoint, version: str, alarms: list[str]) -> Settled:
        endpoint.update(version, alarms)
        watch = "alarm watches" if len(alarms) == 1 else "alarms watch"
        self._screen.say(
            f"update to {version}: canary of {CANARY_PERCENT} % for {BAKE_SECONDS} s, {len(alarms)} {watch} it", "bold"
        )
        described = endpoint.wait_settled(UPDATE_TIMEOUT_SECONDS, self._watch)
        settled = Settled(
            described["EndpointStatus"],
            described["EndpointConfigName"],
            described.get("FailureReason"),
            endpoint.deployment_to(version),
        )
        if settled.failure_reason:
            self._screen.say(settled.failure_reason, "bold red")
        else:
            self._screen.say(f"{version} is in service", "bold green")
        return settled

    def _watch(self, description: Description) -> None:
        """One look at the endpoint: an event if something has changed."""
        status = description["EndpointStatus"]
        if status == "RollingBack" and self._status != status:
            self._screen.say("rolling back: all traffic goes to the version before", "bold red")
        self._status = status
        fleet = green(description)
        if fleet is None:
            self._screen.asked(None)
            self._seen = None
        elif self._seen != (fleet.activity, fleet.share):
            self._seen = (fleet.activity, fleet.share)
            version = description["PendingDeploymentSummary"]["EndpointConfigName"].removeprefix(config_name(""))
            self._screen.asked(f"asked for {version}: {fleet.share:.0%}" if fleet.share else None)
            share = f" at {fleet.share:.0%}" if fleet.share else ""
            self._screen.say(f"  {version}{share}: {fleet.activity}")
        self._screen.tick()

    def _steady(self) -> None:
        deadline = time.monotonic() + STEADY_SECONDS
        while time.monotonic() < deadline:
            time.sleep(0.2)
            self._screen.tick()


def _train() -> tuple[Flights, list[Version]]:
    data = load()
    return data, [train(name, data) for name in FEATURES]
