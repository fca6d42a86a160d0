"""The shape of the metrics file, and the way from every earlier shape to this one.

Files of the first versions carry no number and hold the tables of the first step, which therefore are made only where they are missing. Every step runs in
one transaction together with its number (`user_version`).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from bannister.errors import Unavailable

#: Append only.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE IF NOT EXISTS groups (
            name TEXT PRIMARY KEY, endpoint TEXT NOT NULL, variant TEXT NOT NULL, config_name TEXT NOT NULL,
            instance_count INTEGER NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE IF NOT EXISTS runs (
            name TEXT PRIMARY KEY, sequence INTEGER NOT NULL, seen_at REAL NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE IF NOT EXISTS summaries (
            group_name TEXT NOT NULL, second INTEGER NOT NULL, answered INTEGER NOT NULL, body BLOB NOT NULL
        )""",
        "CREATE INDEX IF NOT EXISTS summaries_by_group ON summaries (group_name, second, answered)",
        "CREATE INDEX IF NOT EXISTS summaries_by_second ON summaries (second)",
        "CREATE TABLE IF NOT EXISTS tallies (group_name TEXT NOT NULL, second INTEGER NOT NULL, body BLOB NOT NULL)",
        "CREATE INDEX IF NOT EXISTS tallies_by_group ON tallies (group_name, second)",
        "CREATE INDEX IF NOT EXISTS tallies_by_second ON tallies (second)",
        "CREATE TABLE IF NOT EXISTS metrics (id INTEGER PRIMARY KEY, identity BLOB NOT NULL UNIQUE)",
        "CREATE TABLE IF NOT EXISTS data (metric INTEGER NOT NULL, at REAL NOT NULL, body BLOB NOT NULL)",
        "CREATE INDEX IF NOT EXISTS data_by_metric ON data (metric, at)",
        "CREATE INDEX IF NOT EXISTS data_by_time ON data (at)",
    ),
    # Tiers: each row stands for `span` seconds. Data are readable with multiples of `resolution`, which is the span once they are rolled up.
    (
        "ALTER TABLE summaries ADD COLUMN span INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE tallies ADD COLUMN span INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE data ADD COLUMN span INTEGER NOT NULL DEFAULT 1",
        "ALTER TABLE data ADD COLUMN resolution INTEGER NOT NULL DEFAULT 1",
        "DROP INDEX summaries_by_second",
        "DROP INDEX tallies_by_second",
        "DROP INDEX data_by_time",
        "CREATE INDEX summaries_by_tier ON summaries (span, second)",
        "CREATE INDEX tallies_by_tier ON tallies (span, second)",
        "CREATE INDEX data_by_tier ON data (span, at)",
    ),
    # One row: the newest account of capture.
    ("CREATE TABLE capture_account (id INTEGER PRIMARY KEY CHECK (id = 1), body BLOB NOT NULL)",),
    # The same of telemetry: the newest account of copies that were not made.
    ("CREATE TABLE skipped_account (id INTEGER PRIMARY KEY CHECK (id = 1), body BLOB NOT NULL)",),
)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a file to the newest version, one transaction for each step.

    Raises:
        Unavailable: A later version wrote it; the file was not touched.
    """
    if _version(connection) > len(MIGRATIONS):
        raise Unavailable(
            f"{path} was written by a later version of Bannister (schema {_version(connection)}; this one knows {len(MIGRATIONS)}): use that "
            "version, or move the file away to begin with empty metrics. Nothing was changed."
        )
    while _version(connection) < len(MIGRATIONS):
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = _version(connection)  # inside: another process may have been faster
            for step in MIGRATIONS[version : version + 1]:
                for statement in step:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
