"""Alarms' changes as they are written: rows, journal entries and actions, for one commit.

Every transition goes through here, whoever brought it about, so that a deployment, the history and the webhooks never hear different things.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bannister.domain.alarm.action import PendingAction, is_webhook
from bannister.domain.alarm.alarm import Alarm
from bannister.domain.alarm.cascade import Change
from bannister.domain.alarm.message import state_change
from bannister.settings import Settings
from bannister.state.store import Put, Record
from bannister.state.tables import ACTIONS, ALARMS

#: HistoryItemType Action: an action was run, or written down because Bannister does not run such.
ACTED = "alarm.acted"
TRANSITIONED = "alarm.transitioned"


@dataclass(frozen=True, slots=True)
class Place:
    """What ARNs are made of."""

    region: str
    account_id: str

    @staticmethod
    def of(settings: Settings) -> Place:
        return Place(settings.region, settings.account_id)

    def alarm_arn(self, name: str) -> str:
        return f"arn:aws:cloudwatch:{self.region}:{self.account_id}:alarm:{name}"


@dataclass(frozen=True, slots=True)
class Writes:
    """What one commit takes."""

    puts: list[Put[Any]]
    records: list[Record]


def written(
    changes: Iterable[Change],
    revision_of: Callable[[str], int],
    evidence: Mapping[str, Mapping[str, Any]],
    place: Place,
) -> Writes:
    """The writes of a step.

    Args:
        changes: What `cascade` found.
        revision_of: The revision that an alarm's row was read at; 0: it is new.
        evidence: By alarm: what its transition's entry says besides the states.
        place: For the texts of webhooks.
    """
    writes = Writes([], [])
    for change in changes:
        name, revision = change.after.name, revision_of(change.after.name)
        writes.puts.append(Put(ALARMS, name, change.after, revision))
        if change.moved:
            writes.records.append(transitioned(change, evidence.get(name, {})))
        if change.acts:
            _act(change.before, change.after, revision, place, writes)
    return writes


def transitioned(change: Change, evidence: Mapping[str, Any]) -> Record:
    """The journal entry of a transition, with the evidence."""
    before, after = change.before.state, change.after.state
    body: dict[str, Any] = {
        "from": before.value.value,
        "to": after.value.value,
        "reason": after.reason,
        "reason_data": after.reason_data,
        "from_reason": before.reason,
        "from_reason_data": before.reason_data,
        **evidence,
    }
    if change.after.composite is not None:
        body["composite"] = True
        if change.children is not None:
            body["rule"] = change.after.composite.text
            body["children"] = {name: value.value for name, value in change.children.items()}
    return Record(after.updated_at, subject(change.after.name), TRANSITIONED, body)


def _act(before: Alarm, after: Alarm, revision: int, place: Place, writes: Writes) -> None:
    """Addresses are told by and by; what else is named is written down."""
    at, composite = after.state.updated_at, after.composite is not None
    for number, action in enumerate(after.actions):
        if is_webhook(action):
            # Distinct for each transition: a row's revision grows with it, and starts anew only later.
            key = f"{at:017.6f} {after.name} {revision} {number}"
            event = state_change(
                before,
                after,
                event_id=key,
                arn=place.alarm_arn(after.name),
                account_id=place.account_id,
                region=place.region,
            )
            body = json.dumps(event, separators=(",", ":"))
            writes.puts.append(
                Put(ACTIONS, key, PendingAction(after.name, action, after.state.value.value, at, body, composite), 0)
            )
        else:
            outcome = {"action": action, "state": after.state.value.value, "outcome": "recorded"}
            writes.records.append(acted(after.name, at, outcome, composite=composite))


def acted(alarm: str, at: float, outcome: dict[str, Any], *, composite: bool) -> Record:
    """The history's item of one action."""
    return Record(at, subject(alarm), ACTED, {**outcome, **({"composite": True} if composite else {})})


def subject(alarm: str) -> str:
    """What an alarm's journal entries are about."""
    return f"alarm/{alarm}"
