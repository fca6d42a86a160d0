"""Alarms as operations on the in-memory stores."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from tests.operations.hand_clock import NOW, HandClock

from bannister.domain.alarm.alarm import AlarmQuery, AlarmValue, Comparison, MissingData
from bannister.domain.alarm.definition import Definition
from bannister.domain.metric.identity import identity
from bannister.errors import Invalid, NotFound, Unsupported
from bannister.operations import alarms
from bannister.operations.alarm_history import HistoryRequest, ItemType, describe_alarm_history
from bannister.operations.alarms import Extras, Selection
from bannister.operations.context import Context
from bannister.state.store import Entry, Record

METRIC = identity("AWS/SageMaker", "ModelLatency", {"EndpointName": "e"})
DEFINITION = Definition(
    metric=METRIC,
    statistic="Average",
    period_seconds=60,
    evaluation_periods=3,
    threshold=5.0,
    comparison="GreaterThanThreshold",
)


async def put(context: Context, name: str = "a", definition: Definition = DEFINITION, **extras: object) -> None:
    await alarms.put_metric_alarm(context, name, definition, Extras(**extras))  # type: ignore[arg-type]


async def described(context: Context, name: str = "a"):
    page = await alarms.describe_alarms(context, Selection(names=[name]))
    return page.items[0]


async def test_a_new_alarm_awaits_its_first_evaluation(context: Context) -> None:
    await put(context, description="slow", alarm_actions=("arn:x",), tags=(("team", "b"),))
    alarm = await described(context)
    assert alarm.rule.datapoints_to_alarm == 3
    assert alarm.rule.missing_data is MissingData.MISSING
    assert alarm.rule.comparison is Comparison.GREATER
    assert (alarm.state.value, alarm.state.reason) == (
        AlarmValue.INSUFFICIENT_DATA,
        "Unchecked: Initial alarm creation",
    )
    assert (alarm.description, alarm.alarm_actions, alarm.tags) == ("slow", ("arn:x",), (("team", "b"),))
    assert alarm.configured_at == NOW


async def test_an_update_overwrites_everything_but_state_and_tags(context: Context, clock: HandClock) -> None:
    await put(context, description="slow", tags=(("team", "b"),))
    await alarms.set_alarm_state(context, "a", AlarmValue.ALARM, "a drill")
    clock.time += 5
    await put(context, definition=replace(DEFINITION, threshold=9.0), tags=(("team", "c"),))
    alarm = await described(context)
    assert (alarm.rule.threshold, alarm.description, alarm.configured_at) == (9.0, None, NOW + 5)
    assert (alarm.state.value, alarm.state.reason) == (AlarmValue.ALARM, "a drill")
    assert alarm.tags == (("team", "b"),)
    kinds = [entry.kind for entry in await context.state.journal(subject="alarm/a")]
    assert kinds == ["alarm.created", "alarm.transitioned", "alarm.updated"]


REFUSED = [
    ({"metric": None}, "MissingRequiredParameterException", "MetricName"),
    ({"evaluation_periods": None}, "MissingRequiredParameterException", "EvaluationPeriods"),
    ({"period_seconds": None}, "MissingRequiredParameterException", "Period"),
    ({"threshold": None}, "MissingRequiredParameterException", "Threshold"),
    ({"comparison": None}, "MissingRequiredParameterException", "ComparisonOperator"),
    ({"statistic": None}, "InvalidParameterCombinationException", "Exactly one"),
    ({"extended_statistic": "p99"}, "InvalidParameterCombinationException", "Exactly one"),
    ({"statistic": None, "extended_statistic": "p101"}, "ValidationException", "p101"),
    ({"statistic": None, "extended_statistic": "Sum"}, "ValidationException", "is a Statistic"),
    ({"period_seconds": 15}, "ValidationException", "15"),
    ({"period_seconds": 90}, "ValidationException", "90"),
    ({"period_seconds": 60, "evaluation_periods": 1441}, "ValidationException", "86400"),
    ({"period_seconds": 3600, "evaluation_periods": 169}, "ValidationException", "604800"),
    ({"datapoints_to_alarm": 4}, "ValidationException", "DatapointsToAlarm"),
    ({"missing_data": "sometimes"}, "ValidationException", "TreatMissingData"),
    ({"low_samples": "evaluate"}, "InvalidParameterCombinationException", "percentile"),
    (
        {"statistic": None, "extended_statistic": "p99", "low_samples": "maybe"},
        "ValidationException",
        "EvaluateLowSampleCountPercentile",
    ),
    ({"threshold": float("nan")}, "ValidationException", "finite"),
]


@pytest.mark.parametrize(("changes", "code", "says"), REFUSED)
async def test_a_wrong_definition_changes_nothing(context: Context, changes, code, says) -> None:
    with pytest.raises(Invalid, match=says) as refused:
        await put(context, definition=replace(DEFINITION, **changes))
    assert refused.value.code == code
    assert await context.state.sequence() == 0


async def test_what_cloudwatch_can_and_bannister_cannot_is_said(context: Context) -> None:
    with pytest.raises(Unsupported, match="not supported"):
        await put(context, definition=replace(DEFINITION, comparison="GreaterThanUpperThreshold"))


@pytest.mark.parametrize(("period", "periods"), [(10, 1), (20, 2), (30, 1), (60, 1440), (3600, 168), (86400, 7)])
async def test_periods_that_are_allowed(context: Context, period, periods) -> None:
    await put(context, definition=replace(DEFINITION, period_seconds=period, evaluation_periods=periods))


async def test_describing_selects_and_pages(context: Context) -> None:
    for name in ("b", "a1", "a2", "a3"):
        await put(context, name, alarm_actions=(f"arn:{name}",))
    await alarms.set_alarm_state(context, "a2", AlarmValue.ALARM, "")

    async def names(selection: Selection, **options: object) -> list[str]:
        page = await alarms.describe_alarms(context, selection, **options)  # type: ignore[arg-type]
        return [alarm.name for alarm in page.items]

    assert await names(Selection()) == ["a1", "a2", "a3", "b"]
    assert await names(Selection(names=["b", "nobody"])) == ["b"]
    assert await names(Selection(prefix="a")) == ["a1", "a2", "a3"]
    assert await names(Selection(value=AlarmValue.ALARM)) == ["a2"]
    assert await names(Selection(action_prefix="arn:a")) == ["a1", "a2", "a3"]
    first = await alarms.describe_alarms(context, Selection(), limit=3)
    # What goes between two pages shifts nothing.
    await alarms.delete_alarms(context, ["a1"])
    assert await names(Selection(), limit=3, token=first.token) == ["b"]
    assert (await alarms.describe_alarms(context, Selection(), limit=3)).token is None
    with pytest.raises(Invalid, match="NextToken"):
        await names(Selection(), token="?")


async def test_alarms_of_a_metric(context: Context) -> None:
    await put(context, "a")
    await put(context, "other", replace(DEFINITION, metric=identity("AWS/SageMaker", "ModelLatency")))
    assert [alarm.name for alarm in await alarms.describe_alarms_for_metric(context, METRIC)] == ["a"]
    assert await alarms.describe_alarms_for_metric(context, METRIC, statistic="Sum") == []
    assert await alarms.describe_alarms_for_metric(context, METRIC, period_seconds=10) == []


async def test_deleting_deletes_those_that_exist_and_then_complains(context: Context) -> None:
    await put(context, "a")
    await put(context, "b")
    with pytest.raises(NotFound, match="nobody"):
        await alarms.delete_alarms(context, ["a", "nobody", "b"])
    assert (await alarms.describe_alarms(context, Selection())).items == ()
    assert [entry.subject for entry in await context.state.journal(kind="alarm.deleted")] == ["alarm/a", "alarm/b"]


async def test_setting_a_state_is_a_transition_only_if_the_value_changes(context: Context, clock: HandClock) -> None:
    await put(context)
    clock.time += 1
    await alarms.set_alarm_state(context, "a", AlarmValue.ALARM, "a drill", '{"drill": 1}')
    clock.time += 1
    await alarms.set_alarm_state(context, "a", AlarmValue.ALARM, "the drill goes on")
    alarm = await described(context)
    assert (alarm.state.reason, alarm.state.updated_at, alarm.state.transitioned_at) == (
        "the drill goes on",
        NOW + 2,
        NOW + 1,
    )
    (entry,) = await context.state.journal(kind="alarm.transitioned")
    assert (entry.body["from"], entry.body["to"], entry.body["set_by_request"]) == ("INSUFFICIENT_DATA", "ALARM", True)
    assert entry.body["reason"] == "a drill"


async def test_setting_a_state_is_refused_for_nobody_and_for_what_is_not_json(context: Context) -> None:
    with pytest.raises(NotFound):
        await alarms.set_alarm_state(context, "nobody", AlarmValue.OK, "")
    await put(context)
    with pytest.raises(Invalid, match="JSON") as refused:
        await alarms.set_alarm_state(context, "a", AlarmValue.OK, "", "{")
    assert refused.value.code == "InvalidFormatFault"


async def test_switching_actions(context: Context) -> None:
    await put(context)
    await alarms.enable_alarm_actions(context, ["a", "nobody"], enabled=False)
    assert (await described(context)).actions_enabled is False
    await alarms.enable_alarm_actions(context, ["a"], enabled=True)
    assert (await described(context)).actions_enabled is True


async def test_writers_at_the_same_time_lose_nothing(context: Context) -> None:
    await put(context)
    values = [AlarmValue.ALARM, AlarmValue.OK] * 3
    await asyncio.gather(*(alarms.set_alarm_state(context, "a", value, str(i)) for i, value in enumerate(values)))
    last = (await context.state.journal(kind="alarm.transitioned"))[-1]
    assert (await described(context)).state.reason == last.body["reason"]


async def test_history_outlives_the_alarm(context: Context, clock: HandClock) -> None:
    await put(context)
    await put(context, "b")
    clock.time += 10
    await alarms.set_alarm_state(context, "a", AlarmValue.ALARM, "a drill")
    clock.time += 10
    await alarms.delete_alarms(context, ["a"])
    page = await describe_alarm_history(context, HistoryRequest(alarm="a"))
    assert [item.kind for item in page.items] == ["alarm.deleted", "alarm.transitioned", "alarm.created"]
    everything = await describe_alarm_history(context, HistoryRequest(ascending=True))
    assert [item.alarm for item in everything.items] == ["a", "b", "a", "a"]


async def test_history_by_type_time_and_page(context: Context, clock: HandClock) -> None:
    await put(context)
    for number in range(5):
        clock.time += 10
        value = AlarmValue.ALARM if number % 2 == 0 else AlarmValue.OK
        await alarms.set_alarm_state(context, "a", value, str(number))

    async def reasons(request: HistoryRequest) -> list[str]:
        return [item.body["reason"] for item in (await describe_alarm_history(context, request)).items]

    states = HistoryRequest(item_type=ItemType.STATE_UPDATE)
    assert await reasons(states) == ["4", "3", "2", "1", "0"]
    assert await reasons(replace(states, start=NOW + 20, end=NOW + 40)) == ["3", "2", "1"]
    first = await describe_alarm_history(context, replace(states, limit=2))
    assert await reasons(replace(states, limit=2, token=first.token)) == ["2", "1"]
    assert await reasons(replace(states, item_type="Action")) == []
    assert json.loads(json.dumps(first.items[0].body))["to"] == "ALARM"


async def test_an_alarm_that_could_never_be_evaluated_is_refused(context: Context) -> None:
    """What its expressions compute is bounded, and what AWS takes within that is taken."""

    def over(periods: int, operators: int) -> Definition:
        metric = AlarmQuery("m", metric=METRIC, statistic="Sum", period_seconds=10, return_data=False)
        queries = (metric, AlarmQuery("e", expression="m" + "+m" * operators))
        return Definition(None, queries, evaluation_periods=periods, threshold=1.0, comparison=Comparison.GREATER.value)

    await put(context, definition=over(8640, 50))
    with pytest.raises(Invalid, match="fewer EvaluationPeriods"):
        await put(context, "b", over(8640, 200))
    page = await alarms.describe_alarms(context, Selection())
    assert [alarm.name for alarm in page.items] == ["a"]


@pytest.mark.parametrize("alarm", ["a", None], ids=["of one alarm", "of all"])
async def test_what_lies_outside_of_the_time_that_is_asked_for_is_not_read(
    context: Context, monkeypatch: pytest.MonkeyPatch, alarm: str | None
) -> None:
    """Nor is one alarm's history searched for kinds of which there are few: that would take the longer the more there is, in one piece."""
    await put(context, "a")
    flaps = [Record(NOW + 60 * index, "alarm/a", "alarm.transitioned", {"to": "OK"}) for index in range(20_000)]
    await context.state.commit(records=flaps)
    read, journal = list[int](), context.state.journal

    async def counted(**filters: Any) -> list[Entry]:
        assert filters["subject"] is None or filters["kind"] is None
        found = await journal(**filters)
        read.append(len(found))
        return found

    monkeypatch.setattr(context.state, "journal", counted)
    end = NOW + 60 * 20_000
    last = await describe_alarm_history(context, HistoryRequest(alarm=alarm, start=end - 600))
    first = await describe_alarm_history(context, HistoryRequest(alarm=alarm, end=NOW + 570, ascending=True))
    assert [len(page.items) for page in (last, first)] == [10, 11]
    assert sum(read) < 2000
    changes = await describe_alarm_history(context, HistoryRequest(alarm=alarm, item_type="ConfigurationUpdate"))
    assert [item.kind for item in changes.items] == ["alarm.created"]
    assert max(read) <= 200


async def test_a_page_of_a_long_history_reads_no_more_than_it_needs(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(3):
        await put(context, f"a{index}")
    entries = [Record(NOW + index, f"alarm/a{index % 3}", "alarm.updated", {"alarm": {}}) for index in range(3000)]
    await context.state.commit(records=entries)
    read, journal = 0, context.state.journal

    async def counted(**filters: Any) -> list[Entry]:
        nonlocal read
        found = await journal(**filters)
        read += len(found)
        return found

    monkeypatch.setattr(context.state, "journal", counted)
    for ascending in (False, True):
        request = HistoryRequest(ascending=ascending, limit=70)
        read, pages, found = 0, 0, list[int]()
        while pages == 0 or request.token is not None:
            page = await describe_alarm_history(context, request)
            found += [item.sequence for item in page.items]
            request = replace(request, token=page.token)
            pages += 1
            assert read <= pages * 1000
        expected = [entry.sequence for entry in await journal(limit=10_000)]
        assert found == (expected if ascending else expected[::-1])
    only = await describe_alarm_history(context, HistoryRequest(alarm="a1", start=NOW + 2000, limit=1000))
    assert {item.alarm for item in only.items} == {"a1"}
    assert len(only.items) == 100, "alarm_history_per_page_max"
