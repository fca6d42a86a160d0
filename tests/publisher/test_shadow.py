"""Copies to a shadow, by a real Envoy: what it gets, what it may not cost, and what nobody else may notice of it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import replace

import grpc
import pytest
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc

from bannister.domain.instance import InstancePhase
from bannister.domain.routing import Membership, Mirror, RoutePlan, Weight

pytestmark = pytest.mark.real

MIB = 1024 * 1024


def plan(parts: int = 1_000_000, captured_parts: int = 0, noise_parts: int = 0) -> RoutePlan:
    mirrors = [Mirror("shadow", "Shadow", parts, "blue")]
    if noise_parts:
        mirrors.append(Mirror("blue", "AllTraffic", noise_parts, "blue", noise=True))
    return RoutePlan(
        "flights",
        (Membership("blue", 1, 0),),
        (Weight("blue", "AllTraffic", 1_000_000, 1_000_000),),
        tuple(mirrors),
        ways=tuple(mirrors),
        captured_parts=captured_parts,
    )


class Telemetry(als_pb2_grpc.AccessLogServiceServicer):
    def __init__(self) -> None:
        self.entries = []

    async def StreamAccessLogs(self, requests, context):  # noqa: N802
        async for message in requests:
            self.entries += message.http_logs.log_entry
        return als_pb2.StreamAccessLogsResponse()

    def of(self, route: str):
        return [entry for entry in self.entries if entry.common_properties.route_name == route]


@pytest.fixture
async def telemetry(settings):
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    servicer = Telemetry()
    server = grpc.aio.server()
    als_pb2_grpc.add_AccessLogServiceServicer_to_server(servicer, server)
    server.add_insecure_port(f"unix:{settings.access_log_socket}")
    await server.start()
    yield servicer
    await server.stop(0)


async def mirroring(edge, until, asked: RoutePlan) -> None:
    edge.publisher.ask([asked])
    await until(lambda: edge.publisher.mirrored("shadow"), "the mirror is acknowledged")
    await asyncio.sleep(0.1)  # the proxy's threads follow


async def test_a_shadow_gets_each_request_as_the_model_does_and_nobody_its_answer(edge, until, answer):
    async def refuses(_request):
        return answer(500, b"a shadow that fails")

    blue, shadow = await edge.model("blue"), await edge.model("shadow", refuses)
    await mirroring(edge, until, plan())
    client = edge.client()
    for size in (10, 5_000, 2 * MIB, 25 * MIB):
        body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        got = await client.invoke("flights", body, {"x-amzn-sagemaker-custom-attributes": "a=1", "authorization": "no"})
        assert (got.status, got.body) == (200, b"ok")
        await until(lambda: len(shadow.invocations) == len(blue.invocations), "the copy has arrived")
        theirs, ours = blue.invocations[-1], shadow.invocations[-1]
        assert hashlib.sha256(ours.body).digest() == hashlib.sha256(body).digest()
        assert (ours.method, ours.path) == (theirs.method, theirs.path)
        hop = {"transfer-encoding", "content-length"}
        assert {k: v for k, v in ours.headers.items() if k not in hop} == {
            k: v for k, v in theirs.headers.items() if k not in hop
        }


async def test_a_body_of_unknown_length_is_copied_too(edge, until):
    _, shadow = await edge.model("blue"), await edge.model("shadow")
    await mirroring(edge, until, plan())
    got = await edge.client().call("/endpoints/flights/invocations", b"y" * 3 * MIB, chunked=True)
    assert got.status == 200
    await until(lambda: len(shadow.invocations) == 1, "the copy has arrived")
    assert shadow.invocations[0].body == b"y" * 3 * MIB


async def test_what_a_client_sends_under_the_copys_headers_neither_works_nor_leaks(edge, until, telemetry):
    blue, shadow = await edge.model("blue"), await edge.model("shadow")
    stranger = await edge.model("stranger")
    await mirroring(edge, until, plan())
    forged = {"x-bannister-copy-group": "stranger", "x-bannister-copy-kind": "noise"}
    assert (await edge.client().invoke("flights", b"1", forged)).status == 200
    await until(lambda: len(shadow.invocations) == 1, "the copy has arrived")
    assert stranger.invocations == []
    for seen in (blue.invocations[0], shadow.invocations[0]):
        assert not [name for name in seen.headers if name.startswith("x-bannister")]
    await until(lambda: len(telemetry.of("shadow")) == 1, "it is logged as a copy for the shadow, not as noise")


async def test_a_copy_is_logged_as_an_invocation_of_the_shadow_under_the_same_request_id(
    edge, until, telemetry, answer
):
    async def refuses(_request):
        return answer(503, b"no")

    await edge.model("blue")
    shadow = await edge.model("shadow", refuses)
    await mirroring(edge, until, plan())
    await edge.client().invoke("flights", b"1")
    await until(lambda: all(map(telemetry.of, ("shadow", "invocation"))), "the copy and its original are logged")
    (copy,), (original,) = telemetry.of("shadow"), telemetry.of("invocation")
    assert copy.common_properties.custom_tags["group"] == "shadow"
    assert copy.response.response_code.value == 503
    assert copy.response.response_code_details == "via_upstream"
    assert copy.common_properties.upstream_remote_address.socket_address.port_value == shadow.port
    assert copy.common_properties.HasField("time_to_last_upstream_rx_byte")
    assert copy.request.request_id == original.request.request_id != ""


async def test_noise_goes_to_productions_own_group_and_is_no_invocation_of_it(edge, until, telemetry):
    blue, _ = await edge.model("blue"), await edge.model("shadow")
    await mirroring(edge, until, plan(noise_parts=1_000_000))
    await edge.client().invoke("flights", b"1")
    await until(lambda: len(blue.invocations) == 2, "the copy has arrived")
    await until(
        lambda: all(map(telemetry.of, ("shadow", "invocation"))), "the shadow's copy and the request are logged"
    )
    assert (len(telemetry.of("shadow")), len(telemetry.of("invocation"))) == (1, 1)
    assert telemetry.of("noise") == []
    assert edge.publisher.acknowledged(plan()), "noise holds up nothing"


@pytest.mark.parametrize("captured_parts", [0, 500_000, 1_000_000])
async def test_the_asked_share_is_copied(edge, until, captured_parts):
    """400 requests, 4 standard deviations; with and without captured routes in front."""
    blue, shadow = await edge.model("blue"), await edge.model("shadow")
    await mirroring(edge, until, plan(250_000, captured_parts))
    client = edge.client()
    for _ in range(400):
        await client.invoke("flights", b"1")
    await asyncio.sleep(0.3)
    assert len(blue.invocations) == 400
    assert abs(len(shadow.invocations) - 100) < 4 * (400 * 0.25 * 0.75) ** 0.5, len(shadow.invocations)


async def test_copies_beyond_the_bound_are_not_made_and_counted(edge, until, settings):
    """A shadow that answers nothing holds as many copies as are allowed; the rest is skipped, and production does not notice."""
    stuck = asyncio.Event()

    async def hangs(_request):
        await stuck.wait()

    await edge.model("blue")
    shadow = await edge.model("shadow", hangs)
    await mirroring(edge, until, plan())
    client, sent = edge.client(), settings.shadow_requests_max + 40
    for _ in range(sent):
        assert (await client.invoke("flights", b"1")).status == 200
    large = [await client.invoke("flights", b"z" * 2 * MIB) for _ in range(settings.shadow_large_requests_max + 4)]
    assert [one.status for one in large] == [200] * len(large)
    await until(
        lambda: len(shadow.invocations) == settings.shadow_requests_max + settings.shadow_large_requests_max,
        "as many copies are under way as are allowed",
    )
    stuck.set()
    counted = await edge.admin._get("/stats?filter=overflow$")
    found = dict(line.rsplit(": ", 1) for line in counted.decode().splitlines())
    assert found["cluster.shadow/shadow/small.upstream_rq_active_overflow"] == "40"
    assert found["cluster.shadow/shadow/large.upstream_rq_active_overflow"] == "4"


async def test_a_shadow_that_reads_nothing_delays_no_large_body(edge, until):
    """Without the buffers on the way, production would wait for the shadow's time-out."""

    async def accept(reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"/ping" in head:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                writer.close()
            else:
                await asyncio.sleep(60)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    await edge.model("blue")
    tarpit = await asyncio.start_server(accept, "127.0.0.1", 0, limit=2**16)
    shadow = await edge.model("shadow")
    known = next(one for one in edge.instances.snapshot() if one.group == "shadow")
    edge.instances.put(replace(known, port=tarpit.sockets[0].getsockname()[1]))
    await mirroring(edge, until, plan())
    client, body = edge.client(), b"w" * 25 * MIB
    await client.invoke("flights", body)
    began = time.monotonic()
    for _ in range(6):
        assert (await client.invoke("flights", body)).body == b"ok"
    assert time.monotonic() - began < 10.0
    assert shadow.invocations == []
    tarpit.close()


async def test_the_mirror_goes_and_comes_with_the_shadows_instance(edge, until):
    _, shadow = await edge.model("blue"), await edge.model("shadow", name="one")
    asked = plan()
    await mirroring(edge, until, asked)
    edge.instances.phase("one", InstancePhase.UNREADY)
    await until(lambda: not edge.publisher.mirrored("shadow"), "the mirror is gone")
    assert edge.publisher.acknowledged(asked), "a shadow that is away holds up nothing"
    assert (await edge.client().invoke("flights", b"1")).status == 200
    edge.instances.phase("one", InstancePhase.READY)
    await until(lambda: edge.publisher.mirrored("shadow"), "the mirror is back")
    await asyncio.sleep(0.2)
    await edge.client().invoke("flights", b"2")
    await until(lambda: [one.body for one in shadow.invocations] == [b"2"], "copies arrive again")


async def test_a_changed_share_is_acknowledged_and_a_shadow_that_went_is_unrouted(edge, until):
    await edge.model("blue")
    await edge.model("shadow", name="one")
    before, after, without = plan(100_000), plan(900_000), replace(plan(), mirrors=(), ways=())
    await mirroring(edge, until, before)
    assert edge.publisher.acknowledged(before)
    assert not edge.publisher.acknowledged(after), "the old share is still copied"
    edge.publisher.ask([after])
    await until(lambda: edge.publisher.acknowledged(after), "the new share is acknowledged")
    assert not edge.publisher.unrouted("shadow")
    edge.publisher.ask([without])
    await until(lambda: edge.publisher.unrouted("shadow"), "no route copies to it")
    assert await edge.publisher.active_requests("shadow") == 0
    edge.instances.remove("one")
    await until(lambda: "shadow" not in edge.publisher._published.rotation, "its cluster goes")
    assert edge.publisher._published.hops == (), "and the way to it"


async def test_a_restarted_publisher_goes_on_copying(edge, until):
    _, shadow = await edge.model("blue"), await edge.model("shadow")
    await mirroring(edge, until, plan())
    await edge.restart_publisher()
    await mirroring(edge, until, plan())
    await edge.client().invoke("flights", b"1")
    await until(lambda: len(shadow.invocations) == 1, "the copy has arrived")
