"""The data and the three trained versions, made once."""

from __future__ import annotations

import pytest

from bannister.demo.flights import Flights, load
from bannister.demo.training import Version, train


@pytest.fixture(scope="session")
def flights() -> Flights:
    return load()


@pytest.fixture(scope="session")
def versions(flights: Flights) -> dict[str, Version]:
    return {name: train(name, flights) for name in ("v1", "v2", "v3")}
