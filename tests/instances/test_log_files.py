"""The files of a log: positions stay, whatever is moved; times are those of the looks; what is cut off is mended."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.operations.hand_clock import HandClock

from bannister.clock import SystemClock
from bannister.instances import log
from bannister.instances.folder_logs import FolderLogs
from bannister.instances.host import InstanceRecord
from bannister.instances.logs import PART_BYTES_MAX, LogLine
from bannister.instances.records import FolderRecords


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log"


def say(file: Path, text: str) -> None:
    with file.open("a") as target:
        target.write(text)


def lines(file: Path, position: int = 0, since: float = 0.0, bytes_max: int = PART_BYTES_MAX) -> list[LogLine]:
    times, found, more = log.read_times(file), list[LogLine](), True
    while more:
        part = log.forward(file, times, position, since, bytes_max, ended=False)
        found += part.lines
        position, more = part.end, part.more
    return found


def texts(found: list[LogLine] | tuple[LogLine, ...]) -> list[tuple[float, str]]:
    return [(line.at, line.text) for line in found]


def test_what_could_not_be_added_whole_is_not_there(tmp_path: Path) -> None:
    """It comes again with the next copy, for as long as a disk is full."""
    logs = FolderLogs(tmp_path, SystemClock(), bytes_max=1000, past_max=5)
    FolderRecords(tmp_path, logs).save_instance(InstanceRecord("a1", "group", 1, "endpoint", "variant"))
    logs.copy("a1", "c-1", b"one\n", (7, 1))
    hindrance = logs._copied_file("a1").with_name(f"{logs._copied_file('a1').name}.partial")
    hindrance.mkdir()
    for _ in range(3):
        with pytest.raises(OSError, match="directory"):
            logs.copy("a1", "c-1", b"two\nthree\n", (9, 1))
    assert (logs.file("a1").read_bytes(), logs.copied_to("a1", "c-1")) == (b"one\n", (7, 1))
    hindrance.rmdir()
    logs.copy("a1", "c-1", b"two\nthree\n", (9, 1))
    assert (logs.file("a1").read_bytes(), logs.copied_to("a1", "c-1")) == (b"one\ntwo\nthree\n", (9, 1))


def test_a_line_has_the_time_of_the_first_look_that_saw_it_whole(file: Path) -> None:
    noted = log.mark(file, None, 1.0)
    say(file, "one\ntw")
    noted = log.mark(file, noted, 2.0)
    assert texts(lines(file)) == [(2.0, "one")]
    say(file, "o\n\nthree\n")
    noted = log.mark(file, noted, 3.0)
    log.mark(file, noted, 4.0)
    assert texts(lines(file)) == [(2.0, "one"), (3.0, "two"), (3.0, "three")]
    assert texts(lines(file, since=2.5)) == [(3.0, "two"), (3.0, "three")]
    assert lines(file, since=3.5) == []


def test_an_unfinished_line_is_a_line_once_nobody_can_finish_it(file: Path, tmp_path: Path) -> None:
    say(file, "whole\nunfinished")
    log.mark(file, None, 1.0)
    log.join(file, tmp_path / "past.log")
    times = log.read_times(tmp_path / "past.log")
    part = log.forward(tmp_path / "past.log", times, 0, 0.0, 100, ended=True)
    assert (texts(part.lines), part.more) == ([(1.0, "whole"), (1.0, "unfinished")], False)
    assert log.backward(tmp_path / "past.log", times, None, 100, ended=True).lines == part.lines
    assert texts(log.backward(file, log.read_times(file), None, 100, ended=False).lines) == [(1.0, "whole")]


def test_bounding_moves_content_and_no_position(file: Path, tmp_path: Path) -> None:
    noted: log.Noted | None = None
    for number in range(30):
        say(file, f"line {number:04}\n")
        noted = log.mark(file, noted, float(number))
        if number % 7 == 6:
            noted = log.bound(file, 100) or noted
    found = lines(file)
    assert log.size(file) <= 100
    assert len(found) >= 5
    for line in found:
        number = int(line.text[-4:]) if line.text.startswith("line ") else None
        if number is not None:  # the first line may be cut
            assert (line.at, line.position, line.end) == (float(number), number * 10, number * 10 + 10)
    assert found[-1].text == "line 0029"
    assert lines(file, position=250) == [line for line in found if line.position >= 250]
    log.join(file, tmp_path / "past.log")
    assert lines(tmp_path / "past.log") == found


def test_a_mark_that_was_cut_off_is_written_again(file: Path) -> None:
    say(file, "one\n")
    log.mark(file, None, 1.0)
    with log.times_file(file).open("ab") as target:
        target.write(b"\x01\x02\x03")
    say(file, "two\n")
    noted = log.mark(file, None, 2.0)
    say(file, "three\n")
    log.mark(file, noted, 3.0)
    assert texts(lines(file)) == [(1.0, "one"), (2.0, "two"), (3.0, "three")]


def test_a_file_that_somebody_emptied_goes_on_behind_its_end(file: Path) -> None:
    say(file, "a long first line\n")
    noted = log.mark(file, None, 1.0)
    file.write_text("new\n")
    log.mark(file, noted, 2.0)
    (line,) = lines(file)
    assert (line.text, line.at, line.position) == ("new", 2.0, 18)


def test_marks_are_bounded_and_the_newest_stay_exact(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MARKS_MAX", 64)
    noted = None
    for number in range(500):
        say(file, f"{number}\n")
        noted = log.mark(file, noted, float(number))
        assert noted.marks <= 64
    found = lines(file)
    assert len(log.read_times(file).positions) <= 64
    assert [line.text for line in found] == [str(number) for number in range(500)]
    assert [line.at for line in found[-30:]] == [float(number) for number in range(470, 500)]
    assert all(earlier.at <= later.at for earlier, later in itertools.pairwise(found))
    assert all(line.at >= int(line.text) for line in found), "no line is said to be older than it is"


def test_a_line_longer_than_a_part_is_divided(file: Path) -> None:
    say(file, "x" * 250 + "\nnext\n")
    log.mark(file, None, 1.0)
    assert [line.text for line in lines(file, bytes_max=100)] == ["x" * 100, "x" * 100, "x" * 50, "next"]
    times = log.read_times(file)
    assert [line.text for line in log.backward(file, times, None, 100, ended=False).lines] == ["next"]
    assert log.backward(file, times, 251, 100, ended=False).lines[0].text == "x" * 99


@settings(max_examples=150, deadline=None)
@given(
    pieces=st.lists(st.text(st.sampled_from("ab\n\r\u00e9"), max_size=12), max_size=12),
    bounds=st.sets(st.integers(0, 11)),
    part=st.integers(8, 40),
)
def test_forward_and_backward_give_the_same_lines(tmp_path_factory, pieces, bounds, part) -> None:
    file = tmp_path_factory.mktemp("log") / "log"
    noted = None
    for number, piece in enumerate(pieces):
        say(file, piece)
        noted = log.mark(file, noted, float(number))
        if number in bounds:
            noted = log.bound(file, 40) or noted
    # A line that is not finished and as long as a part is told as one that is longer; that is another test's.
    assume(not file.exists() or len(file.read_bytes().rpartition(b"\n")[2]) < 64)
    whole = lines(file)
    assert lines(file, bytes_max=64) == whole
    times = log.read_times(file)
    found: list[LogLine] = []
    at, more = None, True
    while more:
        back = log.backward(file, times, at, 64, ended=False)
        found = [*back.lines, *found]
        at, more = back.start, back.more
    assert found == whole
    for since in range(len(pieces)):
        assert lines(file, since=float(since)) == [line for line in whole if line.at >= since]


def test_each_look_is_later_than_the_one_before(tmp_path: Path) -> None:
    clock = HandClock()
    logs = FolderLogs(tmp_path, clock, bytes_max=1000, past_max=5)
    for instance in ("0a", "0b"):
        (tmp_path / "running" / instance).mkdir(parents=True)
    for number in range(3):
        for instance in ("0a", "0b"):
            say(logs.file(instance), f"{number}\n")
        if number == 2:
            clock.time -= 3600
        logs._tend()
    expected = [HandClock.time, HandClock.time + 0.001, HandClock.time + 0.002]
    for instance in ("0a", "0b"):
        assert [line.at for line in lines(logs.file(instance))] == pytest.approx(expected, abs=1e-5)


def test_a_look_that_is_under_way_leaves_nothing_of_an_instance_that_goes(tmp_path: Path) -> None:
    logs = FolderLogs(tmp_path, SystemClock(), bytes_max=1000, past_max=5)
    records = FolderRecords(tmp_path, logs)
    records.load()
    gone = threading.Event()

    def look() -> None:
        while not gone.is_set():
            logs._tend()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for number in range(100):
            records.save_instance(InstanceRecord(f"{number:04x}", "group", number, "endpoint", "variant"))
            records.forget_instance(f"{number:04x}")
    finally:
        gone.set()
        looking.join()
    assert list((tmp_path / "running").iterdir()) == []
