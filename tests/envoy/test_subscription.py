"""What is kept of what a proxy was sent."""

from bannister.envoy.snapshot import Kind, Resource, Snapshot
from bannister.envoy.subscription import Subscription


def sent(subscription: Subscription, count: int, *names: str) -> None:
    """A snapshot with these is sent and acknowledged."""
    snapshot = Snapshot(count, endpoints={name: Resource(name, None) for name in names})
    due = subscription.due(snapshot)
    assert due is not None
    subscription.send(due, snapshot, str(count), at=0.0)
    subscription.acknowledge(count)


def test_what_a_proxy_no_longer_asks_for_is_forgotten() -> None:
    """Every update of an endpoint makes a new group, whose list would be kept for ever."""
    lists = Subscription(Kind.ENDPOINTS)
    for count in range(1, 100):
        names = frozenset({f"g{count - 1}", f"g{count}"})
        lists.ask(names)
        sent(lists, count, *names)
        assert lists.sent.keys() == names
        assert lists.held is not None
        assert lists.held.keys() == names
        assert lists.held_since.keys() == names


def test_what_is_withheld_of_a_proxy_of_an_earlier_control_plane_is_so_on_its_next_stream_too() -> None:
    """The stream broke before anything was acknowledged: what it holds is still what somebody else gave it."""
    lists = Subscription(Kind.ENDPOINTS, held=None, held_version="1", inherited=True)
    lists.ask(frozenset({"a", "b"}))
    snapshot = Snapshot(1, endpoints={name: Resource(name, None) for name in ("a", "b")}, withheld=frozenset({"a"}))
    for stream in (lists, lists.carried_over(1.0)):
        stream.ask(frozenset({"a", "b"}))
        assert (stream.due(snapshot) or {}).keys() == {"b"}


def test_an_answer_about_what_is_no_longer_asked_for_is_not_kept() -> None:
    lists = Subscription(Kind.ENDPOINTS)
    lists.ask(frozenset({"a", "b"}))
    snapshot = Snapshot(1, endpoints={name: Resource(name, None) for name in ("a", "b")})
    due = lists.due(snapshot)
    assert due is not None
    lists.send(due, snapshot, "1", at=0.0)
    lists.ask(frozenset({"b"}))
    lists.acknowledge(1)
    assert lists.held is not None
    assert lists.held.keys() == {"b"}
    assert lists.held_since.keys() == {"b"}
