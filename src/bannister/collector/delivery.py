"""Moves finished files of captured records from the spool into the object store.

A file is put under its own key and then removed from the spool. A control plane that is killed in between puts it again, which changes nothing. A file that its bucket does not take stays where
it is, and is tried again later and later; what captured records are not delivered, and why, is said in the log once and asked of `trouble`.
What is too old by then is given up: it gets another ending, and the capture process, which counts what becomes of records, counts and removes it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bannister.clock import Clock
from bannister.domain.capture.spooled import READY, UNDELIVERED, UNREADABLE, Destination, read_destination
from bannister.errors import Fenced, Invalid, NotFound, Unavailable
from bannister.objects.store import ObjectStore
from bannister.settings import Settings

log = logging.getLogger(__name__)

_BLOCK_BYTES = 256 * 1024
#: Files that are looked at before the event loop gets a turn.
_LOOKED_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class _Ready:
    """What a finished file's first line says: where its records go. `begin`: where they begin, in bytes."""

    to: Destination
    begin: int


@dataclass(frozen=True, slots=True)
class _Trouble:
    sentence: str
    wait_seconds: float
    again_at: float


class Delivery:
    """Delivers for as long as it runs. For one event loop."""

    def __init__(self, settings: Settings, objects: ObjectStore, clock: Clock) -> None:
        self._settings = settings
        self._objects = objects
        self._clock = clock
        #: By bucket.
        self._troubles: dict[str, _Trouble] = {}
        #: What the last look found, the oldest first; None: it does not say where it goes.
        self._waiting: dict[str, _Ready | None] = {}
        #: The last look failed, which was said.
        self._blind = False

    def trouble(self, bucket: str) -> str | None:
        """Why captured records do not get into this bucket, as a sentence; None: they do, as far as is known."""
        found = self._troubles.get(bucket)
        return found.sentence if found is not None else None

    async def run(self) -> None:
        """Look for finished files until cancelled."""
        while True:
            await self.deliver()
            await asyncio.sleep(self._settings.capture_delivery_seconds)

    async def deliver(self) -> None:
        """Move what is finished and not waiting for its bucket, the oldest first."""
        try:
            self._waiting = await asyncio.to_thread(_look, self._settings.capture_dir, self._waiting)
        except OSError as error:  # too many open files, no permission, a failing disk: it may pass
            if not self._blind:
                log.warning("capture.not_delivered %s cannot be listed: %s.", self._settings.capture_dir, error)
            self._blind = True
            return
        if self._blind:
            log.info("capture.delivered %s can be listed again.", self._settings.capture_dir)
        self._blind = False
        given_up: Counter[str] = Counter()
        for number, (name, found) in enumerate(list(self._waiting.items())):
            path = self._settings.capture_dir / name
            if number % _LOOKED_AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                if found is None:
                    log.warning("capture.unreadable %s does not say where its records go; it is dropped.", path)
                    path.rename(path.with_suffix(UNREADABLE))
                    continue
                trouble = self._troubles.get(found.to.bucket)
                if trouble is None or self._clock.monotonic() >= trouble.again_at:
                    await self._deliver_one(path, found)
                elif self._is_too_old(path):
                    path.rename(path.with_suffix(UNDELIVERED))
                    given_up[found.to.bucket] += 1
            except Fenced:
                raise
            except Exception:  # one bad file must not keep the others
                log.exception("capture.not_delivered %s", path)
        for bucket, files in given_up.items():
            hours = self._settings.capture_undelivered_seconds_max / 3600
            log.warning("capture.given_up %d files for s3://%s, which did not take them in %g h.", files, bucket, hours)

    async def _deliver_one(self, path: Path, found: _Ready) -> None:
        to = found.to
        try:
            if path.stat().st_size > found.begin:
                await self._objects.put(to.bucket, to.key, _records(path, found.begin), self._clock.now())
        except NotFound:
            self._note(to.bucket, f"the bucket {to.bucket} does not exist; create it, or name another one")
        except (Invalid, Unavailable) as error:
            self._note(to.bucket, str(error))
        else:
            if self._troubles.pop(to.bucket, None) is not None:
                log.info("capture.delivered again to the bucket %s.", to.bucket)
            path.unlink()

    def _is_too_old(self, path: Path) -> bool:
        """By the milliseconds with which its name begins: when it was begun."""
        began = path.name.partition("-")[0]
        limit = self._settings.capture_undelivered_seconds_max
        return began.isdecimal() and self._clock.now() - int(began) / 1000 > limit

    def _note(self, bucket: str, why: str) -> None:
        before = self._troubles.get(bucket)
        least, most = self._settings.capture_retry_seconds_min, self._settings.capture_retry_seconds_max
        wait = min(before.wait_seconds * 2, most) if before is not None else least
        sentence = f"Captured records for s3://{bucket} cannot be delivered: {why.rstrip('.')}."
        if before is None:
            log.warning("capture.not_delivered %s They wait in %s.", sentence, self._settings.capture_dir)
        self._troubles[bucket] = _Trouble(sentence, wait, self._clock.monotonic() + wait)


def _look(directory: Path, known: Mapping[str, _Ready | None]) -> dict[str, _Ready | None]:
    """By name, all finished files, the oldest first. In a thread: of those that are not known yet a line is read, and many may be waiting.

    Raises:
        OSError: The directory cannot be listed.
    """
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries if entry.name.endswith(READY))
    except FileNotFoundError:  # nothing was ever captured
        return {}
    found: dict[str, _Ready | None] = {}
    for name in names:
        if name in known:
            found[name] = known[name]
            continue
        try:
            with (directory / name).open("rb") as file:
                read = read_destination(file)
        except OSError as error:
            log.warning("capture.not_delivered %s cannot be read: %s.", directory / name, error)
            continue
        found[name] = _Ready(*read) if read is not None else None
    return found


async def _records(path: Path, start: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(_BLOCK_BYTES):
            yield block
