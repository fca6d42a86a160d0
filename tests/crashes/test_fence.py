"""Nothing is written where the fence does not let it through. (In the product it does not even return.)"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bannister.clock import SystemClock
from bannister.domain.instance import GroupSpec
from bannister.domain.metric.summary import Report, Summary
from bannister.errors import Fenced
from bannister.ids import RandomIds
from bannister.instances.folder_logs import FolderLogs
from bannister.instances.host import GroupRecord, InstanceRecord
from bannister.instances.records import FolderRecords
from bannister.metrics.sqlite import SqliteMetrics
from bannister.objects.folder import FolderObjects
from bannister.settings import Settings
from bannister.state.sqlite import SqliteState

GROUP = GroupRecord(GroupSpec("g", "e", "v", "image", None), 1)
INSTANCE = InstanceRecord("0a", "g", 1)


class Fence:
    open = True

    def __call__(self) -> None:
        if not self.open:
            raise Fenced("closed")


async def test_opening_the_state_again_fences_who_had_it(tmp_path: Path) -> None:
    first = SqliteState(tmp_path / "state.db")
    first.check_epoch()
    second = SqliteState(tmp_path / "state.db")
    with pytest.raises(Fenced):
        first.check_epoch()
    second.check_epoch()
    await first.close()
    await second.close()


@pytest.mark.parametrize(
    "write",
    [
        lambda records: records.save_epoch(9),
        lambda records: records.save_next_port(9),
        lambda records: records.save_group(GroupRecord(GROUP.spec, 2)),
        lambda records: records.forget_group("g"),
        lambda records: records.save_instance(InstanceRecord("0a", "g", 2)),
        lambda records: records.forget_instance("0a"),
    ],
)
def test_records_of_instances(tmp_path: Path, write: Callable[[FolderRecords], None]) -> None:
    fence = Fence()
    logs = FolderLogs(tmp_path, SystemClock(), bytes_max=1024, past_max=5)
    records = FolderRecords(tmp_path, logs, fence)
    records.load()
    records.save_epoch(1)
    records.save_group(GROUP)
    records.save_instance(INSTANCE)
    before = FolderRecords(tmp_path, logs).load()
    fence.open = False
    with pytest.raises(Fenced):
        write(records)
    assert FolderRecords(tmp_path, logs).load() == before
    fence.open = True
    write(records)
    if write.__code__.co_names[0] != "save_next_port":
        assert FolderRecords(tmp_path, logs).load() != before


async def test_metrics(tmp_path: Path) -> None:
    fence, clock = Fence(), SystemClock()
    metrics = SqliteMetrics(Settings(tmp_path), clock, fence)
    fence.open = False
    second = int(clock.now())
    report = Report("run", 1, float(second), 0.0, (Summary("g", "a:1", second, invocations=3),))
    with pytest.raises(Fenced):
        await metrics.record(report)
    with pytest.raises(Fenced):
        await metrics.close()  # it would store what waits
    again = SqliteMetrics(Settings(tmp_path), clock)
    assert await again.record(report), "it was not stored before"
    await again.close()


async def test_the_room_of_metrics_is_given_back_behind_the_fence(tmp_path: Path) -> None:
    fence, clock = Fence(), SystemClock()
    metrics = SqliteMetrics(Settings(tmp_path), clock, fence)
    metrics._file.connection.execute("CREATE TABLE gone (body BLOB)")
    metrics._file.connection.executemany("INSERT INTO gone VALUES (?)", [(b"x" * 4000,)] * 2500)
    metrics._file.connection.execute("DROP TABLE gone")
    (before,) = metrics._file.connection.execute("PRAGMA page_count").fetchone()
    fence.open = False
    with pytest.raises(Fenced):
        metrics._expiry.give_back_pages()
    assert metrics._file.connection.execute("PRAGMA page_count").fetchone() == (before,)
    fence.open = True
    await metrics.expire(clock.now())
    (after,) = metrics._file.connection.execute("PRAGMA page_count").fetchone()
    assert after < before - 900
    await metrics.close()


async def once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def test_an_upload_that_wakes_after_another_has_taken_over_leaves_the_object_that_was(tmp_path: Path) -> None:
    """The successor has removed what was half-written; to name it now would lose what it replaces."""
    fence = Fence()
    first = FolderObjects(tmp_path, RandomIds(), 1000, fence=fence)
    await first.create_bucket("models", 1.0)
    await first.put("models", "v1", once(b"kept"), 1.0)
    successors: list[FolderObjects] = []

    async def stopped() -> AsyncIterator[bytes]:
        yield b"new"
        successors.append(FolderObjects(tmp_path, RandomIds(), 1000))
        fence.open = False

    with pytest.raises(Fenced):
        await first.put("models", "v1", stopped(), 2.0)
    for change in (first.delete("models", "v1"), first.create_bucket("other", 2.0), first.delete_bucket("models")):
        with pytest.raises(Fenced):
            await change
    (second,) = successors
    async with second.open("models", "v1") as found:
        assert b"".join([part async for part in found.read()]) == b"kept"
    assert [name for name, _ in await second.buckets()] == ["models"]
    first.close()
    second.close()
