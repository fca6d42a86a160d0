"""Requests through a real Envoy come out as pairs and records; nothing that happens to capture reaches a caller."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.capture.conftest import ENDPOINT, World, data_capture, instructions, instructions_without_shadow, plan
from tests.publisher.conftest import Answer, Request, until

from bannister.capture.assembly import COPIED_ROUTES, INVOCATION_ROUTE, LATENCY_HEADER, NOISE_ROUTE, SHADOW_ROUTE
from bannister.capture.program import HEARTBEAT_PATH, UNFOLLOWED
from bannister.capture.untold import AWAY, UNHEARD
from bannister.domain.capture.instructions import Instructions
from bannister.domain.capture.spooled import READY
from bannister.domain.comparison.report import Counted, Unpaired
from bannister.envoy.resources import names

pytestmark = pytest.mark.real

MIB = 1024 * 1024


def test_the_names_are_those_of_the_proxys_configuration() -> None:
    assert (INVOCATION_ROUTE, SHADOW_ROUTE, NOISE_ROUTE) == (names.INVOCATION, names.SHADOW, names.NOISE)
    assert {kinds: name for name, kinds in COPIED_ROUTES.items()} == names.INVOCATION_COPIED
    assert names.LATENCY_HEADER == LATENCY_HEADER
    assert names.CAPTURE_HEARTBEAT_PATH == HEARTBEAT_PATH


async def echo(request: Request) -> Answer:
    return Answer(body=request.body, headers={"content-type": "application/json"})


async def rated(world: World, requests: int, per_second: float, body: bytes = b"[1]") -> list[float]:
    """So many invocations at a steady rate; how long each took."""
    clients = [world.edge.client() for _ in range(20)]
    free = asyncio.Queue[Any]()
    for client in clients:
        free.put_nowait(client)
    took: list[float] = []

    async def one(number: int) -> None:
        client = await free.get()
        began = time.perf_counter()
        answer = await client.invoke(ENDPOINT, body, {"content-type": "application/json"})
        took.append(time.perf_counter() - began)
        assert (answer.status, answer.body) == (200, body), (answer.status, answer.body[:200])
        assert LATENCY_HEADER not in answer.headers
        free.put_nowait(client)

    began = time.perf_counter()
    tasks = []
    for number in range(requests):
        await asyncio.sleep(max(began + number / per_second - time.perf_counter(), 0))
        tasks.append(asyncio.create_task(one(number)))
    await asyncio.gather(*tasks)
    return took


async def test_every_copied_request_makes_a_pair(world: World) -> None:
    await world.edge.model("blue", echo)
    await world.edge.model("shadow", echo)
    await world.serve(plan())
    await world.start(instructions())
    cpu = _cpu_seconds(world)
    await rated(world, 1000, 200)
    await until(lambda: world.pairs() >= 1000, "all are paired")
    per_exchange = (_cpu_seconds(world) - cpu) / 2000 * 1e6
    print(f"\n{per_exchange:.0f} us of CPU for each captured exchange")
    assert world.pairs() == world.agreeing() == 1000
    assert world.unpaired() == {}
    await until(lambda: world.count(Counted.CAPTURED, "shadow") >= 1000, "they are counted")
    assert world.count(Counted.CAPTURED, "blue") == world.count(Counted.CAPTURED, "shadow") == 1000
    latency = [one.tally.production_latency for one in world.tallies()]
    assert sum(one.count for one in latency if one is not None) == 1000


async def test_the_first_requests_of_a_group_wait_until_it_is_named(world: World) -> None:
    """The proxies may know of it first."""
    await world.edge.model("blue", echo)
    await world.edge.model("shadow", echo)
    await world.serve(plan())
    await world.start(Instructions())
    await rated(world, 200, 200)
    assert (world.pairs(), world.count(Counted.CAPTURED, "blue")) == (0, 0)
    await world.tell(instructions())
    await until(lambda: world.pairs() >= 200, "all are paired")
    await until(lambda: world.count(Counted.CAPTURED, "shadow") >= 200, "they are counted")
    assert world.count(Counted.CAPTURED, "blue") == 200
    assert world.unpaired() == {}
    assert UNFOLLOWED not in world.reasons(Counted.DROPPED, "")


def _cpu_seconds(world: World) -> float:
    assert world.process is not None
    with open(f"/proc/{world.process.pid}/stat") as file:  # noqa: PTH123
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def test_records_are_spooled_as_aws_writes_them(world: World) -> None:
    await world.edge.model("blue", echo)
    await world.edge.model("shadow", echo)
    await world.serve(plan())
    await world.start(instructions(data_capture(json_content_types=("application/json",))))
    client = world.edge.client()
    about = {"x-amzn-sagemaker-inference-id": "mine", "x-amzn-sagemaker-custom-attributes": "a=b"}
    await client.invoke(ENDPOINT, b"[1]", {"content-type": "application/json; charset=utf-8", **about})
    await client.invoke(ENDPOINT, b"\xff\x00", {"content-type": "application/x-npy"})
    await until(lambda: len(world.spooled()) == 2, "a file for each variant")
    await until(lambda: all(path.suffix == READY for path in world.spooled()), "both are finished")
    files = {}
    for path in world.spooled():
        head, *lines = map(json.loads, path.read_text().splitlines())
        assert head["bucket"] == "captured"
        files[head["key"].split("/")[2]] = lines
        assert head["key"].startswith(f"here/{ENDPOINT}/")
    assert files.keys() == {"AllTraffic", "Shadow"}
    ids = [line["eventMetadata"]["eventId"] for line in files["AllTraffic"]]
    assert sorted(ids) == sorted(line["eventMetadata"]["eventId"] for line in files["Shadow"])
    text, binary = files["AllTraffic"]
    assert text["captureData"]["endpointInput"] == {
        "observedContentType": "application/json; charset=utf-8",
        "mode": "INPUT",
        "data": "[1]",
        "encoding": "JSON",
    }
    assert text["captureData"]["endpointOutput"]["observedContentType"] == "application/json"
    assert text["eventMetadata"]["inferenceId"] == "mine"
    assert text["eventMetadata"]["customAttributes"] == ["a=b"]
    assert base64.b64decode(binary["captureData"]["endpointInput"]["data"]) == b"\xff\x00"
    await until(lambda: world.count(Counted.WRITTEN, "blue") == 2, "they are counted")


async def test_a_streamed_answer_is_captured_and_compared_as_the_model_sent_it(world: World) -> None:
    async def streams(request: Request) -> Answer:
        async def pieces() -> AsyncIterator[bytes]:
            for piece in (b"[1", b", 2", b"]"):
                yield piece
                await asyncio.sleep(0.02)

        return Answer(headers={"content-type": "application/json"}, pieces=pieces())

    await world.edge.model("blue", streams)
    await world.edge.model("shadow", streams)
    await world.serve(plan())
    await world.start(instructions(data_capture(json_content_types=("application/json",))))
    answer = await world.edge.client().call(f"/endpoints/{ENDPOINT}/invocations-response-stream", b"[1]")
    assert answer.headers["content-type"] == "application/vnd.amazon.eventstream"
    await until(lambda: len(world.spooled()) == 2, "a file for each variant")
    await until(lambda: all(path.suffix == READY for path in world.spooled()), "both are finished")
    for path in world.spooled():
        _, line = map(json.loads, path.read_text().splitlines())
        found = line["captureData"]["endpointOutput"]
        assert (found["observedContentType"], found["data"]) == ("application/json", "[1, 2]")
    await until(lambda: world.pairs() == world.agreeing() == 1, "they are compared")


async def test_whoever_is_under_way_is_waited_for(world: World) -> None:
    """Both are slower than what is not under way is waited for; and what never began is missed at once."""
    beyond = world.settings.pairing_seconds_max + 1.5

    def slow_for(text: bytes) -> Callable[[Request], Awaitable[Answer]]:
        async def answers(request: Request) -> Answer:
            if request.body == text:
                await asyncio.sleep(beyond)
            return await echo(request)

        return answers

    await world.edge.model("blue", slow_for(b"[1]"))
    await world.edge.model("shadow", slow_for(b"[2]"))
    await world.serve(plan())
    await world.start(instructions())
    clients = world.edge.client(), world.edge.client()
    await asyncio.gather(
        *(client.invoke(ENDPOINT, text) for client, text in zip(clients, (b"[1]", b"[2]"), strict=True))
    )
    await until(lambda: world.pairs() == world.agreeing() == 2, "both find their pair")
    assert world.unpaired() == {}


async def test_encoded_answers_are_compared_by_what_they_say_and_written_as_they_were_sent(world: World) -> None:
    def zips(at: int) -> Callable[[Request], Awaitable[Answer]]:
        async def answers(request: Request) -> Answer:
            headers = {"content-type": "application/json", "content-encoding": "gzip"}
            return Answer(body=gzip.compress(request.body, mtime=at), headers=headers)

        return answers

    await world.edge.model("blue", zips(1))
    await world.edge.model("shadow", zips(2))
    await world.serve(plan())
    await world.start(instructions(data_capture(json_content_types=("application/json",))))
    answer = await world.edge.client().invoke(ENDPOINT, b"[1]", {"accept-encoding": "gzip"})
    assert gzip.decompress(answer.body) == b"[1]"
    await until(lambda: world.pairs() == world.agreeing() == 1, "they agree")
    await until(lambda: len(world.spooled()) == 2, "a file for each variant")
    await until(lambda: all(path.suffix == READY for path in world.spooled()), "both are finished")
    sent = set()
    for path in world.spooled():
        _, line = map(json.loads, path.read_text().splitlines())
        sent.add(base64.b64decode(line["captureData"]["endpointOutput"]["data"]))
    assert sent == {gzip.compress(b"[1]", mtime=at) for at in (1, 2)}


async def test_answers_that_are_none_and_bodies_that_are_cut_are_told_apart(world: World) -> None:
    async def breaks(request: Request) -> Answer | None:
        return None if request.body == b"break" else Answer(500 if request.body == b"500" else 200, request.body)

    await world.edge.model("blue", breaks)
    await world.edge.model("shadow", echo)
    await world.serve(plan())
    await world.start(instructions(data_capture()))
    client = world.edge.client()
    assert (await client.invoke(ENDPOINT, b"break")).status == 424
    assert (await client.invoke(ENDPOINT, b"500")).status == 424
    assert (await client.invoke(ENDPOINT, bytes(7 * MIB))).status == 200
    await until(lambda: sum(world.unpaired().values()) == 2, "two make no pair")
    assert world.unpaired() == {Unpaired.NO_PRODUCTION: 1, Unpaired.INCOMPLETE: 1}
    assert (world.pairs(), world.agreeing()) == (1, 0), "an error of the model is an answer"
    await until(lambda: world.count(Counted.DROPPED, "blue") == 2, "what is not written is counted")
    assert world.reasons(Counted.DROPPED, "blue") == {
        "there was no answer": 1,
        "a body was not captured whole": 1,
    }
    await until(lambda: world.count(Counted.WRITTEN, "blue") == 1, "the model's error is written")


async def test_the_noise_floor_is_production_against_itself(world: World) -> None:
    for _ in range(2):
        await world.edge.model("blue", echo)
    await world.edge.model("shadow", echo)
    await world.serve(plan(noise=500_000))
    await world.start(instructions(noise=True))
    await rated(world, 200, 200)
    await until(lambda: world.pairs() == 200, "all are paired")
    await until(lambda: world.pairs(noise=True) > 50, "about half are paired with production's own")
    await asyncio.sleep(world.settings.pairing_seconds_max + 0.5)
    assert world.pairs(noise=True) < 150
    counted = (await world.edge.admin._get("/stats?filter=^cluster.noise/.*_overflow$")).decode()
    skipped = sum(int(line.rsplit(": ")[1]) for line in counted.splitlines())  # a busy machine fills the 16 places
    missed = {Unpaired.NO_SHADOW: skipped} if skipped else {}
    assert world.unpaired(noise=True) == missed, "a request without a noise copy lacks nothing"


async def test_below_100_percent_each_lost_copy_is_missed_and_no_other(world: World) -> None:
    """A fifth is copied, and half is captured."""
    await world.edge.model("blue", echo)
    await world.edge.model("shadow", echo)
    await world.serve(plan(mirrored=200_000, captured=500_000))
    await world.start(instructions_without_shadow())
    await rated(world, 500, 200)
    await until(lambda: sum(world.unpaired().values()) > 60, "the copies whose answers were not heard are counted")
    assert world.pairs() == world.count(Counted.CAPTURED, "shadow") == 0
    await until(
        lambda: sum(world.unpaired().values()) == world.reasons(Counted.DROPPED, "").get(UNFOLLOWED), "exactly those"
    )
    missed, captured = world.unpaired(), world.count(Counted.CAPTURED, "blue")
    assert missed.keys() == {Unpaired.NO_SHADOW}
    await world.tell(instructions())
    await rated(world, 1000, 200)
    await until(lambda: world.count(Counted.CAPTURED, "blue") > captured + 400, "half are captured")
    await until(lambda: world.pairs() == world.count(Counted.CAPTURED, "shadow") > 100, "every copy makes a pair")
    await asyncio.sleep(world.settings.pairing_seconds_max + 0.5)
    assert world.unpaired() == missed, "a request that was not copied lacks nothing"


async def test_only_the_captured_share_is_observed(world: World) -> None:
    await world.edge.model("blue", echo)
    await world.serve(plan(mirrored=0, captured=300_000))
    await world.start(instructions())
    await rated(world, 2000, 1000)
    spread = 3 * (2000 * 0.3 * 0.7) ** 0.5
    await until(lambda: world.count(Counted.CAPTURED, "blue") > 600 - spread, "three tenths are captured")
    await asyncio.sleep(1.5)
    assert world.count(Counted.CAPTURED, "blue") < 600 + spread, "and no more than that"


@pytest.mark.parametrize("size", [1024, MIB, 25 * MIB])
async def test_a_capture_process_that_stands_still_costs_no_caller_anything(world: World, size: int) -> None:
    await world.edge.model("blue", echo)
    await world.serve(plan(mirrored=0))
    await world.start(instructions(data_capture()))
    requests, per_second = {1024: (400, 200), MIB: (60, 20), 25 * MIB: (8, 1)}[size]
    body = b"x" * size
    before = await rated(world, requests, per_second, body)
    world.signal(signal.SIGSTOP)
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, _resident_mib(world))
            await asyncio.sleep(0.02)

    watching = asyncio.create_task(watch())
    took = await rated(world, requests, per_second, body)
    watching.cancel()
    print(f"\n{size} bytes, capture stopped: slowest {max(took):.3f} s, Envoy at most {most} MiB")
    assert max(took) < 3 * max(before) + 1, "callers are held up"
    assert most < 700
    world.signal(signal.SIGCONT)
    counted = world.count(Counted.CAPTURED, "blue")
    if size < MIB:
        await asyncio.sleep(1)
        await rated(world, 10, 100, body)
        await until(lambda: world.count(Counted.CAPTURED, "blue") >= counted + 10, "it goes on")


def _resident_mib(world: World) -> int:
    process = world.edge._envoy
    assert process is not None
    with open(f"/proc/{process.pid}/status") as file:  # noqa: PTH123
        line = next(line for line in file if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


async def test_a_capture_process_that_is_killed_loses_no_written_record(world: World) -> None:
    await world.edge.model("blue", echo)
    await world.serve(plan(mirrored=0))
    await world.start(instructions(data_capture()))
    load = asyncio.create_task(rated(world, 600, 200))
    await until(lambda: bool(_writers(world)), "some are written")
    before = world.watermark
    await world.stop_capture(signal.SIGKILL)
    await asyncio.sleep(0.3)
    await world.start_capture()
    await load
    await until(lambda: world.watermark > before + 2, "the path is proven again")
    assert len({report.run for report in world.reports}) == 2
    await rated(world, 50, 100)
    await until(lambda: world.reports[-1].run in _writers(world), "the new one writes")
    assert await world.stop_capture() == 0
    assert all(path.suffix == READY for path in world.spooled()), "what was left open is finished"
    written = sum(len(path.read_text().splitlines()) - 1 for path in world.spooled())
    assert world.count(Counted.WRITTEN, "blue") <= written <= 650
    assert len(_writers(world)) == 2
    for path in world.spooled():
        for line in path.read_text().splitlines():
            json.loads(line)


async def test_what_a_capture_process_takes_with_it_is_counted(world: World) -> None:
    """It stands still, is killed as by the launcher, and another begins: what neither reported, that one counts."""
    await world.edge.model("blue", echo)
    await world.serve(plan(mirrored=0))
    await world.start(instructions(data_capture()))
    await rated(world, 200, 200)
    await until(lambda: world.count(Counted.CAPTURED, "blue") == 200, "they are counted")
    world.signal(signal.SIGSTOP)
    await rated(world, 200, 200)
    await world.stop_capture_at_once()
    await rated(world, 100, 200)
    await world.start_capture()
    await until(lambda: sum(world.reasons(Counted.DROPPED, "").values()) >= 300, "what was lost is counted")
    await rated(world, 50, 100)
    await until(lambda: world.count(Counted.CAPTURED, "blue") == 250, "it goes on")
    lost = world.reasons(Counted.DROPPED, "")
    assert lost.keys() <= {UNHEARD, AWAY, UNFOLLOWED}, lost
    # Besides, the heartbeats that were on their way.
    assert 300 <= sum(lost.values()) <= 305, lost


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_whatever_ends_a_capture_process_each_copied_request_is_counted(world: World, number: int) -> None:
    """Under load, with a shadow that is slow: some wait for it, some seconds are open."""

    async def slow(request: Request) -> Answer:
        await asyncio.sleep(0.3)
        return await echo(request)

    await world.edge.model("blue", echo)
    await world.edge.model("shadow", slow)
    await world.serve(plan())
    await world.start(instructions())
    load = asyncio.create_task(rated(world, 300, 100))
    await until(lambda: world.pairs() > 50, "some are compared")
    await world.stop_capture(number)
    await world.start_capture()
    await load

    def counted() -> int:
        return world.pairs() + sum(world.unpaired().values())

    def dropped() -> int:
        return sum(world.reasons(Counted.DROPPED, "").values())

    await until(lambda: 2 * counted() + dropped() >= 600, "all are counted")
    await asyncio.sleep(1)
    lost, alone = 300 - counted(), sum(world.unpaired().values())
    print(f"\n{world.pairs()} pairs, {world.unpaired()}, {world.reasons(Counted.DROPPED, '')}")
    assert world.unpaired()[Unpaired.ENDED] > 0
    # A request of which nothing was heard is two exchanges; of one that is alone the other side may be dropped. Besides, the heartbeats that were on their way.
    assert 2 * lost <= dropped() <= 2 * lost + alone + 5


def _writers(world: World) -> set[str]:
    """The runs that have reported that they wrote."""
    return {report.run for report in world.reports if any(one.what is Counted.WRITTEN for one in report.counts)}
