"""One pair of answers: known answers, and what must hold for any."""

import json
import math
import random
import time
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.comparison.pairs import CSV, JSON, LINES, MEDIA, NPY, VALUES, against, exchange, lines, npy, of_json

from bannister.domain.comparison import matching, reading, walk
from bannister.domain.comparison.compare import Comparison, Label, compare
from bannister.domain.comparison.paths import parse, spell
from bannister.domain.comparison.rules import Rules

# --- known answers


@pytest.mark.parametrize(
    ("old", "new", "path", "was", "became"),
    [
        ({"late": True, "p": 0.9}, {"late": False, "p": 0.9}, "$.late", "true", "false"),
        (["a", "b"], ["a", "c"], "$[1]", "b", "c"),
        ({"a": {"b c": [1, 2]}}, {"a": {"b c": [1, 3]}}, "$.a['b c'][1]", "2", "3"),
        (0.5, 0.6, "$", "0.5", "0.6"),
        (7, 8, "$", "7", "8"),
        ([0.1] * 20, [0.1] * 19 + [0.2], "$[19]", "0.1", "0.2"),
    ],
)
def test_a_difference_in_value_is_found_where_it_is(old, new, path, was, became) -> None:
    found = of_json(old, new)
    assert (found.agrees, found.structural) == (False, None)
    assert (found.path, found.production, found.shadow) == (path, was, became)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, "$.b is missing"),
        ({"a": 1}, {"a": 1, "b": 2}, "$.b is new"),
        ([1, 2], [1, 2, 3], "$: 2 elements became 3"),
        ({"a": 1}, {"a": "1"}, "$.a: a number became text"),
        ({"a": 1}, {"a": True}, "$.a: a number became a truth value"),
        ({"a": 1}, {"a": None}, "$.a: a number became null"),
        ([1], {"a": 1}, "$: a list became an object"),
    ],
)
def test_a_difference_in_structure_is_told_apart(old, new, says) -> None:
    found = of_json(old, new)
    assert (found.agrees, found.structural) == (False, says)
    assert not of_json(new, old).agrees
    assert of_json(new, old).structural is not None


def test_numbers_have_a_difference_and_a_sign() -> None:
    found = of_json({"a": [1.0, 2.0], "b": 3}, {"a": [1.5, 1.0], "b": 3})
    assert found.numeric_difference == 1.0
    assert found.mean_difference == pytest.approx((0.5 - 1.0 + 0) / 3)
    same = of_json({"a": 1.0}, {"a": 1.0})
    assert (same.numeric_difference, same.mean_difference) == (0.0, 0.0)
    assert of_json("x", "x").numeric_difference is None


def test_equal_bytes_agree_and_are_counted_like_others() -> None:
    found = of_json({"late": True, "p": 0.5}, {"late": True, "p": 0.5})
    assert found == Comparison(
        agrees=True, numeric_difference=0.0, mean_difference=0.0, labels=(Label("$.late", "true", "true"),)
    )


def test_labels_are_those_of_strings_whole_numbers_and_truth_values() -> None:
    assert of_json("late", "in time").labels == (Label("$", "late", "in time"),)
    found = of_json({"predictions": [1, 0, 1], "p": 0.25}, {"predictions": [0, 0, 0], "p": 0.25})
    assert found.labels == (Label("$.predictions[*]", "0", "0"), Label("$.predictions[*]", "1", "0", 2))
    assert against(b"late,0.5\n", b"in time,0.5\n", CSV).labels == (Label("$[*][*]", "late", "in time"),)
    assert sum(one.count for one in of_json([1] * 5000, [2] * 5000).labels) == 1000


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity", "1e999", "1.5", "-0.1"])
def test_the_shadows_invalid_outputs_are_seen(bad: str) -> None:
    assert against(b"[0.5]", f"[{bad}]".encode(), minimum=0.0, maximum=1.0).invalid
    assert not against(f"[{bad}]".encode(), b"[0.5]", minimum=0.0, maximum=1.0).invalid
    assert against(f"[{bad}]".encode(), f"[{bad}]".encode(), minimum=0.0, maximum=1.0).invalid
    assert against(b"[]", f"[{bad}]".encode(), minimum=0.0, maximum=1.0).invalid
    many = ", ".join(["0.5"] * 30 + [bad])
    assert against(b"[" + b"0.5, " * 30 + b"0.5]", f"[{many}]".encode(), minimum=0.0, maximum=1.0).invalid


