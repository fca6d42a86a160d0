"""A file that cannot grow: the reserve is given up, and the commit that had to be made is made."""

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bannister.disk import DiskReserve
from bannister.errors import Unavailable
from bannister.state.sqlite import SqliteState
from bannister.state.store import Record


class Quota:
    """Stands for the disk: the file may have so many pages, and a reserve of some more."""

    def __init__(self) -> None:
        self.reserve = 3000
        self.state: SqliteState | None = None

    def full(self) -> None:
        assert self.state is not None
        (pages,) = self.state._connection.execute("PRAGMA page_count").fetchone()
        self.state._connection.execute(f"PRAGMA max_page_count = {pages}")

    def release(self) -> bool:
        assert self.state is not None
        if not self.reserve:
            return False
        (pages,) = self.state._connection.execute("PRAGMA page_count").fetchone()
        self.state._connection.execute(f"PRAGMA max_page_count = {pages + self.reserve}")
        self.reserve = 0
        return True


def decision(number: int) -> list[Record]:
    return [Record(float(number), "endpoint/e", "deployment.decided", {"evidence": "x" * 20_000})]


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[Quota]:
    quota = Quota()
    quota.state = SqliteState(tmp_path / "state.db", quota)
    quota.state.keep_room()
    yield quota
    await quota.state.close()


async def _fill(state: SqliteState) -> int:
    """Use up the room inside the file; the number of the last decision that fitted."""
    number = await state.sequence()
    while True:
        try:
            number = await state.commit(records=decision(number + 1))
        except Unavailable:
            return number


async def test_a_full_disk_is_no_matter_while_there_is_room_in_the_file(disk: Quota) -> None:
    assert disk.state is not None
    disk.full()
    for number in range(1, 101):
        assert await disk.state.commit(records=decision(number)) == number
    assert disk.reserve == 3000, "nothing had to be given up"


@pytest.mark.parametrize("killed", [False, True], ids=["", "also after a process was killed while it made some"])
async def test_room_that_was_used_is_claimed_again(disk: Quota, *, killed: bool) -> None:
    assert disk.state is not None
    if killed:
        disk.state._connection.execute("CREATE TABLE room (filler BLOB)")
    for number in range(1, 181):
        await disk.state.commit(records=decision(number))
    disk.state.keep_room()
    disk.full()
    for number in range(181, 281):
        assert await disk.state.commit(records=decision(number)) == number
    assert disk.reserve == 3000


async def test_a_commit_takes_the_reserve_and_many_more_fit(disk: Quota) -> None:
    assert disk.state is not None
    reserve, disk.reserve = disk.reserve, 0
    disk.full()
    last = await _fill(disk.state)
    disk.reserve = reserve
    assert await disk.state.commit(records=decision(last + 1)) == last + 1
    assert disk.reserve == 0
    # The room was made inside the file: from now on nobody else can take it.
    disk.full()
    for number in range(last + 2, last + 102):
        assert await disk.state.commit(records=decision(number)) == number
    assert [entry.sequence for entry in await disk.state.journal()] == list(range(1, last + 102))


async def test_without_a_reserve_nothing_is_written_and_the_store_goes_on(disk: Quota) -> None:
    assert disk.state is not None
    disk.reserve = 0
    disk.full()
    last = await _fill(disk.state)
    with pytest.raises(Unavailable, match="full"):
        await disk.state.commit(records=decision(last + 1))
    assert await disk.state.sequence() == last
    disk.reserve = 3000
    assert await disk.state.commit(records=decision(last + 1)) == last + 1


def test_the_reserve_is_real_and_comes_and_goes(tmp_path: Path) -> None:
    reserve = DiskReserve(tmp_path / "reserve", 1024**2, 1)
    with pytest.raises(Unavailable, match="is full"):
        reserve.check()
    assert reserve.take()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 1024**2
    reserve.check()
    assert reserve.release()
    assert not reserve.release()
    with pytest.raises(Unavailable, match="Rollbacks and deletions go on"):
        reserve.check()
    assert reserve.take()


@pytest.mark.parametrize("cannot", ["system", "file system", "it keeps no room"])
def test_the_reserve_is_real_also_where_blocks_cannot_be_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cannot: str
) -> None:
    """On macOS, on file systems that know no such thing, and on ZFS, which says that it has done it."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    if cannot == "system":
        monkeypatch.delattr(os, "posix_fallocate")
    elif cannot == "it keeps no room":
        monkeypatch.setattr(os, "posix_fallocate", lambda file, begin, size: os.ftruncate(file, begin + size))
    else:
        monkeypatch.setattr(os, "posix_fallocate", refuse)
    size = 2 * 1024**2 + 4096
    reserve = DiskReserve(tmp_path / "reserve", size, 1)
    assert reserve.take()
    found = (tmp_path / "reserve").stat()
    assert found.st_size == size
    assert found.st_blocks * 512 >= size
    assert reserve.release()


def test_a_reserve_for_which_the_disk_has_no_room_is_not_tried_in_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert not DiskReserve(tmp_path / "reserve", 1024**2, 1).take()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_about_to_be_full_is_spared(tmp_path: Path) -> None:
    reserve = DiskReserve(tmp_path / "reserve", 1024**2, 1024**5)
    assert not reserve.take()
    with pytest.raises(Unavailable, match="is full"):
        reserve.check()


def test_a_sparse_file_is_no_reserve(tmp_path: Path) -> None:
    with (tmp_path / "reserve").open("wb") as file:
        file.truncate(1024**2)
    reserve = DiskReserve(tmp_path / "reserve", 1024**2, 1)
    assert not reserve.held
    assert reserve.take()
    assert reserve.held
