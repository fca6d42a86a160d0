"""The flight recorder: what a decision is written down with, and how it is taken again from what was written.

A decision is `notice` and `advance` of `machine` applied to a deployment, an observation and the limits. An entry's body holds all three, whole, with
the decision that was made and the version of the software that made it. `replay` gives the three to the same functions and returns what they
decide: by the same software it is the same decision, or the record is not the truth.

The body holds JSON-like builtins only, so that it outlives the types: people and programs read it without this package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from bannister.domain.deployment.deployment import Deployment
from bannister.domain.deployment.machine import Noticed, advance, notice
from bannister.domain.deployment.observation import Limits, Observation
from bannister.domain.deployment.outlook import Waiting, waits_longer
from bannister.domain.deployment.targets import asked_split
from bannister.domain.traffic import TRAFFIC_PARTS

#: The kind of a journal entry that holds a decision of the machine.
DECIDED: Final = "deployment.decided"
#: The kind of one that says that a deployment began: an update, a creation or an experiment asked for it.
STARTED: Final = "deployment.started"
#: The kind of one that says that a running deployment's warnings are others, because an alarm was put or green's model says something against itself.
WARNED: Final = "deployment.warned"
#: The kind of one that says that a bake waits beyond its time, and for what.
WAITED: Final = "deployment.waited"


class Unreplayable(ValueError):
    """The body lacks what a decision depends on: it was written before decisions were recorded whole."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """A recorded decision, taken again."""

    #: None: the recorded facts amount to nothing now.
    noticed: Noticed | None
    #: The deployment after the decision; as it was, where nothing was decided.
    after: Deployment


def started(deployment: Deployment, version: str, decided_on: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The body of the entry with which a deployment begins. `decided_on`: what it was decided on."""
    return {
        "deployment": deployment.id,
        "from": deployment.blue.config_name if deployment.blue is not None else None,
        "to": deployment.green.config_name,
        "routing": deployment.policy.routing.value,
        "alarms": list(deployment.policy.alarms),
        "policy": msgspec.to_builtins(deployment.policy),
        "steps": msgspec.to_builtins(deployment.steps),
        "caveats": msgspec.to_builtins(deployment.caveats),
        "unguarded": msgspec.to_builtins(deployment.unguarded),
        "shortage": msgspec.to_builtins(deployment.shortage),
        "version": version,
        **(decided_on or {}),
    }


def evidence(
    before: Deployment, after: Deployment, noticed: Noticed, seen: Observation, limits: Limits, version: str
) -> dict[str, Any]:
    """The body of a decision's journal entry. `version`: of the software that decided."""
    split = {one.variant: round(100 * one.green_parts / TRAFFIC_PARTS, 4) for one in asked_split(after).variants}
    body: dict[str, Any] = {
        "deployment": after.id,
        "event": noticed.event.value,
        "from": before.phase.value,
        "to": after.phase.value,
        "step": after.step,
        "steps": len(after.steps),
        "reason": noticed.reason,
        "green_percent": split,
        **_facts(before, seen, limits, version),
    }
    return body


def warned(before: Deployment, after: Deployment, version: str) -> dict[str, Any]:
    """The body of the entry about what green's models say against themselves and was not recorded before (`machine.heard`)."""
    fresh = after.model_warnings[len(before.model_warnings) :]
    return {
        "deployment": after.id,
        "phase": after.phase.value,
        "reason": " ".join(map(str, fresh)),
        "model_warnings": msgspec.to_builtins(fresh),
        "version": version,
    }


def waited(before: Deployment, waits: Waiting, seen: Observation, limits: Limits, version: str) -> dict[str, Any]:
    """The body of the entry about a wait (`outlook.waits_longer`)."""
    return {
        "deployment": before.id,
        "phase": before.phase.value,
        "step": before.step,
        "reason": waits.sentence,
        "cause": waits.cause,
        **_facts(before, seen, limits, version),
    }


def replay_wait(body: Mapping[str, Any]) -> Waiting | None:
    """What a recorded wait is when it is decided again; None: nothing to wait for, or something to do.

    Raises:
        Unreplayable: The body is not a whole record of a decision.
    """
    before, seen, limits = _decided_on(body)
    found = waits_longer(before, seen, limits) if notice(before, seen, limits) is None else None
    return found[1] if found is not None else None


def replay(body: Mapping[str, Any]) -> Replayed:
    """Take a recorded decision again.

    Raises:
        Unreplayable: The body is not a whole record of a decision.
    """
    before, seen, limits = _decided_on(body)
    noticed = notice(before, seen, limits)
    return Replayed(noticed, advance(before, noticed, seen) if noticed is not None else before)


def _facts(before: Deployment, seen: Observation, limits: Limits, version: str) -> dict[str, Any]:
    """What a decision is taken from, and by which software; `_decided_on` reads it."""
    return {
        "version": version,
        "limits": msgspec.to_builtins(limits),
        "before": msgspec.to_builtins(before),
        "observation": msgspec.to_builtins(seen),
    }


def _decided_on(body: Mapping[str, Any]) -> tuple[Deployment, Observation, Limits]:
    try:
        return (
            msgspec.convert(body["before"], Deployment),
            msgspec.convert(body["observation"], Observation),
            msgspec.convert(body["limits"], Limits),
        )
    except (KeyError, msgspec.ValidationError) as error:
        raise Unreplayable(f"The record of this decision is not whole: {error}.") from None


def disagreements(bodies: Iterable[Mapping[str, Any]]) -> list[str]:
    """One sentence for each recorded decision that is another one when it is taken again; empty: all are the same.

    Call it with the bodies of all journal entries of kind `DECIDED`. Decisions in a row are also checked against each other: a
    decision starts from the deployment that the one before it left.
    """
    found = []
    left: dict[str, Deployment] = {}
    for body in bodies:
        name = f"Decision {body.get('event')!r} of deployment {body.get('deployment')}"
        try:
            again = replay(body)
        except Unreplayable as error:
            found.append(f"{name}: {error}")
            continue
        decided = again.noticed and (again.noticed.event.value, again.noticed.reason)
        if decided != (body["event"], body["reason"]):
            found.append(f"{name} ({body['reason']!r}) is {decided!r} when taken again.")
        elif again.after.phase.value != body["to"] or again.after.step != body["step"]:
            found.append(f"{name} led to {body['to']!r}, and leads to {again.after.phase.value!r} when taken again.")
        previous = left.get(again.after.id)
        if previous is not None and not _continues(previous, msgspec.convert(body["before"], Deployment)):
            found.append(f"{name} did not start from what the decision before it left.")
        left[again.after.id] = again.after
    return found


def _continues(left: Deployment, found: Deployment) -> bool:
    """Between two decisions only a person's wish to stop may have come, other warnings, and what is waited for."""

    def compared(one: Deployment) -> Deployment:
        return replace(one, stop_requested=None, caveats=(), model_warnings=(), waited_for=())

    return compared(left) == compared(found)
