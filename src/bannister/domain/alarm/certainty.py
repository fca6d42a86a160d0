"""Deciding as soon as it is certain: ALARM before the period has ended that will say so.

Alarms are evaluated at each second over periods that end there, so a "period that has not ended" is one of those that some later evaluation will look at.
What is known today is a part of it. A statistic that more samples can only move *towards* the threshold's wrong side breaches for certain once the known part
does, whatever comes:

* SampleCount can only grow: certain with > and >=.
* Maximum can only grow, and Sum where no sample is negative: certain with > and >=.
* Minimum can only fall: certain with < and <=.
* Average and percentiles move both ways: never certain.

So an evaluation that is still to come, at second e, will say ALARM if M of the N periods that end at e breach by what is known of them already. Missing data, late
data and blind time change nothing in that: a datapoint among the newest N periods is among the newest N datapoints, and M of them that breach are
ALARM under every rule for what is missing. `foreseen` looks for the earliest such evaluation at most one period ahead, of whose N periods only the newest has not ended, and
only for one whose newest period breaches. With periods that slide and one of one this is never earlier than the evaluation itself, unless samples of seconds are stored that are not
final yet; with M of N it is up to a period less one second earlier: two bursts 8 seconds apart, each too many for 10 seconds, are an ALARM for "2 of 2" as
soon as the second is seen, because a boundary will come to lie between them.

Once foreseen, it is foreseen at every second until it comes true: so an alarm that was decided early stays in ALARM until the evaluation that confirms it, also where nobody looks ahead any more
(`bannister.domain.alarm.evaluation.awaits_confirmation`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bannister.domain.alarm.alarm import AlarmRule, Comparison
from bannister.domain.alarm.judgement import Datapoint, breaches
from bannister.domain.metric.aggregate import Aggregate
from bannister.domain.metric.endpoint import endpoint_of
from bannister.domain.metric.identity import MetricIdentity

#: An evaluation range longer than this is not looked at second by second. Seconds.
RANGE_SECONDS_MAX: Final = 1800

_ABOVE: Final = (Comparison.GREATER, Comparison.GREATER_OR_EQUAL)
_BELOW: Final = (Comparison.LESS, Comparison.LESS_OR_EQUAL)
_ONE_WAY: Final = {"Sum": _ABOVE, "SampleCount": _ABOVE, "Maximum": _ABOVE, "Minimum": _BELOW}


@dataclass(frozen=True, slots=True)
class Foreseen:
    """An evaluation that is still to come and will say ALARM whatever happens until then."""

    #: Where its newest period ends, exclusive.
    at: int
    #: When it became certain: everything before this second's end was known.
    known_until: int
    #: The periods that breach by what is known of them, newest first.
    breaching: tuple[Datapoint, ...]

    @property
    def seconds_early(self) -> int:
        return self.at - self.known_until


def can_be_certain(rule: AlarmRule) -> bool:
    """Whether a period's breach can be certain before the period has ended."""
    if rule.metric is None or rule.comparison not in _ONE_WAY.get(rule.statistic, ()):
        return False
    if rule.statistic == "Sum" and not _never_negative(rule.metric):
        return False
    return (rule.evaluation_periods + 1) * rule.period_seconds <= RANGE_SECONDS_MAX


def counts_what_happened(rule: AlarmRule) -> bool:
    """Whether it looks at how much there was of what an endpoint did: seen in part, that is less than there was. (An average or a percentile of a part is one of fewer samples.)"""
    return rule.metric is not None and rule.statistic in ("Sum", "SampleCount") and endpoint_of(rule.metric) is not None


def is_certain(rule: AlarmRule, value: float) -> bool:
    """Whether what is known of such a count decides already, whatever the rest is: it can only grow, beyond a threshold that it must not pass or that it must reach."""
    return breaches(rule, value) == (rule.comparison in _ABOVE)


def _never_negative(metric: MetricIdentity) -> bool:
    """Requests and errors are counted and durations measured; what users put may be negative."""
    return endpoint_of(metric) is not None


def seconds_needed(rule: AlarmRule, known_until: int) -> tuple[int, int]:
    """Beginning and number of the seconds that `foreseen` is to be given: the N periods of the first, up to the last evaluation it looks at."""
    return (
        known_until - rule.evaluation_periods * rule.period_seconds,
        (rule.evaluation_periods + 1) * rule.period_seconds,
    )


def may_be_foreseen(rule: AlarmRule, around: Aggregate | None) -> bool:
    """Whether it is worth looking: what is known of two periods, the one that ends at `known_until` and the one that begins there, breaches.

    No part of them breaches otherwise, and the newest of the periods looked at is always such a part.
    """
    return around is not None and breaches(rule, _value(rule, [around]))


def foreseen(rule: AlarmRule, seconds: Sequence[Aggregate | None], known_until: int) -> Foreseen | None:
    """The earliest evaluation within a period from now that will say ALARM for certain; None: none will.

    Args:
        rule: One that `can_be_certain`.
        seconds: What is known, second by second, as `seconds_needed` says; None: nothing. Seconds from `known_until` on may be known in part.
        known_until: Everything before this is final.
    """
    period = rule.period_seconds
    start, _ = seconds_needed(rule, known_until)

    def breaching_at(end: int) -> Iterator[Datapoint]:
        """Of the N periods that end there, those that breach by what is known, newest first; none unless the newest does."""
        for age in range(1, rule.evaluation_periods + 1):
            begin = end - age * period
            known = [one for one in seconds[begin - start : begin - start + period] if one is not None]
            if known and breaches(rule, value := _value(rule, known)):
                yield Datapoint(begin, value, sum(one.count for one in known))
            elif age == 1:
                return

    for end in range(known_until + 1, known_until + period + 1):
        found = tuple(breaching_at(end))
        if len(found) >= rule.datapoints_to_alarm:
            return Foreseen(end, known_until, found)
    return None


def _value(rule: AlarmRule, known: Sequence[Aggregate]) -> float:
    match rule.statistic:
        case "SampleCount":
            return sum(one.count for one in known)
        case "Sum":
            return sum(one.sum for one in known)
        case "Maximum":
            return max(one.maximum for one in known)
        case _:
            return min(one.minimum for one in known)
