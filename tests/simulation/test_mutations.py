"""The checker can fail: each broken rule is caught by a situation, or within a bounded number of seeds."""

import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor

import pytest
from tests.simulation import mutants

SEEDS_MAX = 150

#: Each mutant gets a process of its own, for what it breaks stays broken. They are forked from one that has imported everything.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([mutants.__name__])
#: Undone mends of what the simulation found in the product (docs/simulation.md): the situation that is kept for each goes on catching it.
FOUND = (
    "instances touched by a control plane that was replaced",
    "green without traffic while blue retires",
    "a bake that is over while blue has green's share",
    "proxies that have not come back forgotten",
    "requests of one that is silent forgotten",
    "requests of one that was silent forgotten",
    "the last ones taken from the proxies when they are silent",
    "requests of a proxy that is late forgotten",
)


@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_a_broken_rule_is_caught(name: str) -> None:
    with ProcessPoolExecutor(1, PROCESSES, warnings.simplefilter, ("ignore",)) as process:
        noticed = process.submit(mutants.noticed, name, SEEDS_MAX).result()
    assert noticed, f"not by any situation, nor by {SEEDS_MAX} seeds"
    if name in FOUND:
        assert noticed.startswith(f'"{mutants.MUTANTS[name][1]}"')
