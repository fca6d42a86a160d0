"""The data and the trained versions, made once."""

from __future__ import annotations

import pytest

from bannister.demo.flights import Flights, load
from bannister.demo.training import FEATURES, Version, train


@pytest.fixture(scope="session")
def flights() -> Flights:
    return load()


@pytest.fixture(scope="session")
def versions(flights: Flights) -> dict[str, Version]:
    return {name: train(name, flights) for name in FEATURES}
