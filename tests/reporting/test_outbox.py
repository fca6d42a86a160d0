from __future__ import annotations

from dataclasses import replace

import pytest

from bannister.domain.metric.summary import Acknowledgement, Report, Summary
from bannister.reporting.outbox import Outbox


def summaries(count: int, second: int = 1) -> list[Summary]:
    return [Summary("g", f"a:{index}", second, 1) for index in range(count)]


def rest(outbox: Outbox[Summary, Report], after: int = 0) -> list[Report]:
    found = []
    while (report := outbox.next_after(after)) is not None:
        found.append(report)
        after = report.sequence
    return found


def test_reports_are_numbered_and_stay_until_acknowledged() -> None:
    outbox = Outbox("run", 100, Report)
    for second in (1, 2, 3):
        outbox.put(second + 1.0, 0.5, summaries(1, second))
    assert [(one.sequence, one.watermark, one.covered_since) for one in rest(outbox)] == [
        (1, 2.0, 0.5),
        (2, 3.0, 0.5),
        (3, 4.0, 0.5),
    ]
    outbox.acknowledge(Acknowledgement("run", 2))
    outbox.acknowledge(Acknowledgement("another run", 3))
    assert [one.sequence for one in rest(outbox)] == [3]
    assert rest(outbox, after=3) == []


def test_nothing_new_is_no_report() -> None:
    outbox = Outbox("run", 100, Report)
    outbox.put(None, None, ())
    assert len(outbox) == 0
    outbox.put(5.0, 1.0, ())
    seen = outbox.changed.version
    outbox.put(5.0, 1.0, ())
    assert outbox.changed.version == seen


def test_unread_watermarks_replace_each_other() -> None:
    outbox = Outbox("run", 100, Report)
    for watermark in (1.0, 2.0, 3.0):
        outbox.put(watermark, 0.5, ())
    assert [(one.sequence, one.watermark) for one in rest(outbox)] == [(1, 3.0)]


def test_what_a_report_that_is_given_up_told_is_a_gap_up_to_where_its_batch_says_how_far_things_are() -> None:
    outbox = Outbox("run", 100, Report, items_per_report_max=2)
    outbox.put(2.0, 0.5, summaries(1, 1))
    outbox.put(3.0, 0.5, summaries(5, 2))
    [_, lost, *_] = rest(outbox)
    assert lost.watermark == 2.0
    outbox.give_up(lost)
    assert [(one.watermark, one.covered_since) for one in rest(outbox, after=lost.sequence)] == [(2.0, 3.0), (3.0, 3.0)]


def test_a_report_that_was_read_never_changes() -> None:
    outbox = Outbox("run", 100, Report)
    outbox.put(1.0, 0.5, ())
    [first] = rest(outbox)
    outbox.put(2.0, 0.5, ())
    assert rest(outbox) == [first, Report("run", 2, 2.0, 0.5)]


def test_many_summaries_are_several_reports_and_the_watermark_comes_with_the_last() -> None:
    outbox = Outbox("run", 100, Report)
    outbox.put(1.0, 0.5, ())
    rest(outbox)
    outbox.put(2.0, 0.5, summaries(201))
    assert [(one.sequence, one.watermark, len(one.summaries)) for one in rest(outbox, 1)] == [
        (2, 1.0, 100),
        (3, 1.0, 100),
        (4, 2.0, 1),
    ]
    outbox.put(3.0, 0.5, summaries(100))
    assert [(one.watermark, len(one.summaries)) for one in rest(outbox, 4)] == [(3.0, 100)]


def test_dropping_the_oldest_is_a_gap() -> None:
    outbox = Outbox("run", 2, Report)
    for second in (1, 2, 3, 4):
        outbox.put(second + 1.0, 0.5, summaries(1, second))
    assert [(one.sequence, one.watermark, one.covered_since) for one in rest(outbox)] == [(3, 4.0, 3.0), (4, 5.0, 3.0)]
    outbox.put(6.0, 3.5, ())
    assert rest(outbox, 4)[0].covered_since == 4.0, "the report dropped last was final up to 4"


def absorbing(dropped: Report, following: Report) -> Report:
    return replace(following, summaries=dropped.summaries + following.summaries)


@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("read", [0, 1, 2])
def test_what_is_dropped_may_be_absorbed_by_the_next_but_never_by_one_that_was_read(limit: int, read: int) -> None:
    outbox = Outbox("run", limit, Report, absorb=absorbing)
    told: dict[int, Report] = {}

    def tell(after: int) -> None:
        for one in rest(outbox, after):
            assert told.setdefault(one.sequence, one) == one

    for second in range(1, read + 1):
        outbox.put(float(second), 0.5, summaries(1, second))
    tell(0)
    for second in range(read + 1, 12):
        outbox.put(float(second), 0.5, summaries(1, second) if second % 3 else ())
        assert len(outbox) <= limit
    tell(read)
    seconds = sorted(one.second for each in told.values() for one in each.summaries)
    assert seconds == sorted(second for second in range(1, 12) if second <= read or second % 3)
    for one in rest(outbox):
        assert one.covered_since == (0.5 if one.sequence <= read else max(outbox._dropped_until, 0.5))


@pytest.mark.parametrize(
    ("acknowledged", "told_next"),
    [
        (0, [(3, [1, 2, 3]), (4, [4]), (5, [5])]),
        (1, [(4, [4]), (5, [5])]),
        (3, [(4, [4]), (5, [5])]),
        (4, [(5, [5])]),
    ],
    ids=["none", "the first", "all that were dropped", "more"],
)
def test_what_is_dropped_after_it_was_read_is_told_to_the_next_connection_unless_it_is_acknowledged(
    acknowledged: int, told_next: list[tuple[int, list[int]]]
) -> None:
    outbox = Outbox("run", 2, Report, absorb=absorbing)
    told: list[Report] = []
    for second in range(1, 6):
        outbox.put(float(second), 0.5, summaries(1, second))
        told += rest(outbox, second - 1)
    assert [(one.sequence, len(one.summaries)) for one in told] == [(number, 1) for number in range(1, 6)]
    outbox.acknowledge(Acknowledgement("run", acknowledged))
    found = rest(outbox)
    assert [(one.sequence, [each.second for each in one.summaries]) for one in found] == told_next
    assert all(one.covered_since == 3.0 for one in found), "it is no proof of what is not told one by one"
    assert [one.sequence for one in rest(outbox, 1)] == [4, 5][max(acknowledged - 3, 0) :], (
        "it has read some of them itself"
    )
