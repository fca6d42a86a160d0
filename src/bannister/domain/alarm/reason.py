"""The texts of an alarm's state, in CloudWatch's forms: StateReason for people, StateReasonData (JSON) for programs.

CloudWatch's forms are known from what it sends, not from a specification; where one is not known (a state that the rule for missing
data decided only in part) the sentence is built from the same pieces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from bannister.domain.alarm.alarm import AlarmRule, AlarmValue, Comparison, MissingData
from bannister.domain.alarm.certainty import Foreseen
from bannister.domain.alarm.judgement import Datapoint, Judgement, range_periods

INITIAL_REASON: Final = "Unchecked: Initial alarm creation"

#: Datapoints listed, newest first, so that the texts stay within AWS's 1,023 and 4,000 characters.
REASON_DATAPOINTS_MAX: Final = 10
REASON_DATA_DATAPOINTS_MAX: Final = 25

_COMPARED: Final[Mapping[Comparison, str]] = {
    Comparison.GREATER_OR_EQUAL: "greater than or equal to",
    Comparison.GREATER: "greater than",
    Comparison.LESS: "less than",
    Comparison.LESS_OR_EQUAL: "less than or equal to",
}
_TREATED: Final[Mapping[MissingData, str]] = {
    MissingData.BREACHING: "Breaching",
    MissingData.NOT_BREACHING: "NonBreaching",
}


def reason(rule: AlarmRule, judgement: Judgement) -> str:
    """Why the alarm is in the state that was judged, as one sentence."""
    if judgement.value is AlarmValue.INSUFFICIENT_DATA:
        return f"Insufficient Data: {_counted(rule.evaluation_periods, 'datapoint', 'unknown')}."
    treated = _treated(rule, judgement)
    if not judgement.recent:
        periods = rule.evaluation_periods
        return f"Threshold Crossed: no datapoints were received for {_plural(periods, 'period')} and {treated}."
    clauses = [clause for clause in (_crossed(rule, judgement), treated, _lonely(rule, judgement)) if clause]
    return f"Threshold Crossed: {' and '.join(clauses)} ({_minimum(rule, judgement)})."


def _crossed(rule: AlarmRule, judgement: Judgement) -> str:
    """`2 out of the last 3 datapoints [...] were greater than the threshold (5.0)`; empty: no datapoint speaks for the state."""
    alarm = judgement.value is AlarmValue.ALARM
    shown = judgement.breaching if alarm else judgement.within
    only, negation = "", "" if alarm else "not "
    if not shown and not judgement.filled:
        # OK although everything that was received breaches: it is not enough for ALARM yet.
        shown, only, negation = judgement.breaching, "only ", ""
    if not shown:
        return ""
    verb = "was" if len(shown) == 1 else "were"
    return (
        f"{only}{len(shown)} out of the last {rule.evaluation_periods} datapoints [{_listed(shown)}] "
        f"{verb} {negation}{_COMPARED[rule.comparison]} the threshold ({rule.threshold!r})"
    )


def _treated(rule: AlarmRule, judgement: Judgement) -> str:
    if not judgement.filled:
        return ""
    return _counted(judgement.filled, "missing datapoint", f"treated as [{_TREATED[rule.missing_data]}]")


def _lonely(rule: AlarmRule, judgement: Judgement) -> str:
    if not judgement.premature:
        return ""
    return f"no other was received in the evaluation range of {_plural(range_periods(rule), 'period')}"


def _minimum(rule: AlarmRule, judgement: Judgement) -> str:
    if judgement.value is AlarmValue.ALARM:
        return f"minimum {_plural(rule.datapoints_to_alarm, 'datapoint')} for OK -> ALARM transition"
    needed = rule.evaluation_periods - rule.datapoints_to_alarm + 1
    return f"minimum {_plural(needed, 'datapoint')} for ALARM -> OK transition"


def _listed(points: Sequence[Datapoint]) -> str:
    texts = [f"{point.value!r} ({_moment(point.start_at)})" for point in points[:REASON_DATAPOINTS_MAX]]
    return ", ".join(texts) + (", ..." if len(points) > REASON_DATAPOINTS_MAX else "")


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _counted(count: int, noun: str, what: str) -> str:
    return f"{_plural(count, noun)} {'was' if count == 1 else 'were'} {what}"


def _moment(at: float) -> str:
    """`23/11/26 04:10:00`, in UTC."""
    return datetime.fromtimestamp(at, tz=UTC).strftime("%d/%m/%y %H:%M:%S")


def reason_data(rule: AlarmRule, judgement: Judgement, at: float) -> str:
    """The values behind the state, as JSON text; `recentDatapoints` oldest first, `evaluatedDatapoints` newest first."""
    points = judgement.recent[:REASON_DATA_DATAPOINTS_MAX]
    data: dict[str, Any] = {"version": "1.0", "queryDate": timestamp(at)}
    if points:
        data["startDate"] = timestamp(points[-1].start_at)
    if rule.unit is not None:
        data["unit"] = rule.unit
    if not rule.queries:
        data["statistic"] = rule.statistic
    data |= {
        "period": rule.period_seconds,
        "recentDatapoints": [point.value for point in reversed(points)],
        "threshold": rule.threshold,
        "evaluatedDatapoints": [
            {"timestamp": timestamp(point.start_at), "sampleCount": point.samples, "value": point.value}
            for point in points
        ],
    }
    return json.dumps(data, separators=(",", ":"))


def foreseen_reason(rule: AlarmRule, ahead: Foreseen) -> str:
    """Why the alarm is in ALARM although the period that confirms it has not ended."""
    way = "fall" if rule.statistic == "Minimum" else "grow"
    return (
        f"{reason(rule, _as_judged(ahead)).removesuffix('.')}. Decided {_plural(ahead.seconds_early, 'second')} before the period ends "
        f"({_moment(ahead.at)}): until then {rule.statistic} can only {way}."
    )


def foreseen_reason_data(rule: AlarmRule, ahead: Foreseen, at: float) -> str:
    """As `reason_data`; `decidedEarly` says until when everything was known, and which evaluation confirms it."""
    data = json.loads(reason_data(rule, _as_judged(ahead), at))
    data["decidedEarly"] = {"knownUntil": timestamp(ahead.known_until), "periodEnd": timestamp(ahead.at)}
    return json.dumps(data, separators=(",", ":"))


def _as_judged(ahead: Foreseen) -> Judgement:
    return Judgement(AlarmValue.ALARM, ahead.breaching)


def timestamp(at: float) -> str:
    """`2026-11-23T04:10:00.000+0000`."""
    moment = datetime.fromtimestamp(at, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}+0000"
