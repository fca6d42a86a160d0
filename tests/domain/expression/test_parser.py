"""The grammar of expressions: what binds how, what is refused where, and that a tree is written as it is read."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bannister.domain.expression.parser import DEPTH_MAX, EXPRESSION_CHARACTERS_MAX, ExpressionError, parse
from bannister.domain.expression.tree import (
    LEVELS,
    Array,
    Call,
    Minus,
    Node,
    Number,
    Power,
    Reference,
    Row,
    Text,
    Word,
    references,
    show,
)

A, B, C = Reference("a"), Reference("b"), Reference("c")

READ: list[tuple[str, Node]] = [
    ("5", Number(5)),
    ("50.25", Number(50.25)),
    (".5", Number(0.5)),
    ("1e-36", Number(1e-36)),
    ("1E+3", Number(1000)),
    ("a", A),
    ("m1_Total9", Reference("m1_Total9")),
    ("-5", Minus(Number(5))),
    ("--a", Minus(Minus(A))),
    ("a+b-c", Row(A, (("+", B), ("-", C)))),
    ("a+b*c", Row(A, (("+", Row(B, (("*", C),))),))),
    ("(a+b)*c", Row(Row(A, (("+", B),)), (("*", C),))),
    ("a/b/c", Row(A, (("/", B), ("/", C)))),
    ("a/(b/c)", Row(A, (("/", Row(B, (("/", C),))),))),
    ("-a^2", Minus(Power(A, Number(2)))),
    ("(-a)^2", Power(Minus(A), Number(2))),
    ("2^-a", Power(Number(2), Minus(A))),
    ("a^b^c", Power(A, Power(B, C))),
    ("(a^b)^c", Power(Power(A, B), C)),
    ("(a-b)-c", Row(Row(A, (("-", B),)), (("-", C),))),
    ("a-(b-c)", Row(A, (("-", Row(B, (("-", C),))),))),
    ("-a*b", Row(Minus(A), (("*", B),))),
    ("a>1 AND b<2 OR c==3", parse("((a > 1) AND (b < 2)) OR (c == 3)")),
    ("a && b || c", Row(Row(A, (("AND", B),)), (("OR", C),))),
    ("a AND b", parse("a && b")),
    ("a+1>b", Row(Row(A, (("+", Number(1)),)), ((">", B),))),
    ("a>b>c", Row(A, ((">", B), (">", C)))),
    ("[a, b]", Array((A, B))),
    ("METRICS()", Call("METRICS", ())),
    ('METRICS("err")', Call("METRICS", (Text("err"),))),
    ("METRICS('err')", Call("METRICS", (Text("err"),))),
    ("FILL(a, REPEAT)", Call("FILL", (A, Word("REPEAT")))),
    (" SUM ( [ a ] ) ", Call("SUM", (Array((A,)),))),
    ("IF(a>1, a, 0)", Call("IF", (Row(A, ((">", Number(1)),)), A, Number(0)))),
]


@pytest.mark.parametrize(("text", "tree"), READ, ids=[text for text, _ in READ])
def test_reads(text: str, tree: Node) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(("text", "tree"), READ, ids=[text for text, _ in READ])
def test_is_shown_as_it_is_read(text: str, tree: Node) -> None:
    assert parse(show(parse(text))) == tree


REFUSED = [
    ("", 0, "a number, an id, a function or a bracket is expected, not the end"),
    ("   ", 0, "not the end"),
    ("a +", 3, "not the end"),
    ("a b", 2, "an operator or the end is expected, not 'b'"),
    ("a = b", 2, "equality is written =="),
    ("a % b", 2, "'%' is not part of an expression"),
    ("(a", 2, "')', a comma or an operator is expected, not the end"),
    ("a)", 1, "not ')'"),
    ("[]", 0, "an array needs at least one item"),
    ("[a,]", 3, "not ']'"),
    ("SUM(a", 5, "not the end"),
    ("METRICS('x)", 8, "the quotation mark ' is not closed"),
    ("NOT a", 0, "there is no NOT; write x == 0"),
    ("a AND NOT b", 6, "there is no NOT"),
    ("1e999", 0, "the number 1e999 is too large"),
    ("sum(a)", 3, "an operator or the end is expected, not '('"),
    ("+a", 0, "not '+'"),
    ("ü", 0, "'ü' is not part of an expression"),
    ("(" * (DEPTH_MAX + 1) + "a" + ")" * (DEPTH_MAX + 1), DEPTH_MAX + 1, "more than 40 levels"),
    ("-" * (DEPTH_MAX + 2) + "a", DEPTH_MAX + 1, "more than 40 levels"),
]


@pytest.mark.parametrize(("text", "position", "reason"), REFUSED, ids=[str(n) for n in range(len(REFUSED))])
def test_refuses_with_the_place_and_the_reason(text: str, position: int, reason: str) -> None:
    with pytest.raises(ExpressionError, match="Invalid syntax") as caught:
        parse(text)
    assert reason in str(caught.value)
    assert f"at character {position + 1}:" in str(caught.value)
    assert caught.value.position == position


def test_as_long_as_can_be_is_read_and_longer_is_not() -> None:
    longest = "+".join(["a"] * (EXPRESSION_CHARACTERS_MAX // 2)) + " "
    assert references(parse(longest)) == {"a"}
    with pytest.raises(ExpressionError, match="2049 characters; 2048 are allowed"):
        parse(longest + " ")


def test_references_are_ids_alone() -> None:
    assert references(parse("IF(m1 > 1, SUM([m2, m1]), FILL(m3, REPEAT)) + SUM(METRICS('m4'))")) == {"m1", "m2", "m3"}


LEAVES = st.one_of(
    st.floats(min_value=0, allow_nan=False, allow_infinity=False).map(Number),
    st.from_regex(r"[a-z][a-zA-Z0-9_]{0,5}", fullmatch=True).map(Reference),
    st.text(st.characters(exclude_characters="\"'", exclude_categories=["Cs"]), max_size=5).map(Text),
    st.sampled_from(["REPEAT", "LINEAR", "ASC"]).map(Word),
)


def inner(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    few = st.lists(children, min_size=1, max_size=3).map(tuple)
    rows = st.sampled_from(LEVELS).flatmap(
        lambda operators: st.builds(
            Row, children, st.lists(st.tuples(st.sampled_from(operators), children), min_size=1, max_size=3).map(tuple)
        )
    )
    return st.one_of(
        few.map(Array),
        st.builds(Call, st.sampled_from(["SUM", "IF", "FILL"]), few),
        children.map(Minus),
        st.builds(Power, children, children),
        rows,
    )


@given(st.recursive(LEAVES, inner, max_leaves=12))
def test_what_is_shown_reads_as_the_same_tree(tree: Node) -> None:
    assert parse(show(tree)) == tree


@given(st.one_of(st.text(max_size=60), st.text("ab1.^-+*/<>=&|()[],\"' ANDORSUM", max_size=60)))
def test_any_text_is_read_or_refused_with_the_one_error(text: str) -> None:
    refused: list[ExpressionError] = []
    try:
        tree = parse(text)
    except ExpressionError as error:
        refused.append(error)
    else:
        assert parse(show(tree)) == tree
    assert all(0 <= error.position <= len(text) for error in refused)


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False))
def test_numbers_keep_their_value(value: float) -> None:
    tree = parse(show(Number(value)))
    assert isinstance(tree, Number)
    assert math.isclose(tree.value, value, rel_tol=0)
