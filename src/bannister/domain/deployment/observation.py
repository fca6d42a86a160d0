"""What a deployment's decision may depend on: every fact, at one moment, and the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bannister.domain.alarm.alarm import AlarmRule, AlarmValue
from bannister.domain.alarm.judgement import Datapoint


@dataclass(frozen=True, slots=True)
class GroupObservation:
    """What is seen of one group's instances."""

    group: str
    wanted: int
    ready: int
    #: Processes that were started beyond the first, also those that never answered.
    restarts: int
    #: Why an instance was given up; None: none was.
    failure: str | None = None
    #: The endpoint's traffic that goes to this group, in parts of `TRAFFIC_PARTS`: as asked, and as every proxy has
    #: acknowledged (None: no proxy is known, or they differ).
    asked_parts: int = 0
    acknowledged_parts: int | None = None
    #: The same of the requests that name its variant.
    asked_named_parts: int = 0
    acknowledged_named_parts: int | None = None
    #: All that exist, those that drain included; and so many that every proxy sees healthy.
    existing: int = 0
    healthy: int = 0
    #: Of those that exist, so many drain or are being stopped: they get no new request.
    leaving: int = 0
    #: Of those that stay, so many were ready and are not: they fell silent, or their process has ended.
    unready: int = 0
    #: Of those that are ready, so many whose answer to a ping is overdue: they may stand still.
    overdue: int = 0
    #: Their processes that ended after they had answered.
    deaths: int = 0
    #: It is the fleet's shadow: waited for before the first shift, and never looked at again.
    shadow: bool = False
    #: Why an instance that was ready is not any more, a whole sentence; None: none is, or nobody knows.
    trouble: str | None = None
    #: What they say against themselves, sentences.
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AlarmObservation:
    """What is seen of one alarm that the deployment names."""

    name: str
    #: None: the alarm does not exist.
    value: AlarmValue | None
    #: Data final up to here has been evaluated.
    evaluated_until: float | None
    #: The first journaled transition to ALARM (or deletion) after `alarms_seen`: when, and its reason.
    tripped_at: float | None = None
    tripped_reason: str | None = None
    rule: AlarmRule | None = None
    #: What the newest evaluation looked at (where it tripped: the one that tripped it), one for each period of its range, oldest first; None: no data.
    datapoints: tuple[Datapoint | None, ...] = ()
    #: Why the alarm is in its state.
    reason: str = ""
    #: A composite alarm: its rule, and the states of the alarms in it.
    composite_rule: str | None = None
    children: Mapping[str, AlarmValue] = field(default_factory=dict)
    #: It looks at compared answers, itself or by an alarm in its rule.
    compares: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """Every fact that a decision may depend on, at one moment. It is stored with the decision as its evidence."""

    now: float
    #: The journal's position at which alarms were read.
    journal_sequence: int
    #: Every proxy has acknowledged the split that the deployment asks for now.
    split_acknowledged: bool
    green: tuple[GroupObservation, ...]
    alarms: tuple[AlarmObservation, ...] = ()
    #: Since when everything that the alarms look at has been seen without a gap, by telemetry and, where an alarm looks at compared
    #: answers, by the capture process; None: not all have spoken yet.
    covered_since: float | None = None
    #: How long telemetry has been silent.
    silent_seconds: float = 0.0
    #: No instance of the fleet exists any more.
    blue_gone: bool = False
    green_gone: bool = False
    #: Why a person asked to roll back; None: nobody did.
    stop_requested: str | None = None
    #: Requests to green that telemetry saw in the present bake, once its time is over; None: not counted (a creation, a step
    #: without a bake).
    green_requests: int | None = None
    #: What blue looked like; no decision depends on it, but people ask.
    blue: tuple[GroupObservation, ...] = ()
    #: How long the capture process has been silent; 0 where no alarm looks at compared answers.
    uncompared_seconds: float = 0.0
    #: Since when this control plane looks after instances: while there was none, none was started.
    watched_since: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings that decisions depend on."""

    alarm_clear_timeout_seconds: float = 600.0
    blind_timeout_seconds: float = 60.0
    #: A bake in which green got fewer requests is not over.
    bake_requests_min: int = 0
    #: Alarms are evaluated this seldom (`timing: aws`); so late a bake may be judged without anything being wrong.
    evaluation_interval_seconds: float = 0.0
