"""What is said of alarms that cannot work, and that nothing is said of those that can."""

from dataclasses import replace

import pytest

from bannister.domain.alarm.alarm import AlarmRule, Comparison
from bannister.domain.alarm.caveats import UNLOOKED, Kind, Traffic, Watch, of_deployment, of_rule
from bannister.domain.metric.identity import identity

BOTH = {"EndpointName": "e", "VariantName": "v"}
GREEN = BOTH | {"EndpointConfigName": "v2"}
ERRORS = identity("AWS/SageMaker", "Invocation5XXErrors", GREEN)
LATENCY = identity("AWS/SageMaker", "ModelLatency", GREEN)
SOUND = AlarmRule(ERRORS, "Average", 60, 1, 1, 0.05, Comparison.GREATER)
MINE = replace(SOUND, metric=identity("Mine", "m"))
#: 10 % for 120 s, then everything for 300 s.
WATCH = Watch("e", "v1", "v2", ("v",), (), ((100_000, 120), (1_000_000, 300)))
BUSY = Traffic(True, 200.0)

ALONE = [
    (replace(SOUND, threshold=5), Kind.NEVER_EXCEEDED, "such as 0.05 for 5 %"),
    (replace(SOUND, threshold=1), Kind.NEVER_EXCEEDED, "between 0 and 1"),
    (replace(SOUND, threshold=1, comparison=Comparison.GREATER_OR_EQUAL), None, ""),
    (replace(SOUND, threshold=5, statistic="Sum"), None, ""),
    (replace(SOUND, threshold=0, comparison=Comparison.LESS), Kind.NEVER_EXCEEDED, "never negative"),
    (replace(SOUND, unit="Percent"), Kind.UNKNOWN_UNIT, "in Percent and never finds one"),
    (replace(SOUND, metric=LATENCY, statistic="p90", unit="Milliseconds"), Kind.UNKNOWN_UNIT, "1 ms is 1000"),
    (replace(SOUND, unit="None"), None, ""),
    (replace(SOUND, metric=identity("AWS/SageMaker", "Errors", BOTH)), Kind.UNKNOWN_METRIC, "Use one of Invocation4XX"),
    (
        replace(SOUND, metric=identity("AWS/SageMaker", "Invocations", {"EndpointName": "e"})),
        Kind.UNKNOWN_METRIC,
        "EndpointName and VariantName",
    ),
    (replace(SOUND, period_seconds=10), Kind.NOT_ON_AWS, "once a minute"),
    (replace(SOUND, metric=identity("Mine", "m"), period_seconds=10), None, ""),
]
NAMED = [
    (SOUND, BUSY, None, ""),
    (
        replace(SOUND, metric=identity("AWS/SageMaker", "Invocation5XXErrors", BOTH)),
        BUSY,
        Kind.DILUTED,
        "90 % of its samples",
    ),
    (replace(SOUND, metric=identity("AWS/SageMaker", "Invocations", BOTH), statistic="Sum"), BUSY, None, ""),
    (
        replace(SOUND, metric=identity("AWS/SageMaker", "Invocation5XXErrors", BOTH | {"EndpointConfigName": "v1"})),
        BUSY,
        Kind.UNKNOWN_METRIC,
        "which is blue",
    ),
    (
        replace(SOUND, metric=identity("AWS/SageMaker", "Invocation5XXErrors", {**BOTH, "EndpointName": "x"})),
        BUSY,
        Kind.UNKNOWN_METRIC,
        "watches endpoint x",
    ),
    (
        replace(SOUND, metric=identity("AWS/SageMaker", "Invocation5XXErrors", {**BOTH, "VariantName": "x"})),
        BUSY,
        Kind.UNKNOWN_METRIC,
        "no variant x",
    ),
    (replace(SOUND, period_seconds=180), BUSY, Kind.PERIOD_TOO_LONG, "longer than a bake of 120 s"),
    (replace(SOUND, evaluation_periods=3, datapoints_to_alarm=2), BUSY, Kind.RANGE_TOO_LONG, "180 s in all"),
    (
        replace(SOUND, metric=LATENCY, statistic="p99"),
        Traffic(True, 20.0),
        Kind.FEW_SAMPLES,
        "about 120 samples; p99 means little below 1000",
    ),
    (replace(SOUND, metric=LATENCY, statistic="p99"), BUSY, None, ""),
    (replace(SOUND, metric=LATENCY, statistic="p99"), UNLOOKED, None, ""),
    (replace(SOUND, metric=identity("Mine", "m")), Traffic(False, 0.0), Kind.UNKNOWN_METRIC, "There is no data of m"),
    (MINE, Traffic(True, 0.0), None, ""),
    (replace(MINE, unit="Bytes"), Traffic(True, 1.0, in_unit=True, in_resolution=True), None, ""),
    (
        replace(MINE, unit="Bytes"),
        Traffic(True, 1.0, in_unit=False, in_resolution=True, unit="Count"),
        Kind.UNKNOWN_UNIT,
        "are in Bytes; they are in Count. Units are not converted, so the alarm finds no datapoint. Leave out Unit, or give Count.",
    ),
    (
        replace(MINE, unit="Bytes"),
        Traffic(True, 1.0, in_unit=False, in_resolution=True),
        Kind.UNKNOWN_UNIT,
        "they are in others",
    ),
    (
        replace(MINE, period_seconds=30),
        Traffic(True, 1.0, in_unit=True, in_resolution=False),
        Kind.STANDARD_RESOLUTION,
        "a period of 30 s does not show",
    ),
    (replace(MINE, period_seconds=30), Traffic(True, 1.0, in_unit=True, in_resolution=True), None, ""),
]


@pytest.mark.parametrize(("rule", "kind", "said"), ALONE, ids=range(len(ALONE)))
def test_alone(rule: AlarmRule, kind: Kind | None, said: str) -> None:
    found = of_rule("a", rule)
    assert [one.kind for one in found] == ([] if kind is None else [kind])
    assert all(said in f"{one.reason} {one.remedy}" and one.alarm == "a" for one in found)


@pytest.mark.parametrize(("rule", "traffic", "kind", "said"), NAMED, ids=range(len(NAMED)))
def test_named_in_a_deployment(rule: AlarmRule, traffic: Traffic, kind: Kind | None, said: str) -> None:
    found = of_deployment("a", rule, WATCH, traffic)
    assert [one.kind for one in found] == ([] if kind is None else [kind])
    assert all(said in f"{one.reason} {one.remedy}" for one in found)


def test_all_at_once_is_not_diluted_and_without_a_bake_nothing_is_too_long() -> None:
    both = replace(SOUND, metric=identity("AWS/SageMaker", "Invocation5XXErrors", BOTH), period_seconds=600)
    assert of_deployment("a", both, replace(WATCH, steps=((1_000_000, 0),)), BUSY) == ()


def test_every_text_is_whole_sentences() -> None:
    for rule, *_ in [*ALONE, *NAMED]:
        for one in of_deployment("a", rule, WATCH, Traffic(False, 0.1)):
            assert one.reason.endswith("."), one
            assert one.remedy.endswith("."), one
