"""InvokeEndpointWithResponseStream through the real Envoy, as boto3 reads it."""

from __future__ import annotations

import asyncio
import gzip
import queue
import threading
import time
from dataclasses import replace

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EventStreamError
from urllib3.exceptions import HTTPError

from bannister.domain.routing import Membership, Mirror, RoutePlan, Weight

pytestmark = pytest.mark.real

KIB = 1024


@pytest.fixture
def settings(settings):
    return replace(
        settings,
        invocation_timeout_seconds=0.5,
        shadow_timeout_seconds=0.4,
        stream_timeout_seconds=2.0,
        stream_cut_seconds=1.0,
        downstream_close_seconds=0.5,
    )


class Stream:
    """One call, read by a thread of its own; its events come as they arrive."""

    def __init__(self, url: str, **arguments) -> None:
        self._client = boto3.client(
            "sagemaker-runtime",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="a",
            aws_secret_access_key="b",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=30),
        )
        self._arguments = {"EndpointName": "flights", "Body": b"1", **arguments}
        self._events: queue.SimpleQueue = queue.SimpleQueue()
        self.answer: dict = {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            self.answer = self._client.invoke_endpoint_with_response_stream(**self._arguments)
            for event in self.answer["Body"]:
                self._events.put(event["PayloadPart"]["Bytes"])
        except (ClientError, BotoCoreError, EventStreamError, HTTPError) as error:
            self._events.put(error)
        self._events.put(None)

    async def next(self):
        """The next event's bytes, or the error; None: the end."""
        return await asyncio.to_thread(self._events.get, timeout=20)

    async def rest(self) -> list:
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found


@pytest.fixture
def stream(edge):
    return lambda **arguments: Stream(edge.url, **arguments)


class Source:
    """A model that says what the test says, when it says it."""

    def __init__(self, answer, **headers) -> None:
        self._answer = answer
        self._headers = {"content-type": "text/x-tokens", **headers}
        self._said: asyncio.Queue = asyncio.Queue()
        #: It has said everything to somebody who listened.
        self.finished = asyncio.Event()

    async def __call__(self, request):
        return self._answer(headers=self._headers, pieces=self._pieces())

    async def _pieces(self):
        while (piece := await self._said.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece
        self.finished.set()

    def say(self, *pieces) -> None:
        for piece in pieces:
            self._said.put_nowait(piece)


async def test_tokens_arrive_one_by_one(edge, steady, answer, stream):
    source = Source(answer, **{"x-amzn-sagemaker-custom-attributes": "t=1", "content-encoding": "identity"})
    model = await edge.model("g1", source)
    await edge.serve(steady("flights", "g1"))
    call = stream(Accept="application/jsonlines", CustomAttributes="a=b", ContentType="x/y", TargetVariant="AllTraffic")
    for index in range(5):
        token = f"token {index} ".encode() * (index + 1)
        source.say(token)
        assert await call.next() == token, "nothing waits for what comes next"
    source.say(None)
    assert await call.next() is None
    assert (call.answer["ContentType"], call.answer["CustomAttributes"]) == ("text/x-tokens", "t=1")
    assert call.answer["InvokedProductionVariant"] == "AllTraffic"
    headers = call.answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["content-type"] == "application/vnd.amazon.eventstream"
    assert not {"x-bannister-stream-elapsed", "content-encoding"} & headers.keys()
    (request,) = model.invocations
    assert (request.method, request.path, request.body) == ("POST", "/invocations", b"1")
    assert request.headers["accept"] == "application/jsonlines"
    assert request.headers["x-request-id"] == headers["x-amzn-requestid"]
    assert "x-amzn-sagemaker-accept" not in request.headers


async def test_what_a_model_has_compressed_stays_so_and_the_frames_are_not_taken_for_it(edge, steady, answer, stream):
    """A Content-Encoding would be that of the whole answer, which is frames: a client would undo it there, or fail."""
    compressed = gzip.compress(b"all of it")
    source = Source(answer, **{"content-encoding": "gzip"})
    model = await edge.model("g1", source)
    await edge.serve(steady("flights", "g1"))
    call = stream()
    source.say(compressed[:7], compressed[7:], None)
    assert gzip.decompress(b"".join(await call.rest())) == b"all of it"
    assert "content-encoding" not in call.answer["ResponseMetadata"]["HTTPHeaders"]
    assert "accept-encoding" not in model.invocations[0].headers, "no model is asked to"


async def test_the_accept_of_the_stream_itself_is_not_the_models(edge, steady):
    model = await edge.model("g1")
    await edge.serve(steady("flights", "g1"))
    path = "/endpoints/flights/invocations-response-stream"
    assert (await edge.client().call(path, b"1", {"accept": "application/vnd.amazon.eventstream"})).status == 200
    assert "accept" not in model.invocations[0].headers


@pytest.mark.parametrize(
    ("length", "events"), [(0, 0), (1, 1), (200 * KIB, 1), (256 * KIB, 1), (700 * KIB, None)], ids=str
)
async def test_an_answer_in_one_piece_is_one_event_and_none_is_longer_than_the_bound(
    edge, steady, answer, stream, length, events
):
    whole = bytes(index * 7 % 256 for index in range(length))

    async def says(request):
        return answer(200, whole)

    await edge.model("g1", says)
    await edge.serve(steady("flights", "g1"))
    found = await stream().rest()
    assert b"".join(found) == whole
    assert events is None or len(found) == events
    assert all(len(one) <= edge.settings.stream_frame_bytes_max for one in found)


async def test_a_large_piece_is_divided(edge, steady, answer, stream):
    source = Source(answer)
    await edge.model("g1", source)
    await edge.serve(steady("flights", "g1"))
    piece = bytes(index * 11 % 256 for index in range(900 * KIB))
    source.say(piece, b"end", None)
    found = await stream().rest()
    assert b"".join(found) == piece + b"end"
    assert max(map(len, found)) <= edge.settings.stream_frame_bytes_max


@pytest.mark.parametrize(("code", "kind"), [(400, "client"), (503, "server")])
async def test_an_error_before_the_stream_is_a_model_error(edge, steady, answer, stream, code, kind):
    async def refuses(request):
        return answer(code, b"no such prompt")

    await edge.model("g1", refuses)
    await edge.serve(steady("flights", "g1"))
    (error,) = await stream().rest()
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert error.response["Error"]["Code"] == "ModelError"
    assert f"Received {kind} error ({code})" in error.response["Error"]["Message"]
    assert error.response["OriginalMessage"] == "no such prompt"


async def test_a_variant_that_is_unknown_and_a_group_without_instances(edge, steady, stream):
    await edge.model("g1", ready=False)
    await edge.serve(steady("flights", "g1"))
    (error,) = await stream(TargetVariant="nobody").rest()
    assert error.response["Error"]["Code"] == "ValidationError"
    (error,) = await stream().rest()
    assert error.response["Error"]["Code"] == "ServiceUnavailable"


async def test_a_stream_may_take_longer_than_an_invocation_but_not_longer_than_its_own_limit(
    edge, steady, answer, stream
):
    source = Source(answer)
    await edge.model("g1", source)
    await edge.serve(steady("flights", "g1"))
    began_at = time.monotonic()
    call = stream()
    source.say(b"token")
    while not isinstance(event := await call.next(), EventStreamError):
        assert event == b"token"
        source.say(b"token")
        await asyncio.sleep(0.05)
        if time.monotonic() - began_at > 10:
            pytest.fail("the limit does not hold")
    took = time.monotonic() - began_at
    assert edge.settings.stream_timeout_seconds - 0.1 < took < edge.settings.stream_timeout_seconds + 1.0
    assert event.response["Error"]["Code"] == "ModelStreamError"
    assert "did not complete sending" in event.response["Error"]["Message"]
    source.say(None)


async def test_a_model_that_never_begins_and_one_that_falls_silent(edge, steady, answer, stream):
    forever = asyncio.Event()

    async def hangs(request):
        await forever.wait()

    model = await edge.model("g1", hangs)
    await edge.serve(steady("flights", "g1"))
    (error,) = await stream().rest()
    assert (error.response["Error"]["Code"], error.response["OriginalStatusCode"]) == ("ModelError", 0)
    assert "timed out" in error.response["OriginalMessage"]
    source = Source(answer)
    model.behaviour = source
    source.say(b"token")
    first, last = await stream().rest()
    assert first == b"token"
    assert isinstance(last, HTTPError), "there is no event to say it with: the answer is incomplete"


async def test_a_stream_that_the_model_breaks_is_not_taken_for_a_whole_one(edge, steady, answer, stream):
    source = Source(answer)
    await edge.model("g1", source)
    await edge.serve(steady("flights", "g1"))
    call = stream()
    source.say(b"token")
    assert await call.next() == b"token"
    source.say(ConnectionResetError())
    *_, last = await call.rest()
    assert isinstance(last, HTTPError)


async def test_a_stream_counts_as_in_flight_and_outlives_its_groups_route(edge, steady, split, answer, stream, until):
    blue, green = Source(answer), Source(answer)
    await edge.model("blue", blue)
    await edge.model("green", green)
    await edge.serve(steady("flights", "blue"))
    call = stream()
    blue.say(b"1")
    assert await call.next() == b"1"
    await edge.serve(split("flights", "blue", "green", 500_000))
    await edge.serve(steady("flights", "green"))
    blue.say(b"2")
    assert await call.next() == b"2"
    await until(lambda: edge.publisher.unrouted("blue"), "no route names blue any more")
    assert await edge.publisher.active_requests("blue") == 1
    await until(lambda: list(edge.publisher.in_flight()["blue"].values()) == [1], "the next look has it, too")
    assert not await edge.publisher.drained("blue")
    later = stream()
    green.say(b"green", None)
    assert await later.rest() == [b"green"]
    blue.say(b"3", None)
    assert await call.rest() == [b"3"]
    await until(lambda: edge.publisher.drained("blue"), "the stream has ended")


async def test_a_shadow_gets_streams_too(edge, answer, stream, until):
    source, shadow = Source(answer), Source(answer)
    await edge.model("g1", source)
    model = await edge.model("s1", shadow)
    mirror = Mirror("s1", "shadow", 1_000_000, "g1")
    plan = RoutePlan(
        "flights",
        (Membership("g1", 1, 0),),
        weights=(Weight("g1", "AllTraffic", 1_000_000, 1_000_000),),
        mirrors=(mirror,),
        ways=(mirror,),
    )
    await edge.serve(plan)
    await until(lambda: edge.publisher.mirrored("s1"), "copies are made")
    call = stream(Accept="a/b")
    source.say(b"production", None)
    assert await call.rest() == [b"production"]
    await until(lambda: len(model.invocations) == 1, "the copy has arrived")
    (copy,) = model.invocations
    assert (copy.path, copy.headers["accept"]) == ("/invocations", "a/b")
    assert not [name for name in copy.headers if name.startswith("x-bannister")]
    for _ in range(10):  # longer than a shadow may otherwise take
        shadow.say(b"shadow")
        await asyncio.sleep(0.1)
    assert await edge.publisher.active_requests("s1") == 1
    shadow.say(None)
    await asyncio.wait_for(shadow.finished.wait(), 5)
