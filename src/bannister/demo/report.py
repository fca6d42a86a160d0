"""What came of it: scores from the true arrivals, times, and the conditions that had to hold.

The demo has succeeded only if every condition held; each names its evidence, so that a failure can be looked into.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from bannister.demo.flights import Flight
from bannister.demo.traffic import Answer
from bannister.demo.training import Scores, Version, scores

#: The name of the share of requests that failed.
ERROR = "errors"
#: How many unexpected answers are shown as evidence.
EVIDENCE_MAX = 3
#: How many kinds of changed labels are shown for a shadow.
LABELS_MAX = 2


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the answers."""

    name: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Check:
    """One condition that had to hold."""

    sentence: str
    held: bool
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """How an update ended, as DescribeEndpoint told it."""

    status: str
    config: str
    failure_reason: str | None
    #: Its id, for `bannister explain`.
    deployment: str = field(default="", compare=False)


@dataclass(slots=True)
class Shadowed:
    """What was learned of a version that was put beside v2."""

    pairs: int = 0
    agreement: float = 0.0
    #: How many answers had been compared when its alarm was seen to have tripped; None: it did not.
    found_after: int | None = None
    #: The answer of DescribeShadowReport.
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """Everything the demo saw."""

    versions: list[Version]
    flights: list[Flight]
    answers: list[Answer] = field(default_factory=list)
    #: By the client's count; None: it did not say.
    sent: int | None = None
    client_survived: bool = False
    #: By version: how the update to it ended.
    settled: dict[str, Settled] = field(default_factory=dict)
    shadowed: dict[str, Shadowed] = field(default_factory=dict)
    alarm_name: str = ""
    disagreement_alarm: str = ""
    #: Seconds since the epoch.
    alarm_at: float | None = None
    rolled_back_at: float = math.inf

    def failed_by_v3(self, answer: Answer) -> bool:
        """Whether v3 itself answered with its own error: it cannot look up this flight's aircraft."""
        return (
            answer.status == 424
            and answer.model_status == 500
            and "KeyError" in (answer.model_message or "")
            and not self.flights[answer.flight].known_plane
        )

    def answered_by(self, version: str) -> list[Answer]:
        """All answers of one version, its errors included."""
        return [
            answer
            for answer in self.answers
            if answer.version == version or (version == "v3" and self.failed_by_v3(answer))
        ]

    def errors(self) -> list[Answer]:
        """v3's errors, the first one first."""
        return sorted(filter(self.failed_by_v3, self.answers), key=lambda answer: answer.ended_at)

    def lost(self) -> list[Answer]:
        """Requests that failed though no model had answered them so: there must be none."""
        return [answer for answer in self.answers if not answer.ok and not self.failed_by_v3(answer)]

    def live_scores(self, version: str) -> Scores | None:
        """By the true arrivals; None: this version answered nothing."""
        good = [answer for answer in self.answered_by(version) if answer.ok]
        if not good:
            return None
        return scores([answer.late for answer in good], [self.flights[answer.flight].late for answer in good])

    def hurt_all_at_once(self) -> int:
        """How many callers would have seen an error, had v3 answered everyone while it answered anyone."""
        by_v3 = self.answered_by("v3")
        if not by_v3:
            return 0
        begin = min(answer.sent_at for answer in by_v3)
        end = max(answer.sent_at for answer in by_v3)
        meanwhile = (answer for answer in self.answers if begin <= answer.sent_at <= end)
        return sum(not self.flights[answer.flight].known_plane for answer in meanwhile)


def conclusion(outcome: Outcome) -> str:
    """The demo in one sentence."""
    offline = {version.name: version.offline for version in outcome.versions}
    requests, errors = len(outcome.answered_by("v3")), len(outcome.errors())
    if not requests:
        return "v3 never answered a live request: the demo did not get that far."
    return (
        f"v3 passed offline with F1 {offline['v3'].f1:.2f} (v2: {offline['v2'].f1:.2f}) and failed "
        f"{errors / requests:.0%} of live requests ({errors} of {requests}); {errors} "
        f"{'caller' if errors == 1 else 'callers'} saw an error before it was rolled back; all at once without an alarm would have hurt {outcome.hurt_all_at_once()} in the same time."
        + _silent(outcome)
    )


def _silent(outcome: Outcome) -> str:
    """The same for v4."""
    found = outcome.shadowed.get("v4")
    if found is None or found.found_after is None:
        return ""
    return (
        f" v4 passed offline with F1 {_offline(outcome, 'v4').f1:.2f}, answered every request in time and without an error, and "
        f"said another label than v2 on {1 - found.agreement:.0%} of them; as a shadow it was found out after "
        f"{found.found_after} copies of requests, and nobody saw an answer of it."
    )


def _offline(outcome: Outcome, name: str) -> Scores:
    return next(version.offline for version in outcome.versions if version.name == name)


