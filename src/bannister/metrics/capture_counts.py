"""What became of captured exchanges, as metric data: `/bannister/Capture`, by endpoint and variant, and what was dropped also by reason."""

from __future__ import annotations

from typing import Final

from bannister.domain.comparison.report import CaptureCount, ComparisonReport, Counted
from bannister.domain.metric.aggregate import of_values
from bannister.domain.metric.identity import identity
from bannister.metrics.store import Datum

CAPTURE_NAMESPACE: Final = "/bannister/Capture"
_NAMES: Final = {Counted.CAPTURED: "Captured", Counted.WRITTEN: "Written", Counted.DROPPED: "Dropped"}


def counted_data(report: ComparisonReport) -> list[Datum]:
    """Each count is one datum, whose Sum is how many there were."""
    return [datum for count in report.counts for datum in _data(count)]


def _data(count: CaptureCount) -> list[Datum]:
    dimensions = {"EndpointName": count.endpoint, "VariantName": count.variant} if count.endpoint else {}
    value = of_values([float(count.count)], unit="Count")
    data = [Datum(identity(CAPTURE_NAMESPACE, _NAMES[count.what], dimensions), float(count.second), value)]
    if count.reason:
        by_reason = dimensions | {"Reason": count.reason}
        data.append(Datum(identity(CAPTURE_NAMESPACE, _NAMES[count.what], by_reason), float(count.second), value))
    return data
