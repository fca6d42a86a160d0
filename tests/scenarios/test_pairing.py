"""Answers through a whole server: at 200 requests a second each copied request makes a pair, with its own answers, and what is lost is counted."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.scenarios.shadow import CAPTURE, PRODUCTION, SHADOW, dropped, quick_models, shadow_config, total
from tests.scenarios.world import Load, Server, World, wait_for

pytestmark = [pytest.mark.real, pytest.mark.alone]

SECONDS = 15.0
RATE = 200.0
COMPARED = "/bannister/Shadow"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    server = Server(tmp_path / "data")
    try:
        yield World(server)
    finally:
        assert server.stop() == 0
    assert server.leftovers() == []


def test_at_200_requests_a_second_every_copy_is_paired_with_its_own_request(world: World, tmp_path: Path) -> None:
    """Every body is another and every answer holds its digest: a pair of two requests' answers would be a disagreement."""
    quick_models(world, "json")
    endpoint = world.endpoint("paired", shadow_config(world, "paired", "quick-json", "quick-json", instances=1))
    with Load(world.server, endpoint, tmp_path / "load", rate=RATE) as load:
        time.sleep(SECONDS)
    sent = len(load.nothing_lost())

    def of(variant: str, metric: str, namespace: str) -> float:
        return total(world, endpoint, variant, metric, namespace=namespace)

    wait_for("all are counted", lambda: total(world, endpoint, PRODUCTION) == sent)
    copies, skipped = total(world, endpoint, SHADOW), of(SHADOW, "Skipped", COMPARED)
    assert copies + skipped == sent
    wait_for(
        "each exchange is captured, or counted as dropped",
        lambda: sum(of(one, "Captured", CAPTURE) for one in (PRODUCTION, SHADOW)) + dropped(world) >= sent + copies,
    )
    wait_for("they are compared", lambda: of(SHADOW, "Pairs", COMPARED) >= 0.999 * copies)
    pairs = of(SHADOW, "Pairs", COMPARED)
    print(
        f"\n{sent} requests, {skipped:.0f} not copied, {pairs:.0f} of {copies:.0f} paired, {dropped(world):.0f} dropped"
    )
    assert pairs <= copies
    assert of(SHADOW, "Disagreements", COMPARED) == 0
    assert of(SHADOW, "Agreement", COMPARED) == pairs
