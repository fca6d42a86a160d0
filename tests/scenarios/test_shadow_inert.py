"""A shadow is inert: whatever it does, production answers byte for byte what it answers without one, and the proxy's memory stays within its bound.

`make shadow-inert` sends as many requests as the promise is made for; without `INERT=full` a tenth of them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.scenarios.shadow import PRODUCTION, SHADOW, quick_models, shadow_config, total, variant
from tests.scenarios.test_shadow import kill
from tests.scenarios.world import World, wait_for

from bannister.envoy.resources.shadow import copies_bytes_max
from bannister.settings import Settings

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.slow]

KIB, MIB = 1024, 1024 * 1024
#: Requests by the size of their bodies, and how many are under way at the same time.
FULL = {KIB: (5_000, 8), MIB: (500, 4), 25 * MIB: (50, 2)}
COUNTS = FULL if os.environ.get("INERT") == "full" else {KIB: (500, 8), MIB: (50, 4), 25 * MIB: (8, 2)}
#: What differs between any two answers.
VOLATILE = {"date", "x-amzn-requestid"}
#: Of the proxy's memory beyond the bodies of copies: connections, and what its allocator keeps.
SLACK_BYTES = 96 * MIB
#: A shadow that reads nothing would hold up a large body for as long as it is waited for, 30 seconds.
SECONDS_MAX = 10.0
#: For a shadow to be gone once its last copy has ended.
REMOVING_SECONDS_MAX = 10.0

BODY = bytes(range(256)) * (25 * MIB // 256)


@dataclass
class Answered:
    """What production answered, by size and number; what was lost; and how long the longest took."""

    answers: dict[tuple[int, int], bytes] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    longest: float = 0.0
    envoy_bytes: int = 0


class Caller:
    """One kept-alive connection without retries."""

    def __init__(self, port: int, endpoint: str) -> None:
        self._port, self._endpoint = port, endpoint
        self._socket: socket.socket | None = None

    def call(self, size: int, number: int) -> bytes:
        """The whole answer without what always differs."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=70)
            self._file = self._socket.makefile("rb")
        head = (
            f"POST /endpoints/{self._endpoint}/invocations HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
        )
        try:
            self._socket.sendall(head.encode() + number.to_bytes(8))
            self._socket.sendall(memoryview(BODY)[: size - 8])
            lines = [self._file.readline()]
            while (line := self._file.readline()) not in (b"\r\n", b""):
                lines.append(line)
            fields = dict(line.decode().lower().split(":", 1) for line in lines[1:])
            body = self._file.read(int(fields["content-length"]))
        except (OSError, ValueError, KeyError):
            self._socket.close()
            self._socket = None
            raise
        kept = [line for line in lines if line.split(b":")[0].decode().lower() not in VOLATILE]
        return b"".join(sorted(kept)) + body


def send(world: World, endpoint: str, counts: dict[int, tuple[int, int]] = COUNTS) -> Answered:
    """All requests of all sizes."""
    found = Answered()
    with watched_memory(world, found):
        for size, (count, at_once) in counts.items():
            callers = threading.local()

            def one(number: int, size: int = size, callers: threading.local = callers) -> None:
                if not hasattr(callers, "caller"):
                    callers.caller = Caller(world.server.port, endpoint)
                began = time.monotonic()
                try:
                    found.answers[size, number] = callers.caller.call(size, number)
                except (OSError, ValueError, KeyError) as error:
                    found.lost.append(f"{size} bytes, number {number}: {error!r}")
                found.longest = max(found.longest, time.monotonic() - began)

            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(one, range(count)))
    return found


def removed(world: World, endpoint: str) -> None:
    """Delete it, and wait until it is gone: until then the copies to its shadow hold memory, which would be taken for the next one's."""
    world.sagemaker.delete_endpoint(EndpointName=endpoint)
    within = Settings(world.server.data_dir).shadow_timeout_seconds + REMOVING_SECONDS_MAX
    wait_for(f"{endpoint} is gone", lambda: not exists(world, endpoint), within)


def exists(world: World, endpoint: str) -> bool:
    return bool(world.sagemaker.list_endpoints(NameContains=endpoint)["Endpoints"])


def process_of(world: World, part: str) -> int:
    return int(json.loads((world.server.data_dir / "run" / "processes.json").read_text())["parts"][part]["pid"])


@contextmanager
def watched_memory(world: World, found: Answered) -> Iterator[None]:
    """Envoy's resident memory at its largest."""
    status, over = Path(f"/proc/{process_of(world, 'Envoy')}/status"), threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
            found.envoy_bytes = max(found.envoy_bytes, int(line.split()[1]) * KIB)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()


