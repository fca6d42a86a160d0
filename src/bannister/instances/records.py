"""Records of instances as files, one JSON document each, replaced by renaming.

    instances/
      backend.json            the highest epoch seen, where the search for a port goes on
      groups/ID.json          a group that is wanted: its spec and count (ID.image: the image of its containers)
      running/ID/             an instance: record.json, log (with log.1, what came before, and log.times), work (its working directory)
      past/ID.log             what the last instances printed that are gone (with ID.log.times and ID.json, the record)

Nothing is synced to the disk: a power failure that could lose a record ends the process that it describes as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec

from bannister.errors import Unavailable
from bannister.instances.folder_logs import FolderLogs
from bannister.instances.host import GroupRecord, InstanceRecord, Remembered

T = TypeVar("T")

_logger = logging.getLogger(__name__)


class PinnedImage(msgspec.Struct, frozen=True):
    """The image that a group runs."""

    #: Whatever names it had, or will have.
    id: str
    #: `REPOSITORY@DIGEST`, by which a registry gave it; None: it was made here, or loaded.
    source: str | None = None


#: An image as it is kept; its id alone, as earlier versions kept it.
_PINNED: Final[Any] = str | PinnedImage


class FolderRecords:
    """Records in a folder. One process at a time: the data directory's lock sees to that."""

    def __init__(self, folder: Path, logs: FolderLogs, fence: Callable[[], None] = lambda: None) -> None:
        """`fence` is called before anything is written; it does not return when another process has taken over."""
        self._fence = fence
        self._folder = folder
        self._groups = folder / "groups"
        self._running = folder / "running"
        self._past = folder / "past"
        self._logs = logs
        self._backend: dict[str, int] = {}

    def load(self) -> Remembered:
        for folder in (self._groups, self._running, self._past):
            folder.mkdir(parents=True, exist_ok=True)
        self._backend = _read(self._folder / "backend.json", dict[str, int]) or {}
        groups = [_read(file, GroupRecord) for file in sorted(self._groups.glob("*.json"))]
        found = [(folder.name, _read(folder / "record.json", InstanceRecord)) for folder in self._running.iterdir()]
        for name, record in found:
            if record is None:  # cut off before it was recorded, so nothing was started for it
                self.forget_instance(name)
        return Remembered(
            epoch=self._backend.get("epoch", 0),
            groups=[group for group in groups if group is not None],
            instances=sorted((record for _, record in found if record), key=lambda record: record.sequence),
        )

    def save_epoch(self, epoch: int) -> None:
        self._save_backend("epoch", epoch)

    @property
    def next_port(self) -> int | None:
        return self._backend.get("next_port")

    def save_next_port(self, port: int) -> None:
        self._save_backend("next_port", port)

    def save_group(self, record: GroupRecord) -> None:
        self._fence()
        _write(self._group_file(record.spec.id), record)

    def forget_group(self, group: str) -> None:
        self._fence()
        self._group_file(group).unlink(missing_ok=True)
        self._image_file(group).unlink(missing_ok=True)

    def save_instance(self, record: InstanceRecord) -> None:
        self._fence()
        folder = self._running / record.id
        try:
            self.work_dir(record.id).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"{folder} cannot be made: {error.strerror}.") from error
        _write(folder / "record.json", record)

    def forget_instance(self, instance: str) -> None:
        self._fence()
        self._logs.retire(instance)

    def environments_in_use(self) -> set[str]:
        """The folders of environments that instances have."""
        if not self._running.exists():
            return set()
        found = [_read(folder / "record.json", InstanceRecord) for folder in self._running.iterdir()]
        return {record.environment for record in found if record is not None and record.environment is not None}

    def pinned_image(self, group: str) -> PinnedImage | None:
        """The image that all containers of a group are made from; None: it is not decided yet."""
        found: str | PinnedImage | None = _read(self._image_file(group), _PINNED)
        return PinnedImage(found) if isinstance(found, str) else found

    def pin_image(self, group: str, image: PinnedImage) -> None:
        self._fence()
        _write(self._image_file(group), image)

    def log_tail(self, instance: str, lines: int) -> list[str]:
        return self._logs.tail(instance, lines)

    def work_dir(self, instance: str) -> Path:
        return self._running / instance / "work"

    def _group_file(self, group: str) -> Path:
        return self._groups / f"{quote(group, safe='')}.json"

    def _image_file(self, group: str) -> Path:
        return self._groups / f"{quote(group, safe='')}.image"

    def _save_backend(self, key: str, value: int) -> None:
        self._fence()
        self._backend[key] = value
        _write(self._folder / "backend.json", self._backend)


def _read(file: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        _logger.warning("%s cannot be read and is ignored: %s", file, error)
        return None


def _write(file: Path, value: Any) -> None:
    partial = file.with_suffix(".partial")
    try:
        partial.write_bytes(msgspec.json.encode(value))
        partial.replace(file)
    except OSError as error:
        raise Unavailable(f"{file} cannot be written: {error.strerror}.") from error
