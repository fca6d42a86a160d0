"""Harm done to a running server, from outside: who its processes are, how they are killed or stopped, and what a client lost by it."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from tests.scenarios.world import Answer, Load, Server, World, wait_for

from bannister.launcher.processes import Identity, identify, is_alive, marked
from bannister.launcher.record import Record

#: `make crashes` runs more, and longer; CI has five minutes for all of this.
EVERYTHING = "CRASHES" in os.environ
REPEATS = int(os.environ.get("CRASHES", "5"))
STOPPED_SECONDS = float(os.environ.get("STOPPED_SECONDS", "4"))
PARTS = ("control plane", "telemetry", "capture", "Envoy")
BAKE = 2
ONE = {"Type": "INSTANCE_COUNT", "Value": 1}


def blue_green(**routing: Any) -> dict[str, Any]:
    return {"routing": routing, "termination_wait": BAKE}


#: How `World.update` is called.
STRATEGIES: dict[str, dict[str, Any]] = {
    "all at once": blue_green(Type="ALL_AT_ONCE", WaitIntervalInSeconds=0),
    "canary": blue_green(
        Type="CANARY", WaitIntervalInSeconds=BAKE, CanarySize={"Type": "CAPACITY_PERCENT", "Value": 30}
    ),
    "linear": blue_green(Type="LINEAR", WaitIntervalInSeconds=BAKE, LinearStepSize=ONE),
    "rolling": {
        "rolling": {"MaximumBatchSize": ONE, "WaitIntervalInSeconds": BAKE, "RollbackMaximumBatchSize": ONE},
    },
}


def strategies() -> list[str]:
    """All of them; in CI one, another each time."""
    # Processes that share the tests of one run must find the same ones.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    return list(STRATEGIES) if EVERYTHING else [random.Random(run).choice(list(STRATEGIES))]


def seeded() -> random.Random:
    """A source of chance that a failing run names; `SEED=…` repeats it."""
    seed = int(os.environ.get("SEED", "0")) or random.randrange(1, 1_000_000)
    print(f"SEED={seed}")
    return random.Random(seed)


def patience() -> float:
    """How much longer than by itself a program takes on this machine now: a bound on time holds for a machine that does nothing else."""
    began = time.monotonic()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import bannister.app"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return 1.5 * max(1.0, (time.monotonic() - began) / worked)


def part(server: Server, name: str) -> Identity:
    found = Record(server.data_dir / "run" / "processes.json").read().get(name)
    assert found is not None, f"{name} does not run"
    return found


def launcher(server: Server) -> Identity:
    assert server.process is not None
    found = identify(server.process.pid)
    assert found is not None
    return found


def instances(server: Server) -> dict[int, str]:
    """Instances' processes: process id to instance id."""
    found = {}
    for process in marked(f"BANNISTER_DATA_DIR={server.data_dir}", any_of=("BANNISTER_INSTANCE",)):
        with suppress(OSError):
            entries = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            mark = next(entry for entry in entries if entry.startswith(b"BANNISTER_INSTANCE="))
            found[process.pid] = mark.partition(b"=")[2].decode()
    return found


def living(server: Server, *names: str) -> dict[str, Identity]:
    record = Record(server.data_dir / "run" / "processes.json")
    parts = set(names) - {"launcher"}
    wait_for(f"{parts} run", lambda: record.read().keys() >= parts)  # capture is started last, and nobody waits for it
    return {name: launcher(server) if name == "launcher" else part(server, name) for name in names}


