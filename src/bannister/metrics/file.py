"""The SQLite file of the metric store: how it is opened, written in transactions, and what is in the bodies of its rows.

It is written through (WAL, `synchronous=NORMAL`: a commit costs no disk flush, so the last moments before a power cut may be missing, which for metrics is the right
trade). A row stands for a stretch of time, its `span`: one second when it is stored, a minute or more once it is rolled up, and then its body is compressed: weights of sketches are
mostly small whole numbers, so they become a quarter of their size.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from bannister.disk import database_is_damaged
from bannister.domain.comparison.report import GroupTally
from bannister.domain.metric.aggregate import Aggregate
from bannister.domain.metric.identity import MetricIdentity
from bannister.domain.metric.summary import Summary
from bannister.errors import Unavailable
from bannister.metrics.schema import migrate
from bannister.privacy import close_database

_COMPRESSION_LEVEL: Final = 1
_WAL_BYTES_MAX: Final = 16 * 1024 * 1024

encode: Final = msgspec.msgpack.encode
SUMMARY: Final = msgspec.msgpack.Decoder(Summary)
TALLY: Final = msgspec.msgpack.Decoder(GroupTally)
AGGREGATE: Final = msgspec.msgpack.Decoder(Aggregate)
IDENTITY: Final = msgspec.msgpack.Decoder(MetricIdentity)


def compressed(one: Summary | GroupTally | Aggregate) -> bytes:
    """The body of a row that stands for a longer span."""
    return zlib.compress(encode(one), _COMPRESSION_LEVEL)


def unpacked(stored: bytes, span: int) -> bytes:
    """What is in a row's body, to be decoded."""
    return stored if span == 1 else zlib.decompress(stored)


class MetricsFile:
    """The file, open. For one thread."""

    def __init__(self, path: Path, fence: Callable[[], None]) -> None:
        """Open it, made or brought up to this version.

        Args:
            path: Where it is.
            fence: Called in each transaction; it does not return when another process has taken over.

        Raises:
            Unavailable: It cannot be used, is damaged, or is of a later version.
        """
        self._fence = fence
        with unavailable():
            path.parent.mkdir(parents=True, exist_ok=True)
            close_database(path)
            self.connection = sqlite3.connect(path, timeout=1.0, isolation_level=None)
        self._path = path
        with self.opening():
            # Takes effect in a new file: an older one reuses its free pages, and keeps the size it once had.
            self.connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.connection.execute(f"PRAGMA journal_size_limit={_WAL_BYTES_MAX}")
            self.connection.execute("PRAGMA synchronous=NORMAL")
            migrate(self.connection, path)

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        """Around the first look at what is in it: where that fails the file is closed, and `Unavailable` says whether it is damaged."""
        try:
            with unavailable():
                yield
        except Unavailable as error:
            self.connection.close()
            if isinstance(error.__cause__, sqlite3.Error) and database_is_damaged(error.__cause__):
                raise Unavailable(_damaged(self._path, error.__cause__)) from error
            raise

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit all or nothing. Raises `Unavailable` when that cannot be done."""
        with unavailable():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                self._fence()
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:  # a full disk may have ended it already
                    self.connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with unavailable():
            self.connection.close()


def _damaged(path: Path, error: sqlite3.Error) -> str:
    return (
        f"The file of metrics {path} is damaged ({error}). Nothing was changed. Move it away, with {path.name}-wal and {path.name}-shm: metrics of the "
        "past are lost, and all else goes on; a backup made with --metrics holds those until then."
    )


@contextlib.contextmanager
def unavailable() -> Iterator[None]:
    """What SQLite cannot do, and a row that is not what was written, is `Unavailable`."""
    try:
        yield
    except (sqlite3.Error, msgspec.MsgspecError) as error:
        raise Unavailable(f"The metric store cannot be used: {error}.") from error
