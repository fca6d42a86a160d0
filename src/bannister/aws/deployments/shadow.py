"""DescribeShadowReport, PutComparisonRules, DescribeComparisonRules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bannister.aws.call import Call, Handler
from bannister.domain.comparison.interval import interval
from bannister.domain.comparison.quantiles import signed_quantile
from bannister.domain.comparison.record import ShadowRecord
from bannister.domain.comparison.rules import Rules
from bannister.domain.comparison.tally import Disagreement, Excerpt, Tally
from bannister.domain.metric.sketch import Sketch
from bannister.domain.traffic import TRAFFIC_PARTS
from bannister.operations import shadows
from bannister.operations.context import Context
from bannister.operations.shadows import ShadowReport

#: Percentiles that are told of a distribution, enough to draw it.
PERCENTS: Final = (0.0, 1.0, 5.0, *(float(one) for one in range(10, 90, 5)), 90.0, 95.0, 97.5, 99.0, 99.5, 99.9, 100.0)


def handlers(context: Context) -> Mapping[str, Handler]:
    async def describe(call: Call) -> dict[str, Any]:
        params = call.params
        return _report(
            await shadows.describe_shadow_report(
                context,
                params["EndpointName"],
                variant=params.get("ShadowVariantName"),
                config_name=params.get("EndpointConfigName"),
            )
        )

    async def put(call: Call) -> dict[str, Any]:
        name = call.params["EndpointName"]
        await shadows.put_comparison_rules(context, name, _rules(call.params["Rules"]))
        return {"EndpointName": name, "Rules": _of_rules(await shadows.describe_comparison_rules(context, name))}

    async def describe_rules(call: Call) -> dict[str, Any]:
        name = call.params["EndpointName"]
        return {"EndpointName": name, "Rules": _of_rules(await shadows.describe_comparison_rules(context, name))}

    return {
        "DescribeShadowReport": describe,
        "PutComparisonRules": put,
        "DescribeComparisonRules": describe_rules,
    }


# --- rules


def _rules(asked: Mapping[str, Any]) -> Rules:
    """The rules as asked for, whole: what is left out has its default."""
    plain = Rules()
    noise = asked.get("NoisePercent", 0.0)
    return Rules(
        absolute_tolerance=asked.get("AbsoluteTolerance", plain.absolute_tolerance),
        relative_tolerance=asked.get("RelativeTolerance", plain.relative_tolerance),
        ignored_paths=tuple(asked.get("IgnoredPaths", ())),
        unordered_paths=tuple(asked.get("UnorderedPaths", ())),
        minimum=asked.get("Minimum"),
        maximum=asked.get("Maximum"),
        keeps_bodies=asked.get("KeepsBodies", plain.keeps_bodies),
        noise_parts=round(noise / 100 * TRAFFIC_PARTS),
    )


def _of_rules(rules: Rules) -> dict[str, Any]:
    return {
        "AbsoluteTolerance": rules.absolute_tolerance,
        "RelativeTolerance": rules.relative_tolerance,
        "IgnoredPaths": list(rules.ignored_paths),
        "UnorderedPaths": list(rules.unordered_paths),
        "Minimum": rules.minimum,
        "Maximum": rules.maximum,
        "KeepsBodies": rules.keeps_bodies,
        "NoisePercent": 100 * rules.noise_parts / TRAFFIC_PARTS,
    }


# --- the report


def _report(found: ShadowReport) -> dict[str, Any]:
    record, tally = found.record, found.record.tally
    return {
        "EndpointName": record.endpoint,
        "ShadowVariantName": record.variant or None,
        "ShadowModelName": record.model or None,
        "EndpointConfigName": record.config_name or None,
        "ProductionVariantName": record.production_variant or None,
        "ProductionModelName": record.production_model or None,
        "ProductionConfigName": record.production_config_name or None,
        "Current": found.current,
        "StartTime": record.since,
        "EndTime": record.until,
        "Verdict": found.verdict,
        "Trouble": found.trouble,
        "Agreement": _agreement(tally),
        "NoiseFloor": _agreement(found.noise.tally) if found.noise is not None else None,
        "StructuralDifferences": tally.structural,
        "InvalidOutputs": tally.invalid,
        "PartlyCompared": tally.partial,
        "Labels": [{"Path": one.path, "Old": one.old, "New": one.new, "Count": one.count} for one in tally.labels],
        "LabelPlaces": [{"Path": one.path, "Unchanged": one.unchanged, "Changed": one.changed} for one in tally.sums],
        "OtherLabelChanges": tally.other_labels,
        "NumericDifference": _numeric(tally),
        "ProductionLatency": _quantiles(tally.production_latency, 1000),
        "ShadowLatency": _quantiles(tally.shadow_latency, 1000),
        "LatencyDifference": _signed(tally),
        "Unpaired": [{"Reason": one.reason, "Count": one.count} for one in found.unpaired],
        "Skipped": found.skipped,
        "Captured": [
            {
                "Side": "Shadow" if one.group == record.group else "Production",
                "Outcome": one.what.value.capitalize(),
                "Reason": one.reason or None,
                "Count": one.count,
            }
            for one in record.counts
        ],
        "Worst": [_worst(one) for one in tally.worst],
        "Course": [{"Timestamp": one.at, "Pairs": one.pairs, "Agreeing": one.agreeing} for one in found.course],
        "CoursePeriodSeconds": found.period_seconds,
        "Rules": _of_rules(found.rules),
        "RulesTime": found.rules.since or None,
        "EarlierPairs": record.earlier_pairs,
        "Earlier": [_earlier(one) for one in found.earlier],
    }


def _earlier(record: ShadowRecord) -> dict[str, Any]:
    return {
        "StartTime": record.since,
        "EndTime": record.until,
        "Agreement": _agreement(record.tally),
        "Rules": _of_rules(record.rules) if record.rules is not None else None,
    }


def _agreement(tally: Tally) -> dict[str, Any]:
    sure = interval(tally.agreeing, tally.pairs)
    return {
        "Pairs": tally.pairs,
        "Agreeing": tally.agreeing,
        "Rate": tally.agreeing / tally.pairs if tally.pairs else None,
        "LowerBound": sure.lower,
        "UpperBound": sure.upper,
        "Confidence": sure.confidence,
    }


def _numeric(tally: Tally) -> dict[str, Any] | None:
    if tally.numeric is None:
        return None
    return {
        "Pairs": int(tally.numeric.count),
        "SignedMean": tally.signed_sum / tally.numeric.count,
        "Quantiles": _quantiles(tally.numeric, 1),
    }


def _quantiles(sketch: Sketch | None, divisor: float) -> list[dict[str, float]]:
    if sketch is None:
        return []
    return [{"Percent": one, "Value": sketch.quantile(one / 100) / divisor} for one in PERCENTS]


def _signed(tally: Tally) -> list[dict[str, float]]:
    values = [(one, signed_quantile(tally.slower, tally.faster, one / 100)) for one in PERCENTS]
    return [{"Percent": one, "Value": value / 1000} for one, value in values if value is not None]


def _worst(one: Disagreement) -> dict[str, Any]:
    return {
        "RequestId": one.request_id,
        "Time": one.at,
        "Why": one.why,
        "Structural": one.structural,
        "Difference": one.difference,
        "Path": one.path,
        "Production": one.production,
        "Shadow": one.shadow,
        "Request": _body(one.request_body),
        "ProductionAnswer": _body(one.production_body),
        "ShadowAnswer": _body(one.shadow_body),
    }


def _body(excerpt: Excerpt | None) -> dict[str, Any] | None:
    if excerpt is None:
        return None
    return {"Text": excerpt.text, "Size": excerpt.size, "ContentType": excerpt.content_type}
