"""Every decision of simulated worlds is the same when it is taken again from its record."""

import contextlib
import logging
from collections.abc import Iterator

import pytest
from tests.simulation.story import Script, tell
from tests.simulation.world import Violation, World

from bannister.domain.deployment.recorder import DECIDED, disagreements


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def decisions(seed: int) -> list[dict]:
    world = World(seed, parts=None)
    with contextlib.suppress(Violation):  # another test's matter
        world.loop.run(tell(world, Script()))
    return [entry.body for entry in world.medium.entries if entry.kind == DECIDED]


def test_decisions_among_faults_are_the_same_when_taken_again() -> None:
    bodies = decisions(seed=1)
    assert len(bodies) > 20
    assert disagreements(bodies) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_decisions_of_many_worlds_are_the_same_when_taken_again(seed: int) -> None:
    assert disagreements(decisions(seed)) == []
