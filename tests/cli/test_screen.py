"""The screen of `watch` and the words of all commands: they fit, they do not wrap, and they say what is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from bannister.cli import screen as drawing
from bannister.cli import words
from bannister.cli.screen import _alarms, progress_line, screen
from bannister.domain.alarm.alarm import Comparison
from bannister.domain.deployment.outlook import DeploymentStatus, StepState
from bannister.domain.deployment.policy import Routing
from bannister.domain.deployment.progress import EndpointStatus

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
FIGURES = {
    "WindowSeconds": 60,
    "Requests": 123_456,
    "Errors": 12,
    "ErrorPercent": 0.00972,
    "P50Milliseconds": 3.2,
    "P99Milliseconds": 1250.0,
}
NO_FIGURES = {"WindowSeconds": 60, "Requests": 0, "Errors": 0}


def variant(name: str, figures: dict[str, Any]) -> dict[str, Any]:
    return {
        "VariantName": name,
        "InstancesWanted": 2,
        "InstancesReady": 1,
        "InstanceRestarts": 3,
        "Figures": figures,
    }


def described(
    *, steps: int = 2, present: int = 1, alarms: int = 1, variants: int = 1, long: bool = False
) -> dict[str, Any]:
    """A running deployment; with `long`, names as long as AWS allows."""
    name = "n" * 63 if long else "flights"
    names = [f"variant{number}{'x' * 40 if long else ''}" for number in range(variants)]
    return {
        "DeploymentId": "d1d1d1d1",
        "EndpointName": name,
        "BlueConfigName": f"{name}-1"[-63:],
        "GreenConfigName": f"{name}-2"[-63:],
        "Status": "InProgress",
        "Phase": "baking",
        "StartTime": NOW - timedelta(seconds=30),
        "ObservedTime": NOW,
        "EarliestEndTime": NOW + timedelta(seconds=75),
        "CurrentStep": present,
        "Policy": {"RoutingType": "LINEAR", "StepType": "CAPACITY_PERCENT", "StepValue": 10},
        "Steps": [
            {
                "Number": number,
                "State": "Done" if number < present else "Current" if number == present else "ToCome",
                "GreenPercent": 100 * number / steps,
                "BakeSeconds": 3600,
            }
            for number in range(1, steps + 1)
        ],
        "WaitsFor": {
            "Sentence": "Telemetry is silent, so the bake of step 1 of 2 makes no progress; "
            "if it stays silent the deployment rolls back."
            if long
            else "Bakes at step 1 of 2.",
            "Since": NOW - timedelta(seconds=10),
            "Until": NOW + timedelta(seconds=20),
        },
        "Blue": {"EndpointConfigName": f"{name}-1", "Variants": [variant(one, FIGURES) for one in names]},
        "Green": {
            "EndpointConfigName": f"{name}-2",
            "PercentAsked": 20.0,
            "PercentAcknowledged": 10.0,
            "Variants": [variant(one, NO_FIGURES) for one in names],
        },
        "Alarms": [
            {
                "AlarmName": f"alarm{number}{'y' * 100 if long else ''}",
                "State": "OK",
                "Statistic": "Average",
                "MetricName": "Invocation5XXErrors",
                "ComparisonOperator": "GreaterThanThreshold",
                "Threshold": 0.05,
                "Value": 0.0123456,
            }
            for number in range(alarms)
        ],
    }


def drawn(found: dict[str, Any], note: str | None = None) -> list[str]:
    """The lines on a terminal of 80 by 24."""
    console = Console(width=80, height=24, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(screen(found, note))
    return capture.get().splitlines()


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("alarms", [0, 1, 3, 10])
@pytest.mark.parametrize("variants", [1, 2, 5])
@pytest.mark.parametrize(("steps", "present"), [(1, 0), (2, 1), (10, 0), (10, 1), (10, 5), (10, 10)])
def test_it_fits_80_by_24_whatever_there_is_to_show(
    steps: int, present: int, variants: int, alarms: int, long: bool
) -> None:
    found = described(steps=steps, present=present, alarms=alarms, variants=variants, long=long)
    found["Warnings"] = [{"AlarmName": one["AlarmName"], "Kind": "diluted by blue"} for one in found["Alarms"]]
    lines = drawn(found)
    assert len(lines) <= 23, "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("  ! ") for line in lines) == bool(alarms)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["memory"], "  ! green does not fit beside blue (why: explain)"),
        (["errors"], "  ! errors: diluted by blue (why: explain)"),
        (["model"], "  ! main: the model warns of itself (why: explain)"),
        (["memory", "errors", "errors"], "  ! 3 warnings about memory, 1 alarm(s) (why: explain)"),
        (["memory", "model"], "  ! 2 warnings about memory, 1 model(s) (why: explain)"),
        (["model", "model", "errors"], "  ! 3 warnings about 1 model(s), 1 alarm(s) (why: explain)"),
        (["errors", "errors"], "  ! 2 warnings about 1 alarm(s) (why: explain)"),
    ],
)
def test_warnings_are_about_memory_models_or_alarms(kinds: list[str], expected: str) -> None:
    found = described(alarms=1)
    others = {
        "memory": {"Kind": "green does not fit beside blue"},
        "model": {"VariantName": "main", "Kind": "the model warns of itself"},
    }
    found["Warnings"] = [others.get(kind, {"AlarmName": kind, "Kind": "diluted by blue"}) for kind in kinds]
    assert [line for line in drawn(found) if line.startswith("  ! ")] == [expected]


def test_a_shadow_has_a_line_that_fits() -> None:
    found = described(alarms=3, long=True)
    lines = drawn(found)
    found["Shadow"] = {
        "EndpointConfigName": "v1",
        "VariantName": "s" * 63,
        "Copies": 123_456,
        "Skipped": 98_765,
        "Pairs": 123_456,
        "Agreeing": 123_455,
    }
    (line,) = [one for one in drawn(found) if one not in lines]
    assert line.startswith("  shadow        99.9+ % of 123,456 pairs agree, 123,456 copies, 98,765 skipped")
    assert len(line) <= 80
    assert len(drawn(found)) <= 23
    found["Shadow"] |= {"Pairs": 0, "Agreeing": 0}
    assert any("nothing compared, 123,456 copies" in one for one in drawn(found))


def test_nothing_moves_while_the_steps_go_by() -> None:
    heights = {len(drawn(described(steps=10, present=present))) for present in range(11)}
    assert len(heights) == 1


def test_asked_and_acknowledged_are_told_apart_and_not_known_is_said() -> None:
    found = described()
    asked, acknowledged = (one for one in drawn(found) if " green" in one and ("asked" in one or "acknowledged" in one))
    assert asked.count("▒") == 2 * acknowledged.count("▒") == 8
    assert asked.endswith("20 % green")
    del found["Green"]["PercentAcknowledged"]
    assert any("acknowledged" in one and one.endswith("? green") for one in drawn(found))


def test_both_fleets_are_drawn_on_one_scale() -> None:
    found = described()
    found["Green"]["Variants"] = [variant("a", FIGURES | {"P50Milliseconds": 1.6})]
    found["Blue"]["Variants"] = [variant("a", FIGURES)]
    (row,) = (one for one in drawn(found) if "p50" in one)
    assert "3.2 ms" in row
    assert "1.6 ms" in row
    assert row.count("█") == 2 * row.count("▒") == 12


def test_a_tripped_alarm_comes_first() -> None:
    found = described(alarms=5)
    found["Alarms"][4] |= {"State": "ALARM", "TrippedTime": NOW}
    shown = [one for one in drawn(found) if "alarm if" in one]
    assert "alarm4" in shown[0]
    assert "tripped" in shown[0]
    assert "✖" in shown[0]
    assert any("3 more alarm(s)" in one for one in drawn(found))


def test_where_there_is_one_line_for_alarms_it_is_that_of_the_one_that_tripped() -> None:
    found = described(alarms=3)
    found["Alarms"][2] |= {"State": "ALARM", "TrippedTime": NOW}
    (line,) = _alarms(found["Alarms"], 1)
    assert "alarm2" in line.plain
    assert "tripped" in line.plain
    assert line.plain.endswith("(+2)")


def test_what_is_wrong_with_the_connection_is_said() -> None:
    assert drawn(described(), "The server has not answered for 3 s")[-1].strip().startswith("The server has not")


@pytest.mark.parametrize("status", ["Completed", "RolledBack"])
def test_an_ended_one_says_so(status: str) -> None:
    found = described() | {"Status": status, "EndTime": NOW, "Reason": "3 > 1"}
    found.pop("WaitsFor")
    text = "\n".join(drawn(found))
    assert ("Completed after 30 s" if status == "Completed" else "Rolled back after 30 s") in text
    assert "Bakes" not in text
    line = progress_line(found)
    assert ("3 > 1" in line) == (status == "RolledBack")


@pytest.mark.parametrize("routing", Routing)
def test_every_way_in_which_traffic_moves_has_words(routing: Routing) -> None:
    found = described()
    found["Policy"]["RoutingType"] = routing.value
    assert f"{routing.value.lower().replace('_', ' ')} " in drawn(found)[0]


def test_everything_that_is_enumerated_has_a_word_or_a_mark() -> None:
    assert {one.value for one in (*DeploymentStatus, *EndpointStatus)} <= words.MARKS.keys()
    assert {one.value for one in Comparison} <= words.COMPARISONS.keys()
    assert {one.value for one in StepState} <= drawing._STEPS.keys()


def test_names_that_begin_alike_are_told_apart() -> None:
    """The SageMaker SDK's names end with a time."""
    found = described()
    old, new = "churn-prod-eu-2026-11-28-10-00-00-123", "churn-prod-eu-2026-11-28-10-00-00-987"
    found |= {"EndpointName": old, "BlueConfigName": old, "GreenConfigName": new}
    found["Blue"]["EndpointConfigName"], found["Green"]["EndpointConfigName"] = old, new
    lines = drawn(found)
    assert lines[0].endswith("  linear by 10 %  d1d1d1d1")
    assert lines[0].count("00-123") == 2
    (heads,) = (one for one in lines if "█ blue" in one)
    for line in (lines[0], heads):
        assert line.count("…") >= 2
        assert "00-123" in line
        assert "00-987" in line
    assert f"  bannister rollback {old} --reason TEXT" in lines


