"""What a decision about an experiment is written down with, and how it is taken again from what was written.

As in `bannister.domain.deployment.recorder`: the body holds all that `notice` and `advance` were given, whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from bannister.domain.experiment.experiment import Experiment
from bannister.domain.experiment.machine import Decision, Limits, Noticed, Observation, advance, notice

#: The kind of a journal entry that holds a decision of the machine; its subject is `experiment/NAME`.
DECIDED: Final = "experiment.decided"


def evidence(
    before: Experiment, decision: Decision, noticed: Noticed, seen: Observation, limits: Limits, version: str
) -> dict[str, Any]:
    """The body of a decision's journal entry. `version`: of the software that decided."""
    return {
        "endpoint": before.endpoint,
        "event": noticed.event.value,
        "from": before.status.value,
        "to": decision.experiment.status.value,
        "reason": noticed.reason,
        "version": version,
        "limits": msgspec.to_builtins(limits),
        "before": msgspec.to_builtins(before),
        "observation": msgspec.to_builtins(seen),
    }


def disagreements(bodies: Iterable[Mapping[str, Any]]) -> list[str]:
    """One sentence for each recorded decision that is another one when it is taken again; empty: all are the same."""
    found = []
    for body in bodies:
        before = msgspec.convert(body["before"], Experiment)
        seen = msgspec.convert(body["observation"], Observation)
        limits = msgspec.convert(body["limits"], Limits)
        noticed = notice(before, seen, limits)
        decided = noticed and (noticed.event.value, noticed.reason)
        if noticed is None or decided != (body["event"], body["reason"]):
            found.append(
                f"Decision {body['event']!r} about experiment {before.name!r} is {decided!r} when taken again."
            )
        elif (status := advance(before, noticed, seen, limits).experiment.status.value) != body["to"]:
            found.append(
                f"Decision {body['event']!r} about experiment {before.name!r} leads to {status!r} when taken again."
            )
    return found
