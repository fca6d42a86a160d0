"""What is known of one metric in one stretch of time, and the statistics that can be read from it.

Aggregates merge: the aggregate of a minute is the merge of those of its seconds, of all instances.
"""

from __future__ import annotations

from dataclasses import dataclass

from bannister.domain.metric.sketch import Sketch


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Samples of one metric in one stretch of time. `count` is above zero: no samples is no aggregate (None)."""

    count: float
    sum: float
    minimum: float
    maximum: float
    #: For percentiles; None where only a statistic set is known (then a percentile has no value unless minimum == maximum).
    sketch: Sketch | None = None
    unit: str | None = None
