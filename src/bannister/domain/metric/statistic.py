"""CloudWatch's statistics of a distribution: what their names mean, and their values over a sketch.

A range is written with two bounds, of which one may be left out: `TM(10%:90%)` by rank, `TM(150:1000)` by value; `tm90` is short for
`TM(:90%)`. By value, the lower bound is exclusive and the upper inclusive (AWS). By rank, the samples are laid in a row by size and exactly the
named share of them is cut off at each end: where a bound falls inside a sample, that sample counts with the part that is left (AWS: a
trimmed count may be a fraction).

Over an exact sketch all of these are exact. Over buckets every sample is taken for the middle of its bucket, that is, moved by at most
`RELATIVE_ERROR` of itself: so means and sums are right within that, counts by rank are exact, and counts by value take samples that close to a
bound for being on either side of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bannister.domain.metric.sketch import Sketch

_NUMBER = r"\d+(?:\.\d{1,10})?"
_PERCENT = r"(?:100(?:\.0{1,10})?|\d{1,2}(?:\.\d{1,10})?)"
_SHORT = re.compile(rf"(tm|tc|ts|wm)({_PERCENT})")
_BY_RANK = re.compile(rf"(TM|TC|TS|WM)\((?:({_PERCENT})%)?:(?:({_PERCENT})%)?\)")
_BY_VALUE = re.compile(rf"(TM|TC|TS|WM|PR)\(({_NUMBER})?:({_NUMBER})?\)")

#: For sentences that refuse something else.
FORMS = "tm90, TM(10%:90%) or TM(150:1000) (likewise tc, ts and wm), IQM, PR(:300)"


@dataclass(frozen=True, slots=True)
class RangeStatistic:
    """A statistic of the samples in a range."""

    #: TM, TC, TS, WM or PR.
    kind: str
    #: None: open. Shares in [0, 1] if `by_rank`, else values.
    lower: float | None
    upper: float | None
    by_rank: bool


def range_statistic(name: str) -> RangeStatistic | None:
    """What a name asks for; None: it names no statistic of this kind."""
    if name == "IQM":
        return RangeStatistic("TM", 0.25, 0.75, by_rank=True)
    if match := _SHORT.fullmatch(name):
        return RangeStatistic(match[1].upper(), None, float(match[2]) / 100, by_rank=True)
    by_rank = _BY_RANK.fullmatch(name)
    match = by_rank or _BY_VALUE.fullmatch(name)
    if match is None or match[2] is match[3] is None:
        return None
    scale = 100 if by_rank else 1
    lower, upper = (None if bound is None else float(bound) / scale for bound in match.groups()[1:])
    if lower is not None and upper is not None and lower >= upper:
        return None
    return RangeStatistic(match[1], lower, upper, by_rank=by_rank is not None)


def value_of(asked: RangeStatistic, sketch: Sketch) -> float | None:
    """Its value; None: the mean of a range that holds no sample. A rank is a percentage, from 0 to 100."""
    import numpy as np

    values, weights = sketch.samples()
    if asked.kind == "WM":
        low, high = asked.lower, asked.upper
        if asked.by_rank:
            low = None if low is None else sketch.quantile(low)
            high = None if high is None else sketch.quantile(high)
        return float(np.dot(np.clip(values, low, high), weights)) / sketch.count
    if asked.by_rank:
        ends = np.cumsum(weights)
        low, high = (asked.lower or 0.0) * sketch.count, (1.0 if asked.upper is None else asked.upper) * sketch.count
        inside = np.clip(np.minimum(ends, high) - np.maximum(ends - weights, low), 0.0, None)
        count = high - low
    else:
        low, high = -np.inf if asked.lower is None else asked.lower, np.inf if asked.upper is None else asked.upper
        inside = np.where((values > low) & (values <= high), weights, 0.0)
        count = float(inside.sum())
    match asked.kind:
        case "TC":
            return count
        case "PR":
            return 100 * count / sketch.count
        case "TS":
            return float(np.dot(values, inside))
        case _:
            return float(np.dot(values, inside)) / count if count > 0 else None
