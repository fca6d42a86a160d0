"""`kill -9` at random moments of deployments, at a constant 200 requests a second."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import time
from pathlib import Path

import pytest
from tests.crashes.harm import (
    EVERYTHING,
    PARTS,
    REPEATS,
    SETTLED_SECONDS,
    WAYS,
    Trial,
    Way,
    all_alive,
    decisions,
    each_counted_once,
    every,
    instances,
    kill,
    living,
    lost,
    named,
    only_lost_then,
    phase,
    seeded,
    serving_again,
    strategies,
    trial,
    waiting,
)
from tests.scenarios.shadow import total
from tests.scenarios.world import Answer, Server, World, wait_for

from bannister.launcher.processes import identify
from bannister.settings import Settings

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.slow]

#: What telemetry knows of a request is lost with it until the request's second is final and reported: a second, `watermark_margin_seconds`, the time between two
#: heartbeats, the time that Envoy keeps an entry, and a moment to report come to 1.75 s.
HELD_SECONDS = 2.0
#: From the moment at which telemetry listens again until each of Envoy's threads has found out.
FOUND_SECONDS = 0.5
#: From an instance's end until a proxy has read that its connections ended. What the proxy gives to one of them meanwhile was given to the killed one as well.
NOTICED_SECONDS = 0.25
#: A bake that is long in comparison to what a control plane needs to start.
LONG_BAKE = 15
#: How many times parts are killed for one median.
KILLS = 5 if EVERYTHING else 3

ENVOY, BOTH = "Envoy", "Envoy and the control plane"
KILLED = {ENVOY: ("Envoy",), BOTH: ("Envoy", "control plane")}
#: Until requests are answered again, on a machine that does nothing else.
SERVING_AGAIN_SECONDS = {ENVOY: 0.5, BOTH: 3.0}
#: A single one of them may take so much longer than the median may.
ONCE_LATER_SECONDS = 1.0


@pytest.mark.parametrize("number", range(REPEATS))
def test_the_control_plane_is_killed(world: World, tmp_path: Path, number: int) -> None:
    """The right outcome, nothing lost, Envoy and every instance of then still the same, and every request counted once."""
    chance = seeded()
    way = WAYS[number % len(WAYS)] if EVERYTHING else Way.by_chance(chance)
    name = f"control-{number}"
    with trial(world, tmp_path / "load", name, way) as one:
        one.begin()
        one.some_moment(chance)
        spared, running, was = (
            living(world.server, "launcher", "telemetry", "capture", "Envoy"),
            instances(world.server),
            phase(world.server, name),
        )
        print(f"killed in phase {was}")
        kill(world.server, "control plane")
        found = one.settled()
        one.right_outcome(found)
        all_alive(spared)
        survivors = [pid for pid in instances(world.server) if pid in running]
        assert len(survivors) >= one.survivors_min, "the fleet that is in production now, or was then, was adopted"
    answers = one.load.nothing_lost()
    each_counted_once(world, name, len(answers) + (0 if one.bad else 10))


@every("telemetry", "capture", "launcher")
def test_another_part_is_killed(world: World, tmp_path: Path, victim: str, way: Way | None) -> None:
    """Nothing lost, all else untouched, and every request counted once; with telemetry goes what it had not reported, and not more."""
    chance = seeded()
    way = way or Way.by_chance(chance)
    with trial(world, tmp_path / "load", named("killed", victim, way), way) as one:
        one.begin()
        one.some_moment(chance)
        spared = living(world.server, *(name for name in ("launcher", *PARTS) if name != victim))
        at = kill(world.server, victim)
        if victim == "launcher":
            world.server.start()
        if victim == "telemetry":
            wait_for("telemetry listens", lambda: listens(world.server))
            deaf_until = time.time() + FOUND_SECONDS + waiting("telemetry")
        one.right_outcome(one.settled())
        all_alive(spared)
    answers = one.load.nothing_lost()
    sent = len(answers) + (0 if one.bad else 10)
    if victim != "telemetry":
        each_counted_once(world, one.name, sent)
        return
    lost_max = sum(at - HELD_SECONDS <= each.ended <= deaf_until for each in answers)
    counted = each_counted_once(world, one.name, sent, lost_max=lost_max)
    print(f"telemetry killed: of {sent} requests {sent - counted:.0f} were not counted, at most {lost_max} may be")


def listens(server: Server) -> bool:
    """Whether there is somebody to whom Envoy can tell of requests."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(Settings(server.data_dir).access_log_socket)) == 0


@every(ENVOY, BOTH)
def test_envoy_is_killed(world: World, tmp_path: Path, victim: str, way: Way | None) -> None:
    """In a deployment, and then again: what was in flight is lost, and what comes before it serves again, which is soon."""
    chance = seeded()
    way = way or Way.by_chance(chance)
    victims = KILLED[victim]
    waits, kills = [], []
    with trial(world, tmp_path / "load", named("killed", victim, way), way) as one:
        one.begin()
        one.some_moment(chance)
        spared, running = (
            living(world.server, *(name for name in ("launcher", *PARTS) if name not in victims)),
            instances(world.server),
        )
        kills.append(kill(world.server, *victims))
        waits.append(sum(map(waiting, victims)))
        one.right_outcome(one.settled())
        all_alive(spared)
        assert len([pid for pid in instances(world.server) if pid in running]) >= one.survivors_min
        while len(kills) < KILLS:
            since = time.monotonic()
            wait_for("it has settled", lambda since=since: time.monotonic() > since + SETTLED_SECONDS)
            kills.append(kill(world.server, *victims))
            one.settled()  # the control plane answers
            wait_for("it serves", lambda at=kills[-1]: any(each.began > at for each in answered(one)))
            waits.append(sum(map(waiting, victims)))
        all_alive(spared)
    answers = one.load.answers()
    took = [serving_again(answers, at, until) for at, until in zip(kills, [*kills[1:], time.time()], strict=True)]
    print(
        f"{victim} killed: serving again after {sorted(round(each, 3) for each in took)} s, {len(lost(answers))} lost"
    )
    print(f"of that a bare start waits for a processor: {sorted(round(each, 3) for each in waits)} s")
    allowed = SERVING_AGAIN_SECONDS[victim] + ONCE_LATER_SECONDS
    only_lost_then(answers, *((at, allowed + wait) for at, wait in zip(kills, waits, strict=True)))
    assert statistics.median(took) <= SERVING_AGAIN_SECONDS[victim] + statistics.median(waits)


