"""The command line as users run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bannister

BANNISTER = Path(sys.executable).with_name("bannister")

pytestmark = pytest.mark.real


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BANNISTER, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )


def test_version() -> None:
    answer = run("--version")
    assert (answer.returncode, answer.stdout) == (0, f"bannister {bannister.__version__}\n")


@pytest.mark.parametrize("arguments", [("--help",), ("-h",), ()], ids=["--help", "-h", "nothing"])
def test_help_says_how_to_point_clients_at_it(arguments: tuple[str, ...]) -> None:
    answer = run(*arguments)
    shown = answer.stdout or answer.stderr
    assert "AWS_ENDPOINT_URL=http://127.0.0.1:3594" in shown
    assert "bannister up" in shown
    assert max(len(line) for line in shown.splitlines()) <= 100


def test_help_of_up_names_its_defaults() -> None:
    shown = run("up", "--help").stdout
    assert "3594" in shown
    assert "~/.local/share/bannister" in shown


@pytest.mark.parametrize("port", ["0", "65536", "-1"])
def test_a_number_that_is_not_a_port_is_refused_before_anything_is_made(tmp_path: Path, port: str) -> None:
    answer = run("up", "--port", port, "--data-dir", str(tmp_path / "data"))
    assert answer.returncode == 2
    assert answer.stderr == f"The port must be between 1 and 65535, not {port}.\n"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", [("up",), ("backup", "file"), ("restore", "file")], ids=lambda command: command[0])
def test_an_empty_data_directory_is_not_the_current_one(command: tuple[str, ...]) -> None:
    answer = run(*command, "--data-dir", "")
    assert answer.returncode == 2
    assert answer.stderr == "--data-dir is empty: name a directory, or leave the option out.\n"


def test_a_rollback_without_a_reason_is_refused_before_anyone_is_asked() -> None:
    answer = run("rollback", "flights", "--reason", " ", AWS_ENDPOINT_URL="http://127.0.0.1:1")
    assert answer.returncode == 2
    assert answer.stderr == "Say why, with --reason: it is what those who ask later will read.\n"


def test_a_setting_that_does_not_exist_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "bannister.toml").write_text("prot = 4000\n")
    answer = run("up", "--data-dir", str(tmp_path))
    assert answer.returncode == 2
    assert answer.stderr == f"{tmp_path}/bannister.toml: there is no setting called 'prot'; the closest is 'port'.\n"


@pytest.mark.parametrize("command", [("up",), ("backup", "file")], ids=lambda command: command[0])
def test_a_variable_names_the_data_directory_where_no_option_does(tmp_path: Path, command: tuple[str, ...]) -> None:
    named = tmp_path / "named"
    named.write_text("a file")
    (tmp_path / "file").write_text("another")
    answer = run(*command, BANNISTER_DATA_DIR=str(named))
    assert answer.returncode == 2
    assert str(named) in answer.stderr
    option = run(*command, "--data-dir", str(tmp_path / "file"), BANNISTER_DATA_DIR=str(named))
    assert option.returncode == 2
    assert str(named) not in option.stderr


def test_a_variable_names_the_directory_to_restore_to(tmp_path: Path) -> None:
    asked = run("restore", str(tmp_path / "none"))
    assert "--data-dir" in asked.stderr
    answer = run("restore", str(tmp_path / "none"), BANNISTER_DATA_DIR=str(tmp_path / "data"))
    assert answer.stderr == f"{tmp_path}/none does not exist.\n"


def test_a_variable_that_sets_nothing_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    answer = run("up", "--data-dir", str(tmp_path / "data"), BANNISTER_ALARM_CLEAR_TIMEOUT="6")
    assert answer.returncode == 2
    assert answer.stderr == (
        "environment variable BANNISTER_ALARM_CLEAR_TIMEOUT: there is no setting called 'alarm_clear_timeout'; "
        "the closest is 'alarm_clear_timeout_seconds'.\n"
    )
    assert not (tmp_path / "data").exists()


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.touch()
    answer = run("up", "--data-dir", str(file))
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"Cannot create {file}")
    assert "--data-dir" in answer.stderr


def test_no_part_of_the_server_is_imported_by_the_command_line() -> None:
    """What `up` imports delays everything that it starts."""
    code = "import sys, bannister.cli.main, bannister.launcher.up; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"asyncio", "botocore", "grpc", "http.client", "numpy", "rich", "starlette", "uvicorn"}
