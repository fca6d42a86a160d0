"""What the simulation found in the product, each kept as the seed that showed it."""

import pytest
from tests.simulation.simulate import simulate

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


@pytest.mark.parametrize("seed", FOUND, ids=map(str, FOUND))
def test_what_was_found_stays_mended(seed: int) -> None:
    simulate(seed)
