"""The receiving end of gRPC: messages come out as they were sent, however they were cut on the way; who says anything else is disconnected."""

from __future__ import annotations

import itertools
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from bannister.capture.stream import Connection

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
LONG = 1000


class Heard:
    def __init__(self, enough: int) -> None:
        self.messages: list[bytes | None] = []
        self.ends = 0
        self._enough = enough

    def take(self, message: bytes) -> bool:
        self.messages.append(message)
        return len(self.messages) >= self._enough

    def skip(self) -> bool:
        self.messages.append(None)
        return len(self.messages) >= self._enough

    def end(self) -> None:
        self.ends += 1


class Transport:
    def __init__(self) -> None:
        self.sent = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed = True

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        found, rest = [], self.sent
        while rest:
            high, low, kind, flags, stream = struct.unpack(">BHBBL", rest[:9])
            length = high << 16 | low
            found.append((kind, flags, stream, rest[9 : 9 + length]))
            rest = rest[9 + length :]
        return found


def frame(kind: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack(">BHBBL", len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def message(body: bytes) -> bytes:
    return struct.pack(">BL", 0, len(body)) + body


def opened(*, enough: int = 1000, room: int = 1000) -> tuple[Connection, Transport, list[Heard]]:
    heard: list[Heard] = []

    def admit() -> Heard | None:
        if len(heard) >= room:
            return None
        heard.append(Heard(enough))
        return heard[-1]

    connection, transport = Connection(admit, LONG), Transport()
    connection.connection_made(transport)  # type: ignore[arg-type]
    return connection, transport, heard


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_messages_come_out_as_they_were_sent(data: st.DataObject) -> None:
    connection, transport, heard = opened()
    bodies = {
        stream: data.draw(st.lists(st.binary(max_size=60) | st.just(b"z" * (LONG + 1)), max_size=5))
        for stream in (1, 3, 5)
    }
    pieces: dict[int, list[bytes]] = {}
    for stream, sent in bodies.items():
        content = b"".join(map(message, sent))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=4)))
        edges = [0, *cuts, len(content)]
        pieces[stream] = [content[start:end] for start, end in itertools.pairwise(edges)]
    wire = PREFACE + frame(SETTINGS, 0) + b"".join(frame(HEADERS, stream, b"\x82" * 9) for stream in bodies)
    order = data.draw(st.permutations([stream for stream, parts in pieces.items() for _ in parts]))
    for stream in order:
        wire += frame(DATA, stream, pieces[stream].pop(0))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=False):
        connection.data_received(wire[start:end])
    assert [one.messages for one in heard] == [
        [None if len(body) > LONG else body for body in bodies[stream]] for stream in (1, 3, 5)
    ]
    assert not transport.closed
    connection.connection_lost(None)
    assert [one.ends for one in heard] == [1, 1, 1]


def test_a_stream_that_is_over_is_ended_and_what_still_comes_is_ignored() -> None:
    connection, transport, heard = opened(enough=2)
    connection.data_received(
        PREFACE + frame(HEADERS, 1) + frame(DATA, 1, message(b"a") + message(b"b") + message(b"c"))
    )
    assert heard[0].messages == [b"a", b"b"]
    assert heard[0].ends == 1
    *_, trailers, reset = transport.frames()
    assert (trailers[0], trailers[1], trailers[2]) == (HEADERS, 0x5, 1)
    assert b"grpc-status" in trailers[3]
    assert reset == (RESET, 0, 1, struct.pack(">L", 0))
    connection.data_received(frame(DATA, 1, message(b"d")) + frame(RESET, 1, bytes(4)))
    assert heard[0].messages == [b"a", b"b"]
    assert heard[0].ends == 1


def test_an_end_a_reset_and_no_room() -> None:
    connection, transport, heard = opened(room=2)
    connection.data_received(PREFACE + frame(HEADERS, 1) + frame(HEADERS, 3) + frame(HEADERS, 5))
    assert transport.frames()[-1] == (RESET, 0, 5, struct.pack(">L", 7))
    connection.data_received(frame(DATA, 1, message(b"a"), flags=1) + frame(RESET, 3, bytes(4)))
    assert [one.ends for one in heard] == [1, 1]


def test_settings_and_pings_are_answered_and_windows_opened_again() -> None:
    connection, transport, heard = opened(enough=10_000)
    connection.data_received(PREFACE + frame(SETTINGS, 0) + frame(PING, 0, b"12345678"))
    assert (SETTINGS, 1, 0, b"") in transport.frames()
    assert (PING, 1, 0, b"12345678") in transport.frames()
    connection.data_received(frame(HEADERS, 1))
    for _ in range(40):
        connection.data_received(frame(DATA, 1, message(b"x" * 900) * 100))
    given_back = [int.from_bytes(one[3]) for one in transport.frames()[2:] if one[0] == WINDOW_UPDATE and one[2] == 0]
    assert sum(given_back) > 2 * 2**20
    assert len(heard[0].messages) == 4000
    assert any(one[0] == WINDOW_UPDATE and one[2] == 1 for one in transport.frames())


def test_who_speaks_anything_else_is_disconnected() -> None:
    connection, transport, _ = opened()
    connection.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert transport.closed
    connection, transport, _ = opened()
    connection.data_received(PREFACE + struct.pack(">BHBBL", 255, 0, DATA, 0, 1))
    assert transport.closed
