"""The images of containers: found at the engine, pulled from their registry, and pinned.

A tag may come to mean something else. The first container of a group decides (pulled or not, as `container_pull` or the image's row says) which image, by its id, all of
the group's containers are made from, also those that are started years later. Where somebody has removed that image it is pulled again by its digest, never by its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncGenerator, Callable
from typing import Final
from urllib.parse import quote

from bannister.instances.engine import Engine, EngineRefused
from bannister.instances.records import FolderRecords, PinnedImage
from bannister.instances.registry_logins import login_for
from bannister.settings import Pull, Settings

_logger = logging.getLogger(__name__)
#: Of one line in which the engine tells of a pull, in bytes.
_LINE_BYTES_MAX: Final = 64 * 1024
_MESSAGE_CHARACTERS_MAX: Final = 400


class NoImage(Exception):
    """The image is not to be had; why, as the end of a sentence."""


class ContainerImages:
    """Which image each group runs. Any number may ask at the same time: one pulls an image, the others wait for it."""

    def __init__(self, settings: Settings, records: FolderRecords, fence: Callable[[], None]) -> None:
        """`records`: where the images of groups are pinned. `fence`: raises when another control plane has taken over."""
        self._settings = settings
        self._records = records
        self._fence = fence
        #: By image: one pull at a time.
        self._pulls: dict[str, asyncio.Lock] = {}

    async def of_group(self, engine: Engine, group: str, name: str, pull: Pull | None) -> str:
        """The id of the image that a group runs, pulled if need be.

        Args:
            engine: That is to have it.
            group: The group's id.
            name: The image's, as its model has it.
            pull: When to fetch it; None: as the setting `container_pull` says.

        Raises:
            NoImage: It is not there, and cannot or must not be pulled.
            Unavailable: The engine does not answer.
        """
        pinned = self._records.pinned_image(group)
        if pinned is None or await _inspected(engine, pinned.id) is None:
            async with self._pulls.setdefault(name, asyncio.Lock()):
                pinned = self._records.pinned_image(group)  # another instance may have been faster
                policy = pull or self._settings.container_pull
                if pinned is None:
                    pinned = await self._found_or_pulled(engine, name, policy)
                    self._records.pin_image(group, pinned)
                elif await _inspected(engine, pinned.id) is None:
                    await self._pull_again(engine, name, pinned, policy)
        return pinned.id

    async def _found_or_pulled(self, engine: Engine, name: str, policy: Pull) -> PinnedImage:
        if policy != Pull.ALWAYS and (found := await _inspected(engine, name)) is not None:
            return found
        if policy == Pull.NEVER:
            raise NoImage(f"the container engine has no image {name!r}, and container_pull is never")
        await self._pull(engine, name)
        found = await _inspected(engine, name)
        if found is None:
            raise NoImage(f"the image {name!r} was pulled, and is not there")
        return found

    async def _pull_again(self, engine: Engine, name: str, pinned: PinnedImage, policy: Pull) -> None:
        """The image that the group runs, when somebody has removed it: by its digest, never by a name that may mean another by now."""
        removed = f"the image {pinned.id} that this fleet runs, {name!r} when it began, was removed"
        remedy = "load it again (docker load), or update the endpoint: a new fleet takes what the name means now"
        if pinned.source is None:
            raise NoImage(f"{removed}, and no registry is known that has it: {remedy}")
        if policy == Pull.NEVER:
            raise NoImage(f"{removed}, and container_pull is never: docker pull {pinned.source}, {remedy}")
        try:
            await self._pull(engine, pinned.source)
        except NoImage as failure:
            raise NoImage(f"{removed}, and {failure}: pull it, {remedy}") from None
        if await _inspected(engine, pinned.id) is None:
            raise NoImage(f"{removed}, and {pinned.source} is another by its id: {remedy}")

    async def _pull(self, engine: Engine, name: str) -> None:
        self._fence()
        _logger.info("Image %s is pulled", name)
        login = await asyncio.to_thread(login_for, name, os.environ)
        instead = "" if login.why_none is None else f" {login.why_none}"
        headers = {} if login.header is None else {"X-Registry-Auth": login.header}
        seconds = self._settings.container_pull_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                told = engine.stream("POST", "/images/create", {"fromImage": _with_tag(name)}, headers=headers)
                trouble = await trouble_in(told)
        except EngineRefused as error:
            trouble = str(error)
        except TimeoutError:
            raise NoImage(f"the image {name!r} was not pulled within {seconds:g} seconds") from None
        if trouble is not None:
            raise NoImage(f"the image {name!r} cannot be pulled ({trouble}){_clause(instead)}")


async def _inspected(engine: Engine, name: str) -> PinnedImage | None:
    try:
        found = await engine.call("GET", f"/images/{quote(name, safe='/:@')}/json")
    except EngineRefused as refusal:
        if refusal.status == 404:
            return None
        raise
    return PinnedImage(str(found["Id"]), next(map(str, found.get("RepoDigests") or ()), None))


def _clause(sentence: str) -> str:
    """A sentence as what ends another."""
    return sentence if not sentence else f".{sentence.removesuffix('.')}"


def _with_tag(name: str) -> str:
    """Without one, an engine would pull every tag."""
    last = name.rpartition("/")[2]
    return name if ":" in last or "@" in last else f"{name}:latest"


async def trouble_in(told: AsyncGenerator[bytes, None]) -> str | None:
    """What went wrong in a pull whose answer had begun with 200; None: nothing. It is told line by line, and of many layers, or slow ones, there are any number."""
    found, rest = None, b""
    async with contextlib.aclosing(told) as stream:
        async for piece in stream:
            *lines, rest = (rest + piece).split(b"\n")
            found = next(filter(None, map(_error, lines)), found)
            rest = rest[-_LINE_BYTES_MAX:]
    return _error(rest) or found


def _error(line: bytes) -> str | None:
    with contextlib.suppress(ValueError):
        said = json.loads(line) if b'"error"' in line else None
        if isinstance(said, dict) and "error" in said:
            return " ".join(str(said["error"]).split())[:_MESSAGE_CHARACTERS_MAX]
    return None
