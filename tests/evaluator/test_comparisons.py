"""Alarms on compared answers: judged as far as the source that is behind, and what became of each shadow is kept and counted once."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.domain.deployment.worlds import fleet
from tests.evaluator.test_loop import ALARM, OK, START, World, second

from bannister.domain.alarm.alarm import Comparison, MissingData
from bannister.domain.comparison.report import CaptureCount, ComparisonReport, Counted, GroupTally, Unpaired
from bannister.domain.comparison.rules import Rules
from bannister.domain.comparison.tally import Disagreement, Excerpt, Reason, Tally
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Shadow
from bannister.domain.metric.identity import identity
from bannister.domain.metric.sketch import Sketch
from bannister.errors import Unavailable
from bannister.evaluator.tallies import Tallies
from bannister.metrics.store import GroupDimensions
from bannister.settings import Settings
from bannister.state.memory import MemoryState
from bannister.state.store import Put, Remove
from bannister.state.tables import COMPARISON_RULES, ENDPOINTS, SHADOWS

AGREEMENT = identity("/bannister/Shadow", "Agreement", {"EndpointName": "e", "VariantName": "s"})


class ShadowWorld(World):
    """Telemetry and the capture process, each with its own reports."""

    compared = 0

    def comparison(self, watermark: float | None, *tallies: GroupTally, since: float | None = START, run: str = "c"):
        self.compared += 1
        return ComparisonReport(run, self.compared, watermark, since, tallies)

    async def take_comparisons(self, watermark: float | None, *tallies: GroupTally, **named: object) -> bool:
        self.clock.time = max(self.clock.time, watermark or 0)
        return await self.evaluator.take_comparisons(self.comparison(watermark, *tallies, **named))

    async def put_shadow_alarm(self, name: str = "s", missing: MissingData = MissingData.NOT_BREACHING) -> None:
        await self.put(name, metric=AGREEMENT, threshold=0.9, comparison=Comparison.LESS, missing_data=missing)


@pytest.fixture
async def world(tmp_path: Path) -> ShadowWorld:
    made = ShadowWorld(tmp_path)
    await made.metrics.register(GroupDimensions("g", "e", "v", "c", 1))
    await made.metrics.register(GroupDimensions("shadow", "e", "s", "c", 1))
    return made


def tallied(at: int, pairs: int = 1, agreeing: int = 0, group: str = "shadow", **more: object) -> GroupTally:
    return GroupTally("e", group, "g", at, noise=False, tally=Tally(pairs, agreeing, **more))


async def test_it_is_judged_only_as_far_as_both_have_seen(world: ShadowWorld) -> None:
    await world.put_shadow_alarm()
    await world.put("plain", missing_data=MissingData.NOT_BREACHING)
    await world.take(START + 5.0, second(START + 4))
    assert world.evaluator.evaluated_until("plain") == START + 5
    assert world.evaluator.evaluated_until("s") is None
    await world.take_comparisons(START + 3.5, tallied(START + 2, 10, 10))
    assert world.evaluator.evaluated_until("s") == START + 3
    await world.take_comparisons(START + 8.5, tallied(START + 6, 10, 2))
    assert world.evaluator.evaluated_until("s") == START + 5
    assert await world.value("s") is OK
    await world.take(START + 7.2)
    assert world.evaluator.evaluated_until("s") == START + 7
    assert await world.value("s") is ALARM
    assert (await world.transitions("s"))[-1].body["values"][-1] == 12 / 20


async def test_a_capture_process_that_is_silent_is_not_taken_for_quiet(world: ShadowWorld) -> None:
    await world.put_shadow_alarm(missing=MissingData.BREACHING)
    await world.take(START + 2.0)
    await world.take_comparisons(START + 2.0, tallied(START + 1, 10, 10))
    for at in range(3, 40):
        await world.take(float(START + at))
    assert await world.value("s") is OK
    assert world.evaluator.evaluated_until("s") == START + 2
    assert world.evaluator.uncompared_seconds() == 37
    assert world.evaluator.silent_seconds() == 0
    # It comes back, and has not seen what was in between: that is not missing either.
    await world.take_comparisons(START + 40.0, run="another", since=START + 39.0)
    assert world.evaluator.compared_since == START + 39
    assert await world.value("s") is OK
    await world.take(START + 40.0)
    assert world.evaluator.evaluated_until("s") == START + 40
    assert await world.value("s") is OK


async def test_it_is_judged_as_far_as_telemetry_has_seen(world: ShadowWorld) -> None:
    await world.put_shadow_alarm(missing=MissingData.BREACHING)
    for at in range(1, 40):
        await world.take_comparisons(float(START + at))
    assert world.evaluator.evaluated_until("s") is None


async def test_without_a_capture_process_it_is_never_judged(world: ShadowWorld) -> None:
    await world.put_shadow_alarm()
    for at in range(1, 40):
        await world.take(float(START + at))
    assert world.evaluator.evaluated_until("s") is None
    assert world.evaluator.compared_since is None


async def test_a_capture_clock_set_back_concerns_only_alarms_on_it(world: ShadowWorld) -> None:
    await world.put_shadow_alarm()
    await world.put("plain")
    await world.take(START + 30.0)
    await world.take_comparisons(START + 30.0)
    await world.take_comparisons(START + 10.0, tallied(START + 9, 10, 0))
    assert world.evaluator.evaluated_until("plain") == START + 30
    assert world.evaluator.evaluated_until("s") == START + 10
    assert await world.value("s") is ALARM


# --- what is kept of a shadow


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, shadow_store_seconds=2.0, shadow_records_max=3)


async def stored(world: ShadowWorld, key: str = "shadow"):
    row = await world.state.get(SHADOWS, key)
    return None if row is None else row.value


async def test_reports_are_acknowledged_once_they_are_written(world: ShadowWorld) -> None:
    assert await world.take_comparisons(START + 1.0, tallied(START, 3, 2))
    assert not await world.take_comparisons(START + 1.2, tallied(START + 1, 3, 2))
    assert (await stored(world)).tally.pairs == 3
    assert await world.take_comparisons(START + 4.0)
    found = await stored(world)
    assert (found.tally.pairs, found.tally.agreeing, found.since, found.until) == (6, 4, START, START + 2)


async def test_after_a_crash_each_report_counts_once_in_every_row(world: ShadowWorld) -> None:
    """Report 1 is in both rows, 2 in one; 3 was never written. All come again."""
    reports = [
        world.comparison(START + 1.0, tallied(START, 1), tallied(START, 10, group="other")),
        world.comparison(START + 4.0, tallied(START + 3, 2)),
        world.comparison(START + 4.2, tallied(START + 3, 4), tallied(START + 3, 40, group="other")),
    ]
    for report in reports:
        world.clock.time = report.watermark
        await world.evaluator.take_comparisons(report)
    assert (await stored(world)).tally.pairs == 3
    world.restart()
    for report in reports:
        world.clock.time += 3
        await world.evaluator.take_comparisons(report)
    assert (await stored(world)).tally.pairs == 7
    assert (await stored(world, "other")).tally.pairs == 50
    [metric] = await world.metrics.read(replace(AGREEMENT, name="Pairs"), START, 60, 1)
    assert metric is not None
    assert metric.count == 7
    # A capture process that was started anew counts from one again.
    world.compared = 0
    await world.take_comparisons(START + 30.0, tallied(START + 29, 100), run="new")
    assert (await stored(world)).tally.pairs == 107


async def test_rows_know_their_groups_and_the_noise_apart(world: ShadowWorld) -> None:
    blue, shadow = fleet("v2"), fleet("v4", variants=("Shadow",)).groups[0]
    endpoint = Endpoint("e", 0.0, 0.0, blue=replace(blue, shadow=Shadow(shadow, 1_000_000)))
    await world.state.commit([Put(ENDPOINTS, "e", endpoint, 0)])
    production = blue.groups[0].id
    counts = (CaptureCount(shadow.id, Counted.DROPPED, 2, "full"), CaptureCount("elsewhere", Counted.CAPTURED, 9))
    tallies = [GroupTally("e", shadow.id, production, START, noise=False, tally=Tally(1))]
    tallies.append(GroupTally("e", production, production, START, noise=True, tally=Tally(5, 5)))
    report = replace(world.comparison(START + 1.0, *tallies), counts=counts)
    await world.evaluator.take_comparisons(report)
    found = await stored(world, shadow.id)
    assert (found.variant, found.config_name) == ("Shadow", "v4")
    assert (found.production_variant, found.production_config_name) == ("AllTraffic", "v2")
    assert found.counts == counts[:1]
    assert (await stored(world, f"{production}/noise")).tally.pairs == 5


def by(rules: Rules, at: int, pairs: int, agreeing: int, **named: object) -> GroupTally:
    return replace(tallied(at, pairs, agreeing, **named), rules=rules)


async def test_figures_of_an_earlier_version_which_did_not_write_down_its_rules_go_on(world: ShadowWorld) -> None:
    await world.take_comparisons(START + 1.0, tallied(START, 10, 9))
    assert (await stored(world)).rules is None
    world.clock.time += 3
    await world.take_comparisons(START + 4.0, by(Rules(), START + 3, 1, 1))
    found = await stored(world)
    assert (found.tally.pairs, found.tally.agreeing, found.number, found.earlier_pairs) == (11, 10, 1, 0)


async def test_figures_begin_anew_when_the_rules_change(world: ShadowWorld) -> None:
    old, new = Rules(since=1.0), Rules(ignored_paths=("$.id",), since=2.0)
    missed = (Reason(Unpaired.NO_SHADOW.value, 4),)
    count = CaptureCount("shadow", Counted.DROPPED, 2, "full")
    reports = [
        world.comparison(START + 1.0, by(old, START, 0, 0, unpaired=missed), by(old, START, 10, 0)),
        replace(world.comparison(START + 4.0, by(replace(old, noise_parts=9), START + 3, 5, 1)), counts=(count,)),
        world.comparison(START + 7.0, by(new, START + 6, 20, 20), by(old, START + 6, 1, 0)),  # and one comes late
        world.comparison(START + 10.0, by(old, START + 9, 2, 0), by(new, START + 9, 3, 2, unpaired=missed)),
    ]
    for report in reports[:2]:
        world.clock.time = report.watermark
        await world.evaluator.take_comparisons(report)
    await world.state.commit([Put(COMPARISON_RULES, "e", new, 0)])
    for report in reports[2:]:
        world.clock.time = report.watermark
        await world.evaluator.take_comparisons(report)

    async def both() -> None:
        closed, present = await stored(world, "shadow/1"), await stored(world)
        assert (closed.tally.pairs, closed.tally.agreeing, closed.until) == (18, 1, START + 10)
        assert (present.tally.pairs, present.tally.agreeing, present.since) == (23, 22, START + 6)
        assert (closed.rules, present.rules) == (old, new)
        assert (closed.number, present.number, present.earlier_pairs) == (1, 2, 18)
        assert (closed.tally.unpaired, present.tally.unpaired) == ((), (replace(missed[0], count=8),))
        assert (closed.counts, [one.count for one in present.counts]) == ((), [2])

    await both()
    world.restart()
    for report in reports:
        world.clock.time += 3
        await world.evaluator.take_comparisons(report)
    await both()
    await world.state.commit([Put(COMPARISON_RULES, "e", old, 1)])
    world.clock.time += 3
    await world.take_comparisons(None, by(old, START + 60, 7, 7))
    again = await stored(world)
    assert (again.tally.pairs, again.number, again.earlier_pairs) == (7, 3, 41), (
        "what held once before begins anew, too"
    )
    assert (await stored(world, "shadow/2")).tally.pairs == 23


async def test_bodies_that_are_not_wanted_any_more_go_from_the_rows(world: ShadowWorld) -> None:
    bad = Disagreement(
        "r", START, "$.a: 1 became 2", False, path="$.a", production="1", shadow="2", request_body=Excerpt("secret", 6)
    )
    await world.take_comparisons(START + 1.0, by(Rules(), START, 1, 0, worst=(bad,)))
    assert (await stored(world)).tally.worst == (bad,)
    world.clock.time += 3
    await world.take_comparisons(START + 4.0, by(Rules(keeps_bodies=False), START + 3, 1, 0))
    (one,) = (await stored(world)).tally.worst
    assert not one.shows_bodies
    assert one.why == "$.a: a value became another"


async def test_closed_records_are_forgotten_like_those_of_shadows_that_are_gone(
    settings: Settings, world: ShadowWorld
) -> None:
    shadow = fleet("v4", variants=("Shadow",)).groups[0]
    endpoint = Endpoint("e", 0.0, 0.0, blue=replace(fleet("v2"), shadow=Shadow(shadow, 1_000_000)))
    await world.state.commit([Put(ENDPOINTS, "e", endpoint, 0)])
    tallies = Tallies(world.state, world.clock, settings)
    for number in range(6):
        rules = Rules(relative_tolerance=float(number))
        row = await world.state.get(COMPARISON_RULES, "e")
        await world.state.commit([Put(COMPARISON_RULES, "e", rules, row.revision if row is not None else 0)])
        world.clock.time += 3
        assert await tallies.add(world.comparison(None, by(rules, START + number, 1, 1, group=shadow.id)))
    expected = [shadow.id, *(f"{shadow.id}/{number}" for number in (3, 4, 5))]
    assert [row.key for row in await world.state.rows(SHADOWS)] == expected
    assert (await stored(world, shadow.id)).earlier_pairs == 5


async def test_only_so_many_shadows_are_kept(settings: Settings, world: ShadowWorld) -> None:
    tallies = Tallies(world.state, world.clock, settings)
    for number in range(6):
        world.clock.time += 3
        await tallies.add(world.comparison(None, tallied(START + number, group=f"g{number}")))
    assert sorted(row.key for row in await world.state.rows(SHADOWS)) == ["g3", "g4", "g5"]


async def test_shadows_that_are_there_are_kept_whatever_others_came(settings: Settings, world: ShadowWorld) -> None:
    blue, shadow = fleet("v2"), fleet("v4", variants=("Shadow",)).groups[0]
    endpoint = Endpoint("e", 0.0, 0.0, blue=replace(blue, shadow=Shadow(shadow, 1_000_000)))
    await world.state.commit([Put(ENDPOINTS, "e", endpoint, 0)])
    production = blue.groups[0].id
    tallies = Tallies(world.state, world.clock, settings)
    for number, group in enumerate([shadow.id, production, *(f"g{number}" for number in range(6))]):
        world.clock.time += 3
        one = replace(tallied(START + number, group=group), noise=group == production)
        assert await tallies.add(world.comparison(None, one, replace(one, group=f"{group}-2", noise=True)))
    keys = {row.key for row in await world.state.rows(SHADOWS)}
    assert {shadow.id, f"{production}/noise"} <= keys, "though every other is younger"
    assert {"g3", "g4", "g5"} == {key for key in keys if len(key) == 2}, "noise floors do not crowd them out"
    assert {"g3-2/noise", "g4-2/noise", "g5-2/noise"} == {key for key in keys if key.endswith("-2/noise")}
    await world.state.commit([Remove(ENDPOINTS, "e", 1)])
    world.clock.time += 3
    await tallies.add(world.comparison(None, tallied(START + 99, group="g6")))
    keys = {row.key for row in await world.state.rows(SHADOWS)}
    assert shadow.id not in keys
    assert "g6" in keys


async def test_rows_that_cannot_be_read_again_do_not_keep_back_what_follows(
    settings: Settings, world: ShadowWorld
) -> None:
    """The read after a commit fails once: what was written counts as written, and the next write finds out how the rows are."""

    class Flaky(MemoryState):
        fails = False
        is_committed = False

        async def commit(self, *args: object, **named: object) -> int:
            found = await super().commit(*args, **named)  # type: ignore[arg-type]
            self.is_committed = True
            return found

        async def rows(self, table, prefix=""):  # type: ignore[no-untyped-def]
            if self.fails and self.is_committed and table.name == SHADOWS.name:
                self.fails = False
                raise Unavailable("disk I/O error")
            return await super().rows(table, prefix)

    state = Flaky(world.medium)
    tallies = Tallies(state, world.clock, settings)
    state.fails = True
    kept = []
    for number in range(6):
        kept.append(await tallies.add(world.comparison(None, tallied(START + number))))
        world.clock.time += 3
    assert kept == [True, False, True, True, True, True], "one conflict, after which the rows are known again"
    row = await state.get(SHADOWS, "shadow")
    assert row is not None
    assert row.value.tally.pairs == 6


async def test_what_waits_is_written_when_the_evaluator_ends(settings: Settings, world: ShadowWorld) -> None:
    """Its report is stored: nobody would tell it again."""
    tallies = Tallies(world.state, world.clock, settings)
    assert await tallies.add(world.comparison(None, tallied(START, 10, 9)))
    assert not await tallies.add(world.comparison(None, tallied(START, 5, 5))), "not yet again"
    await tallies.close()
    row = await world.state.get(SHADOWS, "shadow")
    assert row is not None
    assert row.value.tally.pairs == 15


async def test_what_cannot_be_written_waits(settings: Settings, world: ShadowWorld) -> None:
    class Full(MemoryState):
        full = True

        async def commit(self, *args: object, **named: object) -> int:
            if self.full:
                raise Unavailable("The disk is full.")
            return await super().commit(*args, **named)  # type: ignore[arg-type]

    state = Full(world.medium)
    tallies = Tallies(state, world.clock, settings)
    assert not await tallies.add(world.comparison(None, tallied(START, slower=Sketch.of([1.0]))))
    state.full = False
    assert not await tallies.add(world.comparison(None)), "not yet again"
    world.clock.time += 3
    assert await tallies.add(world.comparison(None))
    row = await state.get(SHADOWS, "shadow")
    assert row is not None
    assert row.value.tally.slower == Sketch.of([1.0])


async def test_what_was_counted_before_the_first_pair_was_compared_is_the_shadows_too(
    settings: Settings, world: ShadowWorld
) -> None:
    """Exchanges are counted a second or two before their pairs."""
    tallies = Tallies(world.state, world.clock, settings)
    counts = (
        CaptureCount("shadow", Counted.CAPTURED, 7),
        CaptureCount("g", Counted.CAPTURED, 8),
        CaptureCount("g", Counted.DROPPED, 2, "there was no answer"),
        CaptureCount("elsewhere", Counted.CAPTURED, 9),
        CaptureCount("", Counted.DROPPED, 3, "capture was busy"),
    )
    for _ in range(2):
        assert await tallies.add(replace(world.comparison(None), counts=counts))
    noise = replace(tallied(START, group="g"), noise=True)
    await tallies.add(world.comparison(None, noise))
    world.clock.time += 3
    more = (CaptureCount("g", Counted.CAPTURED, 1),)
    assert await tallies.add(replace(world.comparison(None, tallied(START)), counts=more))
    row = await world.state.get(SHADOWS, "shadow")
    assert row is not None
    assert {(one.group, one.what, one.reason): one.count for one in row.value.counts} == {
        ("shadow", Counted.CAPTURED, ""): 14,
        ("g", Counted.CAPTURED, ""): 17,
        ("g", Counted.DROPPED, "there was no answer"): 4,
    }
