"""`kill -9` at random moments of deployments of every strategy, at a constant 200 requests a second."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from tests.crashes.harm import (
    BAKE,
    PARTS,
    REPEATS,
    STRATEGIES,
    all_alive,
    each_counted_once,
    instances,
    kill,
    living,
    lost,
    only_lost_then,
    patience,
    phase,
    seeded,
    serving_again,
    trial,
)
from tests.scenarios.world import World, wait_for

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.slow]


@pytest.mark.parametrize("number", range(REPEATS))
def test_the_control_plane_is_killed(world: World, tmp_path: Path, number: int) -> None:
    """The right outcome, nothing lost, Envoy and every instance of then still the same, and every request counted once."""
    chance = seeded()
    name, strategy = f"control-{number}", chance.choice(list(STRATEGIES))
    with trial(world, tmp_path / "load", name, strategy, chance.random() < 0.5) as one:
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


@pytest.mark.parametrize("victim", ["telemetry", "capture", "launcher"])
def test_another_part_is_killed(world: World, tmp_path: Path, victim: str) -> None:
    chance = seeded()
    strategy, bad = chance.choice(list(STRATEGIES)), chance.random() < 0.5
    with trial(world, tmp_path / "load", f"other-{victim}", strategy, bad) as one:
        one.begin()
        one.some_moment(chance)
        spared = living(world.server, *(name for name in ("launcher", *PARTS) if name != victim))
        kill(world.server, victim)
        if victim == "launcher":
            world.server.start()
        one.right_outcome(one.settled())
        all_alive(spared)
    answers = one.load.nothing_lost()
    if victim != "telemetry":
        each_counted_once(world, one.name, len(answers) + (0 if one.bad else 10))


def test_envoy_is_killed(world: World, tmp_path: Path) -> None:
    chance = seeded()
    with trial(world, tmp_path / "load", "envoy", "canary", bad=False) as one:
        one.begin()
        one.some_moment(chance)
        spared, running = (
            living(world.server, "launcher", "control plane", "telemetry", "capture"),
            instances(world.server),
        )
        at = kill(world.server, "Envoy")
        one.right_outcome(one.settled())
        all_alive(spared)
        assert len([pid for pid in instances(world.server) if pid in running]) >= 2
    took, allowed = serving_again(one.load.answers(), at), 0.5 * patience()
    print(f"Envoy killed: serving again after {took:.3f} s, {len(lost(one.load.answers()))} requests lost")
    only_lost_then(one.load.answers(), at, allowed)
    assert took < allowed


def test_envoy_and_the_control_plane_are_killed_together(world: World, tmp_path: Path) -> None:
    chance = seeded()
    with trial(world, tmp_path / "load", "both", "linear", bad=False) as one:
        one.begin()
        one.some_moment(chance)
        running = instances(world.server)
        at = kill(world.server, "Envoy", "control plane")
        one.right_outcome(one.settled())
        assert len([pid for pid in instances(world.server) if pid in running]) >= 2
    took, allowed = serving_again(one.load.answers(), at), 3.0 * patience()
    print(
        f"Envoy and control plane killed: serving again after {took:.3f} s, {len(lost(one.load.answers()))} requests lost"
    )
    only_lost_then(one.load.answers(), at, allowed)
    assert took < allowed


@pytest.mark.parametrize("spared", ["instances", "nothing"])
def test_everything_is_killed_at_once(world: World, tmp_path: Path, spared: str) -> None:
    chance = seeded()
    strategy, bad = chance.choice(list(STRATEGIES)), chance.random() < 0.5
    with trial(world, tmp_path / "load", f"all-but-{spared}", strategy, bad) as one:
        one.begin()
        one.some_moment(chance)
        running = instances(world.server)
        victims = ("launcher", *PARTS, *(() if spared == "instances" else ("instances",)))
        at = kill(world.server, *victims)
        world.server.start()
        ready_at = time.time()
        one.right_outcome(one.settled(), may_lose_green=spared == "nothing")
        adopted = [pid for pid in instances(world.server) if pid in running]
        assert len(adopted) >= one.survivors_min if spared == "instances" else not adopted
    print(f"ready again {ready_at - at:.3f} s after everything was killed")
    only_lost_then(one.load.answers(), at, ready_at - at)


def test_an_instance_is_killed(world: World, tmp_path: Path) -> None:
    """Only what was in flight on it may fail, and every request is counted, also those."""
    chance = seeded()
    strategy = chance.choice(list(STRATEGIES))
    with trial(world, tmp_path / "load", "instance", strategy, bad=False) as one:
        one.begin()
        one.some_moment(chance)
        ours = {world.invoke("instance")["pid"] for _ in range(20)}
        victim = chance.choice(sorted(ours))
        at = time.time()
        os.kill(victim, signal.SIGKILL)
        one.right_outcome(one.settled(), may_lose_green=True)
    answers = one.load.answers()
    in_flight = [each for each in answers if each.began <= at + 0.05 and each.ended >= at]
    print(f"instance killed: {len(in_flight)} requests in flight on all of them, {len(lost(answers))} lost")
    assert all(each in in_flight for each in lost(answers)), lost(answers)[:3]
    assert len(lost(answers)) <= len(in_flight)
    each_counted_once(world, "instance", len(answers) + 30)


def test_a_bake_ends_when_it_would_have_ended(world: World, tmp_path: Path) -> None:
    """Deadlines are points in time: a control plane that was away in between changes nothing about them."""
    with trial(world, tmp_path / "load", "timer", "canary", bad=False) as one:
        one.begin()
        wait_for("baking", lambda: phase(world.server, "timer") == "baking")
        time.sleep(0.5)
        kill(world.server, "control plane")
        one.right_outcome(one.settled())
    answers = one.load.nothing_lost()
    first_new = min(each.began for each in answers if each.version == one.new)
    last_old = max(each.began for each in answers if each.version == one.old)
    print(f"canary of {BAKE} s took {last_old - first_new:.2f} s")
    # What the bake needs by itself: until telemetry's watermark and the next whole second have passed its end.
    assert BAKE - 0.5 < last_old - first_new < BAKE + 3.0 * patience()
