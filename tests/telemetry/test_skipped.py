"""Copies that the proxy did not make: from its counters to the metric."""

from dataclasses import replace

import pytest

from bannister.domain.metric.aggregate import statistic
from bannister.domain.metric.endpoint import endpoint_metric
from bannister.domain.metric.identity import SHADOW_NAMESPACE, identity
from bannister.domain.metric.summary import SkippedAccount, TelemetryGreeting, TelemetryWord
from bannister.ids import RandomIds
from bannister.metrics.store import GroupDimensions
from bannister.metrics.window import MetricWindow
from bannister.reporting.counters import _unchunked
from bannister.settings import Settings
from bannister.telemetry.entry import Invocation
from bannister.telemetry.fold import Fold
from bannister.telemetry.program import Telemetry
from bannister.telemetry.skipped import SkippedCopies

GROUP = "e.Shadow.d1"
BOTH = {"EndpointName": "e", "VariantName": "Shadow"}


def counters(small: int | None, large: int = 0, pending: int = 0, *, uptime: int = 60) -> str:
    """`small` None: no shadow's way is there."""
    ways = (
        f"cluster.shadow/e.Shadow.d1/large.upstream_rq_active_overflow: {large}\n"
        f"cluster.shadow/e.Shadow.d1/large.upstream_rq_pending_overflow: 0\n"
        f"cluster.shadow/e.Shadow.d1/small.upstream_rq_active_overflow: {small}\n"
        f"cluster.shadow/e.Shadow.d1/small.upstream_rq_pending_overflow: {pending}\n"
        "cluster.shadow/e.Shadow.d1/small.upstream_rq_retry_overflow: 77\n"
        "cluster.noise/e.AllTraffic.d1/small.upstream_rq_active_overflow: 99\n"
    )
    return f"{ways if small is not None else ''}server.uptime: {uptime % 2**64}\n"


def greeted(account: SkippedAccount | None = None) -> SkippedCopies:
    made = SkippedCopies()
    made.go_on_from(account)
    return made


def test_what_was_added_since_the_last_look_is_counted_by_group():
    skipped = greeted()
    assert skipped.look(counters(5), 1000.0, 1000.0) == {GROUP: 5}, "nothing of this proxy is accounted for"
    assert skipped.look(counters(5), 1000.0, 1000.0) == {}
    assert skipped.look(None, 1001.0, 1001.0) == {}
    assert skipped.look(counters(8, large=2, pending=1, uptime=62), 1002.0, 1002.0) == {GROUP: 6}


def test_a_way_that_is_new_counts_from_zero_and_so_does_a_proxy_that_was_started_again():
    skipped = greeted()
    skipped.look(counters(None), 1000.0, 1000.0)
    assert skipped.look(counters(3, uptime=70), 1010.0, 1010.0) == {GROUP: 3}
    assert skipped.look(counters(5, uptime=1), 1050.0, 1050.0) == {GROUP: 5}, "however many they are by then"


@pytest.mark.parametrize("step", [-1000, -30, 30, 140], ids=lambda step: f"{step:+}")
@pytest.mark.parametrize("restart", [False, True])
def test_a_wall_clock_that_is_set_makes_no_other_proxy(step: int, *, restart: bool):
    """The proxy's uptime follows it a few seconds later, and the machine's sleep; nothing is counted again. Set again, also by another process."""
    skipped = greeted()
    skipped.look(counters(50, uptime=160), 1000.0, 5000.0)
    wall, uptime = 5000.0 + step, 160
    for number in range(3):
        if restart:
            skipped = greeted(skipped.account({}))
        assert skipped.look(counters(50, uptime=uptime), 1001.0 + 10 * number, wall + 1 + 10 * number) == {}
        uptime += step + 10
        assert skipped.look(counters(50, uptime=uptime), 1010.0 + 10 * number, wall + 10 + 10 * number) == {}
        wall, step = wall - step, -step
    assert skipped.look(counters(53, uptime=uptime), 1032.0, wall - step + 32) == {GROUP: 3}


def test_what_a_process_that_ends_had_not_counted_the_next_one_counts():
    first = greeted()
    first.look(counters(5), 1000.0, 1000.0)
    account = first.account({GROUP: 2})
    assert account == SkippedAccount(940.0, account.seen, {GROUP: 2}, 940.0)
    assert first.account({GROUP: 2}) is None, "nothing new"
    second = SkippedCopies()
    assert second.look(counters(9), 1000.0, 1000.0) == {}, "before the greeting nobody can tell"
    assert second.account({}) is None
    assert second.go_on_from(account) == {GROUP: 2}
    assert second.go_on_from(account) == {}, "a later connection's"
    told = second.account({})
    assert told == replace(account, pending={}), "also where the proxy has not answered yet"
    assert second.look(counters(9, uptime=90), 1030.0, 1030.0) == {GROUP: 4}
    third = greeted(told)
    assert third.look(counters(4, uptime=5), 1100.0, 1100.0) == {GROUP: 4}, "another proxy"
    again = greeted(told)
    assert again.look(counters(4), 1000.0, 1000.0) == {GROUP: 4}, (
        "as old as the one before, after a restart of the machine"
    )


