"""`python -m bannister.runtime`: load a model, then serve it until SIGTERM.

| environment variable | meaning | default |
| --- | --- | --- |
| `SAGEMAKER_BIND_TO_PORT` | port on 127.0.0.1 | 8080 |
| `SM_MODEL_DIR` | folder of the unpacked artifact | /opt/ml/model |
| `SAGEMAKER_PROGRAM`, `SAGEMAKER_SUBMIT_DIRECTORY` | the user's module and its folder | inference.py, code |
| `SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT` | content type where the client accepts anything | application/json; text/csv for XGBoost files without code |
| `BANNISTER_RUNTIME_THREADS` | predictions at a time; more wait | the cores this process may use |

Its port is its own from the start, but it listens only once the model is loaded, so an open port means ready. A failure to load ends the process with the traceback as
the last lines of its log.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Before numpy and the model's libraries are imported, because they read these once. A request is one row: dividing it among
# threads costs more than it gains, and several instances on one machine would each start a thread per core.
for _name in (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
):
    os.environ.setdefault(_name, "1")

from bannister.runtime import artifact, service  # noqa: E402 - see above
from bannister.runtime.formats.loading import LoadError  # noqa: E402
from bannister.runtime.server import BACKLOG, Limits, Server  # noqa: E402


def main() -> None:
    """Load, listen, serve."""
    _open_log()
    model_dir = Path(os.environ.get("SM_MODEL_DIR") or artifact.CONTAINER_MODEL_DIR)
    # The port is bound before the model loads, which may take minutes: until then anybody else could take it. It refuses
    # connections until it listens.
    listener = _bind(_number("SAGEMAKER_BIND_TO_PORT", 8080))
    loaded = _load(model_dir)
    for sentence in loaded.warnings:
        print(f"WARNING: {sentence}")
    answer = service.Service(
        loaded,
        str(model_dir),
        predictions_max=_number("BANNISTER_RUNTIME_THREADS", _cores()),
        default_accept=os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or loaded.default_accept,
    )
    listener.listen(BACKLOG)
    server = Server(listener, answer, service.refuse, Limits())
    signal.signal(signal.SIGTERM, lambda number, frame: server.stop())
    signal.signal(signal.SIGINT, lambda number, frame: server.stop())
    print(f"Serving {model_dir} on http://127.0.0.1:{listener.getsockname()[1]}")
    server.serve()


def _bind(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Connections of an earlier process on this port may linger; they are no reason to refuse it.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


def _load(model_dir: Path) -> artifact.Artifact:
    has_requirements = (model_dir / "code" / "requirements.txt").is_file()
    if has_requirements and not Path(sys.prefix, "bannister-environment.json").is_file():
        print(
            "code/requirements.txt is not installed: Bannister does that for an image that is run by {python} (images.toml); "
            "elsewhere the interpreter must have the packages, or the artifact in code/lib."
        )
    try:
        return artifact.load(model_dir, os.environ, service.Context(str(model_dir)))
    except SystemExit as error:
        # A model that ends the interpreter while it is loaded, perhaps even with "success", has not loaded.
        raise LoadError(f"The model's code ended the process with {error.code!r} while it was loaded.") from error


class _Log(io.FileIO):
    """A file that drops what its disk does not take: a model answers whether or not it can print."""

    def write(self, data: Buffer) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return memoryview(data).nbytes


def _open_log() -> None:
    """What user code prints must be in the log when it happens, not when a buffer is full."""
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(
            io.BufferedWriter(_Log(stream.fileno(), "w", closefd=False)),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=True,
        )
        for stream in (sys.stdout, sys.stderr)
    )


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal() or (variable == "BANNISTER_RUNTIME_THREADS" and int(text) < 1):
        sys.exit(f"{variable} must be a positive number, not {text!r}.")
    return int(text)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if __name__ == "__main__":
    main()
