from __future__ import annotations

from bannister.reporting.coverage import Coverage


class Beats:
    """Heartbeats of one coverage, each sent a moment after the one before and logged at once."""

    def __init__(self) -> None:
        self.coverage = Coverage("run", margin_seconds=0.5)
        self.now, self.monotonic = 1000.0, 50.0

    def sent(self, seconds: float = 0.25) -> int:
        """Time goes on; a heartbeat leaves."""
        self.now += seconds
        self.monotonic += seconds
        return self.coverage.next_heartbeat(self.now, self.monotonic)

    def beat(self, seconds: float = 0.25) -> None:
        self.coverage.heartbeat_seen("run", self.sent(seconds), self.now)


def started() -> Beats:
    beats = Beats()
    beats.beat(0.0)
    return beats


def test_nothing_is_vouched_for_before_the_first_heartbeat() -> None:
    beats = Beats()
    beats.sent()
    assert (beats.coverage.watermark, beats.coverage.covered_since) == (None, None)


def test_the_watermark_is_a_margin_behind_the_newest_heartbeat() -> None:
    beats = started()
    assert (beats.coverage.watermark, beats.coverage.covered_since) == (999.5, 1000.0)
    beats.beat()
    assert (beats.coverage.watermark, beats.coverage.covered_since) == (999.75, 1000.0)


def test_the_watermark_does_not_go_back_for_a_heartbeat_that_was_overtaken() -> None:
    beats = started()
    overtaken = beats.sent()
    beats.beat(1.0)
    beats.coverage.heartbeat_seen("run", overtaken, 1000.25)
    assert beats.coverage.watermark == 1000.75


def test_heartbeats_of_others_prove_nothing() -> None:
    beats = started()
    beats.coverage.heartbeat_seen("other", beats.sent(), 1000.25)
    beats.coverage.heartbeat_seen("run", 99, 1000.25)
    beats.coverage.heartbeat_seen("run", 0, 1000.25)
    assert beats.coverage.watermark == 999.5


def test_after_a_gap_coverage_begins_anew_with_a_heartbeat_sent_since() -> None:
    beats = started()
    on_its_way = beats.sent()
    beats.coverage.something_lost()
    beats.coverage.heartbeat_seen("run", on_its_way, 1000.25)
    assert (beats.coverage.watermark, beats.coverage.covered_since) == (999.5, 1000.0)
    beats.beat(0.75)
    assert (beats.coverage.watermark, beats.coverage.covered_since) == (1000.5, 1001.0)


def test_a_time_in_which_no_heartbeat_came_through_is_not_covered() -> None:
    beats = started()
    beats.beat(4.0)
    assert (beats.coverage.watermark, beats.coverage.covered_since) == (1003.5, 1000.0)
    beats.beat(20.0)
    assert (beats.coverage.watermark, beats.coverage.covered_since) == (1023.5, 1024.0)


def test_time_that_a_clock_skipped_is_not_covered() -> None:
    beats = started()
    before = beats.sent()
    beats.now += 600.0
    # Envoy's clock is the machine's: the entry of a heartbeat on its way is of the new time before we know of it.
    beats.coverage.heartbeat_seen("run", before, beats.now)
    assert (beats.coverage.watermark, beats.coverage.covered_since) == (999.5, 1000.0)
    beats.beat()
    assert (beats.coverage.watermark, beats.coverage.covered_since) == (1600.0, 1600.5)


def test_a_clock_that_is_set_back_takes_the_watermark_with_it() -> None:
    beats = started()
    beats.now -= 600.0
    beats.beat()
    assert (beats.coverage.watermark, beats.coverage.covered_since) == (399.75, 400.25)
