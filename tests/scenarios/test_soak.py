"""Real deployments back to back, of every strategy and outcome, under constant load; then: nothing lost, nothing leaked.

`make soak` runs 200 (DEPLOYMENTS), and more until its time is over (SOAK_SECONDS), `make test` ten.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import socket
import sqlite3
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.world import Load, Server, World, wait_for

from bannister.launcher.record import Record

pytestmark = [pytest.mark.real, pytest.mark.slow]

DEPLOYMENTS = int(os.environ.get("DEPLOYMENTS", "10"))
#: How fast deployments go depends on the machine; what they leave in memory shows only over time.
SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "0"))
#: The first deployments warm everything up: nothing is compared with before them.
WARM_UP = 3
#: Only a long run says something about memory: metrics of the last ten minutes are held on purpose.
MEMORY_SECONDS = 900.0
#: Over less than this, the slope of a line says nothing.
SLOPE_SECONDS_MIN = 900.0
#: How often the report has what the processes hold.
REPORT_SECONDS = 300.0
#: Kilobytes of a deployment that a process may keep after that: its history, of which there is a bound (`past_deployments_max`).
GROWTH_MAX = 40.0


def blue_green(**routing: Any) -> dict[str, Any]:
    return {"routing": routing, "termination_wait": 3}


#: How `World.update` is called.
STRATEGIES: dict[str, dict[str, Any]] = {
    "all at once": blue_green(Type="ALL_AT_ONCE", WaitIntervalInSeconds=0),
    "canary": blue_green(Type="CANARY", WaitIntervalInSeconds=1, CanarySize={"Type": "CAPACITY_PERCENT", "Value": 30}),
    "linear": blue_green(Type="LINEAR", WaitIntervalInSeconds=1, LinearStepSize={"Type": "INSTANCE_COUNT", "Value": 1}),
    "rolling": {"rolling": {"MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1}, "WaitIntervalInSeconds": 3}},
}
#: What a version is like: its environment, and a word of the reason for which it is rolled back (None: it is not).
VERSIONS: dict[str, tuple[dict[str, str], str | None]] = {
    "good": ({}, None),
    "failing": ({"FAIL": "0.5"}, "errors-"),
    "crashing": ({"BREAK_ON_LOAD": "on purpose"}, "on purpose"),
    "slow": ({"SLEEP": "0.1"}, "latency-"),
}


@dataclass(frozen=True)
class Holdings:
    """What the server has of everything that could leak."""

    processes: int
    descriptors: dict[str, int]
    ports: int
    clusters: int
    route_groups: int
    groups: int
    artifacts: int

    @classmethod
    def of(cls, server: Server) -> Holdings:
        pids = part_pids(server)
        clusters = admin(server, "/clusters?format=json")["cluster_statuses"]
        routes = json.dumps(admin(server, "/config_dump?resource=dynamic_route_configs"))
        names = {one["name"] for one in clusters}
        return cls(
            len(server.leftovers()),
            {name: len(list(Path(f"/proc/{pid}/fd").iterdir())) for name, pid in pids.items()},
            len(list((server.data_dir / "instances" / "running").iterdir())),
            len(clusters),
            sum(f'"{name}"' in routes for name in names),
            rows(server, "group"),
            len(list((server.data_dir / "artifacts").iterdir())),
        )


def part_pids(server: Server) -> dict[str, int]:
    assert server.process is not None
    found = Record(server.data_dir / "run" / "processes.json").read()
    return {"launcher": server.process.pid, **{name: process.pid for name, process in found.items()}}


def admin(server: Server, path: str) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server.data_dir / "run" / "envoy-admin.sock"))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".encode())
        with connection.makefile("rb") as answer:
            while answer.readline() not in (b"\r\n", b""):
                pass
            body = b""
            while size := int(answer.readline() or b"0", 16):
                body += answer.read(size)
                answer.readline()
    return dict(json.loads(body))


def rows(server: Server, table: str) -> int:
    with sqlite3.connect(f"file:{server.data_dir / 'state.db'}?mode=ro", uri=True) as connection:
        return int(connection.execute("SELECT count(*) FROM row WHERE name = ?", (table,)).fetchone()[0])


def resident_megabytes(server: Server) -> dict[str, float]:
    page = os.sysconf("SC_PAGE_SIZE") / 2**20
    return {
        name: int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for name, pid in part_pids(server).items()
    }


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    try:
        yield server
    finally:
        assert server.stop() == 0
        assert server.leftovers() == []


def alarm(world: World, name: str, endpoint: str, config: str, metric: str, threshold: float) -> str:
    world.cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace="AWS/SageMaker",
        MetricName=metric,
        Dimensions=[
            {"Name": "EndpointName", "Value": endpoint},
            {"Name": "VariantName", "Value": "AllTraffic"},
            {"Name": "EndpointConfigName", "Value": config},
        ],
        Statistic="Average",
        Period=10,
        EvaluationPeriods=1,
        Threshold=threshold,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    return name


def deploy(world: World, number: int, strategy: str, version: str, current: str) -> str:
    """One deployment to its end, with the outcome that its version must have; returns the configuration in production."""
    config = world.config(f"soak-{number}", model=version)
    alarms = [alarm(world, f"errors-{number}", "soak", config, "Invocation5XXErrors", 0.05)]
    if version == "slow":  # on a busy machine a good one may be slow as well
        alarms.append(alarm(world, f"latency-{number}", "soak", config, "ModelLatency", 50_000.0))
    for name in alarms:
        wait_for(f"{name} OK", lambda name=name: world.alarm(name)["StateValue"] == "OK")  # type: ignore[misc]
    world.update("soak", config, alarms=tuple(alarms), **STRATEGIES[strategy])
    found = world.settled("soak", 180.0)
    word = VERSIONS[version][1]
    if word is None:
        assert found["EndpointConfigName"] == config, found
        assert "FailureReason" not in found
    else:
        assert found["EndpointConfigName"] == current, found
        assert word in found["FailureReason"], found
    world.cloudwatch.delete_alarms(AlarmNames=alarms)
    world.sagemaker.delete_endpoint_config(EndpointConfigName=current if word is None else config)
    return str(found["EndpointConfigName"])


def test_deployments_back_to_back(server: Server, tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", "0")) or random.randrange(1, 1_000_000)
    print(f"SEED={seed} DEPLOYMENTS={DEPLOYMENTS}")
    chance, world = random.Random(seed), World(server)
    for version, (environment, _) in VERSIONS.items():
        world.model(version, **environment)
    current = world.config("soak-first", model="good")
    world.endpoint("soak", current)
    memory: list[tuple[float, dict[str, float]]] = []
    outcomes: Counter[str] = Counter()
    parts, began = part_pids(server), time.monotonic()

    def deploy_all(first: int, count: int, seconds: float, record: Path) -> int:
        """Under load; returns the number of requests, of which none was lost."""
        nonlocal current
        with Load(server, "soak", record) as load:
            for number in itertools.count(first):
                if number >= first + count and time.monotonic() - began >= seconds:
                    break
                strategy, version = chance.choice(list(STRATEGIES)), chance.choice([*VERSIONS, "good"])
                current = deploy(world, number, strategy, version, current)
                outcomes[f"{strategy}, {version}"] += 1
                memory.append((time.monotonic() - began, resident_megabytes(server)))
        return len(load.nothing_lost())

    deploy_all(0, WARM_UP, 0.0, tmp_path / "warm-up")
    before = at_rest(server)
    outcomes.clear()
    requests = deploy_all(WARM_UP, DEPLOYMENTS, SOAK_SECONDS, tmp_path / "load")
    after = at_rest(server, before)
    report(began, outcomes, requests, before, after, memory)
    assert part_pids(server) == parts, "a part was started again"
    unchanged(before, after)
    flat(memory)


def at_rest(server: Server, like: Holdings | None = None) -> Holdings:
    """Once what the last deployment and the load left has gone; what has not gone after a minute is leaked."""
    deadline = time.monotonic() + 60
    found, since = Holdings.of(server), time.monotonic()
    while time.monotonic() < deadline:
        time.sleep(0.5)
        seen = Holdings.of(server)
        if seen != found:
            found, since = seen, time.monotonic()
        settled = found.groups == found.artifacts == 1 and (like is None or not leaks(like, found))
        if settled and time.monotonic() - since > 3.0:
            break
    return found


def unchanged(before: Holdings, after: Holdings) -> None:
    assert not leaks(before, after), f"{leaks(before, after)}: {before} {after}"


def leaks(before: Holdings, after: Holdings) -> list[str]:
    """What there is more of."""
    counted = ("processes", "ports", "clusters", "route_groups", "groups", "artifacts")
    found = [name for name in counted if getattr(after, name) > getattr(before, name)]
    # A connection or two come and go with health checks and heartbeats.
    opened = [name for name, count in after.descriptors.items() if count > before.descriptors[name] + 5]
    return found + [f"descriptors of {name}" for name in opened]


def flat(memory: list[tuple[float, dict[str, float]]]) -> None:
    for name, growth in growths(memory).items():
        assert growth < GROWTH_MAX, f"{name} keeps {growth:.1f} kB of each deployment"


def growths(memory: list[tuple[float, dict[str, float]]]) -> dict[str, float]:
    """Kilobytes that a process keeps of a deployment after the first quarter of an hour: the slope of a line through all measurements, of which there is one
    for each deployment. Empty: they are of too short a time.
    """
    late = [(at, resident) for at, resident in memory if at > MEMORY_SECONDS]
    if not late or late[-1][0] - late[0][0] < SLOPE_SECONDS_MIN:
        return {}
    numbers = range(len(late))
    return {
        name: 1000 * statistics.linear_regression(numbers, [resident[name] for _, resident in late]).slope
        for name in late[0][1]
    }


def report(
    began: float,
    outcomes: Counter[str],
    requests: int,
    before: Holdings,
    after: Holdings,
    memory: list[tuple[float, dict[str, float]]],
) -> None:
    print(f"{sum(outcomes.values())} deployments and {requests} requests in {time.monotonic() - began:.0f} s")
    for outcome, count in sorted(outcomes.items()):
        print(f"  {count:4d} {outcome}")
    print(f"  before {before}")
    print(f"  after  {after}")
    slopes = growths(memory)
    due = 0.0
    for at, held in memory:
        if at >= due:
            print(f"  after {at:5.0f} s: {', '.join(f'{name} {megabytes:.1f} MB' for name, megabytes in held.items())}")
            due = at + REPORT_SECONDS
    for name, resident in memory[-1][1].items():
        slope = f", {slopes[name]:+.1f} kB a deployment after the first quarter of an hour" if name in slopes else ""
        print(f"  {name}: {memory[WARM_UP - 1][1][name]:.0f} MB at first, {resident:.0f} MB at last{slope}")
