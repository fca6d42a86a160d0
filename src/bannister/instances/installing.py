"""Installing an artifact's requirements: what is to be installed for which interpreter, and the program that does it.

The program is `bannister.runtime.environment`, under the interpreter of the image: a session of its own, at low priority, that carries the marks of an instance, so
that whatever of it is left behind is found and ended as any other stray.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from bannister.clock import Clock
from bannister.domain.requirements import (
    Installer,
    Interpreter,
    build_variables,
    decisive_lines,
    environment_key,
    installer,
)
from bannister.errors import Invalid
from bannister.instances import process
from bannister.instances.host import Unprepared
from bannister.settings import Settings

REQUIREMENTS: Final = "code/requirements.txt"
_PROGRAM: Final = Path(__file__).resolve().parent.parent / "runtime" / "environment.py"

REQUIREMENTS_BYTES_MAX: Final = 1024 * 1024
#: An interpreter says what it is within this long.
DESCRIBE_SECONDS_MAX: Final = 60.0
#: What an installer may print; of what it printed, so much is searched for why it failed.
OUTPUT_BYTES_MAX: Final = 64 * 1024 * 1024
_SEARCHED_BYTES: Final = 1024 * 1024
#: A killed process is gone at once, unless it hangs in the kernel.
_KILL_SECONDS_MAX: Final = 10.0

#: What an installer takes over from the control plane's environment: how to reach packages, and how to compile. No credentials of anything else,
#: because packages may run code of their own when they are installed.
_INHERITED: Final = frozenset(
    [
        "HOME",
        "LANG",
        "LC_ALL",
        "TZ",
        "LD_LIBRARY_PATH",
        "XDG_CONFIG_HOME",
        "XDG_CONFIG_DIRS",
        "XDG_CACHE_HOME",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "NETRC",
        "SSH_AUTH_SOCK",
        "CC",
        "CXX",
        "CFLAGS",
        "CXXFLAGS",
        "CPPFLAGS",
        "LDFLAGS",
        "CUDA_HOME",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
    ]
)
_INHERITED_PREFIXES: Final = ("PIP_", "UV_")
#: How pip talks, how patient it is and where it keeps what it fetched: nothing that another installer would have to know.
_OF_NO_CONSEQUENCE: Final = frozenset(
    [
        "PIP_DISABLE_PIP_VERSION_CHECK",
        "PIP_ROOT_USER_ACTION",
        "PIP_NO_INPUT",
        "PIP_PROGRESS_BAR",
        "PIP_CACHE_DIR",
        "PIP_NO_CACHE_DIR",
        "PIP_DEFAULT_TIMEOUT",
        "PIP_TIMEOUT",
        "PIP_NO_COLOR",
        "PIP_USER",
    ]
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
    #: Of the model's environment, for the installer.
    variables: Mapping[str, str]


async def planned(wanted: Wanted) -> Plan:
    """Read the requirements and ask the interpreter what it is.

    Raises:
        Unprepared: The interpreter does not say.
        Invalid: The requirements cannot be read, or there is no such interpreter.
    """
    text = _read(wanted.requirements)
    interpreter = await _described(wanted)
    variables = build_variables(text, wanted.variables)
    key = environment_key(text, wanted.artifact.name, interpreter, variables)
    return Plan(key, wanted, text, interpreter, variables)


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
        OSError: It cannot be started.
    """
    temporary = folder / "tmp"
    temporary.mkdir(parents=True)
    environment = _environment(plan.wanted, plan.variables) | {
        "TMPDIR": str(temporary),
        process.MARK_INSTANCE: folder.name,
        process.MARK_DATA_DIR: str(settings.data_dir),
    }
    program = _Program(_command(plan, folder, environment), environment, plan.wanted.requirements.parent, output)
    process.set_niceness(program.pid, settings.startup_niceness)
    deadline = clock.monotonic() + settings.environment_build_timeout_seconds
    try:
        while not program.ended.done():
            left = deadline - clock.monotonic()
            if left <= 0:
                _fail_late(output, settings)
            await asyncio.wait([program.ended], timeout=min(left, settings.environment_check_seconds))
            await check_room()
            if output.stat().st_size > OUTPUT_BYTES_MAX:
                raise Unprepared(f"{REQUIREMENTS} cannot be installed, because its installer prints without end.")
    finally:
        if not program.ended.done():
            fence()
            await program.kill()
    status = program.ended.result()
    if status != 0:
        why = f"{REQUIREMENTS} cannot be installed, the installer ended with exit status {status}."
        raise Unprepared(why, decisive_lines(_last_lines(output), settings.failure_log_lines))
    shutil.rmtree(temporary, ignore_errors=True)


