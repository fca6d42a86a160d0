from __future__ import annotations

from bannister.telemetry.coverage import Coverage


def started() -> Coverage:
    coverage = Coverage("run", margin_seconds=0.5)
    coverage.heartbeat_logged("run", coverage.next_heartbeat(), 1000.0)
    return coverage


def test_nothing_is_vouched_for_before_the_first_heartbeat() -> None:
    coverage = Coverage("run", 0.5)
    coverage.next_heartbeat()
    assert (coverage.watermark, coverage.covered_since) == (None, None)


def test_the_watermark_is_a_margin_behind_the_newest_heartbeat() -> None:
    coverage = started()
    assert (coverage.watermark, coverage.covered_since) == (999.5, 1000.0)
    coverage.heartbeat_logged("run", coverage.next_heartbeat(), 1000.25)
    assert (coverage.watermark, coverage.covered_since) == (999.75, 1000.0)


def test_the_watermark_never_goes_back() -> None:
    coverage = started()
    coverage.heartbeat_logged("run", coverage.next_heartbeat(), 990.0)
    assert coverage.watermark == 999.5


def test_heartbeats_of_others_prove_nothing() -> None:
    coverage = started()
    coverage.heartbeat_logged("other", coverage.next_heartbeat(), 1001.0)
    coverage.heartbeat_logged("run", 99, 1001.0)
    coverage.heartbeat_logged("run", 0, 1001.0)
    assert coverage.watermark == 999.5


def test_after_a_gap_coverage_begins_anew_with_a_heartbeat_sent_since() -> None:
    coverage = started()
    on_its_way = coverage.next_heartbeat()
    coverage.stream_broken()
    coverage.heartbeat_logged("run", on_its_way, 1000.25)
    assert (coverage.watermark, coverage.covered_since) == (999.5, 1000.0)
    coverage.heartbeat_logged("run", coverage.next_heartbeat(), 1001.0)
    assert (coverage.watermark, coverage.covered_since) == (1000.5, 1001.0)
