"""What the simulation found in the product, each kept as the seed that showed it."""

import random
from dataclasses import replace

import pytest
from tests.simulation.simulate import simulate
from tests.simulation.story import Script

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

#: Seed, and what it showed when it was found.
FOUND = {
    100: "A thawed control plane overwrote the instance records of its successor: the next one took all instances for strays and ended them.",
    3043: "Green was removed when one proxy of two had come back to a restarted control plane, while the other still routed to it.",
    4095: "A control plane restarted while blue retired withdrew the endpoint's routes, because not every green instance was seen healthy.",
    5076: "An instance that fell silent while its group drained was stopped with requests in flight, which no proxy counted any more.",
    5271: "A restarted control plane took the only instance, which had hung, from the proxies; it had answered again, and a request found nobody.",
    10104: "The same, where it had answered again before its group began to drain.",
}


#: The same, in worlds as they were drawn before some had composite alarms.
FOUND_SINCE = {
    2552: "A proxy was held to a split that it had been sent, and had not answered for longer than its lease.",
    4496: "The same proxy's requests in flight were not waited for when their group went, though it was there to be asked.",
}


@pytest.mark.parametrize("seed", FOUND, ids=map(str, FOUND))
def test_what_was_found_stays_mended(seed: int) -> None:
    simulate(seed, _world(seed))


@pytest.mark.parametrize("seed", FOUND_SINCE, ids=map(str, FOUND_SINCE))
def test_what_was_found_since_stays_mended(seed: int) -> None:
    simulate(
        seed,
        replace(
            Script.of(seed),
            captures=False,
            composites=False,
            scalings=False,
            rolling=False,
            listeners=False,
            variants=False,
        ),
    )


def _world(seed: int) -> Script:
    """As worlds were when these were found."""
    rng = random.Random(-seed)
    return Script(
        endpoints=rng.choice((1, 2, 3, 4)),
        deployments=5,
        fault_seconds=rng.choice((None, 1.5, 3.0, 3.0, 6.0, 12.0)),
        proxies=rng.choice((1, 1, 2)),
    )
