"""One real server for all that leaves it whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.crashes.harm import SETTLED_SECONDS
from tests.scenarios.world import Server, World


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    # Parts are killed more often than by chance: an end is the first again after so long.
    server = Server(tmp_path_factory.mktemp("server") / "data", part_settled_seconds=SETTLED_SECONDS)
    try:
        yield World(server)
    finally:
        assert server.stop() == 0
        assert server.leftovers() == []
