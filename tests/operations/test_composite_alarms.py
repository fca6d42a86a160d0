"""Composite alarms as operations on the in-memory stores."""

from __future__ import annotations

import asyncio

import pytest
from tests.operations.hand_clock import NOW, HandClock

from bannister.domain.alarm.alarm import Alarm, AlarmValue, SuppressedBy, Suppression
from bannister.domain.alarm.definition import Definition
from bannister.domain.metric.identity import identity
from bannister.errors import Invalid, NotFound
from bannister.operations import alarms
from bannister.operations.alarms import Extras, Selection
from bannister.operations.composite_alarms import PARENTS_MAX, CompositeDefinition, put_composite_alarm
from bannister.operations.context import Context
from bannister.state.tables import ACTIONS, ALARMS

ALARM, OK = AlarmValue.ALARM, AlarmValue.OK


async def metric(context: Context, *names: str) -> None:
    asked = Definition(
        metric=identity("N", "m", {}),
        statistic="Average",
        period_seconds=60,
        evaluation_periods=1,
        threshold=5.0,
        comparison="GreaterThanThreshold",
    )
    for name in names:
        await alarms.put_metric_alarm(context, name, asked, Extras())


async def composite(context: Context, name: str, rule: str, extras: Extras = Extras(), **more: object) -> Alarm:  # noqa: B008
    return await put_composite_alarm(context, name, CompositeDefinition(rule, **more), extras)  # type: ignore[arg-type]


async def alarm(context: Context, name: str) -> Alarm:
    row = await context.state.get(ALARMS, name)
    assert row is not None
    return row.value


async def told(context: Context) -> list[str]:
    """What the journal says of transitions."""
    entries = await context.state.journal(kind="alarm.transitioned")
    return [f"{entry.subject.removeprefix('alarm/')} {entry.body['to']}" for entry in entries]


async def test_it_is_created_and_evaluated_at_once(context: Context) -> None:
    await metric(context, "a", "b")
    await alarms.set_alarm_state(context, "a", ALARM, "a drill")
    made = await composite(context, "c", "ALARM(a) AND NOT ALARM(b)")
    assert made == await alarm(context, "c")
    assert made.state.value is ALARM
    assert made.state.reason.endswith("alarm:c was created and its alarm rule evaluates to ALARM")
    kinds = [entry.kind for entry in await context.state.journal(subject="alarm/c")]
    assert kinds == ["alarm.created", "alarm.transitioned"]
    assert (await alarm(context, "a")).parents == ("c",)


async def test_a_state_set_by_hand_carries_upwards_however_short(context: Context) -> None:
    await metric(context, "a")
    await composite(context, "c", "ALARM(a)")
    await composite(context, "top", "ALARM(c)")
    for value in (ALARM, OK):
        await alarms.set_alarm_state(context, "a", value, "an instant")
    assert (await told(context))[2:] == ["a ALARM", "c ALARM", "top ALARM", "a OK", "c OK", "top OK"]


async def test_a_composite_set_by_hand_keeps_it_until_a_child_moves(context: Context) -> None:
    await metric(context, "a", "b")
    await composite(context, "c", "ALARM(a)")
    await alarms.set_alarm_state(context, "c", ALARM, "a drill")
    await alarms.set_alarm_state(context, "b", ALARM, "nobody's child")
    assert (await alarm(context, "c")).state.value is ALARM
    await alarms.set_alarm_state(context, "a", OK, "a child moves")
    assert (await alarm(context, "c")).state.value is OK


async def test_children_that_move_at_the_same_time_are_both_seen(context: Context) -> None:
    await metric(context, "a", "b")
    await composite(context, "c", "ALARM(a) AND ALARM(b)")
    await asyncio.gather(*(alarms.set_alarm_state(context, name, ALARM, "together") for name in ("a", "b")))
    assert (await alarm(context, "c")).state.value is ALARM


async def test_an_update_keeps_the_state_and_evaluates(context: Context, clock: HandClock) -> None:
    await metric(context, "a", "b")
    await composite(context, "c", "ALARM(a)", Extras(tags=(("k", "v"),)))
    await composite(context, "top", "ALARM(c)")
    clock.time += 5
    same = await composite(context, "c", "ALARM(b)", Extras(description="another"))
    assert (same.state.value, same.configured_at, same.tags) == (OK, NOW + 5, (("k", "v"),))
    assert ((await alarm(context, "a")).parents, (await alarm(context, "b")).parents) == ((), ("c",))
    await composite(context, "c", "TRUE")
    assert (await alarm(context, "top")).state.value is ALARM
    assert (await alarm(context, "c")).parents == ("top",)


async def test_a_metric_alarm_keeps_its_composites_through_an_update(context: Context) -> None:
    await metric(context, "a")
    await composite(context, "c", "ALARM(a)")
    await metric(context, "a")
    assert (await alarm(context, "a")).parents == ("c",)


