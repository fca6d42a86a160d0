"""As much of HTTP/2 and gRPC as it takes to be told something by Envoy: streams of messages in one direction.

Written out because of what it costs. With grpcio's asyncio server each of an exchange's six messages wakes a task of its own, a millisecond of CPU in all; here a read from the socket
brings the messages of many exchanges, and they are cut out of it in one loop. What makes it small is what Envoy sends and we answer: headers are never read
(what they would say, the first message says better), so there is no header compression; and all that is ever said on a stream is that it is over.

**Windows are narrow on purpose.** What a window lets through Envoy writes out for the connection, and holds for as long as nobody reads, whatever becomes of the stream; what it does not let
through goes with its stream. So they bound what a process that stands still costs Envoy.

A peer that says anything else is disconnected; it connects anew.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Final, Protocol, cast

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x4, 0x6, 0x8
_END_STREAM, _ACKNOWLEDGED, _END_HEADERS, _PADDED = 0x1, 0x1, 0x4, 0x8
_INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 0x4, 0x5
_NO_ERROR, _REFUSED_STREAM = 0x0, 0x7

_IDENTITY_MASK: Final = 2**31 - 1
_WINDOW_DEFAULT: Final = 65_535
#: Bytes that may be under way on a stream, and on a connection; opened again when half has come in.
_STREAM_WINDOW: Final = 1024 * 1024
_CONNECTION_WINDOW: Final = 4 * 1024 * 1024
_FRAME_BYTES_MAX: Final = 256 * 1024
_FRAME = struct.Struct(">BHBBL")
_MESSAGE = struct.Struct(">BL")


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return _FRAME.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def _literal(value: bytes) -> bytes:
    return bytes([len(value)]) + value


#: `:status 200`, `content-type application/grpc`, `grpc-status 0`, none of them remembered by the other side (RFC 7541, 6.1 and 6.2.2).
_OVER: Final = (
    b"\x88" + b"\x0f\x10" + _literal(b"application/grpc") + b"\x00" + _literal(b"grpc-status") + _literal(b"0")
)
_GREETING: Final = _frame(
    _SETTINGS,
    0,
    0,
    struct.pack(">HLHL", _INITIAL_WINDOW_SIZE, _STREAM_WINDOW, _MAX_FRAME_SIZE, _FRAME_BYTES_MAX),
) + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">L", _CONNECTION_WINDOW - _WINDOW_DEFAULT))


class Listener(Protocol):
    """Who hears the messages of one stream."""

    def take(self, message: bytes) -> bool:
        """One message; whether the stream may end now."""
        ...

    def skip(self) -> bool:
        """A message that was too long to be held; as `take`."""
        ...

    def end(self) -> None:
        """Nothing more comes. Called once."""
        ...


class _Stream:
    """The bytes of one stream between two frames."""

    __slots__ = ("listener", "pending", "skipping", "window_used")

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        #: The beginning of a message.
        self.pending = bytearray()
        #: Bytes still to come of a message that is too long.
        self.skipping = 0
        self.window_used = 0


class Connection(asyncio.Protocol):
    """One connection of Envoy's. `admit` makes a listener for a new stream; None: no room for it."""

    def __init__(self, admit: Callable[[], Listener | None], message_bytes_max: int) -> None:
        self._admit = admit
        self._message_bytes_max = message_bytes_max
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._greeted = False
        self._streams: dict[int, _Stream] = {}
        self._window_used = 0
        self._answers: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(_GREETING)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._end_all()

    def _end_all(self) -> None:
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.listener.end()

    def close(self) -> None:
        """Nothing more is heard; all streams are over at once."""
        self._end_all()
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self._greeted:
            if len(buffer) < len(_PREFACE):
                return
            if not buffer.startswith(_PREFACE):
                self.close()
                return
            del buffer[: len(_PREFACE)]
            self._greeted = True
        at, available = 0, len(buffer)
        while available - at >= _FRAME.size:
            high, low, kind, flags, stream = _FRAME.unpack_from(buffer, at)
            end = at + _FRAME.size + (high << 16 | low)
            if end - at > _FRAME_BYTES_MAX + _FRAME.size:
                self.close()
                return
            if end > available:
                break
            self._frame(kind, flags, stream & _IDENTITY_MASK, memoryview(buffer)[at + _FRAME.size : end])
            at = end
        del buffer[:at]
        if self._answers and self._transport is not None:
            self._transport.write(b"".join(self._answers))
            self._answers.clear()

    def _frame(self, kind: int, flags: int, identity: int, payload: memoryview) -> None:
        if kind == _DATA:
            self._count_window(identity, len(payload))
            self._data(identity, payload if not flags & _PADDED else payload[1 : len(payload) - payload[0]])
        elif kind == _HEADERS:
            self._begin(identity)
        elif kind == _RESET:
            self._end(identity)
        elif kind == _SETTINGS and not flags & _ACKNOWLEDGED:
            self._answers.append(_frame(_SETTINGS, _ACKNOWLEDGED, 0))
        elif kind == _PING and not flags & _ACKNOWLEDGED:
            self._answers.append(_frame(_PING, _ACKNOWLEDGED, 0, bytes(payload)))
        payload.release()
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            self._finish(identity)

    def _begin(self, identity: int) -> None:
        if identity in self._streams:  # trailers
            return
        listener = self._admit()
        if listener is None:
            self._answers.append(_frame(_RESET, 0, identity, struct.pack(">L", _REFUSED_STREAM)))
        else:
            self._streams[identity] = _Stream(listener)

    def _data(self, identity: int, payload: memoryview) -> None:
        stream = self._streams.get(identity)
        if stream is None:  # it is over: what comes now was on its way
            return
        if stream.skipping:
            skipped = min(stream.skipping, len(payload))
            stream.skipping -= skipped
            payload = payload[skipped:]
        if stream.pending:
            stream.pending += payload
            whole = bytes(stream.pending)
            stream.pending.clear()
            self._messages(identity, stream, memoryview(whole))
        else:
            self._messages(identity, stream, payload)

    def _messages(self, identity: int, stream: _Stream, data: memoryview) -> None:
        """All messages that are whole; the beginning of another is kept."""
        at = 0
        is_over = False
        while len(data) - at >= _MESSAGE.size:
            _, length = _MESSAGE.unpack_from(data, at)
            begin = at + _MESSAGE.size
            if length > self._message_bytes_max:
                stream.skipping = max(begin + length - len(data), 0)
                is_over = stream.listener.skip()
                at = min(begin + length, len(data))
            elif begin + length > len(data):
                break
            else:
                is_over = stream.listener.take(bytes(data[begin : begin + length]))
                at = begin + length
            if is_over:
                self._finish(identity)
                return
        stream.pending += data[at:]

    def _finish(self, identity: int) -> None:
        """Say that the stream is over, and that the rest need not be sent."""
        if identity in self._streams:
            self._answers.append(_frame(_HEADERS, _END_STREAM | _END_HEADERS, identity, _OVER))
            self._answers.append(_frame(_RESET, 0, identity, struct.pack(">L", _NO_ERROR)))
            self._end(identity)

    def _end(self, identity: int) -> None:
        stream = self._streams.pop(identity, None)
        if stream is not None:
            stream.listener.end()

    def _count_window(self, identity: int, size: int) -> None:
        self._window_used += size
        if self._window_used >= _CONNECTION_WINDOW // 2:
            self._answers.append(_frame(_WINDOW_UPDATE, 0, 0, struct.pack(">L", self._window_used)))
            self._window_used = 0
        stream = self._streams.get(identity)
        if stream is None:
            return
        stream.window_used += size
        if stream.window_used >= _STREAM_WINDOW // 2:
            self._answers.append(_frame(_WINDOW_UPDATE, 0, identity, struct.pack(">L", stream.window_used)))
            stream.window_used = 0

    def drop(self, listener: Listener) -> None:
        """The stream of this listener has taken too long."""
        for identity, stream in list(self._streams.items()):
            if stream.listener is listener:
                self._finish(identity)
        if self._answers and self._transport is not None:
            self._transport.write(b"".join(self._answers))
            self._answers.clear()