def test_nan_equals_nan_and_infinities_equal_themselves_only() -> None:
    assert against(b"[NaN, 1]", b"[NaN,1]").agrees
    assert against(b"[Infinity, 1]", b"[Infinity,1]").agrees
    assert not against(b"[Infinity]", b"[-Infinity]").agrees
    assert not against(b"[Infinity]", b"[1.0]").agrees
    assert not against(b"[NaN]", b"[1.0]").agrees
    assert against(npy([np.nan, 1.0]), npy(np.array([np.nan, 1.0000001])), NPY).agrees


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(0, 1e-2), st.floats(0, 1e-2), st.sampled_from([-1, 1]), st.booleans())
def test_the_tolerance_is_what_the_rules_say(a: float, absolute: float, relative: float, sign: int, row: bool) -> None:
    allowed = absolute + relative * abs(a)
    inside, outside = a + sign * allowed * 0.999, a + sign * (allowed * 1.001 + 1e-6)
    times = 20 if row else 1
    rules = {"absolute_tolerance": absolute, "relative_tolerance": relative}
    assert of_json([a] * times, [inside] * times, **rules).agrees or abs(inside - a) > allowed
    assert not of_json([a] * times, [outside] * times, **rules).agrees


def test_whole_numbers_are_exact_and_equal_the_floats_of_the_same_value() -> None:
    assert not of_json(10**15, 10**15 + 1).agrees
    assert of_json(1, 1.0).agrees


def test_ignored_paths_are_not_compared() -> None:
    old = {"id": "a", "rows": [{"at": 1, "y": 2}, {"at": 3, "y": 4}]}
    new = {"id": "b", "rows": [{"at": 5, "y": 2}, {"y": 4}], "trace": {"x": 1}}
    assert of_json(old, new, ignored_paths=("$.id", "$.rows[*].at", "$.trace")).agrees
    assert of_json(old, new, ignored_paths=("$.id", "$.rows[*].at")).structural == "$.trace is new"
    assert not of_json(old, new, ignored_paths=("$.id", "$.rows[0].at", "$.trace")).agrees
    assert against(b"1,2,x\n3,4,y\n", b"1,2,z\n3,4,w\n", CSV, ignored_paths=("$[*][2]",)).agrees
    assert of_json([0.5] * 20, [0.5] * 19 + [0.9], ignored_paths=("$[19]",)).agrees


@pytest.mark.parametrize("name", ["it's", "a\\b c", "\\' ", "'", "", "a.b", "*"])
def test_any_member_can_be_ignored_by_the_path_that_is_shown(name: str) -> None:
    found = of_json({name: 1, "p": 1}, {name: 2, "p": 1})
    assert not found.agrees
    assert of_json({name: 1, "p": 1}, {name: 2, "p": 1}, ignored_paths=(found.path,)).agrees
    assert of_json({name: 1, "p": 1}, {name: 1, "p": 2}, ignored_paths=(found.path,)).path == "$.p"


def test_a_backslash_that_escapes_nothing_is_itself() -> None:
    assert parse(r"$['a\b c']") == ("a\\b c",)


def test_unordered_lists_are_compared_as_sets() -> None:
    old, new = {"tags": ["b", "a", {"x": 1}], "p": [0.1, 0.2]}, {"tags": [{"x": 1}, "a", "b"], "p": [0.2, 0.1]}
    assert not of_json(old, new).agrees
    assert of_json(old, new, unordered_paths=("$.tags", "$.p")).agrees
    assert not of_json(["a", "b"], ["a", "c"], unordered_paths=("$",)).agrees


def test_elements_without_an_order_belong_together_by_what_is_compared_of_them() -> None:
    items = [{"at": number, "box": [number / 4, 1.0], "name": "ab"[number % 2]} for number in range(9)]
    others = [{"at": 1000 - one["at"] * 7 % 10, "box": one["box"], "name": one["name"]} for one in reversed(items)]
    rules = {"unordered_paths": ("$.items",), "ignored_paths": ("$.items[*].at",)}
    assert of_json({"items": items}, {"items": others}, **rules).agrees
    others[3]["name"] = "c"
    found = of_json({"items": items}, {"items": others}, **rules)
    assert (found.path, found.production, found.shadow) == ("$.items[5].name", "b", "c")


@pytest.mark.parametrize(
    ("old", "new", "agree"),
    [
        ([[9.99999, 1], [20, 2]], [[20, 2], [10.00001, 1]], True),
        ([[1.0, 5], [1.00001, 2]], [[1.0, 2], [1.00001, 5]], True),
        ([[1.0, 5], [1.00001, 2]], [[1.0, 2], [1.00001, 2]], False),
        ([{"p": 0.5}, {"p": 0.50003}], [{"p": 0.50003}, {"p": 0.50006}], True),
        ([10, 9, "a", None, True], [True, None, "a", 9.0, 10.0], True),
        ([1, 1, 2], [1, 2, 2], False),
        ([True], [1], False),
        ([[1, 2], [3]], [[3], [2, 1]], False),
        ([0.5] * 20 + [0.1], [0.1] + [0.50001] * 20, True),
        ([[0.5, 1.0]] * 20 + [[0.1, 2.0]], [[0.1, 2.0]] + [[0.50001, 1.0]] * 20, True),
        (list(range(30)), list(range(30))[::-1], True),
    ],
)
def test_elements_without_an_order_that_are_close_belong_together(old: object, new: object, agree: bool) -> None:
    assert of_json(old, new, unordered_paths=("$",)).agrees is agree
    assert of_json(new, old, unordered_paths=("$",)).agrees is agree


