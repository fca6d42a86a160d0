"""Many worlds, on every core: `python -m tests.simulation.soak --deployments 10000`; with `--record`, the result goes into docs/simulation.md.

A run of hours need not be made in one go. With `--resume FILE` it writes down after every round of seeds what it has come to, and the same command goes on
from there, after an interruption too; what was under way in the round is run again, and counted once. All parts are of one revision: of another one the
file is refused, for it would say nothing of either.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.faults import KINDS
from tests.simulation.simulate import simulate

from bannister.domain.deployment.deployment import ENDED, Phase

PAGE = Path("docs/simulation.md")
HEADING = "## Recorded runs"


#: A run that finds so many violations has found enough.
VIOLATIONS_MAX = 10
#: A run says how far it is this often.
PROGRESS_SECONDS = 60.0
#: Worlds of a round: a run that is interrupted loses at most so many, half a minute's on each core.
ROUND_WORLDS = 50


@dataclass
class Tally:
    """What all worlds together came to."""

    first_seed: int = 0
    last_seed: int = 0
    worlds: int = 0
    cpu_seconds: float = 0.0
    virtual_seconds: float = 0.0
    #: That passed.
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    @property
    def deployments(self) -> int:
        """Those that ended, creations included."""
        return self.counts["completed"] + self.counts["rolled back"]


def soak(
    tally: Tally,
    deployments: int,
    seconds: float,
    workers: int,
    progress: Callable[[Tally], None] = lambda _: None,
    violations_max: int = 1,
    keep: Callable[[Tally], None] = lambda _: None,
    round_worlds: int = ROUND_WORLDS,
) -> Tally:
    """Run worlds on from where a tally stands until so many deployments have ended, the time is over, or properties did not hold.

    `keep` is called after each round, with all of its worlds in the tally.
    """
    began = said = time.monotonic()
    before, until = tally.seconds, began + seconds

    def is_over() -> bool:
        return tally.deployments >= deployments or len(tally.violations) >= violations_max or time.monotonic() > until

    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        while not is_over():
            first = tally.last_seed + 1
            for seed, one in pool.imap_unordered(_world, range(first, first + round_worlds)):
                tally.last_seed = max(tally.last_seed, seed)
                if isinstance(one, str):
                    tally.violations.append(one)
                    print(one, file=sys.stderr, flush=True)
                else:
                    cpu_seconds, virtual_seconds, counts = one
                    tally.worlds += 1
                    tally.cpu_seconds += cpu_seconds
                    tally.virtual_seconds += virtual_seconds
                    tally.counts.update(counts)
                now = time.monotonic()
                tally.seconds = before + now - began
                if now - said >= PROGRESS_SECONDS:
                    said = now
                    progress(tally)
                if time.monotonic() > until:
                    return tally  # the round is not whole: it is not kept
            keep(tally)
    return tally


def kept(file: Path, first_seed: int) -> Tally:
    """What an earlier part of this run came to, or nothing yet. Raises `SystemExit` when the file is of another revision or beginning."""
    if not file.exists():
        return Tally(first_seed, first_seed - 1)
    document = json.loads(file.read_text())
    if (was := document.pop("revision")) != (now := _revision()):
        raise SystemExit(f"{file} is of a run of revision {was}, and this is {now}: go on there, or name another file.")
    if document["first_seed"] != first_seed:
        raise SystemExit(
            f"{file} is of a run that began with seed {document['first_seed']}: give --seed {document['first_seed']}, or name another file."
        )
    return Tally(**{**document, "counts": Counter(document["counts"])})


def keep_in(file: Path, tally: Tally) -> None:
    """Write a tally down for `kept`, whole or not at all."""
    new = file.with_name(f"{file.name}.new")
    new.write_text(json.dumps({"revision": _revision(), **vars(tally)}))
    new.replace(file)


def _world(seed: int) -> tuple[int, tuple[float, float, Counter[str]] | str]:
    try:
        result = simulate(seed)
    except AssertionError as error:
        return seed, str(error)
    return seed, (result.cpu_seconds, result.virtual_seconds, result.counts)


def summary(tally: Tally, workers: int) -> str:
    per_core = tally.deployments / tally.cpu_seconds if tally.cpu_seconds else 0.0
    return (
        f"{tally.deployments:,} deployments ({tally.counts['completed']:,} completed, {tally.counts['rolled back']:,} rolled back) in "
        f"{tally.worlds:,} worlds, seeds {tally.first_seed} to {tally.last_seed}, with {tally.counts['faults']:,} faults: "
        f"{len(tally.violations)} violations. "
        f"{tally.virtual_seconds / 3600:.0f} hours of virtual time in {tally.seconds:.0f} s on {workers} processes; "
        f"{per_core:.0f} deployments per second of CPU ({1000 / per_core if per_core else 0:.0f} ms each)."
    )


def faults_by_phase(tally: Tally) -> dict[str, int]:
    """How many faults came while a deployment was in each phase."""
    return {phase.value: tally.counts[f"fault while {phase.value}"] for phase in Phase if phase not in ENDED}


def faults_by_kind(tally: Tally) -> dict[str, int]:
    """How many faults there were of each kind."""
    return {kind: tally.counts[f"fault: {kind}"] for kind in KINDS}


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
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="FILE",
        help="go on from what this file says of an earlier part, and write it down there",
    )
    arguments = parser.parse_args()
    try:
        tally = _run(arguments)
    except KeyboardInterrupt:
        print("Stopped; the same command goes on after the last whole round." if arguments.resume else "Stopped.")
        return 130
    line = summary(tally, arguments.workers)
    print(line)
    print("Faults by phase:", faults_by_phase(tally))
    print("Faults by kind:", faults_by_kind(tally))
    if arguments.record:
        _record(line)
    return 1 if tally.violations else 0


def _run(arguments: argparse.Namespace) -> Tally:
    return soak(
        kept(arguments.resume, arguments.seed) if arguments.resume else Tally(arguments.seed, arguments.seed - 1),
        arguments.deployments,
        arguments.seconds,
        arguments.workers,
        lambda so_far: print(summary(so_far, arguments.workers), flush=True),
        VIOLATIONS_MAX,
        (lambda so_far: keep_in(arguments.resume, so_far)) if arguments.resume else lambda _: None,
    )


if __name__ == "__main__":
    raise SystemExit(main())
