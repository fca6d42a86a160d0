"""Shadows, as people judge them: what their answers have in common with production's, and what counts as the same."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from bannister.domain.comparison.paths import parse
from bannister.domain.comparison.record import ShadowRecord, record_key
from bannister.domain.comparison.report import Unpaired
from bannister.domain.comparison.rules import Rules
from bannister.domain.comparison.tally import Reason, without_bodies
from bannister.domain.comparison.verdict import names, verdict
from bannister.domain.endpoint import Endpoint
from bannister.domain.fleet import Fleet
from bannister.domain.metric.identity import SHADOW_NAMESPACE, identity
from bannister.domain.metric.retention import period_unit
from bannister.domain.traffic import TRAFFIC_PARTS
from bannister.errors import Invalid, NotFound, Resource
from bannister.metrics.store import tiers_of
from bannister.operations.context import Context
from bannister.state.store import Put
from bannister.state.tables import COMPARISON_RULES, ENDPOINTS, SHADOWS

#: Points of the agreement's course in time.
COURSE_POINTS_MAX: Final = 60
PATHS_MAX: Final = 50
HOUR: Final = 3600
PATH_LENGTH_MAX: Final = 200
#: Of the requests, in parts of `TRAFFIC_PARTS`: each noise copy is one more for production.
NOISE_PARTS_MAX: Final = TRAFFIC_PARTS // 10


@dataclass(frozen=True, slots=True)
class CoursePoint:
    """The agreement in one stretch of time."""

    at: float
    pairs: int
    agreeing: int


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """Everything there is to see of a shadow's answers."""

    record: ShadowRecord
    #: Production compared with itself; None: not measured.
    noise: ShadowRecord | None
    verdict: str
    #: It is fed now.
    current: bool
    #: Those that the record's pairs were compared by; of a shadow that is there, those that hold now.
    rules: Rules
    #: What was compared by other rules before, the oldest first, as far as it is kept.
    earlier: tuple[ShadowRecord, ...]
    #: As far back as metrics are kept.
    course: tuple[CoursePoint, ...]
    period_seconds: int
    #: Copies for this shadow that were not made because a bound was reached, from the beginning of its fleet on, as far back as metrics are kept.
    skipped: int
    #: Exchanges that make no pair, by reason. The route says "copied" before the bound is met, so a skipped copy is waited for in vain: those that are in
    #: `skipped` are not in here.
    unpaired: tuple[Reason, ...]
    #: Why it gets no copies now though it should, as a sentence; None: it does, or it is gone.
    trouble: str | None = None


async def describe_shadow_report(
    context: Context, endpoint: str, *, variant: str | None = None, config_name: str | None = None
) -> ShadowReport:
    """The report of an endpoint's shadow: the one that is fed now, or the one that was compared last; of those that are asked for.

    Raises:
        NotFound: There is no such endpoint, and none of that name was ever compared.
        Invalid: (ResourceNotFoundException) The endpoint has no such shadow and never had.
    """
    row = await context.state.get(ENDPOINTS, endpoint)
    rows = [one for one in await context.state.rows(SHADOWS) if one.value.endpoint == endpoint]
    if row is None and not rows:
        raise NotFound(Resource.ENDPOINT, endpoint)
    present = _present(row.value) if row is not None else {}
    records = {one.key: one.value for one in rows}
    shadows = {key: one for key, one in records.items() if key == record_key(one.group, noise=False)} | {
        group: one for group, one in present.items() if group not in records
    }
    asked = [
        one
        for one in shadows.values()
        if (variant is None or one.variant == variant) and (config_name is None or one.config_name == config_name)
    ]
    if not asked:
        raise _no_shadow(endpoint, variant, config_name)
    record = max(asked, key=lambda one: (one.group in present, one.until))
    earlier = [
        one for key, one in records.items() if one.group == record.group and not one.noise and key not in shadows
    ]
    rules = await describe_comparison_rules(context, endpoint, must_exist=False)
    keeps_bodies = rules.keeps_bodies
    compared_by = rules if record.group in present else record.rules
    if record.group not in present:
        rules = record.rules or rules
    elif not record.compared_by(rules):  # they have changed, and nothing has been compared by them yet
        earlier.append(record)
        record = record.begun_anew(rules, record.until)
    noise = _noise_of(record, compared_by, records.values())
    period, course = await _course(context, record)
    fleet_since = present[record.group].since if record.group in present else record.since
    began = min([fleet_since, record.since, *(one.since for one in earlier)])
    skipped = await _skipped(context, record, began, shadows.values())
    if not keeps_bodies:  # nor are those shown that were kept before
        record, *earlier = (_bare(one) for one in (record, *earlier))
        noise = _bare(noise) if noise is not None else None
    return ShadowReport(
        record,
        noise,
        _verdict(record, noise),
        record.group in present,
        rules,
        tuple(sorted(earlier, key=lambda one: one.number)),
        course,
        period,
        skipped,
        _without_skipped(record.tally.unpaired, skipped),
        context.copies_trouble() if record.group in present else None,
    )


