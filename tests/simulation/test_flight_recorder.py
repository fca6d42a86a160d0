"""Every decision of simulated worlds is the same when it is taken again from its record, which has what it was decided on."""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator

import pytest
from tests.scenarios.recorder import check_evidence, check_others
from tests.simulation.story import Script, tell
from tests.simulation.world import Violation, World

from bannister.domain.deployment.recorder import DECIDED, WAITED, disagreements
from bannister.domain.scaling import SCALED
from bannister.operations.story import REFUSED, ROLLBACK_REFUSED, ROLLBACK_REQUESTED
from bannister.state.store import Entry


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def journal(seed: int) -> list[Entry]:
    world = World(seed, parts=None)
    with contextlib.suppress(Violation):  # another test's matter
        world.loop.run(tell(world, Script(scalings=True, wishes=True, fault_seconds=3.0)))
    return world.medium.entries


def decisions(entries: list[Entry]) -> list[dict]:
    return [entry.body for entry in entries if entry.kind == DECIDED]


def test_decisions_among_faults_are_the_same_when_taken_again() -> None:
    """Of every kind that there is: the few worlds together have them all."""
    kinds = Counter[str]()
    for seed in range(18, 22):
        entries = journal(seed)
        kinds.update(entry.kind for entry in entries)
        assert len(decisions(entries)) > 20
        assert disagreements(decisions(entries)) == []
        assert check_others([(entry.kind, entry.body) for entry in entries]) > 5
    assert {DECIDED, SCALED, REFUSED, ROLLBACK_REQUESTED, ROLLBACK_REFUSED, WAITED} <= kinds.keys()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_decisions_of_many_worlds_are_the_same_when_taken_again(seed: int) -> None:
    entries = journal(seed)
    assert disagreements(decisions(entries)) == []
    check_others([(entry.kind, entry.body) for entry in entries])
    check_evidence([(entry.kind, entry.body) for entry in entries])
