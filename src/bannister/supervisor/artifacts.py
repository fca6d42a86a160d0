"""Artifacts: from an `s3://` URL to a folder that nobody writes to again."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from bannister.errors import Invalid, NotFound, Unavailable
from bannister.objects.store import ObjectStore
from bannister.settings import Settings
from bannister.supervisor.artifact import remove, unpack

log = logging.getLogger(__name__)

#: An object that is replaced between being found and being opened is looked for again.
FETCHES_MAX = 3


class Artifacts:
    """Unpacked artifacts, content addressed: the same bytes are unpacked once and shared by groups."""

    def __init__(self, objects: ObjectStore, settings: Settings, fence: Callable[[], None] = lambda: None) -> None:
        """`fence` is called before anything is removed; it does not return when another process has taken over, which may use it."""
        self._objects = objects
        self._settings = settings
        self._fence = fence
        self._busy = asyncio.Lock()

    @asynccontextmanager
    async def obtained(self, url: str, code_url: str | None = None) -> AsyncIterator[Path]:
        """The folder with the artifact's files, and with those of an archive of code in its folder `code`.

        Inside the `async with` nothing is swept, so that its use can be recorded.

        Raises:
            Invalid: It does not exist, is not an archive, or holds what an artifact may not hold.
        """
        async with self._busy:
            yield await self._unpacked(url, code_url)

    async def _unpacked(self, url: str, code_url: str | None) -> Path:
        for _ in range(FETCHES_MAX):
            try:
                archive = await self._fetch(url, "model data")
                code = await self._fetch(code_url, "the model's code") if code_url is not None else None
                return await unpack(archive, self._settings.artifacts_dir, self._settings, code)
            except FileNotFoundError:
                continue  # replaced by another upload since it was found
        raise Unavailable(f"{code_url or url} is replaced again and again.")

    async def _fetch(self, url: str, what: str) -> Path:
        bucket, _, key = url.removeprefix("s3://").partition("/")
        try:
            return await self._objects.fetch(bucket, key)
        except NotFound:
            raise Invalid(f"Could not find {what} at {url}.") from None

    async def sweep(self, in_use: Callable[[], Awaitable[set[str]]]) -> None:
        """Remove the folders that no group uses. One that cannot be removed is said, and left for the next time."""
        async with self._busy:
            used = await in_use()
            for folder in await asyncio.to_thread(_folders, self._settings.artifacts_dir):
                if str(folder) not in used:
                    self._fence()
                    await asyncio.to_thread(_remove, folder)


def _folders(artifacts_dir: Path) -> list[Path]:
    try:
        with os.scandir(artifacts_dir) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:  # nothing was ever unpacked
        return []
    except OSError as error:
        log.warning("artifacts.not_removed What no group uses stays in %s: %s.", artifacts_dir, error)
        return []


def _remove(folder: Path) -> None:
    try:
        remove(folder)
    except OSError as error:  # of another user, or a process that a model left behind still writes there
        log.warning("artifacts.not_removed %s is used by no group and cannot be removed: %s.", folder, error)