@settings(deadline=None)
@given(st.lists(VALUES, max_size=20), st.randoms(use_true_random=False))
def test_the_order_of_elements_without_one_does_not_count(values: list[object], draws) -> None:
    shuffled = draws.sample(values, len(values))
    assert of_json(values, shuffled, unordered_paths=("$",)).agrees


def test_close_numbers_that_come_first_do_not_hide_who_belongs_together() -> None:
    draws = random.Random(7)
    old = [[1.0 + draws.uniform(-4e-5, 4e-5), draws.uniform(-1e-8, 1e-8), float(number)] for number in range(400)]
    new = [[1.0 + draws.uniform(-4e-5, 4e-5), draws.uniform(-1e-8, 1e-8), float(number)] for number in range(400)]
    draws.shuffle(new)
    found = of_json(old, new, unordered_paths=("$",))
    assert (found.agrees, found.partial) == (True, False)
    new[5][2] = 0.5
    assert not of_json(old, new, unordered_paths=("$",)).agrees


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), max_size=12), st.lists(st.integers(0, 30), max_size=12))
def test_as_many_elements_belong_together_as_can(old: list[int], new: list[int]) -> None:
    old, new = old[: len(new)], new[: len(old)]
    found = of_json(
        [[one / 64] for one in old], [[one / 64] for one in new], unordered_paths=("$",), absolute_tolerance=2 / 64
    )
    # Of single numbers those in order belong together: if any matching is whole, that one is.
    whole = all(abs(one - other) <= 2 for one, other in zip(sorted(old), sorted(new), strict=True))
    assert (found.agrees, found.partial) == (whole, False)


def test_lists_without_an_order_in_one_another() -> None:
    old = [{"tags": ["a", "b"], "n": 1}, {"tags": ["c"], "n": 2}]
    new = [{"tags": ["c"], "n": 2}, {"tags": ["b", "a"], "n": 1}]
    assert of_json(old, new, unordered_paths=("$", "$[*].tags")).agrees
    assert not of_json(old, new, unordered_paths=("$",)).agrees


def test_v2_outputs_are_matched_by_name_and_their_envelope_is_the_versions() -> None:
    def answer(version: str, *outputs: object) -> bytes:
        return json.dumps({"model_name": version, "id": version, "outputs": outputs}).encode()

    label = {"name": "label", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}
    scores = {"name": "scores", "shape": [2, 2], "datatype": "FP32", "data": [[0.1, 0.9], [0.5, 0.5]]}
    flat = scores | {"data": [0.1, 0.9, 0.5, 0.5]}
    assert against(answer("1", label, scores), answer("2", flat, label)).agrees
    found = against(answer("1", label, scores), answer("2", flat | {"shape": [4]}, label))
    assert found.structural == "$.outputs.scores.shape: [2, 2] became [4]"
    found = against(answer("1", scores), answer("2", flat | {"datatype": "FP64"}))
    assert found.structural == "$.outputs.scores.datatype: FP32 became FP64"
    assert (type(found.production), type(found.shadow)) == (str, str), (
        "what is not exactly a text cannot be written down, and with it no report"
    )
    assert against(
        answer("1", scores), answer("2", flat | {"shape": [4]}), ignored_paths=("$.outputs.scores.shape",)
    ).agrees
    found = against(answer("1", scores), answer("2", flat | {"data": [0.1, 0.9, 0.5, 0.4]}))
    assert (found.path, found.numeric_difference) == ("$.outputs.scores.data[3]", pytest.approx(0.1))
    assert against(answer("1", label, scores), answer("2", label)).structural == "$.outputs.scores is missing"


def test_json_lines() -> None:
    assert against(lines({"a": 1}, {"a": 2.0}), lines({"a": 1}, {"a": 2.00001}) + b"\n", LINES).agrees
    assert against(lines({"a": 1}), lines({"a": 1}, {"a": 1}), LINES).structural == "$: 1 elements became 2"


def test_lines_of_csv_end_where_its_quotes_allow() -> None:
    assert against(b'"a\nb",1\r\n', b'"a\nb",1\n', "text/csv").agrees
    assert not against(b'"a\nb",1\n', b'"ab",1\n', "text/csv").agrees
    for inside in ("\u2028", "\x0b", "\x1c", "\x85"):
        assert not against(f"x{inside}y\n".encode(), b"x\ny\n", "text/csv").agrees


def test_csv() -> None:
    assert against(b"0.50,a\r\n1,b\r\n", b"0.5, a\n1,b", "text/csv; charset=utf-8").agrees
    assert against(b"1,2\n", b"1\n", CSV).structural == "$[0]: 2 elements became 1"
    assert against(b"1\n", b"late\n", CSV).structural == "$[0][0]: a number became text"


