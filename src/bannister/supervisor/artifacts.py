"""Artifacts: from an `s3://` URL to a folder that nobody writes to again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from bannister.errors import Invalid, NotFound
from bannister.objects.store import ObjectStore
from bannister.settings import Settings
from bannister.supervisor.artifact import remove, unpack


class Artifacts:
    """Unpacked artifacts, content addressed: the same bytes are unpacked once and shared by groups."""

    def __init__(self, objects: ObjectStore, settings: Settings) -> None:
        self._objects = objects
        self._settings = settings
        self._busy = asyncio.Lock()

    @asynccontextmanager
    async def obtained(self, url: str) -> AsyncIterator[Path]:
        """The folder with the artifact's files; inside the `async with` nothing is swept, so that its use can be recorded.

        Raises:
            Invalid: It does not exist, is not an archive, or holds what an artifact may not hold.
        """
        bucket, _, key = url.removeprefix("s3://").partition("/")
        async with self._busy:
            try:
                archive = await self._objects.fetch(bucket, key)
            except NotFound:
                raise Invalid(f"Could not find model data at {url}.") from None
            yield await unpack(archive, self._settings.artifacts_dir, self._settings)

    async def sweep(self, in_use: Callable[[], Awaitable[set[str]]]) -> None:
        """Remove the folders that no group uses."""
        async with self._busy:
            if not self._settings.artifacts_dir.is_dir():
                return
            used = await in_use()
            for folder in self._settings.artifacts_dir.iterdir():
                if str(folder) not in used:
                    await asyncio.to_thread(remove, folder)
