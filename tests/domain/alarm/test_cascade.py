"""What follows from transitions: composite alarms, each once, after what they depend on; and when actions are held back."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bannister.domain.alarm.alarm import (
    Alarm,
    AlarmRule,
    AlarmState,
    AlarmValue,
    Comparison,
    CompositeRule,
    SuppressedBy,
    Suppression,
)
from bannister.domain.alarm.alarm_rule import children, holds, parse
from bannister.domain.alarm.cascade import Change, cascade, leads_back, led_to, put_composite, released, seen_together
from bannister.domain.alarm.suppression import suppressed
from bannister.domain.metric.identity import MetricIdentity

ALARM, OK, INSUFFICIENT = AlarmValue.ALARM, AlarmValue.OK, AlarmValue.INSUFFICIENT_DATA
RULE = AlarmRule(MetricIdentity("N", "m"), "Average", 60, 1, 1, 5.0, Comparison.GREATER)
#: 2022-07-22T15:57:45Z
AT = 1658505465.0


def state(value: AlarmValue, at: float = 0.0) -> AlarmState:
    return AlarmState(value, "why", None, at, at)


def arn_of(name: str) -> str:
    return f"arn:{name}"


def world(**rules: str | AlarmValue) -> dict[str, Alarm]:
    """Metric alarms by their state, composite alarms by their rule, which are not evaluated yet."""
    alarms = {}
    for name, given_ in rules.items():
        composite = None if isinstance(given_, AlarmValue) else CompositeRule(given_, children(parse(given_)))
        value = given_ if isinstance(given_, AlarmValue) else OK
        alarms[name] = Alarm(name, RULE if composite is None else None, state(value), 0.0, composite=composite)
    for name, alarm in alarms.items():
        for child in alarm.composite.children if alarm.composite is not None else ():
            alarms[child] = replace(alarms[child], parents=(*alarms[child].parents, name))
    return alarms


def step(alarms: dict[str, Alarm], **values: AlarmValue) -> dict[str, Change]:
    return {one.after.name: one for one in cascade(alarms, {k: state(v, AT) for k, v in values.items()}, AT, arn_of)}


def test_a_composite_follows_its_child_and_says_so() -> None:
    changes = step(world(a=OK, b=OK, both="ALARM(a) OR ALARM(b)"), a=ALARM)
    both = changes["both"]
    assert (both.before.state.value, both.after.state.value) == (OK, ALARM)
    assert both.after.state.reason == "arn:a transitioned to ALARM at Friday 22 July, 2022 15:57:45 UTC"
    assert json.loads(both.after.state.reason_data or "") == {
        "triggeringAlarms": [{"arn": "arn:a", "state": {"value": "ALARM", "timestamp": "2022-07-22T15:57:45.000+0000"}}]
    }
    assert both.children == {"a": ALARM, "b": OK}


def test_one_that_is_evaluated_and_stays_is_written_again() -> None:
    changes = step(world(a=OK, b=OK, both="ALARM(a) AND ALARM(b)"), a=ALARM)
    assert not changes["both"].moved
    assert changes["both"].after == changes["both"].before


def test_alarms_of_one_step_are_seen_together() -> None:
    """Looked at one after the other, the composite would have been in ALARM for an instant."""
    changes = step(world(a=OK, b=OK, one="ALARM(a) AND NOT ALARM(b)"), a=ALARM, b=ALARM)
    assert not changes["one"].moved


def test_composites_over_composites_in_the_order_of_dependence() -> None:
    alarms = world(a=OK, z="ALARM(a)", m="ALARM(z) AND ALARM(a)", b="ALARM(m) AND ALARM(z)", other="TRUE")
    changes = step(alarms, a=ALARM)
    assert {name: one.after.state.value for name, one in changes.items()} == dict.fromkeys("azmb", ALARM)
    assert all(one.moved for one in changes.values())


def test_what_does_not_move_leads_to_nothing() -> None:
    assert list(step(world(a=ALARM, c="ALARM(a)"), a=ALARM)) == ["a"]


def test_a_state_set_by_hand_stays_until_a_child_moves() -> None:
    alarms = world(a=OK, b=OK, c="ALARM(a)", above="ALARM(c)")
    by_hand = step(alarms, c=ALARM)
    assert (by_hand["c"].after.state.value, by_hand["above"].after.state.value) == (ALARM, ALARM)
    alarms |= {name: one.after for name, one in by_hand.items()}
    assert "c" not in step(alarms, b=ALARM)
    alarms["a"] = replace(alarms["a"], state=state(INSUFFICIENT))
    assert step(alarms, a=OK)["c"].after.state.value is OK


@pytest.mark.parametrize(("rule", "value"), [("TRUE", ALARM), ("FALSE", OK), ("ALARM(a)", ALARM)])
def test_a_new_one_is_evaluated(rule: str, value: AlarmValue) -> None:
    alarms = world(a=ALARM, c=rule)
    new = replace(alarms["c"], state=state(INSUFFICIENT))
    (change,) = put_composite({**alarms, "c": new}, new, AT, arn_of, created=True)
    assert change.after.state.value is value
    assert change.after.state.reason == f"arn:c was created and its alarm rule evaluates to {value}"


def test_one_with_another_rule_moves_those_above_it() -> None:
    alarms = world(a=OK, c="ALARM(a)", above="OK(a) AND ALARM(c)")
    changed = replace(alarms["c"], composite=CompositeRule("OK(a)", ("a",)))
    changes = put_composite({**alarms, "c": changed}, changed, AT, arn_of, created=False)
    assert [(one.after.name, one.after.state.value) for one in changes] == [("c", ALARM), ("above", ALARM)]


def test_a_way_back_is_found() -> None:
    alarms = world(a=OK, x="ALARM(a)", y="ALARM(x)", z="ALARM(y) OR ALARM(a)")
    assert leads_back(alarms, "x", ["a", "z"]) == ["x", "z", "y", "x"]
    assert leads_back(alarms, "x", ["x"]) == ["x", "x"]
    assert leads_back(alarms, "new", ["x", "z"]) is None


@given(st.data())
def test_after_any_steps_every_composite_is_what_its_rule_says(data: st.DataObject) -> None:
    names = ["a", "b", "c"]
    rules: dict[str, str | AlarmValue] = dict.fromkeys(names, OK)
    for number in range(data.draw(st.integers(1, 5))):
        terms = data.draw(
            st.lists(
                st.builds(
                    "{}{}({})".format,
                    st.sampled_from(["", "NOT "]),
                    st.sampled_from(["ALARM", "OK"]),
                    st.sampled_from(list(rules)),
                ),
                min_size=1,
                max_size=4,
            )
        )
        rules[f"x{number}"] = data.draw(st.sampled_from([" AND ", " OR "])).join(terms)
    alarms = world(**rules)
    for name in rules.keys() - set(names):
        for change in put_composite(alarms, alarms[name], AT, arn_of, created=False):
            alarms[change.after.name] = change.after
    for _ in range(3):
        moves = data.draw(st.dictionaries(st.sampled_from(names), st.sampled_from(AlarmValue), min_size=1))
        changes = step(alarms, **moves)
        alarms |= {name: one.after for name, one in changes.items()}
        for name, alarm in alarms.items():
            if alarm.composite is not None:
                expected = holds(
                    parse(alarm.composite.text), {one: found.state.value for one, found in alarms.items()}.get
                )
                assert (alarm.state.value is ALARM) is expected, name


# --- actions held back


SUPPRESSED = CompositeRule("ALARM(a)", ("a",), "s", wait_seconds=60, extension_seconds=30)


@pytest.mark.parametrize(
    ("current", "suppressor", "moved", "expected"),
    [
        (None, OK, True, Suppression(SuppressedBy.WAIT, AT + 60, pending=True)),
        (None, OK, False, None),
        (None, ALARM, False, Suppression(SuppressedBy.ALARM)),
        (None, ALARM, True, Suppression(SuppressedBy.ALARM, pending=True)),
        (Suppression(SuppressedBy.WAIT, 9.0, True), ALARM, False, Suppression(SuppressedBy.ALARM, pending=True)),
        (Suppression(SuppressedBy.WAIT, 9.0, True), OK, True, Suppression(SuppressedBy.WAIT, AT + 60, True)),
        (Suppression(SuppressedBy.ALARM, None, True), OK, False, Suppression(SuppressedBy.EXTENSION, AT + 30, True)),
        (Suppression(SuppressedBy.ALARM), INSUFFICIENT, False, Suppression(SuppressedBy.EXTENSION, AT + 30)),
        (Suppression(SuppressedBy.EXTENSION, 9.0), OK, True, Suppression(SuppressedBy.EXTENSION, 9.0, True)),
        (Suppression(SuppressedBy.EXTENSION, 9.0, True), ALARM, False, Suppression(SuppressedBy.ALARM, pending=True)),
        (None, None, True, None),
    ],
)
def test_how_actions_are_held_back(
    current: Suppression | None, suppressor: AlarmValue | None, moved: bool, expected: Suppression | None
) -> None:
    assert suppressed(SUPPRESSED, current, suppressor, AT, moved=moved) == expected


def guarded(**changes: int) -> dict[str, Alarm]:
    alarms = world(a=OK, s=OK, c="ALARM(a)")
    rule = replace(SUPPRESSED, **changes)  # type: ignore[arg-type]
    alarms["c"] = replace(alarms["c"], composite=rule, alarm_actions=("arn:x",))
    alarms["s"] = replace(alarms["s"], suppresses=("c",))
    return alarms


def test_actions_wait_for_the_suppressor_and_the_state_does_not() -> None:
    change = step(guarded(), a=ALARM)["c"]
    assert change.after.state.value is ALARM
    assert (change.acts, change.after.suppression) == (False, Suppression(SuppressedBy.WAIT, AT + 60, pending=True))
    assert released(change.after, AT + 59.9) is None
    over = released(change.after, AT + 60)
    assert over is not None
    assert (over.acts, over.moved, over.after.suppression) == (True, False, None)


def test_a_suppressor_that_comes_in_time_holds_them_until_it_has_left() -> None:
    alarms = guarded()
    for values in ({"a": ALARM}, {"s": ALARM}, {"s": OK}):
        alarms |= {name: one.after for name, one in step(alarms, **values).items()}
    assert alarms["c"].suppression == Suppression(SuppressedBy.EXTENSION, AT + 30, pending=True)


def test_without_periods_actions_are_run_at_once() -> None:
    alarms = guarded(wait_seconds=0, extension_seconds=0)
    assert step(alarms, a=ALARM)["c"].acts
    assert not step(alarms, a=ALARM, s=ALARM)["c"].acts
    alarms |= {name: one.after for name, one in step(alarms, a=ALARM, s=ALARM).items()}
    assert step(alarms, s=OK)["c"].acts


def test_switched_off_actions_are_not_run() -> None:
    alarms = world(a=OK)
    alarms["a"] = replace(alarms["a"], alarm_actions=("arn:x",), actions_enabled=False)
    assert not step(alarms, a=ALARM)["a"].acts


def family() -> dict[str, Alarm]:
    """Two rules over two each, of which one is shared; one above; a suppressor of it; and two that nothing joins to these."""
    alarms = world(
        a=OK, b=OK, c=OK, s=OK, free=OK, x=OK,
        left="ALARM(a) OR ALARM(b)", right="ALARM(b) OR ALARM(c)", top="ALARM(left)", other="ALARM(x)",
    )  # fmt: skip
    rule = alarms["top"].composite
    assert rule is not None
    alarms["top"] = replace(alarms["top"], composite=replace(rule, suppressor="s"))
    alarms["s"] = replace(alarms["s"], suppresses=("top",))
    return alarms


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("top", "top left a b"),
        ("a top right", "a top right left b c"),
        ("free gone", "free gone"),
        ("", ""),
    ],
)
def test_what_rules_lead_to(names: str, expected: str) -> None:
    assert led_to(family().get, names.split()) == tuple(expected.split())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("a", "a b c left right s top"),
        ("s", "a b c left right s top"),
        ("x free", "free other x"),
        ("gone", ""),
    ],
)
def test_what_is_seen_in_one_step(names: str, expected: str) -> None:
    assert " ".join(sorted(seen_together(family().get, names.split()))) == expected
