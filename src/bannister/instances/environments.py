"""Environments of artifacts: what a `code/requirements.txt` was installed into, once, for all instances and models that ask for the same.

    environments/
      KEY-NONCE/              an environment, made by `bannister.instances.installing`
        bannister-environment.json    that it is whole; when it was last used is this file's time
      KEY-NONCE.log           what the installer prints, while somebody waits for it
      .gone-NONCE             on its way to being deleted

The key says what it is (`bannister.domain.requirements`). An environment cannot be moved, because its programs name their interpreter by its path: so it is built
where it stays, and is there for others once its mark is. Each build has a folder of its own, so what an earlier control plane left unfinished is in nobody's way; it has no mark,
and is removed at the start.

One build is under way for a key, however many wait for it; what it prints goes on into the log of each of them. When nobody waits any more it is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bannister.clock import Clock
from bannister.domain.requirements import Kept, to_evict, without_credentials
from bannister.errors import Unavailable, disk_is_full
from bannister.instances.host import Unprepared
from bannister.instances.installing import REQUIREMENTS, Plan, Wanted, install, planned
from bannister.instances.interpreters import Interpreters
from bannister.settings import Settings

_log = logging.getLogger(__name__)

#: In an environment that is whole. The runtime tells by it that its artifact's requirements are installed.
MARK: Final = "bannister-environment.json"
_GONE: Final = ".gone-"
#: What is printed goes on to those who wait this often.
_FOLLOW_SECONDS: Final = 0.1
#: At most so much of it at once.
_FOLLOWED_BYTES_MAX: Final = 1024 * 1024


class _Mark(msgspec.Struct):
    key: str
    #: On the disk, in bytes.
    size: int
    built_at: float


@dataclass(slots=True)
class _Build:
    """An environment that is being built, or was a moment ago."""

    folder: Path
    output: Path
    task: asyncio.Task[None]
    waiting: int = 0


class Environments:
    """The environments of one data directory. For one event loop."""

    def __init__(
        self, settings: Settings, clock: Clock, fence: Callable[[], None], in_use: Callable[[], set[str]]
    ) -> None:
        """`fence` is called before every act; it does not return when another process has taken over. `in_use`: folders that instances have."""
        self._settings = settings
        self._clock = clock
        self._fence = fence
        self._in_use = in_use
        self._folder = settings.environments_dir
        self._interpreters = Interpreters(settings, clock, fence)
        self._builds: dict[str, _Build] = {}
        #: What those that are being built take so far, in bytes, by their names.
        self._growing: dict[str, int] = {}
        self._turns = asyncio.Semaphore(settings.environment_builds_parallel_max)

    def begin(self) -> None:
        """Remove what earlier control planes did not finish. To be called once, when their processes have been ended."""
        if self._folder.is_dir():
            for entry in sorted(self._folder.iterdir()):
                if not (entry / MARK).is_file() or entry.name.startswith(_GONE):
                    self._remove(entry)
            self._make_room()

    def holds(self, folder: str) -> bool:
        """Whether an environment that an instance had is still there."""
        return _is_whole(Path(folder))

    async def obtained(self, wanted: Wanted, log: Path, waits: Callable[[str], None]) -> Path:
        """The environment for an artifact, built if there is none; what is printed meanwhile is added to `log`.

        Nobody but a record that is saved keeps it from being removed: save it before the next `await`. `waits` is told in a sentence that this takes long.

        Raises:
            Unprepared: It cannot be built.
            Unavailable: It cannot be built now, because a disk is full.
            Invalid: Its requirements or its interpreter cannot be used.
        """
        try:
            plan = await planned(wanted, self._interpreters)
        except OSError as error:
            raise Unprepared(
                f"The interpreter {wanted.python} cannot be started: {error.strerror or error}."
            ) from error
        folder = self._find(plan.key)
        if folder is None:
            waits(f"The instance waits until its {REQUIREMENTS} is installed.")
            folder = await self._built(plan, log)
        else:
            _append(log, f"{REQUIREMENTS} is installed already, in {folder}\n")
        self._fence()
        with contextlib.suppress(OSError):  # on a full disk it counts as unused for longer than it is
            os.utime(folder / MARK)
        return folder

    def _find(self, key: str) -> Path | None:
        return next((each for each in sorted(self._folder.glob(f"{key}-*")) if _is_whole(each)), None)

    # --- building

    async def _built(self, plan: Plan, log: Path) -> Path:
        """Build it, or wait for the build that is under way."""
        build = self._builds.get(plan.key)
        if build is None:
            folder = self._folder / f"{plan.key}-{secrets.token_hex(4)}"
            output = folder.with_name(f"{folder.name}.log")
            build = _Build(folder, output, asyncio.create_task(self._build(plan, folder, output)))
            self._builds[plan.key] = build
        build.waiting += 1
        try:
            await _follow(build, log)
            build.task.result()
        finally:
            build.waiting -= 1
            if not build.waiting:
                del self._builds[plan.key]
                await _ended(build.task)
                build.output.unlink(missing_ok=True)
        return build.folder

    async def _build(self, plan: Plan, folder: Path, output: Path) -> None:
        async with self._turns:
            self._fence()
            whole = False
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._check_free()
                await install(
                    plan,
                    folder,
                    output,
                    self._settings,
                    self._clock,
                    self._fence,
                    lambda: self._check_room(folder),
                )
                size = await asyncio.to_thread(_size, folder)
                self._fence()
                _write_mark(folder, _Mark(plan.key, size, self._clock.now()))
                whole = True
            except OSError as error:
                if disk_is_full(error):
                    raise self._full() from error
                why = error.strerror or str(error)
                raise Unprepared(f"The environment for {REQUIREMENTS} cannot be made: {why}.") from error
            finally:
                self._growing.pop(folder.name, None)
                if not whole:
                    self._remove(folder)
            self._make_room()

    async def _check_room(self, folder: Path) -> None:
        size = self._growing[folder.name] = await asyncio.to_thread(_size, folder)
        taken = self._make_room()
        if taken > self._settings.environments_bytes_max:
            raise Unprepared(
                f"{REQUIREMENTS} takes more room than is left: environments may have {self._settings.environments_bytes_max} bytes "
                f"(environments_bytes_max), and others, which are in use, have {taken - size}."
            )
        self._check_free()

    def _check_free(self) -> None:
        if shutil.disk_usage(self._folder).free < self._settings.disk_free_bytes_min:
            raise self._full()

    def _full(self) -> Unavailable:
        free = shutil.disk_usage(self._folder).free
        return Unavailable(
            f"{REQUIREMENTS} cannot be installed, because the disk of {self._folder} is full ({free // 2**20} MiB are free)."
        )

    # --- room

    def _make_room(self) -> int:
        """Remove what is unused until all that is there, and is being built, fits; returns what is taken then, in bytes."""
        kept, growing = self._kept(), sum(self._growing.values())
        gone = set(to_evict(kept, self._settings.environments_bytes_max - growing))
        for name in sorted(gone):
            _log.info("environment.evicted %s: no instance uses it, and others need its room.", name)
            self._remove(self._folder / name)
        return growing + sum([one.size for one in kept if one.name not in gone])

    def _kept(self) -> list[Kept]:
        in_use = self._in_use() | {str(build.folder) for build in self._builds.values()}
        kept = []
        for folder in sorted(self._folder.iterdir()):
            used = str(folder) in in_use
            with contextlib.suppress(OSError, msgspec.DecodeError):  # not whole, or taken away
                mark = msgspec.json.decode((folder / MARK).read_bytes(), type=_Mark)
                if used:  # so that it counts from its last use when nobody has it any more
                    os.utime(folder / MARK)
                kept.append(Kept(folder.name, mark.size, (folder / MARK).stat().st_mtime, used))
        return kept

    def _remove(self, path: Path) -> None:
        """From now on nobody finds it; a thread deletes it, or the next control plane."""
        self._fence()
        gone = path.with_name(f"{_GONE}{secrets.token_hex(8)}")
        with contextlib.suppress(OSError):
            path.rename(gone)
            asyncio.get_running_loop().run_in_executor(None, _delete, gone)


async def _follow(build: _Build, log: Path) -> None:
    """Copy what is printed until it is built, or cannot be: whole lines, without credentials."""
    position, over = 0, False
    while not over:
        ended, printed = build.task.done(), b""
        with contextlib.suppress(OSError), build.output.open("rb") as source:  # nothing has been printed yet
            source.seek(position)
            printed = source.read(_FOLLOWED_BYTES_MAX)
        is_all = len(printed) < _FOLLOWED_BYTES_MAX
        over = ended and is_all
        whole = printed.rfind(b"\n") + 1
        if not over and (whole or is_all):  # else it is a line longer than that
            printed = printed[:whole]
        _append(log, without_credentials(printed.decode("utf-8", "surrogateescape")))
        position += len(printed)
        if not over:
            await asyncio.wait([build.task], timeout=_FOLLOW_SECONDS if is_all else 0)


async def _ended(task: asyncio.Task[None]) -> None:
    if not task.done():  # else nothing may come between its end and the record of who waited for it
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # known now, also where nobody was left to be told


# --- files


def _is_whole(folder: Path) -> bool:
    """It was finished, and the interpreter that it lies over is still there."""
    return (folder / MARK).is_file() and (folder / "bin" / "python").exists()


def _write_mark(folder: Path, mark: _Mark) -> None:
    partial = folder / f"{MARK}.partial"
    partial.write_bytes(msgspec.json.encode(mark))
    partial.replace(folder / MARK)


def _append(log: Path, printed: str) -> None:
    with contextlib.suppress(OSError), log.open("ab") as target:  # its instance may be gone, its disk full
        target.write(printed.encode("utf-8", "surrogateescape"))


def _size(folder: Path) -> int:
    """Bytes on the disk; what vanishes meanwhile has none."""
    total = 0
    for directory, names, files in os.walk(folder):
        for name in (*names, *files):
            with contextlib.suppress(OSError):
                total += Path(directory, name).lstat().st_blocks * 512
    return total


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    if path.exists():
        _log.warning("environment.not_removed %s cannot be deleted.", path)
