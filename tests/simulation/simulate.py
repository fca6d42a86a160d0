"""Runs simulated worlds: `python -m tests.simulation.simulate --seed 7 --trace` replays one, `--situation NAME` a situation of `situations.py`."""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.simulation.experiments import script_of
from tests.simulation.plane import Parts
from tests.simulation.situations import SITUATIONS, scripts
from tests.simulation.story import Script, tell
from tests.simulation.virtual_time import OutOfBounds
from tests.simulation.world import World


@dataclass
class Result:
    """What one world came to."""

    seed: int
    digest: str
    virtual_seconds: float
    turns: int
    cpu_seconds: float
    counts: Counter[str] = field(default_factory=Counter)


def simulate(
    seed: int,
    script: Script | None = None,
    *,
    parts: Parts | None = None,
    listener: Callable[[str], None] | None = None,
) -> Result:
    """Run one world to its end. Raises `Violation` where a property does not hold."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # what the loops log of faults is expected here; the trace tells
    collects = gc.isenabled()
    gc.disable()  # of a world hardly anything is garbage before it ends, and then all of it is, at once
    try:
        return _simulate(seed, script, parts, listener)
    finally:
        logging.disable(before)
        if collects:
            gc.enable()


def _simulate(seed: int, script: Script | None, parts: Parts | None, listener: Callable[[str], None] | None) -> Result:
    began = time.process_time()
    replay = script.replay(seed) if script is not None else f"make simulate SEED={seed}"
    script = script or script_of(seed)
    world = World(seed, proxies=script.proxies, parts=parts, replay=replay)
    world.listener = listener
    try:
        world.loop.run(tell(world, script))
    except OutOfBounds as error:
        raise world.violated("15: everything ends", str(error)) from None
    if world.loop.unhandled:
        raise world.violated("A callback or a task failed", world.loop.unhandled[0])
    took = time.process_time() - began
    return Result(seed, world.digest.hexdigest(), world.loop.time(), world.loop.turns, took, world.counts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seeds", type=int, default=1, help="how many, counting up from --seed")
    parser.add_argument("--trace", action="store_true", help="print everything that happens")
    parser.add_argument("--calm", action="store_true", help="nothing goes wrong")
    parser.add_argument("--situation", choices=SITUATIONS, metavar="NAME", help="a situation, in place of a world")
    parser.add_argument("--faults", action="store_true", help="with a situation: things go wrong meanwhile")
    arguments = parser.parse_args()
    script = Script(fault_seconds=None) if arguments.calm else None
    if arguments.situation is not None:
        script = scripts(arguments.situation)[arguments.faults]
    failures = 0
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        try:
            result = simulate(seed, script, listener=print if arguments.trace else None)
        except AssertionError as error:
            failures += 1
            print(f"seed {seed}: {error}", file=sys.stderr)
            continue
        print(
            f"seed {seed}: {dict(result.counts)}, {result.virtual_seconds:.0f} s of virtual time in {result.cpu_seconds:.2f} s of CPU, "
            f"{result.turns} callbacks, digest {result.digest}"
        )
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
