"""An update whose alarm cannot work goes on, and its deployment and the journal say what is wrong."""

from dataclasses import replace
from typing import Any

import pytest
from tests.domain.deployment.worlds import CANARY, deployment
from tests.operations.test_deployments import NOW, context  # noqa: F401  # a fixture

from bannister.domain.alarm.alarm import AlarmQuery, AlarmRule, Comparison
from bannister.domain.alarm.caveats import Kind
from bannister.domain.alarm.definition import Definition
from bannister.domain.deployment.deployment import Phase
from bannister.domain.deployment.recorder import WARNED, started
from bannister.domain.endpoint import Endpoint
from bannister.domain.metric.identity import identity
from bannister.domain.metric.sketch import Sketch
from bannister.domain.metric.summary import Report, Summary
from bannister.errors import Unavailable
from bannister.metrics.store import GroupDimensions
from bannister.operations import caveats
from bannister.operations.alarms import Extras, put_metric_alarm
from bannister.operations.caveats import with_caveats
from bannister.operations.composite_alarms import CompositeDefinition, put_composite_alarm
from bannister.operations.context import Context
from bannister.operations.metrics import Sample, put_metric_data
from bannister.state.store import Put
from bannister.state.tables import ENDPOINTS

METRIC = identity("AWS/SageMaker", "ModelLatency", {"EndpointName": "e", "VariantName": "AllTraffic"})
#: There is no such metric.
NONSENSE = Definition(
    replace(METRIC, name="Nonsense"),
    statistic="Sum",
    period_seconds=60,
    evaluation_periods=1,
    threshold=5.0,
    comparison=Comparison.GREATER.value,
)


async def test_todays_traffic_is_what_both_fleets_had_in_the_last_minute(context: Context) -> None:  # noqa: F811
    asked = Definition(
        METRIC,
        extended_statistic="p99",
        period_seconds=10,
        evaluation_periods=1,
        threshold=1e5,
        comparison=Comparison.GREATER.value,
    )
    await put_metric_alarm(context, "errors", asked, Extras())
    await context.metrics.register(GroupDimensions("g", "e", "AllTraffic", "v1", 1))
    summaries = tuple(
        Summary("g", "a", int(NOW) - age, 12, model_latency=Sketch.constant(5.0, 12)) for age in range(1, 61)
    )
    await context.metrics.record(Report("r", 1, NOW, 0.0, summaries))
    found = await with_caveats(context, deployment(replace(CANARY, alarms=("errors", "gone"))))
    assert [one.kind for one in found.caveats] == [Kind.NOT_ON_AWS, Kind.DILUTED, Kind.FEW_SAMPLES]
    assert "At today's 12 requests a second a period of 10 s has about 120 samples" in found.caveats[-1].reason
    assert [one["kind"] for one in started(found, "1")["caveats"]] == [one.kind.value for one in found.caveats]
    (entry,) = await context.state.journal(subject="alarm/errors")
    assert [one["kind"] for one in entry.body["caveats"]] == ["period that AWS does not serve"]


async def test_an_alarm_that_works_has_no_caveats(context: Context) -> None:  # noqa: F811
    metric = identity("AWS/SageMaker", "Invocation5XXErrors", dict(METRIC.dimensions) | {"EndpointConfigName": "v2"})
    rule = AlarmRule(metric, "Average", 60, 1, 1, 0.1, Comparison.GREATER)
    asked = Definition(
        metric,
        statistic="Average",
        period_seconds=60,
        evaluation_periods=1,
        threshold=rule.threshold,
        comparison=rule.comparison.value,
    )
    await put_metric_alarm(context, "errors", asked, Extras())
    policy = replace(CANARY, wait_seconds=60, termination_wait_seconds=60)
    assert (await with_caveats(context, deployment(policy))).caveats == ()


@pytest.mark.parametrize(
    ("resolution", "unit", "period", "asked_unit", "kinds"),
    [
        (60, "Count", 30, None, [Kind.STANDARD_RESOLUTION]),
        (60, "Count", 60, None, []),
        (1, "Count", 30, "Count", []),
        (1, "Count", 30, "Bytes", [Kind.UNKNOWN_UNIT]),
        (60, "Count", 30, "Bytes", [Kind.UNKNOWN_UNIT, Kind.STANDARD_RESOLUTION]),
        (60, None, 60, None, []),
        (None, None, 30, None, [Kind.UNKNOWN_METRIC]),
    ],
)
async def test_what_users_put_is_looked_at_when_an_alarm_is_put_and_when_it_is_named(
    context: Context,  # noqa: F811
    resolution: int | None,
    unit: str | None,
    period: int,
    asked_unit: str | None,
    kinds: list[Kind],
) -> None:
    metric = identity("Mine", "m", {"a": "b"})
    if resolution is not None:  # half an hour ago, which is longer than a period
        await put_metric_data(context, [Sample(metric, NOW - 1800, 5.0, unit=unit, resolution_seconds=resolution)])
    asked = Definition(
        metric,
        statistic="Sum",
        period_seconds=period,
        evaluation_periods=1,
        threshold=1,
        comparison=Comparison.GREATER.value,
        unit=asked_unit,
    )
    await put_metric_alarm(context, "mine", asked, Extras())
    (entry,) = await context.state.journal(subject="alarm/mine")
    assert [one["kind"] for one in entry.body.get("caveats", [])] == [kind.value for kind in kinds]
    policy = replace(CANARY, alarms=("mine",), wait_seconds=60, termination_wait_seconds=60)
    assert [one.kind for one in (await with_caveats(context, deployment(policy))).caveats] == kinds


