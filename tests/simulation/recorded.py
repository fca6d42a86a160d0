"""The flight recorder in simulated worlds: what a decision was taken from is in its record, and taken again from there it is the same."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tests.scenarios.recorder import check_others

from bannister.domain.alarm.alarm import AlarmValue
from bannister.domain.deployment import recorder as deployments
from bannister.domain.deployment.machine import Event
from bannister.domain.experiment import recorder as experiments
from bannister.state.store import Record

if TYPE_CHECKING:
    from tests.simulation.world import World

_BREACHES: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


class RecordRules:
    """Part of the checker."""

    def __init__(self, world: World) -> None:
        self._world = world
        #: Metric alarms that an evaluation took to ALARM, and the control plane that did; what is set by hand has no datapoints to show.
        self._judged_by: dict[str, int] = {}

    def transitioned(self, plane: int, record: Record) -> None:
        """An alarm has another state."""
        name = record.subject.removeprefix("alarm/")
        self._judged_by.pop(name, None)
        if record.body["to"] == AlarmValue.ALARM.value and "values" in record.body:
            self._judged_by[name] = plane

    def decided(self, plane: int, record: Record) -> None:
        """A decision is written down, with what it was taken from."""
        body = record.body
        seen, before = body["observation"], body["before"]
        if body["event"] == Event.SPLIT_ACKNOWLEDGED.value:
            for group in (*seen["blue"], *seen["green"]):
                if group["acknowledged_parts"] != group["asked_parts"]:
                    self._violated(body, f"{group['group']} is acknowledged, and it was seen with {group}.")
        if before["step"] < 0:
            return
        alarms = {one["name"]: one for one in seen["alarms"]}
        if list(alarms) != list(before["policy"]["alarms"]):
            self._violated(body, f"It was to look at {before['policy']['alarms']}, and saw {list(alarms)}.")
        for name, one in alarms.items():
            if one["value"] is not None and one["rule"] is None and one["composite_rule"] is None:
                self._violated(body, f"It says no rule of {name}.")
        if body["event"] == Event.STOPPED.value:
            self._breaches_shown(plane, body, [*alarms.values()])

    def _breaches_shown(self, plane: int, body: Mapping[str, Any], alarms: list[dict[str, Any]]) -> None:
        """Who reads why a version was taken back finds the values that were beyond the threshold.

        A control plane that has come up since the alarm tripped has not evaluated it, and knows no values.
        """
        for one in alarms:
            rule = one["rule"]
            if one["tripped_at"] is None or one["value"] != AlarmValue.ALARM.value or rule is None:
                continue
            if self._judged_by.get(one["name"]) != plane:
                continue
            values = [each["value"] for each in one["datapoints"] if each is not None]
            if not any(_BREACHES[rule["comparison"]](value, rule["threshold"]) for value in values):
                self._violated(body, f"{one['name']} tripped, and what is shown of it is {one['datapoints']}.")

    def settled(self) -> None:
        """At the end: every decision that was ever taken is the same when it is taken again."""
        entries = self._world.medium.entries
        found = deployments.disagreements(one.body for one in entries if one.kind == deployments.DECIDED)
        found += experiments.disagreements(one.body for one in entries if one.kind == experiments.DECIDED)
        if found:
            raise self._world.violated("17: the same facts, the same decision", found[0])
        try:
            check_others([(one.kind, one.body) for one in entries])
        except AssertionError as error:
            raise self._world.violated("17: the same facts, the same decision", str(error)) from None

    def _violated(self, body: Mapping[str, Any], what: str) -> None:
        raise self._world.violated(
            "17: a decision shows what it was taken from", f"{body['deployment']}, {body['event']}: {what}"
        )