@pytest.mark.parametrize(
    ("asked", "code", "says"),
    [
        (CompositeDefinition("ALARM(a) OR"), "ValidationException", "Error in AlarmRule"),
        (
            CompositeDefinition("ALARM(a) OR ALARM(x) OR OK(y)"),
            "ValidationException",
            "Could not save the composite alarm as alarms [arn:aws:cloudwatch:us-east-1:000000000000:alarm:x, "
            "arn:aws:cloudwatch:us-east-1:000000000000:alarm:y] in the alarm rule do not exist",
        ),
        (CompositeDefinition("OK(new)"), "ValidationException", "would depend on itself: new -> new"),
        (CompositeDefinition("TRUE", "x", 1, 1), "ValidationException", "ActionsSuppressor x does not exist"),
        (CompositeDefinition("TRUE", "a", 1), "ValidationException", "ActionsSuppressorExtensionPeriod"),
        (CompositeDefinition("TRUE", None, 1), "ValidationException", "are for alarms with an ActionsSuppressor"),
        (CompositeDefinition("TRUE", "a", -1, 1), "ValidationException", "negative"),
    ],
)
async def test_what_is_refused_changes_nothing(
    context: Context, asked: CompositeDefinition, code: str, says: str
) -> None:
    await metric(context, "a")
    before = await context.state.rows(ALARMS)
    with pytest.raises(Invalid) as refused:
        await put_composite_alarm(context, "new", asked, Extras())
    assert refused.value.code == code
    assert says in str(refused.value)
    assert await context.state.rows(ALARMS) == before


async def test_a_circle_is_refused_with_its_way(context: Context) -> None:
    await metric(context, "a")
    await composite(context, "x", "ALARM(a)")
    await composite(context, "y", "ALARM(x)")
    with pytest.raises(Invalid, match="x -> y -> x"):
        await composite(context, "x", "ALARM(a) OR ALARM(y)")
    with pytest.raises(Invalid, match="x -> y -> x"):
        await composite(context, "x", "ALARM(a)", suppressor="y", wait_seconds=1, extension_seconds=1)
    assert (await alarm(context, "y")).parents == ()


async def test_a_name_belongs_to_one_kind(context: Context) -> None:
    await metric(context, "a")
    await composite(context, "c", "ALARM(a)")
    with pytest.raises(Invalid) as refused:
        await composite(context, "a", "TRUE")
    assert refused.value.code == "ResourceConflict"
    with pytest.raises(Invalid) as refused:
        await metric(context, "c")
    assert refused.value.code == "ResourceConflict"


async def test_an_alarm_has_at_most_so_many_composites(context: Context) -> None:
    await metric(context, "a")
    for number in range(PARENTS_MAX):
        await composite(context, f"c{number}", "ALARM(a)")
    with pytest.raises(Invalid) as refused:
        await composite(context, "one more", "ALARM(a)")
    assert refused.value.code == "LimitExceededFault"
    await composite(context, "c0", "OK(a)")


async def test_what_a_composite_needs_cannot_be_deleted(context: Context) -> None:
    await metric(context, "a", "b", "s", "free")
    await composite(context, "c", "ALARM(a) OR ALARM(b)", suppressor="s", wait_seconds=1, extension_seconds=1)
    await composite(context, "top", "ALARM(c)")
    with pytest.raises(Invalid) as refused:
        await alarms.delete_alarms(context, ["a", "free", "b"])
    assert str(refused.value) == "Cannot delete a,b as there are composite alarm(s) depending on them."
    for name in ("s", "c"):
        with pytest.raises(
            Invalid, match=f"Cannot delete {name} as there are composite alarm\\(s\\) depending on it\\."
        ):
            await alarms.delete_alarms(context, [name])
    with pytest.raises(Invalid, match="At most 1 composite alarm"):
        await alarms.delete_alarms(context, ["c", "top"])
    assert len(await context.state.rows(ALARMS)) == 6
    await alarms.delete_alarms(context, ["top"])
    assert (await alarm(context, "c")).parents == ()
    with pytest.raises(NotFound):
        await alarms.delete_alarms(context, ["a", "c", "nobody", "b", "s"])
    assert [row.key for row in await context.state.rows(ALARMS)] == ["free"]


async def test_relatives(context: Context) -> None:
    await metric(context, "a", "b")
    await composite(context, "c", "ALARM(b) OR ALARM(a)")
    await composite(context, "d", "ALARM(a) OR ALARM(c)")

    async def found(selection: Selection) -> list[str]:
        return [one.name for one in (await alarms.describe_alarms(context, selection)).items]

    assert await found(Selection()) == ["a", "b"]
    assert await found(Selection(composite=True)) == ["a", "b", "c", "d"]
    assert await found(Selection(metric=False, composite=True, value=OK)) == ["c", "d"]
    assert await found(Selection(children_of="d")) == ["a", "c"]
    assert await found(Selection(children_of="a")) == []
    assert await found(Selection(parents_of="a")) == ["c", "d"]
    with pytest.raises(NotFound):
        await found(Selection(parents_of="nobody"))