def test_a_row_of_csv_that_is_empty_is_a_row_but_at_the_end() -> None:
    assert against(b"1\n\n3\n", b"1\n3\n", CSV).structural == "$: 3 elements became 2"
    assert against(b"1\n\n3\n", b"1\n\n3", CSV).agrees
    assert against(b"1\r\n3\r\n\r\n\r\n", b"1\n3", CSV).agrees


@pytest.mark.parametrize(
    ("old", "new", "agree"),
    [
        ("007", "7", False),
        ("007", "0007", False),
        ("00.5", "0.5", False),
        ("0", "-0", True),
        ("0.50", ".5", True),
        ("1e1", "10", True),
        ("12345678901234567890", "12345678901234567891", False),
        ("٣", "3", False),
    ],
)
def test_a_cell_of_csv_is_a_number_if_it_is_written_as_one(old: str, new: str, agree: bool) -> None:
    assert against(f"a,{old}\n".encode(), f"a,{new}\n".encode(), CSV).agrees is agree


def test_npy() -> None:
    array = np.arange(6, dtype="f4").reshape(2, 3)
    assert against(npy(array), npy(np.asfortranarray(array)), NPY).agrees
    assert against(npy(array), npy(array.astype(">f4")), NPY).agrees
    changed = array.copy()
    changed[1, 2] += 0.5
    found = against(npy(array), npy(changed), NPY)
    assert (found.path, found.numeric_difference, found.structural) == ("$[1][2]", 0.5, None)
    assert found.mean_difference == pytest.approx(0.5 / 6)
    assert "float32 became float64" in (against(npy(array), npy(array.astype("f8")), NPY).structural or "")
    assert "(2, 3) became (3, 2)" in (against(npy(array), npy(array.reshape(3, 2)), NPY).structural or "")
    assert against(npy(["a", "b"]), npy(["a", "c"]), NPY).labels == (Label("$[*]", "a", "a"), Label("$[*]", "b", "c"))
    assert not against(npy(np.int64(3)), npy(np.int64(4)), NPY).agrees


def test_npy_of_texts_of_another_width() -> None:
    words = np.array(["cat", "dog"])
    for wider in ("U10", ">U10"):
        assert against(npy(words), npy(words.astype(wider)), NPY).agrees
    assert against(npy(words.astype("S3")), npy(words.astype("S9")), NPY).agrees
    found = against(npy(words), npy(np.array(["cat", "catfish"])), NPY)
    assert (found.structural, found.path, found.shadow) == (None, "$[1]", "catfish")
    assert against(npy(words), npy(words.astype("S3")), NPY).structural is not None


@pytest.mark.parametrize("order", "<>")
def test_npy_of_texts_that_are_none_cannot_be_read(order: str) -> None:
    for code in (0x110000, 0xFFFFFFFF):
        bad = npy(np.array([97, code], order + "u4").view(order + "U1"))
        assert against(npy(["a", "b"]), bad, NPY).structural == (
            "the shadow's answer holds text with characters that are none"
        )
        assert against(bad, bad, NPY).agrees
    half = npy(np.array([97, 0xD800], order + "u4").view(order + "U1"))
    assert against(npy(["a", "b"]), half, NPY).path == "$[1]"


def test_ignored_elements_of_npy() -> None:
    old, new = npy([[0.1, 0.2], [0.3, 0.4]]), npy([[0.1, 9.0], [0.3, 7.0]])
    assert against(old, new, NPY, ignored_paths=("$[*][1]",), maximum=1.0) == against(
        old, old, NPY, ignored_paths=("$[*][1]",)
    )
    assert against(old, new, NPY, ignored_paths=("$[0]",)).path == "$[1][1]"
    assert against(old, new, NPY, ignored_paths=("$[0][1]", "$[7]", "$.a[*]", "$[1][1]")).agrees
    assert against(npy(["a", "b"]), npy(["a", "c"]), NPY, ignored_paths=("$[1]",)).labels == (Label("$[*]", "a", "a"),)
    assert against(npy(1.0), npy(2.0), NPY, ignored_paths=("$[0]",)).path == "$"


class Bomb:
    """Unpickled, it would raise."""

    def __reduce__(self) -> object:
        return (exec, ("raise SystemExit('unpickled')",))


def test_npy_is_never_unpickled() -> None:
    bomb = npy(np.array([Bomb()], dtype=object))
    found = against(npy([1.0]), bomb, NPY)
    assert found.structural == "the shadow's answer holds elements of type |O, which are not compared"


@pytest.mark.parametrize(
    "head",
    [
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (0, 10**9), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (0, 99999999999999999999), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
        b"{'descr': '<f8', 'fortran_order': False, 'shape': (999999999,), }",
        b"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }",
        b"{'descr': '<U999999999', 'fortran_order': False, 'shape': (0,), }",
        b"(" * 4000,
        b"-" * 4000 + b"1",
        b"[]",
        b"\xff",
    ],
)
def test_headers_of_npy_that_lie(head: bytes) -> None:
    body = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head
    assert not against(npy([1.0]), body, NPY).agrees
    assert against(body, body, NPY).agrees