async def describe_comparison_rules(context: Context, endpoint: str, *, must_exist: bool = True) -> Rules:
    """An endpoint's rules; where none were put, the defaults.

    Raises:
        NotFound: There is no such endpoint.
    """
    if must_exist and await context.state.get(ENDPOINTS, endpoint) is None:
        raise NotFound(Resource.ENDPOINT, endpoint)
    row = await context.state.get(COMPARISON_RULES, endpoint)
    return row.value if row is not None else Rules()


async def put_comparison_rules(context: Context, endpoint: str, rules: Rules) -> None:
    """Compare an endpoint's answers by these rules from now on. What was compared before is not compared again.

    Raises:
        NotFound: There is no such endpoint.
        Invalid: A rule makes no sense; the sentence says which.
        Conflict: They were put by somebody else in the same moment.
    """
    _check(rules)
    if await context.state.get(ENDPOINTS, endpoint) is None:
        raise NotFound(Resource.ENDPOINT, endpoint)
    context.check_room()
    row = await context.state.get(COMPARISON_RULES, endpoint)
    present = row.value if row is not None else Rules()
    same = present.comparing == rules.comparing
    rules = replace(rules, since=present.since if same else context.clock.now())
    await context.state.commit([Put(COMPARISON_RULES, endpoint, rules, row.revision if row is not None else 0)])


def _check(rules: Rules) -> None:
    for name, value in (
        ("AbsoluteTolerance", rules.absolute_tolerance),
        ("RelativeTolerance", rules.relative_tolerance),
    ):
        if not (math.isfinite(value) and value >= 0):
            raise Invalid(f"{name} is {value:g}, and must be a number that is not negative.")
    for bound in (rules.minimum, rules.maximum):
        if bound is not None and not math.isfinite(bound):
            raise Invalid("Minimum and Maximum must be numbers.")
    if rules.noise_parts > NOISE_PARTS_MAX:
        raise Invalid(
            f"NoisePercent is {100 * rules.noise_parts / TRAFFIC_PARTS:g}, and at most {100 * NOISE_PARTS_MAX / TRAFFIC_PARTS:g} "
            "is allowed: each such request is one more for production, and a few percent tell as much."
        )
    if rules.minimum is not None and rules.maximum is not None and rules.minimum > rules.maximum:
        raise Invalid(
            f"Minimum, {rules.minimum:g}, is greater than Maximum, {rules.maximum:g}: every number would be invalid."
        )
    if len(rules.ignored_paths) > PATHS_MAX or len(rules.unordered_paths) > PATHS_MAX:
        raise Invalid(f"At most {PATHS_MAX} paths can be ignored, and as many be unordered.")
    for path in (*rules.ignored_paths, *rules.unordered_paths):
        if len(path) > PATH_LENGTH_MAX:
            raise Invalid(
                f"A path has at most {PATH_LENGTH_MAX} characters, and this one has {len(path)}: {path[:40]}…"
            )
        try:
            parse(path)
        except ValueError as error:
            raise Invalid(str(error)) from None


def _bare(record: ShadowRecord) -> ShadowRecord:
    return replace(record, tally=without_bodies(record.tally))


def _present(endpoint: Endpoint) -> dict[str, ShadowRecord]:
    """The shadows that the endpoint's fleets have now, by group, with nothing compared."""
    deployment = endpoint.deployment
    fleets = [endpoint.blue, *([deployment.blue, deployment.green] if deployment is not None else [])]
    return {
        fleet.shadow.group.id: _untallied(fleet) for fleet in fleets if fleet is not None and fleet.shadow is not None
    }


