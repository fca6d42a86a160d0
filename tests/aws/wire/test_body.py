"""A request's body is bounded, on the wire and decompressed."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from bannister.aws.wire.body import Disconnected, TooLarge, Undecodable, decoded, read

LIMIT = 1024 * 1024


def arriving(*pieces: bytes | None) -> Any:
    """An ASGI `receive` for a body in these pieces; None: the client goes away."""
    events: Iterator[dict[str, Any]] = iter(
        {"type": "http.disconnect"} if piece is None else {"type": "http.request", "body": piece, "more_body": more}
        for piece, more in zip(pieces, [True] * (len(pieces) - 1) + [False], strict=True)
    )

    async def receive() -> dict[str, Any]:
        return next(events)

    return receive


async def test_pieces_are_joined() -> None:
    assert await read(arriving(b"ab", b"", b"c"), {}, 3) == b"abc"


async def test_the_limit_is_exact() -> None:
    assert await read(arriving(b"a" * LIMIT), {}, LIMIT) == b"a" * LIMIT
    with pytest.raises(TooLarge):
        await read(arriving(b"a" * LIMIT, b"a", b"never asked for"), {}, LIMIT)
    with pytest.raises(TooLarge):
        await read(arriving(b"never asked for"), {"content-length": str(LIMIT + 1)}, LIMIT)
    assert decoded(gzip.compress(b"a" * LIMIT), "gzip", LIMIT) == b"a" * LIMIT


async def test_a_client_that_goes_away() -> None:
    with pytest.raises(Disconnected):
        await read(arriving(b"a", None), {}, LIMIT)


def test_a_bomb_is_not_decompressed() -> None:
    bomb = gzip.compress(bytes(64 * LIMIT), compresslevel=1)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            decoded(bomb, "gzip", LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * LIMIT


def test_an_encoding_nobody_reads_is_named() -> None:
    with pytest.raises(Undecodable, match="'br' is not supported"):
        decoded(b"", "br", LIMIT)
