"""What a caller sees through the real Envoy when the model answers."""

from __future__ import annotations

import asyncio
import math
from collections import Counter

import pytest

from bannister.domain.routing import Membership, RoutePlan, Weight

pytestmark = pytest.mark.real

S3_SIGNED = {"authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host"}


async def test_an_invocation_reaches_the_model_as_a_request_of_its_own(edge, steady):
    model = await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    answer = await edge.client().call(
        "/endpoints/flights/invocations?page=2",
        b"[1]",
        {
            "content-type": "text/csv",
            "accept": "application/json",
            "x-amzn-sagemaker-custom-attributes": "trace=7",
            "x-amzn-sagemaker-inference-id": "id-1",
            "authorization": "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/sagemaker/aws4_request",
            "x-amz-date": "20260101T000000Z",
            "amz-sdk-invocation-id": "x",
            "x-envoy-upstream-rq-timeout-ms": "1",
        },
    )
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.headers["x-amzn-invoked-production-variant"] == "AllTraffic"
    assert answer.headers["x-amzn-requestid"]
    assert not {"server", "x-envoy-upstream-service-time"} & answer.headers.keys()
    (request,) = model.invocations
    assert (request.method, request.path, request.body) == ("POST", "/invocations?page=2", b"[1]")
    assert request.headers.keys() == {
        "host",
        "content-length",
        "content-type",
        "accept",
        "x-amzn-sagemaker-custom-attributes",
        "x-amzn-sagemaker-inference-id",
        "x-request-id",
    }


async def test_no_caller_sets_a_time_limit_a_retry_or_the_request_id(edge, steady, answer):
    """Everybody calls from this machine, which Envoy trusts unless it is told otherwise."""

    async def slow(request):
        await asyncio.sleep(0.1)
        return answer(500 if len(model.invocations) == 1 else 200, b"ok")

    model = await edge.model("g1", slow)
    await edge.serve(steady("flights", "g1"))
    forged = {
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-retry-on": "5xx",
        "x-envoy-max-retries": "3",
        "x-request-id": "forged",
    }
    first = await edge.client().call("/endpoints/flights/invocations", b"[1]", forged)
    second = await edge.client().call("/endpoints/flights/invocations", b"[1]", forged)
    assert (first.status, second.status) == (424, 200), "the model's error, and its answer"
    assert b'"OriginalStatusCode":500' in first.body.replace(b" ", b"")
    assert len(model.invocations) == 2, "each was sent once"
    given = [one.headers["x-amzn-requestid"] for one in (first, second)]
    assert [one.headers["x-request-id"] for one in model.invocations] == given
    assert all(len(one) == 36 for one in given)


async def test_the_request_id_is_ours_whatever_the_model_says(edge, steady, answer):
    async def forges(request):
        return answer(200, b"ok", {"x-amzn-RequestId": "forged", "x-amzn-invoked-production-variant": "forged"})

    await edge.model("g1", forges)
    await edge.serve(steady("flights", "g1"))
    headers = (await edge.client().invoke("flights")).headers
    assert len(headers["x-amzn-requestid"]) == 36
    assert headers["x-amzn-invoked-production-variant"] == "AllTraffic"


@pytest.mark.parametrize(
    ("host", "status", "invoked"),
    [("Host: localhost\r\n", 200, 1), ("Host: evil.example\r\n", 200, 0), ("", 400, 0)],
    ids=["local", "foreign, to the control plane", "no host"],
)
async def test_http_1_0_is_answered_and_must_name_this_machine(edge, steady, host, status, invoked):
    model = await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.settings.port)
    writer.write(f"POST /endpoints/flights/invocations HTTP/1.0\r\n{host}Content-Length: 2\r\n\r\n[]".encode())
    first = (await asyncio.wait_for(reader.readline(), 10)).decode()
    writer.close()
    assert (int(first.split(" ")[1]), len(model.invocations)) == (status, invoked)


async def test_a_missing_content_type_becomes_octet_stream(edge, steady):
    model = await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    await edge.client().invoke("flights", b"1")
    assert model.invocations[0].headers["content-type"] == "application/octet-stream"


async def test_a_page_of_this_machine_may_invoke(edge, steady):
    model = await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    for origin in ("http://localhost:8080", "https://app.localhost", "http://127.0.0.1:5173", "http://[::1]"):
        assert (await edge.client().invoke("flights", b"1", {"origin": origin})).body == b"ok", origin
    assert all("origin" not in request.headers for request in model.invocations)


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        pytest.param("GET", "/endpoints/flights/invocations", {}, id="another method"),
        pytest.param("POST", "/endpoints/other/invocations", {}, id="an endpoint that is not served"),
        pytest.param("POST", "/endpoints/flights", {}, id="a shorter path"),
        pytest.param("POST", "/endpoints/flights/invocations/x", {}, id="a longer path"),
        pytest.param("POST", "/endpoints/flights//invocations", {}, id="a path that is not normalised"),
        pytest.param("PUT", "/b/a//b%2Fc/../d", {}, id="an S3 key, taken raw"),
        pytest.param("POST", "/endpoints/flights/invocations", S3_SIGNED, id="a bucket called endpoints"),
        pytest.param("POST", "/endpoints/flights/invocations", {"origin": "http://evil"}, id="a browser's origin"),
        pytest.param("POST", "/endpoints/flights/invocations", {"origin": "http://localhost.evil"}, id="a sly origin"),
        pytest.param("POST", "/endpoints/flights/invocations", {"origin": "null"}, id="no page's origin"),
        pytest.param("POST", "/endpoints/flights/invocations", {"host": "evil.example"}, id="a foreign host"),
        pytest.param("POST", "/", {"x-amz-target": "SageMaker.ListModels"}, id="the API"),
    ],
)
async def test_everything_else_reaches_the_control_plane_untouched(edge, steady, method, path, headers):
    model = await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    answer = await edge.client().call(path, b"x", headers, method=method)
    assert answer.status == 200
    assert not model.invocations
    (request,) = edge.control.invocations
    assert (request.method, request.path) == (method, path)
    assert headers.items() <= request.headers.items()


