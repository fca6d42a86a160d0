"""Alarms that cannot work, or not as their author thinks, are said so: pure checks that give a reason and a remedy each.

A caveat refuses nothing. `of_rule` looks at an alarm alone, when it is put; `of_deployment` also at the deployment that is to be stopped by it: its fleets, its bakes and today's traffic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from bannister.domain.alarm.alarm import AlarmRule, Comparison, MissingData
from bannister.domain.alarm.judgement import samples_needed
from bannister.domain.comparison.metrics import COMPARISON_METRICS
from bannister.domain.metric.aggregate import percentile_share
from bannister.domain.metric.concurrency import CONCURRENCY
from bannister.domain.metric.concurrency import UNIT as CONCURRENCY_UNIT
from bannister.domain.metric.endpoint import ENDPOINT_METRICS, LATENCIES, SHADOW_METRICS, variant_of
from bannister.domain.metric.identity import SAGEMAKER_NAMESPACE, SHADOW_NAMESPACE, MetricIdentity
from bannister.domain.metric.statistic import range_statistic
from bannister.domain.traffic import TRAFFIC_PARTS

#: The resolution of endpoint metrics on AWS. Seconds.
AWS_RESOLUTION_SECONDS: Final = 60

_SHARES: Final = frozenset({"Invocation4XXErrors", "Invocation5XXErrors", "InvocationModelErrors", "Skipped"})
_KNOWN: Final = {
    SAGEMAKER_NAMESPACE: ENDPOINT_METRICS | {CONCURRENCY: CONCURRENCY_UNIT},
    SHADOW_NAMESPACE: COMPARISON_METRICS | SHADOW_METRICS,
}
#: Statistics that more samples can pull back below a threshold.
_DILUTED: Final = frozenset({"Average", "Minimum"})


class Kind(StrEnum):
    """What is wrong."""

    NEVER_EXCEEDED = "threshold never crossed"
    UNKNOWN_METRIC = "no such metric"
    UNKNOWN_UNIT = "no such unit"
    PERIOD_TOO_LONG = "period longer than the bake"
    RANGE_TOO_LONG = "evaluation range longer than the bake"
    FEW_SAMPLES = "too few samples"
    DILUTED = "diluted by blue"
    NOT_ON_AWS = "period that AWS does not serve"
    STANDARD_RESOLUTION = "data too coarse for the period"


@dataclass(frozen=True, slots=True)
class Caveat:
    """Why an alarm does not do what it seems to, and what to do about it; each whole sentences."""

    alarm: str
    kind: Kind
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Watch:
    """A deployment, as far as its alarms depend on it."""

    endpoint: str
    #: None: there is nothing in production yet.
    blue: str | None
    green: str
    variants: tuple[str, ...]
    #: Shadow variants of either fleet.
    shadows: tuple[str, ...]
    #: Of each step: green's share of the traffic in parts of `TRAFFIC_PARTS` (the least of any variant), and the bake in seconds.
    steps: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What an alarm's metric, and the variant it is of, have had lately."""

    #: Whether this metric exists; None: nobody looked.
    exists: bool | None
    #: Of the metric under both fleets' dimensions; None: nobody looked.
    samples_per_second: float | None
    #: Whether there are data in the alarm's unit, and data of a resolution that its period shows; None: nobody looked.
    in_unit: bool | None = None
    in_resolution: bool | None = None
    #: The unit of all data; None: they have several, or nobody looked.
    unit: str | None = None


UNLOOKED: Final = Traffic(None, None)

_Found = tuple[Kind, str, str] | None


def of_rule(alarm: str, rule: AlarmRule, traffics: Sequence[Traffic] = ()) -> tuple[Caveat, ...]:
    """What can be said of an alarm alone.

    `traffics`: of each metric that it looks at, in the order of `watches`; empty: nobody looked.
    """
    return _all(alarm, _alone(rule, traffics))


def of_deployment(alarm: str, rule: AlarmRule, watch: Watch, traffics: Sequence[Traffic] = ()) -> tuple[Caveat, ...]:
    """What can be said of an alarm that a deployment names."""
    stats = watches(rule)
    # Of several metrics one may be what green is held against.
    compared = bool(rule.queries) and any(_sees_green(one, watch) for one in stats)
    found = _alone(rule, traffics)
    found += [_of(rule, one, _nowhere(one, watch)) for one in stats]
    if not compared:
        found += [_of(rule, one, _elsewhere(one, watch)) for one in stats]
    found.append(_too_long(rule, watch))
    if not any(_sees_green(one, watch, alone=True) for one in stats):
        found += [_of(rule, one, _diluted(one, watch, divided=_divides(rule))) for one in stats]
    found += [_of(rule, one, _few_samples(one, watch, traffic)) for one, traffic in _with_traffic(rule, traffics)]
    return _all(alarm, found)