def test_a_variant_that_is_called_otherwise_in_green_has_its_figures() -> None:
    """Where a shadow is promoted its name becomes production's."""
    found = described()
    found["Blue"]["Variants"] = [variant("other", FIGURES)]
    assert any("requests      123,456" in one for one in drawn(found))
    found["Green"]["Variants"] = [variant(one, NO_FIGURES) for one in ("other", "one", "more")]
    found["Blue"]["Variants"] = [variant(one, FIGURES) for one in ("gone", "other")]
    lines = drawn(found)
    assert sum("requests      123,456" in one for one in lines) == 1
    assert any("2 more variant(s)" in one for one in lines)


def test_after_a_rollback_that_failed_both_versions_serve() -> None:
    found = described() | {"Status": "RollbackFailed", "EndTime": NOW, "Reason": "No memory."}
    del found["WaitsFor"]
    lines = drawn(found)
    assert "✖ The rollback failed after 30 s." in lines
    assert "  split in the end   both versions serve" in lines


def test_the_update_after_that_shows_which_version_each_of_blues_variants_is_of() -> None:
    found = described()
    found["Blue"]["Variants"] = [
        variant("main", FIGURES) | {"EndpointConfigName": name} for name in ("flights-1", "flights-bad")
    ]
    found["Green"]["Variants"] = [variant("main", NO_FIGURES) | {"EndpointConfigName": "flights-2"}]
    heads = [one for one in drawn(found) if "█ blue" in one]
    assert [" ".join(one.split()) for one in heads] == [
        "main █ blue flights-1 ▒ green flights-2",
        "main █ blue flights-bad ▒ green flights-2",
    ]


def test_a_creation_has_no_blue() -> None:
    found = described()
    del found["Blue"], found["BlueConfigName"]
    assert any("(none)" in one for one in drawn(found))
    assert words.change(found) == "creation with flights-2"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0.42, "0.4 s"),
        (5, "5 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3605, "1 h 0 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_numbers() -> None:
    assert [words.percent(value) for value in (None, 0.0, 0.00972, 33.3333, 100.0)] == [
        "?",
        "0 %",
        "0.00972 %",
        "33.3 %",
        "100 %",
    ]
    assert [words.milliseconds(value) for value in (None, 0.5, 999.0, 1250.0)] == ["-", "0.5 ms", "999 ms", "1.25 s"]
    assert [words.number(value) for value in (0.05, 12.0, 1e6, 1e300)] == ["0.05", "12", "1,000,000", "1e+300"]


def test_a_composite_alarm_is_shown_with_its_rule() -> None:
    found = described()
    found["Alarms"] = [{"AlarmName": "unwell", "State": "OK", "Rule": "ALARM(slow) OR ALARM(failing)"}]
    (shown,) = (one for one in drawn(found) if "unwell" in one)
    assert "ALARM(slow) OR ALARM(failing)" in shown
    assert "no data" not in shown
