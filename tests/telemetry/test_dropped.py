"""What the proxy says it dropped, from look to look."""

from bannister.telemetry.dropped import DroppedEntries


class Looks:
    """Looks at a proxy that has run since 1000, a second after another."""

    def __init__(self) -> None:
        self.entries = DroppedEntries()
        self._now, self._started_at = 1100.0, 1000.0

    def restart(self) -> None:
        self._now += 100.0
        self._started_at = self._now

    def look(self, dropped: int | None, *, answers: bool = True) -> int:
        self._now += 1.0
        line = "" if dropped is None else f"access_logs.grpc_access_log.logs_dropped: {dropped}\n"
        counters = f"{line}server.uptime: {self._now - self._started_at:.0f}\n"
        return self.entries.look(counters if answers else None, self._now, self._now)


def test_what_is_new_counts_and_the_first_look_only_begins():
    proxy = Looks()
    assert [proxy.look(count) for count in (4, 4, 9, 10)] == [0, 0, 5, 1]
    assert proxy.look(50, answers=False) == 0, "a proxy that does not answer says nothing"
    assert proxy.look(12) == 2
    assert proxy.entries.total == 8


def test_a_proxy_that_was_started_again_counts_from_zero_however_many_they_are_by_then():
    proxy = Looks()
    assert proxy.look(10) == 0
    proxy.restart()
    assert proxy.look(3) == 3
    proxy.restart()
    assert proxy.look(7) == 7


def test_before_there_is_a_log_nothing_was_dropped():
    proxy = Looks()
    assert [proxy.look(count) for count in (None, 3)] == [0, 3]
