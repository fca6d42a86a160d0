"""A program that runs for instances has ended with all that it started when it is not waited for any more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bannister.clock import SystemClock
from bannister.instances import process
from bannister.instances.program import Program, run
from bannister.settings import Settings

pytestmark = [pytest.mark.real, pytest.mark.alone]
#: More than a machine ends in the moment in which their leader's end is noticed.
CHILDREN = 30


@pytest.fixture
def busy() -> Iterator[None]:
    """All cores have something else to do."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for one in loops:
            one.kill()
            one.wait()


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize(("last_words", "status"), [("wait", None), ("exit 3", 3)])
async def test_nothing_is_left_of_a_program_that_ended(tmp_path: Path, last_words: str, status: int | None) -> None:
    script = f"for each in $(seq {CHILDREN}); do sleep 100 & done; echo; {last_words}"
    output = tmp_path / "output"
    given = Program(["/bin/sh", "-c", script], {"PATH": os.environ["PATH"]}, tmp_path, output, "one")
    settings = Settings(tmp_path, startup_niceness=19, environment_check_seconds=0.05)

    async def look() -> None:
        if status is None and output.read_text():
            raise TimeoutError

    try:
        assert await run(given, 60.0, look, settings, SystemClock(), lambda: None) == status
    except TimeoutError:
        assert status is None
    assert process.marked(tmp_path) == {}
