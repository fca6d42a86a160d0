"""The metrics of `/bannister/Shadow`, derived from tallies when read, as the endpoint metrics are from summaries.

Each pair is one datum of every metric, a zero included: the SampleCount of `Disagreements` is the number of pairs, its Sum how many disagree
and its Average their rate. `Unpaired` has one datum for each exchange, a zero where it made a pair. What production is to itself (the noise floor) has
the same metrics with `Noise` before the name, under production's own variant. Dimensions are those of endpoint metrics, of the shadow's variant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bannister.domain.comparison.report import GroupTally
from bannister.domain.comparison.tally import Tally
from bannister.domain.metric import sketch as sketches
from bannister.domain.metric.aggregate import Aggregate, of_sketch
from bannister.domain.metric.endpoint import variant_of, zeros_and_ones
from bannister.domain.metric.identity import SHADOW_NAMESPACE, MetricIdentity, identity
from bannister.domain.metric.sketch import Sketch

NOISE: Final = "Noise"

_ONES: Final[dict[str, Callable[[Tally], int]]] = {
    "Agreement": lambda tally: tally.agreeing,
    "Disagreements": lambda tally: tally.disagreeing,
    "StructuralDifferences": lambda tally: tally.structural,
    "InvalidOutputs": lambda tally: tally.invalid,
    "PartlyCompared": lambda tally: tally.partial,
    "Pairs": lambda tally: tally.pairs,
}
_UNITS: Final = dict.fromkeys([*_ONES, "Unpaired", "NumericDifference"], "None") | {"LatencyDifference": "Microseconds"}

#: Every metric and its unit. (`Skipped`, in the same namespace, is telemetry's: see `bannister.domain.metric.endpoint`.)
COMPARISON_METRICS: Final[dict[str, str]] = _UNITS | {NOISE + name: unit for name, unit in _UNITS.items()}


def shadow_metric(name: str, tallies: Sequence[GroupTally]) -> Aggregate | None:
    """One metric over any seconds of one group; None: no data."""
    noise = name.startswith(NOISE)
    parts = [one.tally for one in tallies if one.noise is noise]
    name, unit = name.removeprefix(NOISE), COMPARISON_METRICS[name]
    pairs = sum(one.pairs for one in parts)
    match name:
        case "NumericDifference":
            numeric = [one.numeric for one in parts if one.numeric is not None]
            return of_sketch(sketches.merge(numeric), unit) if numeric else None
        case "LatencyDifference":
            return _signed([one.slower for one in parts], [one.faster for one in parts], unit)
        case "Unpaired":
            unpaired = sum(one.unpaired_count for one in parts)
            return zeros_and_ones(pairs + unpaired, unpaired, unit) if pairs + unpaired else None
        case _:
            return zeros_and_ones(pairs, sum(map(_ONES[name], parts)), unit) if pairs else None


def _signed(above: Sequence[Sketch | None], below: Sequence[Sketch | None], unit: str) -> Aggregate | None:
    """Values at or above zero, and the sizes of those below. Where there are any below, there are no percentiles (AWS)."""
    positive = [one for one in above if one is not None]
    negative = [one for one in below if one is not None]
    if not negative:
        return of_sketch(sketches.merge(positive), unit) if positive else None
    return Aggregate(
        count=sum(one.count for one in (*positive, *negative)),
        sum=sum(one.sum for one in positive) - sum(one.sum for one in negative),
        minimum=-max(one.maximum for one in negative),
        maximum=max(one.maximum for one in positive) if positive else -min(one.minimum for one in negative),
        unit=unit,
    )


def watches_comparisons(*metrics: MetricIdentity) -> bool:
    """Whether one of them can only be known as far as answers were compared."""
    return any(metric.namespace == SHADOW_NAMESPACE and metric.name in COMPARISON_METRICS for metric in metrics)


def compared_variant_of(metric: MetricIdentity) -> tuple[str, str, str | None] | None:
    """Endpoint, variant and configuration (None: all) of a metric of compared answers; None: it is not one."""
    if not watches_comparisons(metric):
        return None
    return variant_of(metric)


def shadow_identities(
    endpoint: str, variant: str, config_name: str, tallies: Sequence[GroupTally]
) -> list[MetricIdentity]:
    """The metrics of one group that have data, under both sets of dimensions."""
    both = {"EndpointName": endpoint, "VariantName": variant}
    return [
        identity(SHADOW_NAMESPACE, name, dimensions)
        for name in COMPARISON_METRICS
        if shadow_metric(name, tallies) is not None
        for dimensions in (both, both | {"EndpointConfigName": config_name})
    ]