def test_what_has_no_known_type_is_compared_as_bytes() -> None:
    found = against(b"abc", b"abd", "text/plain")
    assert (found.agrees, found.structural, found.production) == (False, None, "abc")
    assert against(b"abc", b"abc", None).agrees


def test_another_content_type_is_a_difference_in_structure() -> None:
    found = compare(exchange(b"1", CSV), exchange(b"1", JSON), Rules())
    assert found.structural == "content type text/csv became application/json"
    assert compare(exchange(b"1", None), exchange(b"1.0", JSON), Rules()).agrees


def test_who_answered_comes_before_what() -> None:
    fine, failed, silent = exchange(b"1"), exchange(b"no", status=500), exchange(None, status=None)
    assert compare(fine, failed, Rules()).structural == "production answered 200, and the shadow answered 500"
    assert compare(failed, fine, Rules()).structural == "production answered 500, and the shadow answered 200"
    assert compare(fine, silent, Rules()).structural == "production answered 200, and the shadow did not answer"
    assert compare(failed, replace(failed, response=None), Rules()).agrees
    assert not compare(failed, exchange(b"no", status=400), Rules()).agrees
    unfinished = compare(fine, exchange(None, status=200), Rules()).structural
    assert unfinished is not None
    assert unfinished.endswith("did not finish its answer")


@pytest.mark.parametrize("bad", [b"{", b"\xff\xfe\x00", b"[" * 100_000, b"1" * 5000, b"", b'"\\ud800"x'])
def test_what_cannot_be_read_is_a_difference_in_structure(bad: bytes) -> None:
    found = against(b"[1]", bad)
    assert found.structural is not None
    assert found.structural.startswith("the shadow's answer is")
    assert (against(bad, b"[1]").structural or "").startswith("production's answer is")
    assert against(bad, bad).agrees


# --- what must hold for any answer


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(MEDIA))
def test_an_answer_agrees_with_itself(body: bytes, media: str | None) -> None:
    assert against(body, body, media).agrees


@settings(deadline=None)
@given(VALUES)
def test_values_agree_with_themselves_however_they_are_written(value: object) -> None:
    found = against(
        json.dumps(value).encode(), json.dumps(value, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass")
    )
    assert found.agrees
    assert found.numeric_difference in (None, 0.0)


@settings(deadline=None)
@given(VALUES, VALUES)
def test_agreement_is_symmetric_without_a_relative_tolerance(old: object, new: object) -> None:
    there, back = (of_json(*pair, relative_tolerance=0.0) for pair in ((old, new), (new, old)))
    assert there.agrees == back.agrees
    assert (there.structural is None) == (back.structural is None)
    assert there.numeric_difference == back.numeric_difference


@settings(deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300), st.sampled_from(MEDIA), st.sampled_from(MEDIA))
def test_nothing_that_a_model_answers_raises(old: bytes, new: bytes, media: str | None, other: str | None) -> None:
    found = compare(exchange(old, media), exchange(new, other), Rules(minimum=0.0, unordered_paths=("$", "$[*]")))
    assert found.numeric_difference is None or math.isfinite(found.numeric_difference)
    for text in (found.structural, found.path, found.production, found.shadow):
        assert text is None or text.encode() is not None


@settings(deadline=None)
@given(VALUES, VALUES)
def test_nor_do_any_values(old: object, new: object) -> None:
    found = of_json(old, new, minimum=-1.0, maximum=1.0, unordered_paths=("$", "$[*]"), ignored_paths=("$.a", "$[1]"))
    assert found.numeric_difference is None or math.isfinite(found.numeric_difference)
    assert found.agrees == (found.path is None)


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_nor_does_npy_that_begins_well(tail: bytes) -> None:
    against(npy([1.0]), npy([1.0])[:40] + tail, NPY)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps([[1, 2]] * 300_000).encode(),
        b"[" * 300 + b"]" * 300,
        json.dumps({str(number): number for number in range(200_000)}).encode(),
        json.dumps([1e308, -1e308] * 100).encode(),
    ],
)
def test_large_and_deep_answers_are_bounded(body: bytes) -> None:
    changed = body.replace(b"1", b"2", 1) if b"1" in body else b"[" + body + b"]"
    began = time.process_time()
    found = against(body, changed)
    assert not found.agrees or found.partial
    assert against(body, body + b" ").agrees
    assert time.process_time() - began < 10


def rows_of(*columns: object) -> bytes:
    return "".join(",".join(map(str, row)) + "\n" for row in zip(*columns, strict=True)).encode()