async def test_actions_are_left_to_be_done_with_the_transition(context: Context) -> None:
    await metric(context, "a")
    actions = Extras(alarm_actions=("https://hooks.example/x", "arn:aws:sns:us-east-1:1:topic"))
    await composite(context, "c", "ALARM(a)", actions)
    await alarms.set_alarm_state(context, "a", ALARM, "a drill")
    (row,) = await context.state.rows(ACTIONS)
    assert (row.value.alarm, row.value.url, row.value.state) == ("c", "https://hooks.example/x", "ALARM")
    (entry,) = await context.state.journal(kind="alarm.acted")
    assert (entry.subject, entry.body["outcome"]) == ("alarm/c", "recorded")
    await alarms.set_alarm_state(context, "a", ALARM, "still")
    assert len(await context.state.rows(ACTIONS)) == 1


@pytest.mark.parametrize(
    "action", ["http://", "https://host:port/", "http://a b/", "http://me:secret@host/", "https://h/\u00e4"]
)
async def test_an_address_must_be_whole(context: Context, action: str) -> None:
    with pytest.raises(Invalid, match="not an address that can be told"):
        await composite(context, "c", "TRUE", Extras(ok_actions=(action,)))


HOLDING = {"suppressor": "s", "wait_seconds": 60, "extension_seconds": 30}
ACTING = Extras(alarm_actions=("arn:x",))
WAIT, EXTENSION, BY_ALARM = SuppressedBy.WAIT, SuppressedBy.EXTENSION, SuppressedBy.ALARM


async def held(context: Context, by: SuppressedBy) -> None:
    """A composite alarm in ALARM whose action is held back in one of three ways."""
    await metric(context, "a", "s", "t")
    await composite(context, "c", "ALARM(a)", ACTING, **HOLDING)
    await alarms.set_alarm_state(context, "a", ALARM, "a drill")
    if by is not WAIT:
        await alarms.set_alarm_state(context, "s", ALARM, "maintenance")
    if by is EXTENSION:
        await alarms.set_alarm_state(context, "s", OK, "over")
    suppression = (await alarm(context, "c")).suppression
    assert suppression is not None
    assert (suppression.by, suppression.pending) == (by, True)


async def acted(context: Context) -> list[str]:
    return [entry.body["state"] for entry in await context.state.journal(kind="alarm.acted")]


@pytest.mark.parametrize(
    ("by", "changes", "expected"),
    [
        (WAIT, {}, Suppression(WAIT, NOW + 60, True)),
        (EXTENSION, {}, Suppression(EXTENSION, NOW + 30, True)),
        (BY_ALARM, {}, Suppression(BY_ALARM, None, True)),
        (WAIT, {"wait_seconds": 5}, Suppression(WAIT, NOW + 60, True)),
        (WAIT, {"suppressor": "t"}, Suppression(WAIT, NOW + 60, True)),
        (BY_ALARM, {"suppressor": "t", "wait_seconds": 5}, Suppression(WAIT, NOW + 12, True)),
    ],
)
async def test_an_update_loses_no_action_that_is_held_back(context: Context, by, changes, expected) -> None:
    await held(context, by)
    context.clock.time += 7  # type: ignore[attr-defined]
    await composite(context, "c", "ALARM(a) OR FALSE", ACTING, **{**HOLDING, **changes})
    assert (await alarm(context, "c")).suppression == expected
    assert await acted(context) == []


@pytest.mark.parametrize("by", SuppressedBy)
async def test_without_a_suppressor_what_was_held_back_is_run_at_once(context: Context, by: SuppressedBy) -> None:
    await held(context, by)
    await composite(context, "c", "ALARM(a)", ACTING)
    assert (await alarm(context, "c")).suppression is None
    assert await acted(context) == ["ALARM"]


async def test_one_whose_suppressor_is_in_its_rule_can_be_deleted(context: Context) -> None:
    await metric(context, "errors", "maintenance")
    rule = "ALARM(errors) AND NOT ALARM(maintenance)"
    await composite(context, "page", rule, suppressor="maintenance", wait_seconds=60, extension_seconds=60)
    await alarms.delete_alarms(context, ["page"])
    await alarms.delete_alarms(context, ["errors", "maintenance"])
    assert await context.state.rows(ALARMS) == []


async def test_a_suppressor_that_is_in_alarm_holds_back_at_once(context: Context) -> None:
    await metric(context, "a", "s")
    await alarms.set_alarm_state(context, "s", ALARM, "maintenance")
    await composite(context, "c", "ALARM(a)", ACTING)
    await composite(context, "c", "ALARM(a)", ACTING, **HOLDING)
    assert (await alarm(context, "c")).suppression == Suppression(BY_ALARM)
    await alarms.set_alarm_state(context, "a", ALARM, "a drill")
    assert await acted(context) == []
    assert (await alarm(context, "c")).suppression == Suppression(BY_ALARM, None, True)