@pytest.mark.parametrize("host", ["localhost", "localhost:80", "bucket.localhost:3594", "127.0.0.1", "[::1]:3594"])
async def test_every_name_of_this_machine_is_served(edge, steady, host):
    model = await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    assert (await edge.client().invoke("flights", b"1", {"host": host})).status == 200
    assert len(model.invocations) == 1


async def test_a_heartbeat_is_answered_by_the_proxy(edge):
    answer = await edge.client().call("/-/heartbeat?run=a&n=1", method="GET")
    assert answer.status == 200
    assert not edge.control.invocations


async def test_an_upload_to_the_control_plane_has_no_limit(edge):
    size = edge.settings.invocation_body_bytes_max + 1
    answer = await edge.client().call("/bucket/key", b"x" * size, method="PUT")
    assert answer.status == 200
    assert len(edge.control.invocations[0].body) == size


@pytest.mark.parametrize("green_parts", [50_000, 500_000])
async def test_green_gets_its_share(edge, split, green_parts):
    models = {"blue": await edge.model("blue"), "green": await edge.model("green")}
    await edge.serve(split("flights", "blue", "green", green_parts))
    requests = 2_000
    await _invoke(edge, requests)
    share = green_parts / 1_000_000
    deviation = math.sqrt(requests * share * (1 - share))
    assert len(models["blue"].invocations) + len(models["green"].invocations) == requests
    assert abs(len(models["green"].invocations) - requests * share) <= 3 * deviation


async def test_a_named_variant_is_shared_between_its_blue_and_its_green_group(edge):
    plan = RoutePlan(
        "flights",
        tuple(Membership(group, 1, 0) for group in ("b-blue", "b-green", "a-blue", "idle")),
        (
            Weight("a-blue", "a", 800_000, 1_000_000),
            Weight("b-blue", "b", 150_000, 250_000),
            Weight("b-green", "b", 50_000, 750_000),
            Weight("idle", "c", 0, 1_000_000),
        ),
    )
    models = {one.group: await edge.model(one.group) for one in plan.memberships}
    await edge.serve(plan)
    answers = await _invoke(edge, 400, {"x-amzn-sagemaker-target-variant": "b"})
    assert answers == Counter({(200, "b"): 400})
    found = {group: len(model.invocations) for group, model in models.items()}
    assert found["a-blue"] == found["idle"] == 0
    assert abs(found["b-green"] - 300) <= 3 * math.sqrt(400 * 0.75 * 0.25)
    assert await _invoke(edge, 1, {"x-amzn-sagemaker-target-variant": "c"}) == Counter({(200, "c"): 1})


async def test_many_endpoints_are_told_apart(edge, steady):
    models = {name: await edge.model(f"g-{name}") for name in ("a", "ab", "a-b")}
    await edge.serve(*(steady(name, f"g-{name}", variant=f"v-{name}") for name in models))
    client = edge.client()
    for name in models:
        assert (await client.invoke(name)).headers["x-amzn-invoked-production-variant"] == f"v-{name}"
    assert [len(model.invocations) for model in models.values()] == [1, 1, 1]


async def _invoke(edge, count: int, headers: dict[str, str] | None = None) -> Counter[tuple[int, str | None]]:
    """Over eight kept connections; statuses and variants."""
    found: Counter[tuple[int, str | None]] = Counter()
    left = iter(range(count))

    async def one_connection() -> None:
        client = edge.client()
        for _ in left:
            answer = await client.invoke("flights", b"1", headers)
            found[answer.status, answer.headers.get("x-amzn-invoked-production-variant")] += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(one_connection())
    return found


async def test_a_proxy_that_is_held_up_delivers_what_it_has_before_it_hangs_up(edge, steady):
    """Again and again for longer than Envoy would give a client to hang up, in the middle of answers to many who ask for that."""
    await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    over = asyncio.Event()

    async def call_repeatedly():
        while not over.is_set():
            answer = await edge.client().invoke("flights", b"[1]", {"connection": "close"})
            assert (answer.status, answer.body) == (200, b"ok")

    callers = [asyncio.ensure_future(call_repeatedly()) for _ in range(500)]
    for pause in range(12):
        await asyncio.sleep(0.004 * (1 + pause))
        edge.signal_envoy("SIGSTOP")
        await asyncio.sleep(1.1)
        edge.signal_envoy("SIGCONT")
    over.set()
    await asyncio.gather(*callers)
