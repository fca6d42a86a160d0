"""One real server for a module's scenarios, stopped afterwards with nothing left behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.scenarios.world import Server, World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    server = Server(tmp_path_factory.mktemp("server") / "data")
    try:
        yield World(server)
    finally:
        assert server.stop() == 0
        assert server.leftovers() == []


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "load.jsonl"
