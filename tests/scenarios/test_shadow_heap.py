"""Shadows that hang never make the proxy refuse production: not many of them, not with large bodies, and not on an endpoint without a shadow.

The bound on the proxy's heap is scaled down, so that three shadows are what twenty are to the default.
"""

from __future__ import annotations

import http.client
from collections import Counter
from collections.abc import Iterator

import pytest
from tests.scenarios.shadow import PRODUCTION, SHADOW, quick_models, shadow_config, stats, total, variant
from tests.scenarios.world import Server, World, wait_for

pytestmark = [pytest.mark.real, pytest.mark.alone]

MIB = 1024 * 1024
HEAP_BYTES, SHADOW_BYTES = 160 * MIB, 60 * MIB
#: A copy of each would be three times the heap.
LARGE_BYTES, LARGE_PER_ENDPOINT = 24 * MIB, 7
HUNG = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    server = Server(
        tmp_path_factory.mktemp("heap") / "data",
        proxy_heap_bytes_max=HEAP_BYTES,
        shadow_bytes_max=SHADOW_BYTES,
        capture_streams_max=64,
        capture_large_streams_max=1,
    )
    try:
        yield World(server)
    finally:
        server.stop()


def sent(world: World, endpoint: str, size: int, count: int) -> Counter[str]:
    """What became of requests, each on a connection of its own."""
    found: Counter[str] = Counter()
    for _ in range(count):
        connection = http.client.HTTPConnection("127.0.0.1", world.server.port, timeout=70)
        try:
            headers = {"Content-Type": "application/octet-stream"}
            connection.request("POST", f"/endpoints/{endpoint}/invocations", bytes(size), headers)
            answer = connection.getresponse()
            found[f"{answer.status} {'' if answer.read() and answer.status == 200 else answer.reason}".strip()] += 1
        except OSError as error:
            found[repr(error)] += 1
        finally:
            connection.close()
    return found


def skipped(world: World, endpoint: str) -> float:
    return total(world, endpoint, SHADOW, "Skipped", namespace="/bannister/Shadow")


def test_production_is_served_on_every_endpoint_while_shadows_hang(world: World) -> None:
    quick_models(world, "healthy", "tarpit")
    world.sagemaker.create_endpoint_config(
        EndpointConfigName="plain", ProductionVariants=[variant(PRODUCTION, "quick-healthy")]
    )
    plain = world.endpoint("plain", "plain")
    hung = [f"hung-{number}" for number in range(HUNG)]
    pressures = []
    for endpoint in hung:  # the earlier ones hold what they hold for thirty seconds
        world.endpoint(endpoint, shadow_config(world, endpoint, "quick-healthy", "quick-tarpit", instances=1))
        assert sent(world, endpoint, LARGE_BYTES, LARGE_PER_ENDPOINT) == {"200": LARGE_PER_ENDPOINT}
        assert sent(world, endpoint, 10, 40) == {"200": 40}
        assert sent(world, plain, 10, 40) == {"200": 40}
        pressures += stats(world, "fixed_heap.pressure").values()
    print(f"\nEnvoy's heap, percent of its bound: {pressures}")
    assert max(pressures) < 80
    assert sum(stats(world, "downstream_rq_overload_close").values()) == 0
    under_way = stats(world, r"cluster\.shadow/.*/large\.upstream_rq_active$")
    assert 0 < sum(under_way.values()) <= SHADOW_BYTES // (25 * MIB), "copies are made, as long as there is room"
    made = sum(under_way.values())
    wait_for(
        "every large copy that was not made is counted",
        lambda: sum(skipped(world, endpoint) for endpoint in hung) >= HUNG * LARGE_PER_ENDPOINT - made,
    )
