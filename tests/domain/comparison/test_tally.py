"""Tallies merge in any order and grouping, and keep what they say they keep."""

import json
from unittest import mock

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.domain.comparison.pairs import NPY, exchange, npy

from bannister.domain.comparison import tally as tally_module
from bannister.domain.comparison.compare import Label, compare
from bannister.domain.comparison.report import ComparisonReport, GroupTally
from bannister.domain.comparison.rules import Rules
from bannister.domain.comparison.tally import LABELS_MAX, PLACES_MAX, WORST_MAX, Tally, merge


def tally(
    old: object, new: object, *, request_id: str = "r", latencies: tuple[int, int] = (1000, 1500), **rules
) -> Tally:
    production = exchange(json.dumps(old).encode(), request_id=request_id, latency_us=latencies[0])
    shadow = exchange(json.dumps(new).encode(), request_id=request_id, latency_us=latencies[1])
    made = Rules(**rules)
    return Tally.of(production, shadow, compare(production, shadow, made), made)


#: Numbers whose sums are exact, so that the order of adding does not show.
ANSWERS = st.fixed_dictionaries(
    {"label": st.sampled_from("abcde"), "p": st.integers(0, 64).map(lambda one: one / 64)},
    optional={"extra": st.booleans()},
)
PAIRS = st.builds(
    lambda old, new, name, one, other: tally(old, new, request_id=f"r{name}", latencies=(one, other)),
    ANSWERS,
    ANSWERS,
    st.integers(0, 10**6),
    st.integers(0, 9000),
    st.integers(0, 9000),
)
TALLIES = PAIRS | st.builds(
    Tally.of_unpaired, st.dictionaries(st.sampled_from(["late", "long", "crowded"]), st.integers(0, 3))
)
MANY = st.lists(TALLIES, min_size=1, max_size=6)


def same(one: Tally, other: Tally) -> bool:
    """Sketches keep exact values here, whatever their sums' rounding."""
    return msgspec.to_builtins(one) == msgspec.to_builtins(other)


@settings(max_examples=40, deadline=None)
@given(MANY, MANY, MANY)
def test_merging_is_associative(a: list[Tally], b: list[Tally], c: list[Tally]) -> None:
    x, y, z = merge(a), merge(b), merge(c)
    whole = merge([*a, *b, *c])
    assert same(merge([merge([x, y]), z]), whole)
    assert same(merge([x, merge([y, z])]), whole)


@settings(max_examples=40, deadline=None)
@given(MANY, MANY)
def test_merging_is_commutative(a: list[Tally], b: list[Tally]) -> None:
    assert same(merge([merge(a), merge(b)]), merge([merge(b), merge(a)]))


@settings(max_examples=40, deadline=None)
@given(MANY)
def test_the_tally_of_nothing_changes_nothing(a: list[Tally]) -> None:
    assert same(merge([Tally(), merge(a)]), merge([merge(a), Tally()]))
    assert merge([Tally(), merge(a)]).pairs == merge(a).pairs


def test_bounded_rows_are_the_same_whichever_way_they_were_merged() -> None:
    many = [tally(f"{one:03}", f"{one + 1:03}", request_id=f"r{one}") for one in range(LABELS_MAX + 50)]
    halves = merge([merge(many[::2]), merge(many[1::2])])
    assert same(halves, merge(many[::-1]))
    assert (len(halves.labels), halves.other_labels) == (LABELS_MAX, 50)
    assert sum(one.count for one in halves.labels) + halves.other_labels == halves.pairs


