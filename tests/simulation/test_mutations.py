"""The checker can fail: each broken rule is caught by a situation, or within a bounded number of seeds."""

import subprocess
import sys

import pytest
from tests.simulation.mutants import MUTANTS

SEEDS_MAX = 150


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_caught(name: str) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.simulation.mutants", name, "--seeds", str(SEEDS_MAX)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("caught by"), done.stdout + done.stderr