def answered(one: Trial) -> list[Answer]:
    return [each for each in one.load.answers() if each.lost is None]


@every("everything but the instances", "everything")
def test_everything_is_killed_at_once(world: World, tmp_path: Path, victim: str, way: Way | None) -> None:
    chance = seeded()
    way = way or Way.by_chance(chance)
    with trial(world, tmp_path / "load", named("killed", victim, way), way) as one:
        one.begin()
        one.some_moment(chance)
        running = instances(world.server)
        victims = ("launcher", *PARTS, *(("instances",) if victim == "everything" else ()))
        at = kill(world.server, *victims)
        world.server.start()
        ready_at = time.time()
        one.right_outcome(one.settled(), may_lose_green=victim == "everything")
        adopted = [pid for pid in instances(world.server) if pid in running]
        assert not adopted if victim == "everything" else len(adopted) >= one.survivors_min
    print(f"ready again {ready_at - at:.3f} s after everything was killed")
    only_lost_then(one.load.answers(), (at, ready_at - at))


@every("an instance of blue", "an instance of green")
def test_an_instance_is_killed(world: World, tmp_path: Path, victim: str, way: Way | None) -> None:
    """Only what was in flight on it may fail, and every request is counted, also those, among the errors. Where it was its fleet's only one (the first batch of a
    rolling update), what is given to the fleet before the traffic has gone back to blue is refused as well.
    """
    chance = seeded()
    way = way or Way.by_chance(chance)
    fleet = victim.split()[-1]
    with trial(world, tmp_path / "load", named("killed", victim, way), way, SLEEP="0.02") as one:
        one.begin()
        pid = one.an_instance(fleet, chance)
        at = time.time()
        os.kill(pid, signal.SIGKILL)
        wait_for("it is gone", lambda: identify(pid) is None)
        gone_at = time.time()
        one.right_outcome(one.settled(), loses_green=fleet == "green", may_lose_green=fleet == "green")
    answers = one.load.answers()
    in_flight = {each.number for each in answers if each.began <= gone_at and each.ended >= at}
    # 424: a connection ended that the request was on. One to a process that is gone cannot be made: that is a 503.
    noticed_at = gone_at + NOTICED_SECONDS
    too_late = {each.number for each in lost(answers) if each.status == 424 and gone_at < each.began <= noticed_at}
    on_it = (in_flight | too_late) - begun(one, others_than=pid)
    lost_ones = {each.number for each in lost(answers)}
    print(
        f"{victim} killed: {len(in_flight)} requests in flight; {len(on_it)} on it, {len(too_late & on_it)} of them given to it too late; {len(lost_ones)} lost"
    )
    refused: set[int] = set()
    if victim == "an instance of green" and way.strategy == "rolling":
        gone_back_at = decided_at(world.server, one.name, "blue restored")
        refused = {each.number for each in lost(answers) if each.status == 503 and at <= each.began <= gone_back_at}
        print(f"{len(refused - on_it)} were refused until the traffic had gone back, {gone_back_at - at:.3f} s later")
    assert lost_ones <= on_it | refused, [each for each in lost(answers) if each.number not in on_it | refused][:3]
    each_counted_once(world, one.name, len(answers) + (0 if one.bad else 10))
    errors = sum(each.status == 424 for each in answers if each.lost is None)
    assert total(world, one.name, "AllTraffic", "InvocationModelErrors") == errors + len(lost_ones)


def begun(one: Trial, *, others_than: int) -> set[int]:
    """The numbers of all requests that another process than this began to answer. What nobody began was still on its way to one."""
    files = [file for file in one.begun.iterdir() if file.name != str(others_than)]
    return {int(number) for file in files for number in file.read_text().split()}


def test_a_bake_ends_when_it_would_have_ended(world: World, tmp_path: Path) -> None:
    """Deadlines are points in time: a control plane that is away twice, late in a bake, changes nothing about them. Begun anew, it would take twice as long."""
    with trial(world, tmp_path / "load", "timer", Way("canary", bad=False)) as one:
        routing = strategies(LONG_BAKE)["canary"]["routing"]
        world.update("timer", one.new, routing=routing, alarms=(one.alarm,))
        began = wait_for("baking", lambda: decided_at(world.server, "timer", "split acknowledged"))
        for seconds in (10, 13):
            wait_for(f"{seconds} s of it", lambda after=seconds: time.time() > began + after)
            kill(world.server, "control plane")
        one.right_outcome(one.settled())
    one.load.nothing_lost()
    took = decided_at(world.server, "timer", "step baked") - began
    print(f"a bake of {LONG_BAKE} s took {took:.2f} s")
    assert LONG_BAKE <= took < LONG_BAKE + 8.0


def decided_at(server: Server, endpoint: str, event: str) -> float:
    """When the last deployment first decided this, as the journal says; 0: it has not."""
    last = [one for one in decisions(server, endpoint) if one["before"]["blue"] is not None]
    return next((float(one["observation"]["now"]) for one in last if one["event"] == event), 0.0)
