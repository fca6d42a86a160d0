"""Installing an artifact's requirements: what is to be installed for which interpreter, and the program that does it.

The program is `bannister.runtime.environment`, under the interpreter of the image (`bannister.instances.program` runs it).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bannister.clock import Clock
from bannister.domain.requirements import (
    Installer,
    Interpreter,
    build_variables,
    decisive_lines,
    environment_key,
    installer,
    is_editable,
    without_credentials,
)
from bannister.errors import Invalid, Unavailable
from bannister.instances import program
from bannister.instances.host import Unprepared
from bannister.instances.installer_environment import configuration, environment, named_texts, what_configures_pip
from bannister.instances.interpreters import ENVIRONMENT_PROGRAM, Interpreters
from bannister.settings import Settings

REQUIREMENTS: Final = "code/requirements.txt"

REQUIREMENTS_BYTES_MAX: Final = 1024 * 1024
#: What an installer may print; of what it printed, so much is searched for why it failed.
OUTPUT_BYTES_MAX: Final = 64 * 1024 * 1024
_SEARCHED_BYTES: Final = 1024 * 1024
#: How an installer says that a disk is full, in the system's words.
_NO_ROOM: Final = os.strerror(errno.ENOSPC)
#: Files that make a folder the sources of a package.
_OF_SOURCES: Final = frozenset(["pyproject.toml", "setup.py"])
#: Said before uv installs what pip, with its configuration, might have installed otherwise.
_IGNORED: Final = (
    "WARNING: {python} has no pip, so uv installs, and uv heeds nothing of pip's configuration ({ignored}): other indexes and "
    "constraints may count. Give it the same as UV_DEFAULT_INDEX, UV_INDEX, UV_CONSTRAINT, …, or install pip for that interpreter.\n"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an instance needs an environment for."""

    #: The folder of the unpacked artifact, named by the digest of its bytes.
    artifact: Path
    python: str
    #: The model's environment, over the image's.
    variables: Mapping[str, str]
    #: Programs are looked for here.
    path: str

    @property
    def requirements(self) -> Path:
        return self.artifact / REQUIREMENTS


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be installed, for which interpreter, and how the outcome is named."""

    key: str
    wanted: Wanted
    text: str
    interpreter: Interpreter
    #: All of the installer's environment.
    environment: Mapping[str, str]


async def planned(wanted: Wanted, interpreters: Interpreters) -> Plan:
    """Read the requirements and ask the interpreter what it is.

    Raises:
        Unprepared: The interpreter does not say.
        Invalid: The requirements cannot be read, or there is no such interpreter.
        OSError: The interpreter cannot be started.
    """
    text = await asyncio.to_thread(_read, wanted.requirements)
    interpreter = await interpreters.described(wanted.python, wanted.path)
    further = await asyncio.to_thread(named_texts, wanted.requirements)
    variables = build_variables([text, *further], wanted.variables)
    given = environment(wanted.path, variables)
    told = await asyncio.to_thread(configuration, given, interpreter.path, wanted.requirements)
    key = environment_key(text, wanted.artifact.name, interpreter, variables, told)
    return Plan(key, wanted, text, interpreter, given)


async def install(
    plan: Plan,
    folder: Path,
    output: Path,
    settings: Settings,
    clock: Clock,
    fence: Callable[[], None],
    check_room: Callable[[], Awaitable[None]],
) -> None:
    """Make the environment in a folder that is not there yet, printing to `output`; all of the program has ended when this returns.

    `check_room` is called every `environment_check_seconds` and at the end; what it raises ends the program.

    Raises:
        Unprepared: The installer failed, took too long or printed too much.
        Unavailable: A disk that it writes to is full.
        OSError: It cannot be started.
    """
    temporary = folder / "tmp"
    temporary.mkdir(parents=True)
    given = {**plan.environment, "TMPDIR": str(temporary)}
    requirements = await asyncio.to_thread(_requirements_to_install, plan.wanted, temporary / "artifact")
    command = _command(plan, folder, requirements, given, output)
    started = program.Program(command, given, requirements.parent, output, folder.name)

    async def look() -> None:
        await check_room()
        if output.stat().st_size > OUTPUT_BYTES_MAX:
            raise Unprepared(f"{REQUIREMENTS} cannot be installed, because its installer prints without end.")

    allowed = settings.environment_build_timeout_seconds
    try:
        status = await program.run(started, allowed, look, settings, clock, fence)
    except TimeoutError:
        raise Unprepared(
            f"{REQUIREMENTS} was not installed within {allowed:g} seconds (environment_build_timeout_seconds).",
            _last_lines(output)[-settings.failure_log_lines :],
        ) from None
    if status != 0:
        lines = decisive_lines(_last_lines(output), settings.failure_log_lines)
        if (full := next((line.strip() for line in lines if _NO_ROOM in line), None)) is not None:
            free = shutil.disk_usage(folder).free // 2**20
            raise Unavailable(
                f"{REQUIREMENTS} cannot be installed, because a disk is full ({free} MiB are free in {folder.parent}): {full}"
            )
        why = f"{REQUIREMENTS} cannot be installed, the installer ended with exit status {status}."
        raise Unprepared(why, lines)
    shutil.rmtree(temporary, ignore_errors=True)


def _requirements_to_install(wanted: Wanted, folder: Path) -> Path:
    """The artifact's own; where packages may be built from sources beside them, those of a copy of its code, made in `folder`.

    A build leaves files among its sources, and two at once would be in each other's way. What is to be used where it lies is built there.
    """
    code = wanted.requirements.parent
    has_sources = any(not _OF_SOURCES.isdisjoint(files) for _, _, files in os.walk(code))
    if not has_sources or any(map(is_editable, [_read(wanted.requirements), *named_texts(wanted.requirements)])):
        return wanted.requirements
    folder.mkdir()
    for each in wanted.artifact.iterdir():
        if each != code:  # a model may be large: only the code is copied
            (folder / each.name).symlink_to(each.absolute())
    try:
        shutil.copytree(code, folder / code.name, symlinks=True)
    except shutil.Error as error:  # all that went wrong, as text
        if _NO_ROOM in str(error):
            raise OSError(errno.ENOSPC, _NO_ROOM) from error
        raise
    return folder / wanted.requirements.relative_to(wanted.artifact)


def _command(plan: Plan, folder: Path, requirements: Path, given: Mapping[str, str], output: Path) -> list[str]:
    uv = shutil.which("uv", path=plan.wanted.path)
    ignored = what_configures_pip(given, plan.interpreter.path)
    by = installer(plan.text, plan.interpreter, has_uv=uv is not None, pip_is_configured=bool(ignored))
    command = [plan.interpreter.path, str(ENVIRONMENT_PROGRAM), "build", str(folder), str(requirements)]
    if uv is None or by is not Installer.UV:
        return command
    if ignored:
        output.write_text(_IGNORED.format(python=plan.interpreter.path, ignored=", ".join(ignored)))
    return [*command, uv]


def _read(requirements: Path) -> str:
    try:
        with requirements.open("rb") as source:
            content = source.read(REQUIREMENTS_BYTES_MAX + 1)
    except OSError as error:
        raise Invalid(f"{REQUIREMENTS} cannot be read: {error.strerror}.") from error
    if len(content) > REQUIREMENTS_BYTES_MAX:
        raise Invalid(f"{REQUIREMENTS} is longer than {REQUIREMENTS_BYTES_MAX} bytes.")
    return content.decode("utf-8", "surrogateescape")


def _last_lines(output: Path) -> list[str]:
    """Of what was printed, for people to read: what an installer starts (git) may name an address with all that is in it."""
    with contextlib.suppress(OSError), output.open("rb") as source:
        source.seek(max(0, output.stat().st_size - _SEARCHED_BYTES))
        return without_credentials(source.read().decode(errors="replace")).splitlines()
    return []
