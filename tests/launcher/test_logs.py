from __future__ import annotations

from pathlib import Path

from bannister.launcher.logs import open_log, rotate, tail


def test_a_log_that_has_grown_is_moved_aside_while_it_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "part.log"
    with open_log(path) as log:
        log.write(b"old\n" * 100)
        rotate(path, bytes_max=100)
        log.write(b"new\n")
    assert path.read_bytes() == b"new\n"
    assert (tmp_path / "part.log.1").read_bytes() == b"old\n" * 100


def test_a_log_within_its_bound_or_missing_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "part.log"
    rotate(path, bytes_max=1)
    path.write_bytes(b"x" * 100)
    rotate(path, bytes_max=100)
    assert [each.name for each in tmp_path.iterdir()] == ["part.log"]


def test_the_tail_of_a_log_is_bounded_in_lines_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "part.log"
    assert tail(path, 3) == []
    path.write_text("\n".join(["first", "x" * 100_000, "one", "two"]))
    assert tail(path, 2) == ["one", "two"]
    assert len("".join(tail(path, 12))) <= 6000


def test_a_log_is_for_its_user_only(tmp_path: Path) -> None:
    with open_log(tmp_path / "part.log"):
        assert (tmp_path / "part.log").stat().st_mode & 0o777 == 0o600
