"""Interpreters are asked what they are by running them, few at a time and once for all who ask."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bannister.clock import SystemClock
from bannister.errors import Invalid
from bannister.instances import interpreters as module
from bannister.instances import process
from bannister.instances.host import Unprepared
from bannister.instances.interpreters import ASKED_PARALLEL_MAX, Interpreters
from bannister.settings import Settings

pytestmark = pytest.mark.real
PATH = os.environ["PATH"]
#: Says how it runs, waits while there is a gate, and answers beside other things.
ASKED = """#!/bin/sh
echo "$(ps -o ni= -p $$)" >> {folder}/asked
while [ -e {folder}/gate ]; do sleep 0.02; done
exec {python} -c 'import sys; print("hello"); print(\"\"\"{answer}\"\"\"); print("[]"); print("bye", file=sys.stderr)'
"""
ANSWER = '{"version": "3.11", "platform": "linux", "packages": ["tiny-1.0.dist-info"], "has_pip": false}'


@pytest.fixture
def interpreters(tmp_path: Path) -> Interpreters:
    return Interpreters(
        Settings(tmp_path, startup_niceness=7, environment_check_seconds=0.05), SystemClock(), lambda: None
    )


def make(folder: Path, name: str, answer: str = ANSWER) -> str:
    script = folder / name
    script.write_text(ASKED.format(folder=folder, python=sys.executable, answer=answer))
    script.chmod(0o700)
    return str(script)


def asked(folder: Path) -> list[int]:
    file = folder / "asked"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_this_interpreter_says_what_it_is(interpreters: Interpreters) -> None:
    found = await interpreters.described(sys.executable, PATH)
    assert (found.path, found.version) == (sys.executable, sys.version)
    assert any(name.startswith("msgspec-") for name in found.packages)
    with pytest.raises(Invalid, match="There is no interpreter 'nosuch'"):
        await interpreters.described("nosuch", PATH)


async def test_all_who_ask_meanwhile_get_one_answer_and_the_next_a_new_one(
    interpreters: Interpreters, tmp_path: Path
) -> None:
    python = make(tmp_path, "python")
    found = await asyncio.gather(*(interpreters.described(python, PATH) for _ in range(8)))
    assert {(one.path, one.version, one.packages, one.has_pip) for one in found} == {
        (python, "3.11", ("tiny-1.0.dist-info",), False)
    }
    assert len(asked(tmp_path)) == 1
    await interpreters.described(python, PATH)
    assert len(asked(tmp_path)) == 2, "its packages may have changed"
    assert not Settings(tmp_path).environments_dir.exists(), "nothing is written: the disk may be full"


async def test_few_are_asked_at_a_time_at_low_priority(interpreters: Interpreters, tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    asking = [
        asyncio.create_task(interpreters.described(make(tmp_path, f"python{number}"), PATH)) for number in range(6)
    ]
    await eventually(lambda: len(asked(tmp_path)) >= ASKED_PARALLEL_MAX)
    await asyncio.sleep(0.3)  # time in which a third could start
    assert len(asked(tmp_path)) == ASKED_PARALLEL_MAX
    leaders = [pid for pid in process.marked(tmp_path) if process.leads_session(pid)]
    assert len(leaders) == ASKED_PARALLEL_MAX
    for pid in leaders:  # nobody may raise what was lowered already, unless privileged
        assert os.getpriority(os.PRIO_PROCESS, pid) in (7, max(mine, 7))
    (tmp_path / "gate").unlink()
    assert len(await asyncio.gather(*asking)) == 6


async def test_one_that_nobody_waits_for_is_ended(interpreters: Interpreters, tmp_path: Path) -> None:
    (tmp_path / "gate").touch()
    asking = [asyncio.create_task(interpreters.described(make(tmp_path, "python"), PATH)) for _ in range(2)]
    await eventually(lambda: asked(tmp_path))
    asking[0].cancel()
    await asyncio.wait([asking[0]])
    assert process.marked(tmp_path), "the other still waits"
    asking[1].cancel()
    await asyncio.wait([asking[1]])
    await eventually(lambda: process.marked(tmp_path) == {})  # what was killed needs the processor to end


async def test_one_that_does_not_answer_ends_with_a_reason(
    interpreters: Interpreters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS_MAX", 0.3)
    (tmp_path / "gate").touch()
    with pytest.raises(Unprepared, match=r"python does not answer within 0\.3 s"):
        await interpreters.described(make(tmp_path, "python"), PATH)
    await eventually(lambda: process.marked(tmp_path) == {})  # what was killed needs the processor to end
    (tmp_path / "gate").unlink()
    monkeypatch.setattr(module, "ANSWER_SECONDS_MAX", 60.0)
    with pytest.raises(Unprepared, match="cannot install") as caught:
        await interpreters.described(make(tmp_path, "other", "no answer"), PATH)
    assert "no answer" in caught.value.lines
    monkeypatch.setattr(module, "ANSWER_BYTES_MAX", 10)
    with pytest.raises(Unprepared, match="prints without end"):
        await interpreters.described(make(tmp_path, "talker"), PATH)