class _Program:
    """A program that was started, until it has ended with all that it started."""

    def __init__(self, command: list[str], environment: Mapping[str, str], directory: Path, output: Path) -> None:
        self.pid = process.start(command, environment, directory, output)
        #: Its exit status.
        self.ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._watch = process.EndWatch(self.pid, self._notice_end)

    async def kill(self) -> None:
        process.signal_session(self.pid, signal.SIGKILL)
        await asyncio.wait([self.ended], timeout=_KILL_SECONDS_MAX)
        self._watch.close()

    def _notice_end(self) -> None:
        process.signal_session(self.pid, signal.SIGKILL)  # it is not reaped yet: nobody else has its id
        self.ended.set_result(process.reap(self.pid))


def _command(plan: Plan, folder: Path, environment: Mapping[str, str]) -> list[str]:
    uv = shutil.which("uv", path=plan.wanted.path)
    configured = _pip_is_configured(environment, plan.interpreter.path)
    by = installer(plan.text, plan.interpreter, has_uv=uv is not None, pip_is_configured=configured)
    command = [plan.interpreter.path, str(_PROGRAM), "build", str(folder), str(plan.wanted.requirements)]
    return [*command, uv] if uv is not None and by is Installer.UV else command


def _fail_late(output: Path, settings: Settings) -> NoReturn:
    allowed = settings.environment_build_timeout_seconds
    raise Unprepared(
        f"{REQUIREMENTS} was not installed within {allowed:g} seconds (environment_build_timeout_seconds).",
        _last_lines(output)[-settings.failure_log_lines :],
    )


def _environment(wanted: Wanted, variables: Mapping[str, str]) -> dict[str, str]:
    return {
        "LANG": "C.UTF-8",
        **{
            name: value
            for name, value in os.environ.items()
            if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
        },
        **variables,
        "PATH": wanted.path,
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_USER": "0",  # where pip's configuration asks for the user's own packages, nothing could be installed here
    }


def _pip_is_configured(environment: Mapping[str, str], python: str, root: Path = Path("/")) -> bool:
    """Whether pip would do otherwise than by default: by its variables, or a file of the user, of the machine or of the interpreter's environment."""
    if any(name.startswith("PIP_") and name not in _OF_NO_CONSEQUENCE for name in environment):
        return True
    home = Path(environment.get("HOME") or "/nonexistent")
    of_the_machine = (environment.get("XDG_CONFIG_DIRS") or str(root / "etc/xdg")).split(os.pathsep)
    files = [
        *(Path(folder, "pip", "pip.conf") for folder in of_the_machine),
        root / "etc/pip.conf",
        root / "Library/Application Support/pip/pip.conf",
        home / ".pip" / "pip.conf",
        Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf"),
        home / "Library" / "Application Support" / "pip" / "pip.conf",
        Path(python).parent.parent / "pip.conf",
    ]
    return any(file.is_file() for file in files)


async def _described(wanted: Wanted) -> Interpreter:
    program = shutil.which(wanted.python, path=wanted.path)
    if program is None:
        raise Invalid(f"There is no interpreter {wanted.python!r} to install {REQUIREMENTS} for.")
    asked = await asyncio.create_subprocess_exec(
        program,
        str(_PROGRAM),
        "describe",
        env=_environment(wanted, {}),
        cwd="/",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    complaint = b""
    try:
        async with asyncio.timeout(DESCRIBE_SECONDS_MAX):
            said, complaint = await asked.communicate()
        return msgspec.convert({"path": program, **msgspec.json.decode(said.splitlines()[-1])}, Interpreter)
    except TimeoutError:
        raise Unprepared(f"The interpreter {program} does not answer.") from None
    except (IndexError, TypeError, msgspec.DecodeError):
        lines = complaint.decode(errors="replace").splitlines()
        raise Unprepared(f"The interpreter {program} cannot install {REQUIREMENTS}.", lines[-3:]) from None
    finally:
        if asked.returncode is None:
            asked.kill()
            await asked.wait()


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
    with contextlib.suppress(OSError), output.open("rb") as source:
        source.seek(max(0, output.stat().st_size - _SEARCHED_BYTES))
        return source.read().decode(errors="replace").splitlines()
    return []
