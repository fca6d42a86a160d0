"""What is said of alarms that cannot work, and that nothing is said of those that can."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from bannister.domain.alarm.alarm import AlarmQuery, AlarmRule, Comparison
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
    *[
        (replace(SOUND, threshold=5, statistic=one), None, "")
        for one in ("PR(0:1)", "TC(0:1)", "TS(0:1)", "ts99", "tc9")
    ],
    *[
        (replace(SOUND, threshold=5, statistic=one), Kind.NEVER_EXCEEDED, "between 0 and 1")
        for one in ("tm90", "IQM", "wm99", "p99", "Maximum")
    ],
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
    (
        replace(SOUND, metric=identity("AWS/SageMaker", "ConcurrentRequestsPerModel", BOTH), period_seconds=10),
        None,
        "",
    ),
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
    found = of_deployment("a", rule, WATCH, (traffic,))
    assert [one.kind for one in found] == ([] if kind is None else [kind])
    assert all(said in f"{one.reason} {one.remedy}" for one in found)


def test_all_at_once_is_not_diluted_and_without_a_bake_nothing_is_too_long() -> None:
    both = replace(SOUND, metric=identity("AWS/SageMaker", "Invocation5XXErrors", BOTH), period_seconds=600)
    assert of_deployment("a", both, replace(WATCH, steps=((1_000_000, 0),)), (BUSY,)) == ()


def test_every_text_is_whole_sentences() -> None:
    for rule, *_ in [*ALONE, *NAMED]:
        for one in of_deployment("a", rule, WATCH, (Traffic(False, 0.1),)):
            assert one.reason.endswith("."), one
            assert one.remedy.endswith("."), one


# --- alarms on expressions


def stat(name: str, dimensions: dict[str, str], statistic: str = "Sum", **more: Any) -> AlarmQuery:
    metric = more.pop("metric", identity("AWS/SageMaker", "Invocation5XXErrors", dimensions))
    return AlarmQuery(name, metric, statistic, period_seconds=60, return_data=False, **more)


def on(expression: str, *stats: AlarmQuery, period: int = 60) -> AlarmRule:
    queries = (*stats, AlarmQuery("e", expression=expression))
    return replace(SOUND, metric=None, statistic="", queries=queries, threshold=500, period_seconds=period)


MINE_OF = identity("Mine", "m")
ON_EXPRESSIONS: list[tuple[AlarmRule, Sequence[Traffic], list[tuple[Kind, str]]]] = [
    (on("100 * a / b", stat("a", GREEN), stat("b", GREEN)), (BUSY, BUSY), []),
    (
        on("100 * a / b", stat("a", {"EndpointName": "e"}), stat("b", GREEN)),
        (),
        [(Kind.UNKNOWN_METRIC, "MetricStat a: No endpoint metric has exactly the dimensions EndpointName")],
    ),
    (on("a + b", stat("a", GREEN), stat("b", GREEN, unit="Percent")), (), [(Kind.UNKNOWN_UNIT, "MetricStat b: Inv")]),
    (on("a + 1", stat("a", GREEN), period=10), (), [(Kind.NOT_ON_AWS, "MetricStat a: AWS publishes")]),
    (on("a + 1", stat("a", GREEN), period=180), (), [(Kind.PERIOD_TOO_LONG, "Its period of 180 s")]),
    (
        on("a + 1", stat("a", {}, metric=MINE_OF)),
        (Traffic(False, 0.0),),
        [(Kind.UNKNOWN_METRIC, "a: There is no data")],
    ),
    (
        on("a + b", stat("a", {}, metric=MINE_OF), stat("b", {}, unit="Bytes", metric=MINE_OF), period=30),
        (Traffic(True, 1.0, in_unit=True, in_resolution=True), Traffic(True, 1.0, False, False, "Count")),
        [(Kind.UNKNOWN_UNIT, "MetricStat b: No data"), (Kind.STANDARD_RESOLUTION, "MetricStat b: All data")],
    ),
    (
        on("a - 1", stat("a", GREEN, "p99", metric=LATENCY)),
        (Traffic(True, 20.0),),
        [(Kind.FEW_SAMPLES, "MetricStat a: At today's 20 requests a second")],
    ),
    # A rate of sums is diluted, a sum is not; nor is what green alone is held against.
    (
        on("100 * a / b", stat("a", BOTH), stat("b", BOTH)),
        (),
        [(Kind.DILUTED, "MetricStat a: Without"), (Kind.DILUTED, "MetricStat b: Without")],
    ),
    (on("a + 1", stat("a", BOTH)), (), []),
    (on("a + 1", stat("a", BOTH, "Average")), (), [(Kind.DILUTED, "MetricStat a: Without")]),
    (on("a - b", stat("a", GREEN, "Average"), stat("b", BOTH, "Average")), (), []),
    (on("a - b", stat("a", GREEN), stat("b", BOTH | {"EndpointConfigName": "v1"})), (), []),
    (on("a - b", stat("a", GREEN), stat("b", {**GREEN, "EndpointName": "other"})), (), []),
    (
        on("a + 1", stat("a", BOTH | {"EndpointConfigName": "v1"})),
        (),
        [(Kind.UNKNOWN_METRIC, "MetricStat a: It watches configuration v1, which is blue")],
    ),
    (
        on("a - b", stat("a", GREEN), stat("b", BOTH | {"EndpointConfigName": "v9"})),
        (),
        [(Kind.UNKNOWN_METRIC, "MetricStat b: It watches configuration v9, which is neither")],
    ),
    # The threshold is for what is watched.
    (
        replace(
            SOUND,
            metric=None,
            statistic="",
            threshold=5,
            queries=(replace(stat("a", GREEN, "Average"), return_data=True),),
        ),
        (),
        [(Kind.NEVER_EXCEEDED, "MetricStat a: Each request counts 0 or 1")],
    ),
]


@pytest.mark.parametrize(("rule", "traffics", "expected"), ON_EXPRESSIONS, ids=range(len(ON_EXPRESSIONS)))
def test_each_metric_of_an_expression_is_looked_at(
    rule: AlarmRule, traffics: Sequence[Traffic], expected: list[tuple[Kind, str]]
) -> None:
    found = of_deployment("a", rule, WATCH, traffics)
    assert [one.kind for one in found] == [kind for kind, _ in expected]
    assert all(said in one.reason for one, (_, said) in zip(found, expected, strict=True))
