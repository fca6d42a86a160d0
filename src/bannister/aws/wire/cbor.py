"""CBOR (RFC 8949), as much of it as Smithy's RPC v2 uses, for bytes that anybody may have sent.

Numbers, texts, byte strings, arrays, maps with texts as keys, true, false, null, floats of 16, 32 and 64 bits, and tag 1 (seconds
since the epoch); lengths definite or not. Everything else is refused: other tags (a general decoder makes regular expressions, big
numbers and references of them), a key that comes twice, bytes after the end. Depth and the number of items are bounded, since one
byte is enough for a level or for a list; what is not there is never allocated, whatever length is claimed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

from bannister.aws.wire.values import Malformed

#: Arrays, maps and tags within each other. CloudWatch's deepest input has 8.
DEPTH_MAX: Final = 32
#: Items of one document, keys included. The largest PutMetricData that AWS takes (1 MB) has fewer.
ITEMS_MAX: Final = 500_000

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_INDEFINITE: Final = 31
_BREAK: Final = 0xFF
_EPOCH_TAG: Final = 1
#: By a head's additional information: how many bytes of argument follow.
_ARGUMENT_BYTES: Final = {24: 1, 25: 2, 26: 4, 27: 8}
_FLOATS: Final = {25: ">e", 26: ">f", 27: ">d"}
_CONSTANTS: Final = {20: False, 21: True, 22: None, 23: None}


@dataclass(frozen=True, slots=True)
class Epoch:
    """A moment: seconds since the epoch."""

    seconds: float


# --- in


def decode(content: bytes) -> Any:
    """The one item that the bytes are. Maps are dicts, arrays lists, moments `Epoch`, null and undefined None.

    Raises:
        Malformed: It is not valid, not supported, or over a bound.
    """
    reader = _Reader(content)
    value = reader.item(0)
    reader.end()
    return value


class _Reader:
    __slots__ = ("_at", "_content", "_items")

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0
        self._items = 0

    def item(self, depth: int) -> Any:
        self._items += 1
        if self._items > ITEMS_MAX:
            raise self._malformed(f"there are more than {ITEMS_MAX} items")
        if depth > DEPTH_MAX:
            raise self._malformed(f"it is nested more than {DEPTH_MAX} deep")
        major, info = self._head()
        match major:
            case 0:
                return self._argument(info)
            case 1:
                return -1 - self._argument(info)
            case 2:
                return self._bytes(info)
            case 3:
                return self._text(info)
            case 4:
                return self._array(info, depth)
            case 5:
                return self._map(info, depth)
            case 6:
                return self._tagged(info, depth)
            case _:
                return self._simple(info)

    def end(self) -> None:
        if self._at != len(self._content):
            raise self._malformed("there are bytes after the end")

    def _array(self, info: int, depth: int) -> list[Any]:
        if info != _INDEFINITE:
            return [self.item(depth + 1) for _ in range(self._argument(info))]
        items = []
        while not self._broken():
            items.append(self.item(depth + 1))
        return items

    def _map(self, info: int, depth: int) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        if info != _INDEFINITE:
            for _ in range(self._argument(info)):
                self._entry(entries, depth)
        else:
            while not self._broken():
                self._entry(entries, depth)
        return entries

    def _entry(self, entries: dict[str, Any], depth: int) -> None:
        key = self.item(depth + 1)
        if not isinstance(key, str):
            raise self._malformed("a key of a map is not a text")
        if key in entries:
            raise self._malformed(f"the key {key[:100]!r} comes twice in one map")
        entries[key] = self.item(depth + 1)

    def _bytes(self, info: int) -> bytes:
        return b"".join(self._chunks(_BYTES)) if info == _INDEFINITE else self._take(self._argument(info))

    def _text(self, info: int) -> str:
        pieces = self._chunks(_TEXT) if info == _INDEFINITE else [self._take(self._argument(info))]
        try:
            return "".join(piece.decode() for piece in pieces)
        except UnicodeDecodeError:
            raise self._malformed("a text is not UTF-8") from None

    def _chunks(self, major: int) -> list[bytes]:
        """The pieces of a string of indefinite length, each a definite string of the same kind."""
        chunks = []
        while not self._broken():
            chunk_major, info = self._head()
            if chunk_major != major:
                raise self._malformed("a string in pieces has a piece of another kind")
            chunks.append(self._take(self._argument(info)))
        return chunks

    def _tagged(self, info: int, depth: int) -> Epoch:
        tag = self._argument(info)
        if tag != _EPOCH_TAG:
            raise self._malformed(f"tag {tag} is not supported, only {_EPOCH_TAG} (seconds since the epoch)")
        seconds = self.item(depth + 1)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise self._malformed("seconds since the epoch are not a number")
        return Epoch(seconds)

    def _simple(self, info: int) -> Any:
        if info in _FLOATS:
            return struct.unpack(_FLOATS[info], self._take(_ARGUMENT_BYTES[info]))[0]
        if info in _CONSTANTS:
            return _CONSTANTS[info]
        raise self._malformed("a break stands where an item should" if info == _INDEFINITE else "a value is unassigned")

    def _head(self) -> tuple[int, int]:
        if self._at >= len(self._content):
            raise self._cut()
        initial = self._content[self._at]
        self._at += 1
        return initial >> 5, initial & 0x1F

    def _argument(self, info: int) -> int:
        if info < 24:
            return info
        if info not in _ARGUMENT_BYTES:
            raise self._malformed("a length or number is not well-formed")
        return int.from_bytes(self._take(_ARGUMENT_BYTES[info]), "big")

    def _take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._content):
            raise self._cut()
        taken = self._content[self._at : end]
        self._at = end
        return taken

    def _broken(self) -> bool:
        """Whether a break is next, which is then passed."""
        if self._at >= len(self._content):
            raise self._cut()
        if self._content[self._at] != _BREAK:
            return False
        self._at += 1
        return True

    def _cut(self) -> Malformed:
        return self._malformed("it ends within an item")

    def _malformed(self, what: str) -> Malformed:
        return Malformed(f"The body is not CBOR as it is read here: {what} (before byte {self._at}).")


# --- out


def encode(value: Any) -> bytes:
    """Bytes of a tree of dicts, lists, texts, bytes, truth values, numbers and `Epoch`. Floats have 64 bits, lengths are definite."""
    out = bytearray()
    _write(out, value)
    return bytes(out)


def _write(out: bytearray, value: Any) -> None:
    match value:
        case bool():
            out.append(0xF5 if value else 0xF4)
        case int():
            _write_head(out, _UNSIGNED if value >= 0 else _NEGATIVE, value if value >= 0 else -1 - value)
        case float():
            out += b"\xfb" + struct.pack(">d", value)
        case str():
            content = value.encode()
            _write_head(out, _TEXT, len(content))
            out += content
        case bytes():
            _write_head(out, _BYTES, len(value))
            out += value
        case list():
            _write_head(out, _ARRAY, len(value))
            for item in value:
                _write(out, item)
        case dict():
            _write_head(out, _MAP, len(value))
            for key, item in value.items():
                _write(out, key)
                _write(out, item)
        case Epoch():
            _write_head(out, _TAG, _EPOCH_TAG)
            _write(out, int(value.seconds) if value.seconds == int(value.seconds) else value.seconds)
        case _:
            raise ValueError(f"CBOR has no {type(value).__name__} here")


def _write_head(out: bytearray, major: int, argument: int) -> None:
    if argument < 24:
        out.append(major << 5 | argument)
        return
    for info, count in _ARGUMENT_BYTES.items():
        if argument < 1 << 8 * count:
            out.append(major << 5 | info)
            out += argument.to_bytes(count, "big")
            return
    raise ValueError(f"CBOR has no integer of more than 64 bits: {argument}")
