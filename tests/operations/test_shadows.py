"""Reports of shadows and rules of comparison, on the in-memory world."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from tests.aws.deployments.serving import context_of
from tests.domain.comparison.flights import GROUP, RULES, records, tallies
from tests.domain.deployment.worlds import fleet

from bannister.domain.comparison.record import record_key
from bannister.domain.comparison.report import ComparisonReport, Unpaired
from bannister.domain.comparison.rules import Rules
from bannister.domain.comparison.tally import Reason, Tally
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Shadow
from bannister.domain.metric.summary import Report, Summary
from bannister.errors import Invalid, NotFound
from bannister.metrics.store import GroupDimensions
from bannister.operations.context import Context
from bannister.operations.shadows import (
    _without_skipped,
    describe_comparison_rules,
    describe_shadow_report,
    put_comparison_rules,
)
from bannister.state.memory import MemoryState
from bannister.state.store import Put, Remove
from bannister.state.tables import ENDPOINTS, SHADOWS


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return context_of(tmp_path, MemoryState())


async def put_endpoint(context: Context, *, with_shadow: bool = False, since: float = 0.0) -> None:
    blue = replace(fleet("flights-3"), since=since)
    group = replace(blue.groups[0], id="new", endpoint="flights", variant="Shadow", model_name="v5")
    shadow = Shadow(group, 1_000_000) if with_shadow else None
    await context.state.commit(
        [Put(ENDPOINTS, "flights", Endpoint("flights", 0.0, 0.0, replace(blue, shadow=shadow)), 0)]
    )


async def put_records(context: Context) -> int:
    start = int(context.clock.now()) - 300
    for record in records(start):
        await context.state.commit([Put(SHADOWS, record_key(record.group, noise=record.noise), record, 0)])
    await context.metrics.register(GroupDimensions(GROUP, "flights", "Shadow", "flights-2", 1))
    await context.metrics.record(ComparisonReport("r", 1, None, None, tuple(tallies(start))))
    return start


async def test_a_report_holds_all_there_is(context: Context) -> None:
    await put_endpoint(context)
    await put_records(context)
    found = await describe_shadow_report(context, "flights")
    assert (found.record.group, found.current, found.skipped) == (GROUP, False, 0)
    assert found.noise is not None
    assert found.noise.tally.pairs == 200
    assert found.verdict.startswith("v4 agrees with v2 on 78.2 % of 412 pairs")
    assert sum(one.pairs for one in found.course) == 412
    assert sum(one.agreeing for one in found.course) == found.record.tally.agreeing
    assert len(found.course) <= 60


async def test_a_shadow_that_was_not_compared_yet_is_there_and_comes_first(context: Context) -> None:
    await put_endpoint(context, with_shadow=True)
    await put_records(context)
    found = await describe_shadow_report(context, "flights")
    assert (found.record.group, found.current) == ("new", True)
    assert found.verdict == "No answer of v5 has been compared with one of model-flights-3 yet."
    older = await describe_shadow_report(context, "flights", config_name="flights-2")
    assert older.record.group == GROUP


async def skip(context: Context, group: str, at: int, copies: int) -> None:
    await context.metrics.record(Report(f"{group}{at}", 1, None, None, (Summary(group, "", at, 0, skipped=copies),)))


async def test_copies_that_were_skipped_count_though_nothing_was_compared(context: Context) -> None:
    now = int(context.clock.now())
    await put_endpoint(context, with_shadow=True, since=now - 100_000.0)
    await context.metrics.register(GroupDimensions("new", "flights", "Shadow", "flights-3", 1))
    await skip(context, "new", now - 200_000, 50)
    for ago in (90_000, 100, 0):
        await skip(context, "new", now - ago, 2000)
    found = await describe_shadow_report(context, "flights")
    assert (found.record.tally.pairs, found.skipped) == (0, 6000), "not what an earlier fleet of this name skipped"


async def test_skipped_copies_of_the_first_moments_count_once_they_are_kept_less_finely(context: Context) -> None:
    now = int(context.clock.now())
    minute = (now - 100_000) // 60 * 60
    await put_endpoint(context, with_shadow=True, since=minute + 20.0)
    await context.metrics.register(GroupDimensions("new", "flights", "Shadow", "flights-3", 1))
    await skip(context, "new", minute + 30, 2000)
    await context.metrics.expire(now)
    assert (await describe_shadow_report(context, "flights")).skipped == 2000


async def test_copies_of_a_past_shadow_end_where_the_same_configuration_came_again(context: Context) -> None:
    start = await put_records(context)
    again = replace(records(start + 250, noise=False)[0], group="again")
    for copies, at in ((5, start + 200), (70, start + 251)):
        await skip(context, GROUP, at, copies)
    assert (await describe_shadow_report(context, "flights")).skipped == 75
    await context.state.commit([Put(SHADOWS, record_key("again", noise=False), again, 0)])
    await context.state.commit([Put(SHADOWS, "other", replace(again, group="other", config_name="flights-1"), 0)])
    found = await describe_shadow_report(context, "flights", config_name="flights-2")
    assert (found.record.group, found.skipped) == ("again", 70)
    await context.state.commit([Put(SHADOWS, "again", replace(again, until=start), 1)])
    found = await describe_shadow_report(context, "flights", config_name="flights-2")
    assert (found.record.group, found.skipped) == (GROUP, 5)


@pytest.mark.parametrize(("skipped", "left"), [(1, {"no answer of the shadow was seen": 2}), (3, {}), (900, {})])
async def test_a_copy_that_was_skipped_is_not_also_an_answer_that_was_not_seen(
    context: Context, skipped: int, left: dict[str, int]
) -> None:
    start = await put_records(context)
    await skip(context, GROUP, start + 5, skipped)
    found = await describe_shadow_report(context, "flights")
    assert found.skipped == skipped
    assert {one.reason: one.count for one in found.unpaired} == {"a body was not captured whole": 1, **left}


@pytest.mark.parametrize(("skipped", "left"), [(2, [1, 4]), (3, [4]), (5, [2]), (7, []), (900, [])])
def test_a_skipped_copy_may_have_been_given_up_for_others_too(skipped: int, left: list[int]) -> None:
    unpaired = (Reason(Unpaired.NO_SHADOW.value, 3), Reason(Unpaired.CROWDED_OUT.value, 4), Reason("another", 5))
    assert [one.count for one in _without_skipped(unpaired, skipped)] == [*left, 5]


@pytest.mark.parametrize("present", [True, False])
async def test_why_it_gets_no_copies_is_said_of_a_shadow_that_is_there(context: Context, *, present: bool) -> None:
    context = replace(context, copies_trouble=lambda: "It gets none.")
    await put_records(context)
    await put_endpoint(context, with_shadow=present)
    assert (await describe_shadow_report(context, "flights")).trouble == ("It gets none." if present else None)


async def test_the_report_outlives_the_endpoint(context: Context) -> None:
    await put_records(context)
    assert (await describe_shadow_report(context, "flights")).record.tally.pairs == 412


async def test_what_is_not_there_is_said(context: Context) -> None:
    with pytest.raises(NotFound, match='endpoint "flights"'):
        await describe_shadow_report(context, "flights")
    await put_endpoint(context)
    with pytest.raises(Invalid, match="has no shadow and never had") as refused:
        await describe_shadow_report(context, "flights")
    assert refused.value.code == "ResourceNotFoundException"
    await put_records(context)
    with pytest.raises(Invalid, match='has no shadow with variant "other" and configuration "x"'):
        await describe_shadow_report(context, "flights", variant="other", config_name="x")


async def test_rules_are_kept_by_endpoint(context: Context) -> None:
    with pytest.raises(NotFound):
        await put_comparison_rules(context, "flights", RULES)
    with pytest.raises(NotFound):
        await describe_comparison_rules(context, "flights")
    await put_endpoint(context)
    assert await describe_comparison_rules(context, "flights") == Rules()
    for rules in (RULES, Rules(relative_tolerance=0.5)):
        await put_comparison_rules(context, "flights", rules)
        found = await describe_comparison_rules(context, "flights")
        assert replace(found, since=0.0) == rules
        assert found.since == pytest.approx(context.clock.now(), abs=5)
    # What decides nothing about two answers begins nothing anew.
    await put_comparison_rules(context, "flights", replace(rules, noise_parts=7, keeps_bodies=False))
    assert (await describe_comparison_rules(context, "flights")).since == found.since


async def test_bodies_that_were_kept_are_shown_no_more_once_they_are_not_wanted(context: Context) -> None:
    await put_endpoint(context)
    await put_records(context)
    found = await describe_shadow_report(context, "flights")
    assert any(one.shows_bodies for one in found.record.tally.worst)
    await put_comparison_rules(context, "flights", replace(RULES, keeps_bodies=False))
    bare = await describe_shadow_report(context, "flights")
    assert len(bare.record.tally.worst) == len(found.record.tally.worst)
    assert not any(one.shows_bodies for one in bare.record.tally.worst)
    values = [one for each in found.record.tally.worst if not each.structural for one in (each.production, each.shadow)]
    assert not any(f": {value} became" in one.why for value in values for one in bare.record.tally.worst)


async def test_figures_are_shown_beside_the_rules_they_were_made_by(context: Context) -> None:
    await put_endpoint(context, with_shadow=True)
    start = int(context.clock.now()) - 300
    shadow, noise = records(start)
    shadow = replace(shadow, group="new", production_group="p", rules=Rules(noise_parts=5))
    noise = replace(noise, group="p", production_group="p", rules=Rules())
    for key, record in (("new", shadow), ("p/noise", noise)):
        await context.state.commit([Put(SHADOWS, key, record, 0)])
    before = await describe_shadow_report(context, "flights")
    assert (before.record, before.noise, before.earlier, before.rules) == (shadow, noise, (), Rules())
    await put_comparison_rules(context, "flights", RULES)
    found = await describe_shadow_report(context, "flights")
    assert (found.rules.comparing, found.record.tally.pairs, found.record.earlier_pairs) == (RULES.comparing, 0, 412)
    assert (found.noise, found.earlier, found.course) == (None, (shadow,), ())
    assert {one.reason for one in found.unpaired} == {one.reason for one in shadow.tally.unpaired}
    assert found.verdict == (
        "No answer of v4 has been compared with one of v2 by the present rules yet. 412 pairs were compared by other rules before, and not "
        "counted here."
    )
    # The evaluator has begun the next one.
    after = replace(shadow.begun_anew(RULES, start + 200), tally=Tally(10, 9))
    await context.state.commit([Put(SHADOWS, "new", after, 1), Put(SHADOWS, "new/1", shadow.closed(), 0)])
    found = await describe_shadow_report(context, "flights")
    assert (found.record, found.earlier) == (after, (shadow.closed(),))
    assert found.verdict.endswith("412 pairs were compared by other rules before, and not counted here.")
    # Once the shadow is gone, later rules have nothing to do with it.
    await context.state.commit([Remove(ENDPOINTS, "flights", 1)])
    await put_endpoint(context)
    await put_comparison_rules(context, "flights", Rules(relative_tolerance=0.5))
    found = await describe_shadow_report(context, "flights")
    assert (found.record, found.rules, found.earlier) == (after, RULES, (shadow.closed(),))


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (Rules(absolute_tolerance=-1.0), "AbsoluteTolerance is -1, and must be a number that is not negative"),
        (Rules(relative_tolerance=math.nan), "RelativeTolerance is nan"),
        (Rules(minimum=1.0, maximum=0.0), "Minimum, 1, is greater than Maximum, 0"),
        (Rules(noise_parts=100_001), "NoisePercent is 10.0001, and at most 10 is allowed"),
        (Rules(maximum=math.inf), "Minimum and Maximum must be numbers"),
        (Rules(ignored_paths=("id",)), "The path 'id' does not begin with"),
        (Rules(unordered_paths=("$[",)), "cannot be read from"),
        (Rules(ignored_paths=("$." + "x" * 300,)), "at most 200 characters"),
        (Rules(ignored_paths=("$.x",) * 51), "At most 50 paths"),
    ],
)
async def test_rules_that_make_no_sense_are_refused(context: Context, rules: Rules, says: str) -> None:
    await put_endpoint(context)
    with pytest.raises(Invalid, match=says.replace("[", r"\[")):
        await put_comparison_rules(context, "flights", rules)
    assert await describe_comparison_rules(context, "flights") == Rules()
