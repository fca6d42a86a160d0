"""Many worlds, on every core: `python -m tests.simulation.soak --deployments 10000`; with `--record`, the result goes into docs/simulation.md."""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.simulate import simulate

PAGE = Path("docs/simulation.md")
HEADING = "## Recorded runs"


@dataclass
class Tally:
    """What all worlds together came to."""

    worlds: int = 0
    cpu_seconds: float = 0.0
    virtual_seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    @property
    def deployments(self) -> int:
        """Those that ended, creations included."""
        return self.counts["completed"] + self.counts["rolled back"]


def soak(first_seed: int, deployments: int, seconds: float, workers: int) -> Tally:
    """Run worlds from a seed on until so many deployments have ended, the time is over, or a property does not hold."""
    tally, until = Tally(), time.monotonic() + seconds
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for one in pool.imap_unordered(_world, _seeds(first_seed, until)):
            if isinstance(one, str):
                tally.violations.append(one)
            else:
                cpu_seconds, virtual_seconds, counts = one
                tally.worlds += 1
                tally.cpu_seconds += cpu_seconds
                tally.virtual_seconds += virtual_seconds
                tally.counts.update(counts)
            if tally.deployments >= deployments or tally.violations or time.monotonic() > until:
                break
    return tally


def _seeds(first: int, until: float) -> Iterator[int]:
    for seed in itertools.count(first):
        if time.monotonic() > until:
            return
        yield seed


def _world(seed: int) -> tuple[float, float, Counter[str]] | str:
    try:
        result = simulate(seed)
    except AssertionError as error:
        return str(error)
    return result.cpu_seconds, result.virtual_seconds, result.counts


def summary(tally: Tally, first_seed: int, took: float, workers: int) -> str:
    per_core = tally.deployments / tally.cpu_seconds if tally.cpu_seconds else 0.0
    return (
        f"{tally.deployments:,} deployments ({tally.counts['completed']:,} completed, {tally.counts['rolled back']:,} rolled back) in "
        f"{tally.worlds:,} worlds, seeds from {first_seed} on, with {tally.counts['faults']:,} faults: {len(tally.violations)} violations. "
        f"{tally.virtual_seconds / 3600:.0f} hours of virtual time in {took:.0f} s on {workers} processes; "
        f"{per_core:.0f} deployments per second of CPU ({1000 / per_core if per_core else 0:.0f} ms each)."
    )


def _revision() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _record(line: str) -> None:
    text = PAGE.read_text()
    at = text.index(HEADING) + len(HEADING)
    today = time.strftime("%Y-%m-%d")
    PAGE.write_text(f"{text[:at]}\n\n- {today}, revision {_revision()}: {line}{text[at:]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deployments", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--record", action="store_true", help="write the result into docs/simulation.md")
    arguments = parser.parse_args()
    began = time.monotonic()
    tally = soak(arguments.seed, arguments.deployments, arguments.seconds, arguments.workers)
    line = summary(tally, arguments.seed, time.monotonic() - began, arguments.workers)
    print(line)
    for violation in tally.violations:
        print(violation, file=sys.stderr)
    if arguments.record:
        _record(line)
    return 1 if tally.violations else 0


if __name__ == "__main__":
    raise SystemExit(main())