def test_long_csv_is_compared_by_the_same_rules_to_its_end() -> None:
    many = 24_000
    old = rows_of([0.5] * many, range(many))
    close = rows_of([0.5] * (many - 1) + [0.50000000001], range(many))
    assert against(old, close, CSV).agrees
    other = rows_of([0.5] * (many - 1) + [0.6], range(many))
    found = against(old, other, CSV)
    assert (found.path, found.production, found.shadow, found.partial) == ("$[23999][0]", "0.5", "0.6", False)
    assert against(old, other, CSV, ignored_paths=("$[*][0]",)).agrees
    for bad in ("nan", "-inf", "+Infinity", "INF", "NaN", "-nan"):
        invalid = rows_of([0.5] * (many - 1) + [bad], range(many))
        assert against(old, invalid, CSV).invalid
        assert not against(old, invalid, CSV).agrees
        assert against(invalid, invalid.replace(b"0.5", b"0.50", 1), CSV).agrees
    assert not against(old, rows_of([0.5] * many, [*range(many - 1), many]), CSV).agrees, "whole numbers are exact"


def test_long_csv_with_words_is_compared_by_columns() -> None:
    many = 24_000
    words = ["late", "in time"] * (many // 2)
    old = rows_of(words, [0.5] * many)
    assert against(old, rows_of(words, [0.5] * (many - 1) + [0.50000000001]), CSV).agrees
    found = against(old, rows_of([*words[:-1], "late"], [0.5] * (many - 2) + [0.7, 0.5]), CSV)
    assert (found.path, found.partial) == ("$[23998][1]", False)
    assert against(old, rows_of([*words[:-1], "late"], [0.5] * many), CSV).path == "$[23999][0]"
    assert (
        against(old, rows_of(words, [0.5] * (many - 1) + ["x"]), CSV).structural == "$[23999][1]: a number became text"
    )
    assert against(old, rows_of(words[1:], [0.5] * (many - 1)), CSV).structural == "$: 24000 elements became 23999"


@pytest.mark.parametrize("shape", [(60_000,), (30_000, 2), (40, 40, 40)])
def test_long_lists_of_numbers_are_compared_to_their_end(shape: tuple[int, ...]) -> None:
    numbers = np.full(shape, 0.5)
    old, at = numbers.tolist(), tuple(size - 1 for size in shape)
    numbers[at] = 0.50000000001
    assert of_json(old, numbers.tolist()).agrees
    numbers[at] = 0.6
    found = of_json({"p": old}, {"p": numbers.tolist()})
    assert (found.path, found.shadow, found.partial) == (spell(("p", *at)), "0.6", False)
    assert of_json(old, numbers.tolist(), ignored_paths=(spell(at),)).agrees
    assert of_json(old, numbers.tolist(), ignored_paths=("$" + "[*]" * len(shape),), maximum=0.1).agrees
    numbers[at] = np.nan
    assert of_json(old, numbers.tolist()).invalid
    assert of_json([old, []], [old, numbers.tolist()]).invalid


@pytest.mark.parametrize(
    ("old", "media"),
    [
        (json.dumps(["word"] * 60_000 + ["the last"]).encode(), JSON),
        (json.dumps([{"p": 0.5}] * 60_000 + [{"p": "the last"}]).encode(), JSON),
        (b"word,0.5\n" * 110_000 + b"the last,0.5\n", CSV),
        (b"word\n" * 210_000 + b"the last\n", CSV),
        (json.dumps([{"x": "word"}] * 30_000 + [{"x": "the last"}]).encode(), JSON),
    ],
)
def test_what_is_beyond_the_bounds_is_not_compared_and_no_difference(old: bytes, media: str) -> None:
    new = old.replace(b"the last", b"another")
    rules = {"unordered_paths": ("$",)} if b'"x"' in old else {}
    found = against(old, new, media, **rules)
    assert (found.agrees, found.partial, found.path) == (True, True, None)
    again = against(old, old + b"\n", media, **rules)
    assert (again.agrees, again.partial) == (True, False)
    early = old.replace(b"word", b"other", 1).replace(b"0.5", b"0.7", 1)
    assert not against(old, early, media).agrees


@pytest.mark.parametrize("old", [b"a,1\n" * 250_000, b"1,1\n" * 250_000, b"1,1\n" * 150_000])
@pytest.mark.parametrize("new", [b"a,1\n" * 250_000, b"1,1\n" * 250_000, b"1,1\n" * 150_000])
def test_the_end_of_what_is_read_is_no_difference_in_structure(old: bytes, new: bytes) -> None:
    found = against(old, new, CSV, ignored_paths=("$[*][0]",))
    rows = old.count(b"\n"), new.count(b"\n")
    assert found.structural == (
        None if rows[0] == rows[1] or b"a" in old + new else f"$: {rows[0]} elements became {rows[1]}"
    )


NUMBERS = (
    st.integers(-3, 3)
    | st.sampled_from([0.0, -0.0, 0.5, 0.50001, 0.6, 1.0, 3.0000001, 1e300, -1e300, 2**53, 2**53 + 1, 2**63, 10**30])
    | st.sampled_from([math.nan, math.inf, -math.inf])
)
ROWS = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(NUMBERS, min_size=width, max_size=width), min_size=1, max_size=6)
)
PATTERNS = st.lists(
    st.sampled_from(["$[0]", "$[*]", "$[*][1]", "$[1][0]", "$[9]", "$[*][*][0]", "$.a", "$[0].a"]), max_size=2
)


