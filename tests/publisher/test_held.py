"""What looks that are off by some say of requests that a proxy holds."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bannister.aws.runtime_errors import runtime_texts
from bannister.clock import SystemClock
from bannister.publisher.held import LOOKS_MAX, Held, is_empty
from bannister.publisher.publisher import Publisher
from bannister.settings import Settings
from bannister.signals import Signal


def looks_until_empty(rng: random.Random, off: float, held: int, looks: int) -> int | None:
    """How many looks it took to say that nothing is held; None: it was not said."""
    one = Held()
    for number in range(1, looks + 1):
        one.note(held + round(rng.gauss(0.0, off)))
        if one.was_empty:
            return number
    return None


def test_where_looks_agree_eight_are_enough() -> None:
    assert not is_empty([])
    assert not is_empty([0] * 7)
    assert is_empty([0] * 8)
    assert not is_empty([1] * LOOKS_MAX)


@pytest.mark.parametrize("held", [1, 3, 20])
def test_that_the_last_one_has_gone_is_known_soon(held: int) -> None:
    one = Held()
    for _ in range(200):
        one.note(held)
    assert not one.was_empty
    for _ in range(32):
        one.note(0)
    assert one.was_empty


@pytest.mark.parametrize("off", [0.3, 1.0, 3.0])
def test_one_that_is_held_is_hardly_ever_overlooked(off: float) -> None:
    """At up to some thousand requests a second; the first looks, which are few, and as long as a plain request may be drained (75 s of looks)."""
    overlooked = sum(looks_until_empty(random.Random(seed), off, 1, 60) is not None for seed in range(400))
    overlooked += sum(looks_until_empty(random.Random(seed), off, 1, 1500) is not None for seed in range(8))
    assert overlooked == 0


@pytest.mark.parametrize(("off", "most"), [(0.3, 32), (1.0, 80), (3.0, 600)])
def test_that_nothing_is_held_is_known_in_seconds(off: float, most: int) -> None:
    took = [looks_until_empty(random.Random(seed), off, 0, 700) for seed in range(20)]
    assert sorted(one or 700 for one in took)[17] <= most


class Admins:
    """Proxies that hold so many requests each, by node."""

    def __init__(self) -> None:
        self.held = {"a": 0, "b": 1}
        self.changed = Signal()

    def proxies(self) -> tuple[Any, ...]:
        return tuple(SimpleNamespace(node=node, stream=object()) for node in self.held)

    def admin_of(self, node: str) -> Any:
        async def held_requests() -> int:
            return self.held[node]

        return SimpleNamespace(held_requests=held_requests)


async def test_a_proxy_that_has_gone_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it held has gone with it, or nobody can wait for it any more; one that comes has routed nothing to the group, but nobody knows."""
    admins, anything = Admins(), SimpleNamespace(changed=Signal())
    texts = runtime_texts("0", 1)
    publisher = Publisher(Settings(tmp_path), anything, texts, SystemClock(), admins, admins.admin_of)  # type: ignore[arg-type]
    monkeypatch.setattr(publisher, "unrouted", lambda group: True)
    publisher._held = {"blue": {}}
    for _ in range(40):
        assert await publisher.held("blue")
    del admins.held["b"]
    assert not await publisher.held("blue")
    admins.held["c"] = 0
    assert await publisher.held("blue"), "it has not been looked at often enough"
    for _ in range(20):
        await publisher.held("blue")
    assert not await publisher.held("blue")
    assert not await publisher.held("another"), "it is routed, or gone"
