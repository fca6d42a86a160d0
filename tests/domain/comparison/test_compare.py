"""One pair of answers: known answers, and what must hold for any."""

import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.comparison.pairs import CSV, JSON, LINES, MEDIA, NPY, VALUES, against, exchange, lines, npy, of_json

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


def test_v2_outputs_are_matched_by_name_and_their_envelope_is_the_versions() -> None:
    def answer(version: str, *outputs: object) -> bytes:
        return json.dumps({"model_name": version, "id": version, "outputs": outputs}).encode()

    label = {"name": "label", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}
    scores = {"name": "scores", "shape": [2, 2], "datatype": "FP32", "data": [[0.1, 0.9], [0.5, 0.5]]}
    flat = scores | {"data": [0.1, 0.9, 0.5, 0.5]}
    assert against(answer("1", label, scores), answer("2", flat, label)).agrees
    found = against(answer("1", label, scores), answer("2", flat | {"shape": [4]}, label))
    assert (
        found.path == "$.outputs.scores.shape[1]" or found.structural == "$.outputs.scores.shape: 2 elements became 1"
    )
    found = against(answer("1", scores), answer("2", flat | {"datatype": "FP64"}))
    assert found.path == "$.outputs.scores.datatype"
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
    assert not against(body, changed).agrees
    assert against(body, body + b" ").agrees
    assert time.process_time() - began < 10


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