@settings(deadline=None, max_examples=300)
@given(ROWS, ROWS, PATTERNS, st.sampled_from([JSON, CSV]), st.booleans(), st.data())
def test_arrays_are_compared_as_their_numbers_are_one_by_one(old, new, ignored, media, worded, data) -> None:
    if data.draw(st.booleans()):
        new = [list(row) for row in old]
        for _ in range(data.draw(st.integers(0, 2))):
            row = data.draw(st.integers(0, len(new) - 1))
            new[row][data.draw(st.integers(0, len(new[row]) - 1))] = data.draw(NUMBERS)
    if worded:
        old, new = ([*[[*row, data.draw(st.sampled_from("ab"))] for row in side]] for side in (old, new))
    bodies = [json.dumps(side).encode() if media == JSON else rows_of(*zip(*side, strict=True)) for side in (old, new)]
    rules = {"ignored_paths": tuple(ignored), "minimum": -2.0, "maximum": 2.0}
    found = []
    for least in (1, 10**9):
        with (
            mock.patch.object(walk, "_ROW_MIN", least),
            mock.patch.multiple(reading, _GRID_BYTES_MIN=least, _COLUMN_ROWS_MIN=least),
        ):
            found.append(against(*bodies, media, **rules))
    arrays, one_by_one = found
    left_out: dict[str, None] = {"mean_difference": None}
    if worded or media == CSV:  # of a table, the first difference may be another one
        left_out |= {"path": None, "production": None, "shadow": None, "structural": None}
    assert replace(arrays, **left_out) == replace(one_by_one, **left_out)
    assert (arrays.structural is None) == (one_by_one.structural is None)
    means = arrays.mean_difference, one_by_one.mean_difference
    # Added in another order: 1e300 and -1e300 leave nothing of a 1 that came before them, and all of one that comes after.
    rounded = 1e-9 * max([1.0, *(abs(one) for row in old + new for one in row if _is_finite(one))])
    assert means[0] == means[1] or means[0] == pytest.approx(means[1], rel=1e-9, abs=rounded)


def _is_finite(one: object) -> bool:
    return not isinstance(one, str) and math.isfinite(one)  # type: ignore[arg-type]


@pytest.mark.parametrize("unit", [b"1\n", b"0.123\n", b"0.123,4\n", b"late,0.123\n", b"a,1\n", b"nan\n", b"\n", b",\n"])
def test_the_largest_csv_takes_less_than_half_a_second(unit: bytes) -> None:
    body = unit * (reading.READ_BYTES_MAX // len(unit))
    changed = body[: -len(unit)] + unit.replace(b"1", b"2").replace(b"nan", b"0.1")
    began = time.process_time()
    against(body, changed, CSV)
    assert time.process_time() - began < 2.5, "on a quiet machine a fifth of that"


def test_longer_than_the_bound_is_compared_as_bytes() -> None:
    body = b"[" + b" " * (4 * 1024 * 1024) + b"1]"
    found = against(body, body.replace(b"1", b"2"))
    assert (found.agrees, found.structural, found.production) == (False, None, f"{len(body)} bytes")


@pytest.mark.parametrize("path", ["", "a", "$a", "$.", "$[", "$[x]", "$['a]", "$. a"])
def test_paths_that_are_none_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="The path"):
        parse(path)


@settings(deadline=None)
@given(st.lists(st.text() | st.text("'\\\\a b") | st.integers(0, 999), max_size=5))
def test_a_path_is_read_as_it_is_spelled(steps: list[str | int]) -> None:
    assert parse(spell(steps)) == tuple(steps)


# --- what it costs to match lists without an order


def counted(old: object, new: object, **rules: object) -> tuple[walk.Walk, int, int]:
    """The walk, how many elements were tried with another, and how many steps that cost."""
    made = walk.Walk(Rules(unordered_paths=("$", "$[*].tags"), **rules))  # type: ignore[arg-type]
    trials = 0
    honest = walk.Walk._belong

    def belong(self: walk.Walk, *arguments: Any) -> bool | None:
        nonlocal trials
        trials += 1
        return honest(self, *arguments)

    with mock.patch.object(walk.Walk, "_belong", belong):
        made.values((), old, new)
    return made, trials, walk.EFFORT_MAX - made._effort.left


def scores(count: int, first: int, seed: int) -> list[dict[str, float]]:
    draws = random.Random(seed)
    return [{"i": first + number, "s": draws.random()} for number in range(count)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([str(one) for one in range(1600)], [{"a": one} for one in range(1600)]),
        ([str(one) for one in range(8000)], [{"a": one} for one in range(8000)]),
        ([str(one) for one in range(2000)], [str(-one) for one in range(1, 2001)]),
        (scores(150, 0, 1), scores(150, 1000, 2)),
        ([[0.5]] * 2000 + [[2.0]], [[0.5]] * 2000 + [[3.0]]),
        (["x"] * 2000 + ["y"], ["x"] * 2000 + ["z"]),
    ],
    ids=["objects for texts", "many", "other texts", "scores", "one is odd", "one text is odd"],
)
def test_what_has_nothing_in_common_is_not_tried(old: list[object], new: list[object]) -> None:
    made, trials, _ = counted(old, new)
    assert (made.differs, made.partial, trials) == (True, False, 0)


