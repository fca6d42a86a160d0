"""How a watching process runs: from its command line until it is asked to stop. It logs to stderr."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from bannister import settings
from bannister.clock import Clock, SystemClock
from bannister.errors import BannisterError
from bannister.ids import Ids, RandomIds


class Watching(Protocol):
    """What a watching process does."""

    async def run(self) -> None:
        """Go on until cancelled."""
        ...


def run(name: str, watching: Callable[[settings.Settings, Clock, Ids], Watching]) -> int:
    """The whole of `python -m NAME --data-dir DIR [--port PORT]`, until SIGTERM or SIGINT; returns its exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, help="where Envoy listens, for heartbeats")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        loaded = settings.load(arguments.data_dir, port=arguments.port)
    except BannisterError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    asyncio.run(_until_stopped(watching(loaded, SystemClock(), RandomIds())))
    return 0


async def _until_stopped(watching: Watching) -> None:
    running = asyncio.create_task(watching.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running
