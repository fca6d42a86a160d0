"""Dynamic labels: every name of AWS's documentation ("Using dynamic labels")."""

import pytest

from bannister.domain.expression.label import Surroundings, check_label, labelled, zone_of
from bannister.domain.expression.series import Grid, Series, Source
from bannister.domain.metric.identity import identity
from bannister.errors import Invalid

#: 24 November 2026, 00:00 UTC.
START = 1_795_478_400
SERIES = Series(
    Grid(START, 60, 6),
    (None, 3.0, 0.125, None, 10.0, 4.0),
    source=Source(identity("shop", "orders", {"country": "de"}), "p99.9", 60),
)
AROUND = Surroundings(START + 3660.0, "us-east-1", "000000000000")

LABELS = [
    ("plain", "plain"),
    ("${LABEL} here", "orders here"),
    ("${AVG}", "4.28125"),
    ("${SUM}", "17.125"),
    ("${DATAPOINT_COUNT}", "4"),
    ("${FIRST} ${LAST} ${MIN} ${MAX}", "3 4 0.125 10"),
    ("${FIRST_TIME}", "2026-11-24T00:01:00+00:00"),
    ("${LAST_TIME}", "2026-11-24T00:05:00+00:00"),
    ("${MIN_TIME}", "2026-11-24T00:02:00+00:00"),
    ("${MAX_TIME}", "2026-11-24T00:04:00+00:00"),
    ("${FIRST_TIME_RELATIVE}", "1h"),
    ("${LAST_TIME_RELATIVE}", "56m"),
    ("${MIN_TIME_RELATIVE} ${MAX_TIME_RELATIVE}", "59m 57m"),
    ("${FIRST_LAST_RANGE} ${MIN_MAX_RANGE}", "1 9.875"),
    ("${FIRST_LAST_TIME_RANGE} ${MIN_MAX_TIME_RANGE}", "4m 2m"),
    ("${PROP('AccountId')} ${PROP('Region')}", "000000000000 us-east-1"),
    ("${PROP('Dim.country')} ${PROP('Dim.none')}", "de --"),
    ("${PROP('MetricName')} ${PROP('Namespace')}", "orders shop"),
    ("${PROP('Stat')} ${PROP('Period')} ${PROP('Other')}", "p99.9 60 --"),
    ("${UNKNOWN} ${lower} $MAX {MAX}", "${UNKNOWN} ${lower} $MAX {MAX}"),
]


@pytest.mark.parametrize(("label", "written"), LABELS, ids=[label for label, _ in LABELS])
def test_labels(label: str, written: str) -> None:
    check_label(label)
    assert labelled(label, SERIES, "orders", AROUND) == written


def test_times_are_in_the_zone_asked_for() -> None:
    around = Surroundings(START, "us-east-1", "0", zone_of("-0130"))
    assert labelled("${FIRST_TIME}", SERIES, "", around) == "2026-11-23T22:31:00-01:30"


def test_without_data_or_source_there_is_nothing_to_say() -> None:
    empty = Series(Grid(START, 60, 1), (None,))
    assert labelled("${MAX} ${LAST_TIME} ${DATAPOINT_COUNT} ${PROP('Stat')}", empty, "", AROUND) == "-- -- 0 --"


def test_what_is_beyond_all_numbers_has_no_value() -> None:
    huge = Series(Grid(START, 60, 2), (1.7e308, 1.7e308))
    assert labelled("${MAX} ${SUM} ${AVG}", huge, "", AROUND) == "1.7e+308 -- --"
    assert labelled("${MIN_MAX_RANGE}", huge.with_values([1.7e308, -1.7e308]), "", AROUND) == "--"


def test_six_values_and_one_label() -> None:
    check_label("${MAX}" * 6)
    with pytest.raises(Invalid, match="7 dynamic values; 6 are allowed"):
        check_label("${MAX}" * 7)
    with pytest.raises(Invalid, match="more than once"):
        check_label("${LABEL}${LABEL}")
    with pytest.raises(Invalid, match="can have 1024 characters"):
        check_label("x" * 1025)


@pytest.mark.parametrize("offset", ["", "0130", "+01:30", "+2400", "+0160", "+013", "UTC", "+٠١٣٠"])
def test_wrong_zones(offset: str) -> None:
    with pytest.raises(Invalid, match="must be a sign and four digits"):
        zone_of(offset)