@contextmanager
def again_and_again(act: Callable[[], object], seconds: float) -> Iterator[None]:
    over = threading.Event()

    def run() -> None:
        while not over.wait(seconds):
            act()

    acting = threading.Thread(target=run)
    acting.start()
    try:
        yield
    finally:
        over.set()
        acting.join()


@contextmanager
def standing_still(world: World, *parts: str) -> Iterator[None]:
    """Parts are stopped, for a shorter time than the launcher takes for their end."""
    stopped = [process_of(world, part) for part in parts]

    def stop() -> None:
        for process in stopped:
            os.kill(process, signal.SIGSTOP)
        time.sleep(4.0)
        for process in stopped:
            os.kill(process, signal.SIGCONT)

    stopping = threading.Thread(target=stop)
    stopping.start()
    try:
        yield
    finally:
        stopping.join()


@pytest.fixture(scope="module")
def alone(world: World) -> Answered:
    """What production answers without a shadow."""
    quick_models(world, "healthy", "slow", "errors", "tarpit", "refusing")
    world.sagemaker.create_endpoint_config(
        EndpointConfigName="alone", ProductionVariants=[variant(PRODUCTION, "quick-healthy")]
    )
    found = send(world, world.endpoint("alone", "alone"))
    removed(world, "alone")
    assert not found.lost
    assert len(found.answers) == sum(count for count, _ in COUNTS.values())
    return found


@pytest.mark.parametrize("condition", ["healthy", "slow", "errors", "tarpit", "refusing", "killed", "unwatched"])
def test_production_answers_as_it_does_without_a_shadow(world: World, alone: Answered, condition: str) -> None:
    mode = "healthy" if condition in ("killed", "unwatched") else condition
    name = f"inert-{condition}"
    endpoint = world.endpoint(name, shadow_config(world, name, "quick-healthy", f"quick-{mode}", instances=1))
    if condition == "killed":
        with again_and_again(lambda: kill(world, f"{name}.{SHADOW}."), 0.8):
            found = send(world, endpoint)
    elif condition == "unwatched":
        with standing_still(world, "control plane", "telemetry"):
            found = send(world, endpoint)
    else:
        found = send(world, endpoint)
    print(
        f"\n{condition}: longest {found.longest:.2f} s (alone {alone.longest:.2f} s), Envoy at most "
        f"{found.envoy_bytes / MIB:.0f} MiB (alone {alone.envoy_bytes / MIB:.0f} MiB), "
        f"copied {total(world, endpoint, SHADOW):.0f}, "
        f"skipped {total(world, endpoint, SHADOW, 'Skipped', namespace='/bannister/Shadow'):.0f}"
    )
    removed(world, endpoint)
    assert found.lost == []
    differing = [key for key, answer in alone.answers.items() if found.answers[key] != answer]
    assert not differing, (len(differing), found.answers[differing[0]], alone.answers[differing[0]])
    assert found.longest < SECONDS_MAX
    bound = alone.envoy_bytes + copies_bytes_max(Settings(world.server.data_dir)) + SLACK_BYTES
    assert found.envoy_bytes < bound


def test_the_proxys_memory_stays_within_the_bound_when_as_much_is_copied_as_is_allowed(
    world: World, alone: Answered
) -> None:
    """The largest small bodies and the largest large ones, more of each than may be under way, for a shadow that reads nothing.

    So many more that, were all copied, the bound would be broken: the kernel takes about 4 MiB of each off Envoy's hands.
    """
    settings = Settings(world.server.data_dir)
    small, large = settings.shadow_requests_max, settings.shadow_large_requests_max
    endpoint = world.endpoint("bound", shadow_config(world, "bound", "quick-healthy", "quick-tarpit", instances=1))
    found = send(world, endpoint, {MIB: (small + 20, 4), 25 * MIB: (large + 20, 2)})
    print(f"\nbound: Envoy at most {found.envoy_bytes / MIB:.0f} MiB (alone {alone.envoy_bytes / MIB:.0f} MiB)")
    assert found.envoy_bytes < alone.envoy_bytes + copies_bytes_max(settings) + SLACK_BYTES

    def skipped() -> float:
        return total(world, endpoint, SHADOW, "Skipped", namespace="/bannister/Shadow")

    wait_for("what was too much is counted", lambda: skipped() == 40)
    world.sagemaker.delete_endpoint(EndpointName=endpoint)
    assert found.lost == []
    assert found.longest < SECONDS_MAX
