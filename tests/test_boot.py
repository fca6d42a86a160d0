"""Which run of the machine this is, as the launcher and the instances name it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from bannister import boot
from bannister.instances import process
from bannister.launcher import processes


@pytest.fixture
def on_macos(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, ...]]]:
    """What `sysctl` was asked for; a boot that is known from before is forgotten, and what is found out here, too."""
    asked: list[tuple[str, ...]] = []

    def run(command: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout=f"{command[-1]} of this boot\n")

    monkeypatch.setattr(boot, "_LINUX", False)
    monkeypatch.setattr(subprocess, "run", run)
    boot.boot_id.cache_clear()
    yield asked
    boot.boot_id.cache_clear()


def test_on_macos_it_is_what_no_clock_moves(on_macos: list[tuple[str, ...]]) -> None:
    assert boot.boot_id() == "kern.bootsessionuuid of this boot"
    assert boot.boot_id() == "kern.bootsessionuuid of this boot"
    assert len(on_macos) == 1, "it does not change while a process runs"


def test_the_launcher_and_the_instances_name_it_alike(on_macos: list[tuple[str, ...]]) -> None:
    mine = processes.identify(os.getpid()), process.identify(os.getpid())
    assert {one.boot for one in mine if one is not None} == {"kern.bootsessionuuid of this boot"}
    assert None not in mine
