"""The summary and its conditions, from answers that the test makes up."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from bannister.demo import report
from bannister.demo.flights import Flight
from bannister.demo.report import ERROR, Outcome, Settled, Shadowed, Share, percentile
from bannister.demo.screen import Screen, bar, shares_of
from bannister.demo.traffic import Answer
from bannister.demo.training import Scores, Version

KNOWN = Flight("{}", late=True, known_plane=True)
UNKNOWN = Flight("{}", late=False, known_plane=False)


OFFLINE = {"v1": 0.08, "v2": 0.78, "v3": 0.79, "v4": 0.78, "v5": 0.77}


def shadow_report(agreement: float) -> dict[str, object]:
    changed = [{"Path": "$.late", "Old": "true", "New": "false", "Count": 170}] if agreement < 0.9 else []
    return {
        "Agreement": {
            "Pairs": 1000,
            "Rate": agreement,
            "LowerBound": agreement - 0.02,
            "UpperBound": agreement + 0.01,
            "Confidence": 0.95,
        },
        "Labels": [*changed, {"Path": "$.late", "Old": "false", "New": "false", "Count": 800}],
    }


def answer(flight: int, version: str, at: float, *, late: bool = True) -> Answer:
    return Answer(flight, at, at + 0.01, 10.0, 200, version, late)


def failure(flight: int, at: float) -> Answer:
    return Answer(
        flight, at, at + 0.01, 10.0, 424, error="no", model_status=500, model_message='{"error": "KeyError: 1"}'
    )


SETTLED = {
    "v2": Settled("InService", "flights-v2", None),
    "v3": Settled("InService", "flights-v2", "Alarm flights-v3-errors: ..."),
    "v4": Settled("InService", "flights-v2-shadow-v4", 'alarm "flights-v4-disagreements" was in ALARM'),
    "v5": Settled("InService", "flights-v5", None),
}


def settled(version: str, config: str, reason: str | None) -> dict[str, object]:
    return {"settled": SETTLED | {version: Settled("InService", config, reason)}}


@pytest.fixture
def good() -> Outcome:
    """Flight 0 is of a known aircraft and late, flight 1 of an unknown one and on time."""
    return Outcome(
        versions=[Version(name, Scores(0.9, f1), b"") for name, f1 in OFFLINE.items()],
        flights=[KNOWN, UNKNOWN],
        answers=[
            answer(0, "v1", 1),
            answer(1, "v2", 2),
            answer(0, "v3", 10.0),
            answer(1, "v2", 10.1),
            failure(1, 10.2),
            answer(0, "v2", 10.3),
            answer(0, "v3", 12.0),
            answer(1, "v2", 20, late=False),
            answer(1, "v5", 40, late=False),
        ],
        sent=9,
        client_survived=True,
        settled=SETTLED,
        shadowed={
            "v4": Shadowed(320, 0.83, 320, shadow_report(0.83)),
            "v5": Shadowed(310, 0.99, None, shadow_report(0.98)),
        },
        alarm_name="flights-v3-errors",
        disagreement_alarm="flights-v4-disagreements",
        alarm_at=11.21,
        rolled_back_at=15.0,
    )


def broken(outcome: Outcome) -> list[str]:
    return [check.sentence for check in report.checks(outcome) if not check.held]


def test_a_good_run_holds(good: Outcome) -> None:
    assert broken(good) == []


def test_the_sentence_counts_what_happened(good: Outcome) -> None:
    assert report.conclusion(good) == (
        "v3 passed offline with F1 0.79 (v2: 0.78) and failed 33% of live requests (1 of 3); 1 caller saw an error before "
        "it was rolled back; all at once without an alarm would have hurt 2 in the same time. v4 passed offline "
        "with F1 0.78, answered every request in time and without an error, and said another label than v2 on 17% of them; as a "
        "shadow it was found out after 320 copies of requests, and nobody saw an answer of it."
    )


def test_a_run_without_v3_says_so(good: Outcome) -> None:
    good.answers = good.answers[:2]
    assert report.conclusion(good) == "v3 never answered a live request: the demo did not get that far."
    assert report.times(good) == []


def test_the_times_are_the_callers(good: Outcome) -> None:
    assert report.times(good) == [
        "1.00 s from v3's first bad answer to the alarm",
        "0.80 s from the alarm to the last answer by v3",
    ]


def test_a_last_answer_before_the_alarm_is_no_negative_time(good: Outcome) -> None:
    assert report.times(dataclasses.replace(good, alarm_at=12.51))[1].startswith(
        "v3 gave its last answer 0.50 s before"
    )


def test_live_scores_are_by_the_true_arrivals(good: Outcome) -> None:
    assert good.live_scores("v1") == Scores(1.0, 1.0)
    assert good.live_scores("v2") == Scores(0.5, 0.5)
    assert [row[5:7] for row in report.table(good)] == [["1", "0"], ["4", "0"], ["3", "1"], ["0", "0"], ["1", "0"]]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (settled("v2", "flights-v1", "alarm"), "v2 completed"),
        (settled("v3", "flights-v3", None), "v3 was rolled back"),
        (settled("v3", "flights-v2", "a timeout"), "v3 was rolled back"),
        (settled("v4", "flights-v4", None), "the update that would have promoted v4"),
        (settled("v4", "flights-v2-shadow-v4", "a timeout"), "the update that would have promoted v4"),
        (settled("v5", "flights-v2-shadow-v5", "alarm"), "v5, v2 with another seed, passed"),
        ({"shadowed": {"v4": Shadowed(9000, 0.99)}}, "v4 was found out as a shadow"),
        ({"alarm_at": None}, "v3 was rolled back"),
        ({"rolled_back_at": 11.0}, "all traffic was on v2 again"),
        ({"rolled_back_at": 60.0}, "all traffic was on v2 again"),
        ({"client_survived": False}, "the client ran to the end"),
    ],
)
def test_what_did_not_hold_is_named(good: Outcome, change: dict[str, object], sentence: str) -> None:
    assert broken(dataclasses.replace(good, **change))[0].startswith(sentence)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "lost",
    [
        Answer(0, 3, 3, 1.0, 0, error="ConnectionResetError"),
        Answer(0, 3, 3, 1.0, 503, error="no healthy instance"),
        # v3 does not fail on a flight whose aircraft it knows: somebody else lost this one.
        failure(0, 3),
    ],
)
def test_a_request_that_v3_did_not_fail_itself_is_lost(good: Outcome, lost: Answer) -> None:
    good.answers.append(lost)
    good.sent = len(good.answers)
    (sentence,) = broken(good)
    assert sentence.startswith("nothing was lost")


@pytest.mark.parametrize("sent", [10, None])
def test_a_request_without_an_end_is_lost(good: Outcome, sent: int | None) -> None:
    good.sent = sent
    (sentence,) = broken(good)
    assert sentence.startswith("nothing was lost")


def test_an_answer_of_v4_is_noticed(good: Outcome) -> None:
    good.answers.insert(0, answer(0, "v4", 3))
    good.sent = len(good.answers)
    assert broken(good) == ["no caller saw an answer of v4"]


def test_shadows_are_told_with_their_interval(good: Outcome) -> None:
    assert report.shadows(good) == [
        "v4 as v2's shadow agreed on 83.0% of 1,000 answers (95% interval 81.0% to 84.0%)",
        "    $.late: true became false 170 times",
        "v5 as v2's shadow agreed on 98.0% of 1,000 answers (95% interval 96.0% to 99.0%)",
    ]


def test_a_version_without_answers_is_noticed(good: Outcome) -> None:
    good.answers = [one for one in good.answers if one.version != "v1"]
    good.sent = len(good.answers)
    assert broken(good) == ["every other version answered live traffic"]
    assert report.table(good)[0][3:] == ["-", "-", "0", "0", "-", "-"]


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(value) for value in range(1, 101)]
    assert (percentile(values, 50), percentile(values, 99), percentile([7.0], 99)) == (50, 99, 7)


@pytest.mark.parametrize(
    "fractions", [(1.0,), (0.8, 0.2), (0.996, 0.002, 0.002), (1 / 3, 1 / 3, 1 / 3), (0.5, 0.49, 0.005, 0.005)]
)
def test_the_bar_is_always_full_and_shows_everyone(fractions: tuple[float, ...]) -> None:
    names = ("v1", "v2", "v3", ERROR)
    drawn = bar([Share(name, fraction) for name, fraction in zip(names, fractions, strict=False)], 76).plain.strip()
    assert len(drawn) == 76
    assert len(set(drawn)) == len(fractions)


def test_shares_are_of_the_answers(good: Outcome) -> None:
    assert shares_of(good.answers[:5]) == [Share("v1", 0.2), Share("v2", 0.4), Share("v3", 0.2), Share(ERROR, 0.2)]
    assert shares_of([]) == []


def test_where_it_is_not_a_terminal_events_are_plain_lines_of_80_columns() -> None:
    out = io.StringIO()
    with Screen(Console(file=out, width=200)) as screen:
        screen.say("word " * 40, "bold red")
    assert "\x1b" not in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) == 80
