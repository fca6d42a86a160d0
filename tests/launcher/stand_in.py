"""Programs that stand in for the parts of Bannister: small, real processes for the launcher to run.

python stand_in.py up DATA PORT SCENARIO   runs the launcher itself, with parts from SCENARIO
python stand_in.py serve PORT              answers every request with 200 until SIGTERM (in place of Envoy)
python stand_in.py answer SOCKET JOURNAL   the same on a unix socket (in place of the control plane)
python stand_in.py idle JOURNAL NAME       writes down its start and its end (in place of any other part)
python stand_in.py deaf                    ignores SIGTERM
python stand_in.py fail                    says why and ends at once
python stand_in.py refuse JOURNAL          the same, and that trying again is of no use
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path


def up(data_dir: str, port: str, scenario: str) -> None:
    from bannister.errors import Refused
    from bannister.launcher.parts import Part
    from bannister.launcher.up import up as run
    from bannister.settings import Settings, load

    def part(
        settings: Settings, name: str, *arguments: str, heirs: bool = False, asked: bool = False, late: bool = False
    ) -> Part:
        command = (sys.executable, __file__, *arguments)
        socket = settings.run_dir / f"{name}.sock"
        log = settings.logs_dir / f"{name}.log"
        return Part(
            name,
            command,
            log,
            5.0,
            (socket,),
            leaves_heirs=heirs,
            asked=socket if asked else None,
            silence_seconds_max=settings.liveness_timeout_seconds,
            is_late=late,
        )

    def parts(settings: Settings) -> list[Part]:
        journal = str(settings.data_dir / "journal")
        proxy = part(settings, "Envoy", "serve", port, journal)
        telemetry = part(settings, "telemetry", "idle", journal, "telemetry")
        control = {
            "well": part(settings, "control plane", "idle", journal, "control", heirs=True),
            "with a late part": part(settings, "control plane", "idle", journal, "control", heirs=True),
            "deaf": part(settings, "control plane", "deaf", journal, "control"),
            "failing": part(settings, "control plane", "fail"),
            "refusing": part(settings, "control plane", "refuse", journal),
            "missing": Part("control plane", ("/nowhere/at-all",), settings.logs_dir / "control plane.log", 5.0),
            "answering": part(
                settings,
                "control plane",
                "answer",
                str(settings.run_dir / "control plane.sock"),
                journal,
                heirs=True,
                asked=True,
            ),
            "replaceable": Part(
                "control plane", (str(settings.data_dir / "program"),), settings.logs_dir / "control", 5.0
            ),
            "with instance": part(settings, "control plane", "parent", journal, "control", heirs=True),
        }[scenario]
        if scenario == "with a late part":
            return [control, telemetry, part(settings, "capture", "idle", journal, "capture", late=True), proxy]
        return [control, telemetry, proxy] if scenario not in ("failing", "refusing") else [control, telemetry]

    try:
        sys.exit(run(load(Path(data_dir), port=int(port)), parts))
    except Refused as refused:
        print(refused, file=sys.stderr)
        sys.exit(2)


def serve(port: str, journal: str) -> None:
    _stop_on_sigterm(journal, "envoy")
    with socket.create_server(("127.0.0.1", int(port))) as server:
        _answer_all(server)


def answer(path: str, journal: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        _stop_on_sigterm(journal, "control")
        _answer_all(server)


def _answer_all(server: socket.socket) -> None:
    while True:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")


def idle(journal: str, name: str) -> None:
    _stop_on_sigterm(journal, name)
    while True:
        signal.pause()


def deaf(journal: str, name: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _note(journal, name, "started")
    while True:
        signal.pause()


def parent(journal: str, name: str) -> None:
    """Starts an instance in a session of its own, marked as instances are, and does not stop it."""
    subprocess.Popen(
        [sys.executable, __file__, "idle", journal, "instance"],
        start_new_session=True,
        env=os.environ | {"BANNISTER_INSTANCE": "i-1"},
    )
    idle(journal, name)


def fail() -> None:
    print("cannot open the state: it is from a later version", flush=True)
    sys.exit(3)


def refuse(journal: str) -> None:
    from bannister.errors import EXIT_CANNOT_START

    _note(journal, "control", "started")
    print("The state file is damaged: restore a backup.", flush=True)
    sys.exit(EXIT_CANNOT_START)


def _stop_on_sigterm(journal: str, name: str) -> None:
    def stop(*_: object) -> None:
        _note(journal, name, "stopped")
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    _note(journal, name, "started")


def _note(journal: str, name: str, what: str) -> None:
    with Path(journal).open("a") as file:
        file.write(f"{name} {what} {os.getpid()} {time.monotonic()}\n")


if __name__ == "__main__":
    verb, *arguments = sys.argv[1:]
    {
        "up": up,
        "serve": serve,
        "answer": answer,
        "idle": idle,
        "deaf": deaf,
        "parent": parent,
        "fail": fail,
        "refuse": refuse,
    }[verb](*arguments)