def table(outcome: Outcome) -> list[list[str]]:
    """One row per version, as text: scores offline and live, requests, errors, latencies."""
    rows = []
    for version in outcome.versions:
        answers, live = outcome.answered_by(version.name), outcome.live_scores(version.name)
        latencies = [answer.milliseconds for answer in answers]
        rows.append(
            [
                version.name,
                f"{version.offline.accuracy:.3f}",
                f"{version.offline.f1:.3f}",
                f"{live.accuracy:.3f}" if live else "-",
                f"{live.f1:.3f}" if live else "-",
                f"{len(answers):,}",
                str(len(answers) - sum(answer.ok for answer in answers)),
                f"{percentile(latencies, 50):.1f}" if answers else "-",
                f"{percentile(latencies, 99):.1f}" if answers else "-",
            ]
        )
    return rows


def times(outcome: Outcome) -> list[str]:
    """How long the rollback took, from the callers' point of view."""
    errors, by_v3 = outcome.errors(), outcome.answered_by("v3")
    if outcome.alarm_at is None or not errors:
        return []
    last = max(answer.ended_at for answer in by_v3)
    to_alarm, to_last = outcome.alarm_at - errors[0].ended_at, last - outcome.alarm_at
    return [
        f"{to_alarm:.2f} s from v3's first bad answer to the alarm",
        f"{to_last:.2f} s from the alarm to the last answer by v3"
        if to_last >= 0
        else f"v3 gave its last answer {-to_last:.2f} s before the alarm: none after it",
    ]


def shadows(outcome: Outcome) -> list[str]:
    """What each shadow's answers were, compared with v2's."""
    lines = []
    for version, seen in outcome.shadowed.items():
        found = seen.report.get("Agreement") or {}
        if not found.get("Pairs"):
            continue
        low, high = found["LowerBound"], found["UpperBound"]
        lines.append(
            f"{version} as v2's shadow agreed on {found['Rate']:.1%} of {found['Pairs']:,} answers "
            f"({found['Confidence']:.0%} interval {low:.1%} to {high:.1%})"
        )
        changed = [label for label in seen.report.get("Labels", []) if label["Old"] != label["New"]]
        lines += [
            f"    {label['Path']}: {label['Old']} became {label['New']} {label['Count']:,} times"
            for label in changed[:LABELS_MAX]
        ]
    return lines


def checks(outcome: Outcome) -> list[Check]:
    """The conditions, in the order of the story."""
    lost = outcome.lost()
    silent = [name for name in ("v1", "v2", "v3", "v5") if not outcome.answered_by(name)]
    return [
        *_first_act(outcome),
        *_second_act(outcome),
        Check(
            f"nothing was lost: of {len(outcome.answers):,} requests only v3's own failures failed",
            bool(outcome.answers) and not lost and outcome.sent == len(outcome.answers),
            f"{len(lost)} others failed, such as {lost[:EVIDENCE_MAX]}; {outcome.sent} were sent and {len(outcome.answers)} came to an end",
        ),
        Check("every other version answered live traffic", not silent, f"no answer by {', '.join(silent)}"),
        Check("the client ran to the end", outcome.client_survived, "its process ended early"),
    ]


def _first_act(outcome: Outcome) -> list[Check]:
    v2, v3 = outcome.settled.get("v2"), outcome.settled.get("v3")
    late_v3 = [answer for answer in outcome.answered_by("v3") if answer.sent_at > outcome.rolled_back_at]
    after = [answer for answer in outcome.answers if answer.sent_at > outcome.rolled_back_at]
    strangers = [answer for answer in after if answer.ok and answer.version not in ("v2", "v5")]
    return [
        Check(
            "v2 completed its canary and went into service",
            v2 == Settled("InService", "flights-v2", None),
            f"it ended as {v2}",
        ),
        Check(
            f"v3 was rolled back by the alarm {outcome.alarm_name}",
            v3 is not None
            and (v3.status, v3.config) == ("InService", "flights-v2")
            and outcome.alarm_name in (v3.failure_reason or "")
            and outcome.alarm_at is not None,
            f"it ended as {v3}; the alarm tripped at {outcome.alarm_at}",
        ),
        Check(
            "all traffic was on v2 again",
            bool(after) and not late_v3 and not strangers,
            f"{len(after)} answers after the rollback, of them by v3: {late_v3[:EVIDENCE_MAX]}, by others: {strangers[:EVIDENCE_MAX]}",
        ),
    ]


def _second_act(outcome: Outcome) -> list[Check]:
    v4, v5 = outcome.settled.get("v4"), outcome.settled.get("v5")
    found, seen = outcome.shadowed.get("v4", Shadowed()), outcome.answered_by("v4")
    return [
        Check(
            f"v4 was found out as a shadow, by the alarm {outcome.disagreement_alarm}",
            found.found_after is not None,
            f"of {found.pairs} answers it agreed on {found.agreement:.1%}",
        ),
        Check(
            "the update that would have promoted v4 was stopped before any traffic moved",
            v4 is not None
            and (v4.status, v4.config) == ("InService", "flights-v2-shadow-v4")
            and outcome.disagreement_alarm in (v4.failure_reason or ""),
            f"it ended as {v4}",
        ),
        Check("no caller saw an answer of v4", not seen, f"{len(seen)} did, such as {seen[:EVIDENCE_MAX]}"),
        Check(
            "v5, v2 with another seed, passed as a shadow and went into service",
            v5 == Settled("InService", "flights-v5", None),
            f"it ended as {v5}",
        ),
    ]


def percentile(values: list[float], percent: float) -> float:
    """The nearest-rank percentile; 0 for no values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
