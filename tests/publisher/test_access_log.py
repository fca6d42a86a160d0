"""What telemetry gets to read of a request: the fields that its metrics are made of."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import grpc
import pytest
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc

from bannister.telemetry.entry import Invocation, read_entry

pytestmark = pytest.mark.real


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


async def logged(edge, telemetry, until, count: int):
    """The entries of invocations, once a heartbeat sent after them has come through as well."""

    async def beat() -> bool:
        await edge.client().call("/-/heartbeat?n=1", method="GET")
        return len(telemetry.of("invocation")) >= count and bool(telemetry.of("heartbeat"))

    await until(beat, f"{count} invocations are logged")
    return telemetry.of("invocation")


async def test_a_success_is_logged_with_its_group_and_instance(telemetry, edge, steady, until):
    model = await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    await edge.client().invoke("flights", b"1")
    (entry,) = await logged(edge, telemetry, until, 1)
    common = entry.common_properties
    assert (entry.response.response_code.value, entry.response.response_code_details) == (200, "via_upstream")
    assert (common.upstream_cluster, common.custom_tags["group"]) == ("g1", "g1")
    assert common.upstream_remote_address.socket_address.port_value == model.port
    assert common.HasField("time_to_last_upstream_rx_byte")
    assert "bannister" not in common.metadata.filter_metadata


async def test_a_models_error_keeps_the_status_that_the_model_gave(telemetry, edge, steady, answer, until):
    async def fails(request):
        return answer(503, b"no")

    await edge.model("g1", fails)
    await edge.serve(steady("flights", "g1"))
    await edge.client().invoke("flights")
    (entry,) = await logged(edge, telemetry, until, 1)
    assert entry.response.response_code.value == 424
    assert entry.common_properties.metadata.filter_metadata["bannister"]["original_status"] == 503


@pytest.fixture
def settings(settings):
    return replace(settings, stream_timeout_seconds=0.5)


async def test_a_stream_is_logged_when_it_is_over_with_all_of_its_time(telemetry, edge, steady, answer, until):
    async def pieces():
        for piece in (b"1", b"2", b"3"):
            yield piece
            await asyncio.sleep(0.1)

    async def streams(request):
        return answer(pieces=pieces())

    await edge.model("g1", streams)
    await edge.serve(steady("flights", "g1"))
    assert (await edge.client().call("/endpoints/flights/invocations-response-stream")).status == 200
    (entry,) = await logged(edge, telemetry, until, 1)
    found = read_entry(entry)
    assert isinstance(found, Invocation)
    assert (found.group, found.status, found.abandoned) == ("g1", 200, False)
    assert found.model_latency is not None
    assert found.model_latency >= 300_000


async def test_a_stream_whose_time_is_over_is_logged_as_the_models_error(telemetry, edge, steady, answer, until):
    async def pieces():
        while True:
            yield b"token"
            await asyncio.sleep(0.05)

    async def streams(request):
        return answer(pieces=pieces())

    await edge.model("g1", streams)
    await edge.serve(steady("flights", "g1"))
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.settings.port)
    path = "/endpoints/flights/invocations-response-stream"
    writer.write(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
    await asyncio.wait_for(reader.readuntil(b"ModelInvocationTimeExceeded"), 10)
    writer.close()  # as boto3 does when it has raised the error
    (entry,) = await logged(edge, telemetry, until, 1)
    found = read_entry(entry)
    assert isinstance(found, Invocation)
    assert (found.group, found.status, found.abandoned) == ("g1", None, False)


async def test_a_stream_that_the_model_breaks_off_is_logged_as_the_models_error(telemetry, edge, steady, answer, until):
    """`InvocationModelErrors` counts it, so an alarm sees it: no event of the stream can say so."""
    read = asyncio.Event()

    async def pieces():
        yield b"token"
        await read.wait()
        raise ConnectionResetError

    async def streams(request):
        return answer(pieces=pieces())

    await edge.model("g1", streams)
    await edge.serve(steady("flights", "g1"))
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.settings.port)
    path = "/endpoints/flights/invocations-response-stream"
    writer.write(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
    await asyncio.wait_for(reader.readuntil(b"token"), 10)
    read.set()
    rest = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    assert not rest.endswith(b"0\r\n\r\n"), "nobody can take it for a whole answer"
    (entry,) = await logged(edge, telemetry, until, 1)
    found = read_entry(entry)
    assert isinstance(found, Invocation)
    assert (found.group, found.status, found.abandoned, found.unreachable) == ("g1", None, False, False)


async def test_a_group_without_instances_is_named_too(telemetry, edge, steady, until):
    await edge.model("g1", ready=False)
    await edge.serve(steady("flights", "g1"))
    await edge.client().invoke("flights")
    (entry,) = await logged(edge, telemetry, until, 1)
    assert entry.common_properties.custom_tags["group"] == "g1"
    assert entry.common_properties.response_flags.no_healthy_upstream


async def test_a_header_that_is_too_long_is_no_invocation(telemetry, edge, steady, until):
    await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    long = {"x-amzn-sagemaker-custom-attributes": "a" * 1025}
    assert (await edge.client().call("/endpoints/flights/invocations", b"1", long)).status == 400
    await edge.client().invoke("flights", b"1")
    entries = await logged(edge, telemetry, until, 2)  # in any order: each of Envoy's threads tells its own
    found = {entry.response.response_code.value: read_entry(entry) is None for entry in entries}
    assert found == {400: True, 200: False}


async def test_what_never_reached_a_model_by_our_own_refusal_is_not_logged(telemetry, edge, steady, until):
    await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    limit = edge.settings.invocation_body_bytes_max
    await asyncio.gather(
        edge.client().invoke("flights", b"", {"x-amzn-sagemaker-target-variant": "nobody"}),
        edge.client().call("/", b"{}", {"x-amz-target": "SageMaker.ListModels"}),
        edge.client().call("/endpoints/unknown/invocations"),
        edge.client().call("/endpoints/flights/invocations", b"x" * (limit + 1), chunked=True),
    )
    await edge.client().invoke("flights")
    entries = await logged(edge, telemetry, until, 1)
    assert [entry.response.response_code.value for entry in entries] == [200]
    assert {entry.common_properties.route_name for entry in telemetry.entries} == {"invocation", "heartbeat"}
