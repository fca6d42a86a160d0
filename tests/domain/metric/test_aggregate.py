from __future__ import annotations

import pytest

from bannister.domain.metric.aggregate import (
    Aggregate,
    check_statistic,
    merge,
    of_statistics,
    of_values,
    percentile_share,
    statistic,
)
from bannister.errors import Invalid


def test_statistics_of_values() -> None:
    aggregate = of_values([4, 1, 3, 2], unit="Seconds")
    names = ("SampleCount", "Sum", "Average", "Minimum", "Maximum", "p50", "p75.1", "p0", "p100")
    assert [statistic(aggregate, name) for name in names] == [4, 10, 2.5, 1, 4, 2, 4, 1, 4]
    assert aggregate.unit == "Seconds"


def test_counts_weigh() -> None:
    aggregate = of_values([10, 20], [99, 1])
    assert [statistic(aggregate, name) for name in ("SampleCount", "Average", "p99", "p99.9")] == [100, 10.1, 10, 20]


def test_a_statistic_set_has_percentiles_only_if_all_samples_are_equal() -> None:
    assert statistic(of_statistics(10, 50, 1, 9), "p99") is None
    assert statistic(of_statistics(10, 50, 5, 5), "p99") == 5
    assert statistic(of_statistics(1, 7, 7, 7), "p50") == 7
    assert statistic(of_statistics(10, 50, 1, 9), "Average") == 5


def test_merging_with_a_statistic_set_loses_percentiles_and_nothing_else() -> None:
    merged = merge([of_values([1, 2, 3]), of_statistics(10, 50, 0, 9)])
    assert statistic(merged, "p99") is None
    assert (merged.count, merged.sum, merged.minimum, merged.maximum) == (13, 56, 0, 9)
    merged = merge([of_values([1, 2, 3]), of_statistics(10, 50, 5, 5)])
    assert statistic(merged, "p99") == 5


def test_negative_values_have_no_percentiles() -> None:
    aggregate = of_values([-3, 1, 2], [2, 1, 1])
    assert statistic(aggregate, "p50") is None
    assert (aggregate.count, aggregate.sum, aggregate.minimum) == (4, -3, -3)
    assert statistic(merge([aggregate, of_values([5])]), "p50") is None
    assert statistic(of_statistics(3, -3, -1, -1), "p50") is None


def test_units_merge_only_when_equal() -> None:
    one, other = Aggregate(1, 1, 1, 1, unit="Seconds"), Aggregate(1, 1, 1, 1, unit="Count")
    assert merge([one, one]).unit == "Seconds"
    assert merge([one, other]).unit is None


def test_nothing_has_no_aggregate() -> None:
    with pytest.raises(ValueError, match="at least one"):
        of_values([])


@pytest.mark.parametrize("name", ["p0", "p1", "p99", "p99.9", "p99.9999999999", "p100", "Average", "SampleCount"])
def test_known_statistics(name: str) -> None:
    check_statistic(name)


@pytest.mark.parametrize("name", ["", "average", "p", "p101", "p-1", "p99.", "P99", "p99.99999999999", "median", "tm"])
def test_unknown_statistics_are_invalid(name: str) -> None:
    assert percentile_share(name) is None
    with pytest.raises(Invalid):
        check_statistic(name)
    with pytest.raises(Invalid):
        statistic(of_values([1, 2]), name)
