"""The parts of a running Bannister: which programs `up` starts, with which command and environment.

Their order is the order of stopping. The control plane is first, because it stops the instances itself and wants Envoy and telemetry
until it has. They are started in the same order, all at once: the control plane has the most to import. Only what nobody waits for is started
once the server answers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bannister import __version__
from bannister.settings import DATA_DIR_VARIABLE, Settings

#: The part that listens on the port.
PORT_HOLDER = "Envoy"


@dataclass(frozen=True, slots=True)
class Part:
    """One program that the launcher keeps running."""

    #: As in sentences, and in the record of what runs.
    name: str
    command: tuple[str, ...]
    #: What it prints goes here.
    log: Path
    #: From SIGTERM to SIGKILL.
    stop_grace_seconds: float
    #: Where it listens: removed before each start, because a socket's file outlives who listened, and Envoy would not replace it.
    sockets: tuple[Path, ...] = ()
    #: To be ended without its own clean-up when an earlier `up` was killed: what it started stays, for its successor to adopt.
    leaves_heirs: bool = False
    #: Where it answers, whatever it says: asked all the time, and killed and started again when it does not. None: not asked.
    asked: Path | None = None
    #: For how long it may not answer.
    silence_seconds_max: float = 10.0
    #: Started once the server answers, so that nobody waits for it.
    is_late: bool = False


def parts_of(settings: Settings) -> tuple[Part, ...]:
    """What makes a Bannister of this data directory."""
    from bannister.launcher.bootstrap import envoy_command  # not before it is known that `up` may start

    logs, grace = settings.logs_dir, settings.part_stop_grace_seconds
    return (
        Part(
            "control plane",
            _python("bannister.app", settings),
            logs / "control.log",
            grace + settings.stop_grace_seconds,
            (settings.api_socket, settings.xds_socket),
            leaves_heirs=True,
            asked=settings.api_socket,
            silence_seconds_max=settings.liveness_timeout_seconds,
        ),
        Part(
            "telemetry",
            _python("bannister.telemetry", settings),
            logs / "telemetry.log",
            grace,
            (settings.access_log_socket, settings.telemetry_socket),
        ),
        Part(
            "capture",
            _python("bannister.capture", settings),
            logs / "capture.log",
            grace,
            (settings.exchange_socket, settings.capture_socket),
            # It speaks HTTP/2 there, and greets whoever connects.
            asked=settings.exchange_socket,
            silence_seconds_max=settings.capture_liveness_timeout_seconds,
            is_late=True,
        ),
        Part(
            PORT_HOLDER,
            tuple(envoy_command(settings)),
            logs / "envoy.log",
            grace,
            (settings.envoy_admin_socket,),
        ),
    )


def fingerprint(settings: Settings, parts: Iterable[Part]) -> str:
    """Differs whenever parts of this version, with these settings and commands, differ from others."""
    told = {
        "version": __version__,
        "settings": dataclasses.asdict(settings),
        "commands": {part.name: part.command for part in parts},
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def part_environment(settings: Settings, inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of every part: ours, without what would make it a client of somebody else's AWS or of a proxy."""
    kept = {
        name: value
        for name, value in inherited.items()
        if not name.startswith("AWS_") and not name.lower().endswith("_proxy")
    }
    return kept | {DATA_DIR_VARIABLE: str(settings.data_dir)}


def _python(module: str, settings: Settings) -> tuple[str, ...]:
    # -P: the directory in which `up` was called must not shadow modules.
    options = ("--data-dir", str(settings.data_dir), "--port", str(settings.port))
    return (sys.executable, "-P", "-m", module, *options)
