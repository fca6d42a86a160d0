"""SIGSTOP for a while, then SIGCONT: what stands still, and what is replaced while it stands still."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.crashes.harm import (
    BAKE,
    PARTS,
    STOPPED_SECONDS,
    Way,
    all_alive,
    decisions,
    each_counted_once,
    every,
    instances,
    launcher,
    living,
    lost,
    named,
    part,
    phase,
    seeded,
    settled,
    stopped,
    stopped_between_writes,
    strategies,
    trial,
)
from tests.scenarios.recorder import entries
from tests.scenarios.shadow import CAPTURE, PRODUCTION, SHADOW, dropped, quick_models, shadow_config, total
from tests.scenarios.world import Load, Server, World, wait_for

from bannister.domain.deployment.recorder import WAITED
from bannister.launcher.processes import identify, is_alive

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.slow]

BOTH = (PRODUCTION, SHADOW)
#: An instance is silent when it has missed three pings, two seconds apart and each waited for two seconds; so this is noticed within less than this.
NOTICED_SECONDS = 15


@every("telemetry", "capture", "Envoy", "launcher")
def test_a_part_stands_still_in_a_deployment(world: World, tmp_path: Path, victim: str, way: Way | None) -> None:
    """Requests wait for a frozen Envoy; the others nobody misses. Nothing is lost, restarted or counted twice."""
    chance, server = seeded(), world.server
    way = way or Way.by_chance(chance)
    with trial(world, tmp_path / "load", named("still", victim, way), way) as one:
        one.begin()
        one.some_moment(chance)
        before = living(server, "launcher", *PARTS)
        with stopped(before[victim].pid):
            time.sleep(STOPPED_SECONDS)
        one.right_outcome(one.settled())
        all_alive(before)
    answers = one.load.nothing_lost()
    each_counted_once(world, one.name, len(answers) + (0 if one.bad else 10))


@every("an instance of blue", "an instance of green")
def test_an_instance_stands_still_in_a_deployment(world: World, tmp_path: Path, victim: str, way: Way | None) -> None:
    """What waits on it is answered when it moves again, and meanwhile the others serve. A good version goes back if its instance is silent for long enough in a
    bake that is long enough.
    """
    chance = seeded()
    way = way or Way.by_chance(chance)
    fleet = victim.split()[-1]
    noticed = fleet == "green" and STOPPED_SECONDS > NOTICED_SECONDS
    with trial(world, tmp_path / "load", named("still", victim, way), way) as one:
        one.begin(NOTICED_SECONDS if noticed else BAKE)
        pid = one.an_instance(fleet, chance)
        frozen = identify(pid)
        assert frozen is not None
        with stopped(pid):
            before = len(one.load.answers())
            time.sleep(STOPPED_SECONDS)
            assert len(one.load.answers()) > before + 20 * STOPPED_SECONDS, "the others serve"
        found = one.settled()
        print(f"{victim} stood still: {found.get('FailureReason', 'completed')}")
        one.right_outcome(found, may_lose_green=fleet == "green", loses_green=noticed)
        if fleet == "blue" and found["EndpointConfigName"] == one.old and way.strategy != "rolling":
            wait_for("it serves again", lambda: world.invoke(one.name)["pid"] == pid, 120.0)
            assert is_alive(frozen)
    one.load.nothing_lost()


@every("control plane")
def test_a_frozen_control_plane_is_replaced(tmp_path: Path, victim: str, way: Way | None) -> None:
    """The launcher notices, ends it, and its successor takes the deployment on; Envoy and the instances serve all the time."""
    chance = seeded()
    server = Server(tmp_path / "data", liveness_timeout_seconds=8.0)
    try:
        world = World(server)
        with trial(world, tmp_path / "load", "frozen", way or Way.by_chance(chance)) as one:
            one.begin()
            one.some_moment(chance)
            frozen, spared = part(server, victim), living(server, "launcher", "telemetry", "Envoy")
            print(f"frozen in phase {phase(server, 'frozen')}")
            os.kill(frozen.pid, signal.SIGSTOP)
            wait_for("it is ended", lambda: not is_alive(frozen))
            one.right_outcome(one.settled())
            all_alive(spared)
        answers = one.load.nothing_lost()
        each_counted_once(world, "frozen", len(answers) + (0 if one.bad else 10))
        assert "did not answer for" in (server.data_dir / "up.log").read_text()
    finally:
        assert server.stop() == 0
    assert server.leftovers() == []


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_a_capture_process_is_replaced_and_what_it_missed_is_counted(tmp_path: Path, how: str) -> None:
    """Every request is answered; every exchange, production's and the shadow's, is captured or counted as dropped; comparing goes on."""
    server = Server(tmp_path / "data", capture_liveness_timeout_seconds=4.0)
    try:
        world = World(server)
        quick_models(world, "json")
        endpoint = world.endpoint("seen", shadow_config(world, "seen", "quick-json", "quick-json"))
        with Load(server, endpoint, tmp_path / "load", rate=100) as load:
            wait_for("pairs", lambda: shadow_total(world, endpoint, "Pairs") > 50)
            victim, spared = part(server, "capture"), living(server, "launcher", "control plane", "telemetry", "Envoy")
            os.kill(victim.pid, signal.SIGSTOP if how == "stopped" else signal.SIGKILL)
            at, before = time.monotonic(), len(load.answers())
            wait_for("it is ended", lambda: not is_alive(victim))
            print(
                f"capture {how}: ended after {time.monotonic() - at:.1f} s, {len(load.answers()) - before} answers meanwhile"
            )
            pairs = shadow_total(world, endpoint, "Pairs")
            wait_for("comparing goes on", lambda: shadow_total(world, endpoint, "Pairs") > pairs + 100)
            all_alive(spared)
        sent = len(load.nothing_lost())

        def told() -> tuple[float, float]:
            captured = sum(total(world, endpoint, variant, "Captured", namespace=CAPTURE) for variant in BOTH)
            return captured, dropped(world)

        wait_for("all are counted", lambda: total(world, endpoint, PRODUCTION) == sent)
        exchanges = sent + total(world, endpoint, SHADOW)  # a copy that found no room was none
        wait_for("each exchange is accounted for", lambda: sum(told()) >= exchanges)
        captured, lost_ones = told()
        print(f"{sent} requests: {captured:.0f} exchanges captured, {lost_ones:.0f} dropped")
        # Besides, the capture process's own heartbeats, and what was heard between its last report and its end.
        assert sum(told()) <= exchanges + 20
        assert lost_ones > (0 if how == "killed" else 2 * 100 * 2)
        assert shadow_total(world, endpoint, "Disagreements") == 0
    finally:
        assert server.stop() == 0
    assert server.leftovers() == []


def shadow_total(world: World, endpoint: str, metric: str) -> float:
    return total(world, endpoint, SHADOW, metric, namespace="/bannister/Shadow")


@every("control plane")
def test_a_succeeded_control_plane_changes_nothing_when_it_wakes(tmp_path: Path, victim: str, way: Way | None) -> None:
    """A second one is started by hand while the first stands still in the middle of a deployment: as on another machine."""
    chance = seeded()
    server = Server(tmp_path / "data", liveness_timeout_seconds=600.0)
    successor: subprocess.Popen[bytes] | None = None
    try:
        world = World(server)
        with trial(world, tmp_path / "load", "two", way or Way.by_chance(chance)) as one:
            one.begin()
            one.some_moment(chance)
            first, spared = part(server, victim), living(server, "telemetry", "Envoy")
            print(f"first one stopped in phase {phase(server, 'two')}")
            # The launcher stands still, too: it would start a third when the first ends.
            with stopped(launcher(server).pid):
                with stopped_between_writes(server, first.pid):
                    successor = by_hand(server)
                    wait_for("the successor has settled it", lambda: phase(server, "two") is None, 240.0)
                    found, running = settled(world, "two"), instances(server)
                wait_for("the first has ended", lambda: not is_alive(first))
                one.right_outcome(found)
                assert told(one.settled()) == told(found)
                assert instances(server) == running
                all_alive(spared)
                assert successor.poll() is None
                successor.kill()
                successor.wait()
            wait_for("the launcher has started another", lambda: part(server, victim) != first)
            wait_for("it answers", lambda: told(settled(world, "two")) == told(found))
        answers = one.load.nothing_lost()
        each_counted_once(world, "two", len(answers) + (0 if one.bad else 10))
        log = (server.data_dir / "logs" / "control.log").read_text()
        assert log.count("Another control plane has taken over this data directory") == 1
        assert "ended with exit code 3" in (server.data_dir / "up.log").read_text()
    finally:
        if successor is not None and successor.poll() is None:
            successor.kill()
            successor.wait()
        assert server.stop() == 0
    assert server.leftovers() == []


def told(description: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in description.items() if name != "ResponseMetadata"}


def by_hand(server: Server) -> subprocess.Popen[bytes]:
    with (server.data_dir / "by-hand.log").open("w") as log:
        return subprocess.Popen(
            [
                sys.executable, "-m", "bannister.app",
                "--data-dir", str(server.data_dir), "--port", str(server.port),
            ],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )  # fmt: skip


def test_a_second_launcher_is_refused_while_the_first_stands_still(world: World) -> None:
    server = world.server
    with stopped(launcher(server).pid):
        second = subprocess.run(
            [
                Path(sys.executable).with_name("bannister"), "up",
                "--data-dir", str(server.data_dir), "--port", str(server.port),
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )  # fmt: skip
    assert second.returncode == 2
    assert "is in use by another `bannister up`" in second.stderr


@pytest.mark.parametrize("how", ["stopped", "killed in a loop"])
def test_blind_is_not_quiet(tmp_path: Path, how: str) -> None:
    """Without telemetry a bad version is never advanced, though its alarm takes missing data for good news; in the end it goes back."""
    blind_timeout = 12.0
    server = Server(tmp_path / "data", blind_timeout_seconds=blind_timeout)
    try:
        world = World(server)
        with trial(world, tmp_path / "load", "blind", Way("linear", bad=True)) as one:
            # Before its first request, so that not one datapoint of the bad version is ever seen.
            telemetry = part(server, "telemetry")
            world.update(
                "blind",
                "blind-new",
                routing=strategies(3)["linear"]["routing"],
                alarms=(one.alarm,),
                termination_wait=0,
            )
            began = time.monotonic()
            if how == "stopped":
                with stopped(telemetry.pid):
                    found = one.settled()
            else:
                found = killed_until_settled(server, "blind", world)
            took = time.monotonic() - began
            assert found["EndpointConfigName"] == "blind-old"
            assert "Telemetry has been silent" in found["FailureReason"], found
            assert took > blind_timeout - 2.0
            steps = {record["from"] + " → " + record["to"] for record in decisions(server, "blind")}
            assert "baking → shifting" not in steps, steps
            waits = [body["reason"] for kind, body in entries(server.data_dir) if kind == WAITED]
            assert any("Telemetry is silent" in one for one in waits), waits
        assert not lost(one.load.answers())
    finally:
        assert server.stop() == 0
    assert server.leftovers() == []


def killed_until_settled(server: Server, endpoint: str, world: World) -> dict[str, object]:
    deadline = time.monotonic() + 120
    while phase(server, endpoint) is not None:
        assert time.monotonic() < deadline
        with contextlib.suppress(AssertionError, ProcessLookupError):  # it does not run just now
            os.kill(part(server, "telemetry").pid, signal.SIGKILL)
        time.sleep(0.1)
    return settled(world, endpoint)
