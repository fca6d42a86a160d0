"""What `up` claims before it starts anything: the data directory and the port. Each is refused with a sentence that says what to do."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
from pathlib import Path

from bannister.errors import Invalid, Refused
from bannister.launcher.readiness import answers_ready
from bannister.privacy import close_folder, is_open
from bannister.settings import Settings

LOOPBACK = "127.0.0.1"


class DataDirectoryLock:
    """The right to run Bannister on a data directory: held by at most one process, released by its end however it ends."""

    def __init__(self, settings: Settings) -> None:
        """Take the lock.

        Raises:
            Refused: Another process holds it; the sentence names that process.
        """
        self._file = os.open(settings.data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 200, 0).decode(errors="replace").strip()
            os.close(self._file)
            raise Refused(
                f"The data directory {settings.data_dir} is in use by another `bannister up` "
                f"({holder or 'it has just started'}): stop that one, or choose another directory with --data-dir."
            ) from None
        os.ftruncate(self._file, 0)
        with contextlib.suppress(OSError):  # a full disk: it only tells who holds it
            os.pwrite(self._file, f"process {os.getpid()}, port {settings.port}\n".encode(), 0)

    def release(self) -> None:
        """Let the next one in. The file stays: removing it would let two processes each lock a file of that name."""
        os.ftruncate(self._file, 0)
        os.close(self._file)


def make_directories(settings: Settings) -> None:
    """Create the data directory and what the launcher needs in it, for this user only.

    Raises:
        Refused: It cannot be created or written.
    """
    for directory in (settings.data_dir, settings.data_dir / "run", settings.logs_dir):
        _make(directory)
    for directory in (settings.logs_dir, settings.instances_dir, settings.artifacts_dir, settings.environments_dir):
        close_folder(directory)
    if not os.access(settings.data_dir, os.W_OK | os.X_OK):
        raise Refused(f"Cannot write to {settings.data_dir}. Choose another with --data-dir.")


def open_to_others(settings: Settings) -> str | None:
    """What is to be said of a data directory that other users may look into; None: none may."""
    if not is_open(settings.data_dir):
        return None
    mode = stat.S_IMODE(settings.data_dir.stat().st_mode)
    return (
        f"Other users of this machine may look into the data directory {settings.data_dir} (mode {mode:o}). What Bannister keeps there is for you "
        f"alone; what you put there (bannister.toml) is as you made it. `chmod 700 {settings.data_dir}` closes all of it."
    )


def claim_run_dir(settings: Settings) -> None:
    """Create the directory for sockets. It may lie in the shared temporary directory, where anybody could have made it first.

    Under the lock, because whoever held it before removes it (`remove_run_dir`).

    Raises:
        Refused: It cannot be created, or belongs to someone else.
    """
    run_dir = settings.run_dir
    _make(run_dir)
    found = run_dir.lstat()
    if run_dir.is_symlink() or found.st_uid != os.getuid():
        raise Refused(f"{run_dir} does not belong to this user. Choose another data directory with --data-dir.")
    run_dir.chmod(0o700)


def remove_run_dir(settings: Settings) -> None:
    """At the end, under the lock: a directory for sockets outside the data directory would stay when that is deleted.

    One in which somebody still listens is not empty, and stays.
    """
    if not settings.run_dir.is_relative_to(settings.data_dir):
        with contextlib.suppress(OSError):
            settings.run_dir.rmdir()


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"Cannot create {error.filename}: {error.strerror}. Choose another with --data-dir.") from error


def check_port_number(port: int) -> None:
    """Refuse what is not a port.

    Raises:
        Invalid: It is out of range.
    """
    if not 1 <= port <= 65535:
        raise Invalid(f"The port must be between 1 and 65535, not {port}.")


def check_port_free(port: int) -> None:
    """Bind the port once, so that a taken one is said now and not in Envoy's log.

    Raises:
        Refused: It is taken, or may not be used by this user.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Envoy does: closed connections do not count
        try:
            probe.bind((LOOPBACK, port))
            probe.listen()
        except OSError as error:
            raise Refused(_why_not(port, error)) from error


def _why_not(port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        who = "another Bannister" if answers_ready(port) else "another program"
        return f"Port {port} is in use by {who}: stop it, or choose another port with --port."
    if error.errno == errno.EACCES:
        return f"This user may not listen on port {port}: choose one above 1023 with --port."
    return f"Cannot listen on {LOOPBACK}:{port}: {error.strerror}."
