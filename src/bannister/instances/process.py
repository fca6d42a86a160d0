"""What the operating system says about processes; the only module that reads of them in `/proc`.

An instance outlives the control plane that started it, so a process id is not enough to find it again: ids are used
again. A process is *identified* by its id together with the boot it runs in and the moment it started, and it carries
two marks in its environment, the data directory and the instance it belongs to, which its children inherit. Each
instance leads a session of its own; what it starts stays in that session unless it takes pains to leave.

Its end is noticed through a pidfd, which becomes readable for a child and for a stranger alike. Where there is none
(macOS), ids are polled and `ps` is asked, also for marks; who owns a socket cannot be told there and is believed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from bannister.boot import boot_id
from bannister.domain.instance import Usage
from bannister.instances.listening import listening

#: The marks in an instance's environment.
MARK_INSTANCE: Final = "BANNISTER_INSTANCE"
MARK_DATA_DIR: Final = "BANNISTER_DATA_DIR"

#: How often an id is looked at where there is no pidfd.
_POLL_SECONDS: Final = 0.1
_PROC: Final = Path("/proc")
_LINUX: Final = sys.platform == "linux"
#: Of 1000, which stands for all memory: as if it used half of it more than it does.
_FIRST_TO_END: Final = 500


@dataclass(frozen=True, slots=True)
class Identity:
    """A process, told apart from any other that had or will have its id."""

    pid: int
    #: When it started, in the system's own words; only compared.
    started: str
    boot: str


def identify(pid: int) -> Identity | None:
    """The process that has this id now; None: there is none, or it has ended and only waits to be reaped."""
    started = _started(pid)
    return None if started is None else Identity(pid, started, boot_id())


def is_running(identity: Identity) -> bool:
    return identify(identity.pid) == identity


def start(
    argv: Sequence[str], environment: Mapping[str, str], directory: Path, log: Path, cores: Collection[int] = ()
) -> int:
    """Start a program as the leader of a session of its own, printing to the end of `log`; returns its id.

    It and all that it starts run on these `cores`; none: on all.

    Nothing ties it to this process: no pipe, no terminal. Its end must be collected with `reap`.

    Raises:
        OSError: It cannot be started, for example because the program does not exist.
        ValueError: Its command or environment holds a NUL character.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with _on_cores(cores):
            child = subprocess.Popen(
                argv,
                env=environment,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    finally:
        os.close(descriptor)
    child.returncode = 0  # so that Popen neither warns nor waits: `reap` collects it by its id
    return child.pid


@contextlib.contextmanager
def _on_cores(cores: Collection[int]) -> Iterator[None]:
    """A child has the cores of the thread that starts it, from its first instruction on."""
    if not cores or sys.platform != "linux":
        yield
        return
    mine = os.sched_getaffinity(0)
    with contextlib.suppress(OSError):  # a core was taken from the machine meanwhile: any will do
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


def session_memory(bounds: Mapping[int, int | None]) -> dict[int, int]:
    """Bytes of memory that the processes of sessions use, by leader.

    A page that several of them share is counted for each of them at first, which is quick; where that comes to more than the session's bound, each is counted by its part.
    """
    used = {leader: one.resident_bytes for leader, one in session_usage(bounds).items()} if bounds else {}
    for leader, resident in used.items():
        bound = bounds[leader]
        if bound is not None and resident > bound:
            parts = [_proportional(pid) for pid in session_members(leader)]
            known = [part for part in parts if part is not None]
            used[leader] = sum(known) if len(known) == len(parts) else resident
    return used


def _proportional(pid: int) -> int | None:
    """Bytes of a process, of each shared page its part; None: that is not told."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended, or this system does not tell
        return None if _started(pid) is not None else 0
    parts = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines[1:])}
    # What is read from files can be read again, and is given back before memory runs out (kernels before 5.9 do not tell).
    return parts.get("Pss_Anon", parts.get("Pss", 0)) + parts.get("Pss_Shmem", 0) if "Pss" in parts else None


def reap(pid: int) -> int | None:
    """Collect an ended process; its exit status (negative: the signal), None if it was not our child."""
    try:
        collected, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if collected else None


def is_unreaped_child(pid: int) -> bool:
    """Whether this is a child of ours that has not been collected: until then nobody else can get its id."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13; nothing else asks and leaves the child to be collected
        return _parent(pid) == os.getpid()
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


class EndWatch:
    """Calls back once, when a process has ended; it is then still unreaped if it is our child."""

    def __init__(self, pid: int, ended: Callable[[], None]) -> None:
        self._pid = pid
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._descriptor = _pidfd(pid)
        self._timer: asyncio.Handle | None = None
        if self._descriptor is None:
            self._timer = self._loop.call_soon(self._poll)
        else:
            self._loop.add_reader(self._descriptor, self._notice)

    def close(self) -> None:
        """Stop watching."""
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _poll(self) -> None:
        if _started(self._pid) is None:
            self._notice()
        else:
            self._timer = self._loop.call_later(_POLL_SECONDS, self._poll)

    def _notice(self) -> None:
        self.close()
        self._ended()


def signal_session(leader: int, number: signal.Signals) -> None:
    """Signal every process of a session.

    The leader must not have been reaped yet, or be known to run: until then nobody else can get its id.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)  # at once, so that none of them forks in between
    for pid in session_members(leader):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) != leader:
                os.kill(pid, number)


def kill_marked_session(leader: int, data_dir: Path) -> None:
    """Kill what is left of the session of a leader that is gone: only what carries our marks, never a stranger."""
    for pid in marked(data_dir).keys() & set(session_members(leader)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def session_members(leader: int) -> list[int]:
    """The ids of a session's processes."""
    if not _LINUX:
        return [leader]
    return [pid for pid in _pids() if (stat := _stat(pid)) is not None and stat[3] == str(leader)]


def session_runs(leader: int) -> bool:
    """Whether anything of a session still runs. What has ended and was not asked for by its parent does not count."""
    if _LINUX:
        stats = (_stat(pid) for pid in _pids())
        return any(stat is not None and stat[3] == str(leader) and stat[0] not in "ZX" for stat in stats)
    lines = [line.split() for line in _ask("ps", "-axo", "pgid=,stat=").splitlines()]
    return any(int(group) == leader and not state.startswith("Z") for group, state, *_ in lines)


def marked(data_dir: Path) -> dict[int, str]:
    """Every process that carries a data directory's mark, with the instance it belongs to.

    On macOS `ps` tells environments, though not of programs that the system protects.
    """
    if not _LINUX:
        return _marked_by_ps(data_dir, _ask("ps", "-x", "-E", "-ww", "-o", "pid=", "-o", "command=").splitlines())
    wanted = f"{MARK_DATA_DIR}={data_dir}".encode()
    found: dict[int, str] = {}
    for pid in _pids():
        entries = _environment(pid)
        if pid != os.getpid() and wanted in entries:
            found.update((pid, name) for entry in entries if (name := _instance(entry)))
    return found


def _marked_by_ps(data_dir: Path, lines: Iterable[str]) -> dict[int, str]:
    """Each line is an id, a command and its environment, as `ps` prints them: with spaces between, and none around what has one itself."""
    wanted = f" {MARK_DATA_DIR}={data_dir} "
    found: dict[int, str] = {}
    for line in lines:
        if wanted in f"{line} ":
            pid, *words = line.split()
            name = next((word for word in words if word.startswith(f"{MARK_INSTANCE}=")), None)
            if name is not None and int(pid) != os.getpid():
                found[int(pid)] = name.partition("=")[2]
    return found


def session_usage(leaders: Collection[int]) -> dict[int, Usage]:
    """What the processes of these sessions have used, by the session's leader. Of one that has ended before its parent asked, nothing is known."""
    found: dict[int, Usage] = {}
    for leader, cpu_seconds, resident_bytes in _usages_by_proc(leaders) if _LINUX else _usages_by_ps(leaders):
        before = found.get(leader, Usage(0.0, 0))
        found[leader] = Usage(before.cpu_seconds + cpu_seconds, before.resident_bytes + resident_bytes)
    return found


def leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except OSError:
        return False


def listens(leader: int, port: int) -> bool:
    """Whether everything that takes connections to 127.0.0.1:`port` belongs to the session."""
    if not _LINUX:
        return True
    sockets = listening(port)
    if not sockets:
        return False
    owned = _sockets(leader)  # usually enough, and much cheaper than to look at every process
    if not sockets <= owned:
        for pid in session_members(leader):
            owned |= _sockets(pid)
    return sockets <= owned


def set_niceness(leader: int, niceness: int, *, for_good: bool = False) -> bool:
    """Set the priority of a whole session (0 normal, 19 lowest); False: not now, try again.

    Linux with autogroups shares the processor between sessions first, and niceness only counts within one: there it is
    set for the session as a whole, which anyone may also undo. Otherwise it is set for all threads of the process group,
    and left alone where it could not be raised again, unless it is meant to stay (`for_good`).
    """
    done = True
    try:
        (_PROC / str(leader) / "autogroup").write_text(f"{niceness}\n")
    except BlockingIOError:  # the kernel takes ten such changes a second from an ordinary user
        done = False
    except OSError:
        pass  # no autogroups here, or the process is gone
    if for_good or may_raise_priority():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpriority(os.PRIO_PGRP, leader, niceness)
    return done


def offer_memory(pid: int) -> None:
    """When memory runs out it is ended before others, and so is what it starts from now on. Linux only; nothing happens elsewhere."""
    with contextlib.suppress(OSError):
        (_PROC / str(pid) / "oom_score_adj").write_text(f"{_FIRST_TO_END}\n")


@cache
def may_raise_priority() -> bool:
    """Whether a priority that was lowered can be raised again; tried, because capabilities do not tell in a container."""
    if not _LINUX:
        return os.geteuid() == 0
    allowed: list[bool] = []

    def try_it() -> None:  # on Linux niceness belongs to a thread, so nothing is left of this
        mine = os.getpriority(os.PRIO_PROCESS, 0)
        try:
            os.setpriority(os.PRIO_PROCESS, 0, mine + 1)
            os.setpriority(os.PRIO_PROCESS, 0, mine)
            allowed.append(mine < 19)
        except OSError:
            allowed.append(False)

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    return allowed[0]


def _pids() -> Iterator[int]:
    with os.scandir(_PROC) as entries:
        for entry in entries:
            if entry.name.isdigit():
                yield int(entry.name)


def _stat(pid: int) -> list[str] | None:
    """The fields of `/proc/PID/stat` from the state on: 0 state, 1 parent, 2 group, 3 session, 19 start in ticks, 21 resident pages."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return text[text.rindex(")") + 2 :].split()


def _usages_by_proc(leaders: Collection[int]) -> Iterator[tuple[int, float, int]]:
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    for pid in _pids():
        stat = _stat(pid)
        if stat is not None and int(stat[3]) in leaders:
            # Of itself, and of its children that have ended and were reaped: user and system.
            yield int(stat[3]), sum(map(int, stat[11:15])) / tick, int(stat[21]) * page


def _usages_by_ps(leaders: Collection[int]) -> Iterator[tuple[int, float, int]]:
    """By group, because `ps` tells sessions differently everywhere; the leader of a session leads a group of the same id."""
    for line in _ask("ps", "-axo", "pgid=,rss=,time=").splitlines():
        group, kilobytes, cpu = line.split()
        if int(group) in leaders:
            days, _, clock = cpu.rpartition("-")
            seconds = 0.0
            for part in clock.split(":"):
                seconds = seconds * 60 + float(part)
            yield int(group), seconds + 86_400 * int(days or 0), int(kilobytes) * 1024


def _started(pid: int) -> str | None:
    if _LINUX:
        stat = _stat(pid)
        return None if stat is None or stat[0] in "ZX" else stat[19]
    answer = _ask("ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid))  # after an equals sign comes the heading
    state, _, started = answer.partition(" ")
    return None if not answer or state.startswith("Z") else started.strip()


def _parent(pid: int) -> int | None:
    """Who is told of its end, also when it has ended and only waits to be reaped."""
    if _LINUX:
        stat = _stat(pid)
        return None if stat is None else int(stat[1])
    answer = _ask("ps", "-o", "ppid=", "-p", str(pid))
    return int(answer) if answer else None


def _pidfd(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        descriptor: int = os.pidfd_open(pid)
    except OSError:
        return None
    return descriptor


def _environment(pid: int) -> Iterable[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return ()


def _instance(entry: bytes) -> str:
    name, _, value = entry.partition(b"=")
    return os.fsdecode(value) if name == MARK_INSTANCE.encode() else ""


def _sockets(pid: int) -> set[str]:
    """The inodes of a process's sockets; none if it may not be looked at."""
    found: set[str] = set()
    try:
        with os.scandir(_PROC / str(pid) / "fd") as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    target = str(Path(entry.path).readlink())
                    if target.startswith("socket:["):
                        found.add(target[8:-1])
    except OSError:
        pass
    return found


def _ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
