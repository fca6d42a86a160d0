"""The product with one rule of experiments broken, to see that the simulation notices: `python -m tests.simulation.experiment_mutants NAME`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.simulation.experiments import seeds_of_experiments, situation
from tests.simulation.simulate import simulate

from bannister.domain.experiment import machine
from bannister.domain.experiment.experiment import Status
from bannister.domain.experiment.machine import Event, Noticed


def _not_restored() -> None:
    machine._stopping = lambda experiment, seen, limits: Noticed(Event.COMPLETED, "Surely.")
    _rules()[Status.STOPPING] = machine._stopping


def _another_count() -> None:
    honest = machine.fleet_afterwards

    def afterwards(*given: Any) -> Any:
        fleet = honest(*given)
        return replace(fleet, groups=tuple(replace(one, instance_count=one.instance_count + 1) for one in fleet.groups))

    machine.fleet_afterwards = afterwards


def _unseen_end() -> None:
    _rules()[Status.RUNNING] = lambda experiment, seen, limits: None


def _unset_sampling() -> None:
    machine._resampled = lambda experiment, seen: None


def _shadow_stays() -> None:
    machine.without_shadow = lambda fleet, experiment: fleet


def _uncaptured() -> None:
    honest = machine.fleet_afterwards
    machine.fleet_afterwards = lambda *given: replace(honest(*given), capture=None)


def _captured_when_given_up() -> None:
    machine.without_shadow = lambda fleet, experiment: replace(fleet, shadow=None)


MUTANTS: dict[str, Callable[[], None]] = {
    "an endpoint that is not restored": _not_restored,
    "another count after an experiment": _another_count,
    "an end that is not seen": _unseen_end,
    "sampling that is not set": _unset_sampling,
    "capture that is forgotten by what comes after": _uncaptured,
    "capture that stays the experiment's when nothing can be restored": _captured_when_given_up,
    "a shadow that stays when nothing can be restored": _shadow_stays,
}


def _rules() -> Any:
    return machine._RULES


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=MUTANTS)
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    MUTANTS[arguments.name]()
    for seed in (None, *seeds_of_experiments(1, arguments.seeds)):
        try:
            simulate(1, situation()) if seed is None else simulate(seed)
        except AssertionError as error:
            print(f"caught by {'the situation' if seed is None else f'seed {seed}'}: {str(error).splitlines()[0]}")
            return 0
    print(f"not caught by {arguments.seeds} seeds")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
