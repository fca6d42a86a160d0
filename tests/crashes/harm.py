"""Harm done to a running server, from outside: who its processes are, how they are killed or stopped, and what a client lost by it."""

from __future__ import annotations

import json
import math
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
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from tests.scenarios.world import Answer, Load, Server, World, wait_for

from bannister.launcher.bootstrap import envoy_binary
from bannister.launcher.processes import Identity, identify, is_alive, marked
from bannister.launcher.record import Record

#: `make crashes` does every harm in deployments of every strategy, and longer; CI, which has five minutes for all of this, each in one that chance chooses.
EVERYTHING = "CRASHES" in os.environ
REPEATS = int(os.environ.get("CRASHES", "5"))
STOPPED_SECONDS = float(os.environ.get("STOPPED_SECONDS", "4"))
PARTS = ("control plane", "telemetry", "capture", "Envoy")
#: A part that has run for so long is started again at once.
SETTLED_SECONDS = 1.0
BAKE = 2
ONE = {"Type": "INSTANCE_COUNT", "Value": 1}


def strategies(bake: int) -> dict[str, dict[str, Any]]:
    """How `World.update` is called, with bakes of so many seconds."""

    def blue_green(**routing: Any) -> dict[str, Any]:
        return {"routing": routing, "termination_wait": bake}

    return {
        "all at once": blue_green(Type="ALL_AT_ONCE", WaitIntervalInSeconds=0),
        "canary": blue_green(
            Type="CANARY", WaitIntervalInSeconds=bake, CanarySize={"Type": "CAPACITY_PERCENT", "Value": 30}
        ),
        "linear": blue_green(Type="LINEAR", WaitIntervalInSeconds=bake, LinearStepSize=ONE),
        "rolling": {
            "rolling": {"MaximumBatchSize": ONE, "WaitIntervalInSeconds": bake, "RollbackMaximumBatchSize": ONE},
        },
    }


STRATEGIES = tuple(strategies(BAKE))


class Way(NamedTuple):
    """How a deployment goes: a strategy, and a new version that deserves to be rolled back, or not."""

    strategy: str
    bad: bool

    @classmethod
    def by_chance(cls, chance: random.Random) -> Way:
        return cls(chance.choice(STRATEGIES), chance.random() < 0.5)


