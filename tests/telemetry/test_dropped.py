"""What the proxy says it dropped, from look to look."""

from bannister.telemetry.dropped import DroppedEntries


def answer(dropped: int | None) -> str:
    line = "" if dropped is None else f"access_logs.grpc_access_log.logs_dropped: {dropped}\n"
    return f"{line}server.uptime: 5\n"


def test_what_is_new_counts_and_the_first_look_only_begins():
    entries = DroppedEntries()
    assert [entries.look(answer(count)) for count in (4, 4, 9, 10)] == [0, 0, 5, 1]
    assert entries.look(None) == 0, "a proxy that does not answer says nothing"
    assert entries.look(answer(12)) == 2
    assert entries.total == 8


def test_a_proxy_that_was_started_again_counts_from_zero():
    entries = DroppedEntries()
    assert [entries.look(answer(count)) for count in (10, None, 3)] == [0, 0, 3]


def test_before_there_is_a_log_nothing_was_dropped():
    entries = DroppedEntries()
    assert [entries.look(answer(count)) for count in (None, 3)] == [0, 3]
