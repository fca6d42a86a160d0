"""Artifacts: from an `s3://` URL to a folder that nobody writes to again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from bannister.errors import Invalid, NotFound, Unavailable
from bannister.objects.store import ObjectStore
from bannister.settings import Settings
from bannister.supervisor.artifact import remove, unpack

#: An object that is replaced between being found and being opened is looked for again.
FETCHES_MAX = 3


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
        async with self._busy:
            yield await self._unpacked(url)

    async def _unpacked(self, url: str) -> Path:
        bucket, _, key = url.removeprefix("s3://").partition("/")
        for _ in range(FETCHES_MAX):
            try:
                archive = await self._objects.fetch(bucket, key)
                return await unpack(archive, self._settings.artifacts_dir, self._settings)
            except NotFound:
                raise Invalid(f"Could not find model data at {url}.") from None
            except FileNotFoundError:
                continue  # replaced by another upload since it was found
        raise Unavailable(f"{url} is replaced again and again.")

    async def sweep(self, in_use: Callable[[], Awaitable[set[str]]]) -> None:
        """Remove the folders that no group uses."""
        async with self._busy:
            if not self._settings.artifacts_dir.is_dir():
                return
            used = await in_use()
            for folder in self._settings.artifacts_dir.iterdir():
                if str(folder) not in used:
                    await asyncio.to_thread(remove, folder)
