"""One page of a listing, from any store that can iterate its keys in order.

The store gives `scan(lower)`: objects with a key of at least `lower`, ascending by UTF-8 bytes. Without a delimiter
one scan fills the page. With one, the first key of a common prefix stands for all of them, and the next scan begins
behind the prefix: a folder of a million keys costs one step when it is rolled up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bannister.objects.store import Listing, ObjectInfo

Scan = Callable[[bytes], Iterable[ObjectInfo]]


def page(scan: Scan, *, prefix: str, delimiter: str, after: str, limit: int) -> Listing:
    """The first `limit` objects and common prefixes that are greater than `after`."""
    objects: list[ObjectInfo] = []
    prefixes: list[str] = []
    last = ""
    lower: bytes | None = max(prefix.encode(), after.encode())
    while lower is not None:
        scanned, lower = scan(lower), None
        for info in scanned:
            if not info.key.startswith(prefix):
                break
            common = _common_prefix(info.key, prefix, delimiter)
            name = common or info.key
            if name.encode() > after.encode():
                if len(objects) + len(prefixes) >= limit:
                    return Listing(tuple(objects), tuple(prefixes), last or None)
                last = name
                if common:
                    prefixes.append(common)
                else:
                    objects.append(info)
            if common:
                lower = _behind(common.encode())
                break
    return Listing(tuple(objects), tuple(prefixes), None)


def _common_prefix(key: str, prefix: str, delimiter: str) -> str:
    """What `key` is rolled up into; empty if it stands for itself."""
    found = key.find(delimiter, len(prefix)) if delimiter else -1
    return key[: found + len(delimiter)] if found >= 0 else ""


def _behind(prefix: bytes) -> bytes:
    """The least byte string greater than all that start with `prefix` (no UTF-8 text has a byte 0xFF)."""
    return prefix[:-1] + bytes([prefix[-1] + 1])