def watches(rule: AlarmRule) -> tuple[AlarmRule, ...]:
    """The alarm as one on a single metric; of one on expressions, each MetricStat as if the alarm were on it alone."""
    if rule.metric is not None:
        return (rule,)
    return tuple(
        replace(rule, metric=query.metric, statistic=query.statistic, unit=query.unit, queries=(query,))
        for query in rule.queries
        if query.metric is not None
    )


def _with_traffic(rule: AlarmRule, traffics: Sequence[Traffic]) -> list[tuple[AlarmRule, Traffic]]:
    stats = watches(rule)
    return list(zip(stats, traffics or [UNLOOKED] * len(stats), strict=True))


def _alone(rule: AlarmRule, traffics: Sequence[Traffic]) -> list[_Found]:
    found: list[_Found] = []
    for one, traffic in _with_traffic(rule, traffics):
        about = [check(one) for check in (_unknown_metric, _unknown_unit, _not_on_aws)]
        if not rule.queries or one.queries[0].return_data:
            about.insert(0, _never_exceeded(one))  # elsewhere the threshold is for what is made of it
        about += [check(one, traffic) for check in (_without_data, _without_unit, _too_coarse)]
        found += [_of(rule, one, each) for each in about]
    return found


def _of(rule: AlarmRule, one: AlarmRule, found: _Found) -> _Found:
    """What was found, with the MetricStat that it is about where there may be several."""
    if found is None or not rule.queries:
        return found
    kind, reason, remedy = found
    return kind, f"MetricStat {one.queries[0].id}: {reason}", remedy


def _divides(rule: AlarmRule) -> bool:
    """Whether a sum may become part of a rate."""
    return any("/" in query.expression for query in rule.queries if query.expression is not None)


def _all(alarm: str, found: Sequence[_Found]) -> tuple[Caveat, ...]:
    return tuple(Caveat(alarm, *one) for one in found if one is not None)


def _metric(rule: AlarmRule) -> MetricIdentity:
    assert rule.metric is not None, "checked before"
    return rule.metric


def _is_ours(rule: AlarmRule) -> bool:
    return _metric(rule).namespace in _KNOWN


def _never_exceeded(rule: AlarmRule) -> _Found:
    metric, statistic, threshold = _metric(rule).name, rule.statistic, rule.threshold
    never_negative = _metric(rule).namespace == SAGEMAKER_NAMESPACE and metric in ENDPOINT_METRICS
    below = rule.comparison in (Comparison.LESS, Comparison.LESS_OR_EQUAL)
    if never_negative and below and (threshold < 0 or (threshold == 0 and rule.comparison is Comparison.LESS)):
        return (
            Kind.NEVER_EXCEEDED,
            f"{metric} is never negative, so its {statistic} is never {_asked(rule)}.",
            "Give a Threshold above 0.",
        )
    shares = _metric(rule).namespace in _KNOWN and metric in _SHARES
    if (shares and _is_within_samples(statistic)) and (
        (rule.comparison is Comparison.GREATER and threshold >= 1)
        or (rule.comparison is Comparison.GREATER_OR_EQUAL and threshold > 1)
    ):
        return (
            Kind.NEVER_EXCEEDED,
            f"Each request counts 0 or 1 in {metric}, so its {statistic} is between 0 and 1 and never {_asked(rule)}.",
            f"For a rate give a fraction, such as {threshold / 100:g} for {threshold:g} %; to count errors use the statistic Sum.",
        )
    return None


def _is_within_samples(statistic: str) -> bool:
    """Whether it lies between the smallest and the largest sample: counts, sums and shares in percent need not."""
    asked = range_statistic(statistic)
    if asked is None:
        return statistic not in ("Sum", "SampleCount")
    return asked.kind == "TM" or (asked.kind == "WM" and asked.by_rank)


def _asked(rule: AlarmRule) -> str:
    words = {
        Comparison.GREATER: "greater than",
        Comparison.GREATER_OR_EQUAL: "as much as",
        Comparison.LESS: "less than",
        Comparison.LESS_OR_EQUAL: "as little as",
    }
    return f"{words[rule.comparison]} {rule.threshold:g}"