def kill(server: Server, *victims: str) -> float:
    """SIGKILL; returns when. `instances`: all of them; `launcher` waits for nothing else."""
    targets = [process.pid for process in living(server, *(one for one in victims if one != "instances")).values()]
    if "instances" in victims:
        targets += instances(server)
    at = time.time()
    for pid in targets:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if "launcher" in victims:
        assert server.process is not None
        server.process.wait()
        assert server.process.stdout is not None
        server.process.stdout.close()
    return at


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """SIGSTOP until the end of the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@dataclass
class Trial:
    """One deployment under load, with a good or a bad new version; the harm comes from the test."""

    world: World
    name: str
    strategy: str
    bad: bool
    load: Load
    alarm: str

    @property
    def old(self) -> str:
        return f"{self.name}-old"

    @property
    def new(self) -> str:
        return f"{self.name}-new"

    def begin(self) -> None:
        self.world.update(self.name, self.new, alarms=(self.alarm,), **STRATEGIES[self.strategy])

    def some_moment(self, chance: random.Random) -> None:
        """Wait for a moment before the end: one that is rolled back, or shifts at once, takes half as long."""
        time.sleep(chance.uniform(0.0, 3.0 if self.bad or self.strategy == "all at once" else 7.0))

    @property
    def survivors_min(self) -> int:
        """So many instances that run in the deployment run after it, whichever fleet that is; a rolling update replaces one after the other."""
        return 1 if self.strategy == "rolling" else 2

    def settled(self) -> dict[str, Any]:
        return settled(self.world, self.name)

    def right_outcome(self, found: dict[str, Any], *, may_lose_green: bool = False) -> None:
        """What was asked for has happened; `may_lose_green`: or a green instance died and it was rolled back, saying so."""
        reason = found.get("FailureReason", "")
        assert found["EndpointStatus"] == "InService", found
        if may_lose_green and " died" in reason:
            assert found["EndpointConfigName"] == self.old, found
        elif self.bad:
            assert found["EndpointConfigName"] == self.old, found
            assert f'"{self.alarm}"' in reason, found
        else:
            assert found["EndpointConfigName"] == self.new, found
            assert reason == "", found
        version = found["EndpointConfigName"]
        assert {self.world.invoke(self.name)["version"] for _ in range(10) if not self.bad} <= {version}


@contextmanager
def trial(world: World, record: Path, name: str, strategy: str, bad: bool, *, instances: int = 2) -> Iterator[Trial]:
    """An endpoint under load, with a configuration to update it to; deleted afterwards."""
    print(f"{name}: {strategy}, {'bad' if bad else 'good'}")
    world.endpoint(name, world.config(f"{name}-old", instances=instances))
    world.config(f"{name}-new", instances=instances, **({"FAIL": "0.5"} if bad else {}))
    alarm = world.error_alarm(f"{name}-errors", name, f"{name}-new")
    with Load(world.server, name, record) as load:
        yield Trial(world, name, strategy, bad, load, alarm)
    world.sagemaker.delete_endpoint(EndpointName=name)


def settled(world: World, endpoint: str, timeout_seconds: float = 120.0) -> dict[str, Any]:
    """As `World.settled`, through times in which nobody answers."""

    def found() -> dict[str, Any] | None:
        try:
            now = world.describe(endpoint)
        except (BotoCoreError, ClientError):
            return None
        return now if now["EndpointStatus"] in ("InService", "Failed") else None

    return dict(wait_for(f"{endpoint} settled", found, timeout_seconds))


def phase(server: Server, endpoint: str) -> str | None:
    """Where the endpoint's deployment is, read from the state file: also while nobody answers."""
    with sqlite3.connect(f"file:{server.data_dir / 'state.db'}?mode=ro", uri=True) as connection:
        (value,) = connection.execute(
            "SELECT value FROM row WHERE name = 'endpoint' AND key = ?", (endpoint,)
        ).fetchone()
    deployment = json.loads(value)["deployment"]
    return deployment["phase"] if deployment else None


def lost(answers: list[Answer]) -> list[Answer]:
    return [one for one in answers if one.lost is not None]


def only_lost_then(answers: list[Answer], at: float, seconds: float) -> None:
    """What was in flight at the harm, and what began in the seconds after it; nothing before, nothing later.

    `seconds` are those that are allowed, or that passed until the server said it was ready; never those until the last loss, for they would allow whatever was lost.
    """
    late = [one for one in lost(answers) if one.began > at + seconds]
    assert not late, (len(late), late[:3])
    print(Counter((one.lost or "")[:80] for one in lost(answers)).most_common(3))
    early = [one for one in lost(answers) if one.ended < at]
    assert not early, early[:3]


def serving_again(answers: list[Answer], harm_at: float) -> float:
    """Seconds from the harm until a request that began afterwards was answered, and all that began later were, too."""
    failed = [one.began for one in lost(answers) if one.began >= harm_at]
    first = [one.ended for one in answers if one.began >= harm_at and one.lost is None]
    assert first, "never again"
    return max(max(failed, default=harm_at), min(first)) - harm_at


def invocations(world: World, endpoint: str) -> float:
    """What CloudWatch says of the whole endpoint, over the last quarter of an hour."""
    now = datetime.now(UTC)
    found = world.cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="Invocations",
        Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "AllTraffic"}],
        StartTime=now - timedelta(minutes=15),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=["Sum"],
    )
    return float(sum(point["Sum"] for point in found["Datapoints"]))


def each_counted_once(world: World, endpoint: str, requests: int) -> None:
    """The metric comes to exactly what the client sent (and what the test itself invoked), once the last second is final."""
    wait_for(
        f"{requests} invocations counted",
        lambda: invocations(world, endpoint) >= requests,
        timeout_seconds=60.0,
    )
    time.sleep(1.0)  # what would be counted twice comes now
    assert invocations(world, endpoint) == requests


def all_alive(processes: dict[str, Identity]) -> None:
    gone = [name for name, process in processes.items() if not is_alive(process)]
    assert not gone, f"restarted or gone: {gone}"
