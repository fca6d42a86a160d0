"""The checker can fail: each broken rule is caught by a situation, or within a bounded number of seeds."""

import multiprocessing
import warnings

import pytest
from tests.simulation import mutants

SEEDS_MAX = 150

#: Each mutant gets a process of its own, for what it breaks stays broken. They are forked from one that has imported everything.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([mutants.__name__])


@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_a_broken_rule_is_caught(name: str) -> None:
    with PROCESSES.Pool(1, initializer=warnings.simplefilter, initargs=("ignore",)) as process:
        assert process.apply(mutants.noticed, (name, SEEDS_MAX)), f"not by any situation, nor by {SEEDS_MAX} seeds"