LABELLED = st.builds(
    lambda old, new: tally(old, new),
    *[st.dictionaries(st.sampled_from([f"p{'x' * n}" for n in range(12)]), st.integers(0, 9), max_size=6)] * 2,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(LABELLED, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_what_is_kept_of_labels_does_not_depend_on_the_order(parts, random) -> None:
    with mock.patch.multiple(tally_module, PLACES_MAX=3, LABELS_MAX=2):
        parts = [merge([one, Tally()]) for one in parts]
        whole = merge([*parts, Tally()])
        while len(parts) > 1:
            random.shuffle(parts)
            parts = [merge(parts[:2]), *parts[2:]]
        assert table(merge([*parts, Tally()])) == table(whole)


def table(one: Tally) -> tuple[object, ...]:
    return one.labels, one.other_labels, one.sums, one.elsewhere_unchanged, one.elsewhere_changed


def test_every_label_counts_at_its_place_whether_it_has_a_row_or_not() -> None:
    parts = [
        tally(
            {"class": one * 7 % 1000, "id": f"{one}", "late": True},
            {"class": (one * 7 + one % 10 // 9) % 1000, "id": f"x{one}", "late": True},
        )
        for one in range(3000)
    ]
    whole = merge([merge(parts[:100]), *parts[100:]])
    sums = {one.path: (one.unchanged, one.changed) for one in whole.sums}
    assert sums == {"$.class": (2700, 300), "$.id": (0, 3000), "$.late": (3000, 0)}
    rows = {path: [one for one in whole.labels if one.path == path] for path in sums}
    assert {path: len(found) for path, found in rows.items()} == {
        "$.class": LABELS_MAX,
        "$.id": LABELS_MAX,
        "$.late": 1,
    }
    assert rows["$.late"] == [Label("$.late", "true", "true", 3000)]
    assert whole.other_labels == 3300 - sum(one.count for one in whole.labels if one.changed)


def test_places_beyond_the_bound_are_counted_together() -> None:
    whole = merge([tally({f"{n:03}": 1 for n in range(40)}, {f"{n:03}": n % 2 for n in range(40)}) for _ in range(3)])
    assert len(whole.sums) == PLACES_MAX
    beyond = 40 - PLACES_MAX
    assert whole.elsewhere_unchanged == whole.elsewhere_changed == whole.other_labels == 3 * beyond / 2


def test_a_tally_that_was_stored_without_sums_is_summed_from_its_rows() -> None:
    stored = tally({"late": True, "a": 1}, {"late": False, "a": 1})
    old = msgspec.convert(
        {
            key: value
            for key, value in msgspec.to_builtins(stored).items()
            if "sums" not in key and "elsewhere" not in key
        },
        Tally,
    )
    assert old.label_sums == ()
    assert old.sums == stored.sums
    assert merge([old, stored]).sums == merge([stored, stored]).sums == merge([stored, old]).sums


def test_pairs_that_were_compared_in_part_are_counted() -> None:
    cut = tally(["a"] * 60_000 + ["b"], ["a"] * 60_000 + ["c"])
    whole = merge([cut, tally(1, 1), merge([cut, tally(1, 2)])])
    assert (whole.pairs, whole.agreeing, whole.partial) == (4, 3, 2)


def test_counts_and_differences() -> None:
    whole = merge(
        [
            tally({"late": True, "p": 0.5}, {"late": True, "p": 0.5}, latencies=(1000, 900)),
            tally({"late": True, "p": 0.5}, {"late": False, "p": 0.25}, latencies=(1000, 1000)),
            tally({"late": True, "p": 0.5}, {"late": True}, latencies=(1000, 1250)),
            tally({"p": 0.5}, {"p": float("nan")}, latencies=(1000, 3000)),
            Tally.of_unpaired({"late": 2, "never": 0}),
            Tally.of_unpaired({"late": 1}),
        ]
    )
    assert (whole.pairs, whole.agreeing, whole.disagreeing, whole.structural, whole.invalid) == (4, 1, 3, 1, 1)
    assert whole.numeric is not None
    assert (whole.numeric.count, whole.numeric.maximum, whole.signed_sum) == (2, 0.25, -0.25)
    assert whole.slower is not None
    assert whole.faster is not None
    assert (whole.slower.count, whole.slower.sum, whole.faster.count, whole.faster.sum) == (3, 2250, 1, 100)
    assert whole.labels == (Label("$.late", "true", "false"), Label("$.late", "true", "true", 2))
    assert [(one.reason, one.count) for one in whole.unpaired] == [("late", 3)]


def test_the_worst_are_kept_in_structure_first_and_then_by_size() -> None:
    parts = [tally({"p": 0.0}, {"p": one / 64}, request_id=str(one)) for one in range(1, 40)]
    parts.append(tally({"p": 0.0}, {}, request_id="missing"))
    worst = merge(parts).worst
    assert len(worst) == WORST_MAX
    assert worst[0].why == "$.p is missing"
    assert [one.request_id for one in worst[1:]] == [str(one) for one in range(39, 30, -1)]
    assert worst[1].why == f"$.p: 0 became {39 / 64:.12g}"


def test_bodies_are_kept_as_text_up_to_a_bound_and_only_if_the_rules_say_so() -> None:
    (kept,) = tally("x" * 5000, "y" * 5000).worst
    assert kept.shadow_body is not None
    assert (len(kept.shadow_body.text), kept.shadow_body.size) == (2048, 5002)
    (silent,) = tally("secret a", "secret b", keeps_bodies=False).worst
    assert "secret" not in repr(silent)
    old, new = exchange(npy([1.0, 2.0]), NPY), exchange(npy([1.0, 3.0]), NPY)
    (array,) = Tally.of(old, new, compare(old, new, Rules()), Rules()).worst
    assert array.shadow_body is not None
    assert array.shadow_body.text == "float64(2,): [1.0, 3.0]"


def test_a_side_that_did_not_answer_has_no_latency() -> None:
    old, new = exchange(b"1"), exchange(None, status=None)
    assert Tally.of(old, new, compare(old, new, Rules()), Rules()).slower is None


@settings(deadline=None)
@given(TALLIES)
def test_a_report_survives_the_socket(one: Tally) -> None:
    rules = Rules(ignored_paths=("$.id",), since=3.5)
    tally = GroupTally("e", "g", "p", 7, noise=False, tally=one, rules=rules)
    report = ComparisonReport("run", 1, 2.0, 1.0, (tally,))
    assert msgspec.json.decode(msgspec.json.encode(report), type=ComparisonReport) == report