async def test_metrics_of_an_expression_are_looked_up_each(context: Context) -> None:  # noqa: F811
    known, unknown = identity("Mine", "known"), identity("Mine", "unknown")
    await put_metric_data(context, [Sample(known, NOW - 5, 5.0, unit="Count")])
    stats = [
        AlarmQuery(name, metric, "Sum", period_seconds=60, return_data=False)
        for name, metric in (("a", known), ("b", unknown))
    ]
    asked = Definition(
        None,
        queries=(*stats, AlarmQuery("e", expression="a + b")),
        evaluation_periods=1,
        threshold=1,
        comparison=Comparison.GREATER.value,
    )
    await put_metric_alarm(context, "mine", asked, Extras())
    (entry,) = await context.state.journal(subject="alarm/mine")
    assert [one["reason"][:33] for one in entry.body["caveats"]] == ["MetricStat b: There is no data of"]


async def test_a_composite_alarm_brings_what_is_wrong_with_those_beneath_it(context: Context) -> None:  # noqa: F811
    for name in ("errors", "deep", "silencer"):
        await put_metric_alarm(context, name, NONSENSE, Extras())
    await put_composite_alarm(context, "lower", CompositeDefinition("ALARM(deep)"), Extras())
    rule = CompositeDefinition("ALARM(lower) OR ALARM(errors)", "silencer", 1, 1)
    await put_composite_alarm(context, "upper", rule, Extras())
    policy = replace(CANARY, alarms=("upper", "errors"), wait_seconds=60, termination_wait_seconds=60)
    found = await with_caveats(context, deployment(policy))
    assert [(one.alarm, one.kind) for one in found.caveats] == [
        ("errors", Kind.UNKNOWN_METRIC),
        ("deep", Kind.UNKNOWN_METRIC),
    ]


async def test_an_alarm_that_is_put_again_renews_the_warnings_of_the_deployment_that_it_guards(
    context: Context,  # noqa: F811
) -> None:
    good = Definition(
        METRIC,
        extended_statistic="p99",
        period_seconds=60,
        evaluation_periods=1,
        threshold=1.0,
        comparison=NONSENSE.comparison,
    )
    for name in ("errors", "other"):
        await put_metric_alarm(context, name, NONSENSE, Extras())
    await put_composite_alarm(context, "upper", CompositeDefinition("ALARM(errors)"), Extras())
    policy = replace(CANARY, alarms=("upper",), wait_seconds=60, termination_wait_seconds=60)
    running = await with_caveats(context, deployment(policy))
    over = replace(running, phase=Phase.COMPLETED)
    await context.state.commit(
        [
            Put(ENDPOINTS, name, Endpoint(name, 0.0, 0.0, deployment=one), 0)
            for name, one in (("e", running), ("o", over))
        ]
    )

    async def kinds(endpoint: str = "e") -> list[Kind]:
        row = await context.state.get(ENDPOINTS, endpoint)
        assert row is not None
        assert row.value.deployment is not None
        return [one.kind for one in row.value.deployment.caveats]

    assert await kinds() == [Kind.UNKNOWN_METRIC]
    await put_metric_alarm(context, "other", good, Extras())
    assert await context.state.journal(kind=WARNED) == []
    await put_metric_alarm(context, "errors", good, Extras())
    assert Kind.UNKNOWN_METRIC not in await kinds()
    assert await kinds("o") == [Kind.UNKNOWN_METRIC], "what is over is as it was"
    (entry,) = await context.state.journal(kind=WARNED)
    assert (entry.subject, entry.body["deployment"], entry.body["alarm"]) == ("endpoint/e", running.id, "errors")
    assert [one["kind"] for one in entry.body["caveats"]] == [kind.value for kind in await kinds()]
    await put_composite_alarm(context, "upper", CompositeDefinition("FALSE"), Extras())
    assert await kinds() == []


async def test_an_alarm_is_put_although_its_deployments_warnings_cannot_be_written(
    context: Context,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running = deployment(replace(CANARY, alarms=("errors",)))
    await context.state.commit([Put(ENDPOINTS, "e", Endpoint("e", 0.0, 0.0, deployment=running), 0)])
    commit = context.state.commit

    async def full(writes: Any = (), records: Any = (), **more: Any) -> int:
        if any(one.table is ENDPOINTS for one in writes):
            raise Unavailable("The disk is full.")
        return await commit(writes, records, **more)

    monkeypatch.setattr(context.state, "commit", full)
    assert (await put_metric_alarm(context, "errors", NONSENSE, Extras())).rule is not None


async def test_the_caveats_of_a_deployment_are_bounded(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    names = [f"a{number}" for number in range(5)]
    for name in names:
        await put_metric_alarm(context, name, NONSENSE, Extras())
    policy = replace(CANARY, alarms=tuple(names), wait_seconds=60, termination_wait_seconds=60)
    for bound, kept in [("CAVEATS_MAX", 4), ("ALARMS_MAX", 3)]:
        monkeypatch.setattr(caveats, bound, kept)
        assert [one.alarm for one in (await with_caveats(context, deployment(policy))).caveats] == names[:kept]
