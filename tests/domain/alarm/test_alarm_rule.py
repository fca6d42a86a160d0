"""The language of composite alarms' rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bannister.domain.alarm.alarm import AlarmValue
from bannister.domain.alarm.alarm_rule import (
    RULE_CHARACTERS_MAX,
    RULE_CHILDREN_MAX,
    RULE_DEPTH_MAX,
    RULE_ELEMENTS_MAX,
    All,
    Any,
    AtLeast,
    Constant,
    Expression,
    Is,
    Not,
    children,
    holds,
    parse,
)
from bannister.errors import Invalid

ALARM, OK, INSUFFICIENT = AlarmValue.ALARM, AlarmValue.OK, AlarmValue.INSUFFICIENT_DATA
A, B, C = Is(ALARM, "a"), Is(ALARM, "b"), Is(ALARM, "c")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("TRUE", Constant(True)),
        (" false ", Constant(False)),
        ("ALARM(a)", A),
        ('ALARM("a")', A),
        ("ALARM( a )", A),
        ("OK(a)", Is(OK, "a")),
        ("INSUFFICIENT_DATA(a)", Is(INSUFFICIENT, "a")),
        ("ALARM(arn:aws:cloudwatch:eu-west-1:123456789012:alarm:a)", A),
        ('ALARM("arn:aws-cn:cloudwatch:cn-north-1:123456789012:alarm:a")', A),
        ('ALARM("too (very) slow")', Is(ALARM, "too (very) slow")),
        ("ALARM(p99 of e: slow, AND late)", Is(ALARM, "p99 of e: slow, AND late")),
        ("ALARM(AND) OR ALARM(TRUE)", Any((Is(ALARM, "AND"), Is(ALARM, "TRUE")))),
        ("AT_LEAST(2, ALARM, (a, b, c))", AtLeast(2, False, ALARM, False, ("a", "b", "c"))),
        (
            'at_least( 60 % ,NOT OK,("a, (b)",arn:aws:cloudwatch:eu-west-1:123456789012:alarm:c))',
            AtLeast(60, True, OK, True, ("a, (b)", "c")),
        ),
        ("NOT AT_LEAST(1, OK, (a)) OR ALARM(b)", Any((Not(AtLeast(1, False, OK, False, ("a",))), B))),
        ("NOT ALARM(a)", Not(A)),
        ("NOT NOT ALARM(a)", Not(Not(A))),
        ("((ALARM(a)))", A),
        ("ALARM(a) AND ALARM(b) AND ALARM(c)", All((A, B, C))),
        # NOT binds tighter than AND, AND tighter than OR.
        ("ALARM(a) OR ALARM(b) AND ALARM(c)", Any((A, All((B, C))))),
        ("ALARM(a) AND ALARM(b) OR ALARM(c)", Any((All((A, B)), C))),
        ("(ALARM(a) OR ALARM(b)) AND ALARM(c)", All((Any((A, B)), C))),
        ("NOT ALARM(a) AND ALARM(b)", All((Not(A), B))),
        ("NOT (ALARM(a) AND ALARM(b))", Not(All((A, B)))),
        ("\n ALARM(a)\n\tAND\n NOT(ALARM(b)) ", All((A, Not(B)))),
    ],
)
def test_what_is_read(text: str, expected: Expression) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("()", "Error in AlarmRule [Unsupported token ')' at char 1]"),
        ("", "Error in AlarmRule [Unexpected end at char 0]"),
        ("ALARM(a) AND", "Error in AlarmRule [Unexpected end at char 12]"),
        ("ALARM(a) XOR ALARM(b)", "Error in AlarmRule [Unsupported token 'XOR' at char 9]"),
        ("ALARM(a) ALARM(b)", "Error in AlarmRule [Unsupported token 'ALARM' at char 9]"),
        ("AND ALARM(a)", "Error in AlarmRule [Unsupported token 'AND' at char 0]"),
        ("(ALARM(a)", "Error in AlarmRule [Unexpected end at char 9]"),
        ("ALARM(a))", "Error in AlarmRule [Unsupported token ')' at char 8]"),
        ("ALARM a", "Error in AlarmRule [Unsupported token 'a' at char 6]"),
        ("ALARM()", "Error in AlarmRule [Alarm name is missing at char 6]"),
        ('ALARM("a)', "Error in AlarmRule [Quotation mark at char 6 is not closed]"),
        ('ALARM("a" b)', "Error in AlarmRule [Unsupported token 'b' at char 10]"),
        ("ALARM(a", "Error in AlarmRule [Parenthesis of the alarm name at char 6 is not closed]"),
        ("AT_LEAST(ALARM, (a))", "Error in AlarmRule [A number of alarms, or a percentage, is missing at char 9]"),
        ("AT_LEAST(0, ALARM, (a))", "Error in AlarmRule [0 at char 9 is not between 1 and 1]"),
        ("AT_LEAST(3, ALARM, (a, b))", "Error in AlarmRule [3 at char 9 is not between 1 and 2]"),
        ("AT_LEAST(101%, ALARM, (a, b))", "Error in AlarmRule [101% at char 9 is not between 1 and 100]"),
        ("AT_LEAST(1, TRUE, (a))", "Error in AlarmRule [Unsupported token 'TRUE' at char 12]"),
        ("AT_LEAST(1, ALARM, ())", "Error in AlarmRule [Alarm name is missing at char 20]"),
        ("AT_LEAST(1, ALARM, (a)", "Error in AlarmRule [Unexpected end at char 22]"),
        ("a > 5", "Error in AlarmRule [Unsupported token 'a' at char 0]"),
    ],
)
def test_what_is_not_a_rule(text: str, says: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(text)
    assert str(refused.value) == says
    assert refused.value.code == "ValidationException"


def joined(count: int) -> str:
    return " OR ".join(f"ALARM(a{number})" for number in range(count))


@pytest.mark.parametrize(
    ("most", "one_more"),
    [
        (joined(RULE_CHILDREN_MAX), joined(RULE_CHILDREN_MAX + 1)),
        (" OR ".join(["TRUE"] * RULE_ELEMENTS_MAX), " OR ".join(["TRUE"] * (RULE_ELEMENTS_MAX + 1))),
        ("NOT " * RULE_DEPTH_MAX + "TRUE", "NOT " * (RULE_DEPTH_MAX + 1) + "TRUE"),
        ("(" * RULE_DEPTH_MAX + "TRUE" + ")" * RULE_DEPTH_MAX, "(" * 101 + "TRUE" + ")" * 101),
        ("TRUE".ljust(RULE_CHARACTERS_MAX), "TRUE".ljust(RULE_CHARACTERS_MAX + 1)),
    ],
    ids=["children", "elements", "depth of NOT", "depth of parentheses", "characters"],
)
def test_bounds(most: str, one_more: str) -> None:
    parse(most)
    with pytest.raises(Invalid, match="AlarmRule"):
        parse(one_more)


def test_children_once_each_in_order() -> None:
    assert children(parse("AT_LEAST(1, OK, (b, a)) OR ALARM(c)")) == ("b", "a", "c")
    assert children(parse("ALARM(b) OR (OK(a) AND NOT ALARM(b)) OR TRUE")) == ("b", "a")


@pytest.mark.parametrize(
    ("text", "a", "b", "expected"),
    [
        ("ALARM(a) AND ALARM(b)", ALARM, ALARM, True),
        ("ALARM(a) AND ALARM(b)", ALARM, OK, False),
        ("ALARM(a) OR ALARM(b)", OK, ALARM, True),
        ("ALARM(a) AND NOT ALARM(b)", ALARM, OK, True),
        ("ALARM(a) AND NOT ALARM(b)", ALARM, ALARM, False),
        ("INSUFFICIENT_DATA(a)", INSUFFICIENT, OK, True),
        ("OK(a)", INSUFFICIENT, OK, False),
        ("AT_LEAST(1, ALARM, (a, b))", OK, ALARM, True),
        ("AT_LEAST(2, ALARM, (a, b))", OK, ALARM, False),
        ("AT_LEAST(2, NOT OK, (a, b))", INSUFFICIENT, ALARM, True),
        ("AT_LEAST(2, NOT OK, (a, b))", INSUFFICIENT, OK, False),
        ("AT_LEAST(50%, ALARM, (a, b))", OK, ALARM, True),
        ("AT_LEAST(51%, ALARM, (a, b))", OK, ALARM, False),
        ("AT_LEAST(100%, ALARM, (a, b))", ALARM, ALARM, True),
        ("AT_LEAST(1, NOT ALARM, (a, b))", None, ALARM, True),
        # An alarm that does not exist is in no state.
        ("ALARM(a) OR OK(a) OR INSUFFICIENT_DATA(a)", None, OK, False),
        ("NOT ALARM(a)", None, OK, True),
    ],
)
def test_what_holds(text: str, a: AlarmValue | None, b: AlarmValue | None, expected: bool) -> None:
    assert holds(parse(text), {"a": a, "b": b}.get) is expected


names = st.sampled_from(["a", "b", "c"])
expressions = st.recursive(
    st.builds(Constant, st.booleans()) | st.builds(Is, st.sampled_from(AlarmValue), names),
    lambda inner: (
        st.builds(Not, inner)
        | st.builds(All, st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(Any, st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=20,
)


def written(expression: Expression) -> str:
    match expression:
        case Constant(value):
            return str(value).upper()
        case Is(value, alarm):
            return f'{value.value}("{alarm}")'
        case Not(operand):
            return f"NOT ({written(operand)})"
        case All(operands):
            return " AND ".join(f"({written(one)})" for one in operands)
        case Any(operands):
            return " OR ".join(f"({written(one)})" for one in operands)


@given(expressions, st.fixed_dictionaries({name: st.sampled_from(AlarmValue) for name in "abc"}))
def test_what_is_written_is_read(expression: Expression, states: dict[str, AlarmValue]) -> None:
    read = parse(written(expression))
    assert read == expression
    assert holds(read, states.get) is holds(expression, states.get)


@given(st.text(alphabet='ALRM OKTUEFSNDI_()"ab', max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except Invalid as refused:
        assert str(refused).startswith("Error in AlarmRule [")  # noqa: PT017
