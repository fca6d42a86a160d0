"""Composite alarms and alarms on expressions in simulated worlds: what deployments name, and what must always be true of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bannister.domain.alarm.alarm import Alarm, AlarmQuery, AlarmValue
from bannister.domain.alarm.alarm_rule import holds, parse
from bannister.domain.alarm.definition import Definition
from bannister.domain.metric.identity import identity
from bannister.state.store import Record

if TYPE_CHECKING:
    from tests.simulation.world import World

#: Rules over an alarm on errors and one on their share: each is true whenever the first alarm is in ALARM.
_RULES = (
    "ALARM({errors})",
    "ALARM({errors}) OR ALARM({share})",
    "NOT (OK({errors}) OR INSUFFICIENT_DATA({errors}))",
    "(ALARM({errors}) OR FALSE) AND NOT (FALSE OR NOT ALARM({errors}))",
)


class Composites:
    """Which deployments name a composite alarm, and over what. A source of randomness of its own: worlds without composites stay as they were."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"composites of {seed}")

    def rules(self, errors: str, share: str) -> list[tuple[str, str]]:
        """Composite alarms (name and rule) to put in this order, of which a deployment names the last; empty: none."""
        rng = self.rng
        if rng.random() < 0.4:
            return []
        first = f"{errors}-composite"
        made = [(first, rng.choice(_RULES).format(errors=errors, share=share))]
        if rng.random() < 0.4:
            made.append((f"{first}-above", f"ALARM({first}) OR (ALARM({share}) AND ALARM({errors}))"))
        return made

    def meddles_with_a_child(self) -> bool:
        """Whether it is an alarm in the rule that is set by hand, not the composite alarm."""
        return self.rng.random() < 0.7


def share_of_errors(endpoint: str, config: str) -> Definition:
    """An alarm on an expression: the share of a version's answers that are errors."""
    dimensions = {"EndpointName": endpoint, "VariantName": "a", "EndpointConfigName": config}
    metrics = (("bad", "Invocation5XXErrors"), ("all", "Invocations"))
    inputs = [
        AlarmQuery(id_, identity("AWS/SageMaker", name, dimensions), "Sum", period_seconds=10, return_data=False)
        for id_, name in metrics
    ]
    return Definition(
        None,
        (*inputs, AlarmQuery("share", expression="bad / all")),
        evaluation_periods=1,
        threshold=0.5,
        comparison="GreaterThanOrEqualToThreshold",
        missing_data="notBreaching",
    )


class CompositeRules:
    """At every commit: the composite alarms over an alarm that has moved are what their rules say, in this very commit."""

    def __init__(self, world: World) -> None:
        self._world = world

    def committed(self, alarms: Sequence[Alarm], records: Sequence[Record]) -> None:
        """`alarms`: all that exist, after the commit."""
        moved = {one.subject.removeprefix("alarm/") for one in records if one.kind == "alarm.transitioned"}
        values = {alarm.name: alarm.state.value for alarm in alarms}
        for alarm in alarms:
            rule = alarm.composite
            if rule is None or not moved & set(rule.children):
                continue
            true = holds(parse(rule.text), values.get)
            if true is not (alarm.state.value is AlarmValue.ALARM):
                raise self._world.violated(
                    "7: a composite alarm misses no transition",
                    f"{alarm.name} is {alarm.state.value} after {sorted(moved)}; its rule {rule.text!r} is {true}.",
                )
        for child, parents in ((alarm.name, alarm.parents) for alarm in alarms):
            for parent in parents:
                if parent not in values:
                    raise self._world.violated("7: an alarm knows its composites", f"{child} is not in {parent}.")
