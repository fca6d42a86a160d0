"""Databases are for their user only, whatever the data directory is."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from bannister.clock import SystemClock
from bannister.metrics.sqlite import SqliteMetrics
from bannister.settings import Settings
from bannister.state.sqlite import SqliteState


def _open_state(settings: Settings) -> SqliteState:
    return SqliteState(settings.state_path)


def _open_metrics(settings: Settings) -> SqliteMetrics:
    return SqliteMetrics(settings, SystemClock())


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    tmp_path.chmod(0o755)
    return Settings(data_dir=tmp_path)


@pytest.mark.parametrize("made_by_an_earlier_version", [False, True])
@pytest.mark.parametrize("make", [_open_state, _open_metrics])
async def test_a_database_is_for_its_user_only(
    settings: Settings, make: Callable[[Settings], SqliteState | SqliteMetrics], made_by_an_earlier_version: bool
) -> None:
    database = settings.state_path if make is _open_state else settings.metrics_path
    if made_by_an_earlier_version:
        for suffix in ("", "-wal"):
            database.with_name(database.name + suffix).touch(0o644)
    store = make(settings)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in settings.data_dir.glob("*.db*")}
    await store.close()
    assert {database.name, f"{database.name}-wal"} <= modes.keys()
    assert set(modes.values()) == {0o600}