def test_where_there_is_no_shadow_there_is_nothing_to_account_for():
    skipped = greeted()
    skipped.look(counters(None), 1000.0, 1000.0)
    assert skipped.account({}) is None


def test_that_all_is_told_is_said_though_another_proxy_has_skipped_nothing_yet():
    """Else the next process would count again what this one has told."""
    skipped = greeted()
    skipped.look(counters(1), 1000.0, 1000.0)
    assert skipped.account({GROUP: 1}).pending == {GROUP: 1}
    skipped.look(counters(None, uptime=5), 1100.0, 1100.0)
    assert skipped.account({GROUP: 1}) == SkippedAccount(1095.0, {}, {GROUP: 1}, 1095.0)
    assert skipped.account({}) == SkippedAccount(1095.0, {}, {}, 1095.0), "it is in a summary now"
    skipped.look(counters(None, uptime=5), 1200.0, 1200.0)
    assert skipped.account({}) is None, "another proxy is nothing new"


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@pytest.mark.parametrize("stored", range(6))
@pytest.mark.parametrize("others", [0, 250])
def test_each_skipped_copy_is_in_one_summary_wherever_a_process_is_killed(tmp_path, stored, others):
    """`stored`: so many of its reports were taken; `others`: so many summaries besides, which are more than there are in a report."""
    clock, summaries, account = Clock(), [], None

    def begin() -> Telemetry:
        made = Telemetry(Settings(data_dir=tmp_path), clock, RandomIds())
        made._hear(TelemetryWord(TelemetryGreeting(account)))
        return made

    def turn(telemetry: Telemetry, copies: int) -> None:
        clock.time += 1
        for number in range(others):
            telemetry._fold.skip(f"g{number}", int(clock.time), 0)
        telemetry._skip(telemetry._skipped.look(counters(copies, uptime=int(clock.time) - 900), clock.time, clock.time))
        telemetry._outbox.put(clock.time, 1.0, telemetry._fold.take(clock.time), telemetry._account)

    def store(telemetry: Telemetry, reports: int) -> None:
        nonlocal account
        for sequence in range(reports):
            if (report := telemetry._outbox.next_after(sequence)) is not None:
                summaries.extend(report.summaries)
                account = report.account or account

    first = begin()
    for copies in (3, 10, 10):
        turn(first, copies)
    store(first, stored)
    second = begin()
    for copies in (15, 15):
        turn(second, copies)
    store(second, 100)
    assert sum(one.skipped for one in summaries if one.group == GROUP) == 15


def test_lines_are_whole_wherever_the_answer_was_cut():
    assert _unchunked(b"3\r\nabc\r\n2\r\nd\n\r\n0\r\n\r\n") == b"abcd\n"


def copy(second: int = 100) -> Invocation:
    return Invocation("g", "a:1", second, 200, False, False, 0, 10, 1, copy=True)


def test_the_metric_has_a_datum_for_every_copy_that_was_to_be_made():
    fold = Fold(open_seconds_max=30)
    for _ in range(6):
        fold.add(copy())
    fold.skip("g", 100, 2)
    summaries = fold.take(200.0)
    window = MetricWindow()
    window.register(GroupDimensions("g", "e", "Shadow", "c", 1))
    window.add(summaries)
    for dimensions in (BOTH, BOTH | {"EndpointConfigName": "c"}):
        metric = identity(SHADOW_NAMESPACE, "Skipped", dimensions)
        (found,) = window.read(metric, 100.0, 1.0, 1, None, 1.0)
        assert found is not None
        assert (statistic(found, "Sum"), statistic(found, "SampleCount")) == (2.0, 8.0)
        assert metric in window.metrics(0.0)
    (invocations,) = window.read(identity("AWS/SageMaker", "Invocations", BOTH), 100.0, 1.0, 1, None, 1.0)
    assert invocations is not None
    assert statistic(invocations, "Sum") == 6.0, "what was not copied is no invocation"


def test_a_group_that_is_no_shadow_has_no_such_metric():
    window = MetricWindow()
    window.register(GroupDimensions("g", "e", "Shadow", "c", 1))
    fold = Fold(open_seconds_max=30)
    fold.add(Invocation("g", "a:1", 100, 200, False, False, 0, 10, 1))
    summaries = fold.take(200.0)
    window.add(summaries)
    assert endpoint_metric("Skipped", summaries, 1) is None
    assert not [metric for metric in window.metrics(0.0) if metric.namespace == SHADOW_NAMESPACE]