def _untallied(fleet: Fleet) -> ShadowRecord:
    assert fleet.shadow is not None
    shadow, production = fleet.shadow.group, fleet.groups[0]
    since = int(fleet.since)
    return ShadowRecord(
        shadow.endpoint,
        shadow.id,
        production.id,
        noise=False,
        since=since,
        until=since,
        variant=shadow.variant,
        config_name=shadow.config_name,
        model=shadow.model_name,
        production_variant=production.variant,
        production_config_name=production.config_name,
        production_model=production.model_name,
    )


def _no_shadow(endpoint: str, variant: str | None, config_name: str | None) -> Invalid:
    asked = [f'variant "{variant}"'] if variant is not None else []
    asked += [f'configuration "{config_name}"'] if config_name is not None else []
    which = f" with {' and '.join(asked)}" if asked else ""
    return Invalid(
        f'Endpoint "{endpoint}" has no shadow{which} and never had. Give it a configuration with ShadowProductionVariants.',
        code="ResourceNotFoundException",
    )


def _noise_of(record: ShadowRecord, rules: Rules | None, records: Iterable[ShadowRecord]) -> ShadowRecord | None:
    """Production compared with itself, by the same rules as the shadow."""
    group = record.production_group
    found = [one for one in records if one.noise and one.group == group and one.compared_by(rules)]
    return max(found, key=lambda one: one.number, default=None)


def _verdict(record: ShadowRecord, noise: ShadowRecord | None) -> str:
    if not record.earlier_pairs:
        return verdict(record, noise)
    if not record.tally.pairs:
        shadow, production = names(record)
        said = f"No answer of {shadow} has been compared with one of {production} by the present rules yet."
    else:
        said = verdict(record, noise)
    pairs = "1 pair was" if record.earlier_pairs == 1 else f"{record.earlier_pairs:,} pairs were"
    return f"{said} {pairs} compared by other rules before, and not counted here."


def _dimensions(record: ShadowRecord) -> dict[str, str]:
    both = {"EndpointName": record.endpoint, "VariantName": record.variant}
    return both | {"EndpointConfigName": record.config_name}


def _span(context: Context, record: ShadowRecord) -> tuple[int, int]:
    """From when to when metrics may be there, in whole seconds."""
    kept_since = int(context.clock.now() - context.settings.metric_retention_seconds)
    return max(record.since, kept_since), record.until


async def _course(context: Context, record: ShadowRecord) -> tuple[int, tuple[CoursePoint, ...]]:
    start, end = _span(context, record)
    if end <= start:
        return 1, ()
    period = max(1, math.ceil((end - start) / COURSE_POINTS_MAX))
    agreement = identity(SHADOW_NAMESPACE, "Agreement", _dimensions(record))
    found = await context.metrics.read(agreement, start, period, math.ceil((end - start) / period))
    points = [
        CoursePoint(start + index * period, int(one.count), round(one.sum))
        for index, one in enumerate(found)
        if one is not None
    ]
    return period, tuple(points)


async def _skipped(context: Context, record: ShadowRecord, start: int, others: Iterable[ShadowRecord]) -> int:
    """A shadow that reads nothing has no pair, but its copies are skipped: what counts is when its fleet was there, not when it was compared."""
    # The metric has no group in its dimensions: where the same variant and configuration came again, that is where this one's ends.
    later = [one.since for one in others if _dimensions(one) == _dimensions(record) and one.since > record.until]
    now = context.clock.now()
    # What is kept less finely counts by the beginning of its stretch, which the first one may have had before the fleet.
    start -= start % period_unit(now - start, tiers_of(context.settings))
    seconds = min([int(now) + 1, *later]) - start
    if not later:
        # The period may be longer than that, so it is one with which all is read, however coarsely it is kept.
        seconds = math.ceil(seconds / HOUR) * HOUR
    skipped = identity(SHADOW_NAMESPACE, "Skipped", _dimensions(record))
    (found,) = await context.metrics.read(skipped, start, max(seconds, 1), 1)
    return round(found.sum) if found is not None else 0


def _without_skipped(unpaired: Iterable[Reason], skipped: int) -> tuple[Reason, ...]:
    """Production's side of each was waited for in vain until its time was over, or others needed its room."""
    counts = {one.reason: one.count for one in unpaired}
    for reason in (Unpaired.NO_SHADOW.value, Unpaired.CROWDED_OUT.value):
        of_them = min(skipped, counts.get(reason, 0))
        skipped -= of_them
        counts[reason] = counts.get(reason, 0) - of_them
    return tuple(Reason(reason, count) for reason, count in counts.items() if count > 0)
