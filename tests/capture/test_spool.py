"""What is written stays written, in whole lines; what does not fit is refused with its reason."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import pytest

from bannister.capture.folding import Counts
from bannister.capture.spool import BUCKET_FULL, DISK_FULL, SPOOL_FULL, GivenUp, Spool
from bannister.domain.capture.spooled import OPEN, READY, UNDELIVERED, UNREADABLE
from bannister.domain.comparison.report import CaptureCount, Counted
from bannister.settings import Settings

GIB = 2**30


def spool(tmp_path: Path, run: str = "r", free: int = GIB, **settings: object) -> Spool:
    made = Spool(dataclasses.replace(Settings(tmp_path), **settings), run, lambda _: free)  # type: ignore[arg-type]
    made.recover()
    return made


def files(tmp_path: Path, ending: str) -> list[list[str]]:
    return [path.read_text().splitlines() for path in sorted((tmp_path / "capture").glob(f"*{ending}"))]


def test_a_file_for_each_destination_and_hour_is_finished_by_age_size_and_end(tmp_path: Path) -> None:
    made = spool(tmp_path, capture_file_bytes_max=160)
    assert made.write("b", "e/v/1/", b'{"a":1}\n', 1000.0, 0.0) is None
    assert made.write("b", "e/v/2/", b'{"a":2}\n', 1000.0, 5.0) is None
    assert made.write("b", "e/v/1/", b'{"a":3}\n', 1000.0, 5.0) is None
    made.rotate(10.0)
    [[head, *lines]] = files(tmp_path, READY)
    assert json.loads(head)["bucket"] == "b"
    assert json.loads(head)["key"].startswith("e/v/1/16-40-000-")
    assert lines == ['{"a":1}', '{"a":3}']
    made.write("b", "e/v/3/", b"x" * 200 + b"\n", 1000.0, 11.0)
    assert len(files(tmp_path, READY)) == 2, "at its size"
    made.close()
    assert len(files(tmp_path, READY)) == 3
    assert files(tmp_path, OPEN) == []


def test_what_a_killed_process_left_is_finished_without_half_a_line(tmp_path: Path) -> None:
    made = spool(tmp_path)
    made.write("b", "p/", b'{"a":1}\n', 1000.0, 0.0)
    [path] = (tmp_path / "capture").glob(f"*{OPEN}")
    with path.open("ab") as file:
        file.write(b'{"half')
    after = spool(tmp_path, "another")
    [[_, *lines]] = files(tmp_path, READY)
    assert lines == ['{"a":1}']
    after.write("b", "p/", b"{}\n", 1000.0, 0.0)
    after.close()
    assert len(files(tmp_path, READY)) == 2, "no name is used twice"


def test_a_full_spool_and_a_full_disk_are_told_apart(tmp_path: Path) -> None:
    made = spool(tmp_path, capture_spool_bytes_max=300)
    refusals = [made.write("b", "p/", b"x" * 49 + b"\n", 1000.0, float(second)) for second in range(10)]
    assert refusals[0] is None
    assert refusals[-1] == SPOOL_FULL
    assert sum(path.stat().st_size for path in (tmp_path / "capture").iterdir()) <= 300
    made.close()
    for path in (tmp_path / "capture").iterdir():
        path.unlink()
    assert made.write("b", "p/", b"{}\n", 1000.0, 20.0) is None, "there is room again"
    scarce = spool(tmp_path, "scarce", free=1)
    assert scarce.write("b", "p/", b"{}\n", 1000.0, 0.0) == DISK_FULL


def test_a_write_that_fails_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = spool(tmp_path)
    made.write("b", "p/", b'{"a":1}\n', 1000.0, 0.0)
    import os

    whole = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: whole(descriptor, line[:3]))
    assert made.write("b", "p/", b'{"a":2}\n', 1000.0, 0.0) == DISK_FULL
    monkeypatch.setattr(os, "write", whole)
    assert made.write("b", "p/", b'{"a":3}\n', 1000.0, 0.0) is None
    made.close()
    [[_, *lines]] = files(tmp_path, READY)
    assert lines == ['{"a":1}', '{"a":3}']


def test_a_bucket_that_takes_nothing_leaves_room_for_the_others(tmp_path: Path) -> None:
    made = spool(tmp_path, capture_spool_bytes_max=1000, capture_spool_bucket_bytes_max=300)
    line = b"x" * 49 + b"\n"
    stuck = [made.write("stuck", f"p/{number}/", line, 1000.0, 0.0) for number in range(20)]
    assert (stuck[0], stuck[-1]) == (None, BUCKET_FULL)
    assert made.write("other", "p/", line, 1000.0, 0.0) is None
    made.close()
    after = spool(tmp_path, "another", capture_spool_bytes_max=1000, capture_spool_bucket_bytes_max=300)
    assert after.write("stuck", "p/", line, 1000.0, 0.0) == BUCKET_FULL, "what an earlier process wrote counts too"
    assert after.write("other", "p/", line, 1000.0, 0.0) is None
    for path in (tmp_path / "capture").glob(f"*{READY}"):
        path.unlink()
    assert after.write("stuck", "p/", line, 1000.0, 1.0) is None, "there is room again"


def test_what_was_given_up_is_counted_and_removed(tmp_path: Path) -> None:
    made = spool(tmp_path)
    for number in range(3):
        made.write("b", "here/e/v/2026/01/02/03/", b'{"a":%d}\n' % number, 1000.0, 0.0)
    made.close()
    [path] = (tmp_path / "capture").iterdir()
    path.rename(path.with_suffix(UNDELIVERED))
    (tmp_path / "capture" / f"0{UNREADABLE}").write_text("hello\nworld\n")
    removed = made.remove_given_up(1.0)
    assert {(one.endpoint, one.variant): count for one, count in removed.items()} == {("e", "v"): 3, ("", ""): 1}
    assert list((tmp_path / "capture").iterdir()) == []
    assert not made.remove_given_up(2.0)
    [count, other] = _counts(removed)
    assert (count.what, count.endpoint, count.variant, count.count) == (Counted.DROPPED, "e", "v", 3)
    assert other.reason != count.reason


def _counts(removed: Counter[GivenUp]) -> list[CaptureCount]:
    counts = Counts()
    for one, records in removed.items():
        counts.add_given_up(one, records)
    return sorted(counts.take(1), key=lambda one: one.endpoint, reverse=True)


def test_more_variants_than_descriptors_have_one_file_each(tmp_path: Path) -> None:
    made = spool(tmp_path)
    before = len(list(Path("/dev/fd").iterdir()))
    for number in range(3):
        for variant in range(250):
            assert made.write("b", f"e/{variant}/", b'{"a":%d}\n' % number, 1000.0, 0.0) is None
    assert len(list(Path("/dev/fd").iterdir())) - before <= 101
    assert files(tmp_path, READY) == []
    made.rotate(10.0)
    written = files(tmp_path, READY)
    assert len(written) == 250
    assert all(lines == ['{"a":0}', '{"a":1}', '{"a":2}'] for _, *lines in written)
    assert len(list(Path("/dev/fd").iterdir())) <= before