#: Strategies in a row meet good and bad versions by turns.
WAYS = [Way(strategy, (number // len(STRATEGIES) + number) % 2 == 1) for number, strategy in enumerate(STRATEGIES * 2)]


def every(*victims: str) -> pytest.MarkDecorator:
    """Parametrizes a test by `victim` and `way`: each victim in a deployment of every strategy, by turns with a good and a bad version, so that each
    victim meets both. In CI `way` is None: the seed of the test chooses one.
    """
    if not EVERYTHING:
        return pytest.mark.parametrize(("victim", "way"), [pytest.param(victim, None, id=victim) for victim in victims])
    cases = [
        pytest.param(victim, way, id=f"{victim}, {way.strategy}, {'bad' if way.bad else 'good'}")
        for number, victim in enumerate(victims)
        for way in (WAYS[: len(STRATEGIES)] if number % 2 == 0 else WAYS[len(STRATEGIES) :])
    ]
    return pytest.mark.parametrize(("victim", "way"), cases)


def named(harm: str, victim: str, way: Way) -> str:
    """A name for an endpoint that no other test's has."""
    return f"{harm} {victim} {way.strategy}".replace(" ", "-")


def seeded() -> random.Random:
    """A source of chance that a failing run names; `SEED=…` repeats it."""
    seed = int(os.environ.get("SEED", "0")) or random.randrange(1, 1_000_000)
    print(f"SEED={seed}")
    return random.Random(seed)


#: A start of the same kind as a part's, and nothing else.
BARE_STARTS = {
    "control plane": (sys.executable, "-c", "import bannister.app"),
    "telemetry": (sys.executable, "-c", "import bannister.telemetry.program"),
    "Envoy": (str(envoy_binary()), "--version"),
}


def waiting(victim: str) -> float:
    """How long a bare start of this part waits on this machine now for a processor that others use: what it takes beyond the processor time that it needs.

    A bound on the time until a part is there again is that of a machine that does nothing else, and so much more. It is measured right after the time that is
    bounded. On a quiet machine it is next to nothing.
    """
    began = time.monotonic()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(BARE_STARTS[victim], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return max(0.0, time.monotonic() - began - worked)


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


def processes_of(server: Server, endpoint: str, fleet: str) -> list[int]:
    """Process ids of the instances of `blue` or `green` in the endpoint's running deployment; empty: none runs, or they do not yet."""
    running = deployment(server, endpoint)
    groups = {group["id"] for group in running[fleet]["groups"]} if running else set()
    found = []
    for file in (server.data_dir / "instances" / "running").glob("*/record.json"):
        with suppress(OSError):  # gone since it was listed
            record = json.loads(file.read_bytes())
            if record["group"] in groups and record["process"]:
                found.append(record["process"]["pid"])
    return sorted(found)


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


@contextmanager
def stopped_between_writes(server: Server, pid: int) -> Iterator[None]:
    """As `stopped`, at a moment when it writes nothing: else it would hold the lock of a file, and nobody could take over until it is ended (as the launcher does)."""
    while True:
        with stopped(pid):
            wait_for(
                "it stands still", lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
            )
            if not any(is_locked(server.data_dir / name) for name in ("state.db", "metrics.db")):
                yield
                return


def is_locked(file: Path) -> bool:
    with closing(sqlite3.connect(file, timeout=0.0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
        return False


@dataclass
class Trial:
    """One deployment under load, with a good or a bad new version; the harm comes from the test."""

    world: World
    name: str
    way: Way
    load: Load
    alarm: str
    #: A file for each process of a model, with the number of each request that it began to answer.
    begun: Path

    @property
    def strategy(self) -> str:
        return self.way.strategy

    @property
    def bad(self) -> bool:
        return self.way.bad

    @property
    def old(self) -> str:
        return f"{self.name}-old"

    @property
    def new(self) -> str:
        return f"{self.name}-new"

    def begin(self, bake: int = BAKE) -> None:
        self.world.update(self.name, self.new, alarms=(self.alarm,), **strategies(bake)[self.strategy])

    def some_moment(self, chance: random.Random) -> None:
        """Wait for a moment before the end: one that is rolled back, or shifts at once, takes half as long."""
        time.sleep(chance.uniform(0.0, 3.0 if self.bad or self.strategy == "all at once" else 7.0))

    def an_instance(self, fleet: str, chance: random.Random) -> int:
        """The process id of an instance of `blue` or `green`, at some moment of the first bake (of a bad version: until soon after it)."""
        wait_for("a bake", lambda: phase(self.world.server, self.name) == "baking")
        victim = chance.choice(processes_of(self.world.server, self.name, fleet))
        time.sleep(chance.uniform(0.0, 0.8))
        return victim

    @property
    def survivors_min(self) -> int:
        """So many instances that run in the deployment run after it, whichever fleet that is; a rolling update replaces one after the other."""
        return 1 if self.strategy == "rolling" else 2

    def settled(self) -> dict[str, Any]:
        return settled(self.world, self.name)

    def right_outcome(self, found: dict[str, Any], *, may_lose_green: bool = False, loses_green: bool = False) -> None:
        """What was asked for has happened. `may_lose_green`: or a green instance died or fell silent and it was rolled back, saying so; `loses_green`: a
        good version was, too.
        """
        reason = found.get("FailureReason", "")
        assert found["EndpointStatus"] == "InService", found
        if (may_lose_green and " died" in reason) or (loses_green and not self.bad):
            assert " died" in reason, found
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
def trial(world: World, record: Path, name: str, way: Way, **environment: str) -> Iterator[Trial]:
    """An endpoint under load, with a configuration to update it to; deleted afterwards."""
    print(f"{name}: {way.strategy}, {'bad' if way.bad else 'good'}")
    begun = record.with_name("begun")
    begun.mkdir()
    environment["BEGUN"] = str(begun)
    world.endpoint(name, world.config(f"{name}-old", **environment))
    world.config(f"{name}-new", **environment, **({"FAIL": "0.5"} if way.bad else {}))
    alarm = world.error_alarm(f"{name}-errors", name, f"{name}-new")
    with Load(world.server, name, record) as load:
        yield Trial(world, name, way, load, alarm, begun)
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


def deployment(server: Server, endpoint: str) -> dict[str, Any] | None:
    """The endpoint's running deployment, read from the state file: also while nobody answers."""
    with sqlite3.connect(f"file:{server.data_dir / 'state.db'}?mode=ro", uri=True) as connection:
        (value,) = connection.execute(
            "SELECT value FROM row WHERE name = 'endpoint' AND key = ?", (endpoint,)
        ).fetchone()
    found: dict[str, Any] | None = json.loads(value)["deployment"]
    return found


def phase(server: Server, endpoint: str) -> str | None:
    """Where the endpoint's deployment is."""
    running = deployment(server, endpoint)
    return running["phase"] if running else None


def decisions(server: Server, endpoint: str) -> list[dict[str, Any]]:
    """What the journal says of each decision of the endpoint's deployments."""
    with sqlite3.connect(f"file:{server.data_dir / 'state.db'}?mode=ro", uri=True) as connection:
        rows = connection.execute(
            "SELECT body FROM journal WHERE subject = ? AND kind = 'deployment.decided' ORDER BY sequence",
            (f"endpoint/{endpoint}",),
        ).fetchall()
    return [json.loads(body) for (body,) in rows]


def lost(answers: list[Answer]) -> list[Answer]:
    return [one for one in answers if one.lost is not None]


def serving_again(answers: list[Answer], harm_at: float, until: float = math.inf) -> float:
    """Seconds from the harm until a request that began afterwards was answered, and all that began later were, too. `until`: when the next harm was done."""
    after = [one for one in answers if harm_at <= one.began and one.ended < until]
    failed = [one.began for one in lost(after)]
    first = [one.ended for one in after if one.lost is None]
    assert first, "never again"
    return max(max(failed, default=harm_at), min(first)) - harm_at


def only_lost_then(answers: list[Answer], *times: tuple[float, float]) -> None:
    """What was in flight when harm was done, and what began in the seconds after it; nothing else.

    `times`: when it was done, and the seconds that are allowed, or that passed until the server said it was ready; never those until the last loss, for they would allow
    whatever was lost.
    """
    print(Counter((one.lost or "")[:80] for one in lost(answers)).most_common(3))
    others = [
        one for one in lost(answers) if not any(one.began <= at + seconds and one.ended >= at for at, seconds in times)
    ]
    assert not others, (len(others), others[:3])


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


def each_counted_once(world: World, endpoint: str, requests: int, *, lost_max: int = 0) -> float:
    """The metric comes to exactly what the client sent (and what the test itself invoked), once the last second is final; or to less by at most `lost_max`.
    Returns what it comes to.
    """
    least = requests - lost_max
    wait_for(
        f"{least} invocations counted",
        lambda: invocations(world, endpoint) >= least,
        timeout_seconds=60.0,
    )
    time.sleep(2.0 if lost_max else 1.0)  # what would be counted twice comes now, and what is not lost
    found = invocations(world, endpoint)
    assert least <= found <= requests, (least, found, requests)
    return found


def all_alive(processes: dict[str, Identity]) -> None:
    gone = [name for name, process in processes.items() if not is_alive(process)]
    assert not gone, f"restarted or gone: {gone}"