@pytest.mark.parametrize(
    ("old", "new", "agree"),
    [
        ([[0.5]] * 2000 + [[2.0]], [[3.0]] + [[0.50001]] * 2000, False),
        ([[0.5]] * 2000 + [[2.0]], [[2.00001]] + [[0.50001]] * 2000, True),
        (scores(1000, 0, 1), [one | {"s": one["s"] + 1e-7} for one in reversed(scores(1000, 0, 1))], True),
    ],
    ids=["one is odd", "all are close", "scores"],
)
def test_close_elements_are_each_tried_about_once(old: list[object], new: list[object], agree: bool) -> None:
    made, trials, _ = counted(old, new)
    assert (made.differs, made.partial) == (not agree, False)
    assert trials <= len(old)


#: Each is within the tolerance of the next.
CHAIN = [1.0 + number * 4e-5 for number in range(6000)]


@pytest.mark.parametrize(
    ("old", "new", "differs", "partial"),
    [
        ([{"a": one} for one in CHAIN], [{"a": one + 1e-5} for one in reversed(CHAIN)], False, False),
        ([{"a": one} for one in [*CHAIN, 9.0]], [{"a": one + 1e-5} for one in [*CHAIN, 8.0]], True, False),
        (
            [{"tags": [one, one + 0.5]} for one in range(1000)],
            [{"tags": [one + 0.2, one + 0.7]} for one in range(1000)],
            False,
            True,
        ),
    ],
    ids=["in order they agree", "one is odd", "in order they do not"],
)
def test_when_the_effort_is_spent_the_rest_is_paired_in_order(
    old: list[object], new: list[object], differs: bool, partial: bool
) -> None:
    made, trials, effort = counted(old, new)
    assert (made.differs, made.partial) == (differs, partial)
    assert trials <= walk.EFFORT_MAX // walk.VALUE_STEPS
    assert effort > walk.EFFORT_MAX // 2, "or the case is none"


def test_steps_of_a_search_are_paid_as_trials_are() -> None:
    steps = 0

    def agree(_one: int, other: int) -> bool:
        nonlocal steps
        steps += 1
        return other < 99

    effort = matching.Effort(1_000)
    keys = matching.Keys(lambda key: key, lambda key: (None, []), lambda number: (number, number))
    found = matching.match(range(100), range(1000, 1100), keys, agree, effort)
    assert (steps <= 1_000, effort.left < 0, len(found.doubtful)) == (True, True, 1)
    effort = matching.Effort(1_000_000)
    found = matching.match(range(100), range(1000, 1100), keys, agree, effort)
    assert (effort.left > 900_000, len(found.pairs), found.doubtful) == (True, 100, frozenset())


MEMBERS = st.sampled_from([0.5, 0.50003, -1.0, 0.0, 1, 2, 2**60 + 1, 10**400, math.inf, math.nan, "a", True, None])
ELEMENTS = st.fixed_dictionaries(
    {"n": MEMBERS, "a": st.lists(st.tuples(MEMBERS, st.sampled_from("xy")).map(list), max_size=3), "b": MEMBERS}
)


@settings(deadline=None, max_examples=200)
@given(st.lists(ELEMENTS, max_size=8), st.lists(ELEMENTS, max_size=1), st.randoms(use_true_random=False))
def test_dividing_into_classes_parts_nobody(old: list[Any], others: list[Any], draws: random.Random) -> None:
    def nudged(value: Any) -> Any:
        if type(value) in (int, float) and abs(value) < 10:
            return value * draws.choice([1, 1.00004, 0.99996])
        return value

    new = [
        {
            "n": nudged(one["n"]),
            "a": draws.sample([[nudged(each), word] for each, word in one["a"]], len(one["a"])),
            "b": others,
        }
        for one in old
    ]
    new += others
    rules = Rules(unordered_paths=("$", "$[*].a"), ignored_paths=("$[*].b",))
    made = walk.Walk(rules)
    sides = [[made._key((0,), one) for one in side] for side in (old, new)]
    with mock.patch.object(matching, "_UNDIVIDED_PAIRS", 0):
        keys = matching.Keys(made._coarse, made._shape, made._reach)
        classes = list(matching._classes(*sides, keys, {}, {}))
    together = {(one, other) for olds, news in classes for one in olds for other in news}
    agree = {
        (one, other) for one in range(len(old)) for other in range(len(new)) if made._belong((0,), old[one], new[other])
    }
    assert agree <= together
    assert {(one, one) for one in range(len(old))} <= agree
