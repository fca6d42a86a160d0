"""The S3 door on a folder, served by uvicorn on a loopback port of its own, and clients of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import uvicorn
from botocore.config import Config

from bannister.aws.s3.door import S3Door
from bannister.clock import SystemClock
from bannister.ids import RandomIds
from bannister.objects.folder import FolderObjects
from bannister.objects.store import ObjectStore
from bannister.settings import Settings

OBJECT_BYTES_MAX = 80_000_000


class Served:
    """A server on its own thread and event loop, as a client sees it: an address, and a folder to look into."""

    def __init__(self, root: Path, store: ObjectStore | None = None, **settings: Any) -> None:
        """On a folder below `root`, or on `store`."""
        self.settings = replace(Settings(data_dir=root), **({"object_bytes_max": OBJECT_BYTES_MAX} | settings))
        self._store = store
        self.port = 0
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        folder = FolderObjects(self.settings.objects_dir, RandomIds(), self.settings.object_bytes_max)
        door = S3Door(self._store or folder, SystemClock(), RandomIds(), self.settings)
        config = uvicorn.Config(
            door, host="127.0.0.1", port=0, http="httptools", lifespan="off", access_log=False, log_level="warning"
        )
        self.server = uvicorn.Server(config)
        serving = asyncio.create_task(self.server.serve())
        while not self.server.started:
            await asyncio.sleep(0.005)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self._started.set()
        await serving
        folder.close()

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(30)

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(30)

    def files(self) -> list[str]:
        """The objects' files, without the ids in their names."""
        root = self.settings.objects_dir
        found = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".index.db"))
        return sorted(f"{path.parent.relative_to(root)}/{path.name.partition('@')[2]}" for path in found)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start a server; arguments as of `Served`."""
    running: list[Served] = []

    def started(store: ObjectStore | None = None, **settings: Any) -> Served:
        served = Served(tmp_path / f"server{len(running)}", store, **settings)
        served.start()
        running.append(served)
        return served

    yield started
    for served in running:
        served.stop()


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    return serve()


Connect = Callable[..., Any]


@pytest.fixture
def connect() -> Connect:
    """A boto3 client of a server; keyword arguments go into its `Config`."""

    def connected(served: Served, host: str = "127.0.0.1", **config: Any) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{served.port}",
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(**({"retries": {"max_attempts": 1}, "read_timeout": 30} | config)),
        )

    return connected


@pytest.fixture
def s3(served: Served, connect: Connect) -> Any:
    client = connect(served)
    client.create_bucket(Bucket="bucket")
    return client
