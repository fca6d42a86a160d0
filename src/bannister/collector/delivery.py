"""Moves finished files of captured records from the spool into the object store.

A file is put under its own key and then removed from the spool. A control plane that is killed in between puts it again, which changes nothing. A file that its bucket does not take stays where
it is, and is tried again later and later; what captured records are not delivered, and why, is said in the log once and asked of `trouble`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bannister.clock import Clock
from bannister.domain.capture.spooled import READY, Destination
from bannister.errors import Fenced, Invalid, NotFound, Unavailable
from bannister.objects.store import ObjectStore
from bannister.settings import Settings

log = logging.getLogger(__name__)

_BLOCK_BYTES = 256 * 1024
#: Of a file's first line.
_DESTINATION_BYTES_MAX = 16 * 1024


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
        for path in sorted(self._settings.capture_dir.glob(f"*{READY}")):
            try:
                await self._deliver_one(path)
            except Fenced:
                raise
            except Exception:  # one bad file must not keep the others
                log.exception("capture.not_delivered %s", path)

    async def _deliver_one(self, path: Path) -> None:
        with path.open("rb") as file:
            first = file.readline(_DESTINATION_BYTES_MAX)
        try:
            to = msgspec.json.decode(first, type=Destination)
        except msgspec.MsgspecError:
            log.warning("capture.unreadable %s does not say where its records go; it is put aside.", path)
            path.rename(path.with_suffix(".unreadable"))
            return
        trouble = self._troubles.get(to.bucket)
        if trouble is not None and self._clock.monotonic() < trouble.again_at:
            return
        try:
            if path.stat().st_size > len(first):
                await self._objects.put(to.bucket, to.key, _records(path, len(first)), self._clock.now())
        except NotFound:
            self._note(to.bucket, f"the bucket {to.bucket} does not exist; create it, or name another one")
        except (Invalid, Unavailable) as error:
            self._note(to.bucket, str(error))
        else:
            if self._troubles.pop(to.bucket, None) is not None:
                log.info("capture.delivered again to the bucket %s.", to.bucket)
            path.unlink()

    def _note(self, bucket: str, why: str) -> None:
        before = self._troubles.get(bucket)
        least, most = self._settings.capture_retry_seconds_min, self._settings.capture_retry_seconds_max
        wait = min(before.wait_seconds * 2, most) if before is not None else least
        sentence = f"Captured records for s3://{bucket} cannot be delivered: {why.rstrip('.')}."
        if before is None:
            log.warning("capture.not_delivered %s They wait in %s.", sentence, self._settings.capture_dir)
        self._troubles[bucket] = _Trouble(sentence, wait, self._clock.monotonic() + wait)


async def _records(path: Path, start: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(_BLOCK_BYTES):
            yield block
