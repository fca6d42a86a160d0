"""One real server for all that leaves it whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.scenarios.world import Server, World


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    server = Server(tmp_path_factory.mktemp("server") / "data")
    try:
        yield World(server)
    finally:
        assert server.stop() == 0
        assert server.leftovers() == []
