"""Models with paths of their own, behind the real Envoy: whatever brings a request to one brings it to the right path."""

from __future__ import annotations

import asyncio

import pytest

from bannister.domain.fleet import RoutingStrategy, Traits
from bannister.domain.model import Paths
from bannister.domain.routing import Membership, Mirror, RoutePlan, Weight

pytestmark = pytest.mark.real

OWN = Paths("/health", "/v1/models/late:predict")
TRAITS = {"own": Traits(paths=OWN), "own-too": Traits(RoutingStrategy.LEAST_OUTSTANDING_REQUESTS, Paths("/up", "/"))}


def paths(server) -> list[str]:
    return [request.path for request in server.invocations]


async def test_a_model_is_asked_where_it_answers(edge, steady):
    model = await edge.model("own", ping_path="/health")
    await edge.serve(steady("flights", "own"), traits=TRAITS)
    client = edge.client()
    for _ in range(2):
        assert (await client.invoke("flights", b"1")).status == 200
    assert (await client.call("/endpoints/flights/invocations?a=%3F&b=/ping", b"1")).status == 200
    chunked = await client.call("/endpoints/flights/invocations", b"x" * 70_000, chunked=True)
    stream = await client.call("/endpoints/flights/invocations-response-stream", b"1")
    assert (chunked.status, stream.status) == (200, 200)
    assert stream.headers["content-type"] == "application/vnd.amazon.eventstream"
    assert paths(model) == [*[OWN.invocations] * 2, f"{OWN.invocations}?a=%3F&b=/ping", *[OWN.invocations] * 2]


async def test_it_is_healthy_where_it_is_pinged_and_nowhere_else(edge, until):
    """Envoy's own check: it would turn away whoever answers only SageMaker's `/ping`, which none of these does."""

    async def healthy(group: str) -> list[bool]:
        return [one.healthy for one in (await edge.admin.clusters()).get(group, {}).values()]

    async def hangs_up(_request):
        return None

    for group in ("own", "plain"):
        await edge.model(group, hangs_up, ping_path="/health")
    plan = RoutePlan(
        "flights",
        (Membership("own", 1, 1), Membership("plain", 1, 0)),
        (Weight("own", "A", 1_000_000, 1_000_000), Weight("plain", "B", 0, 1_000_000)),
    )
    await edge.serve(plan, traits=TRAITS)
    await until(lambda: edge.publisher.serving("own"), "the one with its own path serves")
    assert await healthy("own") == [True]
    assert await healthy("plain") == [False]


async def test_versions_with_different_paths_share_an_endpoint(edge, split, until):
    blue, green = await edge.model("blue"), await edge.model("own", ping_path="/health")
    await edge.serve(split("flights", "blue", "own", 500_000), traits=TRAITS)
    client = edge.client()
    for _ in range(60):
        assert (await client.invoke("flights", b"1")).status == 200
    assert set(paths(blue)) == {"/invocations"}
    assert set(paths(green)) == {OWN.invocations}
    assert len(blue.invocations) + len(green.invocations) == 60


@pytest.mark.parametrize(
    ("production", "shadow"),
    [("blue", "own"), ("own", "blue"), ("own", "own-too")],
    ids=["shadow", "production", "both"],
)
async def test_copies_go_where_the_shadow_answers(edge, until, production, shadow):
    expected = {"blue": "/invocations", "own": OWN.invocations, "own-too": "/"}
    pinged = {"blue": "/ping", "own": "/health", "own-too": "/up"}
    models = {group: await edge.model(group, ping_path=pinged[group]) for group in (production, shadow)}
    mirrors = (
        Mirror(shadow, "Shadow", 1_000_000, production),
        Mirror(production, "AllTraffic", 1_000_000, production, noise=True),
    )
    edge.publisher.ask(
        [
            RoutePlan(
                "flights",
                (Membership(production, 1, 0),),
                (Weight(production, "AllTraffic", 1_000_000, 1_000_000),),
                mirrors,
                ways=mirrors,
                captured_parts=1_000_000,
            )
        ],
        TRAITS,
    )
    await until(lambda: edge.publisher.mirrored(shadow), "the mirror is acknowledged")
    await asyncio.sleep(0.1)  # the proxy's threads follow
    client = edge.client()
    for size in (10, 300_000):
        assert (await client.invoke("flights", b"x" * size)).status == 200
    assert (await client.call("/endpoints/flights/invocations-response-stream", b"1")).status == 200
    await until(lambda: len(models[shadow].invocations) >= 3, "the copies have arrived")
    await until(lambda: len(models[production].invocations) >= 6, "and the copies for noise")
    assert set(paths(models[production])) == {expected[production]}
    assert set(paths(models[shadow])) == {expected[shadow]}


async def test_sessions_stay_and_go_there_too(edge, steady, answer):
    async def begins(request):
        return answer(200, b"ok", {"x-amzn-sagemaker-new-session-id": "s-1; Expires=2099-01-01T00:00:00Z"})

    model = await edge.model("own", begins, ping_path="/health")
    await edge.serve(steady("flights", "own"), traits=TRAITS)
    client = edge.client()
    begun = await client.invoke("flights", b"1", {"x-amzn-sagemaker-session-id": "NEW_SESSION"})
    session = begun.headers["x-amzn-sagemaker-new-session-id"].split(";")[0]
    again = await client.invoke("flights", b"1", {"x-amzn-sagemaker-session-id": session})
    assert (begun.status, again.status) == (200, 200)
    assert paths(model) == [OWN.invocations] * 2


async def test_a_new_control_plane_asks_there_again(edge, steady, traffic):
    await edge.model("own", ping_path="/health")
    plan = steady("flights", "own")
    await edge.serve(plan, traits=TRAITS)
    async with traffic() as load:
        await edge.restart_publisher()
        await edge.serve(plan, traits=TRAITS)
        await asyncio.sleep(0.5)  # health checks of whoever would ask elsewhere
    assert load.lost == []
    assert edge.publisher.serving("own")
