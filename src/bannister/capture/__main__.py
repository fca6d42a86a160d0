"""`python -m bannister.capture --data-dir DIR [--port PORT]`: run capture until SIGTERM or SIGINT. Logs to stderr."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

from bannister import settings
from bannister.capture.program import Capture
from bannister.clock import SystemClock
from bannister.errors import BannisterError
from bannister.ids import RandomIds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bannister.capture")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, help="where Envoy listens, for heartbeats")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        loaded = settings.load(arguments.data_dir, port=arguments.port)
    except BannisterError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    asyncio.run(_until_stopped(Capture(loaded, SystemClock(), RandomIds())))
    return 0


async def _until_stopped(capture: Capture) -> None:
    running = asyncio.create_task(capture.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


if __name__ == "__main__":
    raise SystemExit(main())
