"""Finished files get into their bucket once; one that cannot is kept, said, and tried again later and later."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bannister.collector.delivery import Delivery
from bannister.domain.capture.spooled import READY, UNDELIVERED, Destination
from bannister.errors import Unavailable
from bannister.objects.memory import MemoryObjects
from bannister.settings import Settings


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Objects(MemoryObjects):
    """Counts puts, and fails where it is told to."""

    puts = 0
    fails = False

    async def put(self, *arguments: object, **named: object):  # type: ignore[override, no-untyped-def]
        self.puts += 1
        if self.fails:
            raise Unavailable("The disk is full.")
        return await super().put(*arguments, **named)  # type: ignore[arg-type]


def spooled(settings: Settings, name: str, bucket: str, key: str, *lines: bytes) -> Path:
    settings.capture_dir.mkdir(exist_ok=True)
    path = settings.capture_dir / name
    path.write_bytes(msgspec.json.encode(Destination(bucket, key)) + b"\n" + b"".join(lines))
    return path


async def content(objects: MemoryObjects, bucket: str, key: str) -> bytes:
    async with objects.open(bucket, key) as found:
        return b"".join([chunk async for chunk in found.read()])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return dataclasses.replace(Settings(tmp_path), capture_retry_seconds_min=5.0, capture_retry_seconds_max=15.0)


@pytest.fixture
async def objects() -> AsyncIterator[Objects]:
    made = Objects(2**30)
    await made.create_bucket("captured", 0.0)
    return made


async def test_the_records_are_put_under_their_key_and_the_file_goes(settings: Settings, objects: Objects) -> None:
    path = spooled(settings, "1.ready", "captured", "e/v/1.jsonl", b'{"a":1}\n', b'{"a":2}\n')
    still_open = spooled(settings, "2.open", "captured", "e/v/2.jsonl", b"{}\n")
    empty = spooled(settings, "3.ready", "captured", "e/v/3.jsonl")
    await Delivery(settings, objects, Clock()).deliver()
    assert await content(objects, "captured", "e/v/1.jsonl") == b'{"a":1}\n{"a":2}\n'
    assert (path.exists(), still_open.exists(), empty.exists()) == (False, True, False)
    assert objects.puts == 1


async def test_put_and_killed_before_it_was_removed_it_is_put_again_as_the_same(
    settings: Settings, objects: Objects
) -> None:
    path = spooled(settings, "1.ready", "captured", "k", b"{}\n")
    content_before = path.read_bytes()
    for _ in range(2):
        path.write_bytes(content_before)
        await Delivery(settings, objects, Clock()).deliver()
    listed = await objects.list("captured")
    assert [(one.key, one.size) for one in listed.objects] == [("k", 3)]


async def test_a_bucket_that_is_missing_is_tried_again_later_and_later(
    settings: Settings, objects: Objects, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    delivery = Delivery(settings, objects, clock)
    path = spooled(settings, "1.ready", "absent", "k", b"{}\n")
    other = spooled(settings, "2.ready", "captured", "k", b"{}\n")
    tried = []
    for _ in range(60):
        before = objects.puts
        await delivery.deliver()
        if objects.puts > before:
            tried.append(clock.time - 1000.0)
        clock.time += 1.0
    assert tried == [0.0, 5.0, 15.0, 30.0, 45.0]
    assert path.exists()
    assert not other.exists(), "another bucket's records do not wait"
    assert "the bucket absent does not exist" in (delivery.trouble("absent") or "")
    assert delivery.trouble("captured") is None
    assert caplog.text.count("capture.not_delivered") == 1
    await objects.create_bucket("absent", 0.0)
    clock.time += 15.0
    await delivery.deliver()
    assert not path.exists()
    assert delivery.trouble("absent") is None


async def test_a_full_disk_keeps_the_file(settings: Settings, objects: Objects) -> None:
    path = spooled(settings, "1.ready", "captured", "k", b"{}\n")
    objects.fails = True
    delivery = Delivery(settings, objects, Clock())
    await delivery.deliver()
    assert path.exists()
    assert delivery.trouble("captured") == "Captured records for s3://captured cannot be delivered: The disk is full."


async def test_what_is_no_file_of_ours_is_given_up(settings: Settings, objects: Objects) -> None:
    settings.capture_dir.mkdir()
    (settings.capture_dir / "0.ready").write_text("hello\n")
    good = spooled(settings, "1.ready", "captured", "k", b"{}\n")
    await Delivery(settings, objects, Clock()).deliver()
    assert not good.exists()
    assert (settings.capture_dir / "0.unreadable").exists()


async def test_what_a_bucket_did_not_take_for_too_long_is_given_up(
    settings: Settings, objects: Objects, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    clock.time = 100_000.0
    bounded = dataclasses.replace(settings, capture_undelivered_seconds_max=3600.0)
    old, young = f"{96_000_000:016d}-r-1.ready", f"{99_000_000:016d}-r-2.ready"
    for name in (old, young):
        spooled(settings, name, "absent", name, b"{}\n")
    fine = spooled(settings, f"{90_000_000:016d}-r-3.ready", "captured", "k", b"{}\n")
    delivery = Delivery(bounded, objects, clock)
    for _ in range(2):
        await delivery.deliver()
    there = sorted(path.name for path in settings.capture_dir.iterdir())
    assert there == [old.replace(READY, UNDELIVERED), young], "another bucket's is delivered, however old"
    assert not fine.exists()
    assert "capture.given_up 1 files for s3://absent" in caplog.text


async def test_many_that_wait_do_not_hold_up_the_event_loop(
    settings: Settings, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1000):
        spooled(settings, f"{number:016d}-r-1.ready", "absent", f"{number}", b"{}\n")
    delivery = Delivery(settings, objects, Clock())
    await delivery.deliver()
    opened: list[int] = []
    honest = Path.open

    def counted(path: Path, *arguments: Any, **named: Any) -> Any:
        opened.append(threading.get_ident())
        return honest(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", counted)
    turns = 0
    looked_at: Counter[int] = Counter()
    monkeypatch.setattr(delivery, "_is_too_old", lambda _: looked_at.update([turns]))

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    spooled(settings, f"{2000:016d}-r-1.ready", "absent", "another", b"{}\n")
    opened.clear()
    task = asyncio.create_task(others())
    await delivery.deliver()
    task.cancel()
    assert len(opened) == 1, "what is known is not read again"
    assert opened[0] != threading.get_ident()
    assert len(looked_at) >= 5, "others get their turns between files"


async def test_a_directory_that_cannot_be_listed_is_said_once_and_looked_at_again(
    settings: Settings, objects: Objects, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    clock = Clock()
    delivery = Delivery(settings, objects, clock)
    known = spooled(settings, "1.ready", "later", "k", b"{}\n")
    await delivery.deliver()
    caplog.clear()
    opened = []
    open_path = Path.open

    def _open(path: Path, *arguments: Any, **named: Any) -> Any:
        opened.append(path.name)
        return open_path(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", _open)
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", _too_many_open_files)
            for _ in range(3):
                await delivery.deliver()
        await delivery.deliver()
    assert caplog.text.count("cannot be listed") == 2
    assert caplog.text.count("can be listed again") == 2
    assert opened == [], "what is known is kept: its line is not read again"
    await objects.create_bucket("later", 0.0)
    clock.time += 100.0
    await delivery.deliver()
    assert not known.exists()


def _too_many_open_files(directory: Path) -> Any:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(directory))