def _unknown_metric(rule: AlarmRule) -> _Found:
    names = _KNOWN.get(_metric(rule).namespace)
    if names is None:
        return None
    if _metric(rule).name not in names:
        return (
            Kind.UNKNOWN_METRIC,
            f"No endpoint has a metric {_metric(rule).name} in {_metric(rule).namespace}.",
            f"Use one of {', '.join(names)}.",
        )
    if variant_of(_metric(rule)) is None:
        return (
            Kind.UNKNOWN_METRIC,
            f"No endpoint metric has exactly the dimensions {_dimensions(_metric(rule))}; dimensions are a metric's identity, and nothing is summed over those that are left out.",
            "Give EndpointName and VariantName, and EndpointConfigName to tell the fleets apart.",
        )
    return None


def _dimensions(metric: MetricIdentity) -> str:
    return ", ".join(name for name, _ in metric.dimensions) or "(none)"


def _without_data(rule: AlarmRule, traffic: Traffic) -> _Found:
    if _is_ours(rule) or traffic.exists is not False:
        return None
    return (
        Kind.UNKNOWN_METRIC,
        f"There is no data of {_metric(rule).name} in {_metric(rule).namespace} with exactly the dimensions {_dimensions(_metric(rule))}.",
        "Put data with PutMetricData under exactly this name and these dimensions; ListMetrics says which there are.",
    )


def _unknown_unit(rule: AlarmRule) -> _Found:
    unit = _KNOWN.get(_metric(rule).namespace, {}).get(_metric(rule).name)
    if rule.unit is None or unit is None or rule.unit == unit:
        return None
    scale = " Their values are microseconds: 1 ms is 1000." if _metric(rule).name in LATENCIES else ""
    return (
        Kind.UNKNOWN_UNIT,
        f"{_metric(rule).name} has the unit {unit}; the alarm looks for datapoints in {rule.unit} and never finds one.",
        f"Leave out Unit, or give {unit}.{scale}",
    )


def _without_unit(rule: AlarmRule, traffic: Traffic) -> _Found:
    if _is_ours(rule) or not traffic.exists or traffic.in_unit is not False:
        return None
    theirs = f"they are in {traffic.unit}" if traffic.unit is not None else "they are in others"
    return (
        Kind.UNKNOWN_UNIT,
        f"No data of {_metric(rule).name} in {_metric(rule).namespace} are in {rule.unit}; {theirs}. Units are not converted, so the alarm finds no datapoint.",
        "Leave out Unit, or put data in it." if traffic.unit is None else f"Leave out Unit, or give {traffic.unit}.",
    )


def _too_coarse(rule: AlarmRule, traffic: Traffic) -> _Found:
    if _is_ours(rule) or not traffic.exists or traffic.in_resolution is not False:
        return None
    return (
        Kind.STANDARD_RESOLUTION,
        f"All data of {_metric(rule).name} in {_metric(rule).namespace} are of standard resolution, which a period of {rule.period_seconds} s does not show: the alarm finds no datapoint.",
        "Put the data with StorageResolution=1, or use a period of 60 s or more.",
    )


#: What becomes of an alarm that finds no data most of the time.
_BLIND: Final = {
    MissingData.MISSING: "is mostly INSUFFICIENT_DATA",
    MissingData.IGNORE: "mostly keeps its state",
    MissingData.NOT_BREACHING: "is mostly OK, whatever the endpoint does",
    MissingData.BREACHING: "is mostly in ALARM",
}


def _not_on_aws(rule: AlarmRule) -> _Found:
    if _metric(rule).namespace != SAGEMAKER_NAMESPACE or rule.period_seconds >= AWS_RESOLUTION_SECONDS:
        return None
    if _metric(rule).name == CONCURRENCY:
        return None  # there it is of a high resolution
    return (
        Kind.NOT_ON_AWS,
        f"AWS publishes endpoint metrics once a minute, so there an alarm with a period of {rule.period_seconds} s finds no data in most or all of its periods and {_BLIND[rule.missing_data]}.",
        "For an alarm that works here and on AWS use a period of 60 s or more. Here shorter ones work unless the setting timing is aws.",
    )


def _elsewhere(rule: AlarmRule, watch: Watch) -> _Found:
    named = variant_of(_metric(rule)) if _is_ours(rule) else None
    if named is None:
        return None
    endpoint, variant, config = named
    if endpoint != watch.endpoint:
        return (
            Kind.UNKNOWN_METRIC,
            f"It watches endpoint {endpoint}, and {watch.endpoint} is deployed.",
            _deployed(watch),
        )
    if config is not None and config == watch.blue != watch.green and variant in (*watch.variants, *watch.shadows):
        reason = f"It watches configuration {config}, which is blue: what green does is not in it."
        return Kind.UNKNOWN_METRIC, reason, _deployed(watch)
    return None


