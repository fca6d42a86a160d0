"""A deployment, looked at again and again until it has ended. The server may be restarting meanwhile; the deployment goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from bannister.cli import words
from bannister.cli.client import Server, Unreachable

#: A server that does not answer is asked for this long.
PATIENCE_SECONDS: Final = 60.0


def looks(server: Server, identifier: str, pause_seconds: float) -> Iterator[tuple[dict[str, Any] | None, str | None]]:
    """The deployment at each look, the last one ended; or None and a note, while the server does not answer.

    Raises:
        Unreachable: It has not answered for `PATIENCE_SECONDS`.
    """
    silent_since = None
    while True:
        try:
            found = server.ask("bannister", "describe_deployment", DeploymentId=identifier)
        except Unreachable:
            silent_since = time.monotonic() if silent_since is None else silent_since
            silent = time.monotonic() - silent_since
            if silent > PATIENCE_SECONDS:
                raise
            yield None, f"The server has not answered for {words.duration(silent)}; what is shown is older."
        else:
            silent_since = None
            yield found, None
            if "EndTime" in found:
                return
        time.sleep(pause_seconds)
