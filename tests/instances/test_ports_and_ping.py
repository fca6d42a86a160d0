"""Ports are not soon used again; a ping believes only a 200 in time."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from bannister.errors import Unavailable
from bannister.instances.ping import WARNING_CHARACTERS_MAX, WARNINGS_MAX, Answer, asked
from bannister.instances.ports import Ports


@pytest.fixture
def first():
    """The first of four ports that are free now."""
    for candidate in range(21000, 31000, 7):
        sockets = [socket.socket() for _ in range(4)]
        try:
            for step, each in enumerate(sockets):
                each.bind(("127.0.0.1", candidate + step))
            return candidate
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
    raise AssertionError


def test_ports_go_round(first):
    ports = Ports(first, first + 3)
    taken = [ports.take(), ports.take()]
    ports.give_back(taken[0])
    taken += [ports.take(), ports.take(), ports.take()]
    assert taken == [first, first + 1, first + 2, first + 3, first]
    with pytest.raises(Unavailable, match=f"No port between {first} and {first + 3} is free"):
        ports.take()


def test_a_port_that_cannot_be_remembered_is_not_taken(first):
    """On a full disk an instance is tried again for ever: in the end there would be no port left."""

    def full(following):
        raise Unavailable("the disk is full")

    ports, remembered = Ports(first, first + 1), []
    for _ in range(5):
        with pytest.raises(Unavailable, match="the disk is full"):
            ports.take(full)
    assert [ports.take(remembered.append), ports.take(remembered.append)] == [first, first + 1]
    assert remembered == [first + 1, first]


def test_a_port_that_another_program_uses_is_passed_over(first):
    with socket.socket() as other:
        other.bind(("0.0.0.0", first))
        other.listen()
        assert Ports(first, first + 3).take() == first + 1


def test_the_search_goes_on_where_it_ended(first):
    ports = Ports(first, first + 3)
    ports.next = first + 2
    ports.keep(first + 2)
    assert ports.take() == first + 3


async def _ping(answer: bytes | None, timeout_seconds: float = 5.0) -> bool:
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await asyncio.sleep(60)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        return (await asked("127.0.0.1", server.sockets[0].getsockname()[1], "/ping", timeout_seconds)).up


@pytest.mark.parametrize(
    ("answer", "believed"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", True),
        (b"HTTP/1.0 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 200\r\ncontent-type: text/plain\r\n\r\nfine", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", False),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Le", False),
        (b"SSH-2.0-OpenSSH_9.2 200\r\n\r\n", False),
        (b"HTTP/1.1\r\n\r\n", False),
        (b"HTTP/1.1 20x\r\n\r\n", False),
        (b"x" * 100_000, False),
        (b"", False),
    ],
)
async def test_a_ping_believes_only_a_complete_200(answer, believed):
    assert await _ping(answer) is believed


async def test_a_ping_does_not_wait_for_ever():
    assert await _ping(None, timeout_seconds=0.05) is False


async def test_nobody_there_is_no_answer(first):
    assert (await asked("127.0.0.1", first, "/ping", 5.0)).up is False


@pytest.mark.parametrize(
    ("body", "warnings"),
    [
        (b'{"warnings": ["It is old.", "It is \xc3\xa4lter.", "It is old."]}', ("It is old.", "It is \u00e4lter.")),
        (b'{"warnings": ["\\u001b[2Jred\\n", "", "  "]}', ("[2Jred",)),
        (b'{"warnings": "one"}', ()),
        (b'{"warnings": [1, null, ["x"]]}', ()),
        (b'{"warnings": {"a": 1}}', ()),
        (b'{"warnings": [', ()),
        (b'[{"warnings": ["x"]}]', ()),
        (b'{"a":' * 5000 + b'"warnings"', ()),
        (b'{"status": "Healthy"}', ()),
        (b"", ()),
    ],
)
async def test_what_a_server_says_against_its_model_is_heard(body, warnings):
    assert await _asked(body) == Answer(True, warnings)


async def test_no_server_says_more_than_the_bounds():
    said = await _asked(json.dumps({"warnings": [str(number) * 6000 for number in range(9)]}).encode())
    assert [len(one) for one in said.warnings] == [WARNING_CHARACTERS_MAX] * WARNINGS_MAX


async def _asked(body):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        return await asked("127.0.0.1", server.sockets[0].getsockname()[1], "/ping", 5.0)