def _nowhere(rule: AlarmRule, watch: Watch) -> _Found:
    named = variant_of(_metric(rule)) if _is_ours(rule) else None
    if named is None or named[0] != watch.endpoint:
        return None
    endpoint, variant, config = named
    if variant not in (*watch.variants, *watch.shadows):
        reason = f"{endpoint} has no variant {variant}, so the metric has no data."
        return Kind.UNKNOWN_METRIC, reason, _deployed(watch)
    if config not in (None, watch.blue, watch.green):
        reason = f"It watches configuration {config}, which is neither blue nor green."
        return Kind.UNKNOWN_METRIC, reason, _deployed(watch)
    return None


def _deployed(watch: Watch) -> str:
    return f"Name what is deployed: endpoint {watch.endpoint}, variant {' or '.join(watch.variants)}, configuration {watch.green}."


def _sees_green(rule: AlarmRule, watch: Watch, *, alone: bool = False) -> bool:
    """Whether what green does is in a metric; `alone`: and nothing else."""
    named = variant_of(_metric(rule)) if _is_ours(rule) else None
    if named is None or named[0] != watch.endpoint or named[1] not in watch.variants:
        return False
    return named[2] == watch.green or (named[2] is None and not alone)


def _bakes(watch: Watch) -> Iterator[int]:
    return (bake for _, bake in watch.steps if bake)


def _too_long(rule: AlarmRule, watch: Watch) -> _Found:
    shortest = min(_bakes(watch), default=0)
    if not shortest:
        return None
    period, whole = rule.period_seconds, rule.period_seconds * rule.evaluation_periods
    if period > shortest:
        return (
            Kind.PERIOD_TOO_LONG,
            f"Its period of {period} s is longer than a bake of {shortest} s: the bake is judged with what came before it.",
            f"Use a period of at most {shortest} s, or bake for {period} s or longer.",
        )
    if whole > shortest:
        return (
            Kind.RANGE_TOO_LONG,
            f"It looks at {rule.evaluation_periods} periods of {period} s, {whole} s in all, and a bake takes {shortest} s: what it "
            f"finds there may not be enough for {rule.datapoints_to_alarm} breaching periods.",
            f"Use fewer or shorter periods, or bake for {whole} s or longer.",
        )
    return None


def _least_share(watch: Watch) -> float:
    """Green's share of the traffic in the first bake."""
    return next((parts for parts, bake in watch.steps if bake), TRAFFIC_PARTS) / TRAFFIC_PARTS


def _diluted(rule: AlarmRule, watch: Watch, *, divided: bool) -> _Found:
    """`divided`: sums are made rates, which more traffic pulls down as it does an Average."""
    named = variant_of(_metric(rule)) if _is_ours(rule) else None
    share = _least_share(watch)
    if named is None or named[0] != watch.endpoint or named[1] not in watch.variants or named[2] is not None:
        return None
    if watch.blue is None or share >= 1:
        return None
    rate = divided and rule.statistic in ("Sum", "SampleCount")
    if rule.statistic not in _DILUTED and not rate and percentile_share(rule.statistic) is None:
        return None
    return (
        Kind.DILUTED,
        f"Without EndpointConfigName it counts blue's requests with green's: with {100 * share:g} % of the traffic on green, "
        f"{100 - 100 * share:g} % of its samples are blue's.",
        f"Add the dimension EndpointConfigName={watch.green}.",
    )


def _few_samples(rule: AlarmRule, watch: Watch, traffic: Traffic) -> _Found:
    needed = samples_needed(rule.statistic)
    if not needed or needed == float("inf") or traffic.samples_per_second is None:
        return None
    named = variant_of(_metric(rule)) if _is_ours(rule) else None
    of_green = named is not None and named[2] is not None
    share = _least_share(watch) if of_green else 1.0
    expected = traffic.samples_per_second * share * rule.period_seconds
    if expected >= needed:
        return None
    on_green = f", of which {100 * share:g} % go to green," if share < 1 else ""
    return (
        Kind.FEW_SAMPLES,
        f"At today's {traffic.samples_per_second:.3g} requests a second{on_green} a period of {rule.period_seconds} s has about "
        f"{expected:.0f} samples; {rule.statistic} means little below {needed:g}.",
        "Use a longer period, a lower percentile, or more traffic.",
    )
